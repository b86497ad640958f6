"""Where leases are kept: one backend a module, each behind the same Protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bgtasks.clock import Clock
    from bgtasks.contracts import LeaseStore

__all__ = ["lease_store"]


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
