"""The lock of redis-py itself, which polls, and an asyncio task that extends it."""

from __future__ import annotations

import asyncio
from importlib.metadata import version

from redis.asyncio import Redis

from benchmarks.leadership.peers import LEASE, RENEWALS, Place

__all__ = ["make"]

RENEWAL = RENEWALS["redis-py"]


class Polling:
    about = (
        f"redis-py {version('redis')}, redis.asyncio.lock.Lock(timeout={LEASE:g}), which polls every 0.1 s, "
        f"and a task that extends it every {RENEWAL:g} s"
    )

    def __init__(self, place: Place) -> None:
        self._note = place.note
        client = Redis.from_url(place.url, client_name=place.name)
        self._lock = client.lock(place.key, timeout=LEASE)
        self._standing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._standing = asyncio.create_task(self._stand())

    async def _stand(self) -> None:
        await self._lock.acquire()
        self._note("leads")
        while True:
            await asyncio.sleep(RENEWAL)
            await self._lock.extend(LEASE, replace_ttl=True)

    async def stop(self) -> None:
        assert self._standing is not None
        self._standing.cancel()
        await asyncio.wait((self._standing,))
        await self._lock.release()


make = Polling
