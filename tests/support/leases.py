"""Lease stores for tests: every kind there is, over servers that tests may disturb."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import fakeredis
import pytest
from tests.support.redis_process import RedisProcess, redis_binary
from tests.support.servers import Clients, listening
from tests.support.waiting import until

from bgtasks.contracts import Granted, Held, LeaseStore
from bgtasks.errors import ResourceUnavailable
from bgtasks.stores.lease_memory import MemoryLeaseStore
from bgtasks.stores.lease_redis import RedisLeaseStore

__all__ = [
    "FAKE",
    "LONG",
    "LOST",
    "MEMORY",
    "REAL",
    "SHORT",
    "AnsweringLine",
    "Leases",
    "RedisLeases",
    "SentinelProcess",
    "answering_line",
    "granted",
    "held",
    "leases_in",
    "leases_in_redis",
    "sooner_or_later",
]

LONG = 600.0
"""Seconds of a lease that does not expire while a test runs."""

SHORT = 0.05
"""Seconds of a lease that a test waits to expire."""

LOST = 900.0
"""The quarantine after a loss of unknown size."""

PATIENT = 20.0
"""Seconds that a store's call may take where a test is not about that."""

MEMORY = "memory"
FAKE = ("fakeredis", "fakeredis, decoding")
REAL = ("redis 8", "redis 8, decoding", "redis 7", "redis 7, decoding", "redis 6")
"""Every kind of place; the names are those of fixtures in `tests.support.servers`."""


@dataclass
class Leases:
    """Where the lease `key` is kept, for any number of nodes."""

    key: str = field(default_factory=lambda: f"test:{uuid4().hex}")

    def store(self, key: str | None = None, **options: Any) -> LeaseStore:
        """The store as one more node has it."""
        raise NotImplementedError

    async def heard_by(self, nodes: int) -> None:
        """Wait until so many nodes listen for a release."""
        raise NotImplementedError

    async def hearing(self, store: LeaseStore) -> None:
        """Have the store begin to listen, if that is something to begin."""

    async def heard_by_nobody(self) -> None:
        """Wait until none does any more."""

    async def expiry(self) -> None:
        """Wait until nobody has the lease."""
        store = self.store()

        async def is_free() -> bool:
            return await store.look() is None

        await until("the lease has expired", is_free)


@dataclass
class MemoryLeases(Leases):
    """In this process."""

    def __post_init__(self) -> None:
        self._store = MemoryLeaseStore(self.key)

    def store(self, key: str | None = None, **options: Any) -> LeaseStore:
        return self._store

    async def heard_by(self, nodes: int) -> None:
        await asyncio.sleep(0)


@dataclass
class RedisLeases(Leases):
    """In a Redis, real or not."""

    clients: Clients = field(default_factory=Clients)

    def __post_init__(self) -> None:
        self.client = self.clients.new()
        self.tag = f"{{{self.key}}}"
        self.others: set[str] = set()
        self.ghosts = 0

    @property
    def last(self) -> str:
        """The key of what is known of the last term."""
        return f"{self.tag}:last"

    @property
    def fence(self) -> str:
        """The key of the last token."""
        return f"{self.tag}:fence"

    @property
    def events(self) -> str:
        """The channel on which a release is told."""
        return f"{self.tag}:events"

    async def connected(self) -> set[str]:
        """Who is connected to the server, and was not at the beginning."""
        return {each["id"] for each in await self.client.client_list()} - self.others

    async def nobody_is_left(self) -> None:
        """Wait until nobody is connected any more."""

        async def alone() -> bool:
            return not await self.connected()

        await until("nobody is connected any more", alone)

    def store(self, key: str | None = None, **options: Any) -> RedisLeaseStore:
        return self.store_of(self.clients.new(), key, **options)

    def store_of(self, client: Any, key: str | None = None, **options: Any) -> RedisLeaseStore:
        """A store that is made from this client."""
        made = RedisLeaseStore(client, key or self.key, **({"timeout": PATIENT} | options))
        self.clients.stack.push_async_callback(made.aclose)
        return made

    async def heard_by(self, nodes: int) -> None:
        async def listen() -> bool:
            return await self.listeners() - self.ghosts == nodes

        await until(f"{nodes} nodes listen", listen)

    async def hearing(self, store: LeaseStore) -> None:
        await store.released()

    async def heard_by_nobody(self) -> None:
        if self.clients.url is None:  # fakeredis leaves a connection that was closed subscribed
            self.ghosts = await self.listeners()
        await self.heard_by(0)

    async def listeners(self) -> int:
        """How many are subscribed to hear of a release."""
        ((_, number),) = await self.client.pubsub_numsub(self.events)
        return int(number)


