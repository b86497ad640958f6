"""The picture: `python -m benchmarks.knowledge.drawing <results.json> <picture.svg>`.

Run by the interpreter that has matplotlib; nothing of bgtasks is imported.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.drawing import FAINT, GRID, INK, LINES, Bar, Sheet, bars
from benchmarks.knowledge.cases import OURS, table_of
from benchmarks.knowledge.size import STEPS
from benchmarks.scheduler.figures import written
from benchmarks.scheduler.results import Results

__all__ = ["draw"]

CLEAR = 0.055
"""Of the height of a panel: how far a name is above its line."""


def draw(results: Results, picture: Path) -> None:
    """Whether messages and facts cost the same as they grow in number, and what questions take."""
    sheet = Sheet(3, 2, 9.4)
    panels = sheet.panels
    steps = {"taken in": "ingest_us", "read by cursor": "read_us"}
    _grown(panels[0], "A message (µs)", results, "channels", "messages", steps)
    _grown(
        panels[1], "A message, its id included (bytes)", results, "channels", "messages", {"so far": "bytes"}
    )
    _grown(panels[2], "Facts a second", results, "facts", "facts", {"written": "facts_per_s"})
    _grown(panels[3], "A fact (bytes)", results, "facts", "facts", {"so far": "bytes"})
    rows = [_bar(results, case.key, OURS, "p95_ms", case.label) for case in table_of("search").cases]
    bars(panels[4], "Questions to the large graph, p95 (ms)", rows)
    applied = table_of("apply")
    rows = [
        _bar(results, case.key, who, "worst_ms", f"{case.label}\n{who}")
        for case in applied.cases[:2]
        for who in ("bare MERGE", "graph.apply")
    ]
    bars(panels[5], "Slowest ping while writing (ms)", rows)
    below = "Messages over many channels, and a graph that grows: flat is the aim."
    sheet.save(picture, "From messages to knowledge", below, f"{results.on}; servers on the same machine.")


def _grown(
    panel: Any, title: str, results: Results, table: str, what: str, series: Mapping[str, str]
) -> None:
    """A line for each figure, from zero up, against how much there is."""
    panel.set_title(title, loc="left", fontsize=10.5, fontweight="bold", pad=7)
    highest = 0.0
    ends = []
    for (name, figure), color in zip(series.items(), LINES, strict=False):
        points = []
        for step in range(1, STEPS + 1):
            at, value = (results.median(f"{table}-{step}", OURS, key) for key in ("at", figure))
            if at is not None and value is not None:
                points.append((at, value))
        if points:
            panel.plot(
                *zip(*points, strict=True), color=color, linewidth=1.8, marker="o", markersize=4, zorder=2
            )
            highest = max(highest, *(value for _, value in points))
            ends.append((*points[-1], name, color))
    top = highest * 1.35 or 1.0
    panel.set_ylim(0, top)
    for at, value, name, color in ends:
        panel.text(at, value + CLEAR * top, name, color=color, ha="right", fontsize=8.5)
    panel.set_xlim(left=0)
    panel.set_xlabel(what, fontsize=8.5)
    panel.xaxis.set_major_formatter(lambda value, _: _short(value))
    panel.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    panel.tick_params(length=0, labelcolor=INK)
    panel.tick_params(axis="x", labelcolor=FAINT)
    panel.grid(axis="y", color=GRID, zorder=0)
    panel.set_axisbelow(True)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)


def _short(count: float) -> str:
    """Such as 200k, or 1M."""
    return f"{count / 1e6:g}M" if count >= 1e6 else f"{count / 1e3:g}k" if count else "0"


def _bar(results: Results, case: str, who: str, figure: str, name: str) -> Bar:
    spread, ours = results.spread(case, who, figure), not who.startswith("bare")
    if spread is None:
        return Bar(name, None, "not measured", ours)
    return Bar(name, (spread.median, spread.low, spread.high), written(spread.median), ours)


if __name__ == "__main__":
    draw(Results.read(Path(sys.argv[1])), Path(sys.argv[2]))
