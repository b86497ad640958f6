"""The line to the store of one lease, and how the lease is given back over it."""

from __future__ import annotations

from collections.abc import Callable

from bgtasks.clock import Clock
from bgtasks.contracts import LeaseStore
from bgtasks.errors import BgTasksError, ResourceUnavailable
from bgtasks.events import EventBus
from bgtasks.lease.times import LeaseTimes
from bgtasks.line import Line, Spawn

__all__ = ["LeaseLine"]


class LeaseLine(Line):
    """Calls to the store of one lease."""

    def __init__(
        self, store: LeaseStore, times: LeaseTimes, bus: EventBus, clock: Clock, spawn: Spawn
    ) -> None:
        super().__init__(f"lease {store.key}", "redis", times.attempt, bus, clock, spawn)
        self._store = store
        self._attempts = times.attempts

    async def release(self, owner: str, quarantined: bool, left: Callable[[], float]) -> None:
        """Give the lease back, if it is `owner`'s. If that cannot be done in time, it expires."""
        for _ in range(self._attempts):
            try:
                await self.ask(self._store.release(owner, quarantined), left())
            except ResourceUnavailable:
                continue
            except BgTasksError as error:
                self.out_of_reach(error)
            return

    async def close(self, left: float) -> None:
        """Let go of the store's connections."""
        try:
            await self.ask(self._store.aclose(), left)
        except BgTasksError as error:
            self.out_of_reach(error)
