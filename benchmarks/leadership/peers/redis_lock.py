"""python-redis-lock: a thread that waits in BLPOP, and one that renews."""

from __future__ import annotations

import threading
from importlib.metadata import version

import redis_lock  # type: ignore[import-not-found]
from redis import Redis

from benchmarks.leadership.peers import LEASE, RENEWALS, Place

__all__ = ["make"]


class Blocking:
    about = (
        f"python-redis-lock {version('python-redis-lock')}, Lock(expire={LEASE:g}, auto_renewal=True), which "
        f"renews every {RENEWALS['redis-lock']:.1f} s; redis-py {version('redis')}, socket_timeout=None"
    )

    def __init__(self, place: Place) -> None:
        self._note, self._key = place.note, place.key
        # redis-py would give an answer five seconds, for which the lock has BLPOP wait, and then ask again.
        self._client = Redis.from_url(place.url, client_name=place.name, socket_timeout=None)
        self._lock = redis_lock.Lock(self._client, self._key, expire=int(LEASE), auto_renewal=True)

    async def start(self) -> None:
        threading.Thread(target=self._stand, daemon=True).start()

    def _stand(self) -> None:
        self._lock.acquire()
        self._note("leads")

    async def stop(self) -> None:
        self._lock.release()


make = Blocking
