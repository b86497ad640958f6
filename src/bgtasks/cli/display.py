"""How rows of a store are shown: instants and spans in words, tables for people, JSON for programs."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Never
from uuid import UUID

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bgtasks.cli import printable
from bgtasks.run import NOTHING
from bgtasks.triggers import spoken

__all__ = [
    "NODE_WIDTH",
    "AsJson",
    "ago",
    "as_record",
    "as_text",
    "console",
    "head",
    "instant",
    "now",
    "one_line",
    "print_json",
    "print_table",
    "read_instant",
    "read_json",
    "say",
    "say_more",
    "show",
    "span",
    "table",
    "tail",
]

AsJson = typer.Option(False, "--json", help="JSON instead of what is for people.")

NODE_WIDTH = 18
"""Characters of a node's name that a table shows: the last ones, which tell two processes apart."""

WIDE = 10_000
"""Characters of a line that no terminal shows and no setting limits: nothing is cut to it."""

type Cell = str | Text


class _Console(Console):
    """One that ends its command, when its reader is gone, as any other line that cannot be written does."""

    def on_broken_pipe(self) -> Never:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def console(*, err: bool = False) -> Console:
    """What is printed on: as wide as the terminal, or as COLUMNS says; a file or a pipe is not cut to any."""
    made = _Console(stderr=err)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made.width = WIDE
    return made


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
    return " ".join(printable(text).split())


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
    print_table(shown)


def print_table(shown: Table) -> None:
    """Print a table; where no terminal shows it, without the blanks at the ends of its lines."""
    out = console()
    if out.is_terminal:
        out.print(shown)
        return
    with out.capture() as caught:
        out.print(shown)
    typer.echo("\n".join(line.rstrip(" ") for line in caught.get().removesuffix("\n").split("\n")))


def say(line: str, *, err: bool = False) -> None:
    """Print a line as it is, but for what a terminal would obey; on stderr with `err`."""
    typer.echo(printable(line), err=err)


def say_more(how: str, *, as_json: bool) -> None:
    """Say that a list goes on, and how to see that: below a table, and on stderr beside what is JSON."""
    if not as_json:
        typer.echo()
    say(how, err=as_json)


def as_text(cell: Cell) -> Text:
    """A cell as it is: what somebody wrote may look like markup."""
    return cell if isinstance(cell, Text) else Text(one_line(cell))
