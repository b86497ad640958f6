"""What the extraction engine costs beside the model: a reader answers at once, and every call is timed."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from redis.asyncio import Redis

from benchmarks.knowledge.cases import OURS
from benchmarks.knowledge.measure import Taken, cpu, put
from benchmarks.knowledge.ping import pings
from benchmarks.knowledge.servers import server
from benchmarks.knowledge.size import Size
from benchmarks.knowledge.words import World, messages
from bgtasks.graph import KnowledgeGraph
from bgtasks.memory.extraction.batch import MESSAGES, Batch
from bgtasks.memory.extraction.engine import Extractor
from bgtasks.memory.extraction.prompt import request
from bgtasks.memory.extraction.reply import Extraction
from bgtasks.memory.messages import Message, MessageCache

__all__ = ["engine", "engine_into"]

BATCHES = 10
"""Of each channel."""

PEOPLE = 2_000
"""Names that messages mention."""

_STATED = re.compile(r"^(.+) told (.+) about (.+)\.")


class _Graph(KnowledgeGraph):
    """Notes how long its answers take, by what was asked."""

    took: dict[str, float]

    async def query(self, cypher: str, params: Mapping[str, Any] | None = None) -> list[list[Any]]:
        began = time.perf_counter()
        try:
            return await super().query(cypher, params)
        finally:
            kind = "apply" if "$nodes" in cypher or "$position" in cypher else "known"
            self.took[kind] = self.took.get(kind, 0.0) + time.perf_counter() - began


class _Redis(Redis):
    """Notes how long its answers take."""

    took = 0.0

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        began = time.perf_counter()
        try:
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        finally:
            self.took += time.perf_counter() - began


class _AtOnce:
    """A reader whose model takes no time; the text for it is written, and its answer read, as they would be.

    Args:
        kinds: What those are that messages name.

    Attributes:
        took: Seconds that writing and reading took.
        aside: Seconds in which the answer was made up.
    """

    def __init__(self, kinds: Mapping[str, str]) -> None:
        self._kinds = kinds
        self.took = 0.0
        self.aside = 0.0

    async def read(self, batch: Batch, known: Sequence[tuple[str, str]]) -> Extraction:
        began = time.perf_counter()
        answer = self._answer(batch)
        ready = time.perf_counter()
        json.dumps(request(batch, known))
        found = Extraction.model_validate_json(answer)
        self.aside += ready - began
        self.took += time.perf_counter() - ready
        return found

    def _answer(self, batch: Batch) -> str:
        """What a model would answer: a fact for each message, and everybody in it."""
        names: dict[str, None] = {}
        facts: list[dict[str, Any]] = []
        for number, message in enumerate(batch.messages, 1):
            stated = _STATED.match(message.text)
            assert stated is not None, "each message states something"
            one, other, third = stated.groups()
            names |= dict.fromkeys((one, other, third))
            fact = {
                "subject": one,
                "predicate": "told",
                "object": other,
                "fact": f"{one} told {other} of {third}.",
            }
            facts.append({**fact, "messages": [number], "since": None, "confidence": 0.9})
        entities = [{"name": name, "kind": self._kinds[name], "about": ""} for name in names]
        return json.dumps({"entities": entities, "facts": facts})


async def engine(size: Size, rounds: int, say: Callable[[str], None]) -> Taken:
    """From an empty graph on."""
    taken: Taken = {}
    for number in range(rounds):
        say(f"engine, round {number + 1} of {rounds}")
        with server(graph=True) as graph:
            put(taken, "engine-small", OURS, **await engine_into(graph, "bench", size.batches, World(PEOPLE)))
    return taken


async def engine_into(url: str, name: str, batches: int, world: World) -> dict[str, float]:
    """The figures of so many batches, whose messages name the entities of `world`, into that graph."""
    channels = [f"said-{number}" for number in range(max(1, batches // BATCHES))]
    each = batches // len(channels)
    reader = _AtOnce({name: world.kind(number) for number, name in enumerate(world.names)})
    with server() as store:
        redis: Any = _Redis.from_url(store)
        cache = MessageCache(redis)
        try:
            async with _Graph(url, name) as graph, pings(url) as stalls:
                extractor = Extractor(redis, cache, graph, reader)
                for channel in ("warm", *channels):
                    await cache.ingest(channel, _conversation(channel, each * MESSAGES, world))
                graph.took = {}
                await extractor.extract("warm", most=2)
                redis.took, graph.took, reader.took, reader.aside = 0.0, {}, 0.0, 0.0
                await stalls.begin()
                done, busy = 0, cpu(url)
                began = time.perf_counter()
                for channel in channels:
                    done += (await extractor.extract(channel)).batches
                whole, busy = time.perf_counter() - began - reader.aside, cpu(url) - busy
                worst = (await stalls.seen())["worst_ms"]
                if done != each * len(channels):
                    raise RuntimeError(f"of {each * len(channels)} batches {done} were applied")
        finally:
            await redis.aclose()
    known, applied = graph.took.get("known", 0.0), graph.took["apply"]
    rest = whole - redis.took - known - applied - reader.took
    parts = {"batch": whole, "redis": redis.took, "known": known, "apply": applied, "text": reader.took}
    figures = {f"{part}_ms": seconds / done * 1000 for part, seconds in {**parts, "rest": rest}.items()}
    return {**figures, "server_ms": busy / done * 1000, "worst_ms": worst, "per_s": done * MESSAGES / whole}


def _conversation(channel: str, count: int, world: World) -> list[Message]:
    """Messages of which each states something."""
    said = []
    for message in messages(channel, 0, count, each=6):
        one, other, third = (world.names[number] for number in world.some(3))
        said.append(replace(message, text=f"{one} told {other} about {third}. {message.text}"))
    return said
