"""The message cache: a stream per channel in arrival order, each message in it once.

Arrival order is the order of cursors, so a message that is added late lies ahead of every reader. Keys,
under the namespace:

```
chan:<channel>:log   STREAM  mid author role ts text origin       cursor = entry id
chan:<channel>:mid   HASH    message id -> entry id               makes ingest idempotent
active               ZSET    channel -> latest message, ms        who spoke last
```
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from bgtasks.connect import encodable, reach, refuse_cluster, text
from bgtasks.errors import InvalidMessage
from bgtasks.settings import default_namespace

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["BATCH", "Message", "MessageCache"]

BATCH = 200
"""Messages per script call: some milliseconds of the server's time."""

_LATEST = 253_402_214_400_000  # the last day of the year 9999, in ms: later ones cannot be read back

type Origin = Literal["human", "agent", "recalled", "tool"]

# The entry is written before its id is noted: a script that is refused half-way (out of memory) then
# leaves a message that can be taken again, not an id without one.
_INGEST = """
local added = 0
local newest = -1
for i = 2, #ARGV, 6 do
  local mid, ts = ARGV[i], tonumber(ARGV[i + 3])
  if redis.call('HEXISTS', KEYS[2], mid) == 0 then
    local entry = redis.call('XADD', KEYS[1], '*', 'mid', mid, 'author', ARGV[i + 1],
      'role', ARGV[i + 2], 'ts', ARGV[i + 3], 'text', ARGV[i + 4], 'origin', ARGV[i + 5])
    redis.call('HSET', KEYS[2], mid, entry)
    added = added + 1
  end
  if ts > newest then newest = ts end
end
local known = redis.call('ZSCORE', KEYS[3], ARGV[1])
if newest >= 0 and (not known or newest > tonumber(known)) then
  redis.call('ZADD', KEYS[3], string.format('%.0f', newest), ARGV[1])
end
return added
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One chat message.

    Attributes:
        channel: Where it was said.
        id: Unique within the channel; a second message with the same id is not taken.
        author: Who said it, as the channel shows the name.
        ts: When it was said; aware.
        text: What was said; may be empty.
        role: `user` or `assistant`, as chat models call it.
        origin: `human`, `agent`, `recalled` (quoted from memory) or `tool`.
        cursor: The entry id in the channel's stream, once stored.

    Raises:
        InvalidMessage: A part is empty, or `ts` is naive or not between the years 1970 and 9999.
    """

    channel: str
    id: str
    author: str
    ts: datetime
    text: str
    role: str = "user"
    origin: Origin = "human"
    cursor: str | None = None

    def __post_init__(self) -> None:
        for label, value in (("channel", self.channel), ("id", self.id), ("author", self.author)):
            if not value.strip():
                raise InvalidMessage(f"{label} is empty")
        if self.ts.utcoffset() is None:
            raise InvalidMessage(f"ts {self.ts.isoformat()} says no time zone: add one, such as +00:00")
        if not 0 <= self.ms < _LATEST:
            raise InvalidMessage(f"ts {self.ts.isoformat()} is not between the years 1970 and 9999")

    @property
    def ms(self) -> int:
        """When it was said, in milliseconds since 1970."""
        return round(self.ts.timestamp() * 1000)


class MessageCache:
    """The messages of all channels in one Redis.

    Args:
        redis: An asyncio client, decoding responses or not.
        namespace: What every key begins with; `BGTASKS_NAMESPACE`, or `bgtasks`, if not given.

    Raises:
        UnsuitableServer: The client is one of a Redis Cluster.
    """

    def __init__(self, redis: Redis, namespace: str | None = None) -> None:
        refuse_cluster(redis)
        self._redis: Any = redis  # redis-py types its answers for both faces at once
        self._namespace = namespace or default_namespace()
        self._ingest = redis.register_script(_INGEST)

    async def ingest(self, channel: str, messages: Sequence[Message]) -> int:
        """Append those of `messages` whose id the channel does not hold yet; how many that were.

        Safe to repeat, as a whole or in part, and from several processes at once. Messages of another
        channel than `channel` are refused.

        Raises:
            InvalidMessage: A message belongs to another channel. Nothing is written then.
            ResourceUnavailable: Redis does not answer; whole batches may have been taken.
        """
        for message in messages:
            if message.channel != channel:
                raise InvalidMessage(f"message {message.id} belongs to {message.channel}, not to {channel}")
        added = 0
        for start in range(0, len(messages), BATCH):
            fields = [encodable(channel)]
            for each in messages[start : start + BATCH]:
                fields += [encodable(each.id), encodable(each.author), encodable(each.role), str(each.ms)]
                fields += [encodable(each.text), each.origin]
            keys = [self._log(channel), self._key("chan", channel, "mid"), self._key("active")]
            added += int(await reach(partial(self._ingest, keys=keys, args=fields)))
        return added

    async def since(self, channel: str, cursor: str | None, count: int = 500) -> list[Message]:
        """Up to `count` messages of a channel after `cursor`, in arrival order; None is the beginning."""
        start = "-" if cursor is None else f"({cursor}"
        entries = await reach(lambda: self._redis.xrange(self._log(channel), min=start, count=count))
        return [_message(channel, entry, fields) for entry, fields in entries]

    async def recent(self, channel: str, count: int = 50) -> list[Message]:
        """The last `count` messages of a channel to arrive, oldest first."""
        entries = await reach(lambda: self._redis.xrevrange(self._log(channel), count=count))
        return [_message(channel, entry, fields) for entry, fields in reversed(entries)]

    async def count(self, channel: str) -> int:
        """How many messages the channel holds."""
        return int(await reach(lambda: self._redis.xlen(self._log(channel))))

    async def get_active_channels(self, limit: int = 100) -> list[str]:
        """Channels by their latest message, the latest first."""
        found = await reach(lambda: self._redis.zrevrange(self._key("active"), 0, limit - 1))
        return [text(each) for each in found]

    def _log(self, channel: str) -> str:
        return self._key("chan", channel, "log")

    def _key(self, *parts: str) -> str:
        return ":".join((self._namespace, *(encodable(part) for part in parts)))


def _message(channel: str, entry: Any, fields: dict[Any, Any]) -> Message:
    held = {text(key): text(value) for key, value in fields.items()}
    return Message(
        channel=channel,
        id=held["mid"],
        author=held["author"],
        role=held["role"],
        ts=datetime.fromtimestamp(int(held["ts"]) / 1000, UTC),
        text=held["text"],
        origin=held["origin"],  # type: ignore[arg-type]  # written by us
        cursor=text(entry),
    )
