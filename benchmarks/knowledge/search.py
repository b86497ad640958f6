"""Questions to a graph: how long each kind takes, one after the other and while somebody writes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from benchmarks.knowledge.cases import OURS, table_of
from benchmarks.knowledge.measure import Taken, percentile, put
from benchmarks.knowledge.size import Size
from benchmarks.knowledge.words import NOW, World, vector
from bgtasks.graph import KnowledgeGraph
from bgtasks.graph.apply import write

__all__ = ["searched"]

BUSY = 100
"""Batches of what one extraction gives, one after the other without a pause."""

type Ask = Callable[[int], Awaitable[int]]
"""Ask the question of that number; how much was found."""


async def searched(
    taken: Taken,
    url: str,
    graph: KnowledgeGraph,
    world: World,
    size: Size,
    vectors: Sequence[int],
    say: Callable[[str], None],
) -> None:
    """Each kind of question so many times, after three that do not count.

    Args:
        vectors: Numbers of the entities that have one.
    """
    asks = _asks(graph, world, vectors)
    for case in table_of("search").cases:
        say(f"facts, {case.label}")
        busy = case.key == "search-busy"
        ask = asks["search-vector" if busy else case.key]
        writer = asyncio.create_task(_write(url, world, size), name="writes meanwhile") if busy else None
        try:
            for number in range(3):
                await ask(number)
            took, found = [], 0
            for number in range(size.questions):
                began = time.perf_counter()
                found += await ask(3 + number)
                took.append(time.perf_counter() - began)
        finally:
            if writer is not None:
                writer.cancel()
                with suppress(asyncio.CancelledError):
                    await writer
        put(
            taken,
            case.key,
            OURS,
            p50_ms=percentile(took, 0.5) * 1000,
            p95_ms=percentile(took, 0.95) * 1000,
            most_ms=max(took) * 1000,
            found=found / size.questions,
        )


def _asks(graph: KnowledgeGraph, world: World, vectors: Sequence[int]) -> dict[str, Ask]:
    many = world.some(min(500, len(world.names) // 2))
    names = [world.names[number] for number in many]
    words = [world.said(1) for _ in range(500)]
    sentences = [world.said(8) for _ in range(500)]
    asked = [vector(vectors[number % len(vectors)] + 1_000_000) for number in range(50)]

    async def search(text: str, near: list[float] | None = None) -> int:
        return len(await graph.search(text, vector=near, now=NOW))

    async def around(name: str, depth: int = 1) -> int:
        found = await graph.neighbourhood(name, depth=depth, now=NOW)
        return len(found.facts) if found is not None else 0

    return {
        "search-name": lambda number: search(names[number % len(names)]),
        "search-word": lambda number: search(words[number % 500]),
        "search-sentence": lambda number: search(sentences[number % 500]),
        "search-vector": lambda number: search(sentences[number % 500], asked[number % 50]),
        "near": lambda number: around(names[number % len(names)]),
        "near-hub": lambda number: around(world.names[number % 5]),
        "near-two": lambda number: around(names[number % len(names)], 2),
    }


async def _write(url: str, world: World, size: Size) -> None:
    """Write again and again, by connections of its own, until it is cancelled."""
    batches = [world.batch(30, 40) for _ in range(min(BUSY, size.questions))]
    async with KnowledgeGraph(url, "bench") as graph:
        while True:
            for nodes, edges in batches:
                await write(graph, nodes, edges)
