"""Facts a second into the graph, beside the least that would write them; and who has to wait meanwhile."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from benchmarks.knowledge.cases import table_of
from benchmarks.knowledge.measure import Taken, cpu, percentile, put
from benchmarks.knowledge.ping import pings
from benchmarks.knowledge.servers import server
from benchmarks.knowledge.size import Size
from benchmarks.knowledge.words import World
from bgtasks.graph import KnowledgeGraph
from bgtasks.graph.apply import Edge, Node, apply
from bgtasks.graph.schema import ensure_schema, settled

__all__ = ["SIZES", "writing"]

SIZES = {"apply-small": (30, 40), "apply-large": (200, 300), "apply-nodes": (500, 0)}
"""Nodes and edges of a query: what one extraction gives, and two ways to fill the largest there is."""

ENTITIES = 5_000

# Identity and properties, and nothing else: no cursor, no aliases, no evidence folded, no sources.
_BARE_NODES = """
UNWIND $nodes AS x MERGE (e:Entity {id: x.id})
SET e.name = x.name, e.key = x.key, e.kind = x.kind, e.sum = x.about, e.seen = x.seen, e.n = x.n
"""
_BARE_EDGES = """
WITH count(*) AS nodes UNWIND $edges AS y
MATCH (s:Entity {id: y.s}) MATCH (o:Entity {id: y.o})
MERGE (s)-[r:REL {p: y.p}]->(o) SET r.w = y.w, r.t = y.t, r.n = y.n, r.conf = y.conf, r.fact = y.fact
"""

type Batch = tuple[list[Node], list[Edge]]


async def writing(size: Size, rounds: int, say: Callable[[str], None]) -> Taken:
    """Each size and each way in turn, on a server and in a graph that are new."""
    taken: Taken = {}
    for number in range(rounds):
        for case, (nodes, edges) in SIZES.items():
            count = max(3, size.some_facts // edges if edges else size.some_facts // 500)
            world = World(ENTITIES, seed=number)
            batches = [world.batch(nodes, edges, described=True) for _ in range(count)]
            bare: float | None = None
            for who in table_of("apply").who:
                say(f"apply, {nodes} nodes and {edges} edges, round {number + 1} of {rounds}, {who}")
                figures = await _written(who, batches)
                bare = bare or figures["seconds"]
                figures["times"] = figures.pop("seconds") / bare
                if edges:
                    figures["facts_per_s"] = figures.pop("batches_per_s") * edges
                else:
                    del figures["batches_per_s"]
                put(taken, case, who, **figures)
    return taken


async def _written(who: str, batches: Sequence[Batch]) -> dict[str, float]:
    fsync = "always" if "always" in who else "everysec"
    with server(graph=True, fsync=fsync) as url:
        async with KnowledgeGraph(url, "bench") as graph, pings(url) as stalls:
            if who == "bare MERGE":
                await graph.query("CREATE INDEX FOR (e:Entity) ON (e.id)")
                await settled(graph)
            else:
                await ensure_schema(graph)
            write = _bare(graph) if who.startswith("bare") else _ours(graph)
            await stalls.begin()
            busy, took = cpu(url), []
            for batch in batches:
                began = time.perf_counter()
                await write(batch)
                took.append(time.perf_counter() - began)
            return {
                "seconds": sum(took),
                "batches_per_s": len(took) / sum(took),
                "p50_ms": percentile(took, 0.5) * 1000,
                "server_ms": (cpu(url) - busy) / len(took) * 1000,
                **await stalls.seen(),
            }


def _ours(graph: KnowledgeGraph) -> Callable[[Batch], Awaitable[None]]:
    position = ""

    async def write(batch: Batch) -> None:
        nonlocal position
        expected, position = position, f"{int(position or 0) + 1:020d}"
        if not await apply(graph, "bench", expected, position, *batch):
            raise RuntimeError("a batch was not applied")

    return write


def _bare(graph: KnowledgeGraph) -> Callable[[Batch], Awaitable[None]]:
    async def write(batch: Batch) -> None:
        nodes, edges = batch
        params: Mapping[str, Any] = {
            "nodes": [
                {
                    "id": each.id,
                    "key": each.id.partition(":")[2],
                    "name": each.name,
                    "kind": each.kind,
                    "seen": each.seen,
                    "about": each.about,
                    "n": each.n,
                }
                for each in nodes
            ],
            "edges": [
                {
                    "s": each.s,
                    "p": each.p,
                    "o": each.o,
                    "w": each.w,
                    "t": each.t,
                    "n": each.n,
                    "conf": each.conf,
                    "fact": each.fact,
                }
                for each in edges
            ],
        }
        await graph.query(_BARE_NODES + (_BARE_EDGES if edges else ""), params)

    return write
