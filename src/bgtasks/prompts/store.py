"""The durable store of scheduled prompts. Keys, under the namespace:

```
prompts:item:<id>   HASH    the prompt
prompts:schedule    ZSET    id -> next due, ms       the active ones
prompts:ended       ZSET    id -> ended, ms          done, cancelled or broken; kept for a while
prompts:due         STREAM  run prompt due user channel agent text
```

A tick reads what is due, computes in Python when each is due next, and hands both instants to one script,
which acts only where the schedule still shows the instant that was read. Whatever crashes, and however
many nodes tick, each (prompt, due) is put on the stream once. What consumes the stream comes later.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from bgtasks.connect import encodable, reach, refuse_cluster, text
from bgtasks.errors import InvalidMessage
from bgtasks.prompts.prompt import Prompt, from_record, instant, ms, next_due, written_as
from bgtasks.settings import default_namespace
from bgtasks.triggers import Cron, Once

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["BATCH", "KEPT", "PromptStore", "Ticked"]

BATCH = 50
"""Prompts that one script call moves at most."""

KEPT = timedelta(days=7)
"""How long ended prompts, and entries on the stream, are kept."""

# ARGV: now, prefix, then (id, due as read, next due or "", why it is broken or "") for each. An empty due
# means that the score itself is no instant: then it is not compared.
_MOVE = """
local schedule, ended, stream, prefix = KEYS[1], KEYS[2], KEYS[3], ARGV[2]
local now, moved = ARGV[1], 0
for i = 3, #ARGV, 4 do
  local id, due, after, broken = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local at = redis.call('ZSCORE', schedule, id)
  if at and (due == '' or tonumber(at) == tonumber(due)) then
    local item = prefix .. id
    local kept = redis.call('TYPE', item).ok == 'hash'
    local status = 'done'
    if broken ~= '' then
      status = 'broken'
    else
      local f = redis.call('HMGET', item, 'user', 'channel', 'agent', 'text')
      redis.call('XADD', stream, '*', 'run', id .. ':' .. due, 'prompt', id, 'due', due,
        'user', f[1] or '', 'channel', f[2] or '', 'agent', f[3] or '', 'text', f[4] or '')
      redis.call('HSET', item, 'last', due)
      moved = moved + 1
    end
    if after ~= '' then
      redis.call('ZADD', schedule, after, id)
    else
      redis.call('ZREM', schedule, id)
      if kept then
        redis.call('HSET', item, 'status', status, 'why', broken)
        redis.call('ZADD', ended, now, id)
      end
    end
  end
