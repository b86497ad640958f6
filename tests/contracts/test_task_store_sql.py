"""What is SQL's own about `SqlTaskStore`: its tables, an operator beside it, databases that are not there."""

from __future__ import annotations

import asyncio
import importlib
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest
from sqlalchemy import event
from tests.support.proxy import Proxy, proxy
from tests.support.servers import listening
from tests.support.task_stores import LONG, PATIENT, SqlPlace, a_job, claimed, ended, joined, tick
from tests.support.waiting import until

from bgtasks.errors import BgTasksError, ConfigurationError, ResourceUnavailable, UnsuitableServer
from bgtasks.records import Refusal, Refused, RunStatus
from bgtasks.stores.tasks import sql_schema
from bgtasks.stores.tasks.sql import SqlTaskStore
from bgtasks.stores.tasks.sql_schema import MIGRATIONS, Migration

pytest_plugins = ["tests.support.task_stores"]

asyncpg: Any = importlib.import_module("asyncpg")  # it has no types

SECRET = "hunter2"
IMPATIENT = 0.5
COLOUR = Migration(both=("ALTER TABLE scheduled_jobs ADD COLUMN colour TEXT DEFAULT 'blue'",))


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


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Database:
    """Each kind of database, empty."""
    made: Database = request.getfixturevalue(request.param)
    return made


def checked_out(store: SqlTaskStore) -> int:
    """Connections that are in use."""
    pool: Any = store._database._engine.pool
    return int(pool.checkedout())


@asynccontextmanager
async def closing(url: str, timeout: float = PATIENT) -> AsyncIterator[SqlTaskStore]:
    """A store that is closed at the end."""
    store = SqlTaskStore(url, timeout=timeout)
    try:
        yield store
    finally:
        await store.aclose()


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

    async def test_wins_over_who_read_the_job_before(self, database: Database) -> None:
        store = await database.store()
        job = await store.add(a_job())

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


class TestAUrl:
    @pytest.mark.parametrize(
        "url",
        [
            f"postgresql//bg:{SECRET}@host",
            f"postgresql://bg:{SECRET}@host:port/name",
            f"mysql://bg:{SECRET}@host/name",
            SECRET,
            "sqlite://",
            "sqlite:///:memory:",
        ],
    )
    def test_that_names_no_database_is_refused_with_one_that_does(self, url: str) -> None:
        with pytest.raises(ConfigurationError, match="sqlite:///path") as caught:
            SqlTaskStore(url)

        assert SECRET not in str(caught.value)
        assert caught.value.__cause__ is None

    @pytest.mark.parametrize(
        "url",
        [
            f"postgresql://bg:{SECRET}@127.0.0.1:1/name",
            f"postgres://bg:{SECRET}@127.0.0.1:1/name?sslmode=disable",
            f"postgresql+asyncpg://127.0.0.1:1/name?user=bg&password={SECRET}",
            f"postgresql://bg:{SECRET}@/name?host=/nowhere",
        ],
    )
    async def test_shows_no_password_where_nobody_answers(self, url: str) -> None:
        async with closing(url) as store:
            with pytest.raises(ResourceUnavailable) as caught:
                await store.open()

        assert SECRET not in f"{store.name} {caught.value} {caught.value.__cause__!r} {store!r}"

    async def test_may_have_no_option_that_nobody_knows(self) -> None:
        async with closing(f"postgresql://bg:{SECRET}@127.0.0.1:1/name?colour=red") as store:
            with pytest.raises(ConfigurationError, match="an option that the driver does not know"):
                await store.open()

    async def test_of_something_else_is_told(self) -> None:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(64)
            writer.write(b"-ERR unknown command\r\n")
            await writer.drain()

        async with (
            listening(talk) as port,
            closing(f"postgresql://bg:{SECRET}@127.0.0.1:{port}/name") as store,
        ):
            with pytest.raises(UnsuitableServer, match="not PostgreSQL") as caught:
                await store.open()

        assert SECRET not in str(caught.value)

    async def test_may_name_neither_user_nor_database_that_is_not_there(self, postgresql: Database) -> None:
        read = urlsplit(postgresql.url)
        nobody = read._replace(netloc=f"nobody:{SECRET}@{read.netloc.rpartition('@')[2]}").geturl()
        for url, cure in (
            (read._replace(path="/nowhere").geturl(), "CREATE DATABASE"),
            (nobody.replace("///", "//"), "check user, password"),
        ):
            async with closing(url) as store:
                with pytest.raises(UnsuitableServer, match=cure) as caught:
                    await store.open()
            assert SECRET not in str(caught.value)

    async def test_may_name_no_file_that_is_something_else(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("to do: " * 1000)
        for file, cure in (("notes.txt", "not a SQLite database"), ("not/there.db", "make its directory")):
            async with closing(f"sqlite:///{tmp_path / file}") as store:
                with pytest.raises(UnsuitableServer, match=cure):
                    await store.open()


class TestAnOutage:
    @pytest.fixture
    async def between(self, postgresql: Database) -> AsyncIterator[Proxy]:
        """What carries connections to the database."""
        read = urlsplit(postgresql.url)
        folder = parse_qs(read.query).get("host", [""])[0]
        place = f"redis://{read.hostname}:{read.port or 5432}"
        async with proxy(f"unix://{folder}/.s.PGSQL.5432" if folder else place) as made:
            made.url = (
                f"postgresql://{read.username}:{read.password or ''}@{urlsplit(made.url).netloc}{read.path}"
            )
            yield made

    async def test_ends_when_the_database_is_back(self, between: Proxy) -> None:
        async with closing(between.url) as store:
            await store.open()
            job = await store.add(a_job())
            there, between.target = between.target, "unix:///nowhere"
            between.cut()
            with pytest.raises(ResourceUnavailable):
                await store.job(job.id)

            between.target = there

            assert await store.job(job.id) == job

    async def test_is_not_noticed_if_it_is_over_before_the_next_call(self, between: Proxy) -> None:
        async with closing(between.url) as store:
            await store.open()
            job = await store.add(a_job())

            assert between.cut() > 0

            assert await store.job(job.id) == job

    async def test_in_which_nothing_is_heard_is_one(self, between: Proxy) -> None:
        async with closing(between.url, timeout=IMPATIENT) as store:
            await store.open()
            between.mute = b""
            with pytest.raises(ResourceUnavailable):
                await store.sessions()
            assert checked_out(store) == 0

            between.mend()

            assert await store.sessions() == []

    async def test_is_what_a_lock_is_that_nobody_gives_back(self, database: Database) -> None:
        await database.store()
        async with closing(database.url, timeout=IMPATIENT) as store:
            job = await store.add(a_job())
            session = await joined(store)
            async with database.locked():
                with pytest.raises(ResourceUnavailable, match=r"within 0\.5 s|timeout"):
                    await store.claim(session, [tick(job)])

            assert claimed((await store.claim(session, [tick(job)]))[0])


class TestACallThatIsCancelled:
    async def test_leaves_nothing_behind(self, database: Database) -> None:
        opened = await database.store()
        assert isinstance(opened, SqlTaskStore)
        job = await opened.add(a_job())
        session = await joined(opened)
        async with database.locked():
            claim = asyncio.create_task(opened.claim(session, [tick(job)]))
            await until("the claim has a connection", lambda: checked_out(opened) == 1)

            claim.cancel()
            with pytest.raises(asyncio.CancelledError):
                await claim

            assert checked_out(opened) == 0
        assert await opened.job(job.id) == job
        assert claimed((await opened.claim(session, [tick(job)]))[0])


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
