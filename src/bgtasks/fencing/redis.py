"""`FencedRedis`: writes to Redis that carry a token, each one script that compares before it writes.

```
<namespace>:fence:{<source>}   STRING   the largest token seen; it never expires
```
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha1
from itertools import takewhile
from typing import Any

from redis.exceptions import NoScriptError

from bgtasks.connect import reach, refuse_cluster, text
from bgtasks.errors import ConfigurationError, Fenced
from bgtasks.fencing.guards import checked_source, checked_token
from bgtasks.settings import default_namespace

__all__ = ["REPEATABLE", "FencedRedis"]

REPEATABLE = (
    "DEL", "EXPIRE", "EXPIREAT", "HDEL", "HSET", "LSET", "MSET", "PERSIST", "PEXPIRE", "PEXPIREAT", "SADD",
    "SET", "SREM", "UNLINK", "XACK", "XDEL", "XTRIM", "ZADD", "ZREM", "ZREMRANGEBYSCORE",
)  # fmt: skip
"""Commands that `write` sends: those that leave the same behind when they are carried out twice."""

MOST = 5_000
"""Arguments of one command: Lua cannot hand on many more."""

_OPTIONS = {"NX", "XX", "GT", "LT", "CH", "INCR"}  # of ZADD, between its key and its first score

# The body is a function of its own, so that it finds its KEYS and ARGV as if it stood alone. It begins in
# the first line: then the lines that Redis names in an error are its own.
_FENCED = """local function body(KEYS, ARGV) %BODY%
end
local guard, token = table.remove(KEYS, 1), table.remove(ARGV, 1)
local seen = redis.call('GET', guard)
if seen and tonumber(seen) > tonumber(token) then return {0, seen} end
if seen ~= token then redis.call('SET', guard, token) end
local answer = body(KEYS, ARGV)
if type(answer) == 'table' and answer.err then return answer end
return {1, answer}
"""

_COMMAND = "return redis.call(unpack(ARGV))"

_RAISE = """
local seen = redis.call('GET', KEYS[1])
if not seen or tonumber(seen) < tonumber(ARGV[1]) then redis.call('SET', KEYS[1], ARGV[1]) end
return seen or '0'
"""


class FencedRedis:
    """Writes to the server of `redis`, refused there if a larger token of the same source was seen before.

    There is no way to write through it without a token. Reading needs none: use the client itself.

    Args:
        redis: An asyncio client of redis-py, decoding responses or not.
        source: What the tokens come from: the key of a lease, or `claim:<task>`.
        namespace: What the guard's key begins with; `BGTASKS_NAMESPACE`, or `bgtasks`, if not given. All who
            write the same data must use the same.

    Raises:
        UnsuitableServer: It is a client of Redis Cluster.
        ConfigurationError: The source is no text.

    Not promised: that a write is carried out once. redis-py sends again what was not answered, so `write`
    takes only commands for which that makes no difference, and `eval` needs a script for which it makes none.
    """

    def __init__(self, redis: Any, source: str, namespace: str | None = None) -> None:
        refuse_cluster(redis)
        self.source = checked_source(source)
        tag = source if "{" in source else f"{{{source}}}"
        self.key = f"{namespace or default_namespace()}:fence:{tag}"
        self._redis = redis

    async def write(self, token: int, command: str, *args: Any) -> Any:
        """Carry out one command, if no larger token was seen; its answer, as Redis gives it to a script.

        Args:
            token: The fencing token of the term, or of the claim.
            command: One of `REPEATABLE`.
            args: Its key and values, as they are written on the wire.

        Raises:
            Fenced: A larger token was seen. Nothing was written.
            ConfigurationError: The token is none, or the command cannot be sent twice.
            ResourceUnavailable: Redis does not answer; it may have been written.
        """
        name = command.upper()
        options = [*takewhile(_OPTIONS.__contains__, (text(each).upper() for each in args[1:]))]
        counts = name == "ZADD" and "INCR" in options
        if name not in REPEATABLE or counts:
            raise ConfigurationError(
                f"FencedRedis.write takes no {name}{' INCR' if counts else ''}, only what may be sent twice "
                f"({', '.join(REPEATABLE)}): use eval() with a script that looks whether it was done before; "
                f"and to read, use the client itself"
            )
        if len(args) > MOST:
            raise ConfigurationError(
                f"{name} with {len(args)} arguments is too long for a script: give at most {MOST} at a time"
            )
        return await self._run(token, _COMMAND, [], [name, *args])

    async def eval(self, token: int, script: str, keys: Sequence[Any] = (), args: Sequence[Any] = ()) -> Any:
        """Run a Lua script, if no larger token was seen; its answer, as for `EVAL`.

        The script sees `KEYS` and `ARGV` as they are given here. It may be run again if its answer was lost,
        and so has to look whether it was run before: like `HSETNX` of an id, and only then `INCRBY`.

        Args:
            token: The fencing token of the term, or of the claim.
            script: What stands in an `EVAL`, without a line `#!lua`.
            keys: What it finds in `KEYS`.
            args: What it finds in `ARGV`.

        Raises:
            Fenced: A larger token was seen. Nothing was written.
            ConfigurationError: The token is none, or the script names flags.
            ResourceUnavailable: Redis does not answer; it may have been run.
        """
        if script.lstrip().startswith("#!"):
            raise ConfigurationError("a fenced script cannot name flags: leave out its first line, #!lua")
        return await self._run(token, script, keys, args)

    async def guard(self, token: int) -> int:
        """Raise the guard to `token`, unless it holds a larger one; what it held before, or 0.

        Once this is answered, no write with a smaller token than either will be carried out.

        Raises:
            ConfigurationError: The token is none.
            ResourceUnavailable: Redis does not answer.
        """
        return int(await self._evaluate(_RAISE, [self.key], [checked_token(token)]))

    async def _run(self, token: int, body: str, keys: Sequence[Any], args: Sequence[Any]) -> Any:
        script = _FENCED.replace("%BODY%", body, 1)
        admitted, *answer = await self._evaluate(
            script, [self.key, *keys], [str(checked_token(token)), *args]
        )
        if not admitted:
            raise Fenced("redis", self.source, token, int(answer[0]))
        return answer[0] if answer else None

    async def _evaluate(self, script: str, keys: Sequence[Any], args: Sequence[Any]) -> Any:
        digest = sha1(script.encode(), usedforsecurity=False).hexdigest()

        async def call() -> Any:
            try:
                return await self._redis.evalsha(digest, len(keys), *keys, *args)
            except NoScriptError:  # EVAL brings the script along, whatever happens to the cache meanwhile
                return await self._redis.eval(script, len(keys), *keys, *args)

        return await reach(call)
