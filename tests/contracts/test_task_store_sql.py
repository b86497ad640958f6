"""What is SQL's own about `SqlTaskStore`: its tables, and how many statements it takes."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest
from sqlalchemy import event
from tests.support.sql_databases import Database
from tests.support.task_stores import a_job, claimed, ended, joined, tick

from bgtasks.errors import BgTasksError, UnsuitableServer
from bgtasks.records import RunStatus
from bgtasks.stores.tasks import sql_schema
from bgtasks.stores.tasks.sql import SqlTaskStore
from bgtasks.stores.tasks.sql_schema import MIGRATIONS, Migration

COLOUR = Migration(both=("ALTER TABLE scheduled_jobs ADD COLUMN colour TEXT DEFAULT 'blue'",))


class TestTables:
    async def test_are_made_once_by_all_who_start_at_the_same_time(self, database: Database) -> None:
        stores = [database.new() for _ in range(4)]
        for store in stores:
            database.stack.push_async_callback(store.aclose)

        await asyncio.gather(*(store.open() for store in stores))

        job = await stores[0].add(a_job())
        assert await stores[3].job(job.id) == job
        assert await database.ask("SELECT version FROM bgtasks_schema") == [len(MIGRATIONS)]

    async def test_of_a_newer_version_are_refused(self, database: Database) -> None:
        await database.store()
        await database.ask("UPDATE bgtasks_schema SET version = 1000")

        with pytest.raises(UnsuitableServer, match=r"version 1000.*upgrade bgtasks"):
            await database.store()

    async def test_of_an_older_version_are_migrated_with_what_is_in_them(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job = await (await database.store()).add(a_job())
        monkeypatch.setattr(sql_schema, "MIGRATIONS", (*MIGRATIONS, COLOUR))

        stores = await asyncio.gather(database.store(), database.store())

        assert await database.ask("SELECT colour FROM scheduled_jobs") == ["blue"]
        assert [await store.job(job.id) for store in stores] == [job, job]

    async def test_are_as_they_were_after_a_migration_that_failed(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await database.store()
        wrong = Migration(both=("ALTER TABLE no_such_table ADD COLUMN x TEXT",))
        monkeypatch.setattr(sql_schema, "MIGRATIONS", (*MIGRATIONS, COLOUR, wrong))
        with pytest.raises(BgTasksError):
            await database.store()

        monkeypatch.setattr(sql_schema, "MIGRATIONS", (*MIGRATIONS, COLOUR))
        await database.store()

        assert await database.ask("SELECT version FROM bgtasks_schema") == [len(MIGRATIONS) + 1]

    async def test_of_somebody_else_are_left_alone(self, database: Database) -> None:
        await database.ask("CREATE TABLE job_runs (mine TEXT)")

        with pytest.raises(UnsuitableServer, match="job_runs that bgtasks did not make"):
            await database.store()

        assert await database.ask("SELECT mine FROM job_runs") == []

    async def test_that_are_missing_are_told(self, database: Database) -> None:
        store = database.new()
        database.stack.push_async_callback(store.aclose)

        with pytest.raises(UnsuitableServer, match="open the store anew"):
            await store.jobs()


class TestABatch:
    @pytest.mark.parametrize("size", [1, 100])
    async def test_takes_as_many_statements_as_a_single_claim(self, database: Database, size: int) -> None:
        store = await database.store()
        assert isinstance(store, SqlTaskStore)
        jobs = [await store.add(a_job()) for _ in range(size)]
        session = await joined(store)
        said = list[str]()
        async with AsyncExitStack() as stack:
            engine = store._database._engine.sync_engine

            def hear(_: Any, __: Any, statement: str, *___: Any) -> None:
                said.append(statement)

            event.listen(engine, "before_cursor_execute", hear)
            stack.callback(event.remove, engine, "before_cursor_execute", hear)
            answers = await store.claim(session, [tick(job) for job in jobs])
            await store.finish([ended(claimed(each), RunStatus.FAILED) for each in answers])

        assert len(said) <= 13
        assert {job.failures for job in await store.jobs()} == {1}
