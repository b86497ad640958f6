"""`bgtasks tasks`: every task, whether it runs here, and if not, why."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from bgtasks.cli.cluster import Standing, print_standings, standings
from bgtasks.cli.display import AsJson, print_json, print_table, say
from bgtasks.cli.jobs import when
from bgtasks.cli.session import Imports, RedisUrl, execute, import_tasks, load
from bgtasks.cli.store import NoStore, StoreUrl, open_store
from bgtasks.errors import BgTasksError, ResourceUnavailable
from bgtasks.resources import Resources, open_resources
from bgtasks.settings import Settings
from bgtasks.wiring import Decision

__all__ = ["table", "tasks"]

WITHIN = 2.8
"""Seconds that the store may take for everything."""


def tasks(
    redis: str | None = RedisUrl,
    imports: list[str] = Imports,
    store: str | None = StoreUrl,
    as_json: bool = AsJson,
) -> None:
    """Show every known task and worker: when it runs, if not why, and how it stands in the cluster."""
    settings = load(redis)
    import_tasks(imports)
    execute(_tasks(settings, store, as_json))


async def _tasks(settings: Settings, store: str | None, as_json: bool) -> int:
    from bgtasks.service import compose

    apart = store is not None or settings.store_url is not None
    async with AsyncExitStack() as stack:
        asked = asyncio.create_task(_stand(settings, store)) if apart else None
        if asked is not None:
            stack.callback(asked.cancel)
        held = await stack.enter_async_context(open_resources(settings, checked=False))
        rows = compose(held, settings).decisions
        if asked is not None:
            stand = await asked
        elif held.trouble is None:
            stand = await _stand(settings, None, held)
        else:
            stand = []
    troubles = [f"what is wired waits: {held.trouble}"] if held.trouble is not None else []
    if isinstance(stand, BgTasksError):
        troubles.append(f"how tasks stand in the cluster is not known: {stand}")
        stand = []
    if as_json:
        in_store = {each.job.job_type: each for each in stand}
        known = [_record(row, in_store.pop(row.name, None)) for row in rows]
        print_json(known + [_record(_unknown(each), each) for each in in_store.values()])
    else:
        print_table(table(rows))
        if stand:
            typer.echo()
            print_standings(stand)
    for trouble in troubles:
        say(f"error: {trouble}", err=True)
    return 3 if troubles else 0


async def _stand(
    settings: Settings, store: str | None, held: Resources | None = None
) -> list[Standing] | BgTasksError:
    """How the tasks stand in the store, if there is one; or why that is not known."""
    try:
        async with asyncio.timeout(WITHIN), open_store(settings, store, held) as opened:
            return await standings(opened)
    except NoStore:
        return []
    except TimeoutError:
        return ResourceUnavailable("the store", f"no answer in {WITHIN:g} s")
    except BgTasksError as error:
        return error


def _record(row: Decision, stands: Standing | None) -> dict[str, Any]:
    return {**row._asdict(), "wired": row.wired, "cluster": None if stands is None else stands.record()}


def _unknown(each: Standing) -> Decision:
    """The row of a task that the store has and this process has not."""
    reason = "this process does not know it: --import its module"
    return Decision(each.job.job_type, reason, when=when(each.job), scope="cluster")


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
