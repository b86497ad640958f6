"""How `SqlTaskStore` asks: from which indexes SQLite answers, and what is written though nothing changed."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event
from tests.support.sql_databases import Database
from tests.support.task_stores import (
    DUE,
    HOUR,
    LONG,
    NO_JOB,
    a_job,
    a_run,
    claimed,
    ended,
    every_hour,
    joined,
    now_of,
    run_of,
    started,
    tick,
)

from bgtasks.contracts import TaskStore
from bgtasks.errors import ResourceUnavailable
from bgtasks.records import Ending, JobRow, RunQuery, RunRow, RunStatus
from bgtasks.stores.tasks.sql import SqlTaskStore
from bgtasks.stores.tasks.sql_draft import Draft

FAILED, LOST, SKIPPED = RunStatus.FAILED, RunStatus.LOST, RunStatus.SKIPPED

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000) "
ENDLESS += "SELECT count(*) FROM n"


@asynccontextmanager
async def heard(store: TaskStore) -> AsyncIterator[list[tuple[str, Any]]]:
    """The statements that a store says, with their parameters."""
    assert isinstance(store, SqlTaskStore)
    engine, said = store._database._engine.sync_engine, list[tuple[str, Any]]()

    def hear(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        said.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", hear)
    try:
        yield said
    finally:
        event.remove(engine, "before_cursor_execute", hear)


async def plans(database: Database, said: list[tuple[str, Any]], among: str) -> list[str]:
    """How SQLite answers those statements that have these words in them."""

    def explain() -> list[str]:
        own = sqlite3.connect(database.path)
        try:
            return [
                "; ".join(row[-1] for row in own.execute(f"EXPLAIN QUERY PLAN {statement}", parameters))
                for statement, parameters in said
                if among in statement
            ]
        finally:
            own.close()

    return await asyncio.to_thread(explain)


class TestSqlite:
    async def test_reads_runs_of_several_statuses_from_their_index(self, sqlite: Database) -> None:
        store = await sqlite.store()
        async with heard(store) as said:
            await store.runs(RunQuery(statuses=(FAILED, LOST), before=(DUE, "r")))

        [plan] = await plans(sqlite, said, "FROM job_runs")

        assert plan.count("job_runs_by_status (status=? AND (created_at,id)<") == 2

    async def test_reads_what_a_session_is_doing_from_its_index(self, sqlite: Database) -> None:
        store = await sqlite.store()
        session = await joined(store, "tidy")
        async with heard(store) as said:
            await store.beat(session, LONG, 0.0)

        [plan] = await plans(sqlite, said, "AS told")

        assert "job_runs_going (session=?)" in plan

    async def test_reads_what_is_open_of_a_job_from_its_index(self, sqlite: Database) -> None:
        store = await sqlite.store()
        job, session = await store.add(a_job()), await joined(store)
        async with heard(store) as said:
            await started(store, session, job)

        [plan] = await plans(sqlite, said, "'pending', 'running'")

        assert "job_runs_open (job_id=?)" in plan
        assert "by_status" not in plan

    async def test_finds_what_is_to_be_forgotten_by_indexes(self, sqlite: Database) -> None:
        store = await sqlite.store()
        for n in range(3):
            await store.skip(a_run(created_at=DUE + n * HOUR))
        async with heard(store) as said:
            assert await store.prune(DUE + HOUR, 1) == 2

        counted = await plans(sqlite, said, "count(*)")
        beyond, older = await plans(sqlite, said, "SELECT job_runs.created_at")
        [jobs] = await plans(sqlite, said, "SELECT scheduled_jobs.id")
        assert all("COVERING INDEX job_runs_of_job" in each for each in counted)
        assert beyond == "SEARCH job_runs USING INDEX job_runs_of_job (job_id=?)"
        assert older == "SEARCH job_runs USING INDEX job_runs_by_time (created_at<?)"
        assert jobs == "SCAN scheduled_jobs USING INDEX scheduled_jobs_over"

    async def test_is_interrupted_where_a_call_has_ended(self, sqlite: Database) -> None:
        await sqlite.store()
        hasty, other = SqlTaskStore(sqlite.url, timeout=0.5), SqlTaskStore(sqlite.url, timeout=3.0)
        for store in (hasty, other):
            sqlite.stack.push_async_callback(store.aclose)

        with pytest.raises(ResourceUnavailable):
            await hasty._database.write(lambda connection: connection.exec_driver_sql(ENDLESS))

        # The lock, that its statement held, is free.
        for store in (other, hasty):
            job = a_job()
            assert await store.add(job) == job


class TestRunsOfSeveralStatuses:
    async def test_are_the_latest_of_them_all(self, database: Database) -> None:
        store = await database.store()
        kinds = [FAILED, LOST, SKIPPED, FAILED, FAILED, LOST]
        for n, status in enumerate(kinds):
            await store.skip(a_run(id=f"{n}", status=status, created_at=DUE + timedelta(seconds=n)))

        async def asked(**but: Any) -> list[str]:
            query = RunQuery(statuses=(LOST, FAILED, LOST), **but)
            return [run.id for run in await store.runs(query)]

        assert await asked(limit=4) == ["5", "4", "3", "1"]
        assert await asked(before=(DUE + timedelta(seconds=4), "4")) == ["3", "1", "0"]
        assert await asked(job_id=NO_JOB) == ["5", "4", "3", "1", "0"]


class TestAnEnding:
    async def test_writes_no_job_that_stays_as_it_was(self, database: Database) -> None:
        store = await database.store()
        job, session = await store.add(a_job()), await joined(store)
        run = await started(store, session, job)
        before = await now_of(store, job)

        async with heard(store) as said:
            assert await store.finish([ended(run)]) == [True]

        assert [each for each, _ in said if "UPDATE scheduled_jobs" in each] == []
        assert await now_of(store, job) == before

    async def test_that_is_told_again_writes_nothing(self, database: Database) -> None:
        store = await database.store()
        job, session = await store.add(every_hour()), await joined(store)
        run = await started(store, session, job)
        await store.finish([ended(run, FAILED)])

        async with heard(store) as said:
            assert await store.finish([ended(run, FAILED)]) == [True]

        assert [each for each, _ in said if each.startswith(("UPDATE", "INSERT"))] == []

    async def test_writes_only_what_a_run_may_become(self, database: Database) -> None:
        store = await database.store()
        job, session = await store.add(a_job()), await joined(store)
        run = await started(store, session, job)

        async with heard(store) as said:
            await store.finish([ended(run)])

        [put] = [each for each, _ in said if "INSERT INTO job_runs" in each]
        assert "created_at" not in put.partition("DO UPDATE SET")[2]


async def test_an_id_that_is_known_may_be_claimed_for_another_run(database: Database) -> None:
    store = await database.store()
    first, second = await store.add(a_job()), await store.add(a_job(bot_id="ada"))
    session = await joined(store)
    await store.finish([ended(await started(store, session, first, run_id="r"))])
    before = await run_of(store, "r")

    claimed((await store.claim(session, [tick(second, run_id="r", attempts=7)]))[0])

    run = await run_of(store, "r")
    assert (run.job_id, run.bot_id, run.attempts) == (second.id, "ada", 7)
    assert run.created_at > before.created_at


async def test_a_transaction_sees_what_was_committed_whatever_the_default_is(postgresql: Database) -> None:
    def default(level: str) -> str:
        return f"""DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = {level}',
            current_database()); END $$"""

    await postgresql.ask(default("'''repeatable read'''").replace("'''", "''"))
    try:
        store = await postgresql.store()
        assert isinstance(store, SqlTaskStore)
        said = await store._database.write(
            lambda connection: connection.exec_driver_sql("SHOW transaction_isolation")
        )
        assert await postgresql.ask("SHOW transaction_isolation") == ["repeatable read"]
        assert said.scalar_one() == "read committed"
    finally:
        await postgresql.ask(default("DEFAULT"))


class TestADraft:
    def draft(self, jobs: list[JobRow], runs: list[RunRow]) -> Draft:
        return Draft(datetime.now(UTC), jobs, runs)

    async def test_has_changed_nothing_at_first(self) -> None:
        job = a_job()
        made = self.draft([job], [a_run(job_id=job.id, status=RunStatus.RUNNING, token=3)])

        assert (list(made.changed_jobs), list(made.changed_runs)) == ([], [])

    async def test_has_changed_nothing_that_was_put_back_as_it_was(self) -> None:
        job, run = a_job(), a_run()
        made = self.draft([job], [run])

        made._jobs.put(replace(job))
        made._runs.put(replace(run))

        assert (list(made.changed_jobs), list(made.changed_runs)) == ([], [])

    async def test_tells_what_is_not_as_it_was(self) -> None:
        job, other = a_job(), a_job()
        run = a_run(job_id=job.id, status=RunStatus.RUNNING, token=3)
        made = self.draft([job, other], [run, a_run()])

        await made.finish([Ending(run.id, 3, FAILED)])

        assert [each.failures for each in made.changed_jobs] == [1]
        assert [(each.id, each.status) for each in made.changed_runs] == [(run.id, FAILED)]
