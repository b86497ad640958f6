"""How the pictures of figures look.

Run by the interpreter that has matplotlib; nothing of bgtasks is imported.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl  # type: ignore[import-not-found]
from matplotlib import pyplot as plt

__all__ = ["Bar", "Sheet", "bars", "lines"]

INK, FAINT, OURS, OTHERS, GRID = "#1f2328", "#656d76", "#1f6feb", "#a8b1bb", "#e4e8ec"
LINES = ("#1f6feb", "#8250df", "#1a7f37", "#9a6700")
NAMES_APART = 0.085
"""Of the height of a panel: how far the names of two lines are apart at least."""

WIDE = 10.4
"""Inches."""


class Bar(NamedTuple):
    """One line of a panel.

    Attributes:
        spread: Its median, and the lowest and the highest; None if it was not measured.
        text: What is written beside it; why there is none.
        ours: It is the one that the picture is about.
    """

    name: str
    spread: tuple[float, float, float] | None
    text: str
    ours: bool


class Sheet:
    """A picture with panels, a title and a line below it, and one at its foot.

    Attributes:
        panels: One after the other, line by line.
    """

    def __init__(self, rows: int, columns: int, height: float) -> None:
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
        self._height = height
        self._figure, axes = plt.subplots(
            rows, columns, figsize=(WIDE, height), layout="constrained", squeeze=False
        )
        bottom, top = 0.3 / height, 1 - 0.69 / height
        self._figure.get_layout_engine().set(w_pad=0.14, h_pad=0.1, rect=(0, bottom, 1, top - bottom))
        self.panels: list[Any] = list(axes.flat)

    def save(self, picture: Path, title: str, below: str, foot: str) -> None:
        """Write what stands around the panels, and all of it into a file."""
        write, height = self._figure.text, self._height
        write(0.012, 1 - 0.24 / height, title, fontsize=15, fontweight="bold", va="center")
        write(0.012, 1 - 0.49 / height, below, color=FAINT, va="center")
        write(0.012, 0.14 / height, foot, color=FAINT, fontsize=8, va="center")
        picture.parent.mkdir(parents=True, exist_ok=True)
        self._figure.savefig(picture, metadata={"Date": None}, facecolor="white")


def bars(panel: Any, title: str, rows: Sequence[Bar]) -> None:
    """Medians as bars, extremes as whiskers."""
    _title(panel, title)
    longest = max((row.spread[2] for row in rows if row.spread is not None), default=1.0)
    for number, row in enumerate(rows):
        if row.spread is None:
            panel.text(0, number, f" {row.text}", va="center")
            continue
        median, low, high = row.spread
        panel.barh(number, median, height=0.62, color=OURS if row.ours else OTHERS, zorder=2)
        panel.plot([low, high], [number, number], color=INK, linewidth=1.1, zorder=3)
        weight = "bold" if row.ours else "normal"
        panel.text(high + longest * 0.02, number, row.text, va="center", fontweight=weight)
    panel.set_yticks(range(len(rows)), [row.name for row in rows])
    panel.invert_yaxis()
    panel.set_xlim(0, longest * 1.5)
    panel.xaxis.set_major_locator(mpl.ticker.MaxNLocator(5))
    _plain(panel, "x", ("top", "right", "bottom"))


def lines(panel: Any, title: str, at: Sequence[int], series: Mapping[str, Sequence[float | None]]) -> None:
    """A line for each of some, named at its end; both axes logarithmic."""
    _title(panel, title)
    panel.set_xscale("log")
    panel.set_yscale("log")
    ends: list[tuple[float, str, str]] = []
    for (name, values), color in zip(series.items(), LINES, strict=False):
        seen = [(x, y) for x, y in zip(at, values, strict=True) if y]
        if not seen:
            continue
        panel.plot(*zip(*seen, strict=True), color=color, linewidth=1.8, marker="o", markersize=4, zorder=2)
        ends.append((math.log(seen[-1][1]), name, color))
    panel.set_xticks(list(at), [f"{x:,}" for x in at])
    panel.minorticks_off()
    panel.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:,g}"))
    low, high = panel.get_ylim()
    low, high = low / 1.5, high * 2
    panel.set_ylim(low, high)
    panel.set_xlim(at[0] / 1.3, at[-1] * (at[-1] / at[0]) ** 0.45)
    apart, lowest = NAMES_APART * math.log(high / low), -math.inf
    for end, name, color in sorted(ends):
        lowest = max(end, lowest + apart)  # no name is written over another
        panel.text(at[-1], math.exp(lowest), f"  {name}", color=color, va="center", fontsize=8.5)
    _plain(panel, "y", ("top", "right"))


def _title(panel: Any, title: str) -> None:
    panel.set_title(title, loc="left", fontsize=10.5, fontweight="bold", pad=7)


def _plain(panel: Any, axis: str, without: Sequence[str]) -> None:
    panel.tick_params(length=0)
    panel.grid(axis=axis, color=GRID, zorder=0)
    panel.set_axisbelow(True)
    for side in without:
        panel.spines[side].set_visible(False)
