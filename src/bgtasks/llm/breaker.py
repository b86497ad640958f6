"""An endpoint that fails again and again is left alone for a while, then tried by one call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bgtasks.clock import Clock
from bgtasks.errors import ResourceUnavailable

__all__ = ["CircuitBreaker"]

FAILURES = 5
"""Failures in a row after which nobody calls."""
COOL_DOWN = 30.0
"""Seconds until one call may try."""


class CircuitBreaker:
    """Lets calls to one endpoint pass, or not.

    Args:
        name: The endpoint's host, for errors.
    """

    def __init__(self, name: str, clock: Clock) -> None:
        self._name = name
        self._clock = clock
        self._failures = 0
        self._opened = 0.0
        self._probing = False

    @property
    def open(self) -> bool:
        """Whether nobody may call now."""
        return self._failures >= FAILURES and (self._probing or self._left() > 0)

    @contextmanager
    def passing(self) -> Iterator[None]:
        """A call, which is to be followed by `succeeded` or `failed` inside; neither if it was cancelled.

        Raises:
            ResourceUnavailable: It may not be made now.
        """
        if self.open:
            wait = "one call is trying it" if self._probing else f"the next try is in {self._left():.0f} s"
            raise ResourceUnavailable("openrouter", f"{self._name} failed {self._failures} times: {wait}")
        probe = self._probing = self._failures >= FAILURES
        try:
            yield
        finally:
            if probe:
                self._probing = False

    def succeeded(self) -> None:
        """The endpoint answered."""
        self._failures = 0

    def failed(self) -> None:
        """It did not, or with an error of its own."""
        self._failures += 1
        if self._failures >= FAILURES:
            self._opened = self._clock.monotonic()

    def _left(self) -> float:
        return self._opened + COOL_DOWN - self._clock.monotonic()
