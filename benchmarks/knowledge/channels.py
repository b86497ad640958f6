"""Messages over many channels, taken in and read by cursor: what each costs as they grow in number."""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks.knowledge.cases import OURS
from benchmarks.knowledge.measure import Taken, cpu, percentile, put
from benchmarks.knowledge.ping import pings
from benchmarks.knowledge.servers import megabytes, server
from benchmarks.knowledge.size import STEPS, Size
from benchmarks.knowledge.words import messages
from bgtasks.connect import open_redis
from bgtasks.memory.messages import MessageCache

__all__ = ["channels"]

PAGE = 500
"""Entries that the reader asks for at a time."""

READER = "bench"


async def channels(size: Size, rounds: int, say: Callable[[str], None]) -> Taken:
    """So many in each of ten steps: each channel gets its share, then a reader goes through all of them."""
    taken: Taken = {}
    names = [f"channel-{number}" for number in range(size.channels)]
    share = size.messages // STEPS // len(names)
    with server() as url:
        redis = open_redis(url)
        cache = MessageCache(redis)
        cursors: dict[str, str] = {}
        start = before = megabytes(url)["used"]
        try:
            for step in range(1, STEPS + 1):
                say(f"channels, {step * share * len(names):,} of {size.messages:,} messages")
                calls: list[float] = []
                own, busy = 0.0, cpu(url)
                for name in names:
                    batch = messages(name, (step - 1) * share, share)
                    began, used = time.perf_counter(), time.process_time()
                    await cache.ingest(name, batch)
                    calls.append(time.perf_counter() - began)
                    own += time.process_time() - used
                began, used = time.perf_counter(), time.process_time()
                read = 0
                for name in names:
                    read += await _read(cache, name, cursors)
                reading = time.perf_counter() - began
                own += time.process_time() - used + cpu(url) - busy
                if read != share * len(names):
                    raise RuntimeError(f"of {share * len(names)} messages the reader saw {read}")
                now = megabytes(url)["used"]
                put(
                    taken,
                    f"channels-{step}",
                    OURS,
                    at=step * read,
                    ingest_us=sum(calls) / read * 1e6,
                    ingest_p99_ms=percentile(calls, 0.99) * 1000,
                    read_us=reading / read * 1e6,
                    cpu_us=own / read * 1e6,
                    bytes=(now - start) / (step * read) * 1e6,
                    more=(now - before) / read * 1e6,
                )
                before = now
            say("channels, trimming")
            await _trim(taken, url, cache, names)
        finally:
            await redis.aclose()
    return taken


async def _read(cache: MessageCache, channel: str, cursors: dict[str, str]) -> int:
    """Read a channel to its end and report how far that is; how many entries there were."""
    read = 0
    while True:
        page = await cache.since(channel, cursors.get(channel), PAGE)
        if page:
            cursors[channel] = str(page[-1].cursor)
        read += len(page)
        if len(page) < PAGE:
            break
    await cache.report(channel, READER, cursors[channel])
    return read


async def _trim(taken: Taken, url: str, cache: MessageCache, names: list[str]) -> None:
    before, removed = megabytes(url)["used"], 0
    async with pings(url) as stalls:
        await stalls.begin()
        began = time.perf_counter()
        for name in names:
            removed += (await cache.trim(name)).removed
        took = time.perf_counter() - began
        worst = (await stalls.seen())["worst_ms"]
    put(
        taken,
        "trimmed",
        OURS,
        removed=removed,
        trim_us=took / max(1, removed) * 1e6,
        before_mb=before,
        after_mb=megabytes(url)["used"],
        worst_ms=worst,
    )
