"""What the engine needs, without servers: messages, a reader that is told what to say, a counting graph."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from fakeredis import FakeAsyncRedis

from bgtasks.errors import BadAnswer
from bgtasks.memory.cursors import unpadded
from bgtasks.memory.dead import DeadLetters
from bgtasks.memory.extraction import Extractor
from bgtasks.memory.extraction.batch import Batch
from bgtasks.memory.extraction.reply import Extraction, FoundEntity, FoundFact
from bgtasks.memory.messages import Message, MessageCache

__all__ = [
    "CHANNEL",
    "T0",
    "CountingGraph",
    "Stand",
    "ToldReader",
    "batch_of",
    "fact",
    "found",
    "said",
    "stand",
]

T0 = datetime(2026, 9, 1, 7, tzinfo=UTC)
CHANNEL = "allotment"

type Rows = Sequence[Sequence[Any]]


def said(number: int, text: str = "Hello.", author: str = "Ada", **more: Any) -> Message:
    """Message `m<number>`, a minute after the one before, as the cache gives it."""
    given = {"channel": CHANNEL, "id": f"m{number}", "cursor": f"{1000 + number}-0", **more}
    return Message(author=author, ts=T0 + timedelta(minutes=number), text=text, **given)


def batch_of(*messages: Message, context: Sequence[Message] = ()) -> Batch:
    """A batch of these."""
    return Batch(CHANNEL, messages[-1].cursor or "", tuple(messages), tuple(context))


def fact(subject: str, predicate: str, object: str, messages: Iterable[int] = (1,), **more: Any) -> FoundFact:
    """A fact, as a model states it, with full confidence."""
    given = {"fact": f"{subject} {predicate} {object}.", "confidence": 1.0, **more}
    return FoundFact(subject=subject, predicate=predicate, object=object, messages=list(messages), **given)


def found(*facts: FoundFact, entities: Iterable[tuple[str, str]] = ()) -> Extraction:
    """An answer."""
    named = [FoundEntity.model_validate({"name": name, "kind": kind}) for name, kind in entities]
    return Extraction(entities=named, facts=list(facts))


class ToldReader:
    """Says of each message that its author likes a thing called as the message, unless it is poison.

    Attributes:
        poison: Texts that spoil the answer to every batch they are in.
        before: Awaited before each answer.
        reads: The ids of the messages of each batch, in order.
        batches: The batches.
        known: What was known at each.
    """

    def __init__(
        self, poison: Collection[str] = (), before: Callable[[Batch], Awaitable[None]] | None = None
    ) -> None:
        self.poison = set(poison)
        self.before = before
        self.batches: list[Batch] = []
        self.known: list[Sequence[tuple[str, str]]] = []

    @property
    def reads(self) -> list[list[str]]:
        return [[message.id for message in batch.messages] for batch in self.batches]

    async def read(self, batch: Batch, known: Sequence[tuple[str, str]]) -> Extraction:
        self.batches.append(batch)
        self.known.append(known)
        if self.before is not None:
            await self.before(batch)
        if any(message.text in self.poison for message in batch.messages):
            raise BadAnswer("the stand-in was told to fail")
        return found(
            *(fact(each.author, "likes", f"thing {each.id}", [n]) for n, each in enumerate(batch.messages, 1))
        )


class CountingGraph:
    """Keeps cursors as FalkorDB does, by compare-and-set, and what was written with them.

    Attributes:
        cursors: Where each stands.
        applied: Each write that was made: position, nodes, edges.
        names: Name and kind of what it knows.
    """

    def __init__(self) -> None:
        self.cursors: dict[str, str] = {}
        self.applied: list[tuple[str, list[Any], list[Any]]] = []
        self.names: list[tuple[str, str]] = []
        self.asked_for: list[list[str]] = []

    async def query(self, cypher: str, params: Mapping[str, Any] | None = None) -> Rows:
        given = dict(params or {})
        if "MERGE (c:Cursor" in cypher:
            if self.cursors.setdefault(given["cursor"], "") != given["expected"]:
                return []
            self.cursors[given["cursor"]] = given["position"]
            self.applied.append((given["position"], given["nodes"], given["edges"]))
            return [[given["position"]]]
        if "MATCH (c:Cursor" in cypher:
            return [[self.cursors[given["cursor"]]]] if given["cursor"] in self.cursors else []
        if "Entity {key: k}" in cypher:
            self.asked_for.append(given["keys"])
            return self.names
        return []

    @property
    def sources(self) -> list[str]:
        """The ids of all messages that edges come from, in order of application."""
        return [
            each.partition("/")[2] for _, _, edges in self.applied for edge in edges for each in edge["src"]
        ]


@dataclass
class Stand:
    """An engine on a fake Redis and the graph above."""

    redis: FakeAsyncRedis
    cache: MessageCache
    reader: ToldReader
    graph: CountingGraph = field(default_factory=CountingGraph)

    @property
    def extractor(self) -> Extractor:
        return self.extractor_for(self.graph)

    def extractor_for(self, graph: Any, **more: Any) -> Extractor:
        return Extractor(self.redis, self.cache, graph, self.reader, **more)

    @property
    def letters(self) -> DeadLetters:
        return DeadLetters(self.redis, self.cache.namespace)

    async def dead(self) -> set[str]:
        return {each.message_id for each in await self.letters.list()}

    async def tell(self, *messages: Message | int) -> None:
        """Ingest these; a number stands for the plain message of that number."""
        await self.cache.ingest(CHANNEL, [said(each) if isinstance(each, int) else each for each in messages])

    async def at_end(self) -> bool:
        """Whether nothing lies after the graph's cursor."""
        at = unpadded(self.graph.cursors.get(f"knowledge:{CHANNEL}", ""))
        return not await self.cache.since(CHANNEL, at, 1)


@asynccontextmanager
async def stand(*, poison: Collection[str] = ()) -> AsyncIterator[Stand]:
    """A fresh one."""
    async with FakeAsyncRedis() as redis:
        yield Stand(redis, MessageCache(redis, "test"), ToldReader(poison))
