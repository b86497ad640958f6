"""Where time comes from: aware UTC for the wall, a steady count of seconds for durations.

Everything that measures or waits takes a `Clock`, so that a test can run a month of schedule in a
millisecond and move the wall clock without touching the machine's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple, Protocol

__all__ = ["MICROSECOND", "Clock", "Reading", "SystemClock", "read"]

MICROSECOND = 1e-6
"""Seconds: instants are no finer, and what is early by less is on time."""


class Clock(Protocol):
    """The two clocks of a machine."""

    def now(self) -> datetime:
        """The wall time, aware, in UTC. It may step in either direction."""

    def monotonic(self) -> float:
        """Seconds since some fixed instant. It never goes back; only differences mean anything."""


class Reading(NamedTuple):
    """Both clocks, read at one moment: the one is what converts the other."""

    mono: float
    wall: datetime


def read(clock: Clock) -> Reading:
    """Read both clocks."""
    return Reading(clock.monotonic(), clock.now())


def _steady() -> Callable[[], float]:
    """Seconds since boot, suspended time included where the kernel counts it; asked several times a run."""
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic if boottime is None else partial(time.clock_gettime, boottime)


class SystemClock:
    """The machine's own clocks.

    `monotonic()` counts the time a machine is suspended where the kernel offers that
    (CLOCK_BOOTTIME on Linux); elsewhere it stands still during a suspend.
    """

    def now(self) -> datetime:
        """The wall time, aware, in UTC."""
        return datetime.now(UTC)

    monotonic = staticmethod(_steady())
