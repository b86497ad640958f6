"""What an edge weighs: its weight halves every half-life, and it dies when it has faded to the threshold.

The state of an edge is its weight and the instant it holds for, never "at the previous tick". The instant of
death follows from the two and is written beside them.

    w(now)  = w * 2 ** -((now - t) / half_life)
    dies_at = t + half_life * log2(w / threshold)

New evidence of strength s joins by noisy-or, after both were brought to the later of their instants:
1 - (1 - w)(1 - s). No weight exceeds 1. Evidence folded in a different order gives slightly different
weights, since fading and joining do not commute; the order here is that of arrival.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["HALF_LIFE", "THRESHOLD", "Weight"]

HALF_LIFE = 60 * 86_400_000.0
"""Milliseconds in which a weight halves: 60 days."""

THRESHOLD = 0.05
"""The weight at which an edge dies."""


@dataclass(frozen=True, slots=True)
class Weight:
    """An edge's weight `w`, from 0 to 1, at the instant `t` in milliseconds since 1970."""

    w: float
    t: float

    def at(self, when: float, half_life: float = HALF_LIFE) -> float:
        """The weight faded to `when`; an instant before `t` does not raise it."""
        return self.w * math.exp2(-max(0.0, when - self.t) / half_life)

    def joined(self, other: Weight, half_life: float = HALF_LIFE) -> Weight:
        """Both weights as evidence for one thing, at the later of their instants."""
        t = max(self.t, other.t)
        return Weight(1 - (1 - self.at(t, half_life)) * (1 - other.at(t, half_life)), t)
