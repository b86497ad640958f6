"""Messages a second into the cache, beside XADDs of the same entries and nothing else."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from benchmarks.knowledge.measure import Taken, cpu, put
from benchmarks.knowledge.servers import megabytes, server
from benchmarks.knowledge.size import Size
from benchmarks.knowledge.words import messages
from bgtasks.connect import open_redis
from bgtasks.memory.embedding_queue import EmbeddingQueue
from bgtasks.memory.messages import BATCH, Message, MessageCache

__all__ = ["intake"]

CHANNELS = 20
SINGLY = 10
"""One message a call is measured with so much less of them."""

type Batches = Sequence[Sequence[Message]]


async def intake(size: Size, rounds: int, say: Callable[[str], None]) -> Taken:
    """Each way in turn, all of it on a server that is empty at the beginning of each round."""
    taken: Taken = {}
    per_channel = max(BATCH, size.some_messages // CHANNELS)
    each = [messages(f"channel-{number}", 0, per_channel) for number in range(CHANNELS)]
    whole = [said[start : start + BATCH] for start in range(0, per_channel, BATCH) for said in each]
    single = [[message] for said in each for message in said[: per_channel // SINGLY]]
    for number in range(rounds):
        with server() as url:
            redis = open_redis(url)
            try:
                await _round(taken, url, redis, whole, single, partial(_say, say, number + 1, rounds))
            finally:
                await redis.aclose()
    return taken


def _say(say: Callable[[str], None], number: int, rounds: int, who: str) -> None:
    say(f"messages, round {number} of {rounds}, {who}")


async def _round(
    taken: Taken, url: str, redis: Any, whole: Batches, single: Batches, say: Callable[[str], None]
) -> None:
    cache, alone = MessageCache(redis, "ours"), MessageCache(redis, "alone")
    queued = MessageCache(redis, "queued", embedding_queue=EmbeddingQueue(redis, "queued"))
    ways: dict[str, tuple[Batches, Callable[[Sequence[Message]], Awaitable[Any]]]] = {
        "bare XADD": (whole, partial(_bare, redis, "bare")),
        "ingest": (whole, partial(_ingest, cache)),
        "ingest, to be embedded too": (whole, partial(_ingest, queued)),
        "ingest again: adds nothing": (whole, partial(_ingest, cache)),
        "bare XADD, one a call": (single, partial(_bare, redis, "bare-one")),
        "ingest, one a call": (single, partial(_ingest, alone)),
    }
    bare = 0.0
    for who, (batches, call) in ways.items():
        say(who)
        count = sum(map(len, batches))
        used, busy = megabytes(url)["used"], cpu(url)
        began = time.perf_counter()
        for batch in batches:
            await call(batch)
        took = (time.perf_counter() - began) / count
        bare = took if who.startswith("bare") else bare
        figures = {
            "per_s": 1 / took,
            "times": took / bare,
            "server_us": (cpu(url) - busy) / count * 1e6,
            "bytes": (megabytes(url)["used"] - used) / count * 1e6,
        }
        if "again" in who:
            del figures["bytes"]
        put(taken, "messages", who, **figures)


async def _ingest(cache: MessageCache, batch: Sequence[Message]) -> None:
    await cache.ingest(batch[0].channel, batch)


async def _bare(redis: Any, name: str, batch: Sequence[Message]) -> None:
    """The entries that the cache would make of them, in one pipeline."""
    async with redis.pipeline(transaction=False) as together:
        for each in batch:
            fields = {"mid": each.id, "author": each.author, "role": each.role, "ts": each.ms}
            together.xadd(f"{name}:{each.channel}", {**fields, "text": each.text, "origin": each.origin})
        await together.execute()
