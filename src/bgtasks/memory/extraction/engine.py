"""From messages to knowledge: batch by batch, each applied to the graph exactly once, whatever crashes.

For one channel: take its lease, read the graph's cursor, cut a batch after it and write down where it ends,
have a reader say what the batch states, and write that into the graph together with the cursor. Whatever
happens in between, the next one to try goes on from the cursor; an answer that was paid for is kept by the
client and not asked for again.

    lease → cursor → plan → ask ──────────────→ apply + cursor → next batch
                      ↑      └ no usable answer: halve the batch; a single message: set it aside
                      └────────────┘

A batch to which no usable answer comes is halved, until one message is left. That is set aside as a dead
letter after a second try, and the cursor moves on: one bad message stops no channel.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from bgtasks.clock import Clock, SystemClock
from bgtasks.contracts import KnowledgeGraphLike
from bgtasks.graph.apply import position_of
from bgtasks.graph.schema import ensure_schema
from bgtasks.graph.weight import HALF_LIFE
from bgtasks.memory.cursors import unpadded
from bgtasks.memory.extraction.lease import TTL, channel_lease
from bgtasks.memory.extraction.progress import Progress, Watch
from bgtasks.memory.extraction.reader import Reader
from bgtasks.memory.extraction.reading import READER, Overtaken, Reading
from bgtasks.memory.messages import MessageCache

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["Extractor"]


@dataclass(frozen=True, slots=True)
class Extractor:
    """Reads channels into the graph. One may be used for any number of channels, at once.

    Args:
        redis: Where the messages are.
        cache: The messages; its namespace is ours.
        graph: Where the knowledge goes.
        reader: What says what messages state.
        half_life: Milliseconds in which an edge's weight halves.
        lease: Seconds after which the channel of a process that died is free for another.
        hopeless: Messages set aside in a row after which the reader is taken to be at fault, not they.
    """

    redis: Redis
    cache: MessageCache
    graph: KnowledgeGraphLike
    reader: Reader
    half_life: float = HALF_LIFE
    lease: float = TTL
    hopeless: int = 5
    clock: Clock = field(default_factory=SystemClock)

    async def extract(self, channel: str, *, most: int | None = None, watch: Watch | None = None) -> Progress:
        """Read the messages of `channel` that were not read yet, `most` batches of them; what came of it.

        Raises:
            OverBudget: No more may be spent; what was applied stays, and so does the rest, for later.
            ResourceUnavailable: Redis, the graph or the model does not answer; likewise.
            UnsuitableServer: One of them refuses; likewise.
            BadAnswer: Too many messages in a row had to be set aside.
        """
        await ensure_schema(self.graph)
        total = Progress()
        async with channel_lease(self.redis, self.cache.namespace, channel, ttl=self.lease) as lease:
            if lease is None:
                return Progress(busy=1)
            reading = Reading(self, lease, channel)
            await reading.begin()
            try:
                while most is None or total.batches < most:
                    step = await reading.step(watch)
                    if step is None:
                        break
                    total += step
            except Overtaken:
                return total + Progress(busy=1)
            if total.batches:
                await reading.tidy()
        return total

    async def blame(self, channel: str) -> None:
        """Note that the model did not answer the next batch of `channel`, though it answered others.

        The third time it is halved, as if the answer had been unusable: so what makes a server fail or take
        too long is found, and stops nothing else.

        Raises:
            ResourceUnavailable: Redis or the graph does not answer.
        """
        async with channel_lease(self.redis, self.cache.namespace, channel, ttl=self.lease) as lease:
            if lease is not None:
                position = unpadded(await position_of(self.graph, f"{READER}:{channel}"))
                plan = (await lease.plan()).at(position)
                if plan.ends:
                    await lease.write(replace(plan, blamed=plan.blamed + 1))
