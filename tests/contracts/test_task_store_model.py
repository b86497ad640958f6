"""Every kind of store answers as the reference does, whatever is asked in whatever order.

A drawn list of operations is applied to a store and to a new `MemoryTaskStore`, side by side; answers must
agree in all that does not depend on the time. Sessions expire by joining once more, for no time at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st
from tests.support.task_stores import DUE, FUTURE, HOUR, LONG, TaskStores, a_job, a_run, a_session

from bgtasks.contracts import TaskStore
from bgtasks.policies import Overlap
from bgtasks.records import Claimed, Ending, JobRow, Offer, RunQuery, RunStatus, SessionRow, Tick
from bgtasks.stores.tasks.memory import MemoryTaskStore

pytest_plugins = ["tests.support.task_stores"]

AGES_AGO = datetime(2000, 1, 1, tzinfo=UTC)
PRESENT = datetime(2025, 1, 1, tzinfo=UTC), datetime(2090, 1, 1, tzinfo=UTC)
"""Instants between these are of a store's clock, and not compared."""

TYPES = ("tidy", "sow", "water")
SLOTS = 3


def timeless(value: object, name: str = "") -> object:
    """An answer without what depends on the time."""
    if isinstance(value, datetime):
        return "some time" if PRESENT[0] < value < PRESENT[1] else value
    if name == "token" or (name == "duration_ms" and value):
        return bool(value)
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
                assert each.token > self.largest.get(each.job_id, 0)
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


slots = st.integers(0, SLOTS - 1)
places = st.integers(0, 5)
rarely = st.sampled_from([False] * 5 + [True])
mostly = st.sampled_from([True] * 5 + [False])
over = st.sampled_from([each for each in RunStatus if each.is_over and each is not RunStatus.LOST])
wants = st.builds(
    Want,
    slots,
    st.sampled_from(Overlap),
    stale=rarely,
    runs=mostly,
    missed=rarely,
    last=rarely,
    attempts=st.integers(1, 3),
    late=rarely,
)
changes = st.fixed_dictionaries(
    {},
    optional={"enabled": mostly, "reason": st.just("r"), "interval_minutes": st.sampled_from([None, 60.0])},
)
operations: st.SearchStrategy[Operation] = st.one_of(
    st.builds(Join, slots, st.sampled_from([TYPES, TYPES[:1], TYPES[1:], ()])),
    st.builds(Die, slots, st.booleans()),
    st.builds(Hear, slots, st.sampled_from([0.0, 1e8])),
    st.builds(Claim, slots, st.lists(wants, max_size=4)),
    st.builds(Claim, slots, st.lists(wants, min_size=1, max_size=1)),
    st.builds(ClaimAgain, places),
    st.builds(Accept, slots, st.lists(st.tuples(places, st.booleans()), max_size=3)),
    st.builds(AcceptWhatIsOffered, slots, st.booleans()),
    st.builds(
        Finish,
        st.lists(st.tuples(places, over, rarely, st.sampled_from([0, 0, 0, 0, 1])), max_size=3),
    ),
    st.builds(Add, slots, st.sampled_from(TYPES), st.sampled_from([None, "k", "l"]), st.booleans(), rarely),
    st.builds(Change, slots, changes, st.sampled_from([None, None, True, False]), rarely),
    st.builds(Remove, slots),
    st.builds(Wish, slots, st.integers(1, 3), st.one_of(st.none(), st.none(), places)),
    st.builds(Skip, slots, st.one_of(st.none(), places)),
    st.builds(Prune, rarely, st.sampled_from([0, 1000, 1000])),
    st.just(Look()),
)
BEGIN: list[Operation] = [
    Join(0, TYPES),
    Join(1, TYPES),
    Add(0, TYPES[0], None, interval=False, again=False),
    Add(1, TYPES[1], "k", interval=True, again=False),
]
"""Without these most of what is drawn would come to nothing."""


async def play(store: TaskStore, drawn: list[Operation]) -> None:
    """Apply operations to a store and to the reference, and compare the answers."""
    one, reference = Side(store), Side(MemoryTaskStore())
    try:
        for each in [*BEGIN, *drawn, Look()]:
            expected = timeless(await each.on(reference))
            note(f"{each}: {expected}")
            assert timeless(await each.on(one)) == expected, each
    finally:
        await one.empty()


def agrees(place: TaskStores, examples: int, length: int) -> None:
    """Draw examples, each on an empty place."""
    with asyncio.Runner() as runner:
        try:
            runner.run(place.prepare())
            store = runner.run(place.store())

            @settings(max_examples=examples)
            @given(st.lists(operations, max_size=length))
            def check(drawn: list[Operation]) -> None:
                runner.run(play(store, drawn))

            check()
        finally:
            runner.run(place.stack.aclose())


def test_a_store_answers_as_the_reference_does(place: TaskStores) -> None:
    agrees(place, 25, 25)


@pytest.mark.full
@pytest.mark.timeout(600)
def test_a_store_answers_as_the_reference_does_for_long(place: TaskStores) -> None:
    agrees(place, 200, 60)
