"""Task stores for tests: an empty place of each kind, and values to fill it with."""

from __future__ import annotations

import asyncio
import importlib
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import fakeredis
import pytest
from tests.support.postgres_process import PostgresProcess
from tests.support.servers import Clients
from tests.support.waiting import PATIENCE_S, until

from bgtasks.contracts import TaskStore
from bgtasks.records import (
    Claimed,
    Command,
    Ending,
    JobRow,
    Offer,
    Refusal,
    Refused,
    RunRow,
    RunStatus,
    SessionRow,
    Tick,
)
from bgtasks.stores.tasks.memory import MemoryTaskStore
from bgtasks.stores.tasks.redis import RedisTaskStore
from bgtasks.stores.tasks.sql import SqlTaskStore

__all__ = [
    "DUE",
    "FUTURE",
    "HOUR",
    "LONG",
    "NO_JOB",
    "ODD",
    "PATIENT",
    "SHORT",
    "SqlPlace",
    "TaskStores",
    "a_command",
    "a_job",
    "a_run",
    "a_session",
    "an_offer",
    "claimed",
    "ended",
    "every_hour",
    "expire",
    "joined",
    "listed_jobs",
    "new_id",
    "next_of",
    "now_of",
    "offered",
    "place",
    "postgresql_url",
    "refused",
    "run_of",
    "sqlite_tables",
    "started",
    "status_of",
    "store",
    "stores",
    "tick",
]

DUE = datetime(2020, 2, 29, 23, 59, 59, 123457, tzinfo=UTC)
"""An instant that has passed by anybody's clock, to the microsecond."""

FUTURE = datetime(2100, 1, 1, 0, 0, 0, 1, tzinfo=UTC)
"""An instant that nobody lives to see."""

HOUR = timedelta(hours=1)

LONG = 600.0
"""Seconds of a session that does not expire while a test runs."""

SHORT = 0.05
"""Seconds of a session that a test waits to expire."""

NO_JOB = uuid4()
"""The id of a job that was never added."""

ODD = "Zażółć \"gęślą\" 'jaźń' \\ %s $1 :x {} [] ; -- /*\t\r\n\x01\x1f\x7f\u2028 é e\u0301 🌲 <b>&amp;"
"""Text as people write it, and worse."""

PATIENT = 20.0
"""Seconds that a store's call may take: the machine may be busy."""

POSTGRESQL_URL = "TEST_POSTGRESQL_URL"
"""Names a PostgreSQL to use instead of one that the tests start; databases are created in it."""


# -- places --------------------------------------------------------------------------------------


@dataclass
class TaskStores:
    """A place where jobs, runs and sessions are kept, for any number of processes.

    Attributes:
        stack: Closes what was opened.
    """

    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    def new(self) -> TaskStore:
        """A store as one more process has it, not opened yet."""
        raise NotImplementedError

    async def store(self) -> TaskStore:
        """A store as one more process has it, closed when the test ends."""
        made = self.new()
        self.stack.push_async_callback(made.aclose)
        await made.open()
        return made

    async def prepare(self) -> None:
        """Make the place empty."""


@dataclass
class MemoryPlace(TaskStores):
    """The reference: all processes are this one."""

    only: MemoryTaskStore = field(default_factory=MemoryTaskStore)

    def new(self) -> TaskStore:
        return self.only


@dataclass
class RedisPlace(TaskStores):
    """A Redis, real or not."""

    url: str | None = None
    decode: bool = False

    def __post_init__(self) -> None:
        fake = None if self.url else fakeredis.FakeServer()
        self.clients = Clients(decode=self.decode, url=self.url, fake=fake, stack=self.stack)

    def new(self) -> TaskStore:
        return RedisTaskStore(self.clients.new(), timeout=PATIENT)

    async def prepare(self) -> None:
        await self.clients.new().flushall()


