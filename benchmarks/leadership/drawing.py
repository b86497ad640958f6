"""The picture: `python -m benchmarks.leadership.drawing <results.json> <picture.svg>`.

Run by the interpreter that has matplotlib; nothing of bgtasks is imported.
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.drawing import Bar, Sheet, bars
from benchmarks.leadership.cases import CASES, Case
from benchmarks.leadership.peers import LEASE, PEERS
from benchmarks.scheduler.figures import written
from benchmarks.scheduler.results import Results

__all__ = ["draw"]

PANELS = {
    "hand-over": "Hand-over: the leader stops (ms)",
    "fail-over": f"Fail-over: kill -9, a lease of {LEASE:g} s (ms)",
}


def draw(results: Results, picture: Path) -> None:
    """A panel for each way to lose a leader: medians as bars, extremes as whiskers."""
    sheet = Sheet(1, 2, 3.3)
    cases = {case.key: case for case in CASES}
    for panel, (key, title) in zip(sheet.panels, PANELS.items(), strict=True):
        bars(panel, title, [_bar(cases[key], peer, results) for peer in PEERS])
    seen = ", ".join(f"{len(results.taken[key]['bgtasks'])} {key}s" for key in PANELS)
    below = f"Less is better. Medians of {seen} each; whiskers from the lowest to the highest."
    foot = f"{results.on}. To the first line of the next worker, or for a lock until it is acquired."
    sheet.save(picture, "Until the next leader works", below, foot)


def _bar(case: Case, peer: str, results: Results) -> Bar:
    spread, second = results.spread(case.key, peer, "ms"), case.figures[1]
    value = second.value(results, case.key, peer)
    if spread is None or value is None:
        return Bar(peer, None, "not measured", peer == "bgtasks")
    text = f"{written(spread.median)}  ({second.heading.removesuffix(' ms')} {written(value)})"
    return Bar(peer, (spread.median, spread.low, spread.high), text, peer == "bgtasks")


if __name__ == "__main__":
    draw(Results.read(Path(sys.argv[1])), Path(sys.argv[2]))
