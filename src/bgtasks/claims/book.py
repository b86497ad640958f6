"""The cluster tasks of this process, as the store has them."""

from __future__ import annotations

from collections.abc import Container
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from bgtasks.claims.session import Session
from bgtasks.claims.stored import Stored
from bgtasks.clock import Clock
from bgtasks.job import Job
from bgtasks.policies import Overlap
from bgtasks.records import JobRow

if TYPE_CHECKING:
    from bgtasks.dispatcher import Dispatcher

__all__ = ["Book"]


class Book:
    """Jobs by their ids, each with its row as it was seen last.

    Attributes:
        jobs: Those of this process.
        switching: Those whose pause, or its end, the store has not been told of yet.
    """

    def __init__(self, session: Session, dispatcher: Dispatcher, clock: Clock) -> None:
        self.jobs: dict[UUID, Job] = {}
        self.switching: Container[UUID] = ()
        self._session = session
        self._dispatcher = dispatcher
        self._clock = clock

    def now(self) -> datetime:
        """The store's time."""
        return self._session.now(self._clock.monotonic())

    def see(self, job: Job, row: JobRow) -> None:
        """A job as the store has it."""
        job.failures = row.failures
        if row.id not in self.switching and not stored(job).guest:
            self._dispatcher.pauses.follow(job, None if row.enabled else row.reason or "by hand")
        self.place(job, row)

    def place(self, job: Job, row: JobRow) -> None:
        """Put a job where its row says that it is due."""
        at = row.next_run_at if row.enabled else None
        agenda = stored(job)
        if agenda.fault is None:
            agenda.see(row, None if at is None else self._session.mono(at))
            self._dispatcher.place(job)

    def place_at(self, job: Job, instant: float | None) -> None:
        """Look at a job again at this instant, and no sooner; with None not before its row is seen anew."""
        stored(job).look(instant)
        self._dispatcher.place(job)

    def put_off(self, job: Job) -> bool:
        """Put off a job while its breaker is open, or beside a run until it is due; whether that was done."""
        alone = job.policy.overlap is not Overlap.ALLOW
        until = job.open_until
        if until is None and (job.waiting is not None or (job.runs and alone)):
            until = job.agenda.due
        later = until is not None and until > self._clock.monotonic()
        self.place_at(job, until if later else None)  # what was found overdue has another entry: not twice
        return later

    def place_again(self, job: Job) -> None:
        """Put a job where it was seen to be due last."""
        if (row := stored(job).row) is not None:
            self.place(job, row)

    def fault(self, job: Job, error: Exception) -> None:
        """Its trigger failed, and is not asked again."""
        stored(job).fault = f"its trigger raised {type(error).__name__}: {error}"
        self._dispatcher.place(job)


def stored(job: Job) -> Stored:
    """The agenda of a job that is kept in a store."""
    assert isinstance(job.agenda, Stored)
    return job.agenda
