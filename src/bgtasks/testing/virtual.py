"""An asyncio event loop on virtual time: when nothing is ready, time jumps to the next timer.

The idea of an autojumping clock is trio's (`MockClock`); this is an asyncio loop whose selector never
waits. A month of schedule takes as long as its callbacks do.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from bgtasks.errors import BgTasksError

__all__ = ["VirtualClock", "VirtualLoop", "run_virtual"]

_PATIENCE = 5.0
"""Real seconds to wait for a thread or a socket when no timer is left to jump to."""


class VirtualClock:
    """A `Clock` that moves only when told to: by a `VirtualLoop`, or by `advance`.

    Args:
        start: The wall time at the beginning, aware.
    """

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._wall = start.astimezone(UTC)
        self._elapsed = 0.0

    def now(self) -> datetime:
        """The wall time, aware, in UTC."""
        return self._wall + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        """Seconds since the beginning."""
        return self._elapsed

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass on both clocks. Under a running loop this is a stall of the loop."""
        self._elapsed += seconds

    def step_wall(self, seconds: float) -> None:
        """Set the wall clock forward (or back) by `seconds`; the monotonic side does not move."""
        self._wall += timedelta(seconds=seconds)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose `time()` is a `VirtualClock`'s.

    Not promised: anything about code that waits for real sockets or threads. It is waited for, without
    time passing, only while no timer is pending.
    """

    def __init__(self, clock: VirtualClock | None = None) -> None:
        self.clock = clock or VirtualClock()
        super().__init__(cast(Any, _JumpingSelector(self.clock)))
        # Coarse enough that the rounding of a year in seconds cannot hold a timer back for ever.
        self._clock_resolution = 1e-6

    def time(self) -> float:
        """Seconds of the virtual clock."""
        return self.clock.monotonic()

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Wait for the threads, in real time: a virtual time limit would be over at once."""
        await super().shutdown_default_executor(None)


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            ready = super().select(_PATIENCE)
            if not ready:
                raise BgTasksError("deadlock: nothing is ready, no timer is set, and no thread answers")
            return ready
        self._clock.advance(timeout)
        return ready


def run_virtual[T](
    main: Callable[[VirtualClock], Coroutine[Any, Any, T]], clock: VirtualClock | None = None
) -> T:
    """Run `main(clock)` to its end on a fresh virtual loop and return its result.

    Raises:
        BgTasksError: Everything waits and nothing will ever happen.
    """
    clock = clock or VirtualClock()
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock)) as runner:
        return runner.run(main(clock))
