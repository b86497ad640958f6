"""Redis connections: opened with bounds, checked with plain answers, called with a time limit.

redis-py retries a command by itself, up to ten times, after it may have been applied. What bgtasks sends
is therefore idempotent, and every call has a limit on the whole, retries included.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from redis import exceptions as redis_errors
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff

from bgtasks.errors import ConfigurationError, MissingCommand, ResourceUnavailable, UnsuitableServer

__all__ = [
    "CALL_TIMEOUT",
    "COMMANDS",
    "URL_FORMS",
    "calls",
    "check",
    "encodable",
    "open_redis",
    "reach",
    "refuse_cluster",
    "text",
    "unavailable",
]

CALL_TIMEOUT = 5.0
"""Seconds that one call, or one short group of calls, may take."""

URL_FORMS = "write redis://host:6379/0, rediss://… or unix:///path, with special characters %-encoded"

COMMANDS = (
    "DEL", "EVALSHA", "EXEC", "EXISTS", "EXPIRE", "GET", "HDEL", "HEXISTS", "HGET", "HGETALL",
    "HINCRBY", "HLEN", "HMGET", "HSET", "INCRBY", "MULTI", "PEXPIRE", "PUBLISH", "SADD", "SCAN",
    "SCRIPT", "SET", "TYPE", "UNLINK", "XACK", "XADD", "XAUTOCLAIM", "XDEL", "XGROUP", "XLEN", "XRANGE",
    "XREADGROUP", "XREVRANGE", "XTRIM", "ZADD", "ZRANGE", "ZRANGEBYSCORE", "ZREM", "ZREVRANGE",
    "ZREVRANGEBYSCORE", "ZSCORE",
)  # fmt: skip
"""Commands that the built-in tasks and the message cache need."""


def open_redis(url: str, **options: Any) -> Redis:
    """An asyncio client for `url`, with time limits on its sockets. Nothing is sent yet.

    Args:
        url: `redis://`, `rediss://` or `unix://`.
        options: Passed on to redis-py, over our defaults.

    Raises:
        ConfigurationError: The URL cannot be read.
    """
    # redis-py's ten retries would keep a task that could be deferred waiting for seconds.
    retry = Retry(ExponentialBackoff(cap=0.2, base=0.05), 2)
    limits = {"socket_timeout": CALL_TIMEOUT, "socket_connect_timeout": 2.0, "retry": retry, **options}
    try:
        return Redis.from_url(url, **limits)
    except (ValueError, AttributeError):
        # Without the URL and the cause: wherever the mistake is, a password may be beside it.
        raise ConfigurationError(f"the URL of Redis cannot be read: {URL_FORMS}") from None


@asynccontextmanager
async def calls(resource: str = "redis", within: float = CALL_TIMEOUT) -> AsyncIterator[None]:
    """Bound the calls in the block and turn what can go wrong into our errors.

    Args:
        resource: The name tasks know the server by.
        within: Seconds for everything in the block.

    Raises:
        ResourceUnavailable: No connection, no answer in time, or a server that is loading or read-only.
        UnsuitableServer: Wrong credentials, no Redis at all, or a command that the server lacks.
    """
    try:
        async with asyncio.timeout(within):
            yield
    except redis_errors.RedisError as error:
        ours = _ours(resource, error)
        if ours is error:
            raise
        raise ours from error
    except TimeoutError as error:
        raise ResourceUnavailable(resource, f"no answer within {within:g} s") from error
    except OSError as error:
        raise ResourceUnavailable(resource, str(error)) from error


async def reach[T](call: Callable[[], Awaitable[T]], *, within: float = CALL_TIMEOUT) -> T:
    """The result of `call()`, within the bounds and with the errors of `calls`.

    It is called once more, at once, if its connection turns out to be dead: after a restart of the server
    each connection in a client's pool is found dead once. So it must be idempotent.
    """
    async with calls(within=within):
        try:
            return await call()
        except redis_errors.ConnectionError:
            return await call()


def unavailable(error: BaseException, resources: Iterable[str]) -> ResourceUnavailable | None:
    """The outage that an error of redis-py, raised by a task, stands for; None if it is none.

    Args:
        error: What the task raised.
        resources: What the task was given: the outage is that of its `redis`, else of its graph.
    """
    resource = next((name for name in ("redis", "kg_manager") if name in resources), None)
    if resource is None or not isinstance(error, redis_errors.RedisError):
        return None
    ours = _ours(resource, error)
    return ours if isinstance(ours, ResourceUnavailable) else None


_AWAY = (
    redis_errors.ConnectionError,
    redis_errors.TimeoutError,
    redis_errors.BusyLoadingError,
    redis_errors.ReadOnlyError,
    redis_errors.ClusterDownError,
    redis_errors.MasterDownError,
)
_AWAY_IN_A_SCRIPT = re.compile(r"@user_script: ?\d+: -(READONLY|CLUSTERDOWN|MASTERDOWN|LOADING)\b")
"""How Redis before 7.0 says so of a command within a script: without a code of its own."""

_REFUSED = (redis_errors.AuthenticationError, redis_errors.AuthorizationError)


def _ours(resource: str, error: redis_errors.RedisError) -> Exception:
    """The error of ours that `error` stands for; itself, where a single command was at fault."""
    said = str(error)
    if isinstance(error, _REFUSED) or isinstance(error.__cause__, _REFUSED):
        return UnsuitableServer(f"{resource}: the server refused the credentials: {said}")
    if isinstance(error, redis_errors.InvalidResponse) or "protocol error" in said.lower():
        return UnsuitableServer(_not_redis(resource))
    if isinstance(error, _AWAY) or _AWAY_IN_A_SCRIPT.search(said):
        return ResourceUnavailable(resource, said or type(error).__name__)
    if isinstance(error, redis_errors.NoPermissionError) or "ACL" in said or "can't run this command" in said:
        return UnsuitableServer(f"{resource}: the user may not do what is needed: {said}")
    if "unknown" in said.lower() and "command" in said.lower():
        return MissingCommand(
            f"{resource}: the server lacks a command that is needed ({said}); bgtasks needs Redis 6.2 or "
            f"newer with these commands neither renamed nor disabled: {' '.join(COMMANDS)}"
        )
    return error


async def check(client: Any, *, within: float = 2.5, commands: Iterable[str] = COMMANDS) -> None:
    """Whether the server behind `client` can serve us; returns if so.

    Args:
        client: The client to ask with.
        within: Seconds for the whole check.
        commands: Commands it must know. Skipped where `COMMAND` itself is forbidden.

    Raises:
        ResourceUnavailable: It does not answer.
        UnsuitableServer: It answers, but is no Redis, refuses the credentials, is a cluster, or lacks a
            command.
    """
    refuse_cluster(client)
    names = [name.lower() for name in commands]
    async with calls("redis", within):
        try:
            answered = await client.ping()
        except redis_errors.ResponseError as error:
            if isinstance(_ours("redis", error), UnsuitableServer):
                raise
            answered = False
        if answered is not True:
            raise UnsuitableServer(_not_redis("redis"))
        have = await _known_commands(client, names)
    if have is None:
        return
    if missing := [name.upper() for name in names if name not in have]:
        raise MissingCommand(
            f"redis: the server lacks {', '.join(missing)}: remove its rename-command, or use a server "
            f"that has it (Redis 6.2 or newer)"
        )


def refuse_cluster(client: Any) -> None:
    """Refuse a Redis Cluster client: our scripts touch keys that a cluster keeps in different slots.

    Raises:
        UnsuitableServer: It is one.
    """
    from redis.asyncio.cluster import RedisCluster

    if isinstance(client, RedisCluster):
        raise UnsuitableServer(
            "Redis Cluster is not supported: one script reads and writes several keys, which a cluster "
            "keeps in different slots; give a single server, or one behind Sentinel"
        )


def encodable(value: str) -> str:
    """The text without lone surrogates, which no encoding of a client can carry: "?" in their place."""
    return value.encode("utf-8", "replace").decode("utf-8")


def text(value: Any) -> str:
    """What a client answered, as text, whether or not it decodes responses."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


async def _known_commands(client: Any, names: list[str]) -> set[str] | None:
    """Those of `names` that the server has; None where it may not be asked.

    Asked in a script, since redis-py cannot read the answer for a command that is missing.
    """
    try:
        known = await client.eval(_KNOWN, 0, *names)
    except redis_errors.ResponseError:
        return None
    return {text(name) for name in known}


_KNOWN = """
local found = {}
for _, name in ipairs(ARGV) do
  local answer = redis.call('COMMAND', 'INFO', name)
  if answer[1] then found[#found + 1] = name end
end
return found
"""


def _not_redis(resource: str) -> str:
    return f"something answers at the address of {resource}, but it is not Redis; check host and port"
