"""`bgtasks runs --follow`: runs as they begin and end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime

import typer
from rich.console import Console
from rich.table import Table

from bgtasks.cli.display import NODE_WIDTH, as_text, print_json
from bgtasks.cli.history import FAILED, Labels, as_run, cells
from bgtasks.contracts import TaskStore
from bgtasks.errors import ResourceUnavailable
from bgtasks.records import RunQuery, RunRow, RunStatus
from bgtasks.service import stop_signal

__all__ = ["Feed", "follow"]

EVERY = 1.0
"""Seconds between two looks."""

PAGE = 100
"""Runs in one look."""

PAGES = 50
"""Pages at most that are turned back to what was seen before."""

COLUMNS = {"UTC": 8, "task": 20, "status": 14, "node": NODE_WIDTH, "took": 6}
"""How wide they are, but the last one."""

REMEMBERED = 2 * PAGE * PAGES
"""Runs of which it is known that they were shown."""


async def follow(store: TaskStore, query: RunQuery, *, failed: bool, as_json: bool) -> None:
    """Print the latest runs, and then those that begin or end, until SIGINT or SIGTERM.

    Raises:
        ResourceUnavailable: The store does not answer when it is asked first. Later it is waited for.
    """
    async with stop_signal() as asked:
        watching = asyncio.create_task(_watch(store, query, failed, as_json), name="bgtasks:cli:follow")
        waiting = asyncio.create_task(asked.wait(), name="bgtasks:cli:signal")
        try:
            await asyncio.wait((watching, waiting), return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            watching.cancel()
            await asyncio.wait((watching, waiting))
        if not watching.cancelled():
            watching.result()


async def _watch(store: TaskStore, query: RunQuery, failed: bool, as_json: bool) -> None:
    def asked_for(runs: Iterable[RunRow]) -> list[RunRow]:
        return [run for run in runs if not failed or run.status in FAILED]

    feed, labels = Feed(store, query), Labels(store)
    lines = None if as_json else Lines()
    unprinted = asked_for(await feed.begin())[-query.limit :]
    await _print(unprinted, labels, lines)
    away = False
    while True:
        await asyncio.sleep(EVERY)
        try:
            unprinted += asked_for(await feed.news())
            await _print(unprinted, labels, lines)
        except ResourceUnavailable as error:
            if not away:
                typer.echo(f"{error}; waiting for it", err=True)
            away = True
        else:
            if away:
                typer.echo(f"{store.name} answers again", err=True)
            away = False


async def _print(runs: list[RunRow], labels: Labels, lines: Lines | None) -> None:
    """Print runs, each of which is taken off the list then."""
    while runs:
        label = await labels.of(runs[0])
        if lines is None:
            print_json(as_run(runs[0], label), lines=True)
        else:
            lines.print(runs[0], label)
        del runs[0]


class Feed:
    """What is new among the runs of a store.

    Args:
        query: Of which job, or of which type.
    """

    def __init__(self, store: TaskStore, query: RunQuery) -> None:
        self._store = store
        self._query = query._replace(limit=PAGE)
        self._shown: dict[str, RunStatus] = {}
        self._since: datetime | None = None

    async def begin(self) -> list[RunRow]:
        """The latest runs, and those that are not over; the earliest first."""
        limit = max(PAGE, self._query.limit)
        page = await self._store.runs(self._query._replace(limit=limit))
        if len(page) == limit:
            self._since = page[-1].created_at
        going = await self._store.runs(
            self._query._replace(statuses=(RunStatus.PENDING, RunStatus.RUNNING), limit=limit)
        )
        return self._taken({run.id: run for run in (*page, *going)}.values())

    async def news(self) -> list[RunRow]:
        """Those that have begun or ended since; the earliest first."""
        found = {run.id: run for run in await self._latest()}
        for id, status in tuple(self._shown.items()):
            if not status.is_over and id not in found:
                run = await self._store.run(id)
                if run is None:
                    del self._shown[id]
                else:
                    found[id] = run
        return self._taken(found.values())

    async def _latest(self) -> list[RunRow]:
        """The latest runs, back to a page of which all were known."""
        found, query = list[RunRow](), self._query
        for _ in range(PAGES):
            page = await self._store.runs(query)
            newer = [run for run in page if self._since is None or run.created_at >= self._since]
            found += newer
            if len(newer) < PAGE or all(run.id in self._shown for run in newer):
                break
            query = query._replace(before=(page[-1].created_at, page[-1].id))
        return found

    def _taken(self, runs: Iterable[RunRow]) -> list[RunRow]:
        """Those whose status was not shown yet, which it is from now on."""
        fresh = sorted((run for run in runs if self._shown.get(run.id) is not run.status), key=_order)
        for run in fresh:
            self._shown.pop(run.id, None)
            self._shown[run.id] = run.status
        for id in [id for id, status in self._shown.items() if status.is_over][:-REMEMBERED]:
            del self._shown[id]
        return fresh


class Lines:
    """Prints run after run in columns that stay where they are."""

    def __init__(self) -> None:
        self._console = Console()
        self._header = True

    def print(self, run: RunRow, label: str) -> None:
        """Print one run as it stands."""
        line = Table(box=None, pad_edge=False, header_style="bold", show_header=self._header)
        for title, width in COLUMNS.items():
            line.add_column(title, width=width, no_wrap=title != "status", overflow="ellipsis")
        left = self._console.width - sum(width + 2 for width in COLUMNS.values())
        line.add_column("result or reason", width=max(left, 10), no_wrap=True, overflow="ellipsis")
        at = run.finished_at or run.started_at or run.created_at
        line.add_row(*map(as_text, cells(run, label, f"{at.astimezone(UTC):%H:%M:%S}")))
        self._console.print(line)
        self._header = False


def _order(run: RunRow) -> tuple[datetime, str]:
    return run.finished_at or run.started_at or run.created_at, run.id
