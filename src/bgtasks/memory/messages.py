"""The message cache: a stream per channel in arrival order, each message in it once.

Arrival order is the order of cursors, so a message that is added late lies ahead of every reader. An edit, a
deletion (its tombstone has no text) and a message put there again are new entries at the end, and the old
entry goes: whoever had not come to it finds the message as it is by now, and whoever had is told. Keys, under
the namespace:

```
chan:<channel>:log      STREAM  mid author role ts text origin [op first]   cursor = entry id
chan:<channel>:mid      HASH    message id -> entry id, or `del`            never the same message twice
chan:<channel>:readers  HASH    reader -> cursor                            for trimming only
active                  ZSET    channel -> last activity, ms                who spoke last
alarms                  HASH    channel -> messages removed unread          for operators
```

The ids of messages stay when their entries are trimmed, some hundred bytes each, until the channel is
forgotten. Redis gives the memory of a removed entry back with the whole node of the stream, some 4 kB, that
it lies in.
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from bgtasks.connect import encodable, reach, refuse_cluster, text
from bgtasks.errors import ConfigurationError, InvalidMessage
from bgtasks.memory.cursors import cursor_key
from bgtasks.memory.dead import HOLDER
from bgtasks.memory.embedding_queue import EmbeddingQueue, Losses
from bgtasks.memory.message import Message, Op, Origin, stored
from bgtasks.memory.message_scripts import ANEW, GET, INGEST, REPORT, TRIM
from bgtasks.settings import default_namespace

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["BATCH", "CAP", "Message", "MessageCache", "Op", "Origin", "Trimmed"]

BATCH = 200
"""Messages per script call: some milliseconds of the server's time."""

CAP = 100_000
"""Messages of a channel that are kept at most, unless told otherwise."""

_WEIGHT = 4_000_000  # characters per script call, unless one message has more
_AT_ONCE = 50  # messages asked for by id in one call
_GOING = 1000  # messages removed in one call


@dataclass(frozen=True, slots=True)
class Trimmed:
    """What `trim` removed: entries in all, and how many of them some reader, or any at all, had not read."""

    removed: int
    lost: int


