"""What a job may be made by hand in a database of `SqlTaskStore`, so that no node is stopped by it."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest
from tests.support.sql_databases import Database, asyncpg
from tests.support.task_stores import (
    LONG,
    a_job,
    claimed,
    ended,
    every_hour,
    joined,
    now_of,
    started,
    tick,
)

from bgtasks.errors import UnsuitableServer
from bgtasks.stores.tasks import sql_schema
from bgtasks.stores.tasks.sql_schema import MIGRATIONS

JOB = UUID("7f9c24e8-3b12-4fb3-9e2a-5d9a3c5b8e77")
REFUSED = (sqlite3.IntegrityError, asyncpg.CheckViolationError)

INSTANTS = ("next_run_at", "last_run_at", "anchor", "retired_at")
BEYOND = [
    *((each, value) for each in INSTANTS for value in ("'infinity'", "'-infinity'", "'20000-01-01'")),
    *(("interval_minutes", value) for value in ("'Infinity'", "'NaN'", "1e12", "0", "-5")),
]
BEYOND_IN_SQLITE = [
    *((each, "'0000-12-31 23:59:59'") for each in INSTANTS),
    ("next_run_at", "0"),
    *(("interval_minutes", value) for value in ("9e999", "1e12", "0", "-5")),
]


class TestAValueThatNoNodeCouldTake:
    @pytest.mark.parametrize(
        ("database", "column", "value"),
        [
            *(pytest.param("postgresql", *each, marks=pytest.mark.full) for each in BEYOND),
            *(("sqlite", *each) for each in BEYOND_IN_SQLITE),
        ],
        indirect=["database"],
    )
    async def test_is_refused(self, database: Database, column: str, value: str) -> None:
        store = await database.store()
        job = await store.add(every_hour())

        with pytest.raises(REFUSED):
            await database.ask(f"UPDATE scheduled_jobs SET {column} = {value}")
        with pytest.raises(REFUSED):
            await database.ask(f"INSERT INTO scheduled_jobs (job_type, {column}) VALUES ('sow', {value})")

        assert await store.jobs() == [job]

    @pytest.mark.parametrize("minutes", [1 / 60_000, 100 * 365 * 24 * 60.0])
    async def test_is_none_that_a_trigger_may_say(self, database: Database, minutes: float) -> None:
        store = await database.store()
        job, session = await store.add(every_hour(interval_minutes=minutes)), await joined(store)

        run = await started(store, session, job)

        assert await store.finish([ended(run)]) == [True]
        assert (await now_of(store, job)).next_run_at is not None

    async def test_may_be_in_a_run_and_is_read_with_a_zone(self, postgresql: Database) -> None:
        store = await postgresql.store()
        job, session = await store.add(a_job(next_run_at=None)), await joined(store, "tidy")

        await postgresql.ask(
            f"INSERT INTO job_runs (id, job_id, job_type, status, due)"
            f" VALUES ('r', '{job.id}', 'tidy', 'pending', 'infinity')"
        )

        [offer] = (await store.beat(session, LONG, 0.0)).offers
        assert offer.due == datetime.max.replace(tzinfo=UTC)


class TestAnInstantInSqlite:
    @pytest.mark.parametrize("column", INSTANTS)
    @pytest.mark.parametrize(
        ("said", "read"),
        [
            ("2031-02-30 00:00:00.000000", datetime(2031, 3, 2, tzinfo=UTC)),
            ("2031-02-03T24:00:00", datetime(2031, 2, 4, tzinfo=UTC)),
            ("2031-02-03 04:05:06 +02:00", datetime(2031, 2, 3, 2, 5, 6, tzinfo=UTC)),
            ("2031-02-03 04:05:59.999999", datetime(2031, 2, 3, 4, 5, 59, 999_999, tzinfo=UTC)),
        ],
    )
    async def test_is_brought_into_a_form_that_can_be_read(
        self, sqlite: Database, column: str, said: str, read: datetime
    ) -> None:
        store = await sqlite.store()
        await store.add(a_job())

        await sqlite.ask(f"UPDATE scheduled_jobs SET {column} = '{said}'")
        await sqlite.ask(f"INSERT INTO scheduled_jobs (job_type, {column}) VALUES ('sow', '{said}')")

        assert [getattr(job, column) for job in await store.jobs()] == [read, read]
        sorted_form = read.replace(tzinfo=None).isoformat(" ", "microseconds")
        assert await sqlite.ask(f"SELECT {column} FROM scheduled_jobs") == [sorted_form] * 2


class TestADatabaseOfVersion1:
    @pytest.mark.parametrize(
        ("database", "column", "value"),
        [
            *(pytest.param("postgresql", *each, marks=pytest.mark.full) for each in BEYOND),
            *(("sqlite", *each) for each in BEYOND_IN_SQLITE),
        ],
        indirect=["database"],
    )
    async def test_with_such_a_value_is_migrated_without(
        self, database: Database, monkeypatch: pytest.MonkeyPatch, column: str, value: str
    ) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(sql_schema, "MIGRATIONS", MIGRATIONS[:1])
            await database.store()
        await database.ask(
            "INSERT INTO scheduled_jobs (job_type, interval_minutes) VALUES ('tidy', 60), ('sow', 60)"
        )
        await database.ask(f"UPDATE scheduled_jobs SET {column} = {value} WHERE job_type = 'tidy'")

        store = await database.store()

        sow, tidy = sorted(await store.jobs(), key=lambda job: job.job_type)
        paused = column in ("next_run_at", "interval_minutes")
        assert getattr(tidy, column) is None
        assert (tidy.enabled, sow.enabled) == (not paused, True)
        assert (f"its {column} was" in tidy.reason) is paused
        session = await joined(store, "sow")
        [due] = (await store.beat(session, LONG, 0.0)).due
        assert claimed((await store.claim(session, [tick(due)]))[0])


class TestWhatIsWrittenByHand:
    @pytest.mark.parametrize(
        "change",
        [
            "next_run_at = '2031-02-03 04:05:06'",
            "next_run_at = NULL",
            "enabled = FALSE",
            "reason = 'too cold'",
            "config_json = '{\"a\": 1}'",
            "interval_minutes = 5",
            "trigger = NULL",
        ],
    )
    async def test_is_not_overwritten_by_who_read_the_job_before(
        self, database: Database, change: str
    ) -> None:
        store = await database.store()
        job = await store.add(a_job(config_json='{"a": 0}'))

        await database.ask(f"UPDATE scheduled_jobs SET {change}")
        by_hand = await now_of(store, job)

        assert await store.change(replace(job, reason="another")) is None
        assert await now_of(store, job) == by_hand
        assert await store.change(replace(by_hand, reason="another")) is not None

    async def test_leaves_the_version_where_nothing_was_changed(self, database: Database) -> None:
        store = await database.store()
        job = await store.add(a_job())

        await database.ask(
            "UPDATE scheduled_jobs SET enabled = TRUE, config_json = '{}', next_run_at = next_run_at"
        )

        assert await now_of(store, job) == job


@pytest.mark.parametrize("type", ["TIMESTAMP", "TIMESTAMPTZ"])
class TestAnApplicationsJob:
    async def adopted(self, postgresql: Database, type: str, values: str) -> Database:
        await postgresql.ask(
            f"""CREATE TABLE scheduled_jobs (id UUID, job_type TEXT, bot_id TEXT, config_json TEXT,
                enabled BOOLEAN, interval_minutes DOUBLE PRECISION, last_run_at {type}, next_run_at {type})"""
        )
        await postgresql.ask(f"INSERT INTO scheduled_jobs VALUES ('{JOB}', 'tidy', 'ada', '{{}}', {values})")
        return postgresql

    @pytest.mark.parametrize("never", ["infinity", "-infinity"])
    async def test_that_is_due_at_infinity_is_adopted_disabled(
        self, postgresql: Database, type: str, never: str
    ) -> None:
        await self.adopted(postgresql, type, f"TRUE, 30, '-infinity', '{never}'")

        [job] = await (await postgresql.store()).jobs()

        assert not job.enabled
        assert "next_run_at was infinite" in job.reason
        assert job.last_run_at is None
        assert job.next_run_at is not None

    @pytest.mark.parametrize("minutes", ["0", "-1", "1e12"])
    async def test_whose_interval_is_none_is_told(
        self, postgresql: Database, type: str, minutes: str
    ) -> None:
        await self.adopted(postgresql, type, f"TRUE, {minutes}, NULL, NULL")

        with pytest.raises(UnsuitableServer, match="not more than 0 and at most"):
            await postgresql.store()