@dataclass
class SqlPlace(TaskStores):
    """A database that SQL is spoken to."""

    url: str = ""

    def new(self) -> TaskStore:
        return SqlTaskStore(self.url, timeout=PATIENT)

    async def prepare(self) -> None:
        if not self.url.startswith("postgresql"):
            return
        asyncpg: Any = importlib.import_module("asyncpg")
        admin = await asyncpg.connect(self.url, timeout=PATIENT)
        self.stack.push_async_callback(admin.close)
        await admin.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")

        async def is_alone() -> bool:
            others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> $1"
            return bool(await admin.fetchval(others, admin.get_server_pid()) == 0)

        # Said first, so asked last: when every store has been closed.
        self.stack.push_async_callback(until, "no store has left a connection open", is_alone)


_KINDS = [
    "memory",
    pytest.param("fakeredis", marks=pytest.mark.full),
    pytest.param("fakeredis, decoding", marks=pytest.mark.full),
    pytest.param("redis 8", marks=pytest.mark.real),
    pytest.param("redis 7, decoding", marks=(pytest.mark.real, pytest.mark.full)),
    pytest.param("redis 6", marks=(pytest.mark.real, pytest.mark.full)),
    "sqlite",
    pytest.param("postgresql", marks=pytest.mark.full),
]


