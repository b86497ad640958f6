"""Writes the figures into docs/reference/benchmarks.md: `python -m benchmarks.memory.page`.

Everything between the marks of the page is replaced; the rest is written by people.
"""

from __future__ import annotations

import sys

from benchmarks.memory.results import Results
from benchmarks.memory.runner import KEPT
from benchmarks.memory.table import markdown
from benchmarks.scheduler.page import PAGE

__all__ = ["main"]

BEGIN, END = "<!-- memory figures: begin -->", "<!-- memory figures: end -->"


def main() -> None:
    """Replace the figures on the page by those of the last run."""
    text = PAGE.read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        sys.exit(f"{PAGE.name} lacks the marks {BEGIN} and {END}")
    PAGE.write_text(f"{before}{BEGIN}\n{markdown(Results.read(KEPT))}\n{END}{after}", "utf-8")


if __name__ == "__main__":
    main()
