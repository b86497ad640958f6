"""The worker that makes vectors."""

from __future__ import annotations

import socket
from typing import Any

from bgtasks.contracts import KnowledgeGraphLike
from bgtasks.decorators import background_worker
from bgtasks.graph.schema import ensure_schema
from bgtasks.memory.embedding import EmbeddingClient, Embeddings
from bgtasks.memory.embedding_queue import EmbeddingQueue
from bgtasks.memory.messages import MessageCache
from bgtasks.settings import namespace_of

__all__ = ["embedding_worker"]


@background_worker(
    restart_delay="10s",
    requires_redis=True,
    requires_kg=True,
    requires_openrouter=True,
    requires=("openrouter.embedding_model",),
)
async def embedding_worker(
    redis: Any, kg_manager: KnowledgeGraphLike, openrouter: EmbeddingClient, *, config: Any = None
) -> None:
    """Make the vectors that entities and messages wait for."""
    await ensure_schema(kg_manager)
    namespace = namespace_of(config)
    cache, queue = MessageCache(redis, namespace), EmbeddingQueue(redis, namespace)
    await Embeddings(redis, kg_manager, openrouter, cache, queue, socket.gethostname()).run()
