"""Where leases, jobs and runs are kept: one backend a module, each behind one Protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from bgtasks.errors import ConfigurationError, MissingExtra, redact

if TYPE_CHECKING:
    from bgtasks.clock import Clock
    from bgtasks.contracts import LeaseStore, TaskStore

__all__ = ["lease_store", "task_store"]

_REDIS = ("redis", "rediss", "unix")
_SQL = ("sqlite", "postgresql", "postgres")


def task_store(where: Any, *, namespace: str = "bgtasks", clock: Clock | None = None) -> TaskStore:
    """Where the claims, jobs and runs of cluster tasks are kept. Connects to nothing yet.

    Args:
        where: `memory://` (this process alone), `redis://…` (`rediss://`, `unix://`), `sqlite:///path/to/file.db`
            or `postgresql://user:password@host/name`; or an asyncio client of redis-py, for its server.
        namespace: What every key in Redis begins with.
        clock: Where the time of a store in memory comes from.

    Raises:
        ConfigurationError: The URL is none of these, or cannot be read.
        MissingExtra: SQLite or PostgreSQL without the extra `sql`.
        UnsuitableServer: It is a client of Redis Cluster.
    """
    if not isinstance(where, str):
        from bgtasks.stores.tasks.redis import RedisTaskStore

        return RedisTaskStore(where, namespace)
    scheme = urlsplit(where).scheme.partition("+")[0]
    if scheme == "memory":
        from bgtasks.stores.tasks.memory import MemoryTaskStore

        return MemoryTaskStore(clock)
    if scheme in _REDIS:
        from bgtasks.connect import open_redis
        from bgtasks.stores.tasks.redis import RedisTaskStore

        return RedisTaskStore(open_redis(where), namespace)
    if scheme in _SQL:
        try:
            from bgtasks.stores.tasks.sql import SqlTaskStore
        except ImportError as error:
            raise MissingExtra(f"a store in {scheme}", "sql") from error
        return SqlTaskStore(where)
    raise ConfigurationError(
        f"{redact(where)} is no store: give memory://, redis://host:6379/0, sqlite:///path/to/file.db or "
        f"postgresql://user:password@host/name"
    )


def lease_store(redis: Any, key: str, clock: Clock | None = None) -> LeaseStore:
    """The store of the lease `key` on the server that the client `redis` works with.

    Args:
        redis: An asyncio client of redis-py, or None for a lease of this process alone.
        key: The lease's key.
        clock: Where the time of a lease of this process comes from.

    Raises:
        UnsuitableServer: It is a client of Redis Cluster.
    """
    if redis is None:
        from bgtasks.stores.lease_memory import MemoryLeaseStore

        return MemoryLeaseStore(key, clock)
    from bgtasks.stores.lease_redis import RedisLeaseStore

    return RedisLeaseStore(redis, key)
