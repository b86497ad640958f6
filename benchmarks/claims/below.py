"""Rows put into a database past the store: a hundred thousand transactions would take minutes each time."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import batched

from sqlalchemy import insert as into
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from bgtasks.records import JobRow
from bgtasks.stores.tasks.sql_tables import job_values, jobs

__all__ = ["insert"]

AT_ONCE = 1000


async def insert(url: str, rows: Iterable[JobRow]) -> None:
    """Put jobs into a database that a store has made ready. PostgreSQL is then told to count them."""
    scheme, _, rest = url.partition(":")
    driver = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}[scheme]
    engine = create_async_engine(f"{driver}:{rest}")
    async with engine.begin() as connection:
        for some in batched(rows, AT_ONCE):
            await connection.execute(into(jobs), [job_values(row) for row in some])
    if scheme == "postgresql":  # as its autovacuum does within a minute
        async with engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            await connection.execute(text("ANALYZE"))
    await engine.dispose()
