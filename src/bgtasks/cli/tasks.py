"""`bgtasks tasks`: every task, whether it runs here, and if not, why."""

from __future__ import annotations

import json

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from bgtasks.cli.session import Imports, RedisUrl, execute, import_tasks, load
from bgtasks.resources import open_resources
from bgtasks.service import compose
from bgtasks.settings import Settings
from bgtasks.wiring import Decision

__all__ = ["table", "tasks"]


def tasks(
    redis: str | None = RedisUrl,
    imports: list[str] = Imports,
    as_json: bool = typer.Option(False, "--json", help="One JSON array instead of a table."),
) -> None:
    """Show every known task and worker: when it runs, and why if it does not."""
    settings = load(redis)
    import_tasks(imports)
    execute(_tasks(settings, as_json))


async def _tasks(settings: Settings, as_json: bool) -> int:
    async with open_resources(settings, checked=False) as held:
        rows = compose(held, settings).decisions
    if as_json:
        typer.echo(json.dumps([{**row._asdict(), "wired": row.wired} for row in rows], indent=2))
    else:
        Console().print(table(rows))
    if held.trouble is not None:
        typer.echo(f"error: what is wired waits: {held.trouble}", err=True)
        return 3
    return 0


def table(rows: tuple[Decision, ...]) -> Table:
    """The decisions as a table for people, wired ones first."""
    notes = list(dict.fromkeys(row.note for row in rows if row.wired and row.note))
    caption = "\n".join(f"{'*' * (number + 1)} {note}" for number, note in enumerate(notes))
    shown = Table(box=None, pad_edge=False, header_style="bold", caption=caption, caption_justify="left")
    shown.add_column("task", no_wrap=True)
    shown.add_column("scope", no_wrap=True)
    shown.add_column("when", overflow="fold")
    shown.add_column("runs here?", overflow="fold")
    for row in sorted(rows, key=lambda row: not row.wired):
        if row.wired:
            mark = " " + "*" * (notes.index(row.note) + 1) if row.note else ""
            answer = f"[green]yes[/]{mark}"
        else:
            answer = f"[yellow]no:[/] {escape(row.reason or '')}"
        shown.add_row(Text(row.name), row.scope, Text(row.when), answer)
    return shown
