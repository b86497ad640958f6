"""How the tasks that are declared in code stand across the cluster, by the store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import batched
from typing import Any, NamedTuple

from rich.text import Text

from bgtasks.claims.declared import job_id
from bgtasks.cli.display import ago, one_line, show, tail
from bgtasks.cli.history import outcome
from bgtasks.contracts import TaskStore
from bgtasks.records import JobRow, RunQuery, RunRow, RunStatus

__all__ = ["Standing", "print_standings", "standings"]

LATEST = 10
"""Runs of a task that are looked through for the last one that was started."""

AT_ONCE = 8
"""Tasks that are asked for at once."""


class Standing(NamedTuple):
    """How a task stands.

    Attributes:
        last: The last run that was started; None if there was none.
    """

    job: JobRow
    last: RunRow | None

    @property
    def holder(self) -> str | None:
        """The node of the run in progress."""
        run = self.last
        return run.node_id if run is not None and run.status is RunStatus.RUNNING else None

    def record(self) -> dict[str, Any]:
        """It for programs."""
        job, last = self.job, self.last
        return {
            "last_run": None if job.last_run_at is None else job.last_run_at.isoformat(),
            "last_status": None if last is None else last.status,
            "next_run": None if job.next_run_at is None else job.next_run_at.isoformat(),
            "holder": self.holder,
            "failures": job.failures,
            "paused": None if job.enabled else job.reason or "by hand",
            "retired": None if job.retired_at is None else job.retired_at.isoformat(),
        }


async def standings(store: TaskStore) -> list[Standing]:
    """How each task stands that the store knows, in the order of their names."""
    found = list[Standing]()
    for some in batched(await store.types(), AT_ONCE):
        found += [each for each in await asyncio.gather(*(_standing(store, name) for name in some)) if each]
    return found


async def _standing(store: TaskStore, name: str) -> Standing | None:
    """How a task stands; None if it is a type of jobs that were added at run time."""
    job = await store.job(job_id(name))
    return None if job is None else Standing(job, await _last(store, job))


async def _last(store: TaskStore, job: JobRow) -> RunRow | None:
    """The last run that was started; behind many that were skipped, only if it goes on."""
    if job.last_run_at is None:
        return None
    runs = await store.runs(RunQuery(job.id, limit=LATEST))
    started = [run for run in runs if run.started_at is not None]
    if not started:
        started = list(await store.runs(RunQuery(job.id, statuses=(RunStatus.RUNNING,), limit=1)))
    going = [run for run in started if run.status is RunStatus.RUNNING]
    return next(iter(going or started), None)


def print_standings(found: Sequence[Standing]) -> None:
    """Print them as a table."""
    titles = ("across the cluster", "last run", "next run", "runs on", "fails", "state")
    show(titles, [_cells(each) for each in found], fold={"last run": 34, "state": 60})


def _cells(each: Standing) -> tuple[str | Text, ...]:
    job, last = each.job, each.last
    ended = "" if last is None or each.holder else f", {outcome(last)}"
    return (
        job.job_type,
        f"{ago(job.last_run_at)}{ended}" if job.last_run_at else "",
        ago(job.next_run_at) if job.enabled and job.retired_at is None else "",
        Text(tail(each.holder), "cyan"),
        Text(str(job.failures or ""), "red"),
        Text(", ").join(_state(job)),
    )


def _state(job: JobRow) -> list[Text]:
    """What there is to say of a task that is not due."""
    said = []
    if job.retired_at is not None:
        said.append(Text("retired", "dim"))
    if not job.enabled:
        said.append(Text(f"paused: {one_line(job.reason) or 'by hand'}", "yellow"))
    return said
