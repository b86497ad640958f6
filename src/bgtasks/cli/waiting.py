"""A run that is wanted now: offered to the nodes, waited for, and said how it ended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.text import Text

from bgtasks.claims import Jobs
from bgtasks.cli.display import console, one_line, say, span
from bgtasks.cli.history import job_name, outcome, result, took
from bgtasks.cli.known import why_nobody
from bgtasks.contracts import TaskStore
from bgtasks.nodes import Nodes
from bgtasks.records import JobRow, RunRow, RunStatus

__all__ = ["WAIT", "Wait", "run_and_wait", "waiting"]

WAIT = 30.0
"""Seconds for which a run that was asked for is waited for."""

LOOK_EVERY = 0.2
"""Seconds between two looks at it."""

Wait = typer.Option(WAIT, "--wait", metavar="S", min=0.0, help="Seconds to wait for its end; 0: not at all.")


async def run_and_wait(store: TaskStore, job: JobRow, seconds: float) -> int:
    """Offer a run of a job to the nodes, wait for its end and say it; an exit code.

    Nothing is offered that no node which is alive can run: it would run whenever one comes.
    """
    name, nodes = job_name(job), await Nodes(store).alive()
    if not any(job.job_type in node.wired for node in nodes):
        say(f"{name}: not run: {why_nobody(job.job_type, nodes)}", err=True)
        return 1
    run_id = await Jobs(store).run_now(job.id)
    if not seconds:
        say(f"{name}: run {run_id} is wanted")
        return 0
    with waiting(f"waiting for {name}"):
        run = await _ended(store, run_id, seconds)
    return _told(name, run_id, run, seconds)


async def _ended(store: TaskStore, run_id: str, seconds: float) -> RunRow | None:
    """A run, as it stands when it is over or the time is; None if it is kept no more."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while True:
        run = await store.run(run_id)
        if run is None or run.status.is_over or loop.time() >= until:
            return run
        await asyncio.sleep(min(LOOK_EVERY, max(0.0, until - loop.time())))


def _told(name: str, run_id: str, run: RunRow | None, seconds: float) -> int:
    if run is None:
        say(f"{name}: the store has no run {run_id} any more", err=True)
        return 1
    if run.status is RunStatus.PENDING:
        took_long = f"nobody has begun it in {span(seconds)}"
        say(f"{name}: {took_long}; it stays wanted, as run {run_id}", err=True)
        return 1
    if run.status is RunStatus.RUNNING:
        still = f"still running on {run.node_id} after {span(seconds)}"
        say(f"{name}: {still}, as run {run_id}", err=True)
        return 1
    where = f" on {run.node_id}" if run.node_id else ""
    lasted = f" after {took(run)}" if took(run) else ""
    what = f": {result(run)}" if result(run) else ""
    say(f"{name}: {outcome(run)}{where}{lasted}{what}")
    return 0 if run.status is RunStatus.SUCCESS else 1


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Show on a terminal that something is waited for."""
    shown = console(err=True)
    if shown.is_terminal:
        with shown.status(Text(one_line(what))):
            yield
    else:
        yield
