"""Edges that have faded to the threshold are deleted.

When that is was written beside each edge's weight (see `bgtasks.graph.weight`), which turns decay into one
indexed comparison: no weight is ever rewritten, and missed, doubled or early runs make no difference.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from bgtasks.contracts import KnowledgeGraphLike
from bgtasks.graph.schema import ensure_schema
from bgtasks.graph.weight import HALF_LIFE, THRESHOLD, Weight

__all__ = ["HALF_LIFE", "THRESHOLD", "Weight", "prune"]

_LARGEST = 2_000
_SMALLEST = 50
_TARGET = 0.05
"""Seconds a batch should take: the server answers nobody else while it deletes."""

_EXPIRED = """
MATCH ()-[r:REL]->() WHERE r.dies_at < $now
WITH r LIMIT $batch DELETE r RETURN count(r)
"""


type Write = Callable[[str, Mapping[str, Any]], Awaitable[Sequence[Sequence[Any]]]]
"""Carries out one query that writes, or refuses it."""


async def prune(graph: KnowledgeGraphLike, now: datetime, write: Write | None = None) -> int:
    """Delete every edge whose time has come; the number of edges deleted.

    Works in batches, each atomic and small enough that the server goes on answering others: the batch
    shrinks when one took long and grows again. Cancelled in between, it loses nothing.

    Args:
        write: What deletes, such as `FencedGraph.write` with a token; by default the graph itself.

    Raises:
        Fenced: A later run has begun; what was deleted stays deleted.
        ResourceUnavailable: The graph does not answer; what was deleted stays deleted.
    """
    await ensure_schema(graph)
    delete = graph.query if write is None else write
    deleted, batch = 0, _SMALLEST * 4
    clock = asyncio.get_running_loop().time
    params = {"now": now.timestamp() * 1000.0}
    while True:
        began = clock()
        rows = await delete(_EXPIRED, {**params, "batch": batch})
        took = clock() - began
        gone = int(rows[0][0]) if rows else 0
        deleted += gone
        if gone < batch:
            return deleted
        batch = max(_SMALLEST, batch // 2) if took > _TARGET else min(_LARGEST, batch * 2)
        await asyncio.sleep(0)
