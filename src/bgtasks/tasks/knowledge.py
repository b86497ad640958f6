"""Tasks that keep the knowledge graph in order."""

from __future__ import annotations

from bgtasks.clock import Clock, SystemClock
from bgtasks.contracts import KnowledgeGraphLike
from bgtasks.memory.decay import prune
from bgtasks.registry import background_task

__all__ = ["kg_decay_task"]


@background_task("24h", requires_kg=True, scope="cluster", aliases=("kg_decay",))
async def kg_decay_task(kg_manager: KnowledgeGraphLike, *, clock: Clock | None = None) -> dict[str, int]:
    """Delete the edges that have faded away."""
    return {"deleted": await prune(kg_manager, (clock or SystemClock()).now())}
