"""Sees what every node does and what the store answers, knows true time, and checks what is promised.

| | invariant |
|---|---|
| C1 | Two runs of a task that does not allow it never both trust their claim at one moment. |
| C2 | No step of an older token comes after a step of a newer one, both with a claim that checks. |
| C3 | A tick is begun once per attempt, and a further attempt only when the one before was lost. |
| C4 | A run that is over stays as it was written down. |
| C5 | Each instant of a trigger is in the history: as a run, as a skipped one, or counted as missed; once. |
| C6 | A lost run is followed by another attempt, unless it was the last, or unwanted. |
| C7 | When faults end, nothing is stuck: no run goes on that nobody does, none stays wanted, none overdue. |
| C8 | A process that can act ends the runs of a claim before another has them. |
| C9 | Nothing is skipped as beside another run unless there was one; nothing begins before it is due. |
| C10 | A claim that checks is that of a session with the margin left in the store. |
"""

from __future__ import annotations

import zlib
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from tests.simulation.claims.workload import Kind

from bgtasks.claims import Claim
from bgtasks.errors import ClaimLost
from bgtasks.records import Beat, Claimed, Ending, Offer, Refusal, Refused, RunStatus, Tick
from bgtasks.testing.simulation import Node

__all__ = ["Observer", "Violation", "Work"]

MARGIN_S = 2.95
"""Seconds that a session has left in the store when its process stops to act, however clocks drift."""

LIFE_S = 20.0
"""True seconds after which a session that a set clock cut short has been renewed, or is over."""

RECENT_S = 4.0
"""True seconds after a standstill in which a node may still do what it was about to."""


class Violation(NamedTuple):
    """An invariant that did not hold."""

    invariant: str
    at: float
    text: str


@dataclass(slots=True, eq=False)
class Work:
    """A run in progress in a process.

    Attributes:
        thawed: When its node stood still last.
        stubborn: It may go on though it was cancelled.
    """

    member: str
    node: Node
    kind: Kind
    claim: Claim
    due: datetime
    stubborn: bool = False

    @property
    def run_id(self) -> str:
        """The run's id in the store."""
        return self.claim.run_id

    @property
    def trusted(self) -> bool:
        """Whether its process would say at this moment that it may act."""
        if self.node.dead:
            return False
        try:
            self.claim.check()
        except ClaimLost:
            return False
        return True


class Going(NamedTuple):
    """A run in progress by the store."""

    job: UUID
    session: str


