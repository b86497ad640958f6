"""Connections of a store's own, made like those of the client that a host gives it."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff

__all__ = ["own_client"]


def own_client(redis: Any, timeout: float, **options: Any) -> Redis:
    """A client of the same server, behind Sentinel or not, with a pool of its own and without retries.

    A command that hangs in the host's pool does not hold it up, and redis-py's own retries, which may apply
    a command after it has counted as failed, are off. Nothing is sent yet.

    Args:
        redis: An asyncio client of redis-py, of a single server.
        timeout: Seconds that a connection may take to be made, or to answer.
        options: Arguments of its connections that are to be others than those of `redis`.
    """
    pool = redis.connection_pool
    arguments = dict(pool.connection_kwargs)
    arguments |= {
        "retry": Retry(NoBackoff(), 0),
        "retry_on_error": [],
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "health_check_interval": 0,
        **options,
    }
    if isinstance(pool, SentinelConnectionPool):
        del arguments["connection_pool"]  # the other pool itself
        return Redis.from_pool(
            SentinelConnectionPool(  # type: ignore[no-untyped-call]
                pool.service_name,
                pool.sentinel_manager,
                connection_class=pool.connection_class,
                is_master=True,
                check_connection=pool.check_connection,
                **arguments,
            )
        )
    return Redis.from_pool(type(pool)(connection_class=pool.connection_class, **arguments))
