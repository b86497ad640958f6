"""The bulk pass: the channels that were used last, one by one, with a record of what was worked on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from bgtasks.errors import BgTasksError, OverBudget
from bgtasks.memory.extraction.batch import Batch
from bgtasks.memory.extraction.dump import Dump
from bgtasks.memory.extraction.engine import Extractor
from bgtasks.memory.extraction.progress import Applied, Progress
from bgtasks.memory.extraction.rounds import read_channels
from bgtasks.memory.messages import MessageCache

__all__ = ["CHANNELS", "Tell", "bulk"]

CHANNELS = 10
"""Channels that one pass goes through, those with the latest messages first."""

type Tell = Callable[[str, Mapping[str, Any]], Awaitable[None]]
"""Told of each milestone: its name, and what goes with it."""


async def bulk(extractor: Extractor, cache: MessageCache, dump: Dump, tell: Tell) -> Progress:
    """Read what is new in the most recently used channels.

    Milestones: `started`; `batch` before one is read, `applied` once it is in the graph; at the end `channel`
    with the sums of each that nothing is left of, and `finished` with all of them. If an error of
    ours ends it, that is `over budget` or `failed`, with the reason and how many messages were read before.

    Raises:
        BgTasksError: As `read_channels`; what was applied stays.
    """
    read = 0
    channels = await cache.get_active_channels(CHANNELS)
    await tell("started", {"channels": channels})

    async def watch(step: Batch | Applied) -> None:
        nonlocal read
        if isinstance(step, Batch):
            await dump.batch(step)
            await tell("batch", {"channel": step.channel, "messages": len(step.messages)})
        else:
            read += step.messages
            await dump.applied(step)
            counts = {
                "messages": step.messages,
                "entities": len(step.learned.nodes),
                "facts": len(step.learned.edges),
            }
            await tell("applied", {"channel": step.batch.channel, **counts, "dead": step.dead})

    async def told() -> None:
        for channel, came in sums.items():
            await tell("channel", {"channel": channel, **came.counts})

    sums: dict[str, Progress] = {}
    try:
        total = await read_channels(extractor, channels, watch=watch, done=sums.__setitem__)
    except BgTasksError as error:
        await told()
        ending = "over budget" if isinstance(error, OverBudget) else "failed"
        await tell(ending, {"reason": str(error), "messages": read})
        raise
    await told()
    await tell("finished", total.counts)
    return total
