"""The picture: `python -m benchmarks.scheduler.drawing <results.json> <picture.svg>`.

Run by the interpreter that has matplotlib; nothing of bgtasks is imported.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

from benchmarks.drawing import Bar, Sheet, bars
from benchmarks.scheduler.figures import written
from benchmarks.scheduler.peers import PEERS
from benchmarks.scheduler.results import Results, Spread

__all__ = ["draw"]

BASELINE = "heap-task"


class Panel(NamedTuple):
    """One figure of one case, a bar for each peer."""

    title: str
    unit: str
    case: str
    figure: str


PANELS = (
    Panel("CPU per fire, 5,000 a second, staggered", "µs", "fire-5000-staggered", "us_per_fire"),
    Panel("CPU per fire, 1,000 in one burst", "µs", "fire-1000-burst", "us_per_fire"),
    Panel("Lateness p99, 5,000 a second, staggered", "ms", "fire-5000-staggered", "p99_ms"),
    Panel("Lateness p99, 1,000 in one burst", "ms", "fire-1000-burst", "p99_ms"),
    Panel("Set-up of 100,000 jobs", "ms", "setup-100000", "set_up_ms"),
    Panel("Memory of 100,000 jobs", "MB", "setup-100000", "megabytes"),
)


def draw(results: Results, picture: Path) -> None:
    """A panel for each figure: medians as bars, extremes as whiskers, ratios to the baseline."""
    sheet = Sheet(3, 2, 8.6)
    for axis, panel in zip(sheet.panels, PANELS, strict=True):
        bars(axis, f"{panel.title} ({panel.unit})", [_bar(panel, peer, results) for peer in PEERS])
    below = (
        f"Less is better. Medians of {results.rounds} rounds, whiskers from the lowest to the highest; "
        f"× is against {BASELINE}, the minimum by hand."
    )
    sheet.save(picture, "What a scheduler costs", below, _foot(results))


def _bar(panel: Panel, peer: str, results: Results) -> Bar:
    spread = results.spread(panel.case, peer, panel.figure)
    if spread is None:
        why = results.ended.get(panel.case, {}).get(peer, "not measured")
        return Bar(peer, None, why, peer == "bgtasks")
    text = _label(peer, spread, results.median(panel.case, BASELINE, panel.figure))
    return Bar(peer, (spread.median, spread.low, spread.high), text, peer == "bgtasks")


def _label(peer: str, spread: Spread, baseline: float | None) -> str:
    value = written(spread.median)
    if not baseline or peer == BASELINE:
        return value
    return f"{value}  ({written(spread.median / baseline)} ×)"


def _foot(results: Results) -> str:
    theirs = results.peers.get("apscheduler", "").split(",")[0]
    ours = results.peers.get("bgtasks", "").split(",")[0]
    return f"{results.on}; {ours}, {theirs}. Lateness is from a job's own grid instant to its first line."


if __name__ == "__main__":
    draw(Results.read(Path(sys.argv[1])), Path(sys.argv[2]))
