"""Where workers extract: two servers, conversations, a stand-in that stumbles, and what is in the graph."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.acceptance.extraction_worker import CHANNEL
from tests.support.boundaries import Boundary
from tests.support.redis_process import RedisProcess

from bgtasks.connect import open_redis
from bgtasks.embedded import places
from bgtasks.graph import KnowledgeGraph
from bgtasks.graph.export import export
from bgtasks.graph.schema import ensure_schema
from bgtasks.memory.messages import Message, MessageCache
from bgtasks.testing.model import Fault

__all__ = ["MARKER", "Servers", "Stumbles", "conversation", "exported", "in_flight", "servers"]

MARKER = "zorblax"
"""A message that holds it is never read: the stand-in answers what is no JSON."""

WAVERS = "violin"
"""A message that holds it is read only alone, and at the second try."""

_BEGIN = datetime(2026, 9, 1, 7, 0, tzinfo=UTC)
_AUTHORS = ("Ada Miller", "Ben Carter", "Clara Novak", "David Stone", "Edith Brown")
_PLACES = ("Uppsala", "Lisbon", "Cork", "Ghent", "Turin", "Bergen", "Leeds")
_PETS = ("Rex", "Tilda", "Momo", "Bruno", "Sisu")
_THINGS = ("gardening", "chess", "sailing", "pottery", "hiking", "baking")


def conversation(
    count: int = 128, poison: tuple[int, ...] = (), wavers: tuple[int, ...] = ()
) -> list[Message]:
    """Messages that state something, more than once, but for those with these numbers, which are poison.

    Args:
        wavers: Those that are read only alone, and at the second try.
    """
    return [
        Message(
            channel=CHANNEL,
            id=f"m{number:04d}",
            author=_AUTHORS[number % len(_AUTHORS)],
            ts=_BEGIN + timedelta(minutes=7 * number),
            text=_poison if number in poison else _said(-1 if number in wavers else number),
        )
        for number in range(count)
    ]


_poison = f"It says {MARKER}, and nobody knows why."


def _said(number: int) -> str:
    if number < 0:
        return f"I play the {WAVERS}."
    match number % 6:
        case 0:
            return f"I live in {_PLACES[number % len(_PLACES)]}."
        case 1:
            return f"I have a dog called {_PETS[number % len(_PETS)]}."
        case 2:
            return f"I like {_THINGS[number // 6 % len(_THINGS)]}."
        case 3:
            return f"{_AUTHORS[(number + 2) % len(_AUTHORS)]} is my friend."
        case 4:
            return f"I went to {_PLACES[number // 6 % len(_PLACES)]} last week."
        case _:
            return "Good morning, all. What a day."


class Stumbles:
    """What a stand-in answers out of order: to poison no JSON, and at first that it has too much to do.

    Args:
        busy: How often the second batch is refused with 429.
        slow: Seconds that the first answer takes.
        wavers: Whether what wavers is refused that is asked for alone: by default it is, the first two times,
            of which one is the question about an answer.
    """

    def __init__(
        self, busy: int = 0, slow: float = 0.0, wavers: Callable[[], Awaitable[bool]] | None = None
    ) -> None:
        self._busy = busy
        self._slow = slow
        self._wavers = wavers or self._twice
        self._refused = 0

    async def __call__(self, body: dict[str, Any]) -> Fault | None:
        asked = str(body["messages"][1]["content"]).rpartition("Messages:\n")[2]
        if MARKER in asked:
            return Fault("not json")
        if WAVERS in asked and ("\n[2] " in asked or await self._wavers()):
            return Fault("not json")
        if self._slow:
            late, self._slow = self._slow, 0.0
            return Fault("slow", seconds=late)
        if self._busy and "[1] 2026-09-01 11:40" in asked:
            self._busy -= 1
            return Fault("429", retry_after=0.02)
        return None

    async def _twice(self) -> bool:
        self._refused += 1
        return self._refused <= 2


_PAYING = {"Transport._answered", "Calls._settled", "Calls._settle", "Budget.settle"}
_BESIDE = {"_keep", "ChannelLease.renew"}
_ASKING = {"OneCall.read", "Agentic.read", "Budget.reserve"}


def in_flight(boundary: Boundary, *, frozen: bool = False) -> bool:
    """Whether a call may be paid twice whose process ends at that moment.

    It was answered, perhaps, and the answer is not stored. One that is frozen instead, and goes on later,
    may have looked for an answer before another stored it.
    """
    functions = {place.function for place in boundary.chain}
    return bool(functions & (_PAYING | _BESIDE | (_ASKING if frozen else set())))


@dataclass
class Servers:
    """A Redis for the messages, and a FalkorDB."""

    redis: RedisProcess
    graph: RedisProcess

    def __init__(self) -> None:
        self._making = asyncio.Lock()
        self.redis = RedisProcess(durable=True)
        self.graph = RedisProcess("--loadmodule", str(places.binaries()[1]), durable=True)

    def restart(self, redis: bool = True, graph: bool = True) -> None:
        """Kill them, and start them again with what they had written down."""
        for each, meant in ((self.redis, redis), (self.graph, graph)):
            if meant:
                each.kill()
                each.start()

    def check(self) -> None:
        """Fail if one of them has ended by itself."""
        for each in (self.redis, self.graph):
            assert each._process is not None
            code = each._process.poll()
            assert code is None, f"a server has ended with {code}: {each.url}"

    async def make(self, name: str) -> None:
        """A graph without anything in it. One at a time: FalkorDB 4.22 crashes on indexes of several."""
        async with self._making, KnowledgeGraph(self.graph.url, name) as graph:
            await ensure_schema(graph)

    async def ingest(self, namespace: str, messages: list[Message]) -> None:
        """Take the messages in."""
        client = open_redis(self.redis.url)
        try:
            assert await MessageCache(client, namespace).ingest(CHANNEL, messages) == len(messages)
        finally:
            await client.aclose()


@asynccontextmanager
async def servers() -> AsyncIterator[Servers]:
    """Both of them, started."""
    made = Servers()
    try:
        await asyncio.to_thread(made.redis.start)
        await asyncio.to_thread(made.graph.start)
        yield made
    finally:
        made.redis.remove()
        made.graph.remove()


async def exported(url: str, name: str, *, cursors: bool = False) -> str:
    """A graph in canonical form."""
    graph = KnowledgeGraph(url, name)
    try:
        return "".join([part async for part in export(graph, cursors=cursors)])
    finally:
        await graph.aclose()
