"""What was measured: kept in a file, read as medians and spreads.

Used by the interpreter that draws as well: standard library only.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path

__all__ = ["Results", "Spread"]


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of the rounds, and the extremes."""

    median: float
    low: float
    high: float


@dataclass(slots=True)
class Results:
    """All figures of one run of the benchmark.

    Attributes:
        on: The date, the machine and its Python.
        rounds: How many rounds there were at most.
        peers: What each peer says of itself.
        taken: By case, by peer, one mapping of figures for each round.
        ended: By case, by peer, why there are no (more) figures.
    """

    on: str
    rounds: int
    peers: dict[str, str] = field(default_factory=dict)
    taken: dict[str, dict[str, list[dict[str, float]]]] = field(default_factory=dict)
    ended: dict[str, dict[str, str]] = field(default_factory=dict)

    def spread(self, case: str, peer: str, figure: str) -> Spread | None:
        """A figure's median and extremes; None if it was not measured."""
        values = [each[figure] for each in self.taken.get(case, {}).get(peer, []) if figure in each]
        return Spread(statistics.median(values), min(values), max(values)) if values else None

    def median(self, case: str, peer: str, figure: str) -> float | None:
        """The median alone."""
        spread = self.spread(case, peer, figure)
        return None if spread is None else spread.median

    def write(self, path: Path) -> None:
        """Keep them."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", "utf-8")

    @classmethod
    def read(cls, path: Path) -> Results:
        """What was kept."""
        return cls(**json.loads(path.read_text("utf-8")))
