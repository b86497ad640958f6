"""Operations of a task store for tests, and somebody who asks for them and remembers the answers.

What is asked is the same of any two stores to which the same operations were applied before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from tests.support.task_stores import DUE, FUTURE, HOUR, LONG, a_job, a_run, a_session

from bgtasks.contracts import TaskStore
from bgtasks.policies import Overlap
from bgtasks.records import Claimed, Ending, JobRow, Offer, RunQuery, RunStatus, SessionRow, Tick

__all__ = [
    "TYPES",
    "Accept",
    "AcceptWhatIsOffered",
    "Add",
    "Change",
    "Claim",
    "ClaimAgain",
    "Die",
    "Finish",
    "Hear",
    "Join",
    "Look",
    "Operation",
    "Prune",
    "Remove",
    "Side",
    "Skip",
    "Want",
    "Wish",
    "timeless",
]

AGES_AGO = datetime(2000, 1, 1, tzinfo=UTC)
PRESENT = datetime(2025, 1, 1, tzinfo=UTC), datetime(2090, 1, 1, tzinfo=UTC)
"""Instants between these are of a store's clock, and not compared."""

TYPES = ("tidy", "sow", "water")


def timeless(value: object, name: str = "") -> object:
    """An answer without what depends on the time."""
    if isinstance(value, datetime):
        return "some time" if PRESENT[0] < value < PRESENT[1] else value
    if name == "token":
        return bool(value)
    if name == "duration_ms" and value is not None:
        return "some time"
    if is_dataclass(value):
        return {each.name: timeless(getattr(value, each.name), each.name) for each in fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {key: timeless(each, key) for key, each in value._asdict().items()}
    if isinstance(value, list | tuple):
        return [timeless(each) for each in value]
    return value


@dataclass
class Side:
    """One of the two stores, and what somebody who works with it remembers.

    Ids are never used again: a slot stands for one job, or session, after the other.
    """

    store: TaskStore
    sessions: dict[int, SessionRow] = field(default_factory=dict)
    dead: set[str] = field(default_factory=set)
    jobs: dict[int, UUID] = field(default_factory=dict)
    ticks: list[tuple[str, Tick]] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    tokens: dict[str, int] = field(default_factory=dict)
    largest: dict[UUID, int] = field(default_factory=dict)
    count: int = 0

    def number(self) -> int:
        """A number that was never given."""
        self.count += 1
        return self.count

    def instant(self) -> datetime:
        """An instant, long ago, that was never given; each is later than the one before."""
        return DUE + self.number() * HOUR

    def new_run(self) -> str:
        """The id of a run that will be."""
        self.runs.append(f"r{self.number()}")
        return self.runs[-1]

    def session(self, slot: int) -> str:
        """The session of a slot, alive or not."""
        return self.sessions[slot].id if slot in self.sessions else "nobody"

    def job(self, slot: int) -> UUID:
        """The job of a slot, which may have been removed."""
        return self.jobs.get(slot, UUID(int=slot))

    def some_run(self, place: int) -> str:
        """A run that was spoken of; the latest are the likeliest."""
        return self.runs[-1 - place % len(self.runs)] if self.runs else "none"

    def heard(self, answers: Sequence[object]) -> Sequence[object]:
        """Remember tokens, which must have grown."""
        for each in answers:
            if isinstance(each, Claimed) and each.run_id not in self.tokens:
                assert each.token > self.largest.get(each.job_id, 0), each
                self.tokens[each.run_id] = self.largest[each.job_id] = each.token
        return answers

    async def empty(self) -> None:
        """Leave nothing behind."""
        for row in await self.store.sessions():
            await self.store.leave(row.id)
        for job in await self.store.jobs(limit=10_000):
            await self.store.remove(job.id)
        await self.store.beat("nobody", LONG, 0.0)
        await self.store.prune(FUTURE, 0)
        assert list(await self.store.runs(RunQuery())) == []


class Operation:
    """Something that is asked of a store."""

    async def on(self, side: Side) -> object:
        """What the answer is."""
        raise NotImplementedError


@dataclass(frozen=True)
class Join(Operation):
    slot: int
    wired: tuple[str, ...]

    async def on(self, side: Side) -> object:
        known = side.sessions.get(self.slot)
        if known is None or known.id in side.dead:
            row = a_session(*self.wired, id=f"s{side.number()}", node_id=f"n{self.slot}")
            side.sessions[self.slot] = row
            return await side.store.join(row, LONG)
        side.sessions[self.slot] = replace(known, wired=self.wired)
        await side.store.describe(side.sessions[self.slot])
        return None


@dataclass(frozen=True)
class Die(Operation):
    slot: int
    says_so: bool

    async def on(self, side: Side) -> object:
        row = side.sessions.get(self.slot)
        if row is None or row.id in side.dead:
            return None
        side.dead.add(row.id)
        if self.says_so:
            await side.store.leave(row.id)
        else:
            await side.store.join(row, 0.0)
        return None


@dataclass(frozen=True)
class Hear(Operation):
    slot: int
    horizon: float

    async def on(self, side: Side) -> object:
        told = await side.store.beat(side.session(self.slot), LONG, self.horizon)
        due = told.due if self.horizon == 0.0 else sorted(told.due, key=lambda job: job.id)
        # Those of one call may be of one instant.
        return (
            told.alive,
            [timeless(each) for each in due],
            sorted(told.offers),
            sorted(told.unwanted),
            sorted(told.lost, key=lambda run: run.id),
        )


@dataclass(frozen=True)
class Want:
    """One tick of a claim."""

    job: int
    overlap: Overlap
    stale: bool
    runs: bool
    missed: bool
    last: bool
    attempts: int
    late: bool


@dataclass(frozen=True)
class Claim(Operation):
    slot: int
    wants: list[Want]

    async def on(self, side: Side) -> object:
        session, ticks = side.session(self.slot), list[Tick]()
        for want in self.wants:
            row = await side.store.job(side.job(want.job))
            seen = None if row is None else row.next_run_at
            due = AGES_AGO if seen is None or want.stale else seen
            one = Tick(
                side.job(want.job),
                due,
                None if want.last else side.instant(),
                side.new_run(),
                side.instant() if want.runs else None,
                "asleep" if want.missed or not want.runs else "",
                want.overlap,
                want.attempts,
                want.late,
            )
            ticks.append(one)
            side.ticks.append((session, one))
        return side.heard(await side.store.claim(session, ticks))


@dataclass(frozen=True)
class ClaimAgain(Operation):
    place: int

    async def on(self, side: Side) -> object:
        if not side.ticks:
            return None
        session, one = side.ticks[-1 - self.place % len(side.ticks)]
        return side.heard(await side.store.claim(session, [one]))


@dataclass(frozen=True)
class Accept(Operation):
    slot: int
    offers: list[tuple[int, bool]]

    async def on(self, side: Side) -> object:
        wanted = [(side.some_run(place), beside) for place, beside in self.offers]
        return side.heard(await side.store.accept(side.session(self.slot), wanted))


@dataclass(frozen=True)
class AcceptWhatIsOffered(Operation):
    slot: int
    beside: bool

    async def on(self, side: Side) -> object:
        told = await side.store.beat(side.session(self.slot), LONG, 0.0)
        wanted = sorted(offer.run_id for offer in told.offers)
        side.runs += [each for each in wanted if each not in side.runs]
        answers = await side.store.accept(side.session(self.slot), [(run, self.beside) for run in wanted])
        return side.heard(answers)


@dataclass(frozen=True)
class Finish(Operation):
    endings: list[tuple[int, RunStatus, bool, int]]

    async def on(self, side: Side) -> object:
        said = list[Ending]()
        for place, status, again, off in self.endings:
            run = side.some_run(place)
            said.append(Ending(run, side.tokens.get(run, 0) + off, status, 5, "{}", "why", again))
        return await side.store.finish(said)


@dataclass(frozen=True)
class Add(Operation):
    slot: int
    job_type: str
    key: str | None
    interval: bool
    again: bool

    async def on(self, side: Side) -> object:
        if not (self.again and self.slot in side.jobs):
            side.jobs[self.slot] = UUID(int=side.number() * 1_000_003)
        job = a_job(
            self.job_type,
            id=side.job(self.slot),
            key=self.key,
            interval_minutes=60.0 if self.interval else None,
            trigger=None if self.interval else "every hour",
            next_run_at=side.instant(),
        )
        kept = await side.store.add(job)
        side.jobs[self.slot] = kept.id
        return kept


@dataclass(frozen=True)
class Change(Operation):
    slot: int
    what: dict[str, Any]
    due: bool | None
    stale: bool

    async def on(self, side: Side) -> object:
        row = await side.store.job(side.job(self.slot))
        if row is None:
            return await side.store.change(a_job(id=side.job(self.slot)))
        wanted = replace(row, version=row.version - self.stale, **self.what)
        if self.due is not None:
            wanted = replace(wanted, next_run_at=side.instant() if self.due else None)
        return await side.store.change(wanted)


@dataclass(frozen=True)
class Remove(Operation):
    slot: int

    async def on(self, side: Side) -> object:
        return await side.store.remove(side.job(self.slot))


@dataclass(frozen=True)
class Wish(Operation):
    slot: int
    attempts: int
    place: int | None

    async def on(self, side: Side) -> object:
        run = side.new_run() if self.place is None else side.some_run(self.place)
        return await side.store.offer(Offer(run, side.job(self.slot), DUE, 1, self.attempts))


@dataclass(frozen=True)
class Skip(Operation):
    slot: int
    place: int | None

    async def on(self, side: Side) -> object:
        run = side.new_run() if self.place is None else side.some_run(self.place)
        await side.store.skip(a_run(id=run, job_id=side.job(self.slot), created_at=side.instant()))
        return None


@dataclass(frozen=True)
class Prune(Operation):
    all_of_them: bool
    keep: int

    async def on(self, side: Side) -> object:
        return await side.store.prune(FUTURE if self.all_of_them else AGES_AGO, self.keep)


@dataclass(frozen=True)
class Look(Operation):
    """All that there is, by whatever way it can be asked for."""

    async def on(self, side: Side) -> object:
        jobs: list[JobRow] = list(await side.store.jobs(limit=10_000))
        runs = sorted(await side.store.runs(RunQuery(limit=10_000)), key=lambda run: run.id)
        some = [
            sorted(run.id for run in await side.store.runs(query))
            for query in (
                *(RunQuery(job_id=job, limit=10_000) for job in side.jobs.values()),
                *(RunQuery(job_type=each, limit=10_000) for each in TYPES),
                *(RunQuery(statuses=(each,), limit=10_000) for each in RunStatus),
            )
        ]
        typed = [[job.id for job in await side.store.jobs(job_type=each)] for each in TYPES]
        single = [await side.store.run(run) for run in side.runs]
        return await side.store.sessions(), jobs, runs, some, typed, single
