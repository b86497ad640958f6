"""How much of everything there is."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["STEPS", "Size"]

STEPS = 10
"""Parts that what grows is measured in."""


@dataclass(frozen=True, slots=True)
class Size:
    """The full size, or a fraction of it for a quick look.

    Args:
        scale: 1 is the full size.
    """

    scale: float = 1.0

    @property
    def entities(self) -> int:
        """In the large graph."""
        return self._of(100_000, 500)

    @property
    def facts(self) -> int:
        """In the large graph."""
        return self._of(1_000_000, 2_000)

    @property
    def vectors(self) -> int:
        """Entities of the large graph that have one."""
        return self._of(20_000, 300)

    @property
    def messages(self) -> int:
        """In all channels."""
        return self._of(1_000_000, 5_000)

    @property
    def channels(self) -> int:
        """Channels of the million: each has two thousand of them."""
        return max(2, self.messages // 2_000)

    @property
    def some_messages(self) -> int:
        """Where a rate alone is measured."""
        return self._of(40_000, 2_000)

    @property
    def some_facts(self) -> int:
        """Likewise."""
        return self._of(12_000, 2_000)

    @property
    def batches(self) -> int:
        """That the engine applies."""
        return self._of(100, 4)

    @property
    def questions(self) -> int:
        """Of each kind of search."""
        return self._of(200, 10)

    def _of(self, full: int, least: int) -> int:
        return max(least, round(full * self.scale))
