"""A lease in the memory of one process: the reference that other stores are compared with."""

from __future__ import annotations

import asyncio

from bgtasks.clock import Clock, SystemClock
from bgtasks.contracts import RELEASED, Granted, Held, Renewal

__all__ = ["MemoryLeaseStore"]


class MemoryLeaseStore:
    """The lease `key` among those who share this object.

    Nothing is ever lost here and its clock is nobody else's, so every term counts as released.

    Args:
        clock: Where time comes from.
    """

    def __init__(self, key: str, clock: Clock | None = None) -> None:
        self.key = key
        self._clock = clock or SystemClock()
        self._owner = ""
        self._token = 0
        self._expires = 0.0
        self._resign = self._released = ""
        self._release = asyncio.Event()

    async def acquire(self, owner: str, lease: float, lost: float) -> Granted | Held:
        """See `LeaseStore`."""
        if (held := await self.look()) is not None and held.owner != owner:
            return held
        if held is None:
            self._owner, self._token = owner, self._token + 1
        self._expires = self._clock.monotonic() + lease
        return Granted(self._token, self._at, "", RELEASED)

    async def renew(self, owner: str, lease: float, not_after: float, quarantined: bool) -> Renewal:
        """See `LeaseStore`."""
        held = await self.look()
        if held is None or held.owner != owner or self._at > not_after:
            return Renewal(False, self._at, "")
        self._expires = self._clock.monotonic() + lease
        return Renewal(True, self._at, "", self._resign == owner)

    async def release(self, owner: str, quarantined: bool) -> bool:
        """See `LeaseStore`."""
        held = await self.look()
        if held is None or held.owner != owner:
            return held is None and self._released == owner
        self._released = owner
        self._expires = self._clock.monotonic()
        if self._resign == owner:
            self._resign = ""
        release, self._release = self._release, asyncio.Event()
        release.set()
        return True

    async def look(self) -> Held | None:
        """See `LeaseStore`."""
        left = self._expires - self._clock.monotonic()
        return Held(self._owner, left, self._at, "", self._token) if left > 0 else None

    async def mint(self, owner: str, above: int) -> int:
        """See `LeaseStore`."""
        held = await self.look()
        if held is None or held.owner != owner:
            return 0
        self._token = max(self._token, above) + 1
        return self._token

    async def ask_to_resign(self, owner: str) -> None:
        """See `LeaseStore`."""
        self._resign = owner

    async def released(self) -> None:
        """See `LeaseStore`."""
        await self._release.wait()

    async def aclose(self) -> None:
        """See `LeaseStore`."""

    @property
    def _at(self) -> float:
        return self._clock.now().timestamp()
