"""What the SQL store forgets: in many transactions, each of which is soon over.

Which runs are to go is looked for without a lock, page by page from an index: what is over stays so. After
each deletion as much time is left to others as it took: SQLite's lock is had by whoever happens to ask while
it is free.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Delete,
    Select,
    delete,
    func,
    literal,
    select,
    tuple_,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from bgtasks.stores.tasks.sql_database import Database
from bgtasks.stores.tasks.sql_tables import INSTANT, OPEN, OVER, answers, commands, jobs, runs

__all__ = ["prune"]

AT_ONCE = 1_000
"""Rows that one transaction forgets, about."""

COUNTED_AT_ONCE = 100
"""Jobs whose runs one statement counts."""


async def prune(database: Database, before: datetime, keep: int) -> int:
    """See `TaskStore`. A run is taken to be over no earlier than it was created."""
    await _forget_jobs(database, before)
    await _forget_commands(database, before)
    # In this order: what is too old counts among the last ones of its job.
    pruned = await _forget_runs(database, _beyond(database, keep))
    return pruned + await _forget_runs(database, _older(database, before))


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

    while found := await _in_turn(database, work):
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

    while await _in_turn(database, work):
        pass


async def _forget_runs(database: Database, found: AsyncGenerator[list[str]]) -> int:
    """Runs of these ids; how many there were."""
    pruned = 0
    async with aclosing(found):
        async for ids in found:
            forget = delete(runs).where(database.dialect.among(runs.c.id, ids))

            async def work(connection: AsyncConnection, forget: Delete = forget) -> int:
                return (await connection.execute(forget)).rowcount

            pruned += await _in_turn(database, work)
    return pruned


async def _older(database: Database, before: datetime) -> AsyncGenerator[list[str]]:
    """Runs that were over before an instant."""
    at = literal(before, INSTANT)
    old = runs.c.created_at < at, func.coalesce(runs.c.finished_at, runs.c.created_at) < at
    async for ids in _pages(database, select(runs.c.created_at, runs.c.id).where(*old, OVER), 0):
        yield ids


async def _beyond(database: Database, keep: int) -> AsyncGenerator[list[str]]:
    """Runs that are over, of each job all but the last so many."""
    found = list[str]()
    async for job in _with_more(database, keep):
        theirs = select(runs.c.created_at, runs.c.id).where(runs.c.job_id == job, OVER)
        async for ids in _pages(database, theirs, keep):
            found += ids
            if len(found) >= AT_ONCE:
                yield found
                found = []
    if found:
        yield found


async def _with_more(database: Database, keep: int) -> AsyncGenerator[UUID]:
    """Jobs with more than so many runs, those that are not over included."""
    counted = select(runs.c.job_id, func.count()).group_by(runs.c.job_id).order_by(runs.c.job_id)
    counted = counted.limit(COUNTED_AT_ONCE)
    page = counted
    while found := await _read(database, page):
        for job, count in found:
            if count > keep:
                yield job
        page = counted.where(runs.c.job_id > found[-1][0])


async def _pages(database: Database, those: Select[Any], skip: int) -> AsyncGenerator[list[str]]:
    """Ids of runs, the latest first, without the first so many."""
    place = runs.c.created_at, runs.c.id
    those = those.order_by(*(each.desc() for each in place)).limit(AT_ONCE)
    page = those.offset(skip)
    while found := await _read(database, page):
        yield [run_id for _, run_id in found]
        if len(found) < AT_ONCE:
            return
        # Not from the beginning: PostgreSQL would look anew at each that is gone.
        at, run_id = found[-1]
        page = those.where(tuple_(*place) < tuple_(literal(at, INSTANT), literal(run_id)))


async def _read(database: Database, asked: Select[Any]) -> list[Any]:
    return list(await database.read(lambda connection: connection.execute(asked)))


async def _in_turn[T](database: Database, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
    """What a transaction answers, after as long a rest as it took."""
    began = time.monotonic()
    answer = await database.write(work)
    await asyncio.sleep(time.monotonic() - began)
    return answer
