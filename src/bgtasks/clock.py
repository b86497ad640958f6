"""Where time comes from: aware UTC for the wall, a steady count of seconds for durations.

Everything that measures or waits takes a `Clock`, so that a test can run a month of schedule in a
millisecond and move the wall clock without touching the machine's.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """The two clocks of a machine."""

    def now(self) -> datetime:
        """The wall time, aware, in UTC. It may step in either direction."""

    def monotonic(self) -> float:
        """Seconds since some fixed instant. It never goes back; only differences mean anything."""


class SystemClock:
    """The machine's own clocks.

    `monotonic()` counts the time a machine is suspended where the kernel offers that
    (CLOCK_BOOTTIME on Linux); elsewhere it stands still during a suspend.
    """

    _boottime: int | None = getattr(time, "CLOCK_BOOTTIME", None)

    def now(self) -> datetime:
        """The wall time, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds since boot, suspended time included where the kernel counts it."""
        if self._boottime is None:
            return time.monotonic()
        return time.clock_gettime(self._boottime)
