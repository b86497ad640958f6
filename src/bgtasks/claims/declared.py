"""How a task that is declared in code becomes a job in the store, and follows its code from then on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID, uuid5

from bgtasks.claims.plan import first_due
from bgtasks.contracts import TaskStore
from bgtasks.job import Job
from bgtasks.records import JobRow
from bgtasks.trigger_text import read_trigger, trigger_text
from bgtasks.triggers import Every, Trigger

__all__ = ["declared", "job_id", "kept_trigger"]

NAMES = UUID("5f1a3f0e-6c5e-4f9b-9d0c-2f2b6f0b8d11")
"""The namespace of the ids of declared jobs: the same name is the same job on every node."""


class Ask(Protocol):
    """Bounds a call to the store."""

    def __call__[T](self, call: Coroutine[Any, Any, T]) -> Awaitable[T]: ...


def job_id(name: str) -> UUID:
    """The id of the job that a task of this name is."""
    return uuid5(NAMES, name)


async def declared(job: Job, store: TaskStore, ask: Ask, now: Callable[[], datetime]) -> JobRow:
    """The job of a task as the store has it, made or changed to what the code says.

    A task that was never kept is due after its `initial_delay`. One with another trigger than before is due
    by the new one, unless it is overdue: what was missed is caught up with first.

    Raises:
        BgTasksError: The store does not answer.
        Exception: Whatever the trigger raises, if it is a user's own.
    """
    trigger = job.trigger
    plain = isinstance(trigger, Every) and not trigger.fixed_rate
    minutes = trigger.seconds / 60 if isinstance(trigger, Every) and plain else None
    first = first_due(trigger, now(), job.initial_delay)
    wanted = JobRow(
        id=job_id(job.name),
        job_type=job.name,
        key=job.name,
        trigger=None if plain else _text(trigger),
        interval_minutes=minutes,
        anchor=first if isinstance(trigger, Every) and not plain else None,
        next_run_at=first,
        declared=True,
    )
    while True:
        row = await ask(store.add(wanted))
        if (row.trigger, row.interval_minutes) == (wanted.trigger, minutes) and row.retired_at is None:
            return row
        changed = replace(
            row,
            trigger=wanted.trigger,
            interval_minutes=minutes,
            anchor=wanted.anchor,
            retired_at=None,
            next_run_at=_next(row, wanted, now()),
        )
        kept = await ask(store.change(changed))
        if kept is not None:  # else somebody else changed it: look again
            return kept


def kept_trigger(trigger: Trigger, row: JobRow) -> Trigger:
    """The trigger that a job is planned by: this node's, unless the store has another one.

    A node with other code, or told so, has written that; planned by its own, this one would undo it.

    Raises:
        InvalidTrigger: The store has one that only the code which wrote it knows.
    """
    if row.interval_minutes is not None:
        return Every(row.interval_minutes * 60)
    plain = isinstance(trigger, Every) and not trigger.fixed_rate
    if row.trigger is None or (row.trigger == _text(trigger) and not plain):
        return trigger
    return read_trigger(row.trigger)


def _text(trigger: Trigger) -> str:
    """The line for a trigger; for one that does not say what it is, the name of its kind on every node."""
    kind = type(trigger)
    if kind.__str__ is object.__str__ and kind.__repr__ is object.__repr__:
        return f"{kind.__module__}.{kind.__qualname__}"
    return trigger_text(trigger) or str(trigger)


def _next(row: JobRow, wanted: JobRow, now: datetime) -> datetime | None:
    if row.next_run_at is not None and row.next_run_at <= now:
        return row.next_run_at
    if wanted.interval_minutes is not None and row.last_run_at is not None:
        return max(now, row.last_run_at + timedelta(minutes=wanted.interval_minutes))
    return wanted.next_run_at
