"""The jobs, which do the minimum, and what is read off them."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable

__all__ = ["Counted", "Timed", "lateness", "nothing"]

EARLY = 0.005
"""Seconds by which a job may come before its instant without counting as one interval late: clocks drift."""


class Timed:
    """Notes how long after its own grid instant it runs; `first` is any instant of that grid."""

    __slots__ = ("_from", "_interval", "_note", "_time")

    def __init__(self, notes: array[float], time: Callable[[], float], interval: float) -> None:
        self._note, self._time, self._interval = notes.append, time, interval
        self._from = 0.0

    def set_grid(self, first: float) -> None:
        """Say where its grid lies, on the loop's clock."""
        self._from = first - EARLY

    async def run(self) -> None:
        """Note the lateness, with `EARLY` added."""
        self._note((self._time() - self._from) % self._interval)

    async def run_and_wait(self) -> None:
        """The same, and let the loop turn once."""
        self._note((self._time() - self._from) % self._interval)
        await asyncio.sleep(0)


class Counted:
    """Counts its runs together with the other jobs."""

    __slots__ = ("fires",)

    def __init__(self) -> None:
        self.fires = 0

    async def run(self) -> None:
        self.fires += 1


async def nothing() -> None:
    """A job that is not going to be due."""


def lateness(notes: array[float], quantile: float) -> float:
    """A quantile of what `Timed` jobs noted, in milliseconds."""
    ordered = sorted(notes)
    return (ordered[min(len(ordered) - 1, int(len(ordered) * quantile))] - EARLY) * 1000
