"""How the demonstration looks: headings, bars, and lines that fit."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.rule import Rule

from bgtasks.memory.messages import Message

__all__ = ["BAR", "WIDTH", "bar", "heading", "quoted", "short", "spoken"]

BAR = 16
"""Characters of a full bar."""

WIDTH = 80
"""Characters of a line, at most, where that can be chosen."""


def heading(console: Console, title: str) -> None:
    """A line across the screen with a title in it; across 80 characters at most."""
    console.print(Rule(f"[bold]{escape(title)}"), width=min(console.width, WIDTH))


def bar(share: float, length: int = BAR) -> str:
    """A bar for a share from 0 to 1, padded to its full length."""
    return f"{'█' * max(1, round(share * length)):<{length}}"


def short(text: str, length: int) -> str:
    """The text on one line, cut to so many characters."""
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1].rstrip()}…"


def quoted(text: str, length: int, around: str = "") -> str:
    """What somebody said, cut to so many characters, those about `around` where it is said; as markup."""
    line = " ".join(text.split())
    place = max(0, line.casefold().find(around.casefold()))
    begin = min(place - (length - len(around)) // 2, len(line) - length + 1)
    if begin > 0:
        word, _, rest = line[begin:].partition(" ")  # most likely the end of one
        line = f"…{rest if len(word) < place - begin else line[begin:].lstrip()}"
    return f"[italic]“{escape(short(line, length))}”[/]"


def spoken(message: Message, length: int, around: str = "") -> str:
    """Who said what, and where and when, in so many characters; as markup."""
    who = f"{message.author} in {message.channel}, {message.ts:%d %b}:"
    said = quoted(message.text, max(8, length - len(who) - 3), around)
    return f"[dim]{escape(who)}[/] {said}"
