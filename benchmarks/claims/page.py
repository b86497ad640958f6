"""Writes the figures into docs/reference/benchmarks.md: `python -m benchmarks.claims.page`.

Everything between the marks of the page is replaced; the rest is written by people.
"""

from __future__ import annotations

import sys

from benchmarks.claims.cases import CLAIMS, JOBS
from benchmarks.claims.runner import KEPT
from benchmarks.claims.table import about, aims, promises, table
from benchmarks.claims.targets import targets
from benchmarks.scheduler.page import PAGE
from benchmarks.scheduler.results import Results

__all__ = ["main", "markdown"]


def markdown(results: Results) -> str:
    """Where and when, a table for each group, and what was aimed at."""
    lines = about(results)
    for group in (*CLAIMS, JOBS):
        if any(case.key in results.taken for case in group.cases):
            lines += ["", f"**{group.title[0].upper()}{group.title[1:]}:**", "", *table(results, group)]
            if group.key == "started":
                lines += ["", *promises()]
    return "\n".join([*lines, "", *aims(targets(results))])


def main() -> None:
    """Replace the figures on the page by those of the last full runs."""
    text = PAGE.read_text("utf-8")
    for name in ("claims", "jobs"):
        begin, end = (f"<!-- {name} figures: {where} -->" for where in ("begin", "end"))
        before, _, rest = text.partition(begin)
        _, found, after = rest.partition(end)
        if not found:
            sys.exit(f"{PAGE.name} lacks the marks {begin} and {end}")
        if (kept := KEPT / f"{name}.json").exists():
            text = f"{before}{begin}\n{markdown(Results.read(kept))}\n{end}{after}"
    PAGE.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
