"""The line to a server that keeps what must not wait: each call bounded, and said when nobody answers."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol

from bgtasks.clock import Clock
from bgtasks.errors import BgTasksError, ResourceUnavailable
from bgtasks.events import EventBus, ResourceLost, ResourceRegained

__all__ = ["Line", "Spawn"]


class Spawn(Protocol):
    """Makes an asyncio task, named for what it does."""

    def __call__[T](self, call: Coroutine[Any, Any, T], what: str) -> asyncio.Task[T]: ...


class Line:
    """Calls to one server.

    Attributes:
        trouble: Why the last call that counts was not answered; None if it was.

    Args:
        resource: What is said to be lost, and regained.
        server: What does not answer then.
        attempt: Seconds that one call may take.
        spawn: Makes the asyncio task of each call.
    """

    def __init__(
        self, resource: str, server: str, attempt: float, bus: EventBus, clock: Clock, spawn: Spawn
    ) -> None:
        self._resource = resource
        self._server = server
        self._attempt = attempt
        self._bus = bus
        self._clock = clock
        self._spawn = spawn
        self._asking: set[asyncio.Task[Any]] = set()
        self._lost_at: float | None = None
        self.trouble: str | None = None

    async def ask[T](
        self, call: Coroutine[Any, Any, T], left: float = float("inf"), *, within: float | None = None
    ) -> T:
        """What `call` answers within the time of one attempt, or `within` that, and `left` seconds at most.

        After that it is left behind: a cancelled call may take its time to unwind (`asyncio.wait_for` waits
        for that), and a lease does not.

        Raises:
            ResourceUnavailable: It did not answer, or failed in a way that nobody foresaw.
            BgTasksError: What it raised itself.
        """
        limit = self._attempt if within is None else within
        asking = self._spawn(call, "ask")
        self._asking.add(asking)
        asking.add_done_callback(self._answered)
        try:
            await asyncio.wait((asking,), timeout=max(0.0, min(limit, left)))
        finally:
            if not asking.done():
                asking.cancel()
        if not asking.done():
            raise ResourceUnavailable(self._server, f"no answer within {limit:g} s")
        try:
            return asking.result()
        except asyncio.CancelledError:
            raise ResourceUnavailable(self._server, "the call was cancelled") from None
        except BgTasksError:
            raise
        except Exception as error:
            raise ResourceUnavailable(self._server, f"{type(error).__name__}: {error}") from error

    def _answered(self, asking: asyncio.Task[Any]) -> None:
        self._asking.discard(asking)
        if not asking.cancelled():
            asking.exception()  # retrieved: of one that was left behind nobody else asks

    def out_of_reach(self, error: BgTasksError) -> None:
        """A call failed: said once, until one succeeds."""
        self.trouble = str(error)
        if self._lost_at is None:
            self._lost_at = self._clock.monotonic()
            self._bus.emit(ResourceLost(self._resource, str(error)))

    def within_reach(self) -> None:
        """A call was answered."""
        self.trouble = None
        if self._lost_at is not None:
            seconds, self._lost_at = self._clock.monotonic() - self._lost_at, None
            self._bus.emit(ResourceRegained(self._resource, seconds))
