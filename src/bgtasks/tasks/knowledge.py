"""Tasks that keep the knowledge graph in order."""

from __future__ import annotations

from functools import partial

from bgtasks.claims import current_claim
from bgtasks.clock import Clock, SystemClock
from bgtasks.contracts import KnowledgeGraphLike
from bgtasks.decorators import background_task
from bgtasks.fencing import FencedGraph
from bgtasks.memory.decay import prune

__all__ = ["kg_decay_task"]


@background_task("24h", requires_kg=True, scope="cluster", aliases=("kg_decay",))
async def kg_decay_task(kg_manager: KnowledgeGraphLike, *, clock: Clock | None = None) -> dict[str, int]:
    """Delete the edges that have faded away; under a claim with its token, which a later run outbids."""
    claim, now = current_claim(), (clock or SystemClock()).now()
    if claim is None:
        return {"deleted": await prune(kg_manager, now)}
    fenced = FencedGraph(kg_manager, claim.source)
    return {"deleted": await prune(kg_manager, now, partial(fenced.write, claim.token))}
