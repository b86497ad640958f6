"""Messages a second into the cache, and into the graph, beside bare pipelined XADDs to the same server.

The server is the embedded one, which writes each command group to disk before it answers.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from bgtasks.embedded import EmbeddedServer
from bgtasks.graph import KnowledgeGraph
from bgtasks.memory.intake import take_in
from bgtasks.memory.messages import BATCH, Message, MessageCache

MESSAGES = 20_000
CHANNELS = 20
ROUNDS = 5


def main() -> None:
    """Print the median of several interleaved rounds."""
    asyncio.run(_main())


async def _main() -> None:
    messages = _messages()
    with tempfile.TemporaryDirectory(prefix="bgtasks-bench-") as scratch:
        async with EmbeddedServer(scratch) as server:
            redis: Any = server.client()
            graph = await KnowledgeGraph.connect(server.url, "bench")
            cases: dict[str, Callable[[], Awaitable[Any]]] = {
                "bare XADD, pipelined": lambda: _bare(redis, messages),
                "ingest": lambda: take_in(messages, MessageCache(redis)),
                "ingest again (adds nothing)": lambda: take_in(messages, MessageCache(redis)),
                "known, and into the graph": lambda: take_in(messages, MessageCache(redis), graph),
            }
            rates: dict[str, list[float]] = {name: [] for name in cases}
            for _ in range(ROUNDS):
                await redis.flushall()
                for name, case in cases.items():
                    began = time.perf_counter()
                    await case()
                    rates[name].append(len(messages) / (time.perf_counter() - began))
            await graph.aclose()
            await redis.aclose()
    bare = statistics.median(rates["bare XADD, pipelined"])
    print(f"{MESSAGES} messages in {CHANNELS} channels, {ROUNDS} rounds, batches of {BATCH}")
    for name, taken in rates.items():
        median = statistics.median(taken)
        print(
            f"{name:<28} {median:>9,.0f} messages/s   min {min(taken):>9,.0f}   max {max(taken):>9,.0f}   "
            f"{bare / median:.2f} × the time of bare XADD"
        )


async def _bare(redis: Any, messages: list[Message]) -> None:
    for start in range(0, len(messages), BATCH):
        async with redis.pipeline(transaction=False) as together:
            for each in messages[start : start + BATCH]:
                fields = {"mid": each.id, "author": each.author, "ts": each.ms, "text": each.text}
                together.xadd(f"bare:{each.channel}", fields)
            await together.execute()


def _messages() -> list[Message]:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    people = ["Ada", "Bela", "Cem", "Dora", "Emil"]
    return [
        Message(
            channel=f"channel-{number % CHANNELS}",
            id=f"m{number}",
            author=people[number % len(people)],
            ts=start + timedelta(seconds=number),
            text=f"Message {number}: {people[(number * 7 + 1) % len(people)]}, are we still on for Thursday? "
            * 2,
        )
        for number in range(MESSAGES)
    ]
