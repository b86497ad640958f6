"""Redis connections: opened with bounds, checked with plain answers, called with a time limit.

redis-py retries a command by itself, up to ten times, after it may have been applied. What bgtasks sends
is therefore idempotent, and every call has a limit on the whole, retries included.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from redis import exceptions as redis_errors
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff

from bgtasks.errors import ConfigurationError, ResourceUnavailable, UnsuitableServer, redact

__all__ = ["CALL_TIMEOUT", "COMMANDS", "calls", "check", "open_redis", "refuse_cluster", "text"]

CALL_TIMEOUT = 5.0
"""Seconds that one call, or one short group of calls, may take."""

COMMANDS = (
    "EVALSHA", "EXISTS", "HEXISTS", "HGETALL", "HSET", "SCRIPT", "XADD", "XLEN", "XRANGE", "XTRIM",
    "ZADD", "ZRANGEBYSCORE", "ZREM", "ZSCORE",
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
    except (ValueError, AttributeError) as error:
        raise ConfigurationError(
            f"{redact(url)!r} is not a Redis URL: write redis://host:6379/0, rediss://… or unix:///path"
        ) from error


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
    except (redis_errors.AuthenticationError, redis_errors.AuthorizationError) as error:
        raise UnsuitableServer(f"{resource}: the server refused the credentials: {error}") from error
    except redis_errors.NoPermissionError as error:
        raise UnsuitableServer(f"{resource}: the user lacks a permission: {error}") from error
    except redis_errors.InvalidResponse as error:
        raise UnsuitableServer(_not_redis(resource)) from error
    except (
        redis_errors.ConnectionError,
        redis_errors.TimeoutError,
        redis_errors.BusyLoadingError,
        redis_errors.ReadOnlyError,
        redis_errors.ClusterDownError,
        redis_errors.MasterDownError,
    ) as error:
        if "Protocol Error" in str(error) or "Protocol error" in str(error):
            raise UnsuitableServer(_not_redis(resource)) from error
        raise ResourceUnavailable(resource, str(error) or type(error).__name__) from error
    except TimeoutError as error:
        raise ResourceUnavailable(resource, f"no answer within {within:g} s") from error
    except OSError as error:
        raise ResourceUnavailable(resource, str(error)) from error
    except redis_errors.ResponseError as error:
        if "unknown" in str(error).lower() and "command" in str(error).lower():
            raise UnsuitableServer(
                f"{resource}: the server lacks a command that is needed ({error}); "
                f"bgtasks needs Redis 6.2 or newer with these commands neither renamed nor disabled: "
                f"{' '.join(COMMANDS)}"
            ) from error
        raise


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
        await client.ping()
        try:
            known = await client.execute_command("COMMAND", "INFO", *names)
        except redis_errors.ResponseError:  # forbidden: the first use will tell
            return
    listed = known.values() if isinstance(known, dict) else known
    have = {_command_name(entry) for entry in listed if entry}
    if missing := [name.upper() for name in names if name not in have]:
        raise UnsuitableServer(
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


def text(value: Any) -> str:
    """What a client answered, as text, whether or not it decodes responses."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _command_name(entry: Any) -> str:
    name = entry.get("name") if isinstance(entry, dict) else entry[0]
    return text(name).lower()


def _not_redis(resource: str) -> str:
    return f"something answers at the address of {resource}, but it is not Redis; check host and port"
