"""One who reads a channel while somebody else comes past: what it says of that."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from tests.acceptance.extraction_place import conversation
from tests.acceptance.extraction_worker import CHANNEL, Plan, Tools, finish
from tests.support.servers import falkordb

from bgtasks.contracts import KnowledgeGraphLike
from bgtasks.graph import KnowledgeGraph
from bgtasks.graph.apply import apply
from bgtasks.memory.cursors import padded
from bgtasks.memory.extraction import Applied, Extractor
from bgtasks.memory.extraction.reading import READER
from bgtasks.testing.model import ModelServer

__all__ = ["falkordb"]

pytestmark = pytest.mark.real


@pytest.fixture
async def extractor(falkordb: str) -> AsyncIterator[Extractor]:
    """One of a channel with 88 messages."""
    name = f"t{uuid4().hex[:8]}"
    async with Tools() as tools, ModelServer() as model:
        made = await tools.of(Plan(falkordb, (falkordb, name), model.url, name, lease=30.0))
        graph = KnowledgeGraph(falkordb, name)
        tools.push_async_callback(graph.aclose)
        tools.push_async_callback(graph.delete)
        await made.cache.ingest(CHANNEL, conversation(88))
        yield made


class Rival:
    """A graph in which somebody else reads the whole channel, right after the cursor was looked at."""

    def __init__(self, extractor: Extractor) -> None:
        self._cache = extractor.cache
        self._graph: KnowledgeGraphLike = extractor.graph
        self._came = False

    async def query(self, cypher: str, params: Mapping[str, Any] | None = None) -> Sequence[Sequence[Any]]:
        rows = await self._graph.query(cypher, params)
        if not self._came and params is not None and set(params) == {"cursor"}:
            self._came = True
            last = (await self._cache.newest([CHANNEL]))[CHANNEL]
            assert await apply(self._graph, params["cursor"], "", padded(last), [], [])
            await self._cache.report(CHANNEL, READER, last)
        return rows


async def test_who_loses_the_channel_half_way_says_that_there_is_more(extractor: Extractor) -> None:
    async def takes_it(step: object) -> None:
        if isinstance(step, Applied):
            key = f"{extractor.cache.namespace}:chan:{CHANNEL}:lease"
            await extractor.redis.set(key, "somebody else's", px=50)

    read = await extractor.extract(CHANNEL, watch=takes_it)
    assert (read.batches, read.busy) == (1, 1)
    assert (await finish(extractor)).batches == 2


async def test_a_graph_that_is_ahead_by_now_is_not_taken_for_one_that_has_lost_something(
    extractor: Extractor, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "bgtasks"):
        await finish(replace(extractor, graph=Rival(extractor)))
    assert not caplog.messages