@pytest.fixture(params=_KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> TaskStores:
    """Each kind of place; what is in it is of earlier tests."""
    name, _, mode = str(request.param).partition(", ")
    if name == "memory":
        return MemoryPlace()
    if name == "sqlite":
        path = tmp_path / "tasks.db"
        shutil.copyfile(request.getfixturevalue("sqlite_tables"), path)
        return SqlPlace(url=f"sqlite+aiosqlite:///{path}")
    if name == "postgresql":
        return SqlPlace(url=request.getfixturevalue("postgresql_url"))
    url = None if name == "fakeredis" else request.getfixturevalue(f"{name.replace(' ', '')}_url")
    return RedisPlace(url=url, decode=bool(mode))


@pytest.fixture(scope="session")
def sqlite_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of SQLite with our tables and nothing in them, to be copied: to make one takes longer."""
    path = tmp_path_factory.mktemp("sqlite") / "tasks.db"

    async def make() -> None:
        store = SqlTaskStore(f"sqlite+aiosqlite:///{path}", timeout=PATIENT)
        await store.open()
        await store.aclose()

    asyncio.run(make())
    with closing(sqlite3.connect(path)) as own:
        own.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


@pytest.fixture
async def stores(place: TaskStores) -> AsyncIterator[TaskStores]:
    """Each kind of place, empty."""
    async with place.stack:
        await place.prepare()
        yield place


@pytest.fixture
async def store(stores: TaskStores) -> TaskStore:
    """A store in each kind of place."""
    return await stores.store()


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """A PostgreSQL database of this session's own."""
    given = os.environ.get(POSTGRESQL_URL)
    if given:
        name = f"bgtasks_test_{uuid4().hex}"
        asyncio.run(_execute(given, f"CREATE DATABASE {name}"))
        try:
            yield urlsplit(given)._replace(path=f"/{name}").geturl()
        finally:
            asyncio.run(_execute(given, f"DROP DATABASE {name} WITH (FORCE)"))
        return
    with PostgresProcess() as server:
        yield server.url


async def _execute(url: str, statement: str) -> None:
    asyncpg: Any = importlib.import_module("asyncpg")
    connection = await asyncpg.connect(url, timeout=PATIENCE_S)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


# -- values --------------------------------------------------------------------------------------


def new_id() -> str:
    """An id that nothing has."""
    return uuid4().hex


def a_session(*wired: str, **but: Any) -> SessionRow:
    """A process that can run these types."""
    return SessionRow(**{"id": new_id(), "node_id": "node", "wired": wired, "known": wired, **but})


def a_job(job_type: str = "tidy", **but: Any) -> JobRow:
    """A job that has been due for years, by a trigger."""
    return JobRow(**{"id": uuid4(), "job_type": job_type, "trigger": "every hour", "next_run_at": DUE, **but})


def a_run(**but: Any) -> RunRow:
    """A run that never was."""
    standard = {
        "id": new_id(),
        "job_id": NO_JOB,
        "job_type": "tidy",
        "bot_id": "*",
        "status": RunStatus.SKIPPED,
        "due": DUE,
        "created_at": DUE,
    }
    return RunRow(**{**standard, **but})


def a_command(**but: Any) -> Command:
    """Something that all nodes are told to do."""
    return Command(**{"id": new_id(), "kind": "pause", "subject": "tidy", **but})


def every_hour(**but: Any) -> JobRow:
    """A job that is due an hour after the end of each run; it is due now."""
    return a_job(**{"trigger": None, "interval_minutes": 60.0, **but})


def tick(job: JobRow, **but: Any) -> Tick:
    """A claim of what the job, as it was read, is due for; an hour later it is due again."""
    assert job.next_run_at is not None
    following = None if job.interval_minutes is not None else job.next_run_at + HOUR
    standard = {"due": job.next_run_at, "following": following, "runs_for": job.next_run_at}
    return Tick(**{"job_id": job.id, "run_id": new_id(), **standard, **but})


def an_offer(job: JobRow, **but: Any) -> Offer:
    """A run that is wanted beside the schedule."""
    return Offer(**{"run_id": new_id(), "job_id": job.id, "due": DUE, **but})


def ended(run: Claimed, status: RunStatus = RunStatus.SUCCESS, **but: Any) -> Ending:
    """How a claimed run ended."""
    return Ending(run.run_id, run.token, status, **but)


# -- answers -------------------------------------------------------------------------------------


def claimed(answer: Claimed | Refused) -> Claimed:
    """The answer, which is a claim."""
    assert isinstance(answer, Claimed), answer
    return answer


def refused(answer: Claimed | Refused, why: Refusal) -> Refused:
    """The answer, which is a refusal of this kind."""
    assert isinstance(answer, Refused), answer
    assert answer.why is why
    return answer


async def joined(store: TaskStore, *wired: str, ttl: float = LONG) -> str:
    """A session that has begun: its id."""
    session = a_session(*wired)
    await store.join(session, ttl)
    return session.id


async def expire(store: TaskStore, session: str) -> None:
    """Have a session be heard of for the last time, and wait until it is not alive any more."""
    assert (await store.beat(session, SHORT, 0.0)).alive

    async def is_gone() -> bool:
        return session not in [each.id for each in await store.sessions()]

    await until("the session has expired", is_gone)


async def started(store: TaskStore, session: str, job: JobRow, **but: Any) -> Claimed:
    """A run in progress of what the job is due for."""
    [answer] = await store.claim(session, [tick(job, **but)])
    return claimed(answer)


async def next_of(store: TaskStore, session: str, job: JobRow, **but: Any) -> Claimed | Refused:
    """The answer to a claim of what the job is due for by now."""
    [answer] = await store.claim(session, [tick(await now_of(store, job), **but)])
    return answer


async def now_of(store: TaskStore, job: JobRow) -> JobRow:
    """A job that is there, as it is now."""
    found = await store.job(job.id)
    assert found is not None
    return found


async def listed_jobs(store: TaskStore, **asked: Any) -> list[UUID]:
    """A page of jobs: their ids."""
    return [job.id for job in await store.jobs(**asked)]


async def offered(store: TaskStore, session: str) -> list[Offer]:
    """Runs that a session hears are wanted."""
    return list((await store.beat(session, LONG, 0.0)).offers)


async def run_of(store: TaskStore, run_id: str) -> RunRow:
    """A run that is there."""
    found = await store.run(run_id)
    assert found is not None
    return found


async def status_of(store: TaskStore, run_id: str) -> RunStatus:
    """How a run that is there stands."""
    return (await run_of(store, run_id)).status
