"""What measurements share: how figures are handed over, and the CPU of a server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis

__all__ = ["Taken", "cpu", "percentile", "put"]

type Taken = dict[str, dict[str, list[dict[str, float]]]]
"""By case, by whom, one mapping of figures for each round."""


def put(taken: Taken, case: str, who: str, **figures: float) -> None:
    """Add what one round gave."""
    taken.setdefault(case, {}).setdefault(who, []).append(figures)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that so large a share of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def cpu(url: str) -> float:
    """Seconds of CPU that a server has used, all its threads together."""
    with redis.Redis.from_url(url) as client:
        used: Any = client.info("cpu")
    return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])
