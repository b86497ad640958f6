"""`bgtasks runs --follow`: runs as they begin and end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import batched

from rich.table import Table

from bgtasks.cli.display import NODE_WIDTH, as_text, console, instant, print_json, say
from bgtasks.cli.history import Labels, as_run, cells
from bgtasks.contracts import TaskStore
from bgtasks.errors import ResourceUnavailable
from bgtasks.records import RunQuery, RunRow, RunStatus

__all__ = ["Feed", "follow"]

EVERY = 1.0
"""Seconds between two looks."""

PAGE = 100
"""Runs in one look."""

PAGES = 50
"""Pages at most that are turned back to what was seen before."""

AT_ONCE = 8
"""Runs that are asked for at once, of those whose end is waited for."""

COLUMNS = {"when (UTC)": 14, "task": 20, "status": 14, "node": NODE_WIDTH, "took": 6}
"""How wide they are, but the last one."""

REMEMBERED = 2 * PAGE * PAGES
"""Runs of which it is known that they were shown."""

GOING = (RunStatus.PENDING, RunStatus.RUNNING)


class Feed:
    """What is new among the runs of a store.

    Args:
        query: Of which job, of which type and of which status.

    Attributes:
        left_out: Whether more began between the last two looks than is looked through.
    """

    def __init__(self, store: TaskStore, query: RunQuery) -> None:
        self.store = store
        self.left_out = False
        self._query = query
        self._page = RunQuery(query.job_id, limit=PAGE)  # for those of a type a store may read all there are
        self._known: dict[str, RunStatus] = {}
        self._awaited: dict[str, None] = {}
        self._since: tuple[datetime, str] | None = None

    async def begin(self) -> None:
        """Take what there is by now for known."""
        page = await self.store.runs(self._page)
        if len(page) == PAGE:
            self._since = _place(page[-1])
        self.know(page)
        going = self._query._replace(statuses=GOING, before=None, limit=PAGE)
        while len(page := await self.store.runs(going)) == PAGE:
            self.know(page)
            going = going._replace(before=_place(page[-1]))
        self.know(page)

    def know(self, runs: Iterable[RunRow]) -> None:
        """Take runs for known as they stand."""
        for run in runs:
            self._known.pop(run.id, None)
            self._known[run.id] = run.status
            self._awaited.pop(run.id, None)
            if not run.status.is_over and self._query.job_type in (None, run.job_type):
                self._awaited[run.id] = None

    async def news(self) -> list[RunRow]:
        """Those that have begun or ended since, and are asked for; the earliest first."""
        found = {run.id: run for run in await self._latest()}
        for some in batched([id for id in self._awaited if id not in found], AT_ONCE):
            runs = await asyncio.gather(*map(self.store.run, some))
            for id, run in zip(some, runs, strict=True):
                if run is None:
                    del self._awaited[id], self._known[id]
                else:
                    found[id] = run
        fresh = sorted(
            (run for run in found.values() if self._known.get(run.id) is not run.status), key=_order
        )
        self.know(fresh)
        for id in [id for id in self._known if id not in self._awaited][:-REMEMBERED]:
            del self._known[id]
        return [run for run in fresh if self._asks_for(run)]

    async def _latest(self) -> list[RunRow]:
        """The latest runs, back to a page of which all were known."""
        found, query = list[RunRow](), self._page
        for _ in range(PAGES):
            page = await self.store.runs(query)
            newer = [run for run in page if self._since is None or _place(run) >= self._since]
            found += newer
            if len(newer) < PAGE or all(run.id in self._known for run in newer):
                self.left_out = False
                return found
            query = query._replace(before=_place(page[-1]))
        self.left_out = True
        return found

    def _asks_for(self, run: RunRow) -> bool:
        statuses = self._query.statuses
        return self._query.job_type in (None, run.job_type) and (not statuses or run.status in statuses)


async def follow(feed: Feed, latest: Sequence[RunRow], labels: Labels, *, as_json: bool) -> None:
    """Print runs, and then those that begin or end, until SIGINT or SIGTERM.

    Args:
        feed: It has begun.
        latest: The runs that there are, the latest first.

    Raises:
        ResourceUnavailable: The store does not answer when it is asked first. Later it is waited for.
    """
    from bgtasks.service import stop_signal

    feed.know(latest)
    async with stop_signal() as asked:
        printing = _watch(feed, list(reversed(latest)), labels, None if as_json else Lines())
        watching = asyncio.create_task(printing, name="bgtasks:cli:follow")
        waiting = asyncio.create_task(asked.wait(), name="bgtasks:cli:signal")
        try:
            await asyncio.wait((watching, waiting), return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            watching.cancel()
            await asyncio.wait((watching, waiting))
        if not watching.cancelled():
            watching.result()


async def _watch(feed: Feed, unprinted: list[RunRow], labels: Labels, lines: Lines | None) -> None:
    await _print(unprinted, labels, lines)
    away = False
    while True:
        await asyncio.sleep(EVERY)
        try:
            unprinted += await feed.news()
            await _print(unprinted, labels, lines)
        except ResourceUnavailable as error:
            if not away:
                say(f"{error}; waiting for it", err=True)
            away = True
            continue
        if away:
            say(f"{feed.store.name} answers again", err=True)
            away = False
        if feed.left_out:
            say(
                f"more than {PAGE * PAGES} runs began at once: the first of them are in bgtasks runs",
                err=True,
            )


async def _print(runs: list[RunRow], labels: Labels, lines: Lines | None) -> None:
    """Print runs, each of which is taken off the list then."""
    while runs:
        label = await labels.of(runs[0])
        if lines is None:
            print_json(as_run(runs[0], label), lines=True)
        else:
            lines.print(runs[0], label)
        del runs[0]


class Lines:
    """Prints run after run in columns that stay where they are."""

    def __init__(self) -> None:
        self._console = console()
        self._header = True

    def print(self, run: RunRow, label: str) -> None:
        """Print one run as it stands."""
        line = Table(box=None, pad_edge=False, header_style="bold", show_header=self._header)
        for title, width in COLUMNS.items():
            line.add_column(title, width=width, no_wrap=title != "status", overflow="ellipsis")
        left = self._console.width - sum(width + 2 for width in COLUMNS.values())
        line.add_column("result or reason", max_width=max(left, 10), no_wrap=True, overflow="ellipsis")
        line.add_row(*map(as_text, cells(run, label, instant(_order(run)[0]))))
        self._console.print(line)
        self._header = False


def _place(run: RunRow) -> tuple[datetime, str]:
    """Where a run is in a store's order."""
    return run.created_at, run.id


def _order(run: RunRow) -> tuple[datetime, str]:
    """Where a run is in the order of what happened."""
    return run.finished_at or run.started_at or run.created_at, run.id
