"""From files of messages into the cache and, where there is a graph, the structural graph.

What is read is taken in batches as it comes, so a file may be larger than memory, and all but the last
couple of thousand messages before a crash are in. Running it again adds only what is missing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from bgtasks.contracts import KnowledgeGraphLike
from bgtasks.memory.decay import HALF_LIFE
from bgtasks.memory.jsonl import BadLine
from bgtasks.memory.messages import BATCH, Message, MessageCache
from bgtasks.memory.structure import Woven, weave

__all__ = ["Taken", "take_in"]


WAITING = 10 * BATCH
"""Messages that are held back at most, while their channels have no full batch."""

LISTED = 1000
"""Bad lines that are kept one by one; further ones are counted."""


@dataclass(slots=True)
class Taken:
    """What came of it: messages added and already there, by channel; lines that were no messages.

    `bad` lists the first thousand of those, `bad_count` counts them all.
    """

    added: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    known: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    bad: list[BadLine] = field(default_factory=list)
    bad_count: int = 0
    woven: Woven = field(default_factory=Woven)

    @property
    def channels(self) -> list[str]:
        """The channels that were seen, in the order they appeared."""
        return list(dict.fromkeys((*self.added, *self.known)))


async def take_in(
    lines: Iterable[Message | BadLine],
    cache: MessageCache,
    graph: KnowledgeGraphLike | None = None,
    *,
    progress: Callable[[int], None] | None = None,
    half_life: float = HALF_LIFE,
) -> Taken:
    """Put messages into the cache and weave their channels into the graph.

    Args:
        lines: Messages, and lines that were none, as `read_file` yields them.
        cache: Where the messages go.
        graph: Where author, channel and mention edges go; None leaves them out. A later call with a
            graph makes up for it.
        progress: Called with the number of lines done since its last call.
        half_life: Milliseconds in which an edge's weight halves.

    Raises:
        ResourceUnavailable: A server does not answer; calling it again goes on where it ended.
    """
    taken = Taken()
    waiting: dict[str, list[Message]] = defaultdict(list)

    async def flush(channel: str) -> None:
        batch = waiting.pop(channel)
        added = await cache.ingest(channel, batch)
        taken.added[channel] += added
        taken.known[channel] += len(batch) - added
        if progress is not None:
            progress(len(batch))

    held = 0
    for line in lines:
        if isinstance(line, BadLine):
            taken.bad_count += 1
            if len(taken.bad) < LISTED:
                taken.bad.append(line)
            if progress is not None:
                progress(1)
            continue
        waiting[line.channel].append(line)
        held += 1
        full = len(waiting[line.channel]) >= BATCH
        for channel in list(waiting) if held >= WAITING else [line.channel] if full else []:
            held -= len(waiting[channel])
            await flush(channel)
    for channel in list(waiting):
        await flush(channel)
    if graph is not None:
        for channel in taken.channels:
            taken.woven += await weave(cache, graph, channel, half_life=half_life)
    return taken
