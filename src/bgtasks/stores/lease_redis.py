"""A lease in Redis: one key that expires, and beside it what outlives it.

```
<key>          STRING  the owner                      expires
{<key>}:last   HASH    owner token lease deadline state run_id ended quarantine quarantined
{<key>}:fence  STRING  the last token
{<key>}:resign STRING  the owner that is asked to hand over
{<key>}:events CHANNEL "released"
```

The braces keep all of them in one slot with the key itself; a key that has braces keeps its own. Times in
Redis are microseconds since 1970.
"""

from __future__ import annotations

from typing import Any

from redis import exceptions as redis_errors

from bgtasks.connect import calls, refuse_cluster, text
from bgtasks.contracts import UNKNOWN, Granted, Held, Renewal
from bgtasks.errors import ResourceUnavailable
from bgtasks.stores.own_client import own_client

__all__ = ["RedisLeaseStore"]

# INFO is forbidden to some users and missing in some servers: then the run id is empty, and no restart of
# the server is ever seen. 'string.format' since tostring() would round what is above 10^14.
_COMMON = """
local function us()
  local now = redis.call('TIME')
  return now[1] * 1000000 + now[2]
end
local function whole(number) return string.format('%.0f', number) end
local function run_id()
  local info = redis.pcall('INFO', 'server')
  if type(info) ~= 'string' then return '' end
  return string.match(info, 'run_id:(%w+)') or ''
end
local lease, last, fence, resign = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local owner = ARGV[1]
local holder = redis.call('GET', lease)
"""

# ARGV: owner, lease in ms, quarantine after a loss of unknown size in us
_ACQUIRE = """
local now, run, ms = us(), run_id(), tonumber(ARGV[2])
local was = redis.call('HMGET', last,
  'owner', 'token', 'deadline', 'state', 'run_id', 'ended', 'quarantine', 'lease', 'quarantined')
if holder and holder ~= owner then
  local left, token, length = redis.call('PTTL', lease), '0', nil
  if was[1] == holder then
    token, length = was[2], tonumber(was[8])
  elseif #(string.match(holder, ':(%x+)$') or '') == 32 then
    length = math.ceil(ARGV[3] / 1000) -- one of ours, of which all trace was lost
  end
  if length and left > length then
    -- The clock was set back since: its holder trusts it for its own length, and not for longer.
    redis.call('PEXPIRE', lease, length)
    left = length
  end
  return {'held', holder, left, whole(now), run, token or '0'}
end
local deadline = tonumber(was[3] or '0') or 0
if holder and was[1] == owner and was[2] then
  redis.call('PEXPIRE', lease, ms)
  redis.call('HSET', last, 'deadline', whole(now + ms * 1000), 'lease', ms)
  return {'granted', was[2], whole(now), run, was[6], was[7]}
end
local ended, quarantine = 'released', 0
if not was[4] then
  ended, quarantine = 'unknown', tonumber(ARGV[3])
elseif was[5] ~= run then
  -- Whatever it says: it may be a copy from before the present term.
  ended, quarantine = 'the server was restarted or replaced', tonumber(ARGV[3])
elseif was[9] ~= '0' then
  -- It did not outlast whoever was at work before it, however it ended.
  ended, quarantine = 'the term before ended in its quarantine', tonumber(ARGV[3])
elseif was[4] ~= 'released' then
  ended = 'expired'
  if deadline - now > 1000 then -- Redis counts milliseconds
    ended, quarantine = 'the lease was lost before its time', math.min(deadline - now, tonumber(ARGV[3]))
  end
end
local token = math.max(redis.call('INCR', fence), now, (tonumber(was[2] or '0') or 0) + 1)
redis.call('SET', fence, whole(token))
redis.call('SET', lease, owner, 'PX', ms)
redis.call('HSET', last, 'owner', owner, 'token', whole(token), 'lease', ms,
  'deadline', whole(now + ms * 1000), 'state', 'held', 'run_id', run,
  'ended', ended, 'quarantine', whole(quarantine), 'quarantined', ended == 'released' and '0' or '1')
return {'granted', whole(token), whole(now), run, ended, whole(quarantine)}
"""

# ARGV: owner, lease in ms, not after in us, whether it is quarantined
_RENEW = """
local now, run, ms = us(), run_id(), tonumber(ARGV[2])
if holder ~= owner or now > tonumber(ARGV[3]) then return {0, whole(now), run, 0} end
redis.call('PEXPIRE', lease, ms)
redis.call('HSET', last, 'deadline', whole(now + ms * 1000), 'lease', ms, 'run_id', run, 'owner', owner,
  'quarantined', ARGV[4])
local asked = 0
if redis.call('GET', resign) == owner then asked = 1 end
return {1, whole(now), run, asked}
"""

# ARGV: owner, channel, whether it is quarantined. Deleted first, published then: who hears of it finds it
# free.
_RELEASE = """
local was = redis.call('HMGET', last, 'owner', 'state')
if not holder and was[1] == owner and was[2] == 'released' then return 1 end
if holder ~= owner then return 0 end
redis.call('DEL', lease)
redis.call('HSET', last, 'state', 'released')
if ARGV[3] == '0' then redis.call('HSET', last, 'quarantined', '0') end
if redis.call('GET', resign) == owner then redis.call('DEL', resign) end
redis.pcall('PUBLISH', ARGV[2], 'released') -- a hint, which some users may not give
return 1
"""

