"""Dead letters: messages that a reader could not deal with and passed over, with the reason. Keys:

```
<namespace>:dead            HASH   key -> what, as JSON
<namespace>:dead:order      ZSET   key -> when, ms
<namespace>:dead:channels   HASH   channel -> how many of its messages are here
```

The message itself stays in its channel; here is only where it lies. So that it does stay, a channel with dead
letters has one more reader, `dead letters`, which `MessageCache.trim` waits for as for any other: it is just
before the earliest of them, and goes with the last.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from bgtasks.connect import encodable, reach, refuse_cluster, text
from bgtasks.memory.cursors import cursor_key
from bgtasks.settings import default_namespace

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["HOLDER", "Dead", "DeadLetters"]

HOLDER = "dead letters"
"""The reader that a channel with dead letters is not trimmed beyond."""

BATCH = 1000
"""Records that one call reads."""

LONGEST = 500
"""Characters of a reason that are kept."""

# KEYS: what, order, channels, the channel's log and its readers. ARGV: key, the record, when, channel, the
# holder, and just before the message in two numbers, or nothing. A channel that is not there has no readers.
_ADD = """
local known = redis.call('ZSCORE', KEYS[2], ARGV[1])
if not known then redis.call('HINCRBY', KEYS[3], ARGV[4], 1) end
if not known or tonumber(ARGV[3]) > tonumber(known) then
  redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1])
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
if ARGV[6] and redis.call('EXISTS', KEYS[4]) == 1 then
  local held = redis.call('HGET', KEYS[5], ARGV[5])
  local ms, sequence = string.match(held or '', '^(%d+)-(%d+)$')
  local earlier = ms and tonumber(ARGV[6]) < tonumber(ms)
  if ms and tonumber(ARGV[6]) == tonumber(ms) then earlier = tonumber(ARGV[7]) < tonumber(sequence) end
  if not ms or earlier then redis.call('HSET', KEYS[5], ARGV[5], ARGV[6] .. '-' .. ARGV[7]) end
end
return redis.call('HGET', KEYS[1], ARGV[1])
"""

# KEYS: what, order, channels. ARGV: key, when it must have died or nothing, the holder, and what the keys of
# a channel begin with: which channel it is, is known to the record only.
_DROP = """
local record = redis.call('HGET', KEYS[1], ARGV[1])
if not record then return 0 end
if ARGV[2] ~= '' and tonumber(redis.call('ZSCORE', KEYS[2], ARGV[1])) ~= tonumber(ARGV[2]) then return 0 end
local channel = cjson.decode(record).channel
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
if redis.call('HINCRBY', KEYS[3], channel, -1) <= 0 then
  redis.call('HDEL', KEYS[3], channel)
  redis.call('HDEL', ARGV[4] .. channel .. ':readers', ARGV[3])
end
return 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dead:
    """A message that a reader passed over.

    Attributes:
        key: By which it is taken out, retried or dropped: the same for the same reader, channel and id.
        channel: Where the message lies.
        message_id: Which one it is.
        reader: Who passed it over.
        why: For what reason; never any of its text.
        at: When.
    """

    key: str
    channel: str
    message_id: str
    reader: str
    why: str
    at: datetime


