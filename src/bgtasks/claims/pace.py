"""How often the store is told of ends, and asked for what is due."""

from __future__ import annotations

from bgtasks.clock import MICROSECOND, Clock

__all__ = ["GATHER", "Pace"]

GATHER = 0.02
"""Seconds between two such calls at least. Claims are made so far ahead that none is late for it."""


class Pace:
    """Lets what comes one by one gather, so that a busy process makes a few calls for many runs.

    The first after a while is not kept waiting.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = float("-inf")

    @property
    def left(self) -> float:
        """Seconds until the next call; none, if less than a clock can tell."""
        left = self._last + GATHER - self._clock.monotonic()
        return left if left > MICROSECOND else 0.0

    def called(self) -> None:
        """A call is made now."""
        self._last = self._clock.monotonic()
