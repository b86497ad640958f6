"""Databases of `SqlTaskStore` that an earlier version has made, and what the present one made cheap."""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event
from tests.support.sql_databases import Database
from tests.support.task_stores import DUE, LONG, NO_JOB, PATIENT, a_job, a_session, joined, new_id
from tests.support.waiting import until

from bgtasks.errors import ResourceUnavailable
from bgtasks.records import Command, RunStatus
from bgtasks.stores.tasks import sql_schema
from bgtasks.stores.tasks.sql import SqlTaskStore
from bgtasks.stores.tasks.sql_schema import MIGRATIONS

asyncpg: Any = importlib.import_module("asyncpg")  # it has no types

JOB = UUID("7f9c24e8-3b12-4fb3-9e2a-5d9a3c5b8e77")

RELEASED = ["4796c8fe"]
"""The beginnings of the SHA-256 of each migration that was released."""

OLD = f"""
INSERT INTO scheduled_jobs (id, job_type, bot_id, next_run_at, trigger, token, version)
    VALUES ('{JOB}', 'tidy', 'ada', '{DUE}', 'every hour', 7, 3);
INSERT INTO job_runs (id, job_id, job_type, status, due, session)
    VALUES ('r1', '{JOB}', 'tidy', 'running', '{DUE}', 's1');
INSERT INTO bgtasks_sessions (id, node_id, wired, known, snapshot_json, joined_at, expires_at)
    VALUES ('s1', 'node', '["tidy"]', '[]', '{{}}', '2020-01-01 00:00:00', '2100-01-01 00:00:00');
""".replace("+00:00", "")


