"""What a call is about, taken out of the database and decided upon by the reference store.

So each rule of what becomes of a tick, an offer or an ending is written down once, in `memory`: a call
locks and loads the rows that it is about, asks the draft, and writes back what that has changed.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from bgtasks.records import JobRow, RunRow, SessionRow
from bgtasks.stores.tasks.memory import MemoryTaskStore
from bgtasks.stores.tasks.rows import Jobs, Runs

__all__ = ["Draft"]

_MICROSECOND = timedelta(microseconds=1)


class Draft(MemoryTaskStore):
    """The rows that a call is about.

    Args:
        at: The database's time.
        jobs: All that the call is about.
        runs: Those that it names, and those of its jobs that are not over.
        session: Who asks, if it is known.
    """

    def __init__(
        self, at: datetime, jobs: Iterable[JobRow], runs: Iterable[RunRow], session: SessionRow | None = None
    ) -> None:
        super().__init__(_Onward(at))
        self._jobs = self._jobs_seen = _JobsSeen()
        self._runs = self._runs_seen = _RunsSeen()
        for job in jobs:
            self._jobs.put(job)
        for run in sorted(runs, key=lambda run: (run.created_at, run.id)):
            self._runs.put(run)
        if session is not None:
            self._sessions[session.id] = session
        self._jobs_seen.changed.clear()
        self._runs_seen.changed.clear()

    @property
    def changed_jobs(self) -> Iterable[JobRow]:
        """Jobs that are not as they were loaded."""
        return self._jobs_seen.changed.values()

    @property
    def changed_runs(self) -> Iterable[RunRow]:
        """Runs that are new, or not as they were loaded."""
        return self._runs_seen.changed.values()

    def lose(self) -> tuple[RunRow, ...]:
        """Give up each run in progress; these, as they are then."""
        return self._reap()


# Whatever the reference changes, it puts.


class _JobsSeen(Jobs):
    def __init__(self) -> None:
        super().__init__()
        self.changed: dict[UUID, JobRow] = {}

    def put(self, job: JobRow) -> JobRow:
        self.changed[job.id] = job
        return super().put(job)


class _RunsSeen(Runs):
    def __init__(self) -> None:
        super().__init__()
        self.changed: dict[str, RunRow] = {}

    def put(self, run: RunRow) -> RunRow:
        self.changed[run.id] = run
        return super().put(run)


class _Onward:
    """A microsecond passes between two looks at it: what comes first in a call is the earlier."""

    def __init__(self, at: datetime) -> None:
        self._at = at

    def now(self) -> datetime:
        self._at += _MICROSECOND
        return self._at

    def monotonic(self) -> float:
        return self._at.timestamp()
