"""What the SQL store forgets: in several transactions, each of which is soon over."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, delete, func, literal, literal_column, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bgtasks.stores.tasks.sql_database import Database
from bgtasks.stores.tasks.sql_rows import OPEN
from bgtasks.stores.tasks.sql_tables import INSTANT, answers, commands, jobs, runs

__all__ = ["prune"]

AT_ONCE = 5_000
"""Rows that one transaction forgets at most."""

_OVER: ColumnElement[bool] = literal_column("job_runs.status NOT IN ('pending', 'running')")


async def prune(database: Database, before: datetime, keep: int) -> int:
    """See `TaskStore`."""
    await _forget_jobs(database, before)
    await _forget_commands(database, before)
    return await _forget_runs(database, before, keep)


async def _forget_jobs(database: Database, before: datetime) -> None:
    """Jobs added at run time that are over."""
    over = (
        select(jobs.c.id)
        .where(jobs.c.trigger.is_not(None), jobs.c.next_run_at.is_(None), ~jobs.c.declared)
        .where(jobs.c.last_run_at < literal(before, INSTANT))
        .order_by(jobs.c.id)
        .limit(AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    after: UUID | None = None

    async def work(connection: AsyncConnection) -> list[UUID]:
        page = over if after is None else over.where(jobs.c.id > after)
        found = list((await connection.execute(page)).scalars())
        # Asked once their locks are held: a run that was offered meanwhile is seen.
        idle = ~select(runs.c.id).where(runs.c.job_id == jobs.c.id, OPEN).exists()
        among = database.dialect.among(jobs.c.id, found)
        await connection.execute(delete(jobs).where(among, idle))
        return found

    while found := await database.write(work):
        after = found[-1]


async def _forget_commands(database: Database, before: datetime) -> None:
    """Commands that have expired, and their answers."""
    expired = select(commands.c.id).where(commands.c.expires_at < literal(before, INSTANT)).limit(AT_ONCE)

    async def work(connection: AsyncConnection) -> bool:
        gone = delete(commands).where(commands.c.id.in_(expired)).returning(commands.c.id)
        found = list((await connection.execute(gone)).scalars())
        theirs = database.dialect.among(answers.c.command, found)
        await connection.execute(delete(answers).where(theirs))
        return bool(found)

    while await database.write(work):
        pass


async def _forget_runs(database: Database, before: datetime, keep: int) -> int:
    """Runs that are over, but the last ones of each job; how many."""
    latest = func.row_number().over(
        partition_by=runs.c.job_id, order_by=(runs.c.created_at.desc(), runs.c.id.desc())
    )
    over = func.coalesce(runs.c.finished_at, runs.c.created_at).label("over")
    those = select(runs.c.id, latest.label("place"), over).where(_OVER).subquery()
    old = select(those.c.id).where(or_(those.c.place > keep, those.c.over < literal(before, INSTANT)))
    forget = delete(runs).where(runs.c.id.in_(old.limit(AT_ONCE)))
    pruned = 0
    while count := (await database.write(lambda each: each.execute(forget))).rowcount:
        pruned += count
    return pruned
