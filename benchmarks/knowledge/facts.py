"""A large graph: what it takes to fill, how much memory it keeps, and how quickly it answers."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from benchmarks.knowledge.cases import OURS
from benchmarks.knowledge.engine import engine_into
from benchmarks.knowledge.measure import Taken, cpu, percentile, put
from benchmarks.knowledge.ping import Pings, pings
from benchmarks.knowledge.search import searched
from benchmarks.knowledge.servers import megabytes, server
from benchmarks.knowledge.size import STEPS, Size
from benchmarks.knowledge.words import World, spread, vector
from bgtasks.graph import KnowledgeGraph
from bgtasks.graph.apply import write
from bgtasks.graph.schema import ensure_schema
from bgtasks.graph.vectors import store_vectors

__all__ = ["MODEL", "facts"]

NODES, EDGES = 90, 210
"""Of a query: a third of the largest there is, so that others wait little."""

MODEL = "drawn"
AT_ONCE = 100
"""Vectors in one call, about as many as go into one query."""


async def facts(size: Size, rounds: int, say: Callable[[str], None]) -> Taken:
    """One graph, once: filled with entities, facts and vectors, asked, and read into by the engine."""
    taken: Taken = {}
    world = World(size.entities)
    with server(graph=True) as url:
        async with KnowledgeGraph(url, "bench") as graph, pings(url) as stalls:
            await ensure_schema(graph)
            filling = _Filling(url, graph, stalls, world, say)
            await filling.kept(taken, "entities", size.entities, filling.entities)
            await filling.kept(taken, "facts", size.facts, lambda: filling.facts(taken, size))
            vectors = list(spread(size.vectors, size.entities))
            await filling.kept(taken, "vectors", size.vectors, lambda: filling.vectors(vectors))
            await searched(taken, url, graph, world, size, vectors, say)
        say("facts, the engine on the large graph")
        put(taken, "engine-large", OURS, **await engine_into(url, "bench", size.batches, world))
    return taken


class _Filling:
    def __init__(
        self, url: str, graph: KnowledgeGraph, stalls: Pings, world: World, say: Callable[[str], None]
    ) -> None:
        self._url = url
        self._graph = graph
        self._stalls = stalls
        self._world = world
        self._say = say
        self._worst = 0.0
        self._seconds = 0.0

    async def kept(self, taken: Taken, case: str, count: int, fill: Callable[[], Awaitable[None]]) -> None:
        """What `fill` wrote, how long that took and what it came to."""
        before = megabytes(self._url)["used"]
        self._worst = self._seconds = 0.0
        await fill()
        used = megabytes(self._url)["used"] - before
        put(
            taken,
            case,
            OURS,
            count=count,
            seconds=self._seconds,
            mb=used,
            bytes=used / count * 1e6,
            worst_ms=self._worst,
        )

    async def entities(self) -> None:
        count = len(self._world.names)
        calls = []
        await self._stalls.begin()
        for start in range(0, count, NODES + EDGES):
            self._say(f"facts, {start:,} of {count:,} entities")
            nodes = [self._world.node(number) for number in range(start, min(count, start + NODES + EDGES))]
            calls.append(await _timed(write(self._graph, nodes, [])))
        await self._note(calls)

    async def facts(self, taken: Taken, size: Size) -> None:
        start = megabytes(self._url)["used"]
        done = 0
        for step in range(1, STEPS + 1):
            upto = size.facts * step // STEPS
            self._say(f"facts, {upto:,} of {size.facts:,}")
            calls, first, busy = [], done, cpu(self._url)
            await self._stalls.begin()
            while done < upto:
                nodes, edges = self._world.batch(NODES, min(EDGES, upto - done))
                calls.append(await _timed(write(self._graph, nodes, edges)))
                done += len(edges)
            worst = await self._note(calls)
            memory = megabytes(self._url)
            put(
                taken,
                f"facts-{step}",
                OURS,
                at=done,
                facts_per_s=(done - first) / sum(calls),
                server_us=(cpu(self._url) - busy) / (done - first) * 1e6,
                p50_ms=percentile(calls, 0.5) * 1000,
                worst_ms=worst,
                bytes=(memory["used"] - start) / done * 1e6,
                resident_mb=memory["resident"],
            )

    async def vectors(self, numbers: list[int]) -> None:
        calls = []
        await self._stalls.begin()
        for start in range(0, len(numbers), AT_ONCE):
            self._say(f"facts, {start:,} of {len(numbers):,} vectors")
            rows = await self._rows(numbers[start : start + AT_ONCE])
            calls.append(await _timed(store_vectors(self._graph, MODEL, rows)))
        await self._note(calls)

    async def _rows(self, numbers: list[int]) -> list[tuple[str, str, list[float]]]:
        """Id, text and vector of these entities."""
        ids = {self._world.named(number).id: number for number in numbers}
        query = "UNWIND $ids AS id MATCH (e:Entity {id: id}) RETURN e.id, e.name + ': ' + e.sum"
        rows = await self._graph.query(query, {"ids": list(ids)})
        return [(str(id), str(text), vector(ids[id])) for id, text in rows]

    async def _note(self, calls: list[float]) -> float:
        worst = (await self._stalls.seen())["worst_ms"]
        self._worst = max(self._worst, worst)
        self._seconds += sum(calls)
        return worst


async def _timed(call: Awaitable[None]) -> float:
    began = time.perf_counter()
    await call
    return time.perf_counter() - began
