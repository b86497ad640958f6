"""Tables that an application has kept itself, under the names of ours, become ours with what is in them."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from tests.support.sql_databases import Database
from tests.support.task_stores import LONG, claimed, every_hour, joined, run_of, tick

from bgtasks.contracts import TaskStore
from bgtasks.errors import UnsuitableServer
from bgtasks.records import JobRow, RunStatus

DIGEST = UUID("7f9c24e8-3b12-4fb3-9e2a-5d9a3c5b8e77")
PAUSED = UUID("0b1c24e8-3b12-4fb3-9e2a-5d9a3c5b8e77")
NEXT = datetime(2031, 5, 1, 12, 30, tzinfo=UTC)
LAST = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

FORMS = {
    "postgresql, native": (
        "CREATE TYPE run_status AS ENUM ('PENDING', 'RUNNING', 'SUCCESS', 'FAILED', 'SKIPPED')",
        """CREATE TABLE scheduled_jobs (id UUID PRIMARY KEY, job_type VARCHAR(64) NOT NULL,
            bot_id VARCHAR(64), enabled BOOLEAN, interval_minutes INTEGER, trigger VARCHAR(128),
            last_run_at TIMESTAMP, next_run_at TIMESTAMP, config_json JSONB, created_at TIMESTAMP)""",
        "CREATE INDEX ix_scheduled_jobs_next_run_at ON scheduled_jobs (next_run_at)",
        """CREATE TABLE job_runs (id UUID PRIMARY KEY, job_id UUID REFERENCES scheduled_jobs (id),
            bot_id VARCHAR(64), status run_status, started_at TIMESTAMP, finished_at TIMESTAMP,
            duration_ms INTEGER, result_json JSONB, error_message TEXT)""",
    ),
    "postgresql, portable": (
        """CREATE TABLE scheduled_jobs (id CHAR(32) PRIMARY KEY, job_type VARCHAR(64) NOT NULL,
            bot_id VARCHAR(64), enabled BOOLEAN, interval_minutes NUMERIC, trigger VARCHAR(128),
            last_run_at TIMESTAMPTZ, next_run_at TIMESTAMPTZ, config_json TEXT)""",
        """CREATE TABLE job_runs (id VARCHAR(36) PRIMARY KEY, job_id CHAR(32) REFERENCES scheduled_jobs (id),
            bot_id VARCHAR(64), status VARCHAR(16), started_at TIMESTAMPTZ, finished_at TIMESTAMPTZ,
            duration_ms DOUBLE PRECISION, result_json JSON, error_message VARCHAR(500))""",
    ),
    "sqlite, native": (
        """CREATE TABLE scheduled_jobs (id CHAR(32) PRIMARY KEY, job_type VARCHAR(64) NOT NULL,
            bot_id VARCHAR(64), enabled BOOLEAN, interval_minutes INTEGER, "trigger" VARCHAR(128),
            last_run_at DATETIME, next_run_at DATETIME, config_json JSON)""",
        """CREATE TABLE job_runs (id CHAR(32) PRIMARY KEY, job_id CHAR(32) REFERENCES scheduled_jobs (id),
            bot_id VARCHAR(64),
            status VARCHAR(7) CHECK (lower(status) IN ('pending', 'running', 'success', 'failed', 'skipped')),
            started_at DATETIME, finished_at DATETIME, duration_ms INTEGER, result_json JSON,
            error_message TEXT)""",
    ),
    "sqlite, portable": (
        """CREATE TABLE scheduled_jobs (ID VARCHAR(36) PRIMARY KEY, job_type TEXT, bot_id TEXT,
            enabled INTEGER, interval_minutes REAL, trigger TEXT, last_run_at TEXT,
            next_run_at TEXT, config_json TEXT)""",
        """CREATE TABLE job_runs (id TEXT PRIMARY KEY, job_id TEXT, bot_id TEXT, status TEXT, started_at TEXT,
            finished_at TEXT, duration_ms INTEGER, result_json TEXT, error_message TEXT)""",
    ),
}
"""Tables as applications make them."""

JOBS = "INSERT INTO scheduled_jobs (id, job_type, bot_id, enabled, interval_minutes, trigger, last_run_at, "
JOBS += "next_run_at, config_json) VALUES "
RUNS = "INSERT INTO job_runs (id, job_id, bot_id, status, started_at, finished_at, duration_ms, result_json, "
RUNS += "error_message) VALUES "

ROWS = [
    f"{into} ({values})"
    for into, values in (
        (
            JOBS,
            f"""'{DIGEST.hex}', 'digest', 'ada', true, 30, NULL, '2026-01-02 03:04:05',
            '2031-05-01 12:30:00', '{{"size": 3}}'""",
        ),
        (
            JOBS,
            f"""'{PAUSED.hex}', 'tidy', NULL, false, NULL, 'cron 0 9 * * *', NULL,
            '2031-05-01 12:30:00', NULL""",
        ),
        (
            RUNS,
            f"""'00000000000000000000000000000001', '{DIGEST.hex}', 'ada', 'SUCCESS', '2026-01-02 03:04:05',
            '2026-01-02 03:04:07', 2000, '{{"n": 5}}', NULL""",
        ),
        (
            RUNS,
            f"""'00000000000000000000000000000002', '{DIGEST.hex}', 'ada', 'RUNNING', '2026-01-02 04:04:05',
            NULL, NULL, NULL, NULL""",
        ),
        (
            RUNS,
            f"""'00000000000000000000000000000003', '{DIGEST.hex}', 'ada', 'PENDING',
            NULL, NULL, NULL, NULL, NULL""",
        ),
    )
]

NATIVE = [("sqlite", "sqlite, native"), ("postgresql", "postgresql, portable")]
each_kind = pytest.mark.parametrize(("database", "form"), NATIVE, indirect=True)


@pytest.fixture
def form(request: pytest.FixtureRequest) -> str:
    """Which tables the application has."""
    return str(request.param)


@pytest.fixture
async def application(database: Database, form: str) -> Database:
    """The database of an application, without rows."""
    for statement in FORMS[form]:
        await database.ask(statement)
    return database


async def jobs_of(store: TaskStore) -> dict[str, JobRow]:
    """The jobs by their types."""
    return {job.job_type: job for job in await store.jobs()}


@pytest.mark.parametrize(
    ("database", "form"), [(form.partition(",")[0], form) for form in FORMS], indirect=True
)
class TestTablesOfAnApplication:
    async def test_are_adopted_with_what_is_in_them(
        self, application: Database, caplog: pytest.LogCaptureFixture
    ) -> None:
        for row in ROWS:
            await application.ask(row)

        with caplog.at_level(logging.INFO, "bgtasks"):
            store = await application.store()

        jobs = await jobs_of(store)
        assert jobs["digest"] == every_hour(
            id=DIGEST,
            job_type="digest",
            bot_id="ada",
            interval_minutes=30.0,
            last_run_at=LAST,
            next_run_at=NEXT,
            config_json='{"size": 3}',
        )
        assert (jobs["tidy"].id, jobs["tidy"].bot_id, jobs["tidy"].enabled) == (PAUSED, "*", False)
        assert (jobs["tidy"].trigger, jobs["tidy"].config_json) == ("cron 0 9 * * *", "{}")
        assert await application.ask("SELECT count(*) FROM scheduled_jobs_before_bgtasks") == [2]
        [said] = [each.getMessage() for each in caplog.records if "adopted" in each.getMessage()]
        assert "adopted 2 jobs and 3 runs" in said
        assert "scheduled_jobs_before_bgtasks, job_runs_before_bgtasks" in said

    async def test_give_up_what_was_not_over(self, application: Database) -> None:
        for row in ROWS:
            await application.ask(row)

        store = await application.store()

        ids = await application.ask("SELECT id FROM job_runs ORDER BY id")
        well, lost, unstarted = [await run_of(store, id) for id in ids]
        assert (well.status, well.job_type, well.started_at) == (RunStatus.SUCCESS, "digest", LAST)
        assert (well.duration_ms, well.result_json) == (2000, '{"n": 5}')
        assert (lost.status, unstarted.status) == (RunStatus.LOST, RunStatus.SKIPPED)
        assert "in progress when bgtasks took it over" in (lost.error_message or "")
        assert lost.finished_at is not None
        session = await joined(store, "digest", "tidy")
        assert (await store.beat(session, LONG, 0.0)).offers == ()

    async def test_are_adopted_once_by_all_who_start_at_the_same_time(self, application: Database) -> None:
        for row in ROWS:
            await application.ask(row)

        stores = await asyncio.gather(*(application.store() for _ in range(4)))

        assert [len(await store.jobs()) for store in stores] == [2] * 4

    async def test_may_be_worked_with_from_then_on(self, application: Database) -> None:
        for row in ROWS:
            await application.ask(row)
        store = await application.store()
        await application.ask(
            "UPDATE scheduled_jobs SET next_run_at = '2020-01-01' WHERE job_type = 'digest'"
        )

        session = await joined(store, "digest")
        [job] = (await store.beat(session, LONG, 0.0)).due
        assert claimed((await store.claim(session, [tick(job)]))[0])


@each_kind
class TestARow:
    async def test_of_an_interval_that_is_not_due_is_due_after_it(self, application: Database) -> None:
        of = "'tidy', NULL, true, 30, NULL, '2026-01-02 03:04:05', NULL, '{}'"
        await application.ask(f"{JOBS} ('{DIGEST.hex}', {of})")

        [job] = await (await application.store()).jobs()

        assert job.next_run_at == LAST + timedelta(minutes=30)

    async def test_that_was_never_due_is_due_now(self, application: Database) -> None:
        await application.ask(f"{JOBS} ('{DIGEST.hex}', 'tidy', NULL, true, 30, NULL, NULL, NULL, '{{}}')")

        store = await application.store()

        assert len((await store.beat(await joined(store, "tidy"), LONG, 0.0)).due) == 1

    @pytest.mark.parametrize(
        ("trigger", "minutes", "kept"),
        [
            ("'every 2h'", "30", (None, 120.0)),
            ("'0 9 * * 1-5'", "30", ("0 9 * * 1-5", None)),
            ("'manual'", "30", (None, 30.0)),
            ("'manual'", "NULL", ("manual", None)),
            ("''", "NULL", (None, None)),
        ],
    )
    async def test_has_its_trigger_or_else_its_interval(
        self, application: Database, trigger: str, minutes: str, kept: tuple[str | None, float | None]
    ) -> None:
        of = f"'tidy', NULL, true, {minutes}, {trigger}, NULL, '2031-05-01 12:30:00', '{{}}'"
        await application.ask(f"{JOBS} ('{DIGEST.hex}', {of})")

        [job] = await (await application.store()).jobs()

        assert (job.trigger, job.interval_minutes) == kept

    async def test_whose_id_is_no_uuid_has_it_as_its_key(self, application: Database) -> None:
        await application.ask(f"{JOBS} ('nightly', 'tidy', NULL, true, 30, NULL, NULL, NULL, '{{}}')")
        await application.ask(f"{RUNS} ('1', 'nightly', NULL, 'failed', NULL, NULL, NULL, NULL, 'no')")

        store = await application.store()

        [job] = await store.jobs()
        assert job.key == "nightly"
        assert (await run_of(store, "1")).job_id == job.id

    async def test_may_have_a_config_that_is_no_json(self, application: Database) -> None:
        await application.ask(f"{JOBS} ('{DIGEST.hex}', 'tidy', NULL, true, 30, NULL, NULL, NULL, '{{oops')")

        assert [job.config_json for job in await (await application.store()).jobs()] == ["{oops"]

    async def test_may_be_of_a_job_that_is_gone(self, application: Database) -> None:
        await application.ask(f"{RUNS} ('1', NULL, NULL, 'skipped', NULL, NULL, NULL, NULL, NULL)")

        run = await run_of(await application.store(), "1")

        assert (run.job_type, run.status) == ("unknown", RunStatus.SKIPPED)

    async def test_that_cannot_be_taken_over_is_told_and_nothing_is_changed(
        self, application: Database
    ) -> None:
        await application.ask(f"{JOBS} ('{DIGEST.hex}', 'tidy', NULL, true, 30, NULL, NULL, NULL, '{{}}')")
        await application.ask(f"{JOBS} ('b', '', NULL, true, 30, NULL, NULL, NULL, '{{}}')")

        with pytest.raises(UnsuitableServer, match=r"scheduled_jobs b *: it has no job_type\. Nothing was"):
            await application.store()

        assert await application.ask("SELECT count(*) FROM scheduled_jobs") == [2]
        await application.ask("DELETE FROM scheduled_jobs WHERE job_type = ''")
        assert len(await (await application.store()).jobs()) == 1


class TestARowOfSqlite:
    @pytest.mark.parametrize(
        ("column", "value", "why"),
        [
            ("enabled", "'perhaps'", "enabled is 'perhaps'"),
            ("next_run_at", "'soon'", "'soon' is not an instant"),
            ("last_run_at", "1731234567", "'1731234567' is not an instant"),
            ("interval_minutes", "'often'", "interval_minutes is 'often'"),
            ("id", "NULL", "it has no id"),
        ],
    )
    async def test_that_says_what_cannot_be_meant_is_told(
        self, sqlite: Database, column: str, value: str, why: str
    ) -> None:
        for statement in FORMS["sqlite, portable"]:
            await sqlite.ask(statement)
        await sqlite.ask(f"{JOBS} ('{DIGEST}', 'tidy', NULL, 1, 30, NULL, NULL, NULL, '{{}}')")
        await sqlite.ask(f"UPDATE scheduled_jobs SET {column} = {value}")

        with pytest.raises(UnsuitableServer, match=why):
            await sqlite.store()

    async def test_whose_id_is_another_s_in_another_form_is_told(self, sqlite: Database) -> None:
        for statement in FORMS["sqlite, portable"]:
            await sqlite.ask(statement)
        for id in (str(DIGEST), DIGEST.hex):
            await sqlite.ask(f"{JOBS} ('{id}', 'tidy', NULL, 1, 30, NULL, NULL, NULL, '{{}}')")

        with pytest.raises(UnsuitableServer, match="its id is that of another"):
            await sqlite.store()


@each_kind
class TestTablesThatCannotBeAdopted:
    async def test_are_told_of_with_the_columns_that_they_lack(self, application: Database) -> None:
        await application.ask("ALTER TABLE job_runs RENAME COLUMN error_message TO error")

        with pytest.raises(
            UnsuitableServer, match=r"job_runs that .* without the columns error_message: add"
        ):
            await application.store()

        assert await application.ask("SELECT error FROM job_runs") == []

    async def test_may_be_runs_without_jobs(self, application: Database) -> None:
        await application.ask("ALTER TABLE scheduled_jobs RENAME TO jobs")

        with pytest.raises(UnsuitableServer, match="job_runs that bgtasks did not make"):
            await application.store()

    @pytest.mark.parametrize("name", ["job_runs_before_bgtasks", "bgtasks_sessions"])
    async def test_are_told_of_with_what_is_in_the_way(self, application: Database, name: str) -> None:
        await application.ask(f"CREATE TABLE {name} (id TEXT)")

        with pytest.raises(UnsuitableServer, match=f"{name} that bgtasks did not make"):
            await application.store()

    async def test_may_have_an_index_in_the_way(self, application: Database) -> None:
        await application.ask("CREATE INDEX scheduled_jobs_due ON scheduled_jobs (next_run_at)")

        with pytest.raises(UnsuitableServer, match="index scheduled_jobs_due that bgtasks did not make"):
            await application.store()

    async def test_may_be_jobs_without_runs_and_then_are(self, application: Database) -> None:
        await application.ask("DROP TABLE job_runs")

        assert await (await application.store()).jobs() == []
