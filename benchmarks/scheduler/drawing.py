"""The picture: `python -m benchmarks.scheduler.drawing <results.json> <picture.svg>`.

Run by the interpreter that has matplotlib; nothing of bgtasks is imported.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl  # type: ignore[import-not-found]
from matplotlib import pyplot as plt

from benchmarks.scheduler.figures import written
from benchmarks.scheduler.peers import PEERS
from benchmarks.scheduler.results import Results, Spread

__all__ = ["draw"]

BASELINE = "heap-task"
INK, FAINT, OURS, OTHERS, GRID = "#1f2328", "#656d76", "#1f6feb", "#a8b1bb", "#e4e8ec"


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
    mpl.rcParams.update({
        "font.family": "DejaVu Sans",
        "font.size": 9.5,
        "svg.hashsalt": "bgtasks",  # the same results give the same file
        "text.color": INK,
        "axes.edgecolor": GRID,
        "axes.labelcolor": FAINT,
        "xtick.color": FAINT,
        "ytick.color": INK,
    })  # fmt: skip
    figure, axes = plt.subplots(3, 2, figsize=(10.4, 8.6), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.14, h_pad=0.1, rect=(0, 0.035, 1, 0.885))
    for axis, panel in zip(axes.flat, PANELS, strict=True):
        _bars(axis, panel, results)
    figure.text(0.012, 0.972, "What a scheduler costs", fontsize=15, fontweight="bold", va="center")
    figure.text(
        0.012,
        0.943,
        f"Less is better. Medians of {results.rounds} rounds, whiskers from the lowest to the highest; "
        f"× is against {BASELINE}, the minimum by hand.",
        color=FAINT,
        va="center",
    )
    figure.text(0.012, 0.016, _foot(results), color=FAINT, fontsize=8, va="center")
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, metadata={"Date": None}, facecolor="white")


def _bars(axis: Any, panel: Panel, results: Results) -> None:
    axis.set_title(f"{panel.title} ({panel.unit})", loc="left", fontsize=10.5, fontweight="bold", pad=7)
    spreads = [results.spread(panel.case, peer, panel.figure) for peer in PEERS]
    longest = max((spread.high for spread in spreads if spread is not None), default=1.0)
    baseline = results.median(panel.case, BASELINE, panel.figure)
    for row, (peer, spread) in enumerate(zip(PEERS, spreads, strict=True)):
        if spread is None:
            axis.text(0, row, " " + results.ended.get(panel.case, {}).get(peer, "not measured"), va="center")
            continue
        axis.barh(row, spread.median, height=0.62, color=OURS if peer == "bgtasks" else OTHERS, zorder=2)
        axis.plot([spread.low, spread.high], [row, row], color=INK, linewidth=1.1, zorder=3)
        text = _label(peer, spread, baseline)
        weight = "bold" if peer == "bgtasks" else "normal"
        axis.text(spread.high + longest * 0.02, row, text, va="center", fontweight=weight)
    axis.set_yticks(range(len(PEERS)), list(PEERS))
    axis.invert_yaxis()
    axis.set_xlim(0, longest * 1.5)
    axis.tick_params(length=0)
    axis.xaxis.set_major_locator(mpl.ticker.MaxNLocator(5))
    axis.grid(axis="x", color=GRID, zorder=0)
    axis.set_axisbelow(True)
    for side in ("top", "right", "bottom"):
        axis.spines[side].set_visible(False)


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
