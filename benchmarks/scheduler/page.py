"""Writes the figures into docs/reference/benchmarks.md: `python -m benchmarks.scheduler.page [results.json]`.

Everything between the two marks of the page is replaced; the rest is written by people.
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.apart import ROOT
from benchmarks.scheduler.cases import CASES, Case
from benchmarks.scheduler.figures import FIGURES, written
from benchmarks.scheduler.ratios import ratios
from benchmarks.scheduler.results import Results

__all__ = ["main", "markdown"]

PAGE = ROOT / "docs" / "reference" / "benchmarks.md"
BEGIN, END = "<!-- scheduler figures: begin -->", "<!-- scheduler figures: end -->"
SHOWN = (
    "setup-1000", "setup-100000", "fire-1000-staggered", "fire-5000-staggered", "fire-1000-burst",
    "fire-5000-burst", "fire-5000-staggered-waits", "fire-1000-burst-waits", "flood-1ms", "idle", "stop",
)  # fmt: skip


def markdown(results: Results) -> str:
    """Where and when, a table of medians with a row for each figure, and the ratios."""
    shown = [case for case in CASES if case.key in SHOWN]
    peers = list(results.peers)
    lines = [f"Medians of {results.rounds} rounds on {results.on}:", ""]
    lines += [f"- **{peer}**: {about}" for peer, about in results.peers.items()]
    lines += ["", f"| what | | {' | '.join(peers)} |", f"|---|---|{'---:|' * len(peers)}"]
    for case in shown:
        lines += _rows(results, case, peers)
    lines += ["", "| against what was aimed at | came out | aim |", "|---|---:|---:|"]
    lines += [f"| {ratio.what} | {ratio.value} | {ratio.aim} |" for ratio in ratios(results)]
    month = results.median("month", "bgtasks", "fires")
    if month is not None:
        lines += ["", f"The simulated month has {month:,.0f} fires."]
    return "\n".join(lines)


def _rows(results: Results, case: Case, peers: list[str]) -> list[str]:
    rows = []
    for number, figure in enumerate(FIGURES[case.kind]):
        cells = []
        for peer in peers:
            median = results.median(case.key, peer, figure.key)
            cells.append(results.ended[case.key].get(peer, "") if median is None else written(median))
        rows.append(f"| {'' if number else case.title} | {figure.heading} | {' | '.join(cells)} |")
    return rows


def main() -> None:
    """Replace the figures on the page by those of the last full run."""
    kept = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "bench" / "scheduler.json"
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        sys.exit(f"{PAGE.name} lacks the marks {BEGIN} and {END}")
    PAGE.write_text(f"{before}{BEGIN}\n{markdown(Results.read(kept))}\n{END}{after}", "utf-8")


if __name__ == "__main__":
    main()
