"""Databases for the tests of `SqlTaskStore`, empty, and what somebody beside the stores does in them."""

from __future__ import annotations

import asyncio
import importlib
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.task_stores import PATIENT, SqlPlace

__all__ = ["Database", "database", "postgresql", "sqlite"]

asyncpg: Any = importlib.import_module("asyncpg")  # it has no types


class Database(SqlPlace):
    """A database as an operator has it, beside the stores in it."""

    async def ask(self, statement: str) -> list[Any]:
        """The first column of what a statement answers."""
        if self.url.startswith("postgresql"):
            connection = await asyncpg.connect(self.url, timeout=PATIENT)
            try:
                return [row[0] for row in await connection.fetch(statement)]
            finally:
                await connection.close()

        def work() -> list[Any]:
            own = sqlite3.connect(self.path, timeout=PATIENT)
            with own:
                answer = [row[0] for row in own.execute(statement)]
            own.close()
            return answer

        return await asyncio.to_thread(work)

    @property
    def path(self) -> str:
        """The file of SQLite."""
        return self.url.partition(":///")[2]

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """Somebody is in the middle of changing each job."""
        if self.url.startswith("postgresql"):
            connection = await asyncpg.connect(self.url, timeout=PATIENT)
            await connection.execute("BEGIN; SELECT 1 FROM scheduled_jobs FOR UPDATE")
            try:
                yield
            finally:
                await connection.close()
            return
        own = await asyncio.to_thread(sqlite3.connect, self.path, check_same_thread=False)
        await asyncio.to_thread(own.execute, "BEGIN IMMEDIATE")
        try:
            yield
        finally:
            await asyncio.to_thread(own.close)


@pytest.fixture
async def postgresql(postgresql_url: str) -> AsyncIterator[Database]:
    """An empty PostgreSQL database."""
    made = Database(url=postgresql_url)
    async with made.stack:
        await made.prepare()
        yield made


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[Database]:
    """An empty SQLite database."""
    made = Database(url=f"sqlite:///{tmp_path / 'tasks.db'}")
    async with made.stack:
        yield made


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.full)])
def database(request: pytest.FixtureRequest) -> Database:
    """Each kind of database, empty."""
    made: Database = request.getfixturevalue(request.param)
    return made
