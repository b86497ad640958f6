"""How rows of a store are shown: instants and spans in words, tables for people, JSON for programs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bgtasks.run import NOTHING
from bgtasks.triggers import spoken

__all__ = [
    "NODE_WIDTH",
    "AsJson",
    "ago",
    "as_record",
    "as_text",
    "head",
    "instant",
    "now",
    "one_line",
    "print_json",
    "read_instant",
    "read_json",
    "say",
    "show",
    "span",
    "table",
    "tail",
]

AsJson = typer.Option(False, "--json", help="JSON instead of what is for people.")

NODE_WIDTH = 18
"""Characters of a node's name that a table shows: the last ones, which tell two processes apart."""

type Cell = str | Text


def now() -> datetime:
    """The time of this machine."""
    return datetime.now(UTC)


def instant(at: datetime | None) -> str:
    """An instant in UTC to the second; without the year, if it is this one."""
    if at is None:
        return ""
    at = at.astimezone(UTC)
    return f"{at:%m-%d %H:%M:%S}" if at.year == now().year else f"{at:%Y-%m-%d %H:%M}"


def read_instant(text: Any) -> datetime | None:
    """The instant that a text says; None if it says none."""
    try:
        at = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return at if at.tzinfo is not None else None


def ago(at: datetime | None) -> str:
    """How far an instant is from now, as `3m20s ago` or `in 59m`; empty for none."""
    if at is None:
        return ""
    seconds = float(round((at - now()).total_seconds()))
    if not seconds:
        return "now"
    return f"in {span(seconds)}" if seconds > 0 else f"{span(-seconds)} ago"


def span(seconds: float) -> str:
    """A span, so far as it is of interest: `4ms`, `2.5s`, `42s`, `3m20s`, `2d4h`."""
    if round(seconds, 3) < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 10:
        return f"{seconds:.1f}".removesuffix(".0") + "s"
    unit = 3600 if seconds >= 86400 else 60 if seconds >= 3600 else 1
    return spoken(float(round(seconds / unit) * unit))


def one_line(text: str) -> str:
    """The text on one line, without what a terminal would obey."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())


def head(name: str, width: int) -> str:
    """The beginning of a name that is too long."""
    shown = one_line(name)
    return shown if len(shown) <= width else f"{shown[: width - 1]}…"


def tail(name: str | None, width: int = NODE_WIDTH) -> str:
    """The end of a name that is too long."""
    shown = one_line(name or "")
    return shown if len(shown) <= width else f"…{shown[1 - width :]}"


def read_json(text: str | None) -> Any:
    """What was written as JSON; the text itself if it is none."""
    try:
        return None if text is None else json.loads(text)
    except ValueError:
        return text


def as_record(row: Any) -> dict[str, Any]:
    """A row as JSON can hold it; what is kept as JSON is read."""
    record = {}
    for field in dataclasses.fields(row):
        value = getattr(row, field.name)
        if field.name.endswith("_json"):
            record[field.name.removesuffix("_json")] = read_json(value)
        elif isinstance(value, datetime):
            record[field.name] = value.isoformat()
        elif isinstance(value, UUID):
            record[field.name] = str(value)
        else:
            record[field.name] = value
    return record


def print_json(value: Any, *, lines: bool = False) -> None:
    """Print a value as JSON: for people who look at it, or on a line of its own."""
    typer.echo(json.dumps(value, indent=None if lines else 2, ensure_ascii=False, default=_plain))


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def table(*titles: str, header: bool = True) -> Table:
    """A table without lines."""
    shown = Table(box=None, pad_edge=False, header_style="bold", show_header=header)
    for title in titles:
        shown.add_column(title, overflow="fold")
    return shown


def show(
    titles: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    *,
    cut: Collection[str] = (),
    fold: Mapping[str, int] = NOTHING,
    header: bool = True,
) -> None:
    """Print a table, without the columns in which no row has anything.

    Args:
        cut: Columns whose cells are cut to what is left of the width.
        fold: Columns whose cells are folded to it, and to so many characters. Beside either, the others stay
            as wide as they are.
        header: Whether the titles are shown.
    """
    held = list(rows)
    kept = [place for place in range(len(titles)) if any(str(row[place]) for row in held)]
    shown = table(*(titles[place] for place in kept), header=header)
    for column in shown.columns if cut or fold else ():
        if column.header in fold:
            column.max_width = fold[str(column.header)]
        elif column.header not in cut:
            column.no_wrap, column.overflow = True, "ellipsis"
    for row in held:
        cells = [as_text(row[place]) for place in kept]
        for place, cell in zip(kept, cells, strict=True):
            if titles[place] in cut:
                cell.no_wrap, cell.overflow = True, "ellipsis"
        shown.add_row(*cells)
    Console().print(shown)


def say(line: str) -> None:
    """Print a line as it is, but for what a terminal would obey."""
    typer.echo("".join(each if each.isprintable() else " " for each in line))


def as_text(cell: Cell) -> Text:
    """A cell as it is: what somebody wrote may look like markup."""
    return cell if isinstance(cell, Text) else Text(one_line(cell))
