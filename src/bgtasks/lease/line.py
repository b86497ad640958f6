"""The line to the server that keeps a lease: each call bounded, and said when nobody answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from bgtasks.clock import Clock
from bgtasks.contracts import LeaseStore
from bgtasks.errors import BgTasksError, ResourceUnavailable
from bgtasks.events import EventBus, ResourceLost, ResourceRegained
from bgtasks.lease.times import LeaseTimes

__all__ = ["Line", "Spawn"]


class Spawn(Protocol):
    """Makes an asyncio task, named for what it does."""

    def __call__[T](self, call: Coroutine[Any, Any, T], what: str) -> asyncio.Task[T]: ...


class Line:
    """Calls to the store of one lease.

    Args:
        spawn: Makes the asyncio task of each call.
    """

    def __init__(
        self, store: LeaseStore, times: LeaseTimes, bus: EventBus, clock: Clock, spawn: Spawn
    ) -> None:
        self._store = store
        self._times = times
        self._bus = bus
        self._clock = clock
        self._spawn = spawn
        self._asking: set[asyncio.Task[Any]] = set()
        self._lost_at: float | None = None

    async def ask[T](self, call: Coroutine[Any, Any, T], left: float = float("inf")) -> T:
        """What `call` answers within the time of one attempt, and no more than `left` seconds.

        After that it is left behind: a cancelled call may take its time to unwind (`asyncio.wait_for` waits
        for that), and a lease does not.

        Raises:
            ResourceUnavailable: It did not answer, or failed in a way that nobody foresaw.
            BgTasksError: What it raised itself.
        """
        asking = self._spawn(call, "ask")
        self._asking.add(asking)
        asking.add_done_callback(self._answered)
        try:
            await asyncio.wait((asking,), timeout=max(0.0, min(self._times.attempt, left)))
        finally:
            if not asking.done():
                asking.cancel()
        if not asking.done():
            raise ResourceUnavailable("redis", f"no answer within {self._times.attempt:g} s")
        try:
            return asking.result()
        except asyncio.CancelledError:
            raise ResourceUnavailable("redis", "the call was cancelled") from None
        except BgTasksError:
            raise
        except Exception as error:
            raise ResourceUnavailable("redis", f"{type(error).__name__}: {error}") from error

    def _answered(self, asking: asyncio.Task[Any]) -> None:
        self._asking.discard(asking)
        if not asking.cancelled():
            asking.exception()  # retrieved: of one that was left behind nobody else asks

    async def release(self, owner: str, quarantined: bool, left: Callable[[], float]) -> None:
        """Give the lease back, if it is `owner`'s. If that cannot be done in time, it expires."""
        for _ in range(self._times.attempts):
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

    def out_of_reach(self, error: BgTasksError) -> None:
        """A call failed: said once, until one succeeds."""
        if self._lost_at is None:
            self._lost_at = self._clock.monotonic()
            self._bus.emit(ResourceLost(f"lease {self._store.key}", str(error)))

    def within_reach(self) -> None:
        """A call was answered."""
        if self._lost_at is not None:
            seconds, self._lost_at = self._clock.monotonic() - self._lost_at, None
            self._bus.emit(ResourceRegained(f"lease {self._store.key}", seconds))
