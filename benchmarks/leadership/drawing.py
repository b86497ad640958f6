"""The picture: `python -m benchmarks.leadership.drawing <results.json> <picture.svg>`.

Run by the interpreter that has matplotlib; nothing of bgtasks is imported.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl  # type: ignore[import-not-found]
from matplotlib import pyplot as plt

from benchmarks.leadership.cases import CASES, Case
from benchmarks.leadership.peers import LEASE, PEERS
from benchmarks.scheduler.drawing import FAINT, GRID, INK, OTHERS, OURS
from benchmarks.scheduler.figures import written
from benchmarks.scheduler.results import Results

__all__ = ["draw"]

PANELS = {
    "hand-over": "Hand-over: the leader stops (ms)",
    "fail-over": f"Fail-over: kill -9, a lease of {LEASE:g} s (ms)",
}


def draw(results: Results, picture: Path) -> None:
    """A panel for each way to lose a leader: medians as bars, extremes as whiskers."""
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
    figure, axes = plt.subplots(1, 2, figsize=(10.4, 3.3), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.14, h_pad=0.1, rect=(0, 0.085, 1, 0.71))
    cases = {case.key: case for case in CASES}
    for axis, (key, title) in zip(axes.flat, PANELS.items(), strict=True):
        _bars(axis, cases[key], title, results)
    figure.text(0.012, 0.93, "Until the next leader works", fontsize=15, fontweight="bold", va="center")
    seen = ", ".join(f"{len(results.taken[key]['bgtasks'])} {key}s" for key in PANELS)
    figure.text(
        0.012,
        0.855,
        f"Less is better. Medians of {seen} each; whiskers from the lowest to the highest.",
        color=FAINT,
        va="center",
    )
    foot = f"{results.on}. To the first line of the next worker, or for a lock until it is acquired."
    figure.text(0.012, 0.04, foot, color=FAINT, fontsize=8, va="center")
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, metadata={"Date": None}, facecolor="white")


def _bars(axis: Any, case: Case, title: str, results: Results) -> None:
    axis.set_title(title, loc="left", fontsize=10.5, fontweight="bold", pad=7)
    spreads = [results.spread(case.key, peer, "ms") for peer in PEERS]
    longest = max((spread.high for spread in spreads if spread is not None), default=1.0)
    for row, (peer, spread) in enumerate(zip(PEERS, spreads, strict=True)):
        if spread is None:
            axis.text(0, row, " not measured", va="center")
            continue
        axis.barh(row, spread.median, height=0.62, color=OURS if peer == "bgtasks" else OTHERS, zorder=2)
        axis.plot([spread.low, spread.high], [row, row], color=INK, linewidth=1.1, zorder=3)
        second = case.figures[1]
        value = second.value(results, case.key, peer)
        assert value is not None
        text = f"{written(spread.median)}  ({second.heading.removesuffix(' ms')} {written(value)})"
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


if __name__ == "__main__":
    draw(Results.read(Path(sys.argv[1])), Path(sys.argv[2]))