@pytest.fixture
async def old(database: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    """A database of version 1 with a job, a run of it in progress, and its session."""
    with monkeypatch.context() as patch:
        patch.setattr(sql_schema, "MIGRATIONS", MIGRATIONS[:1])
        await database.store()
    for line in OLD.split(";"):
        await database.ask(line)
    return database


@contextmanager
def heard(store: SqlTaskStore) -> Iterator[list[str]]:
    """The statements that a store says."""
    engine, said = store._database._engine.sync_engine, list[str]()

    def hear(_: Any, __: Any, statement: str, *___: Any) -> None:
        said.append(statement)

    event.listen(engine, "before_cursor_execute", hear)
    try:
        yield said
    finally:
        event.remove(engine, "before_cursor_execute", hear)


class TestADatabaseOfVersion1:
    async def test_is_migrated_with_what_is_in_it(self, old: Database) -> None:
        store = await old.store()

        job = a_job(id=JOB, bot_id="ada", token=7, version=3)
        assert await store.jobs(bot_id="ada") == [job]
        run = await store.run("r1")
        assert run is not None
        assert run.status is RunStatus.RUNNING
        assert (await store.beat("s1", LONG, 0.0)).due == (job,)
        assert await old.ask("SELECT version FROM bgtasks_schema") == [len(MIGRATIONS)]

    async def test_takes_commands_from_then_on(self, old: Database) -> None:
        store = await old.store()

        kept = await store.command(Command(id="c1", kind="pause"), LONG)

        assert (await store.beat("s1", LONG, 0.0)).commands == (kept,)

    async def test_is_migrated_once_by_all_who_start_at_the_same_time(self, old: Database) -> None:
        stores = await asyncio.gather(*(old.store() for _ in range(4)))

        assert [len(await store.jobs()) for store in stores] == [1] * 4
        assert await old.ask("SELECT version FROM bgtasks_schema") == [len(MIGRATIONS)]

    async def test_may_still_be_worked_with_by_a_store_that_is_open(self, old: Database) -> None:
        before = old.new()
        old.stack.push_async_callback(before.aclose)
        assert await before.job(JOB) is not None

        await old.store()

        assert await before.job(JOB) is not None


def test_a_migration_that_was_released_is_never_changed() -> None:
    said = [[statements for statements in each if statements] for each in MIGRATIONS]
    written = [hashlib.sha256(json.dumps(each).encode()).hexdigest() for each in said]
    assert [each[:8] for each in written[: len(RELEASED)]] == RELEASED


@asynccontextmanager
async def somebody_else_migrating(database: Database) -> AsyncIterator[None]:
    """Another process is in the middle of its migration."""
    if database.url.startswith("sqlite"):
        async with database.locked():
            yield
        return
    other = await asyncpg.connect(database.url, timeout=PATIENT)
    try:
        await other.execute(f"BEGIN; {sql_schema._LOCK}")
        yield
    finally:
        await other.close()


class TestAMigration:
    @pytest.mark.full
    async def test_may_take_longer_than_other_calls(self, old: Database) -> None:
        store = SqlTaskStore(old.url, timeout=1.5)
        old.stack.push_async_callback(store.aclose)
        began = time.monotonic()
        async with somebody_else_migrating(old):
            opening = asyncio.create_task(store.open())
            await until("a call would have ended by now", lambda: time.monotonic() > began + 2.5)
            assert not opening.done()

        await opening

        assert len(await store.jobs()) == 1

    async def test_is_given_up_when_patience_ends(self, old: Database) -> None:
        store = SqlTaskStore(old.url, timeout=0.5, patience=1.0)
        old.stack.push_async_callback(store.aclose)
        async with somebody_else_migrating(old):
            with pytest.raises(ResourceUnavailable):
                await store.open()

        assert await old.ask("SELECT version FROM bgtasks_schema") == [1]


class TestABeat:
    async def test_asks_for_commands_along_with_what_it_asks_anyway(self, database: Database) -> None:
        store = await database.store()
        assert isinstance(store, SqlTaskStore)
        session = await joined(store, "tidy")
        await store.command(Command(id=new_id(), kind="pause", node_id="another"), LONG)

        with heard(store) as said:
            assert not (await store.beat(session, LONG, 0.0)).commands

        assert len([each for each in said if "bgtasks_commands" in each]) == 1

    async def test_takes_one_more_statement_if_there_are_some(self, database: Database) -> None:
        store = await database.store()
        assert isinstance(store, SqlTaskStore)
        session = await joined(store, "tidy")
        kept = [await store.command(Command(id=new_id(), kind="pause"), LONG) for _ in range(20)]

        with heard(store) as said:
            assert (await store.beat(session, LONG, 0.0)).commands == tuple(kept)

        assert len([each for each in said if "bgtasks_commands" in each]) == 2


class TestASession:
    async def test_keeps_when_it_joined_whatever_is_said_of_it(self, database: Database) -> None:
        store = await database.store()
        session = a_session("tidy")
        at = await store.join(session, LONG)

        await store.join(session, LONG)
        await store.describe(session)

        assert [each.joined_at for each in await store.sessions()] == [at]


class TestPruning:
    async def test_forgets_jobs_in_batches(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("bgtasks.stores.tasks.sql_prune.AT_ONCE", 2)
        store = await database.store()
        over = [await store.add(a_job(next_run_at=None, last_run_at=DUE)) for _ in range(5)]
        await database.ask(
            f"INSERT INTO job_runs (id, job_id, job_type, status, due) "
            f"VALUES ('wanted', '{over[1].id}', 'tidy', 'pending', '2020-01-01 00:00:00.000000')"
        )

        assert await store.prune(DUE + timedelta(days=1), 10) == 0

        assert await store.jobs() == [over[1]]


class TestPagesOfABot:
    async def test_are_read_from_an_index_in_their_order(self, sqlite: Database) -> None:
        store = await sqlite.store()
        assert isinstance(store, SqlTaskStore)
        with heard(store) as said:
            await store.jobs(bot_id="ada", after=NO_JOB)

        def explained() -> str:
            own = sqlite3.connect(sqlite.path)
            plan = own.execute(
                f"EXPLAIN QUERY PLAN {said[-1]}", ("ada", str(NO_JOB), 100, 0)[: said[-1].count("?")]
            )
            told = " ".join(row[-1] for row in plan)
            own.close()
            return told

        assert (await asyncio.to_thread(explained)).endswith("scheduled_jobs_of_bot (bot_id=? AND id>?)")
