"""Operations of a task store for tests, as they are asked for on one of two sides.

What is asked is the same of any two stores to which the same operations were applied before.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from tests.support.task_store_side import AGES_AGO, BOTS, PRESENT, TYPES, Side, timeless
from tests.support.task_stores import DUE, FUTURE, LONG, a_job, a_run, a_session

from bgtasks.policies import Overlap
from bgtasks.records import Command, Ending, JobRow, Offer, RunQuery, RunStatus, Tick

__all__ = [
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
    "Reply",
    "Skip",
    "Tell",
    "Want",
    "Wish",
    "Withdraw",
    "WithdrawWhatIsOffered",
]


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
            told.commands,
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
    patient: bool


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
                want.patient,
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
        wanted = await side.offered(self.slot)
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
    bot_id: str = "*"
    over: bool = False

    async def on(self, side: Side) -> object:
        if not (self.again and self.slot in side.jobs):
            side.jobs[self.slot] = UUID(int=side.number() * 1_000_003)
        job = a_job(
            self.job_type,
            id=side.job(self.slot),
            bot_id=self.bot_id,
            key=self.key,
            interval_minutes=60.0 if self.interval else None,
            trigger=None if self.interval else "every hour",
            next_run_at=None if self.over else side.instant(),
            last_run_at=side.instant() if self.over else None,
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
class Withdraw(Operation):
    place: int

    async def on(self, side: Side) -> object:
        return await side.store.withdraw(side.some_run(self.place), "withdrawn")


@dataclass(frozen=True)
class WithdrawWhatIsOffered(Operation):
    slot: int

    async def on(self, side: Side) -> object:
        wanted = await side.offered(self.slot)
        return [await side.store.withdraw(each, "withdrawn") for each in wanted]


@dataclass(frozen=True)
class Tell(Operation):
    node_id: str
    ttl: float
    place: int | None

    async def on(self, side: Side) -> object:
        if self.place is None:
            side.told.append(f"c{side.number()}")
        command = Command(id=side.some_command(self.place or 0), kind="pause", node_id=self.node_id)
        return await side.store.command(command, self.ttl)


@dataclass(frozen=True)
class Reply(Operation):
    slot: int
    place: int
    done: bool

    async def on(self, side: Side) -> object:
        text = f"answer {side.number()}"
        await side.store.answer(side.session(self.slot), side.some_command(self.place), self.done, text)
        return None


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
    before: Literal["ages ago", "what was said", "what was done", "all"]
    keep: int

    async def on(self, side: Side) -> object:
        instants = {
            "ages ago": AGES_AGO,
            "what was said": PRESENT[0],
            "what was done": datetime.now(UTC) + timedelta(seconds=1),
            "all": FUTURE,
        }
        return await side.store.prune(instants[self.before], self.keep)


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
        owned = [[job.id for job in await side.store.jobs(bot_id=each)] for each in BOTS]
        both = [
            [job.id for job in await side.store.jobs(job_type=each, bot_id=bot, limit=2)]
            for each in TYPES
            for bot in BOTS
        ]
        single = [await side.store.run(run) for run in side.runs]
        told = [await side.store.commands(id=each) for each in side.told]
        counts = list((await side.store.types()).items())
        sessions, commands = await side.store.sessions(), await side.store.commands(limit=10_000)
        return sessions, jobs, runs, some, typed, owned, both, single, commands, told, counts
