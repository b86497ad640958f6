"""One channel being read: batch after batch, from the graph's cursor on, under the channel's lease."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from bgtasks.errors import BadAnswer, ResourceUnavailable
from bgtasks.graph.apply import apply, position_of
from bgtasks.memory.cursors import cursor_key, padded, unpadded
from bgtasks.memory.dead import DeadLetters
from bgtasks.memory.extraction.batch import Batch, first_batch, halved, is_read
from bgtasks.memory.extraction.known import known_names
from bgtasks.memory.extraction.learned import Learned, learn
from bgtasks.memory.extraction.lease import BLAMES, ChannelLease, Plan
from bgtasks.memory.extraction.progress import Applied, Progress, Watch
from bgtasks.memory.extraction.reply import Extraction
from bgtasks.memory.messages import Message

if TYPE_CHECKING:
    from bgtasks.memory.extraction.engine import Extractor

__all__ = ["CONTEXT", "PAGE", "READER", "TRIES", "WINDOW", "Overtaken", "Reading"]

log = logging.getLogger("bgtasks")

READER = "knowledge"
"""What the cursors of all who extract are called: they share them."""

CONTEXT = 8
"""Messages before a batch that are shown with it."""

WINDOW = 200
"""Entries of a channel that are looked at to cut a batch."""

PAGE = 50
"""Entries that are fetched at a time for that."""

TRIES = 2
"""How often a single message is tried before it is set aside."""


class Overtaken(Exception):
    """Somebody else has the lease by now."""


class Reading:
    """One channel, as far as it is read."""

    def __init__(self, engine: Extractor, lease: ChannelLease, channel: str) -> None:
        self._engine = engine
        self._cache = engine.cache
        self._letters = DeadLetters(engine.redis, engine.cache.namespace)
        self._lease = lease
        self._channel = channel
        self._cursor = f"{READER}:{channel}"
        self._position = ""
        self._until: str | None = None
        self._set_aside = 0

    async def begin(self) -> None:
        """Look where the cursor stands, and up to where to read: what comes later is for the next time."""
        # What is reported lags behind the graph: looked at first, it is never ahead of a graph that is whole.
        reported = (await self._cache.readers(self._channel)).get(READER)
        self._position = await position_of(self._engine.graph, self._cursor)
        self._until = (await self._cache.newest([self._channel])).get(self._channel)
        if cursor_key(reported) > cursor_key(unpadded(self._position)):
            log.warning(
                "the graph has read %s up to %s, and had read up to %s before: it is read again from there, "
                "as far as the messages are kept",
                self._channel,
                unpadded(self._position) or "nothing",
                reported,
            )

    async def step(self, watch: Watch | None) -> Progress | None:
        """Read and apply one batch, or find a smaller one; None once there is nothing more to do here.

        Raises:
            Overtaken: Somebody else reads it by now.
        """
        planned = await self._plan()
        if planned is None:
            return None
        batch, plan = planned
        found, dead = Extraction(entities=[], facts=[]), False
        if batch.messages:
            await self._write(plan)
            if watch is not None:
                await watch(batch)
            try:
                found = await self._read(batch, plan)
            except BadAnswer as error:
                if not await self._failed(batch, plan, error):
                    return Progress()
                dead = True
        learned = learn(batch, found, plan.known or (), half_life=self._engine.half_life)
        if not await self._applied(batch, learned):
            return Progress()
        if plan.failures and batch.messages and not dead:
            await self._letters.settle(self._channel, batch.messages[0].id, READER)
        done = Applied(batch, learned, dead)
        if watch is not None:
            await watch(done)
        if batch.messages:
            self._set_aside = self._set_aside + 1 if dead else 0
        if self._set_aside >= self._engine.hopeless:
            raise BadAnswer(
                f"{self._set_aside} messages of {self._channel} in a row got no usable answer and were set "
                "aside: name another model in BGTASKS_KG_EXTRACTION_MODEL, then bgtasks dead retry --all"
            )
        return Progress(1, done.messages, len(learned.nodes), len(learned.edges), learned.dropped, int(dead))

    async def tidy(self) -> None:
        """Let go of messages that every reader has read."""
        await self._cache.trim(self._channel)

    async def _plan(self) -> tuple[Batch, Plan] | None:
        """The next batch, cut as it was before if it was, and how it stands."""
        after = unpadded(self._position)
        plan = (await self._lease.plan()).at(after)
        if not plan.ends:
            end = await self._cut(after)
            if end is None:
                return None
            plan = replace(plan, begins=after, ends=(end,))
        upto = plan.ends[-1]
        entries = await self._cache.between(self._channel, after, upto, limit=WINDOW)
        messages = tuple(entry for entry in entries if is_read(entry))
        if not messages:
            return Batch(self._channel, upto, ()), plan
        # What was shown with it may be what spoils the answer: the last try is without.
        shown = after and not plan.failures
        before = await self._cache.before(self._channel, after, CONTEXT) if shown else []
        context = tuple(entry for entry in before if is_read(entry))
        batch = Batch(self._channel, upto, messages, context)
        if plan.known is None:
            plan = replace(plan, known=tuple(await known_names(self._engine.graph, batch)))
        return batch, plan

    async def _cut(self, after: str | None) -> str | None:
        """Where the next batch ends; None if nothing is left. Looks at no more entries than it has to."""
        entries: list[Message] = []
        while len(entries) < WINDOW and self._until is not None:
            last = entries[-1].cursor if entries else after
            page = await self._cache.between(self._channel, last, self._until, limit=PAGE)
            entries += page
            if len(page) < PAGE or first_batch(entries) != entries[-1].cursor:
                break
        return first_batch(entries) if entries else None

    async def _read(self, batch: Batch, plan: Plan) -> Extraction:
        """What the reader says, if it has not failed at this batch too often."""
        if plan.blamed >= BLAMES:
            raise BadAnswer("the model did not answer it, again and again, though it answered others")
        return await self._engine.reader.read(batch, plan.known or ())

    async def _write(self, plan: Plan) -> None:
        """Note the plan, under a lease that is taken once more if it ran out and nobody has it."""
        if not await self._lease.write(plan) and not (
            await self._lease.take() and await self._lease.write(plan)
        ):
            raise Overtaken

    async def _failed(self, batch: Batch, plan: Plan, error: BadAnswer) -> bool:
        """Make the batch smaller, or set its only message aside; whether the cursor may go past it."""
        middle = halved(batch)
        if middle is not None:
            blamed = min(plan.blamed, BLAMES - 1)
            await self._write(replace(plan, ends=(*plan.ends, middle), failures=0, known=None, blamed=blamed))
            return False
        if plan.failures + 1 < TRIES:
            await self._write(replace(plan, failures=plan.failures + 1))
            return False
        if not await self._lease.renew():
            raise Overtaken  # who reads it by now may have had an answer
        (message,), now = batch.messages, self._engine.clock.now()
        await self._letters.add(self._channel, message.id, READER, str(error), now, cursor=message.cursor)
        return True

    async def _applied(self, batch: Batch, learned: Learned) -> bool:
        """Write what was learned and move the cursor; whether it was we who did."""
        before, position = self._position, padded(batch.upto)
        written = partial(apply, self._engine.graph, self._cursor, before, position)
        if await written(learned.nodes, learned.edges, half_life=self._engine.half_life):
            self._position = position
            await self._cache.report(self._channel, READER, batch.upto)
            return True
        self._position = await position_of(self._engine.graph, self._cursor)
        if self._position == before:
            raise ResourceUnavailable("kg_manager", "a batch of messages was not applied")
        return False
