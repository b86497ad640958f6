"""Edges fade: a weight halves every half-life, and an edge dies when it has faded to the threshold.

The state of an edge is its weight and the instant it holds for, never "at the previous tick", so missed,
doubled or early runs make no difference. The instant of death follows from the two and is written beside
them, which turns decay into one indexed comparison: no weight is ever rewritten.

    w(now)  = w * 2 ** -((now - t) / half_life)
    dies_at = t + half_life * log2(w / threshold)

New evidence of strength s joins by noisy-or, after both were brought to the later of their instants:
1 - (1 - w)(1 - s). Weights stay below 1. Evidence folded in a different order gives slightly different
weights, since fading and joining do not commute; the order here is that of arrival.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bgtasks.contracts import KnowledgeGraphLike
from bgtasks.graph.schema import ensure_schema

__all__ = ["HALF_LIFE", "THRESHOLD", "Weight", "prune"]

HALF_LIFE = 60 * 86_400_000.0
"""Milliseconds in which a weight halves: 60 days."""

THRESHOLD = 0.05
"""The weight at which an edge dies."""

_LARGEST = 2_000
_SMALLEST = 50
_TARGET = 0.05
"""Seconds a batch should take: the server answers nobody else while it deletes."""

_EXPIRED = """
MATCH ()-[r:REL]->() WHERE r.dies_at < $now
WITH r LIMIT $batch DELETE r RETURN count(r)
"""


@dataclass(frozen=True, slots=True)
class Weight:
    """An edge's weight `w`, from 0 to 1, at the instant `t` in milliseconds since 1970."""

    w: float
    t: float

    def at(self, when: float, half_life: float = HALF_LIFE) -> float:
        """The weight faded to `when`; an instant before `t` does not raise it."""
        return self.w * math.exp2(-max(0.0, when - self.t) / half_life)

    def joined(self, other: Weight, half_life: float = HALF_LIFE) -> Weight:
        """Both weights as evidence for one thing, at the later of their instants."""
        t = max(self.t, other.t)
        return Weight(1 - (1 - self.at(t, half_life)) * (1 - other.at(t, half_life)), t)


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
