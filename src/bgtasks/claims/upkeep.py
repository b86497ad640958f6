"""The chores of a store, done by one node for all: what nobody can run is said, what is old is forgotten."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta

from bgtasks.claims.book import Book
from bgtasks.claims.declared import job_id
from bgtasks.claims.session import Session
from bgtasks.errors import InvalidTask
from bgtasks.events import EventBus, JobsUnresolved

__all__ = ["RETENTION", "Retention", "Upkeep"]

EVERY = 60.0
"""Seconds between two rounds."""

PRUNED_EVERY = 3600.0
"""Seconds between two rounds that forget what is old."""

PRUNING = 60.0
"""Seconds that that may take."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How much of the history of runs is kept.

    Args:
        age: How long a run is remembered after its end.
        runs: How many of each job at most.

    Raises:
        InvalidTask: Nothing would be kept.
    """

    age: timedelta = timedelta(days=30)
    runs: int = 1000

    def __post_init__(self) -> None:
        if self.age <= timedelta(0) or self.runs < 1:
            raise InvalidTask(
                f"a retention keeps runs for a while, and one of each job at least, not {self!r}"
            )


RETENTION = Retention()
"""What is kept unless told otherwise."""


class Upkeep:
    """What the node does that has been there longest; if two take themselves for it, no harm is done."""

    def __init__(self, session: Session, book: Book, bus: EventBus, retention: Retention) -> None:
        self._session = session
        self._book = book
        self._bus = bus
        self._retention = retention
        self._unresolved: frozenset[str] = frozenset()
        self._next = self._next_pruning = float("-inf")

    def is_due(self, now: float) -> bool:
        """Whether it is time for a round, by the node's clock; if so, the next one is set."""
        if now < self._next:
            return False
        self._next = now + EVERY
        return True

    async def round(self, now: float) -> None:
        """Look after the store, if that is this node's to do.

        Raises:
            BgTasksError: The store does not answer.
        """
        store, ask = self._session.store, self._session.ask
        sessions = await ask(store.sessions())
        if not sessions or sessions[0].id != self._session.id:
            self._unresolved = frozenset()
            return
        types = await ask(store.types())
        wired, known = _all(each.wired for each in sessions), _all(each.known for each in sessions)
        await self._say_unresolved({name: count for name, count in types.items() if name not in wired}, known)
        await self._retire([name for name in types if name not in known])
        if now >= self._next_pruning:
            before = self._book.now() - self._retention.age
            await ask(store.prune(before, self._retention.runs), within=PRUNING)
            self._next_pruning = now + PRUNED_EVERY

    async def _say_unresolved(self, types: dict[str, int], known: frozenset[str]) -> None:
        for name, count in types.items():
            if name not in self._unresolved:
                why = "has all that it needs" if name in known else "knows it"
                self._bus.emit(JobsUnresolved(name, count, f"no node that is alive {why}"))
        self._unresolved = frozenset(types)

    async def _retire(self, types: Iterable[str]) -> None:
        """Mark jobs that were declared in code and that no node knows any more; one that does clears it."""
        store, ask = self._session.store, self._session.ask
        for name in types:
            row = await ask(store.job(job_id(name)))
            if row is not None and row.declared and row.retired_at is None:
                await ask(store.change(replace(row, retired_at=self._book.now())))


def _all(names: Iterable[tuple[str, ...]]) -> frozenset[str]:
    return frozenset(name for each in names for name in each)
