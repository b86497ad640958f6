"""`bgtasks runs`: what was run, by whom, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import typer

from bgtasks.cli.display import AsJson, print_json, say, say_more
from bgtasks.cli.following import Feed, follow
from bgtasks.cli.history import FAILED, Labels, as_run, print_runs
from bgtasks.cli.known import names
from bgtasks.cli.session import execute, fail
from bgtasks.cli.store import StoreUrl, id_of, opened
from bgtasks.contracts import TaskStore
from bgtasks.errors import ConfigurationError, UnknownJob, UnknownTask
from bgtasks.records import RunQuery, RunRow

__all__ = ["runs"]


def runs(
    task: str | None = typer.Option(None, metavar="T", help="Runs of this task, or of jobs of this type."),
    job: str | None = typer.Option(None, metavar="ID", help="Runs of this job; the beginning of an id does."),
    failed: bool = typer.Option(False, "--failed", help="Only those that failed, timed out or were lost."),
    following: bool = typer.Option(False, "--follow", help="Go on with what begins and ends, until SIGINT."),
    limit: int = typer.Option(20, min=1, max=10_000, help="How many."),
    before: str | None = typer.Option(None, metavar="RUN", help="Those before this run: the next page."),
    as_json: bool = AsJson,
    store: str | None = StoreUrl,
) -> None:
    """Show the latest runs, with what came of each; with --json an array, or a line each with --follow."""

    if following and before is not None:
        fail("--follow goes on from now: leave out --before", 2)

    async def work() -> None:
        async with opened(store) as held:
            of = None if job is None else await id_of(held, job)
            query = RunQuery(of, task, FAILED if failed else (), limit=limit)
            feed = Feed(held, query)
            if following:
                await feed.begin()
            found = await held.runs(query._replace(before=await _place(held, before), limit=limit + 1))
            if not found:
                await _expect_known(held, of, task)
            if following:
                await follow(feed, found[:limit], Labels(held), as_json=as_json)
            else:
                await _print(held, found[:limit], as_json, more=len(found) > limit)

    execute(work())


async def _print(store: TaskStore, found: Sequence[RunRow], as_json: bool, *, more: bool) -> None:
    labels = Labels(store)
    if as_json:
        print_json([as_run(run, await labels.of(run)) for run in found])
    elif not found:
        say("no runs")
    else:
        await print_runs(found, labels)
    if more:
        say_more(f"older ones: --before {found[-1].id}", as_json=as_json)


async def _place(store: TaskStore, run: str | None) -> tuple[datetime, str] | None:
    """The place of a run in the order of all.

    Raises:
        ConfigurationError: There is none of this id.
    """
    if run is None:
        return None
    row = await store.run(run)
    if row is None:
        raise ConfigurationError(f'no run has the id "{run}", by now: leave out --before')
    return row.created_at, row.id


async def _expect_known(store: TaskStore, job: UUID | None, task: str | None) -> None:
    """Nothing, if there is such a job and such a task, worker or type of job, or was once.

    Raises:
        UnknownJob: There is no such job.
        UnknownTask: There is no such task, and which is nearest.
    """
    if await store.runs(RunQuery(job, task, limit=1)):
        return
    if job is not None and await store.job(job) is None and not await store.runs(RunQuery(job, limit=1)):
        raise UnknownJob(job)
    if task is not None and task not in (known := await names(store)):
        raise UnknownTask(task, known)
