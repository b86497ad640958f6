"""Somebody who works with a task store and remembers the answers, so that two stores can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import UTC, datetime
from uuid import UUID

from tests.support.task_stores import DUE, FUTURE, HOUR, LONG

from bgtasks.contracts import TaskStore
from bgtasks.records import Claimed, RunQuery, SessionRow, Tick

__all__ = ["AGES_AGO", "BOTS", "PRESENT", "TYPES", "Side", "timeless"]

AGES_AGO = datetime(2000, 1, 1, tzinfo=UTC)
PRESENT = datetime(2025, 1, 1, tzinfo=UTC), datetime(2090, 1, 1, tzinfo=UTC)
"""Instants between these are of a store's clock, and not compared."""

TYPES = ("tidy", "sow", "water")
BOTS = ("*", "b1")


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
    told: list[str] = field(default_factory=list)
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

    def some_command(self, place: int) -> str:
        """A command that was sent; the latest are the likeliest."""
        return self.told[-1 - place % len(self.told)] if self.told else "none"

    def heard(self, answers: Sequence[object]) -> Sequence[object]:
        """Remember tokens, which must have grown."""
        for each in answers:
            if isinstance(each, Claimed) and each.run_id not in self.tokens:
                assert each.token > self.largest.get(each.job_id, 0), each
                self.tokens[each.run_id] = self.largest[each.job_id] = each.token
        return answers

    async def offered(self, slot: int) -> list[str]:
        """Runs that the session of a slot hears are wanted, by id."""
        told = await self.store.beat(self.session(slot), LONG, 0.0)
        wanted = sorted(offer.run_id for offer in told.offers)
        self.runs += [each for each in wanted if each not in self.runs]
        return wanted

    async def empty(self) -> None:
        """Leave nothing behind."""
        for row in await self.store.sessions():
            await self.store.leave(row.id)
        for job in await self.store.jobs(limit=10_000):
            await self.store.remove(job.id)
        await self.store.beat("nobody", LONG, 0.0)
        await self.store.prune(FUTURE, 0)
        assert list(await self.store.runs(RunQuery())) == []
        assert list(await self.store.commands()) == []
        assert dict(await self.store.types()) == {}
