"""Vectors for what waits for one: entities of the graph, and messages of the embedding queue.

Which entities wait is written on them in the graph, by the query that made or changed them, so none is
forgotten. A vector is made again if a worker dies before it is stored. Of several workers one at a time looks
after entities, since two would pay for the same ones; messages are shared out by their queue. Key, under the
namespace:

```
embed:entities  STRING  whose turn it is with entities; expires
```
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from redis.exceptions import RedisError

from bgtasks.connect import reach
from bgtasks.contracts import Absent, KnowledgeGraphLike
from bgtasks.errors import BadAnswer, BgTasksError, OverBudget, ResourceUnavailable
from bgtasks.graph.vector_index import prepare
from bgtasks.graph.vectors import drop_message_vectors, store_message_vectors, store_vectors, waiting
from bgtasks.llm.calls import Declined
from bgtasks.memory.embedding_queue import EmbeddingQueue, Waiting
from bgtasks.memory.message import Message
from bgtasks.memory.messages import MessageCache

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["EmbeddingClient", "Embeddings"]

BATCH = 32
"""Texts that are embedded in one go: as many as the client sends in one request. Were there several, what the
first made would be lost if the budget ended before the last."""

LONGEST = 8_000
"""Characters of a text that are embedded."""

IDLE = 300.0
"""Seconds after which a message that another worker took, and did not finish, is taken over."""

TURN = 60.0
"""Seconds after which the turn of a worker that died is over; one that lives renews it meanwhile."""

PROBE = "Good morning."
"""A text that any model can make a vector of."""

_END_TURN = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"

_RENEW_TURN = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 0
"""

log = logging.getLogger("bgtasks")


class EmbeddingClient(Protocol):
    """Makes vectors of texts."""

    @property
    def embedding_model(self) -> str | Absent | None:
        """The model that makes them, if it can."""

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """The vectors of `texts`, in their order."""


