"""bgtasks as it ships: messages into the cache, then the extraction until nothing is left; and vectors."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from pydantic import SecretStr
from redis.asyncio import Redis

from benchmarks.memory.conversation import Line
from benchmarks.memory.peers import EMBEDDING, KEY, MODEL, Contents, Place
from bgtasks.connect import open_redis
from bgtasks.graph import KnowledgeGraph
from bgtasks.graph.vectors import store_vectors, waiting
from bgtasks.llm import OpenAIChat
from bgtasks.llm.answers import Answers
from bgtasks.llm.budget import Budget
from bgtasks.llm.budget_limits import Limits
from bgtasks.llm.types import Endpoint
from bgtasks.memory.extraction import Applied, Extractor, OneCall
from bgtasks.memory.messages import Message, MessageCache

__all__ = ["System"]

LEASE = 2.0
"""Seconds after which the channel of one that was killed is free: its default would be waited for, 30."""

_FACTS = "MATCH (s:Entity)-[r:REL]->(o:Entity) WHERE s.kind <> 'channel' AND o.kind <> 'channel' "
_ENTITIES = "MATCH (e:Entity) WHERE e.kind <> 'channel' RETURN e.kind, e.name"


class System:
    """One graph for all channels."""

    step: int | None = None
    resumes = True
    loggers = ("bgtasks",)
    harmless: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.about = (
            f"bgtasks {version('bgtasks')}, MessageCache.ingest and Extractor(OneCall) for each channel, "
            f"with a budget and kept answers, a vector for each entity, no message vectors; "
            f"falkordb {version('falkordb')}, openai {version('openai')}"
        )
        self._place: Place
        self._redis: Redis
        self._graph: KnowledgeGraph
        self._cache: MessageCache
        self._client: OpenAIChat
        self._engine: Extractor

    async def open(self, place: Place) -> None:
        """Clients of one server for messages and graph, and of the stand-in."""
        assert place.store is not None
        self._place = place
        self._redis = open_redis(place.store)
        self._graph = await KnowledgeGraph.connect(place.store)
        key = SecretStr(KEY)
        self._client = OpenAIChat(
            {
                "extraction": Endpoint(place.model, key, MODEL),
                "embedding": Endpoint(place.model, key, EMBEDDING),
            },
            budget=Budget(self._redis, Limits()),
            answers=Answers(self._redis),
        )
        self._cache = MessageCache(self._redis)
        self._engine = Extractor(self._redis, self._cache, self._graph, OneCall(self._client), lease=LEASE)

    async def add(self, lines: Sequence[Line]) -> None:
        """Ingest, extract, embed."""
        channel = lines[0].channel
        messages = [
            Message(channel=channel, id=line.id, author=line.author, ts=line.at, text=line.text)
            for line in lines
        ]
        await self._cache.ingest(channel, messages)
        progress = await self._engine.extract(channel, watch=self._watch)
        while progress.busy:  # somebody was killed, whose lease is waited for
            await asyncio.sleep(0.1)
            progress = await self._engine.extract(channel, watch=self._watch)
        while entities := await waiting(self._graph):
            vectors = await self._client.embed([entity.text for entity in entities])
            rows = [(one.id, one.text, vector) for one, vector in zip(entities, vectors, strict=True)]
            await store_vectors(self._graph, EMBEDDING, rows)

    async def _watch(self, what: Any) -> None:
        if isinstance(what, Applied):
            self._place.note(len(what.batch.messages))

    async def contents(self) -> Contents:
        """Facts and entities; what channels are connected with is not counted."""
        facts = await self._graph.query(f"{_FACTS} RETURN s.name, o.name, r.fact")
        entities = await self._graph.query(_ENTITIES)
        return Contents(
            facts=[(str(subject), str(object), str(fact)) for subject, object, fact in facts],
            entities=[(str(kind), str(name)) for kind, name in entities],
        )

    async def close(self) -> None:
        """Close all clients."""
        await self._client.aclose()
        await self._graph.aclose()
        await self._redis.aclose()
