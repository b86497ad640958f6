"""The pages of the documentation, and the blocks of code in them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

__all__ = ["ROOT", "Block", "blocks", "pages", "prose"]

ROOT = Path(__file__).parents[2]

_FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block: its page, the line it begins at, and what is in it."""

    page: Path
    line: int
    info: str
    code: str

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT).as_posix()}:{self.line}"


def pages() -> list[Path]:
    """The README, what stands beside it, and every page under docs/."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(language: str) -> list[Block]:
    """Every block in `language`, but those marked `notest`."""
    found = []
    for page in pages():
        text = page.read_text("utf-8")
        for match in _FENCE.finditer(text):
            words = match["info"].split()
            if words[:1] == [language] and "notest" not in words:
                line = text.count("\n", 0, match.start("code")) + 1
                found.append(Block(page, line, match["info"], match["code"]))
    return found


def prose(page: Path) -> str:
    """The page without its blocks of code."""
    return _FENCE.sub("", page.read_text("utf-8"))
