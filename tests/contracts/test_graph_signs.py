"""Control characters on their way into a real FalkorDB, which dies of some of them: none arrives."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
import redis.asyncio

from bgtasks.graph import KnowledgeGraph, ensure_schema
from bgtasks.graph.apply import Edge, Node, apply, position_of, write
from bgtasks.graph.vectors import drop_message_vectors, similar_messages, store_message_vectors
from bgtasks.memory.messages import Message, MessageCache
from bgtasks.memory.structure import weave

pytestmark = pytest.mark.real

type Connect = Callable[..., Awaitable[KnowledgeGraph]]

NOW = datetime(2026, 9, 1, 7, tzinfo=UTC)
CONTROL = "".join(map(chr, range(32)))


class AsItIs:
    """A host's own graph: it passes on what it is given, and never sees a sign that the server dies of."""

    def __init__(self, graph: KnowledgeGraph) -> None:
        self._graph = graph

    async def query(self, cypher: str, params: Mapping[str, Any] | None = None) -> Sequence[Sequence[Any]]:
        assert all(chr(sign) not in repr_of(params) for sign in range(32) if chr(sign) not in "\t\n\r")
        return await self._graph.query(cypher, params)


def repr_of(value: Any) -> str:
    """All texts in the value, one after another."""
    if isinstance(value, Mapping):
        return "".join(repr_of(key) + repr_of(each) for key, each in value.items())
    if isinstance(value, list | tuple):
        return "".join(map(repr_of, value))
    return value if isinstance(value, str) else ""


@pytest.fixture
async def cache(graph_url: str) -> AsyncIterator[MessageCache]:
    """An empty cache, in a namespace of its own."""
    namespace = f"test-{uuid4().hex}"
    client = redis.asyncio.Redis.from_url(graph_url)
    yield MessageCache(client, namespace)
    keys = [key async for key in client.scan_iter(f"{namespace}:*")]
    if keys:
        await client.delete(*keys)
    await client.aclose()


async def say(cache: MessageCache, channel: str, author: str = "Ada") -> None:
    await cache.ingest(channel, [Message(channel=channel, id="1", author=author, ts=NOW, text="hello")])


async def names(graph: KnowledgeGraph) -> list[str]:
    return [name for (name,) in await graph.query("MATCH (e:Entity) RETURN e.name ORDER BY e.name")]


class TestWeaving:
    async def test_a_name_with_a_control_character_leaves_the_server_alive(
        self, graph: KnowledgeGraph, cache: MessageCache
    ) -> None:
        await say(cache, "lab", "Eve\x01x")

        assert (await weave(cache, graph, "lab")).messages == 1

        assert await names(graph) == ["Eve\ufffdx", "lab"]

    async def test_channels_that_differ_in_control_characters_only_are_each_read_once(
        self, graph: KnowledgeGraph, cache: MessageCache
    ) -> None:
        channels = ["c", "c\x00", "c\x01", "c\x02", "c\ufffd"]
        for channel in channels:
            await say(cache, channel)

        for _ in range(2):
            woven = [await weave(cache, graph, channel) for channel in channels]

        assert [each.messages for each in woven] == [0] * 5
        assert await graph.query("MATCH (c:Cursor) RETURN count(c)") == [[5]]
        assert await graph.query("MATCH (:Entity)-[r:REL]->() RETURN sum(r.n)") == [[5]]


class TestWriting:
    async def test_whatever_is_upserted_leaves_the_server_alive(self, graph: KnowledgeGraph) -> None:
        odd = Node(f"kind{CONTROL}", f"a{CONTROL}b", 1, about=CONTROL)
        ada = Node("person", "Ada", 1)

        await graph.upsert(
            [odd, ada], [Edge(odd.id, "p\x01", ada.id, 0.5, 1, fact=CONTROL, src=("c\x01/1",))]
        )

        assert await graph.query("MATCH (:Entity)-[r:REL]->(e:Entity) RETURN r.p, r.src, e.id") == [
            ["p\ufffd", ["c\ufffd/1"], "person:ada"]
        ]

    async def test_a_graph_of_a_hosts_own_is_given_none(self, graph: KnowledgeGraph) -> None:
        await ensure_schema(graph)
        host = AsItIs(graph)
        nodes = [Node("person\x02", "Eve\x01x", 1, about="\x0bsings\x01"), Node("person", "Ada\x01", 1)]
        edges = [Edge(nodes[0].id, "kn\x01ows", nodes[1].id, 0.5, 1, fact="\x01", src=("c\x01/m\x01",))]

        assert await apply(host, "r:c\x01", "", "1\x01", nodes, edges)
        assert not await apply(host, "r:c\x01", "", "1\x01", nodes, edges)
        assert await apply(host, "r:c\x01", await position_of(host, "r:c\x01"), "2", nodes, edges)
        assert await position_of(host, "r:c\x02") == ""
        await write(host, nodes, edges)

        assert await graph.query("MATCH ()-[r:REL]->() RETURN r.n, r.src") == [[3, ["c\ufffd/m\ufffd"]]]

    async def test_vectors_of_messages_neither(self, graph: KnowledgeGraph) -> None:
        await ensure_schema(graph)
        host = AsItIs(graph)

        await store_message_vectors(host, "m", [("c\x01", "m\x01", [1.0, 0.0]), ("c", "m", [1.0, 1.0])])
        assert [each.channel for each in await similar_messages(host, [1.0, 0.0])] == ["c\ufffd", "c"]

        await drop_message_vectors(host, "c\x01", ["m\x01"])
        assert [each.channel for each in await similar_messages(host, [1.0, 0.0])] == ["c"]
