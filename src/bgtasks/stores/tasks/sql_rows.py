"""The rows that a call is about: locked, loaded into a draft, and written back.

Whoever decides about a job's runs holds the lock of the job's row first, and jobs are locked in the order of
their ids: so what is read after that stays as it is until the transaction ends, and no two wait for each
other. A session's row is locked before it is given up, and by whoever claims for it: it is dead to all or to
nobody. SQLite has one writer at a time, and no such locks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, bindparam, delete, select, union_all, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bgtasks.records import JobRow, RunRow, SessionRow
from bgtasks.stores.tasks.sql_dialects import Dialect
from bgtasks.stores.tasks.sql_draft import Draft
from bgtasks.stores.tasks.sql_tables import (
    JOB_COLUMNS,
    RUN_COLUMNS,
    RUNNING,
    job_of,
    jobs,
    run_of,
    run_values,
    runs,
    session_of,
    sessions,
)

__all__ = ["Rows"]

LOST_AT_ONCE = 1000
"""Runs that one step finds lost at most: it has to end within its time."""

_BEGINNING = datetime.min.replace(tzinfo=UTC)
"""What time it is where there is nobody to be granted anything, and no run that could end."""

_CHANGE = update(jobs).where(jobs.c.id == bindparam("changed"))
_CHANGED = ("next_run_at", "last_run_at", "token", "failures", "version")
"""What runs write of a job."""

_LASTING = ("id", "job_id", "job_type", "bot_id", "due", "attempt", "attempts", "created_at")
"""What a run stays: SQLite would write each index anew of which an update names a column."""


class Rows:
    """The rows of one transaction.

    Args:
        connection: In a transaction that may write.
        dialect: Its kind.
    """

    def __init__(self, connection: AsyncConnection, dialect: Dialect) -> None:
        self._connection = connection
        self._dialect = dialect

    async def for_claims(self, session: str, of: Sequence[UUID], named: Sequence[str]) -> Draft:
        """These jobs, runs of these ids, and what these jobs have wanted or in progress."""
        return await self._draft(session, self._dialect.among(jobs.c.id, of), named)

    async def for_offers(self, session: str, named: Sequence[str]) -> Draft:
        """Runs of these ids, their jobs, and what these have wanted or in progress."""
        return await self._draft(session, self._jobs_of(named), named)

    async def for_withdrawal(self, named: str) -> Draft:
        """The run of this id, its job, and what this has wanted or in progress."""
        found = await self._jobs(self._jobs_of([named]))
        return Draft(await self.now(), found, await self._about([named], found))

    async def for_endings(self, named: Sequence[str]) -> Draft:
        """Runs of these ids, and their jobs."""
        found = await self._jobs(self._jobs_of(named))
        at, those = await self._named(named)
        return Draft(at, found, those)

    async def now(self) -> datetime:
        """The database's time."""
        at: datetime = (await self._connection.execute(select(self._dialect.clock()))).scalar_one()
        return at

    async def lose(self) -> tuple[RunRow, ...]:
        """Give up sessions that have expired, and the runs in progress whose session is not there.

        Whoever beats next finds those that another transaction holds now.
        """
        expired = select(sessions.c.id).where(sessions.c.expires_at <= self._dialect.clock())
        expired = expired.with_for_update(skip_locked=True)
        await self._connection.execute(delete(sessions).where(sessions.c.id.in_(expired)))
        theirs = select(sessions.c.id).where(sessions.c.id == runs.c.session)
        return await self._give_up(~theirs.exists(), wait=False)

    async def end(self, session: str) -> None:
        """End a session, and give up its runs in progress."""
        await self._connection.execute(delete(sessions).where(sessions.c.id == session))
        while await self._give_up(runs.c.session == session, wait=True):
            pass

    async def _give_up(self, orphaned: ColumnElement[bool], *, wait: bool) -> tuple[RunRow, ...]:
        orphans = _runs(RUNNING, orphaned).order_by(runs.c.created_at, runs.c.id).limit(LOST_AT_ONCE)
        seen = [run_of(row) for row in await self._connection.execute(orphans)]
        if not seen:
            return ()
        of = sorted({run.job_id for run in seen})
        held = await self._jobs(self._dialect.among(jobs.c.id, of), wait=wait)
        ours = {job.id for job in held} | await self._gone(of, held)
        named = [run.id for run in seen if run.job_id in ours]
        at, found = await self._named(named, RUNNING, wait=wait)
        draft = Draft(at, held, found)
        lost = draft.lose()
        await self.save(draft)
        return lost

    async def save(self, draft: Draft, *, anew: bool = False) -> None:
        """Write what is not as it was; anew if a run may be another one now than it was under its id."""
        if changed := [
            {"changed": job.id, **{name: getattr(job, name) for name in _CHANGED}}
            for job in draft.changed_jobs
        ]:
            await self._connection.execute(_CHANGE.values(updated_at=self._dialect.clock()), changed)
        if kept := [run_values(run) for run in draft.changed_runs]:
            put = self._dialect.insert(runs)
            lasting = ("id",) if anew else _LASTING
            over = {name: put.excluded[name] for name in kept[0] if name not in lasting}
            await self._connection.execute(put.on_conflict_do_update(index_elements=["id"], set_=over), kept)

    async def _draft(self, session: str, about: ColumnElement[bool], named: Sequence[str]) -> Draft:
        found = await self._jobs(about)
        asks = self._connection.execute
        row = (await asks(self._session(session))).mappings().one_or_none()
        known: SessionRow | None = None if row is None else session_of(row)
        at: datetime = _BEGINNING if row is None else row["at"]
        return Draft(at, found, await self._about(named, found), known)

    async def _about(self, named: Sequence[str], of: Sequence[JobRow]) -> list[RunRow]:
        """Runs of these ids, and those of these jobs that are wanted or in progress."""
        open_ones = self._dialect.open_runs([job.id for job in of])
        both = union_all(_runs(self._dialect.among(runs.c.id, named)), open_ones)
        return [run_of(each) for each in await self._connection.execute(both)]

    def _session(self, session: str) -> Select[Any]:
        asked = select(sessions, self._dialect.clock().label("at")).where(sessions.c.id == session)
        return asked.with_for_update(read=True, key_share=True)

    def _jobs_of(self, named: Sequence[str]) -> ColumnElement[bool]:
        return jobs.c.id.in_(select(runs.c.job_id).where(self._dialect.among(runs.c.id, named)))

    async def _jobs(self, about: ColumnElement[bool], *, wait: bool = True) -> list[JobRow]:
        asked = select(*JOB_COLUMNS).where(about).order_by(jobs.c.id).with_for_update(skip_locked=not wait)
        return [job_of(row) for row in await self._connection.execute(asked)]

    async def _gone(self, of: Iterable[UUID], held: Iterable[JobRow]) -> set[UUID]:
        """Jobs that were removed."""
        rest = set(of) - {job.id for job in held}
        if rest:
            asked = select(jobs.c.id).where(self._dialect.among(jobs.c.id, sorted(rest)))
            rest -= set((await self._connection.execute(asked)).scalars())
        return rest

    async def _named(
        self, named: Sequence[str], *conditions: ColumnElement[bool], wait: bool = True
    ) -> tuple[datetime, list[RunRow]]:
        """The database's time, and runs of these ids."""
        asked = _runs(self._dialect.among(runs.c.id, named), *conditions).add_columns(self._dialect.clock())
        asked = asked.order_by(runs.c.id).with_for_update(skip_locked=not wait)
        found = (await self._connection.execute(asked)).all()
        return found[-1][-1] if found else _BEGINNING, [run_of(row[:-1]) for row in found]


def _runs(*conditions: ColumnElement[bool]) -> Select[Any]:
    return select(*RUN_COLUMNS).where(*conditions)