class MessageCache:
    """The messages of all channels in one Redis.

    Args:
        redis: An asyncio client, decoding responses or not.
        namespace: What every key begins with; `BGTASKS_NAMESPACE`, or `bgtasks`, if not given.
        cap: Messages a channel is trimmed to once it has a tenth more, read or not.
        embedding_queue: Where messages of people and agents wait for their vectors, in the same Redis and
            namespace; put there in the step that takes them in or edits them.

    Raises:
        UnsuitableServer: The client is one of a Redis Cluster.
    """

    def __init__(
        self,
        redis: Redis,
        namespace: str | None = None,
        *,
        cap: int = CAP,
        embedding_queue: EmbeddingQueue | None = None,
    ) -> None:
        refuse_cluster(redis)
        if cap < 1:
            raise ConfigurationError(f"a channel cannot be capped at {cap} messages: 1 is the least")
        self._redis: Any = redis  # redis-py types its answers for both faces at once
        self.namespace = namespace or default_namespace()
        self._cap = cap
        self._queue = embedding_queue
        self._losses = Losses()
        scripts = (INGEST, ANEW, GET, REPORT, TRIM)
        self._ingest, self._anew, self._get, self._report, self._trim = map(redis.register_script, scripts)

    # -- writing ---------------------------------------------------------------------------------

    async def ingest(self, channel: str, messages: Sequence[Message]) -> int:
        """Append those of `messages` whose id the channel never held; how many that were.

        Safe to repeat, as a whole or in part, and from several processes at once. Messages of another
        channel than `channel` are refused. One that was deleted or trimmed is not taken again.

        Raises:
            InvalidMessage: A message belongs to another channel, or is a tombstone. Nothing is written then.
            ResourceUnavailable: Redis does not answer; whole batches may have been taken.
        """
        for message in messages:
            if message.channel != channel:
                raise InvalidMessage(f"message {message.id} belongs to {message.channel}, not to {channel}")
            if message.op == "del":
                raise InvalidMessage(f"message {message.id} is the tombstone of one")
        added = 0
        for batch in _batches(messages):
            fields = [encodable(channel)]
            for each in batch:
                fields += [encodable(each.id), encodable(each.author), encodable(each.role), str(each.ms)]
                fields += [encodable(each.text), each.origin]
            added += await self._write(channel, self._ingest, fields)
        return added

    async def edit(self, channel: str, id: str, text: str) -> bool:
        """Give a message another text; whether there is such a message.

        Author, time and origin stay. Not for a message that was deleted, nor for one that was trimmed: of
        that one only the id is known.

        Raises:
            ResourceUnavailable: Redis does not answer; safe to repeat.
        """
        return bool(await self._write(channel, self._anew, [channel, id, "edit", text]))

    async def delete(self, channel: str, id: str) -> bool:
        """Delete a message: whether there ever was such a message, which is gone then.

        It is not taken in again. One that was trimmed gets a tombstone too, by the author `?`, so that what
        was made of it can be removed.

        Raises:
            ResourceUnavailable: Redis does not answer; safe to repeat.
        """
        return bool(await self._write(channel, self._anew, [channel, id, "del", ""]))

    async def again(self, channel: str, id: str) -> bool:
        """Put a message at the end once more, for readers that failed at it; whether it is still there.

        Raises:
            ResourceUnavailable: Redis does not answer; it may be there again.
        """
        known = await reach(lambda: self._redis.hget(self._key("chan", channel, "mid"), encodable(id)))
        if known is None:
            return False
        return bool(await self._write(channel, self._anew, [channel, id, "again", "", text(known)]))

    async def forget(self, channel: str) -> None:
        """Delete a channel: its messages, their ids, and how far its readers have come in it."""
        await reach(partial(self._forget, channel))

    # -- reading ---------------------------------------------------------------------------------

    async def since(self, channel: str, cursor: str | None, count: int = 500) -> list[Message]:
        """Up to `count` entries of a channel after `cursor`, in arrival order; None is the beginning.

        Tombstones are among them. What was trimmed is passed over: see `trim`.
        """
        return await self._entries(channel, cursor, "+", count)

    async def between(self, channel: str, after: str | None, upto: str, limit: int = 1000) -> list[Message]:
        """As `since`, up to and including the entry `upto`.

        Asked twice it may answer fewer: what was edited or deleted since lies after `upto` now.
        """
        return await self._entries(channel, after, upto, limit)

    async def before(self, channel: str, cursor: str | None, count: int) -> list[Message]:
        """The last `count` messages at or before `cursor`, in arrival order, without tombstones.

        None is the beginning: there is nothing before it.
        """
        return [] if cursor is None else await self._last(channel, cursor, count)

    async def recent(self, channel: str, count: int = 50) -> list[Message]:
        """The last `count` messages of a channel to arrive, by when they were said, without tombstones."""
        return sorted(await self._last(channel, "+", count), key=lambda message: message.ms)

    async def get(self, channel: str, ids: Sequence[str]) -> list[Message]:
        """The messages with these ids, in that order; those that were deleted or trimmed are left out."""
        found: list[Message] = []
        keys = [self._log(channel), self._key("chan", channel, "mid")]
        for start in range(0, len(ids), _AT_ONCE):
            names = [encodable(each) for each in ids[start : start + _AT_ONCE]]
            for entry, flat in await reach(partial(self._get, keys=keys, args=names)):
                found.append(stored(channel, entry, dict(zip(flat[::2], flat[1::2], strict=True))))
        return found

    async def count(self, channel: str) -> int:
        """How many entries the channel holds, tombstones among them."""
        return int(await reach(lambda: self._redis.xlen(self._log(channel))))

    # -- channels --------------------------------------------------------------------------------

    async def get_active_channels(self, limit: int = 100, since: datetime | None = None) -> list[str]:
        """Channels by their last activity, the latest first: a message's time, or that of an edit.

        A message that says it is of the future counts as of when it came.

        Args:
            limit: How many at most.
            since: Leave out those without any activity since; aware.

        Raises:
            InvalidMessage: `since` says no time zone.
        """
        if since is not None and since.utcoffset() is None:
            raise InvalidMessage(f"since {since.isoformat()} says no time zone: add one, such as +00:00")
        least = "-inf" if since is None else round(since.timestamp() * 1000)
        call = partial(self._redis.zrevrangebyscore, self._key("active"), "+inf", least, start=0, num=limit)
        return [text(each) for each in await reach(call)] if limit > 0 else []

    async def newest(self, channels: Sequence[str]) -> dict[str, str]:
        """The cursor of the last entry of each channel, in one call; a channel without any is left out."""
        found: dict[str, str] = {}
        for start in range(0, len(channels), _AT_ONCE):
            some = channels[start : start + _AT_ONCE]
            for channel, entries in zip(some, await reach(partial(self._tails, some)), strict=True):
                if entries:
                    found[channel] = text(entries[0][0])
        return found

    async def channels(self) -> AsyncIterator[str]:
        """Every channel there is, in no order, found by a scan of the server's keys.

        A channel that comes or goes meanwhile may be missing.
        """
        async for channel in self._scan("log"):
            yield channel

    # -- readers and trimming --------------------------------------------------------------------

    async def report(self, channel: str, reader: str, cursor: str) -> None:
        """Note how far `reader` has come, for `trim`; only ever forward.

        The reader keeps its cursor itself: this is a copy, and may lag behind.

        Raises:
            InvalidMessage: It is no cursor.
        """
        ms, sequence = cursor_key(cursor)
        keys, args = [self._log(channel), self._readers(channel)], [encodable(reader), f"{ms}-{sequence}"]
        await reach(partial(self._report, keys=keys, args=args))

    async def readers(self, channel: str) -> dict[str, str]:
        """How far each reader of a channel has come, as it last reported."""
        found = await reach(lambda: self._redis.hgetall(self._readers(channel)))
        return {text(reader): text(cursor) for reader, cursor in found.items()}

    async def forget_reader(self, reader: str) -> None:
        """Wait for `reader` in no channel any more; it is back with its next report."""
        async for channel in self._scan("readers"):
            await reach(partial(self._redis.hdel, self._readers(channel), encodable(reader)))

    async def trim(self, channel: str, *, keep: int = 1000) -> Trimmed:
        """Remove what every reader has read, but for the last `keep`; nothing, if none has reported.

        Beyond the cap the oldest go at any rate. A reader that had not come to them goes on after them
        without an error; a warning is logged, of a channel at most once a minute, and `alarms` counts
        them. Each step of this is short, and cancelled in between it loses nothing.

        Raises:
            ResourceUnavailable: Redis does not answer; some may have been removed.
        """
        keys = [self._log(channel), self._readers(channel), self._key("alarms")]
        args: list[Any] = [encodable(channel), max(0, min(keep, self._cap)), self._cap, _GOING]
        removed, lost, more = 0, 0, True
        while more:
            gone, unread, more, slowest = await reach(partial(self._trim, keys=keys, args=args))
            removed, lost = removed + gone, lost + unread
        if unsaid := self._losses.to_say(channel, lost):
            reader = text(slowest)
            logging.getLogger("bgtasks").warning(
                "channel %s held more than %d messages: the %d oldest were removed before %s had read them; "
                "%s, or raise BGTASKS_CHANNEL_MESSAGES",
                channel,
                self._cap,
                unsaid,
                reader or "anything",
                _remedy(reader),
            )
        return Trimmed(removed, lost)

    async def alarms(self) -> dict[str, int]:
        """How many messages were removed before all had read them, by channel."""
        found = await reach(lambda: self._redis.hgetall(self._key("alarms")))
        return {text(channel): int(lost) for channel, lost in found.items()}

    # -- how -------------------------------------------------------------------------------------

    async def _write(self, channel: str, script: Any, args: Sequence[str]) -> int:
        """What `script` did, having kept the log and the embedding queue within their bounds."""
        keys = [self._log(channel), self._key("chan", channel, "mid"), self._key("active")]
        if self._queue is not None:
            keys.append(self._queue.key)
        cleaned = [encodable(each) for each in args]
        done, length, waiting = await reach(partial(script, keys=keys, args=cleaned))
        if length > self._cap * 1.1:
            await self.trim(channel, keep=self._cap)
        if self._queue is not None:
            await self._queue.bound(waiting)
        return int(done)

    async def _entries(self, channel: str, after: str | None, upto: str, count: int) -> list[Message]:
        start = "-" if after is None else f"({after}"
        log = self._log(channel)
        entries = await reach(lambda: self._redis.xrange(log, min=start, max=upto, count=count))
        return [stored(channel, entry, fields) for entry, fields in entries]

    async def _last(self, channel: str, upto: str, count: int) -> list[Message]:
        """The last `count` messages at or before `upto`, in arrival order, without tombstones."""
        found: list[Message] = []
        while len(found) < count:
            call = partial(self._redis.xrevrange, self._log(channel), max=upto, count=count)
            page = [stored(channel, entry, fields) for entry, fields in await reach(call)]
            found += [message for message in page if message.op != "del"]
            if len(page) < count:
                break
            upto = f"({page[-1].cursor}"
        return found[: max(0, count)][::-1]

    async def _tails(self, channels: Sequence[str]) -> list[Any]:
        async with self._redis.pipeline(transaction=False) as together:
            for channel in channels:
                together.xrevrange(self._log(channel), count=1)
            return list(await together.execute())

    async def _forget(self, channel: str) -> None:
        async with self._redis.pipeline(transaction=True) as together:
            names = ("log", "mid", "readers", "plan", "lease")  # the last two are of whoever reads it all
            together.unlink(*(self._key("chan", channel, name) for name in names))
            together.zrem(self._key("active"), encodable(channel))
            together.hdel(self._key("alarms"), encodable(channel))
            await together.execute()

    async def _scan(self, kind: str) -> AsyncIterator[str]:
        """The channels that have a key of this kind, each once."""
        start, end = self._key("chan", ""), f":{kind}"
        pattern = f"{re.sub(r'([*?[\]\\])', r'\\\1', start)}*{end}"
        cursor, seen = 0, set[str]()
        while True:
            call = partial(self._redis.scan, cursor, match=pattern, count=1000)
            cursor, keys = await reach(call)
            for channel in dict.fromkeys(text(key)[len(start) : -len(end)] for key in keys):
                if channel not in seen:
                    seen.add(channel)
                    yield channel
            if int(cursor) == 0:
                return

    def _log(self, channel: str) -> str:
        return self._key("chan", channel, "log")

    def _readers(self, channel: str) -> str:
        return self._key("chan", channel, "readers")

    def _key(self, *parts: str) -> str:
        return ":".join((self.namespace, *(encodable(part) for part in parts)))


def _remedy(reader: str) -> str:
    if reader == HOLDER:
        return "see bgtasks dead list, and retry or drop them"
    run = "let the task that reads them run"
    return f'{run}, end the wait for it with MessageCache.forget_reader("{reader}")' if reader else run


def _batches(messages: Sequence[Message]) -> Iterator[list[Message]]:
    """Runs of messages, each a bounded amount of work."""
    batch: list[Message] = []
    weight = 0
    for message in messages:
        if batch and (len(batch) == BATCH or weight + len(message.text) > _WEIGHT):
            yield batch
            batch, weight = [], 0
        batch.append(message)
        weight += len(message.text)
    if batch:
        yield batch