class DeadLetters:
    """The dead letters of one Redis.

    Args:
        redis: An asyncio client, decoding responses or not.
        namespace: What every key begins with; `BGTASKS_NAMESPACE`, or `bgtasks`, if not given.

    Raises:
        UnsuitableServer: The client is one of a Redis Cluster.

    Not promised: a limit. They are kept until somebody takes them out; each is some hundred bytes. And that
    a message stays for ever: beyond a channel's cap it goes, with a warning that names `dead letters`.
    """

    def __init__(self, redis: Redis, namespace: str | None = None) -> None:
        refuse_cluster(redis)
        self._redis: Any = redis  # redis-py types its answers for both faces at once
        space = namespace or default_namespace()
        self._keys = [f"{space}:dead{part}" for part in ("", ":order", ":channels")]
        self._channels = f"{space}:chan:"
        self._add = redis.register_script(_ADD)
        self._drop = redis.register_script(_DROP)

    async def add(
        self,
        channel: str,
        message_id: str,
        reader: str,
        why: str,
        at: datetime,
        *,
        cursor: str | None = None,
    ) -> Dead:
        """Write down that `reader` passes a message over; as it is kept.

        The same message of the same reader is there once, with the latest reason and instant. May be sent
        again.

        Args:
            channel: The message's.
            message_id: Its id there.
            reader: Who passes it over.
            why: The reason, without any of the message's text; cut to one line of 500 characters.
            at: When; aware.
            cursor: Where it lies: it is not trimmed as long as the channel has dead letters, unless beyond
                the cap. None: it goes once all have read it.

        Raises:
            InvalidMessage: `cursor` is none.
            ResourceUnavailable: Redis does not answer; it may have been written down.
        """
        dead = Dead(
            key=_key_of(reader, channel, message_id),
            channel=encodable(channel),
            message_id=encodable(message_id),
            reader=encodable(reader),
            why=" ".join(encodable(why).split())[:LONGEST],
            at=at.astimezone(UTC),
        )
        record = {"channel": dead.channel, "id": dead.message_id, "reader": dead.reader, "why": dead.why}
        when = _ms(dead.at)
        arguments: Sequence[str | int] = [
            *(dead.key, json.dumps({**record, "at": when}), when, dead.channel, HOLDER),
            *(() if cursor is None else _before(cursor)),
        ]
        keys = [*self._keys, *(f"{self._channels}{dead.channel}:{part}" for part in ("log", "readers"))]
        return _read(dead.key, text(await reach(partial(self._add, keys=keys, args=arguments))))

    async def list(self, limit: int = 100) -> Sequence[Dead]:
        """Up to `limit` of them, the latest first.

        Raises:
            ResourceUnavailable: Redis does not answer.
        """
        newest = partial(self._redis.zrevrange, self._keys[1], 0, limit - 1)
        keys = [text(key) for key in await reach(newest)] if limit > 0 else []
        return await self._records(keys)

    async def count(self) -> int:
        """How many there are.

        Raises:
            ResourceUnavailable: Redis does not answer.
        """
        return int(await reach(partial(self._redis.hlen, self._keys[0])))

    async def get(self, key: str) -> Dead | None:
        """The one under a key; None if there is none.

        Raises:
            ResourceUnavailable: Redis does not answer.
        """
        found = await self._records([key])
        return found[0] if found else None

    async def drop(self, key: str, *, at: datetime | None = None) -> bool:
        """Take one out; whether it was there.

        Args:
            key: Its key.
            at: When it died: one that has died again since stays. None: whenever that was.

        Raises:
            ResourceUnavailable: Redis does not answer; it may have been taken out.
        """
        when = "" if at is None else _ms(at)
        arguments = [encodable(key), when, HOLDER, self._channels]
        return bool(await reach(partial(self._drop, keys=self._keys, args=arguments)))

    async def settle(self, channel: str, message_id: str, reader: str) -> bool:
        """Take out the one of a message that `reader` dealt with after all; whether there was one.

        Raises:
            ResourceUnavailable: Redis does not answer; it may have been taken out.
        """
        return await self.drop(_key_of(reader, channel, message_id))

    async def take(self, key: str) -> Dead | None:
        """Take one out and give it; None if there is none.

        Two that take the same at the same moment may both be given it: rather that than nobody, when an
        answer is lost.

        Raises:
            ResourceUnavailable: Redis does not answer; it may have been taken out.
        """
        found = await self.get(key)
        if found is not None:
            await self.drop(key)
        return found

    async def _records(self, keys: Sequence[str]) -> Sequence[Dead]:
        records: list[Dead] = []
        for start in range(0, len(keys), BATCH):
            some = [encodable(key) for key in keys[start : start + BATCH]]
            found = await reach(partial(self._redis.hmget, self._keys[0], some))
            rows = zip(some, found, strict=True)
            records += [_read(key, text(record)) for key, record in rows if record is not None]
        return records


def _key_of(*parts: str) -> str:
    joined = json.dumps([encodable(part) for part in parts])
    return sha256(joined.encode()).hexdigest()[:16]


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def _before(cursor: str) -> tuple[int, int]:
    """The last cursor there can be before `cursor`."""
    ms, sequence = cursor_key(cursor)
    if sequence:
        return ms, sequence - 1
    return (ms - 1, 2**64 - 1) if ms else (0, 0)


def _read(key: str, record: str) -> Dead:
    held = json.loads(record)
    return Dead(
        key=key,
        channel=held["channel"],
        message_id=held["id"],
        reader=held["reader"],
        why=held["why"],
        at=datetime.fromtimestamp(held["at"] / 1000, UTC),
    )
