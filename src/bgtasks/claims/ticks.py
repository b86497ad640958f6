"""What is asked of a store for a job that is due."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from bgtasks.claims.declared import kept_trigger
from bgtasks.claims.plan import Plan, plan
from bgtasks.claims.stored import AHEAD, Stored
from bgtasks.job import Job
from bgtasks.policies import LATE, CatchUp, Overlap
from bgtasks.records import JobRow, Tick
from bgtasks.run import NewRunId

__all__ = ["Asked", "Wanted", "ask_for"]

ATTEMPTS = 3
"""How often a tick is started at most, if its node dies."""

EARLY = timedelta(milliseconds=10)
"""By how much more than `AHEAD` a tick may be claimed ahead: two readings of the store's time may differ."""


class Asked(NamedTuple):
    """A tick that was asked for, and whether that was ahead of its instant."""

    row: JobRow
    plan: Plan
    tick: Tick
    ahead: bool


@dataclass(slots=True, eq=False)
class Wanted:
    """A job that is due, and what was asked for it."""

    job: Job
    asked: Asked | None = None


def ask_for(job: Job, now: datetime, new_run_id: NewRunId) -> Asked | None:
    """The tick to claim for a job, as it was seen last; None if it is not due any more.

    Raises:
        Exception: Whatever the trigger raises, if it is a user's own.
    """
    assert isinstance(job.agenda, Stored)
    row = job.agenda.row
    if row is None or row.next_run_at is None or row.next_run_at > now + timedelta(seconds=AHEAD) + EARLY:
        return None
    due, catch_up = row.next_run_at, job.policy.catch_up
    planned = plan(kept_trigger(job.trigger, row), catch_up, due, now, row.anchor)
    behind = planned.following is not None and planned.following <= now
    passed = due == job.agenda.overdue or (row.last_run_at is not None and due <= row.last_run_at)
    late = behind or passed or (now - due).total_seconds() > LATE
    tick = Tick(
        row.id,
        due,
        planned.following,
        new_run_id(),
        planned.runs_for,
        planned.missed,
        job.policy.overlap,
        ATTEMPTS,
        (due > now and job.policy.overlap is not Overlap.ALLOW) or (late and catch_up is CatchUp.ALL),
    )
    return Asked(row, planned, tick, due > now)
