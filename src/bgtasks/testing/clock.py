"""A clock that stands still until a test, or the event loop of a test, moves it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, cast

from bgtasks.errors import BgTasksError, ConfigurationError
from bgtasks.triggers import Interval, parse_delay

if TYPE_CHECKING:
    from bgtasks.testing.loop import VirtualLoop

__all__ = ["VirtualClock"]


class VirtualClock:
    """A `Clock` that moves only when told to: by a `VirtualLoop`, or by the methods here.

    Durations are seconds, a timedelta, or a string such as `"30d"`. It belongs to one thread.

    Args:
        start: The wall time at the beginning: an aware datetime, in whatever zone.

    Raises:
        ConfigurationError: `start` is naive.
    """

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._wall = _instant(start)
        self._elapsed = 0.0
        self._listeners: dict[object, Callable[[], object]] = {}

    def __repr__(self) -> str:
        return f"<VirtualClock {self.now().isoformat()}, {self._elapsed:g} s>"

    def now(self) -> datetime:
        """The wall time, aware, in UTC."""
        return self._wall + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        """Seconds since the beginning."""
        return self._elapsed

    # -- time passes under the running loop ------------------------------------------------------

    async def advance(self, duration: Interval) -> None:
        """Let that much time pass under the running loop, and run all that becomes due in it.

        Returns when nothing is ready any more at the last instant.

        Raises:
            InvalidTrigger: The duration is negative or cannot be read.
            BgTasksError: The running event loop is not a `VirtualLoop` of this clock.
        """
        await self._running_loop().until(self._elapsed + parse_delay(duration))

    async def settle(self) -> None:
        """Wait, without letting time pass, until nothing is ready: all else waits for a later instant.

        Work in threads is waited for. A task that never stops being ready is waited for without end.

        Raises:
            BgTasksError: The running event loop is not a `VirtualLoop` of this clock.
        """
        await self._running_loop().settle()

    def _running_loop(self) -> VirtualLoop:
        loop = asyncio.get_running_loop()
        if getattr(loop, "clock", None) is not self:
            raise BgTasksError(
                "the running event loop is not on this VirtualClock: decorate the test with "
                "bgtasks.testing.virtual_time, or run it by run_virtual(main, clock)"
            )
        return cast("VirtualLoop", loop)

    # -- what the loop does not do ---------------------------------------------------------------

    def stall(self, duration: Interval) -> None:
        """Let time pass on both clocks while the loop does not run: its timers are late after that.

        So does a call that blocks, or a machine that was suspended.

        Raises:
            InvalidTrigger: The duration is negative or cannot be read.
        """
        self._elapsed += parse_delay(duration)
        self._say_stepped()

    def step_wall(self, duration: Interval) -> None:
        """Set the wall clock forward, or back by a negative number or timedelta; no time passes.

        Raises:
            ConfigurationError: The duration is not finite or cannot be read.
        """
        seconds = _signed(duration)
        if not math.isfinite(seconds):
            raise ConfigurationError(f"a clock cannot be set by {duration!r}")
        self._wall += timedelta(seconds=seconds)
        self._say_stepped()

    def set_wall(self, when: datetime) -> None:
        """Set the wall clock to an instant, aware, in whatever zone; no time passes.

        Raises:
            ConfigurationError: `when` is naive.
        """
        self._wall = _instant(when) - timedelta(seconds=self._elapsed)
        self._say_stepped()

    def on_step(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call `callback()` after each `stall`, `step_wall` and `set_wall`, before they return.

        Returns:
            A function that ends this; to call it again does nothing.
        """
        key = object()
        self._listeners[key] = callback

        def unsubscribe() -> None:
            self._listeners.pop(key, None)

        return unsubscribe

    def _say_stepped(self) -> None:
        for callback in list(self._listeners.values()):
            callback()

    def _reach(self, elapsed: float) -> None:
        """For the loop: a timer of this instant has come up, within the resolution of timers."""
        self._elapsed = max(self._elapsed, elapsed)


def _instant(when: datetime) -> datetime:
    if when.utcoffset() is None:
        raise ConfigurationError(
            f"{when!r} is naive: say which zone it means, such as datetime(…, tzinfo=UTC) "
            f'or datetime(…, tzinfo=ZoneInfo("Europe/Helsinki"))'
        )
    return when.astimezone(UTC)


def _signed(duration: Interval) -> float:
    if isinstance(duration, timedelta):
        return duration.total_seconds()
    return parse_delay(duration) if isinstance(duration, str) else float(duration)
