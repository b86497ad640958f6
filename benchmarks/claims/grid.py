"""Instants that all processes agree on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

__all__ = ["Grid"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Grid:
    """A trigger that is due at whole multiples of an interval since 1970, and so long after.

    Args:
        every: Seconds between two instants.
        after: Seconds by which they lie later.
    """

    __slots__ = ("_every", "_first")

    def __init__(self, every: float, after: float = 0.0) -> None:
        self._every = timedelta(seconds=every)
        self._first = EPOCH + timedelta(seconds=after)

    def __str__(self) -> str:
        return f"every {self._every} from {self._first:%T.%f} on"

    def next_after(self, when: datetime) -> datetime:
        """See `Trigger`."""
        return self._first + ((when - self._first) // self._every + 1) * self._every
