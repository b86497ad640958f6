"""What bgtasks asks of a host's objects, as Protocols.

Nothing has to inherit from these: an object with the methods serves. Ours implement them; scripted
fakes are in `bgtasks.testing`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from redis.asyncio import Redis

    from bgtasks.records import (
        Beat,
        Claimed,
        Command,
        CommandRow,
        Ending,
        JobRow,
        Offer,
        Refused,
        RunQuery,
        RunRow,
        SessionRow,
        Tick,
    )

__all__ = [
    "EXPIRED",
    "RELEASED",
    "UNKNOWN",
    "Absent",
    "BotRunner",
    "ChatClient",
    "Granted",
    "Held",
    "KnowledgeGraphLike",
    "LeaseStore",
    "Renewal",
    "StrictConfig",
    "TaskStore",
]


class Absent:
    """Given in place of a resource that could not be made: false, and it knows why.

    Whoever composes a process often knows better than "not given" why a resource is missing, such as a
    module that could not be loaded. The reason is shown on every task that needs the resource.
    """

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return f"Absent({self.reason!r})"


@runtime_checkable
class KnowledgeGraphLike(Protocol):
    """A property graph that speaks openCypher."""

    async def query(self, cypher: str, params: Mapping[str, Any] | None = None) -> Sequence[Sequence[Any]]:
        """Run one query atomically and return its rows, each a sequence in the order of RETURN."""


@runtime_checkable
class ChatClient(Protocol):
    """A chat model."""

    async def chat(
        self, messages: Sequence[Mapping[str, Any]], *, override_model: str | None = None, **options: Any
    ) -> str:
        """The model's answer to `messages` (role and content each), as text."""


@runtime_checkable
class BotRunner(Protocol):
    """The host's bot, as far as built-in tasks look into it."""

    cfg: Any
    redis: Redis
    kg_manager: KnowledgeGraphLike
    openrouter: ChatClient
    message_cache: Any
    embedding_queue: Any
    adapters: Mapping[str, Any]


@runtime_checkable
class StrictConfig(Protocol):
    """A config that knows all its names, so that asking it for another one is an error."""

    strict_names: bool


class Granted(NamedTuple):
    """The lease was taken.

    Attributes:
        token: The fencing token of the term, larger than all before.
        at: The server's time, in seconds since 1970.
        run_id: Which run of which server answered; empty where it may not be asked.
        ended: How the term before ended: `RELEASED`, `EXPIRED` by the server's clock, `UNKNOWN` since no
            lease was ever kept here, or in a sentence what was lost.
        quarantine: Seconds for which the last holder may still be at work, by what the server knows.
    """

    token: int
    at: float
    run_id: str
    ended: str
    quarantine: float = 0.0


RELEASED = "released"
EXPIRED = "expired"
UNKNOWN = "no lease was ever kept here, or all trace of it was lost"


class Held(NamedTuple):
    """Somebody has the lease.

    Attributes:
        owner: Its value.
        remaining: Seconds until it expires by the server's clock; None if it never does.
        at: The server's time, in seconds since 1970.
        run_id: As in `Granted`.
        token: The token of its term, as far as it is known; else 0.
    """

    owner: str
    remaining: float | None
    at: float
    run_id: str
    token: int = 0


class Renewal(NamedTuple):
    """The answer to a renewal; `kept` is false if the lease is not, or not any more, the asker's.

    `resign` says that somebody asked this holder to hand over.
    """

    kept: bool
    at: float
    run_id: str
    resign: bool = False


@runtime_checkable
class LeaseStore(Protocol):
    """Where one lease is kept. An owner is a text that no other term ever uses.

    Each call is one atomic step on the server, compares first, and may be sent again after a lost answer.
    Each may raise `ResourceUnavailable`: then it was applied, or not, or will be. Any may be called after
    `aclose`.
    """

    key: str
    """The lease's name."""

    async def acquire(self, owner: str, lease: float, lost: float) -> Granted | Held:
        """Take the lease for `lease` seconds if it is free or already `owner`'s; `lost` is the quarantine
        after a loss of unknown size."""

    async def renew(self, owner: str, lease: float, not_after: float, quarantined: bool) -> Renewal:
        """Keep it for `lease` seconds from now, unless the server's time is past `not_after`. A term that
        ends while it is `quarantined`, however it does, leaves that to the next one."""

    async def release(self, owner: str, quarantined: bool) -> bool:
        """Give it up if it is `owner`'s, and tell those who wait; whether it was."""

    async def look(self) -> Held | None:
        """Who has it, if anyone."""

    async def mint(self, owner: str, above: int) -> int:
        """A new, larger token for `owner`'s term, above `above` too; 0 if the lease is not its."""

    async def ask_to_resign(self, owner: str) -> None:
        """Leave word for `owner` to hand over, which it hears at its next renewal."""

    async def released(self) -> None:
        """Return when a release is heard of. A hint: it may be missed, and may come for nothing.

        Returns once when hearing begins, if what was released until then may have been missed.
        """

    async def aclose(self) -> None:
        """Let go of connections."""


