"""How long to wait before trying again: a capped exponential delay with jitter and a floor.

The delay before attempt n is drawn evenly from the upper half of `base * 2**n`, capped: "equal jitter"
in Marc Brooker's "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015). Full jitter spreads
callers better but can draw zero, and a crash loop without a pause is the thing to prevent.
"""

from __future__ import annotations

from random import Random

from bgtasks.errors import ConfigurationError

__all__ = ["Backoff"]


class Backoff:
    """Successive delays, in seconds, for something that keeps failing.

    A success counts by its length: each `healthy` seconds of it undo one failure, so that something
    which fails every few minutes is neither punished for ever nor forgiven at once.

    Args:
        base: Upper bound of the first delay, in seconds.
        cap: Upper bound of every delay, in seconds.
        healthy: Seconds of health that undo one failure.
        random: Source of the jitter; pass a seeded one for repeatable delays.

    Raises:
        ConfigurationError: A bound is not positive, or `cap` is below `base`.

    Not promised: an order between two delays in a row; each is drawn on its own.
    """

    __slots__ = ("_random", "base", "cap", "failures", "healthy")

    def __init__(
        self, base: float = 1.0, cap: float = 60.0, healthy: float = 60.0, *, random: Random | None = None
    ) -> None:
        if not (0 < base <= cap < float("inf")) or not 0 < healthy < float("inf"):
            raise ConfigurationError(
                f"a backoff needs 0 < base <= cap and healthy > 0, all finite seconds, "
                f"not base={base}, cap={cap}, healthy={healthy}"
            )
        self.base = base
        self.cap = cap
        self.healthy = healthy
        self.failures = 0
        self._random = random or Random()

    def failed(self) -> float:
        """Count one failure; the seconds to wait before the next attempt, at least half of `base`."""
        ceiling = min(self.cap, self.base * 2.0 ** min(self.failures, 64))
        self.failures += 1
        return self._random.uniform(ceiling / 2, ceiling)

    def succeeded(self, seconds: float | None = None) -> None:
        """Count health: `seconds` of it undo failures one by one; None forgives them all."""
        if seconds is None:
            self.failures = 0
        else:
            self.failures = max(0, self.failures - int(seconds // self.healthy))