_LOOK = """
if not holder then return {'free', whole(us()), run_id()} end
local token = '0'
if redis.call('HGET', last, 'owner') == holder then token = redis.call('HGET', last, 'token') end
return {'held', holder, redis.call('PTTL', lease), whole(us()), run_id(), token or '0'}
"""

# ARGV: owner, the token to be above
_MINT = """
if holder ~= owner then return '0' end
local token = math.max(redis.call('INCR', fence), us(), tonumber(ARGV[2]) + 1)
redis.call('SET', fence, whole(token))
redis.call('HSET', last, 'token', whole(token))
return whole(token)
"""

_RESIGN = """
redis.call('SET', resign, owner, 'PX', ARGV[2])
return 1
"""

ASKED_FOR_MS = 60_000
"""How long the word to resign stands."""

HEARD = 60.0
"""Seconds of silence after which the connection on which releases are told is made anew."""


class RedisLeaseStore:
    """The lease `key` on the server that the client `redis` works with.

    It has connections of its own, made like the client's: a command that hangs in the client's pool must
    not cost the lease, and redis-py's own retries would apply one after it has counted as failed.

    Args:
        redis: An asyncio client of redis-py, with or without decoded responses, behind Sentinel or not.
        key: The lease's key.
        timeout: Seconds that a connection may take to be made, or to answer.
        client: The connections to use, instead of ones made like those of `redis`; closed by `aclose`.

    Raises:
        UnsuitableServer: It is a client of Redis Cluster.
    """

    def __init__(self, redis: Any, key: str, timeout: float = 0.5, *, client: Any = None) -> None:
        refuse_cluster(redis)
        self.key = key
        tag = f"{key}:" if "{" in key else f"{{{key}}}"
        self._keys = [key, f"{tag}:last", f"{tag}:fence", f"{tag}:resign"]
        self._channel = f"{tag}:events"
        self._timeout = timeout
        self._client: Any = own_client(redis, timeout) if client is None else client
        self._scripts = {
            body: self._client.register_script(_COMMON + body)
            for body in (_ACQUIRE, _RENEW, _RELEASE, _LOOK, _MINT, _RESIGN)
        }
        self._listening: Any = None

    async def acquire(self, owner: str, lease: float, lost: float) -> Granted | Held:
        """See `LeaseStore`."""
        said, *rest = await self._run(_ACQUIRE, owner, _ms(lease), _us(lost))
        if text(said) == "held":
            return _held(rest)
        token, at, run_id, ended, quarantine = rest
        how = UNKNOWN if text(ended) == "unknown" else text(ended)
        return Granted(int(token), _seconds(at), text(run_id), how, _seconds(quarantine))

    async def renew(self, owner: str, lease: float, not_after: float, quarantined: bool) -> Renewal:
        """See `LeaseStore`."""
        kept, at, run_id, asked = await self._run(_RENEW, owner, _ms(lease), _us(not_after), int(quarantined))
        return Renewal(bool(kept), _seconds(at), text(run_id), bool(asked))

    async def release(self, owner: str, quarantined: bool) -> bool:
        """See `LeaseStore`."""
        return bool(await self._run(_RELEASE, owner, self._channel, int(quarantined)))

    async def look(self) -> Held | None:
        """See `LeaseStore`."""
        said, *rest = await self._run(_LOOK, "")
        return _held(rest) if text(said) == "held" else None

    async def mint(self, owner: str, above: int) -> int:
        """See `LeaseStore`."""
        return int(await self._run(_MINT, owner, above))

    async def ask_to_resign(self, owner: str) -> None:
        """See `LeaseStore`."""
        await self._run(_RESIGN, owner, ASKED_FOR_MS)

    async def released(self) -> None:
        """See `LeaseStore`."""
        try:
            if self._listening is None:
                # What was released before the subscription stands was not heard: whoever waits looks again.
                self._listening = self._client.pubsub()
                async with calls("redis", self._timeout):
                    await self._listening.subscribe(self._channel)
                    while await self._listening.get_message(timeout=self._timeout) is None:
                        pass
            elif await self._listening.get_message(timeout=HEARD) is None:
                await self._deafen()  # a connection that died without a word is silent too
        except BaseException as error:
            await self._deafen()
            if isinstance(error, (redis_errors.RedisError, OSError)):
                raise ResourceUnavailable("redis", str(error) or type(error).__name__) from error
            raise

    async def aclose(self) -> None:
        """See `LeaseStore`."""
        await self._deafen()
        await self._client.aclose()

    async def _deafen(self) -> None:
        listening, self._listening = self._listening, None
        if listening is not None:
            await listening.aclose()

    async def _run(self, body: str, *arguments: str | int) -> Any:
        try:
            async with calls("redis", self._timeout):
                return await self._scripts[body](keys=self._keys, args=[*arguments])
        except redis_errors.ResponseError as error:  # out of memory, too few replicas, a key of another type
            raise ResourceUnavailable("redis", str(error)) from error


def _held(rest: list[Any]) -> Held:
    owner, remaining, at, run_id, token = rest
    left = None if int(remaining) == -1 else max(0, int(remaining)) / 1000
    return Held(text(owner), left, _seconds(at), text(run_id), int(token))


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _us(seconds: float) -> int:
    return round(seconds * 1_000_000)


def _seconds(microseconds: Any) -> float:
    return int(microseconds) / 1_000_000
