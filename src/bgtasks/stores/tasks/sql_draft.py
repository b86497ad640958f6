"""What a call is about, taken out of the database and decided upon by the reference store.

So each rule of what becomes of a tick, an offer or an ending is written down once, in `memory`: a call
locks and loads the rows that it is about, asks the draft, and writes back what that has changed.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

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
        self._jobs = self._jobs_seen = _JobsSeen(jobs)
        self._runs = self._runs_seen = _RunsSeen(runs)
        if session is not None:
            self._sessions[session.id] = session

    @property
    def changed_jobs(self) -> Iterable[JobRow]:
        """Jobs that are not as they were loaded."""
        return self._jobs_seen.changed()

    @property
    def changed_runs(self) -> Iterable[RunRow]:
        """Runs that are new, or not as they were loaded."""
        return self._runs_seen.changed()

    def lose(self) -> tuple[RunRow, ...]:
        """Give up each run in progress; these, as they are then."""
        return self._reap()


# Whatever the reference changes, it puts; and may put what has not changed.


class _JobsSeen(Jobs):
    """Jobs by id alone: of those that a call names, no lists are asked for, and none is removed."""

    def __init__(self, loaded: Iterable[JobRow]) -> None:
        super().__init__()
        self._rows = {job.id: job for job in loaded}
        self._loaded = dict(self._rows)

    def put(self, job: JobRow) -> JobRow:
        self._rows[job.id] = job
        return job

    def changed(self) -> list[JobRow]:
        return [job for id, job in self._rows.items() if job != self._loaded.get(id)]


class _RunsSeen(Runs):
    def __init__(self, loaded: Iterable[RunRow]) -> None:
        super().__init__()
        for run in sorted(loaded, key=lambda run: (run.created_at, run.id)):
            self.put(run)
        self._loaded = dict(self._rows)

    def changed(self) -> list[RunRow]:
        return [run for id, run in self._rows.items() if run != self._loaded.get(id)]


class _Onward:
    """A microsecond passes between two looks at it: what comes first in a call is the earlier."""

    def __init__(self, at: datetime) -> None:
        self._at = at

    def now(self) -> datetime:
        self._at += _MICROSECOND
        return self._at

    def monotonic(self) -> float:
        return self._at.timestamp()
