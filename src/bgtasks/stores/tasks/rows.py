"""The rows of the reference store: jobs with what is due of them, runs with how they stand, commands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from itertools import islice, takewhile
from uuid import UUID

from bgtasks.records import (
    EVERY_NODE,
    Answer,
    CommandRow,
    JobRow,
    RunQuery,
    RunRow,
    RunStatus,
    SessionRow,
)
from bgtasks.stores.tasks.ordered import Ordered

__all__ = ["Commands", "Jobs", "Runs"]


class Jobs:
    """Jobs by id, by key, and by when they are due."""

    def __init__(self) -> None:
        self._rows: dict[UUID, JobRow] = {}
        self._lists: dict[tuple[str | None, str | None], Ordered[UUID]] = {}
        self._by_key: dict[tuple[str, str, str], UUID] = {}
        self._due: dict[str, Ordered[tuple[datetime, UUID]]] = {}

    def __getitem__(self, job: UUID) -> JobRow:
        return self._rows[job]

    def get(self, job: UUID) -> JobRow | None:
        """The job of this id."""
        return self._rows.get(job)

    def like(self, job: JobRow) -> JobRow | None:
        """The job that has its id, or its type, bot and key."""
        if job.id in self._rows or job.key is None:
            return self._rows.get(job.id)
        known = self._by_key.get((job.job_type, job.bot_id, job.key))
        return None if known is None else self._rows[known]

    def put(self, job: JobRow) -> JobRow:
        """Keep a job as it is now."""
        known = self._rows.get(job.id)
        if known is None:
            for each in _lists_of(job):
                self._lists.setdefault(each, Ordered()).add(job.id)
            if job.key is not None:
                self._by_key[job.job_type, job.bot_id, job.key] = job.id
        self._rows[job.id] = job
        before, now = None if known is None else _due_of(known), _due_of(job)
        if before != now:
            self._move(job.job_type, before, now)
        return job

    def remove(self, job: UUID) -> bool:
        """Forget a job; whether there was one."""
        known = self._rows.pop(job, None)
        if known is None:
            return False
        self._move(known.job_type, _due_of(known), None)
        for each in _lists_of(known):
            ids = self._lists[each]
            ids.remove(job)
            if not ids:
                del self._lists[each]
        if known.key is not None:
            del self._by_key[known.job_type, known.bot_id, known.key]
        return True

    def _move(
        self, job_type: str, before: tuple[datetime, UUID] | None, now: tuple[datetime, UUID] | None
    ) -> None:
        if before is not None:
            self._due[job_type].remove(before)
        if now is not None:
            self._due.setdefault(job_type, Ordered()).add(now)

    def due(self, types: tuple[str, ...], until: datetime, limit: int) -> list[JobRow]:
        """Enabled jobs of these types that are due by then, the earliest first."""
        found = list[tuple[datetime, UUID]]()
        for each in dict.fromkeys(types):
            if each in self._due:
                found += takewhile(lambda one: one[0] <= until, islice(self._due[each].after(None), limit))
        return [self._rows[job] for _, job in sorted(found)[:limit]]

    def page(self, job_type: str | None, bot_id: str | None, after: UUID | None, limit: int) -> list[JobRow]:
        """Jobs by their ids."""
        ids = self._lists.get((job_type, bot_id))
        return [] if ids is None else [self._rows[each] for each in islice(ids.after(after), limit)]

    def types(self) -> dict[str, int]:
        """How many there are of each type."""
        found = {of: len(ids) for (of, bot), ids in self._lists.items() if of is not None and bot is None}
        return dict(sorted(found.items()))

    def over(self, before: datetime) -> list[JobRow]:
        """Jobs added at run time that are not due again, and began their last run before an instant."""
        return [
            row
            for row in self._rows.values()
            if not row.declared
            and row.trigger is not None
            and row.next_run_at is None
            and row.last_run_at is not None
            and row.last_run_at < before
        ]


def _due_of(job: JobRow) -> tuple[datetime, UUID] | None:
    """Where it stands among those of its type that are due some day."""
    return (job.next_run_at, job.id) if job.enabled and job.next_run_at is not None else None


def _lists_of(job: JobRow) -> tuple[tuple[str | None, str | None], ...]:
    """The types and bots by which a job is listed; None is any."""
    return (None, None), (job.job_type, None), (None, job.bot_id), (job.job_type, job.bot_id)


class Runs:
    """Runs by id, and apart those that are wanted and those in progress."""

    def __init__(self) -> None:
        self._rows: dict[str, RunRow] = {}
        self._offers: dict[str, None] = {}
        self._going: dict[UUID, dict[str, None]] = {}

    def get(self, run: str) -> RunRow | None:
        """The run of this id."""
        return self._rows.get(run)

    def put(self, run: RunRow) -> RunRow:
        """Keep a run as it is now."""
        self._rows[run.id] = run
        self._offers.pop(run.id, None)
        if run.status is RunStatus.PENDING:
            self._offers[run.id] = None
        if run.status is RunStatus.RUNNING:
            self._going.setdefault(run.job_id, {})[run.id] = None
        elif run.id in self._going.get(run.job_id, {}):
            del self._going[run.job_id][run.id]
            if not self._going[run.job_id]:
                del self._going[run.job_id]
        return run

    def wanted(self, of: UUID | None = None) -> Iterator[RunRow]:
        """Runs that nobody has started, of all jobs or of one, the first to be wanted first."""
        rows = [self._rows[run] for run in self._offers]
        return (run for run in rows if of in (None, run.job_id))

    def going(self, of: UUID | None = None) -> list[RunRow]:
        """Runs in progress, of all jobs or of one."""
        found = self._going.values() if of is None else (self._going.get(of, {}),)
        return [self._rows[run] for runs in found for run in runs]

    def cancel(self, job: UUID) -> None:
        """Runs of a job that are in progress are unwanted from now on."""
        for run in self.going(job):
            self.put(replace(run, unwanted=True))

    def page(self, query: RunQuery) -> list[RunRow]:
        """Runs, the latest first."""
        found = (run for run in self._rows.values() if _matches(run, query))
        return sorted(found, key=_order, reverse=True)[: query.limit]

    def prune(self, before: datetime, keep: int) -> int:
        """Forget old runs; how many."""
        later, unneeded = Counter[UUID](), list[str]()
        for run in sorted(self._rows.values(), key=_order, reverse=True):
            if run.status.is_over:
                later[run.job_id] += 1
                if later[run.job_id] > keep or (run.finished_at or run.created_at) < before:
                    unneeded.append(run.id)
        for each in unneeded:
            del self._rows[each]
        return len(unneeded)


class Commands:
    """Commands by id, in the order in which they were sent."""

    def __init__(self) -> None:
        self._rows: dict[str, CommandRow] = {}

    def keep(self, command: CommandRow) -> CommandRow:
        """Keep a command, unless there is one of its id."""
        return self._rows.setdefault(command.id, command)

    def answer(self, command: str, answer: Answer) -> None:
        """Keep the first answer of a session."""
        row = self._rows.get(command)
        if row is not None and all(each.session != answer.session for each in row.answers):
            self._rows[command] = replace(row, answers=(*row.answers, answer))

    def told(self, session: SessionRow, now: datetime) -> Iterator[CommandRow]:
        """Those that a session is to hear of."""
        assert session.joined_at is not None
        for row in self._rows.values():
            meant = row.node_id in (EVERY_NODE, session.node_id) and session.joined_at <= row.created_at
            if meant and now < row.expires_at and all(each.session != session.id for each in row.answers):
                yield row

    def page(self, id: str | None, limit: int) -> list[CommandRow]:
        """Commands, the latest first."""
        return list(islice((row for row in reversed(self._rows.values()) if id in (None, row.id)), limit))

    def prune(self, before: datetime) -> None:
        """Forget those that expired before then."""
        self._rows = {id: row for id, row in self._rows.items() if row.expires_at >= before}


def _order(run: RunRow) -> tuple[datetime, str]:
    return run.created_at, run.id


def _matches(run: RunRow, query: RunQuery) -> bool:
    return (
        query.job_id in (None, run.job_id)
        and query.job_type in (None, run.job_type)
        and (not query.statuses or run.status in query.statuses)
        and (query.before is None or _order(run) < query.before)
    )
