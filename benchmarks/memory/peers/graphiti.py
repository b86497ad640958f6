"""graphiti-core on FalkorDB, an episode for each message."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

os.environ["GRAPHITI_TELEMETRY_ENABLED"] = "false"  # before it is imported
os.environ["EMBEDDING_DIM"] = "384"

from falkordb.asyncio import FalkorDB
from graphiti_core import Graphiti  # type: ignore[import-not-found]
from graphiti_core.cross_encoder.openai_reranker_client import (  # type: ignore[import-not-found]
    OpenAIRerankerClient,
)
from graphiti_core.driver.falkordb_driver import FalkorDriver  # type: ignore[import-not-found]
from graphiti_core.embedder.openai import (  # type: ignore[import-not-found]
    OpenAIEmbedder,
    OpenAIEmbedderConfig,
)
from graphiti_core.llm_client.config import LLMConfig  # type: ignore[import-not-found]
from graphiti_core.llm_client.openai_generic_client import (  # type: ignore[import-not-found]
    OpenAIGenericClient,
)
from graphiti_core.nodes import EpisodeType  # type: ignore[import-not-found]
from redis.asyncio import BlockingConnectionPool

from benchmarks.memory.conversation import Line
from benchmarks.memory.peers import DIMENSION, EMBEDDING, KEY, MODEL, Contents, Place

__all__ = ["System"]

_FACTS = "MATCH (s:Entity)-[r:RELATES_TO]->(o:Entity) RETURN s.name, o.name, r.fact"
_ENTITIES = "MATCH (e:Entity) RETURN e.name"
_EPISODES = "MATCH (e:Episodic) RETURN e.content"


class System:
    """One graph for each channel, as its driver keeps groups apart."""

    step: int | None = 1
    resumes = False
    loggers = ("graphiti_core",)
    harmless: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.about = (
            f"graphiti-core {version('graphiti-core')}, {self._call()}, OpenAIGenericClient, json_schema, "
            f"FalkorDriver; falkordb {version('falkordb')}, openai {version('openai')}"
        )
        self._graphs: dict[str, Any] = {}

    def _call(self) -> str:
        return "add_episode for each message (EpisodeType.message)"

    async def open(self, place: Place) -> None:
        """A client for each channel, with its indexes made."""
        assert place.store is not None
        config = LLMConfig(api_key=KEY, model=MODEL, small_model=MODEL, base_url=place.model)
        vectors = OpenAIEmbedderConfig(
            api_key=KEY, embedding_model=EMBEDDING, embedding_dim=DIMENSION, base_url=place.model
        )
        for channel in dict.fromkeys(line.channel for line in place.lines):
            pool = BlockingConnectionPool.from_url(place.store, decode_responses=True, max_connections=32)
            database = FalkorDB(connection_pool=pool)
            driver = FalkorDriver(falkor_db=database, database=group(channel))
            self._graphs[channel] = Graphiti(
                graph_driver=driver,
                llm_client=OpenAIGenericClient(config=config),
                embedder=OpenAIEmbedder(config=vectors),
                cross_encoder=OpenAIRerankerClient(config=config),
            )
            if driver._init_task is not None:
                await driver._init_task
            await self._graphs[channel].build_indices_and_constraints()

    async def add(self, lines: Sequence[Line]) -> None:
        """One after the other, as its documentation asks for."""
        for line in lines:
            await self._graphs[line.channel].add_episode(
                name=line.id,
                episode_body=f"{line.author}: {line.text}",
                source=EpisodeType.message,
                source_description="a conversation",
                reference_time=line.at,
                group_id=group(line.channel),
            )

    async def contents(self) -> Contents:
        """The graphs of all channels."""
        found = Contents()
        for channel, graph in self._graphs.items():
            found.facts += [tuple(row) for row in await _rows(graph, _FACTS)]
            found.entities += [(channel, row[0]) for row in await _rows(graph, _ENTITIES)]
            found.raw += [(channel, row[0]) for row in await _rows(graph, _EPISODES)]
        return found

    async def close(self) -> None:
        """Close its connections."""
        for graph in self._graphs.values():
            await graph.close()


def group(channel: str) -> str:
    """A name that it takes for a group."""
    return re.sub(r"\W", "_", channel, flags=re.ASCII)


async def _rows(graph: Any, query: str) -> list[list[Any]]:
    answer = await graph.driver.execute_query(query)
    return [list(record.values()) for record in answer[0]]
