"""What a store is sent while little is due, each beat counted."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis

from benchmarks.claims.crew import Crew, NoFigures
from benchmarks.claims.servers import Servers

__all__ = ["rest"]

SETTLED = 12.0
"""Seconds after which each node knows all tasks, and has beaten a few times."""

AWAY = 5.0
"""Seconds between the instants at which tasks are due at once and the ends of the window."""

_BY_CLIENTS = ("eval", "evalsha", "script", "ping", "hello", "client", "auth", "select", "multi", "exec")
"""What no script of ours calls."""


async def rest(
    servers: Servers, backend: str, nodes: int, tasks: int, every: int, apart: bool, after: float
) -> list[dict[str, float]]:
    """Count over one interval of the tasks, all due at once or evenly apart, for each run that there was.

    Args:
        every: Seconds between two ticks of a task.
        after: By how many seconds later than others' they are due: several of these go on at once.
    """
    with servers.place(backend) as url:
        node = {"url": url, "tasks": tasks, "every": every, "after": after, "apart": apart}
        asked = [{**node, "name": f"node-{number}"} for number in range(nodes)]
        async with Crew("benchmarks.claims.resting", asked) as crew, _counting(url) as count:
            await asyncio.sleep(SETTLED)
            if (since := (time.time() - after) % every) > every - AWAY or since < AWAY:
                await asyncio.sleep((AWAY - since) % every)
            before = await _all(crew, count)
            await asyncio.sleep(every)
            seen = await _all(crew, count)
    seen.subtract(before)
    runs = seen["runs"]
    if not 0.95 * tasks <= runs <= 1.05 * tasks:
        raise NoFigures(f"{runs} of {tasks} ticks were run in the window")
    return [{"sent": seen["transactions"] / runs, "done": seen["statements"] / runs}]


async def _all(crew: Crew, count: Callable[[], Awaitable[dict[str, int]]]) -> Counter[str]:
    counted: Counter[str] = Counter()
    for each in await crew.ask():
        counted.update(each)
    counted.update(await count())
    return counted


@asynccontextmanager
async def _counting(url: str) -> AsyncIterator[Callable[[], Awaitable[dict[str, int]]]]:
    """What a Redis was sent, and did; of other stores the nodes themselves know."""
    client: Any = Redis.from_url(url) if url.startswith("redis") else None

    async def count() -> dict[str, int]:
        if client is None:
            return {}
        calls: Counter[str] = Counter()
        for name, stat in (await client.info("commandstats")).items():
            calls[name.removeprefix("cmdstat_").partition("|")[0]] += stat["calls"]
        del calls["info"]  # our own
        sent = sum(calls[name] for name in _BY_CLIENTS)
        return {"transactions": sent, "statements": calls.total()}

    try:
        yield count
    finally:
        if client is not None:
            await client.aclose()