class TaskStore(Protocol):
    """Keeps jobs, runs and sessions, and gives each tick to one session.

    Each call is one step that others see wholly or not at all; repeated by a caller who lost the answer, it
    does no harm. Ids of runs and of sessions are never used again. Instants are those of the store's own
    clock. Fencing tokens grow from run to run of a job.

    Any call may raise `ResourceUnavailable` (the store does not answer in time) or `UnsuitableServer`.
    """

    name: str
    """What it is called in messages: a URL without its password."""

    async def open(self) -> None:
        """Make it ready: connect, create what is missing, migrate what is old.

        Raises:
            UnsuitableServer: What is there was written by a newer version, or by somebody else.
        """

    async def aclose(self) -> None:
        """Let go of connections."""

    # -- sessions: processes that are alive

    async def join(self, session: SessionRow, ttl: float) -> datetime:
        """Begin a session, which lives for `ttl` seconds from now unless it beats; the store's time."""

    async def beat(self, session: str, ttl: float, horizon: float, *, limit: int = 1000) -> Beat:
        """Keep a session alive for `ttl` seconds from now, and hear what there is to do for it.

        Jobs and offers are those of the types that the session has wired, `limit` of each at most. Finds what
        is lost: runs in progress whose session is not alive. Each becomes `LOST` and is offered again if it
        may be attempted once more; a plain interval without another attempt is due after its interval.

        Args:
            horizon: Seconds from now until which a job's `next_run_at` is of interest.
        """

    async def describe(self, session: SessionRow) -> None:
        """Say anew what a session is, has wired and knows of. It does not live longer by that."""

    async def leave(self, session: str) -> None:
        """End a session. Runs of it that are still in progress are lost at once, and nobody is told."""

    async def sessions(self) -> Sequence[SessionRow]:
        """Those alive, the first to join first."""

    # -- claims

    async def claim(self, session: str, ticks: Sequence[Tick]) -> Sequence[Claimed | Refused]:
        """Claim what jobs are due for; an answer for each, in order.

        A claim moves the job to `following` and writes down a run in progress, or a skipped one if the tick
        gets none. Asked again for a run that is in progress in this session, it is claimed again; for what
        got no run it is `TAKEN`.
        """

    async def accept(self, session: str, offers: Sequence[tuple[str, bool]]) -> Sequence[Claimed | Refused]:
        """Claim runs that are wanted beside the schedule, each by its id; an answer for each, in order.

        Args:
            offers: With each id, whether it may run beside another run of its job.
        """

    async def finish(self, ended: Sequence[Ending]) -> Sequence[bool]:
        """Write down how claimed runs ended; for each whether it was still the claimant's to say.

        A run that was found lost meanwhile stays lost. A plain interval is due so long after this moment,
        unless the run is offered again.
        """

    # -- jobs

    async def add(self, job: JobRow) -> JobRow:
        """Keep a job; the one that is there already if its id, or its type, bot and key, are taken."""

    async def change(self, job: JobRow) -> JobRow | None:
        """Write what a job is, if its `version` is still that of what was read; as it is now, or None.

        Whatever moves `next_run_at` here counts as a change, a claim too; what an operator writes past this
        store does not. What runs write is not touched:
        `last_run_at`, `token` and `failures`.
        """

    async def remove(self, job: UUID) -> bool:
        """Forget a job, and offers of it; its past runs stay. Whether there was one."""

    async def job(self, job: UUID) -> JobRow | None:
        """One job."""

    async def jobs(
        self,
        *,
        job_type: str | None = None,
        bot_id: str | None = None,
        after: UUID | None = None,
        limit: int = 100,
    ) -> Sequence[JobRow]:
        """Jobs by their ids, those after one of them: of all types and bots, or of one."""

    async def types(self) -> Mapping[str, int]:
        """How many jobs there are of each type, in the order of their names."""

    async def offer(self, offer: Offer) -> bool:
        """Want a run beside the schedule; False if there is no such job. One offer per run id."""

    async def withdraw(self, run_id: str, why: str) -> bool:
        """Want a run no more that nobody has started: it is skipped, and why. Whether it was wanted."""

    # -- commands

    async def command(self, command: Command, ttl: float) -> CommandRow:
        """Tell nodes something, which they hear when they beat within `ttl` seconds; as it is kept.

        Sent again, it is the one that is there already, with its answers.
        """

    async def answer(self, session: str, command: str, done: bool, text: str) -> None:
        """Say what came of a command: the first answer of a session counts. Nothing if it, or the session, is
        not known."""

    async def commands(self, *, id: str | None = None, limit: int = 100) -> Sequence[CommandRow]:
        """Commands with their answers, the latest first; or the one of an id."""

    # -- history

    async def run(self, run_id: str) -> RunRow | None:
        """One run."""

    async def runs(self, query: RunQuery) -> Sequence[RunRow]:
        """Runs, the latest first."""

    async def skip(self, run: RunRow) -> None:
        """Write down a run that never was, and why: its status is that of one that is over."""

    async def prune(self, before: datetime, keep: int) -> int:
        """Forget runs that were over before an instant, and of each job all but the last `keep`; how many.

        Forgets commands too that expired before it, and jobs added at run time that are over: with a trigger
        that is not due again, no run wanted or in progress, and none that began since then.
        """
