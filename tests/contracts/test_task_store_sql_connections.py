"""Connections of `SqlTaskStore`: what its URL may be, databases that are not there, calls given up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.support.proxy import Proxy, proxy
from tests.support.servers import listening
from tests.support.sql_databases import Database
from tests.support.task_stores import PATIENT, a_job, claimed, joined, tick
from tests.support.waiting import until

from bgtasks.errors import ConfigurationError, ResourceUnavailable, UnsuitableServer
from bgtasks.stores.tasks.sql import SqlTaskStore

SECRET = "hunter2"
IMPATIENT = 0.5


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
