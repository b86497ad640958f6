"""Messages whose vectors are to be made: a stream that several workers take from, each message by one.

It holds channels and ids of messages, never their text: a worker reads the text as it is by then. Keys,
under the namespace:

```
embed           STREAM  channel id      with the consumer group `embed`
embed:dropped   STRING  entries dropped since the queue was full
```
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

from bgtasks.connect import encodable, reach, refuse_cluster, text
from bgtasks.errors import ConfigurationError
from bgtasks.settings import default_namespace

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["EmbeddingQueue", "Losses", "Waiting"]

GROUP = "embed"

SELDOM = 60.0
"""Seconds between two warnings of the same loss."""

BATCH = 500
"""Entries per script call."""

_PUT = """
for i = 2, #ARGV do redis.call('XADD', KEYS[1], '*', 'channel', ARGV[1], 'id', ARGV[i]) end
return redis.call('XLEN', KEYS[1])
"""

# Redis 6.2 keeps what was dropped from the stream on its list of what is taken; 7 cleans up by itself.
_CLAIM = """
local claimed = redis.call('XAUTOCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[5],
  'COUNT', ARGV[4], 'JUSTID')
local found = {}
for _, id in ipairs(claimed[2]) do
  local entry = redis.call('XRANGE', KEYS[1], id, id)[1]
  if entry then found[#found + 1] = entry else redis.call('XACK', KEYS[1], ARGV[1], id) end
end
return {claimed[1], found}
"""

_DROP = """
local length = redis.call('XLEN', KEYS[1])
local dropped = math.min(length - tonumber(ARGV[1]), tonumber(ARGV[2]))
if dropped <= 0 then return 0 end
redis.call('XTRIM', KEYS[1], 'MAXLEN', length - dropped)
redis.call('INCRBY', KEYS[2], dropped)
return dropped
"""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message that waits for its vector: its entry in the queue, its channel, and its id there."""

    entry: str
    channel: str
    id: str


class Losses:
    """What was lost, as it is said in the log: of the same thing at most once a minute."""

    def __init__(self) -> None:
        self._said: dict[str, float] = {}
        self._unsaid: dict[str, int] = {}

    def to_say(self, of: str, lost: int) -> int:
        """What is to be said to be lost now: all since it was last said; 0 if nothing, or if not yet."""
        if not lost:
            return 0
        now = asyncio.get_running_loop().time()
        self._unsaid[of] = self._unsaid.get(of, 0) + lost
        if now - self._said.get(of, -SELDOM) < SELDOM:
            return 0
        self._said[of] = now
        return self._unsaid.pop(of)


class EmbeddingQueue:
    """The queue in one Redis.

    An entry that was taken and not done, since its worker died, comes again: making a vector must be safe
    to repeat. The same message may wait more than once.

    Args:
        redis: An asyncio client, decoding responses or not.
        namespace: What every key begins with; `BGTASKS_NAMESPACE`, or `bgtasks`, if not given.
        cap: Entries it is trimmed to once there are a tenth more; the oldest go, with a warning.

    Raises:
        UnsuitableServer: The client is one of a Redis Cluster.
    """

    def __init__(self, redis: Redis, namespace: str | None = None, *, cap: int = 100_000) -> None:
        refuse_cluster(redis)
        if cap < 1:
            raise ConfigurationError(f"the embedding queue cannot be capped at {cap}: 1 is the least")
        self._redis: Any = redis  # redis-py types its answers for both faces at once
        self._cap = cap
        self._losses = Losses()
        self._looked = "0-0"  # a look at what others left passes over some thousand entries at most
        self.key = f"{encodable(namespace or default_namespace())}:embed"
        self._put, self._claim, self._drop = map(redis.register_script, (_PUT, _CLAIM, _DROP))

    async def put(self, channel: str, ids: Sequence[str]) -> None:
        """Add messages to the end.

        Raises:
            ResourceUnavailable: Redis does not answer; some may have been added.
        """
        for start in range(0, len(ids), BATCH):
            args = [encodable(channel), *(encodable(each) for each in ids[start : start + BATCH])]
            await self.bound(await reach(partial(self._put, keys=[self.key], args=args)))

    async def take(self, consumer: str, count: int = 100, idle: float = 60.0) -> list[Waiting]:
        """Up to `count` entries to work on: what another left undone, then new ones. Never waits.

        Where others are at work on very many, some calls may pass before it comes to what is left undone.

        Args:
            consumer: A name that is kept for as long as the queue, such as that of a node.
            count: How many at most.
            idle: Seconds after which what was taken and is not done is taken from its consumer. Longer than
                the work on `count` entries takes, else they are worked on twice.

        Raises:
            ResourceUnavailable: Redis does not answer; what was taken comes again after `idle`.
        """
        args: list[Any] = [GROUP, encodable(consumer), round(idle * 1000), count, self._looked]
        looked, found = await self._grouped(partial(self._claim, keys=[self.key], args=args))
        self._looked = text(looked)
        taken = [
            _waiting(entry, dict(zip(fields[::2], fields[1::2], strict=True))) for entry, fields in found
        ]
        if left := count - len(taken):
            read = partial(self._redis.xreadgroup, GROUP, args[1], {self.key: ">"}, count=left)
            taken += [_waiting(entry, fields) for entry, fields in _read(await self._grouped(read))]
        return taken

    async def done(self, entries: Sequence[Waiting]) -> None:
        """Remove entries that were worked on. Safe to repeat."""
        for start in range(0, len(entries), BATCH):
            await reach(partial(self._remove, [each.entry for each in entries[start : start + BATCH]]))

    async def length(self) -> int:
        """How many entries there are, those that are being worked on included."""
        return int(await reach(lambda: self._redis.xlen(self.key)))

    async def dropped(self) -> int:
        """How many entries were dropped since the queue was full."""
        return int(await reach(lambda: self._redis.get(f"{self.key}:dropped")) or 0)

    async def bound(self, length: int) -> None:
        """Drop the oldest entries down to the cap if `length`, as it was just now, is a tenth above it.

        That is a warning, at most once a minute.
        """
        if length <= self._cap * 1.1:
            return
        total = 0
        keys, args = [self.key, f"{self.key}:dropped"], [self._cap, BATCH]
        while dropped := int(await reach(partial(self._drop, keys=keys, args=args))):
            total += dropped
        if unsaid := self._losses.to_say(self.key, total):
            logging.getLogger("bgtasks").warning(
                "the embedding queue held more than %d messages: the %d oldest get no vector; let the worker "
                "that makes vectors run, on more nodes if one is too slow",
                self._cap,
                unsaid,
            )

    async def _grouped(self, call: Any) -> Any:
        """The answer to `call`, once the consumer group is there."""
        try:
            return await reach(call)
        except ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
        await reach(self._make_group)
        return await reach(call)

    async def _make_group(self) -> None:
        try:
            await self._redis.xgroup_create(self.key, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    async def _remove(self, entries: list[str]) -> None:
        async with self._redis.pipeline(transaction=True) as together:
            together.xack(self.key, GROUP, *entries)
            together.xdel(self.key, *entries)
            await together.execute()


def _waiting(entry: Any, fields: dict[Any, Any]) -> Waiting:
    held = {text(key): text(value) for key, value in fields.items()}
    return Waiting(text(entry), held["channel"], held["id"])


def _read(answer: Any) -> list[Any]:
    """The entries of XREADGROUP's one stream, in either protocol that a client may speak."""
    if not answer:
        return []
    [entries] = answer.values() if isinstance(answer, dict) else [answer[0][1:]]
    return list(entries[0])
