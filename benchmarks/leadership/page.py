"""Writes the figures into docs/reference/benchmarks.md: `python -m benchmarks.leadership.page [results]`.

Everything between the two marks of the page is replaced; the rest is written by people.
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.apart import ROOT
from benchmarks.leadership.cases import CASES
from benchmarks.leadership.targets import targets
from benchmarks.scheduler.figures import written
from benchmarks.scheduler.page import PAGE
from benchmarks.scheduler.results import Results

__all__ = ["main", "markdown"]

BEGIN, END = "<!-- leadership figures: begin -->", "<!-- leadership figures: end -->"


def markdown(results: Results) -> str:
    """Where and when, a table with a row for each figure, and what was aimed at."""
    peers = list(results.peers)
    lines = [f"{results.rounds} rounds on {results.on}:", ""]
    lines += [f"- **{peer}**: {about}" for peer, about in results.peers.items()]
    lines += ["", f"| what | | {' | '.join(peers)} |", f"|---|---|{'---:|' * len(peers)}"]
    for case in CASES:
        seen = len(results.taken[case.key]["bgtasks"])
        for number, figure in enumerate(case.figures):
            cells = []
            for peer in peers:
                value = figure.value(results, case.key, peer)
                cells.append(results.ended[case.key].get(peer, "") if value is None else written(value))
            what = "" if number else f"{case.title}; of {seen}"
            lines.append(f"| {what} | {figure.heading} | {' | '.join(cells)} |")
    lines += ["", "| against what was aimed at | came out | aim |", "|---|---:|---:|"]
    lines += [f"| {target.what} | {target.value} | {target.aim} |" for target in targets(results)]
    return "\n".join(lines)


def main() -> None:
    """Replace the figures on the page by those of the last full run."""
    kept = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "bench" / "leadership.json"
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        sys.exit(f"{PAGE.name} lacks the marks {BEGIN} and {END}")
    PAGE.write_text(f"{before}{BEGIN}\n{markdown(Results.read(kept))}\n{END}{after}", "utf-8")


if __name__ == "__main__":
    main()
