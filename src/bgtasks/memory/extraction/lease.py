"""Who reads a channel at the moment, and how its messages are cut into batches, both in Redis.

The lease saves calls to a model: two who read the same messages would both pay. That each message is applied
once does not hang on it, but on the cursor in the graph.

Where batches end is written down before a model is asked. Whoever goes on after a crash asks the same
question again, for which the answer may be there already, even if more messages have come since. Keys, under
the namespace:

```
chan:<channel>:lease  STRING  whose it is; expires
chan:<channel>:plan   STRING  JSON: where the batches to come begin and end, and how the next one stands
```
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

from bgtasks.connect import encodable, reach, text
from bgtasks.errors import BgTasksError
from bgtasks.memory.cursors import cursor_key

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["BLAMES", "TTL", "ChannelLease", "Plan", "channel_lease"]

TTL = 30.0
"""Seconds after which the lease of a process that died is free."""

BLAMES = 3
"""How often a model does not answer a batch, though it answers others, before it is halved."""

_PAST = 16
"""Batches that a plan remembers after they were applied."""

_FORGOTTEN = 30 * 86_400
"""Seconds after which a plan is forgotten that nobody goes on with."""

_RENEW = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
_RELEASE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""
_WRITE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[3])
return 1
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """How the next messages of a channel are cut.

    Attributes:
        begins: The cursor after which the next batch begins; None at the beginning of the channel.
        ends: Stream ids of the last entries of batches to come, the next batch's last.
        failures: How often the next batch got no usable answer.
        known: The names that are shown with it; None until they are looked up.
        past: The cursors after which the last batches before it began, the earliest first: a graph that
            lost its last second stands at one of them again.
        blamed: How often the model did not answer the next batch, though it answered others.
    """

    begins: str | None = None
    ends: tuple[str, ...] = ()
    failures: int = 0
    known: tuple[tuple[str, str], ...] | None = None
    past: tuple[str | None, ...] = ()
    blamed: int = 0

    def at(self, position: str | None) -> Plan:
        """What is left of the plan for a reader that stands at `position`; empty if nothing is.

        What is left of a batch that was blamed is under suspicion as it was: once more, and it is halved.
        """
        if position == self.begins:
            return self
        cuts = (*self.past, self.begins, *reversed(self.ends))
        if position not in cuts:
            return Plan(position)
        here = cuts.index(position)
        ends = tuple(end for end in cuts[:here:-1] if end is not None)
        blamed = min(self.blamed, BLAMES - 1) if ends and here > len(self.past) else 0
        return Plan(position, ends, past=cuts[max(0, here - _PAST) : here], blamed=blamed)


class ChannelLease:
    """The right of this process to read one channel. Made by `channel_lease`."""

    def __init__(self, redis: Redis, namespace: str, channel: str, token: str, ttl: float) -> None:
        self._redis: Any = redis
        self._token = token
        self._ttl = round(ttl * 1000)
        self._key = f"{namespace}:chan:{encodable(channel)}:lease"
        self._plan_key = f"{namespace}:chan:{encodable(channel)}:plan"
        self._renew = redis.register_script(_RENEW)
        self._release = redis.register_script(_RELEASE)
        self._write = redis.register_script(_WRITE)

    async def plan(self) -> Plan:
        """What was planned, by whoever had the lease before; empty if nothing was."""
        held = await reach(lambda: self._redis.get(self._plan_key))
        if held is None:
            return Plan()
        try:
            return _plan(json.loads(text(held)))
        except (ValueError, KeyError, TypeError):
            return Plan()  # of another version, or not ours: cut anew

    async def write(self, plan: Plan) -> bool:
        """Note what is planned; whether the lease is still ours, without which nothing is noted."""
        args: list[str | int] = [self._token, json.dumps(asdict(plan)), _FORGOTTEN]
        return bool(await reach(partial(self._write, keys=[self._key, self._plan_key], args=args)))

    async def take(self) -> bool:
        """Take the lease if it is nobody's, or ours from an attempt whose answer was lost."""
        if await reach(lambda: self._redis.set(self._key, self._token, nx=True, px=self._ttl)):
            return True
        return await self.renew()

    async def renew(self) -> bool:
        """Keep the lease; whether it is still ours."""
        return bool(await reach(partial(self._renew, keys=[self._key], args=[self._token, self._ttl])))

    async def release(self) -> None:
        """Give the lease up."""
        await reach(partial(self._release, keys=[self._key], args=[self._token]))


def _plan(read: dict[str, Any]) -> Plan:
    """A plan as it was written.

    Raises:
        ValueError, KeyError, TypeError: It is none.
    """
    known, past = read["known"], tuple(read.get("past", ()))
    for cut in (read["begins"], *read["ends"], *past):
        cursor_key(cut)
    return Plan(
        read["begins"],
        tuple(read["ends"]),
        int(read["failures"]),
        None if known is None else tuple((name, kind) for name, kind in known),
        past,
        int(read.get("blamed", 0)),
    )


def _new_token() -> str:
    return os.urandom(16).hex()


@asynccontextmanager
async def channel_lease(
    redis: Redis,
    namespace: str,
    channel: str,
    *,
    ttl: float = TTL,
    new_token: Callable[[], str] = _new_token,
) -> AsyncIterator[ChannelLease | None]:
    """The lease of `channel` while the block lasts; None if it is somebody else's.

    It is kept by a task of its own. A process that is frozen may lose it without noticing: what is written to
    the graph is guarded there.

    Raises:
        ResourceUnavailable: Redis does not answer.
    """
    lease = ChannelLease(redis, namespace, channel, new_token(), ttl)
    if not await lease.take():
        yield None
        return
    keeper = asyncio.create_task(_keep(lease, ttl / 3), name=f"bgtasks: keeps the lease of {channel}")
    try:
        yield lease
    finally:
        keeper.cancel()
        await asyncio.wait({keeper})
        # Should Redis not answer now, the lease expires.
        with suppress(BgTasksError, RedisError):
            await asyncio.shield(asyncio.create_task(lease.release(), name="bgtasks: releases a channel"))


async def _keep(lease: ChannelLease, every: float) -> None:
    while True:
        await asyncio.sleep(every)
        # Whatever the server refuses with: as long as the lease has not run out, the next try may keep it.
        # And if it has, whoever holds it may have taken it once more.
        with suppress(BgTasksError, RedisError):
            await lease.renew()