end
return moved
"""

# Once: an add whose answer was lost is sent again, and the prompt may have been moved meanwhile.
_ADD = """
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
redis.call('HSET', KEYS[2], unpack(ARGV, 3))
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
return 1
"""

_CANCEL = """
if redis.call('TYPE', KEYS[3]).ok ~= 'hash' then return 0 end
if redis.call('HGET', KEYS[3], 'status') == 'cancelled' then return 1 end
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('HSET', KEYS[3], 'status', 'cancelled')
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
return 1
"""


@dataclass(frozen=True, slots=True)
class Ticked:
    """What one tick did: prompts put on the stream, and records set aside as broken."""

    moved: int = 0
    broken: int = 0


class PromptStore:
    """Scheduled prompts in one Redis.

    Args:
        redis: An asyncio client, decoding responses or not.
        namespace: What every key begins with; `BGTASKS_NAMESPACE`, or `bgtasks`, if not given.
        new_id: Makes a prompt's id.

    Raises:
        UnsuitableServer: The client is one of a Redis Cluster.
    """

    def __init__(
        self, redis: Redis, namespace: str | None = None, *, new_id: Callable[[], str] | None = None
    ) -> None:
        refuse_cluster(redis)
        self._redis: Any = redis  # redis-py types its answers for both faces at once
        self._prefix = f"{namespace or default_namespace()}:prompts:"
        self._schedule = f"{self._prefix}schedule"
        self._ended = f"{self._prefix}ended"
        self.stream = f"{self._prefix}due"
        self._new_id = new_id or (lambda: secrets.token_hex(5))
        self._move = redis.register_script(_MOVE)
        self._add = redis.register_script(_ADD)
        self._cancel = redis.register_script(_CANCEL)

    async def add(
        self,
        prompt_text: str,
        trigger: Once | Cron,
        *,
        now: datetime,
        user: str = "",
        channel: str = "",
        agent: str = "",
    ) -> Prompt:
        """Store a prompt; it is durable when this returns, if the server's persistence is.

        Args:
            prompt_text: The prompt itself.
            trigger: When it is due: once, or by a cron expression with its zone.
            now: The present, aware. A `Once` before it is refused.
            user: For whom.
            channel: Where the answer goes.
            agent: Which agent is to answer.

        Raises:
            InvalidMessage: The text is empty, or the instant is past.
            ResourceUnavailable: Redis does not answer; the prompt may have been stored.
        """
        if not prompt_text.strip():
            raise InvalidMessage("a prompt needs a text")
        due = trigger.next_after(now)
        if due is None:
            raise InvalidMessage(
                f"{trigger} is past (it is {now:%Y-%m-%d %H:%M:%S} UTC): give a later instant"
            )
        prompt = Prompt(
            id=self._new_id(),
            text=encodable(prompt_text),
            trigger=trigger,
            user=encodable(user),
            channel=encodable(channel),
            agent=encodable(agent),
            due=instant(ms(due)),
        )
        record = {
            "text": prompt.text,
            "trigger": written_as(trigger),
            "user": prompt.user,
            "channel": prompt.channel,
            "agent": prompt.agent,
            "status": "active",
            "created": str(ms(now)),
        }
        keys = [self._schedule, self._item(prompt.id)]
        fields = [part for field in record.items() for part in field]
        await reach(partial(self._add, keys=keys, args=[prompt.id, ms(due), *fields]))
        return prompt

    async def cancel(self, prompt_id: str, *, now: datetime) -> bool:
        """End an active prompt; False if none with this id is or was. What is on the stream stays there.

        Raises:
            ResourceUnavailable: Redis does not answer.
        """
        keys = [self._schedule, self._ended, self._item(prompt_id)]
        return bool(await reach(partial(self._cancel, keys=keys, args=[prompt_id, ms(now)])))

    async def get(self, prompt_id: str) -> Prompt | None:
        """The prompt with this id, ended or not; None if there is none."""
        found = await self._records([prompt_id])
        return found[0] if found else None

    async def all(self, *, ended: bool = False, limit: int = 1000) -> list[Prompt]:
        """Active prompts by due instant; with `ended` also those that ended, the latest first."""
        found = await reach(lambda: self._redis.zrange(self._schedule, 0, limit - 1))
        if ended:
            found = [*found, *await reach(lambda: self._redis.zrevrange(self._ended, 0, limit - 1))]
        return await self._records([text(each) for each in found[:limit]])

    async def _records(self, ids: Sequence[str]) -> list[Prompt]:
        def ask(commands: Any) -> None:
            for each in ids:
                commands.hgetall(self._item(each))
                commands.zscore(self._schedule, each)

        answers = await self._together(ask, tolerant=True)
        rows = zip(ids, answers[::2], answers[1::2], strict=True)
        return [
            from_record(each, record, due)
            for each, record, due in rows
            if record and isinstance(record, dict)
        ]

    async def tick(self, now: datetime) -> Ticked:
        """Put every prompt that is due at `now` on the stream and set its next due instant.

        A cron prompt that missed several instants is put there once, for the first of them.

        Raises:
            ResourceUnavailable: Redis does not answer; whole batches may have been moved.
        """
        moved = broken = 0
        before: list[tuple[str, float, str | None]] = []
        while (due := await self._due(now)) and due != before:  # the same again: nothing more can be done
            before = due
            arguments: list[str | int] = [ms(now), f"{self._prefix}item:"]
            for prompt_id, at, written in due:
                used_up, after, why = next_due(written, at, now)
                broken += bool(why)
                arguments += [prompt_id, used_up, after, why]
            keys = [self._schedule, self._ended, self.stream]
            moved += int(await reach(partial(self._move, keys=keys, args=arguments)))
            if len(due) < BATCH:
                break
        return Ticked(moved, broken)

    async def cleanup(self, now: datetime, kept: timedelta = KEPT) -> int:
        """Delete prompts that ended before `now - kept`, and stream entries of before that; how many.

        Raises:
            ResourceUnavailable: Redis does not answer; the next call goes on.
        """
        limit = ms(now - kept)
        deleted = 0
        ended = partial(self._redis.zrangebyscore, self._ended, "-inf", f"({limit}", start=0, num=500)
        while ids := [text(each) for each in await reach(ended)]:
            await self._together(partial(self._forget, ids))
            deleted += len(ids)
        trim = partial(self._redis.xtrim, self.stream, minid=f"{limit}-0", approximate=False)
        return deleted + int(await reach(trim))

    async def _due(self, now: datetime) -> list[tuple[str, float, str | None]]:
        """Up to a batch of what is due: id, score (a due instant in ms), and how its trigger was written."""
        due = partial(self._redis.zrangebyscore, self._schedule, "-inf", ms(now), start=0, num=BATCH)
        entries = await reach(partial(due, withscores=True))

        def ask(commands: Any) -> None:
            for prompt_id, _ in entries:
                commands.hget(self._item(text(prompt_id)), "trigger")

        triggers = await self._together(ask, tolerant=True) if entries else []
        return [
            (text(prompt_id), at, text(written) if isinstance(written, str | bytes) else None)
            for (prompt_id, at), written in zip(entries, triggers, strict=True)
        ]

    def _forget(self, ids: Sequence[str], commands: Any) -> None:
        commands.delete(*(self._item(each) for each in ids))
        commands.zrem(self._ended, *ids)

    async def _together(self, fill: Callable[[Any], None], *, tolerant: bool = False) -> list[Any]:
        """The answers to the commands that `fill` puts into one transaction; if tolerant, errors too."""

        async def send() -> list[Any]:
            async with self._redis.pipeline(transaction=True) as commands:
                fill(commands)
                return list(await commands.execute(raise_on_error=not tolerant))

        return await reach(send)

    def _item(self, prompt_id: str) -> str:
        return f"{self._prefix}item:{prompt_id}"
