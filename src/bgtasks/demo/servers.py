"""What the demonstration works with, all of it there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bgtasks.contracts import Absent
from bgtasks.errors import ConfigurationError
from bgtasks.graph import KnowledgeGraph
from bgtasks.llm import OpenAIChat
from bgtasks.memory.embedding_queue import EmbeddingQueue
from bgtasks.memory.messages import MessageCache
from bgtasks.resources import Resources
from bgtasks.settings import Settings
from bgtasks.testing.model import ModelServer

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["Servers", "servers"]


@dataclass(frozen=True, slots=True)
class Servers:
    """The demonstration's own servers and what is kept in them.

    Attributes:
        arguments: The resources as `build_scheduler` takes them.
    """

    settings: Settings
    redis: Redis
    graph: KnowledgeGraph
    client: OpenAIChat
    cache: MessageCache
    queue: EmbeddingQueue
    model: ModelServer
    arguments: dict[str, Any]


def servers(held: Resources, settings: Settings, model: ModelServer) -> Servers:
    """What `held` has, together with the model.

    Raises:
        ConfigurationError: Something is not there, such as FalkorDB on a platform that has none.
    """
    redis, graph, client, runner = held.redis, held.kg_manager, held.openrouter, held.bot_runner
    for each in (redis, graph, client, runner):
        if isinstance(each, Absent):
            raise ConfigurationError(f"the demo cannot run here: {each.reason}")
    assert not isinstance(redis, Absent)
    assert not isinstance(graph, Absent)
    assert not isinstance(client, Absent)
    assert not isinstance(runner, Absent)
    return Servers(
        settings, redis, graph, client, runner.message_cache, runner.embedding_queue, model, held.arguments
    )
