"""What an operator does in the database beside `SqlTaskStore`, and how claims and endings take it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import UUID

import pytest
from tests.support.sql_databases import Database, asyncpg
from tests.support.task_stores import (
    DUE,
    FUTURE,
    HOUR,
    LONG,
    PATIENT,
    a_job,
    an_offer,
    claimed,
    ended,
    every_hour,
    joined,
    listed_jobs,
    next_of,
    now_of,
    offered,
    refused,
    run_of,
    started,
    status_of,
    tick,
)

from bgtasks.contracts import TaskStore
from bgtasks.records import Refusal, Refused, RunStatus

SOON = "'2031-02-03 04:05:06'"


@asynccontextmanager
async def in_the_middle_of(database: Database, statement: str) -> AsyncIterator[None]:
    """Somebody has changed something, and commits it at the end."""
    if database.url.startswith("postgresql"):
        connection = await asyncpg.connect(database.url, timeout=PATIENT)
        try:
            async with connection.transaction():
                await connection.execute(statement)
                yield
        finally:
            await connection.close()
        return
    own = await asyncio.to_thread(
        sqlite3.connect, database.path, timeout=PATIENT, check_same_thread=False, isolation_level=None
    )
    try:
        await asyncio.to_thread(own.execute, "BEGIN IMMEDIATE")
        await asyncio.to_thread(own.execute, statement)
        yield
        await asyncio.to_thread(own.execute, "COMMIT")
    finally:
        await asyncio.to_thread(own.close)


async def due(store: TaskStore, session: str) -> list[UUID]:
    """Jobs that the session hears of."""
    return [job.id for job in (await store.beat(session, LONG, 0.0)).due]


class TestAnOperator:
    async def test_adds_a_job_with_a_plain_line(self, database: Database) -> None:
        store = await database.store()

        await database.ask("INSERT INTO scheduled_jobs (job_type, interval_minutes) VALUES ('tidy', 30)")

        [job] = await store.jobs()
        session = await joined(store, "tidy")
        told = await store.beat(session, LONG, 0.0)
        run = claimed((await store.claim(session, [tick(job)]))[0])
        assert (job.bot_id, job.interval_minutes, job.enabled, job.config_json) == ("*", 30.0, True, "{}")
        assert told.due == (job,)
        assert await store.finish([ended(run)]) == [True]

    @pytest.mark.parametrize(
        "form", ["7F9C24E8-3B12-4FB3-9E2A-5D9A3C5B8E77", "7f9c24e83b124fb39e2a5d9a3c5b8e77"]
    )
    async def test_may_choose_its_id(self, database: Database, form: str) -> None:
        store = await database.store()

        await database.ask(
            f"INSERT INTO scheduled_jobs (id, job_type, next_run_at) VALUES ('{form}', 'tidy', '2020-02-03')"
        )

        job = await store.job(UUID(form))
        assert job is not None
        assert claimed((await store.claim(await joined(store), [tick(job)]))[0])

    @pytest.mark.parametrize(
        ("database", "now"),
        [
            ("postgresql", "now()"),
            ("postgresql", "'2020-02-03T04:05:06+02:00'"),
            ("sqlite", "datetime('now')"),
            ("sqlite", "CURRENT_TIMESTAMP"),
            ("sqlite", "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"),
            ("sqlite", "'2020-02-03T04:05:06+02:00'"),
            ("sqlite", "date('now')"),
        ],
        indirect=["database"],
    )
    async def test_has_a_job_run_at_once(self, database: Database, now: str) -> None:
        store = await database.store()
        session = await joined(store, "tidy")
        await store.add(a_job(next_run_at=None))

        await database.ask(f"UPDATE scheduled_jobs SET next_run_at = {now}")

        [job] = (await store.beat(session, LONG, 0.0)).due
        assert claimed((await store.claim(session, [tick(job)]))[0])

        await database.ask("UPDATE scheduled_jobs SET next_run_at = '2031-02-03 04:05:06'")

        [answer] = await store.claim(await joined(store), [tick(job)])
        assert isinstance(answer, Refused)
        assert answer.why is Refusal.TAKEN

    async def test_may_leave_a_config_that_is_no_json(self, database: Database) -> None:
        store = await database.store()
        await store.add(a_job())

        await database.ask("UPDATE scheduled_jobs SET config_json = '{oops'")

        assert [job.config_json for job in await store.jobs()] == ["{oops"]

    @pytest.mark.parametrize(
        "change",
        [
            "next_run_at = 'soon'",
            "last_run_at = 1731234567",
            "anchor = '12:00'",
            "interval_minutes = 'often'",
            "enabled = 'perhaps'",
            "id = 'the first'",
        ],
    )
    async def test_is_told_by_sqlite_too_of_what_cannot_be_meant(self, sqlite: Database, change: str) -> None:
        store = await sqlite.store()
        job = await store.add(a_job())

        with pytest.raises(sqlite3.IntegrityError):
            await sqlite.ask(f"UPDATE scheduled_jobs SET {change}")

        assert await store.jobs() == [job]

    async def test_moves_jobs_to_another_bot_and_type(self, database: Database) -> None:
        store = await database.store()
        known = await store.add(a_job(bot_id="b1"))
        await database.ask("INSERT INTO scheduled_jobs (job_type, bot_id, trigger) VALUES ('sow', 'b1', 'x')")

        assert len(await listed_jobs(store, bot_id="b1")) == 2
        assert await store.types() == {"sow": 1, "tidy": 1}

        await database.ask("UPDATE scheduled_jobs SET bot_id = 'b2', job_type = 'sow'")
        session = await joined(store, "sow")
        assert known.id in await due(store, session)
        assert (await listed_jobs(store, bot_id="b1"), await store.types()) == ([], {"sow": 2})

        await database.ask("DELETE FROM scheduled_jobs")
        assert (await listed_jobs(store, bot_id="b2"), await store.types()) == ([], {})


class TestWhatIsDue:
    @pytest.mark.parametrize(
        ("said", "why", "now_due"),
        [
            (f"UPDATE scheduled_jobs SET next_run_at = {SOON}", Refusal.TAKEN, True),
            ("UPDATE scheduled_jobs SET next_run_at = NULL", Refusal.TAKEN, False),
            ("UPDATE scheduled_jobs SET enabled = FALSE", Refusal.DISABLED, True),
            ("DELETE FROM scheduled_jobs", Refusal.GONE, False),
        ],
    )
    @pytest.mark.parametrize("meanwhile", [False, True], ids=["before", "meanwhile"])
    async def test_is_refused_to_who_read_it_before(
        self, database: Database, said: str, why: Refusal, now_due: bool, meanwhile: bool
    ) -> None:
        store = await database.store()
        job, session = await store.add(a_job()), await joined(store)
        wanted = tick(job)

        if meanwhile:
            async with in_the_middle_of(database, said):
                claim = asyncio.create_task(store.claim(session, [wanted]), name="bgtasks-test-claim")
                await database.ask("SELECT 1")
                assert not claim.done()
            [answer] = await claim
        else:
            await database.ask(said)
            [answer] = await store.claim(session, [wanted])

        assert (refused(answer, why).next_run_at is not None) is now_due
        assert await store.run(wanted.run_id) is None

    @pytest.mark.parametrize(("off", "on"), [("FALSE", "TRUE"), ("(1 = 0)", "(1 = 1)")])
    async def test_is_not_what_is_paused_until_it_is_resumed(
        self, database: Database, off: str, on: str
    ) -> None:
        store = await database.store()
        job, session = await store.add(a_job()), await joined(store, "tidy")

        await database.ask(f"UPDATE scheduled_jobs SET enabled = {off}, reason = 'too cold'")
        assert await due(store, session) == []
        paused = replace(job, enabled=False, reason="too cold", version=job.version + 1)
        assert await now_of(store, job) == paused

        await database.ask(f"UPDATE scheduled_jobs SET enabled = {on}, reason = ''")
        assert await due(store, session) == [job.id]
        claimed(await next_of(store, session, job))

    async def test_may_be_a_plain_interval_while_its_run_is_in_progress(self, database: Database) -> None:
        store = await database.store()
        job, session = await store.add(every_hour()), await joined(store, "tidy")
        run = await started(store, session, job)

        await database.ask("UPDATE scheduled_jobs SET next_run_at = '2020-02-03 04:05:06'")

        assert await due(store, session) == [job.id]
        busy = refused(await next_of(store, session, job), Refusal.BUSY)
        assert busy.next_run_at is not None
        assert busy.next_run_at > DUE + HOUR
        assert await store.finish([ended(run)]) == [True]
        assert (await now_of(store, job)).next_run_at == busy.next_run_at

    async def test_stays_where_it_was_put_when_a_run_ends(self, database: Database) -> None:
        store = await database.store()
        job, session = await store.add(every_hour()), await joined(store, "tidy")
        run = await started(store, session, job)

        await database.ask("UPDATE scheduled_jobs SET next_run_at = '2020-02-03 04:05:06'")

        await store.finish([ended(run)])
        assert await due(store, session) == [job.id]
        claimed(await next_of(store, session, job))


class TestAPlainInterval:
    @pytest.mark.parametrize("minutes", ["90", "90.0", "'90'"])
    async def test_is_as_long_as_it_was_made_meanwhile(self, database: Database, minutes: str) -> None:
        store = await database.store()
        job, session = await store.add(every_hour()), await joined(store)
        run = await started(store, session, job)

        await database.ask(f"UPDATE scheduled_jobs SET interval_minutes = {minutes}")

        await store.finish([ended(run)])
        finished, again = (await run_of(store, run.run_id)).finished_at, await now_of(store, job)
        assert finished is not None
        assert again.next_run_at is not None
        assert abs(again.next_run_at - finished - 1.5 * HOUR) < HOUR / 60

    async def test_may_be_made_of_a_trigger(self, database: Database) -> None:
        store = await database.store()
        job, session = await store.add(a_job()), await joined(store)

        await database.ask("UPDATE scheduled_jobs SET trigger = NULL, interval_minutes = 60")

        # Whoever claims has read the trigger, and says when that is due next.
        run = await started(store, session, job, following=FUTURE)
        assert (await now_of(store, job)).next_run_at is None
        await store.finish([ended(run)])
        again = (await now_of(store, job)).next_run_at
        assert again is not None
        assert DUE < again < FUTURE

    async def test_may_be_made_a_trigger_while_its_run_is_in_progress(self, database: Database) -> None:
        store = await database.store()
        job, session = await store.add(every_hour()), await joined(store)
        run = await started(store, session, job)

        await database.ask(
            f"UPDATE scheduled_jobs SET trigger = 'x', interval_minutes = NULL, next_run_at = {SOON}"
        )

        before = await now_of(store, job)
        await store.finish([ended(run)])
        assert await now_of(store, job) == before


class TestARun:
    async def test_may_be_wanted_with_a_plain_line(self, database: Database) -> None:
        store = await database.store()
        job, session = await store.add(a_job(bot_id="b1")), await joined(store, "tidy")

        await database.ask(
            "INSERT INTO job_runs (id, job_id, job_type, bot_id, status, due)"
            " SELECT 'by hand', id, job_type, bot_id, 'pending', next_run_at FROM scheduled_jobs"
        )

        assert await offered(store, session) == [an_offer(job, run_id="by hand")]
        run = claimed((await store.accept(session, [("by hand", False)]))[0])
        assert await store.finish([ended(run)]) == [True]

    async def test_may_be_wanted_no_more(self, database: Database) -> None:
        store = await database.store()
        job, session = await store.add(a_job()), await joined(store, "tidy")
        await store.offer(an_offer(job, run_id="r"))

        await database.ask("UPDATE job_runs SET status = 'skipped' WHERE status = 'pending'")

        assert await offered(store, session) == []
        assert await store.accept(session, [("r", False)]) == [Refused(job.id, Refusal.TAKEN, DUE)]
        assert not await store.withdraw("r", "why")

    async def test_may_be_cancelled(self, database: Database) -> None:
        store = await database.store()
        job, session = await store.add(a_job()), await joined(store)
        run = await started(store, session, job)

        await database.ask(f"UPDATE job_runs SET unwanted = TRUE WHERE id = '{run.run_id}'")

        assert (await store.beat(session, LONG, 0.0)).unwanted == (run.run_id,)

    async def test_ends_though_its_job_is_gone(self, database: Database) -> None:
        store = await database.store()
        job, session = await store.add(every_hour()), await joined(store, "tidy")
        run = await started(store, session, job)
        await store.offer(an_offer(job, run_id="r"))

        await database.ask("DELETE FROM scheduled_jobs")

        assert await store.finish([ended(run)]) == [True]
        assert await store.accept(session, [("r", False)]) == [Refused(job.id, Refusal.GONE)]
        assert await store.withdraw("r", "its job is gone")
        assert await offered(store, session) == []
        assert not await store.offer(an_offer(job))

    async def test_is_lost_with_the_session_that_somebody_deletes(self, database: Database) -> None:
        store = await database.store()
        job, session = await store.add(a_job()), await joined(store)
        other = await joined(store, "tidy")
        run = await started(store, session, job, run_id="r")

        await database.ask(f"DELETE FROM bgtasks_sessions WHERE id = '{session}'")

        assert not (await store.beat(session, LONG, 0.0)).alive
        assert await status_of(store, "r") is RunStatus.LOST
        assert await store.finish([ended(run)]) == [False]
        assert [each.run_id for each in await offered(store, other)] == ["r~2"]