def granted(answer: Granted | Held) -> Granted:
    """The answer, which is a grant."""
    assert isinstance(answer, Granted), answer
    return answer


def held(answer: Granted | Held | None) -> Held:
    """The answer, which says who has the lease."""
    assert isinstance(answer, Held), answer
    return answer


async def sooner_or_later(what: str, store: LeaseStore) -> None:
    """Wait until the server answers the store again."""

    async def answers() -> bool:
        try:
            await store.look()
        except ResourceUnavailable:
            return False
        return True

    await until(what, answers)


@asynccontextmanager
async def leases_in(kind: str, request: pytest.FixtureRequest) -> AsyncIterator[Leases]:
    """A place of this kind, without any lease."""
    if kind == MEMORY:
        yield MemoryLeases()
        return
    async with leases_in_redis(kind, request) as made:
        yield made


@asynccontextmanager
async def leases_in_redis(kind: str, request: pytest.FixtureRequest) -> AsyncIterator[RedisLeases]:
    """The Redis of this kind, empty."""
    name, _, mode = kind.partition(", ")
    url = None if name == "fakeredis" else request.getfixturevalue(f"{name.replace(' ', '')}_url")
    clients = Clients(decode=bool(mode), url=url, fake=None if url else fakeredis.FakeServer())
    async with clients.stack:
        made = RedisLeases(clients=clients)
        await made.client.flushall()
        made.others = await made.connected() if url else set()
        yield made


class AnsweringLine:
    """A way to a Redis on which answers can be lost.

    Attributes:
        url: Where to connect instead.
        mute: Whether what the server answers is thrown away.
        deaf: Whether what the server is asked is thrown away.
    """

    url = ""
    mute = False
    deaf = False


@asynccontextmanager
async def answering_line(url: str) -> AsyncIterator[AnsweringLine]:
    """A line to the server behind a unix socket."""
    line = AnsweringLine()

    async def pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter, of_the_server: bool) -> None:
        while data := await source.read(65_536):
            if not (line.mute if of_the_server else line.deaf):
                sink.write(data)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, questions = await asyncio.open_unix_connection(url.removeprefix("unix://"))
        back = asyncio.create_task(pass_on(answers, writer, True))
        try:
            await pass_on(reader, questions, False)
        finally:
            questions.close()
            back.cancel()
            await asyncio.wait((back,))

    async with listening(talk) as port:
        line.url = f"redis://127.0.0.1:{port}/0"
        yield line


class SentinelProcess(RedisProcess):
    """A Redis Sentinel that watches the master of this name, on a loopback port, alone.

    Args:
        name: What clients call the master.
        master: The port that it listens on.
    """

    def __init__(self, name: str, master: int) -> None:
        super().__init__(tcp=True)
        port = self.url.rpartition(":")[2].partition("/")[0]
        config = self.directory / "sentinel.conf"
        lines = (
            "bind 127.0.0.1",
            f"port {port}",
            f"dir {self.directory}",
            f"logfile {self.directory / 'log'}",
            f"sentinel monitor {name} 127.0.0.1 {master} 1",
        )
        config.write_text("\n".join(lines) + "\n")
        self._command = [redis_binary(), str(config), "--sentinel"]
