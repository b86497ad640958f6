"""Jobs that are paused and resumed for all nodes, in the store."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from bgtasks.claims.ask import Ask
from bgtasks.claims.book import Book
from bgtasks.claims.declared import kept_trigger
from bgtasks.claims.plan import plan
from bgtasks.claims.session import Session
from bgtasks.contracts import TaskStore
from bgtasks.errors import InvalidTrigger
from bgtasks.job import Job
from bgtasks.policies import CatchUp
from bgtasks.records import JobRow, RunRow, skipped_run
from bgtasks.run import NewRunId
from bgtasks.triggers import Once

__all__ = ["Switches", "switched"]


async def switched(
    store: TaskStore, ask: Ask, id: UUID, paused: str | None, now: Callable[[], datetime], run_id: str
) -> JobRow | None:
    """Pause a job and say why, or resume it; as it is then. None if there is no such job.

    What came due in a pause is not caught up with, and is written down as skipped. A plain interval, which
    has one due instant and no more, is due at once.

    Args:
        run_id: Of the skipped run that says so; the same if it is asked again.

    Raises:
        BgTasksError: The store does not answer.
    """
    while (row := await ask(store.job(id))) is not None:
        if row.enabled == (paused is None) and row.reason == (paused or ""):
            return row
        change = replace(row, enabled=paused is None, reason=paused or "")
        if paused is None and not row.enabled and row.interval_minutes is None:
            following, passed = _resumed(row, now(), run_id)
            change = replace(change, next_run_at=following)
            if passed is not None:  # first, or it would be forgotten if the answer to the change was lost
                await ask(store.skip(passed))
        kept = await ask(store.change(change))
        if kept is not None:  # else somebody else changed it: look again
            return kept
    return None


def _resumed(row: JobRow, now: datetime, run_id: str) -> tuple[datetime | None, RunRow | None]:
    """When a job is due after a pause, and what is written down of the ticks that passed in it.

    Of a trigger that only other code knows, what was due stays so, and is caught up with by its policy.
    """
    due = row.next_run_at
    if due is None or due > now:
        return due, None
    try:
        planned = plan(kept_trigger(Once(due), row), CatchUp.ONE, due, now, row.anchor)
    except InvalidTrigger:
        return due, None
    ticks = f"{planned.ticks + 1} ticks" if planned.ticks else "a tick"
    why = f"{ticks} passed while it was paused: {row.reason or 'by hand'}"
    return planned.following, skipped_run(row, run_id, due, now, why)


class Switches:
    """Pauses and resumptions that the store is to be told of.

    Args:
        declare: Makes a task known to the store.
    """

    def __init__(
        self,
        session: Session,
        book: Book,
        new_run_id: NewRunId,
        declare: Callable[[Job], Coroutine[Any, Any, None]],
    ) -> None:
        self._session = session
        self._book = book
        self._new_run_id = new_run_id
        self._declare = declare
        self._wanted: dict[UUID, tuple[str | None, str]] = {}

    def __bool__(self) -> bool:
        return bool(self._wanted)

    def __contains__(self, job: object) -> bool:
        return job in self._wanted

    def want(self, job: UUID, paused: str | None) -> None:
        """Pause it for this reason, or with None resume it."""
        self._wanted[job] = (paused, self._new_run_id())

    async def tell_next(self) -> None:
        """Tell of the next one.

        Raises:
            BgTasksError: The store does not answer.
        """
        id, wanted = next(iter(self._wanted.items()))
        if (job := self._book.jobs.get(id)) is not None:
            await self._declare(job)
        store, ask = self._session.store, self._session.ask
        row = await switched(store, ask, id, wanted[0], self._book.now, wanted[1])
        if self._wanted.get(id) == wanted:
            del self._wanted[id]
            if row is not None and job is not None:
                self._book.see(job, row)
