"""Writes the figures into docs/reference/benchmarks.md: `python -m benchmarks.knowledge.page [results.json]`.

Everything between the marks of the page is replaced; the rest is written by people.
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.knowledge.runner import KEPT, PICTURE
from benchmarks.knowledge.table import markdown
from benchmarks.scheduler.page import PAGE
from benchmarks.scheduler.results import Results

__all__ = ["main", "replaced"]

BEGIN, END = "<!-- knowledge figures: begin -->", "<!-- knowledge figures: end -->"
ALT = "What a message and a fact cost as they grow in number, and what questions to a large graph take"


def replaced(text: str, results: Results, *, picture: bool) -> str:
    """The page with these figures between its marks.

    Raises:
        ValueError: It lacks them.
    """
    before, _, rest = text.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"{PAGE.name} lacks the marks {BEGIN} and {END}")
    shown = f"![{ALT}](../images/{PICTURE.name})\n\n" if picture else ""
    return f"{before}{BEGIN}\n{shown}{markdown(results)}\n{END}{after}"


def main() -> None:
    """Replace the figures on the page by those of the last full run."""
    kept = Path(sys.argv[1]) if len(sys.argv) > 1 else KEPT / "knowledge.json"
    text = PAGE.read_text("utf-8")
    try:
        text = replaced(text, Results.read(kept), picture=PICTURE.exists())
    except ValueError as error:
        sys.exit(str(error))
    PAGE.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