class Embeddings:
    """Makes and stores vectors, batch by batch.

    Args:
        redis: Where the turns are taken; the cache's.
        graph: Where the entities are and the vectors go.
        client: What makes them.
        cache: The messages.
        queue: Which of them wait.
        consumer: Under which name they are taken from the queue: that of the node.
        look: Seconds between two looks when nothing waits.
        rest: Seconds of rest once no more may be spent.
        idle: Seconds after which a message is taken over that another worker took and did not finish.
    """

    def __init__(
        self,
        redis: Redis,
        graph: KnowledgeGraphLike,
        client: EmbeddingClient,
        cache: MessageCache,
        queue: EmbeddingQueue,
        consumer: str,
        *,
        look: float = 5.0,
        rest: float = 900.0,
        idle: float = IDLE,
    ) -> None:
        self._redis: Any = redis  # redis-py types its answers for both faces at once
        self._end_turn = redis.register_script(_END_TURN)
        self._renew_turn = redis.register_script(_RENEW_TURN)
        self._graph = graph
        self._client = client
        self._cache = cache
        self._queue = queue
        self._consumer = consumer
        self._look, self._rest, self._idle = look, rest, idle
        self._fits = False
        self._given_up: dict[str, str] = {}

    async def run(self) -> None:
        """Make vectors until cancelled.

        Raises:
            ResourceUnavailable: A server does not answer; nothing is lost.
            ConfigurationError: The graph's vectors are of another model or dimension. That is found out with
                one short text; what waits is not paid for.
            BadAnswer: The model makes no vector of any text; nothing is lost.
        """
        while True:
            try:
                pause = 0.0 if await self.step() else self._look
            except OverBudget as error:
                log.warning("making vectors rests for %g s: %s", self._rest, error)
                pause = self._rest
            await asyncio.sleep(pause)

    async def step(self) -> int:
        """Embed one batch of entities and one of messages; how many vectors were stored."""
        async with self._turn() as ours:
            entities = await self._entities() if ours else 0
        return entities + await self._messages()

    async def _entities(self) -> int:
        limit = BATCH + len(self._given_up)
        found = await waiting(self._graph, limit)
        if len(found) < limit:  # no other waits: what was given up and is not among them need not be known
            waits = {each.id: each.text for each in found}
            self._given_up = {each: text for each, text in self._given_up.items() if waits.get(each) == text}
        texts = {each.id: each.text for each in found if self._given_up.get(each.id) != each.text}
        made, failed = await self._embed({each: texts[each][:LONGEST] for each in list(texts)[:BATCH]})
        self._given_up |= {identity: texts[identity] for identity, vector in made.items() if vector is None}
        stored = [
            (identity, texts[identity], vector) for identity, vector in made.items() if vector is not None
        ]
        await store_vectors(self._graph, self._model, stored)
        if failed is not None:
            raise failed
        return len(stored)

    async def _messages(self) -> int:
        taken = await self._queue.take(self._consumer, BATCH, self._idle)
        found = await self._found(taken)
        texts = {each: message.text[:LONGEST] for each, message in found.items() if message.text.strip()}
        made, failed = await self._embed(texts)
        stored = [(each.channel, each.id, vector) for each, vector in made.items() if vector is not None]
        await store_message_vectors(self._graph, self._model, stored)
        left = {(each.channel, each.id) for each in texts if each not in made}
        taken = [each for each in taken if (each.channel, each.id) not in left]
        await self._tidy(taken, found, {each for each, vector in made.items() if vector is not None})
        await self._queue.done(taken)
        if failed is not None:
            raise failed
        return len(stored)

    async def _found(self, taken: Sequence[Waiting]) -> dict[Waiting, Message]:
        """The messages that are there, each once however often it waits."""
        found: dict[Waiting, Message] = {}
        for channel in dict.fromkeys(each.channel for each in taken):
            of_channel = {each.id: each for each in taken if each.channel == channel}
            for message in await self._cache.get(channel, list(of_channel)):
                found[of_channel[message.id]] = message
        return found

    async def _tidy(
        self, taken: Sequence[Waiting], before: dict[Waiting, Message], stored: set[Waiting]
    ) -> None:
        """Drop vectors of messages without a text now; have those embedded again that changed meanwhile."""
        now = {(each.channel, each.id): message for each, message in (await self._found(taken)).items()}
        changed, gone = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
        for channel, id in dict.fromkeys((each.channel, each.id) for each in taken):
            message = now.get((channel, id))
            if message is None or not message.text.strip():
                gone[channel].append(id)
        for each in stored:
            message = now.get((each.channel, each.id))
            if message is not None and message.text != before[each].text:
                changed[each.channel].append(each.id)
        for channel, ids in gone.items():
            await drop_message_vectors(self._graph, channel, ids)
        for channel, ids in changed.items():
            await self._queue.put(channel, ids)

    @property
    def _model(self) -> str:
        return str(self._client.embedding_model)

    async def _embed[K](self, texts: dict[K, str]) -> tuple[dict[K, list[float] | None], BgTasksError | None]:
        """A vector for each text, None for one that is given up; and the error that ended it early, if any.

        What was made before it is to be stored: it is paid for, and the next pass has less to do.
        """
        made: dict[K, list[float] | None] = {}
        if not texts:
            return made, None
        try:
            if not self._fits:
                await prepare(self._graph, self._model, await self._client.embed([PROBE]))
                self._fits = True
            if await self._together(texts, made) is not None:
                await self._halved(texts, made)
        except BgTasksError as error:
            return made, error
        return made, None

    async def _together[K](
        self, texts: dict[K, str], made: dict[K, list[float] | None]
    ) -> BgTasksError | None:
        """Add the vectors of `texts` to `made`; or what the model failed with, if that may be due to them.

        It may be if the model answers something plain right afterwards: an endpoint that is away, or that the
        breaker keeps calls from, does not. Nor do failures at one text after the other open the breaker: one
        call has fewer attempts than that takes, and then comes an answer.
        """
        try:
            vectors = await self._client.embed(list(texts.values()))
        except (BadAnswer, ResourceUnavailable) as error:
            if isinstance(error, ResourceUnavailable) and error.resource != "openrouter":
                raise
            await self._client.embed([PROBE])  # if that fails too, it is not due to the texts
            return error
        made.update(zip(texts, vectors, strict=True))
        return None

    async def _halved[K](self, texts: dict[K, str], made: dict[K, list[float] | None]) -> None:
        """As `_together`, of texts that the model failed at: one that it fails at alone as well is given up.

        A single one is tried once more, too: the endpoint may just have come back.
        """
        keys = list(texts)
        middle = len(keys) // 2
        for part in filter(None, (keys[:middle], keys[middle:])):
            half = {key: texts[key] for key in part}
            error = await self._together(half, made)
            if error is None:
                continue
            if len(half) > 1:
                await self._halved(half, made)
                continue
            if isinstance(error, Declined):
                raise error  # too many calls, say: that is no fault of a text
            log.warning("no vector can be made of %s: %s", _called(part[0]), error)
            made[part[0]] = None

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[bool]:
        """Whether entities are this worker's while the block lasts."""
        key, token = f"{self._queue.key}:entities", os.urandom(16).hex()
        renewing: asyncio.Task[None] | None = None
        try:
            ours = bool(await reach(partial(self._redis.set, key, token, nx=True, px=round(TURN * 1000))))
            if ours:
                renewing = asyncio.create_task(self._renewed(key, token), name="bgtasks embedding turn")
            yield ours
        finally:
            if renewing is not None:
                renewing.cancel()
            try:
                # It may be ours even if no answer came. If the server may not write, it expires.
                with suppress(BgTasksError, RedisError):
                    await reach(partial(self._end_turn, keys=[key], args=[token]))
            finally:
                if renewing is not None:
                    await asyncio.wait([renewing])

    async def _renewed(self, key: str, token: str) -> None:
        """Make the turn last, since the model may take minutes over one batch."""
        while True:
            await asyncio.sleep(TURN / 3)
            with suppress(BgTasksError, RedisError):
                await reach(partial(self._renew_turn, keys=[key], args=[token, round(TURN * 1000)]))


def _called(key: object) -> str:
    return f"message {key.id} of {key.channel}" if isinstance(key, Waiting) else f"entity {key}"
