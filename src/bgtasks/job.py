"""One registered task or worker of a scheduler: what it runs, when it is due, how it has fared."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import TYPE_CHECKING, Any

from bgtasks.agenda import Agenda
from bgtasks.backoff import Backoff
from bgtasks.clock import MICROSECOND, Reading
from bgtasks.outcomes import FAILURES, Outcome, Skipped
from bgtasks.policies import LATE, POLICY, CatchUp, Policy
from bgtasks.run import NOTHING, Run, Work
from bgtasks.spec import TaskFunction
from bgtasks.triggers import Trigger

if TYPE_CHECKING:
    from bgtasks.claims.claim import Claim

__all__ = ["Job", "Request", "Wait"]


CLOCK_TICK = 0.001
"""Seconds to wait at least for an instant that has not come: event loops round, uvloop to this."""


@dataclass(slots=True, eq=False)
class Request:
    """A run that is wanted: of which job, for which instant, and who waits for its outcome, if anyone.

    Attributes:
        since: Since when it waits for a slot.
        claim: What makes it this process's to do.
        begins: The monotonic instant before which it does not begin, if it was claimed ahead of that.
    """

    job: Job
    due: datetime
    answer: asyncio.Future[Outcome] | None = None
    since: float | None = None
    has_slot: bool = False
    claim: Claim | None = None
    begins: float | None = None

    def early(self, now: float) -> float:
        """Seconds until it may begin; 0 if it may."""
        left = 0.0 if self.begins is None else self.begins - now
        return max(left, CLOCK_TICK) if left > MICROSECOND else 0.0

    def decline(self, reason: str) -> None:
        """It will not be run: say so to whoever waits."""
        if self.claim is not None:
            self.claim.declined(reason)
        self.job.last_outcome = skipped = Skipped(reason)
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(skipped)


@dataclass(slots=True, eq=False)
class Wait:
    """A job waits for a server that does not answer.

    Attributes:
        resource: The server, by the name that tasks know it by.
        backoff: How long to wait next time.
        again: The monotonic instant at which it is tried again; None while it is being tried.
    """

    resource: str
    backoff: Backoff
    again: float | None = None


class Job(Work):
    """A task or worker under a scheduler.

    Attributes:
        wait: The server it waits for, if it does.
        held: When it was found overdue, and until when it is put off then, so that what is overdue does not
            start all at once.
        entry: Number of its one valid entry on the timeline; 0 for none.
        runs: The runs in progress, the earliest first. More than one only if its policy allows that.
        queued: A run that waits for the present one to end.
        waiting: A run that waits for a free slot, or for its instant.
        started: How many runs began since the scheduler did.
        last_ended: The monotonic instant at which a run ended last.
        paused: Why it is paused by hand.
        open_until: Until when its breaker pauses it.
        removed: It has been taken off the schedule, and waits for its run to end.
    """

    # There may be a hundred thousand: no dictionary each, no list before the first run.
    __slots__ = (
        "agenda", "entry", "held", "initial_delay", "is_worker", "last_ended", "last_outcome",
        "open_until", "paused", "queued", "removed", "runs", "started", "trigger", "wait", "waiting",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        func: TaskFunction,
        trigger: Trigger,
        agenda: Agenda,
        policy: Policy = POLICY,
        *,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] = NOTHING,
        initial_delay: float = 0.0,
        is_worker: bool = False,
    ) -> None:
        super().__init__(name, func, args, kwargs, policy)
        self.trigger = trigger
        self.agenda = agenda
        self.initial_delay = initial_delay
        self.is_worker = is_worker
        self.wait: Wait | None = None
        self.held: tuple[float, float] | None = None
        self.entry = 0
        self.runs: tuple[Run, ...] = ()
        self.queued: Request | None = None
        self.waiting: Request | None = None
        self.started = 0
        self.last_outcome: Outcome | None = None
        self.last_ended: float | None = None
        self.paused: str | None = None
        self.open_until: float | None = None
        self.removed = False

    @property
    def limited(self) -> bool:
        """Whether its runs take slots; a worker, which never ends, would hold one for ever."""
        return not self.is_worker

    @property
    def busy(self) -> bool:
        """Whether a run is in progress, or is to begin as soon as it may."""
        return bool(self.runs) or self.waiting is not None

    @property
    def next_instant(self) -> float | None:
        """When to look at it again, on the monotonic timeline; None for never, or not before its run ends."""
        due, wait = self.agenda.due, self.wait
        behind = self.agenda.behind is not None
        if wait is None and not behind:  # as nearly always
            return due
        if wait is not None and wait.again is not None and (due is None or behind or wait.again < due):
            return wait.again
        return None if due is None or (behind and self.busy) else due

    def run_begins(self, run: Run) -> None:
        """Note a run that begins, perhaps ahead of time: a plain interval is measured anew from its end."""
        self.runs = (*self.runs, run) if self.runs else (run,)
        self.started += 1
        if self.wait is not None:
            self.wait.again = None
        if self.agenda.waits_for_end:
            self.agenda.due = None

    def run_ended(self, run: Run) -> None:
        """Note a run that has ended, and how."""
        self.runs = () if len(self.runs) == 1 else tuple(each for each in self.runs if each is not run)
        self.last_outcome, self.last_ended = run.outcome, run.ended
        breaker = self.policy.breaker
        if breaker is None or self.failures < breaker.after:
            self.open_until = None
        elif isinstance(run.outcome, FAILURES):
            self.open_until = run.ended + breaker.seconds

    def begin(self, reading: Reading, delay: float) -> None:
        """Set the first instant: after a start of the scheduler, or when the job has another trigger."""
        self.held = None
        if self.wait is not None:
            self.wait.again = None
        self.agenda.begin(reading, delay)
        if self.runs and self.agenda.waits_for_end:
            self.agenda.due = None  # its run is still going: due again when that has ended

    def take(self, reading: Reading) -> datetime | None:
        """Use up the instant that has come: the wall instant a run is due for, or None for no run."""
        agenda, held = self.agenda, self.held
        self.held = agenda.missed = None
        due = agenda.due
        if self.wait is not None and self.wait.again is not None:
            again = self.wait.again
            if again <= reading.mono and (due is None or again <= due or agenda.behind is not None):
                self.wait.again = None
                if agenda.waits_for_end:
                    agenda.due = None
                return reading.wall
            if due is not None and due <= reading.mono:
                self.wait.again = None
        if due is None or due > reading.mono:
            return None
        if self.runs and reading.mono - due > LATE and self.policy.catch_up is CatchUp.ALL:
            agenda.behind = reading.mono  # noticed late, beside a run: it has its turn after that
            return None
        held_back = self.paused is not None or self.open_until is not None
        if held is None and not held_back:
            return agenda.take(reading)
        noticed = 0.0 if held is None else reading.mono - held[0]
        return agenda.take(reading, noticed, in_one=held_back)

    def wait_for(self, resource: str, now: float, random: Random) -> None:
        """A server did not answer: be tried again after the next delay of the job's backoff."""
        if self.wait is None:
            self.wait = Wait(resource, Backoff(random=random))
        self.wait.resource = resource
        self.wait.again = now + self.wait.backoff.failed()

    def waited(self) -> str:
        """The server answered: no more of that. Returns the name it was waited for by."""
        wait, self.wait = self.wait, None
        return wait.resource if wait is not None else ""