@dataclass(slots=True, eq=False)
class Observer:
    """The history of one cluster.

    Attributes:
        lenient: Why two processes may trust their claims at present; empty while they may not.
        alone: Jobs whose runs never meet, with the task of each.
        digest: A checksum of all that has happened.
    """

    elapsed: Callable[[], float]  # seconds by the clock of the store
    violations: list[Violation] = field(default_factory=list)
    limits: Counter[str] = field(default_factory=Counter)
    trace: deque[tuple[float, str]] = field(default_factory=lambda: deque(maxlen=500))
    last: str = ""
    digest: int = 0
    lenient: str = ""
    jobs: dict[UUID, Kind] = field(default_factory=dict)
    halted: dict[str, float] = field(default_factory=dict)  # when a node stood still last
    # in processes
    works: dict[Work, None] = field(default_factory=dict)
    begun: dict[str, Work] = field(default_factory=dict)
    done: dict[str, str] = field(default_factory=dict)  # how a run ended, by what its process saw
    ended_at: dict[str, float] = field(default_factory=dict)
    ticks: dict[tuple[UUID, datetime], str] = field(default_factory=dict)
    newest: dict[str, int] = field(default_factory=dict)  # the largest token of a step, by task
    steps: int = 0
    # at the store
    expires: dict[str, float] = field(default_factory=dict)  # sessions, by the clock of the store
    forward_at: float = float("-inf")  # when that was set forward last
    tokens: dict[UUID, int] = field(default_factory=dict)
    going: dict[str, Going] = field(default_factory=dict)
    free_since: dict[UUID, float] = field(default_factory=dict)
    lost: dict[str, None] = field(default_factory=dict)
    offered: dict[str, None] = field(default_factory=dict)
    claims: int = 0
    refused: int = 0
    zombies: int = 0
    forgotten: dict[str, None] = field(default_factory=dict)  # claims that the store has lost
    lossy: bool = False  # the store has lost what it was told
    written: deque[tuple[float, str, Going | None]] = field(default_factory=lambda: deque(maxlen=500))

    def note(self, at: float, text: str) -> None:
        """Something happened that belongs into the trace and the digest."""
        self.trace.append((at, text))
        self.digest = zlib.crc32(f"{at!r} {text}".encode(), self.digest)

    def violated(self, invariant: str, at: float, text: str, *, excuse: str = "") -> None:
        """An invariant did not hold, unless there is an excuse that is documented."""
        if excuse:
            self.limits[f"{invariant}: {excuse}"] += 1
            self.note(at, f"{invariant}, {excuse}: {text}")
            return
        self.note(at, f"VIOLATION {invariant}: {text}")
        self.last = self.last or self.tail()
        self.violations.append(Violation(invariant, at, text))

    def excused(self, *runs: str) -> str:
        """Why two runs may meet, if they may."""
        if any(run in self.forgotten for run in runs):
            return "the store has lost the claim"
        return self.lenient

    def tail(self, count: int = 120) -> str:
        """The last things that happened."""
        return "\n".join(f"  {at:12.4f}  {text}" for at, text in list(self.trace)[-count:])

    # -- in processes ----------------------------------------------------------------------------

    def begins(self, at: float, work: Work) -> None:
        """A task's coroutine has begun."""
        claim, kind = work.claim, work.kind
        self.note(
            at, f"{work.member} begins {kind.name} {work.run_id} token {claim.token} for {work.due:%T.%f}"
        )
        if work.run_id in self.begun:
            self.violated(
                "C3", at, f"{kind.name}: {work.run_id} begun twice", excuse=self.excused(work.run_id)
            )
        base = work.run_id.partition("~")[0]
        if base not in self.offered:
            other = self.ticks.setdefault((claim.job_id, work.due), base)
            if other != base:
                excuse = self.excused(base, other)
                self.violated(
                    "C3", at, f"{kind.name} for {work.due:%T.%f}: {other}, and {base}", excuse=excuse
                )
        self.begun[work.run_id] = work
        if not work.trusted:
            self.violated("C8", at, f"{work.run_id} begins at {work.member} with a claim that is over")
        if kind.alone:
            self._nobody_goes_on(at, work)
        self.works[work] = None
        self.step(at, work)

    def stands_still(self, member: str, until: float) -> None:
        """A node may not do anything until then, and what it was about to soon after."""
        self.halted[member] = max(until, self.halted.get(member, until))

    def _nobody_goes_on(self, at: float, work: Work) -> None:
        for other in self.works:
            if other.kind is not work.kind or other is work or other.node.dead or other.stubborn:
                continue
            halted = other.node.frozen or at - self.halted.get(other.member, -1e9) < RECENT_S
            if not halted and not other.node.cost:
                text = f"{work.kind.name}: {other.run_id} goes on at {other.member} as {work.run_id} begins"
                self.violated("C8", at, text, excuse=self.excused(other.run_id, work.run_id))

    def step(self, at: float, work: Work) -> bool:
        """A task is about to do something; whether its claim lets it."""
        if not work.trusted:
            return False
        self.steps += 1
        kind = work.kind
        self.has_margin(at, work.member, work.claim.session)
        if not kind.alone:
            return True
        newest = self.newest.get(kind.name, 0)
        if work.claim.token < newest:
            text = f"{kind.name}: {work.run_id} at {work.member} acts with {work.claim.token} after {newest}"
            self.violated("C2", at, text, excuse=self.excused(work.run_id))
        self.newest[kind.name] = max(newest, work.claim.token)
        for other in self.works:
            if other.kind is kind and other is not work and other.trusted:
                text = f"{kind.name}: {work.run_id} at {work.member} and {other.run_id} at {other.member}"
                self.violated("C1", at, text, excuse=self.excused(work.run_id, other.run_id))
        return True

    def has_margin(self, at: float, member: str, session: str) -> None:
        """A process trusts its session at this moment."""
        left = self.expires.get(session, 0.0) - self.elapsed()
        if left < MARGIN_S and at - self.forward_at > LIFE_S:
            text = f"{member} may act in {session} with {left:.3f} s left"
            self.violated("C10", at, text, excuse=self.excused())

    def ends(self, at: float, work: Work, how: str) -> None:
        """It has ended."""
        if work in self.works:
            del self.works[work]
            self.done[work.run_id] = how
            self.ended_at[work.run_id] = at
            self.note(at, f"{work.member} ends {work.kind.name} {work.run_id}: {how}")

    def dies(self, node: Node) -> None:
        """A process has been killed."""
        for work in [each for each in self.works if each.node is node]:
            del self.works[work]

    # -- at the store ----------------------------------------------------------------------------

    def applied(self, at: float, member: str, name: str, args: Sequence[Any], said: Any) -> None:
        """The store has carried out a call."""
        if isinstance(said, Exception):
            self.note(at, f"{name} of {member} failed: {said}")
        elif name == "join":
            self.expires[args[0].id] = self.elapsed() + args[1]
            self.note(at, f"{member} joins as {args[0].id}")
        elif name == "beat":
            if said.alive:
                self.expires[args[0]] = self.elapsed() + args[1]
            self._beat(at, member, args[0], said)
        elif name in ("claim", "accept"):
            for asked, answer in zip(args[1], said, strict=True):
                self._claim(at, member, args[0], asked, answer)
        elif name == "finish":
            for ending, accepted in zip(args[0], said, strict=True):
                self._finish(at, member, ending, accepted)
        elif name == "leave":
            self.note(at, f"{member} leaves {args[0]}")
            for run in [run for run, each in self.going.items() if each.session == args[0]]:
                self._loses(at, run, "its session left")
        elif name == "offer":
            offer: Offer = args[0]
            self.offered[offer.run_id] = None
            self.note(at, f"{member} offers {self.called(offer.job_id)} {offer.run_id}: {said}")
        else:
            self.note(at, f"{name} of {member}")

    def called(self, job: UUID) -> str:
        """The name of a job's task."""
        kind = self.jobs.get(job)
        return str(job) if kind is None else kind.name

    def _beat(self, at: float, member: str, session: str, beat: Beat) -> None:
        self.digest = zlib.crc32(f"{at!r} {session}".encode(), self.digest)
        if not beat.alive:
            self.note(at, f"{member} beats as {session}, which is over")
        for run in beat.lost:
            self._loses(at, run.id, f"found by {member}")

    def _claim(self, at: float, member: str, session: str, asked: Any, answer: Claimed | Refused) -> None:
        self.claims += 1
        kind = self.jobs.get(answer.job_id)
        if isinstance(answer, Refused):
            self.refused += 1
            wanted = asked.run_id if isinstance(asked, Tick) else asked[0]
            self.note(at, f"{member} is refused {self.called(answer.job_id)} {wanted}: {answer.why}")
            self._refusal(at, asked, answer)
            return
        run, attempt = answer.run_id, answer.attempt
        if run in self.going and self.going[run].session == session:
            return  # asked again
        self.note(at, f"{member} claims {self.called(answer.job_id)} {run} {answer.token} in {session}")
        others = [other for other, each in self.going.items() if each.job == answer.job_id]
        if others and kind is not None and kind.alone:
            excuse = self.excused(run, *others)
            self.violated("C1", at, f"{kind.name}: {run} is claimed while {others} go on", excuse=excuse)
        if run in self.going or run in self.lost:
            text = f"{run} is claimed by {session} though it is not to be had"
            self.violated("C4", at, text, excuse=self.excused(run))
        base, _, number = run.partition("~")
        before = base if number == "2" else f"{base}~{int(number or 1) - 1}"
        if number and (before not in self.lost or int(number) != attempt):
            excuse = self.excused(base, before)
            self.violated("C3", at, f"{run} is attempt {attempt}, and {before} was not lost", excuse=excuse)
        if answer.token <= self.tokens.get(answer.job_id, 0):
            text = f"{run} has token {answer.token} after {self.tokens[answer.job_id]}"
            self.violated("C2", at, text, excuse="the store has lost the claim" if self.lossy else "")
        self.tokens[answer.job_id] = answer.token
        self.going[run] = Going(answer.job_id, session)
        self.written.append((at, run, None))

    def _refusal(self, at: float, asked: Any, answer: Refused) -> None:
        beside = answer.why in (Refusal.BUSY, Refusal.QUEUED)
        nothing = all(each.job != answer.job_id for each in self.going.values())
        if beside and nothing and not self.lossy:
            self.violated("C9", at, f"{self.called(answer.job_id)}: {answer.why}, and nothing goes on")
        kind = self.jobs.get(answer.job_id)
        if (
            isinstance(asked, Tick)
            and asked.patient
            and answer.why is Refusal.BUSY
            and answer.run_id is not None
        ):
            self.violated("C9", at, f"{self.called(answer.job_id)}: a patient tick is skipped: {asked}")
        if beside and kind is not None and not kind.alone:
            self.violated("C9", at, f"{kind.name} may run beside another, and is refused: {answer.why}")

    def _finish(self, at: float, member: str, ending: Ending, accepted: bool) -> None:
        run = ending.run_id
        text = f"{member} says {run} {ending.token} {ending.status}{' again' if ending.again else ''}"
        self.note(at, f"{text}: {'accepted' if accepted else 'refused'}")
        if not accepted:
            self.zombies += 1
            return
        if run not in self.going:
            return  # told again, or by a zombie: what is written down is compared in the end
        if ending.status is RunStatus.LOST:
            self.lost[run] = None
        self._frees(at, run)

    def _loses(self, at: float, run: str, why: str) -> None:
        self.note(at, f"{run} is lost: {why}")
        if run in self.going:
            self.lost[run] = None
            self._frees(at, run)
        elif not self.lossy:
            self.violated("C4", at, f"{run} is lost, and was not in progress")

    def store_loses(self, at: float, since: float) -> None:
        """What was written since then is lost: claims are forgotten, and ends were never told."""
        self.lossy = True
        self.note(at, f"the store has lost what it was told since {since:.4f}")
        while self.written and self.written[-1][0] >= since:
            _, run, was = self.written.pop()
            if was is None:
                self.going.pop(run, None)
                self.forgotten[run] = None
            else:
                self.lost.pop(run, None)
                self.going[run] = was

    def _frees(self, at: float, run: str) -> None:
        was = self.going.pop(run)
        self.free_since[was.job] = at
        self.written.append((at, run, was))
