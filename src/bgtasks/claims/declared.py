"""How a task that is declared in code becomes a job in the store, and follows its code from then on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID, uuid5

from bgtasks.agenda import LONG_STEP
from bgtasks.claims.ask import Ask
from bgtasks.claims.book import Book, stored
from bgtasks.claims.plan import first_due
from bgtasks.claims.session import Session
from bgtasks.contracts import TaskStore
from bgtasks.errors import BgTasksError, InvalidTrigger
from bgtasks.events import EventBus, RunSkipped
from bgtasks.job import Job
from bgtasks.records import JobRow
from bgtasks.trigger_text import read_trigger, trigger_text
from bgtasks.triggers import Every, Trigger

__all__ = [
    "Declarations",
    "Schedule",
    "declared",
    "following",
    "job_id",
    "kept_schedule",
    "kept_trigger",
    "onward",
]

NAMES = UUID("5f1a3f0e-6c5e-4f9b-9d0c-2f2b6f0b8d11")
"""The namespace of the ids of declared jobs: the same name is the same job on every node."""


def job_id(name: str) -> UUID:
    """The id of the job that a task of this name is."""
    return uuid5(NAMES, name)


AT_ONCE = 8
"""Tasks that the store is told of side by side."""


class Declarations:
    """Tasks of this process that the store is to be told of."""

    def __init__(self, session: Session, book: Book, bus: EventBus) -> None:
        self._session = session
        self._book = book
        self._bus = bus
        self._open: dict[UUID, Job] = {}

    def __bool__(self) -> bool:
        return bool(self._open)

    def want(self, *jobs: Job) -> None:
        """Tell of these, or again; guests are known to the store."""
        self._open.update((stored(job).id, job) for job in jobs if not stored(job).guest)

    def drop(self, job: Job) -> None:
        """It is no task of this process any more."""
        self._open.pop(stored(job).id, None)

    def clear(self) -> None:
        """Tell of none."""
        self._open.clear()

    async def tell_next(self) -> None:
        """Tell of the next ones.

        Raises:
            BgTasksError: The store does not answer.
        """
        some = tuple(self._open.values())[:AT_ONCE]
        for told in await asyncio.gather(*map(self.tell, some), return_exceptions=True):
            if told is not None:
                raise told

    async def tell(self, job: Job) -> None:
        """Tell of a task, if it is not known yet.

        Raises:
            BgTasksError: The store does not answer.
        """
        if self._open.get(stored(job).id) is not job:
            return
        try:
            row = await declared(job, self._session.store, self._session.ask, self._book.now)
        except InvalidTrigger as error:
            self._book.fault(job, error)
        except BgTasksError:
            raise
        except Exception as error:  # noqa: BLE001 - a trigger may be someone else's code
            self._book.fault(job, error)
        else:
            self._book.see(job, row)
            if job.agenda.never:
                over = f"not scheduled: {job.trigger} is over, and never due again"
                self._bus.emit(RunSkipped(job.name, self._book.now(), over))
        if self._open.get(stored(job).id) is job:
            del self._open[stored(job).id]


class Schedule(NamedTuple):
    """When a job is due, as its row has it."""

    trigger: str | None
    interval_minutes: float | None
    anchor: datetime | None
    next_run_at: datetime | None


def kept_schedule(trigger: Trigger, first: datetime | None) -> Schedule:
    """How a trigger is kept, of a job that is due at an instant first."""
    if isinstance(trigger, Every) and not trigger.fixed_rate:
        return Schedule(None, trigger.seconds / 60, None, first)
    return Schedule(_text(trigger), None, first if isinstance(trigger, Every) else None, first)


def following(row: JobRow, schedule: Schedule, now: datetime) -> datetime | None:
    """When a job is due that is given another schedule: what it is overdue for is caught up with first.

    By a microsecond later, so that who does not know of the change cannot claim it by the schedule before.
    """
    both_plain = row.interval_minutes is not None and schedule.interval_minutes is not None
    if row.next_run_at is None and both_plain:  # a run is in progress, and its end says when
        return None
    if row.next_run_at is not None and row.next_run_at <= now:
        return row.next_run_at + timedelta(microseconds=1)
    if schedule.interval_minutes is not None and row.last_run_at is not None:
        return max(now, row.last_run_at + timedelta(minutes=schedule.interval_minutes))
    return schedule.next_run_at


def onward(row: JobRow, now: datetime) -> datetime:
    """From when on a job may be due by another schedule.

    Not for an instant that has been begun: a tick is claimed ahead, and a clock may have been set back. If
    that was by hours, it was wrong before.
    """
    last = row.last_run_at
    if last is None or last - now > LONG_STEP:
        return now
    return max(now, last + timedelta(microseconds=1))


async def declared(job: Job, store: TaskStore, ask: Ask, now: Callable[[], datetime]) -> JobRow:
    """The job of a task as the store has it, made or changed to what the code says.

    A task that was never kept is due after its `initial_delay`. One with another trigger than before is due
    by the new one, unless it is overdue: what was missed is caught up with first.

    Raises:
        BgTasksError: The store does not answer.
        Exception: Whatever the trigger raises, if it is a user's own.
    """
    schedule = kept_schedule(job.trigger, first_due(job.trigger, now(), job.initial_delay))
    wanted = JobRow(id=job_id(job.name), job_type=job.name, key=job.name, declared=True, **schedule._asdict())
    while True:
        row = await ask(store.add(wanted))
        if row.id != wanted.id:  # a job that was added at run time has the name for its key
            wanted = replace(wanted, key=None)
            continue
        same = (row.trigger, row.interval_minutes) == (wanted.trigger, wanted.interval_minutes)
        if same and row.retired_at is None:
            return row
        changed = replace(row, retired_at=None)
        if not same:
            first = first_due(job.trigger, onward(row, now()), job.initial_delay)
            schedule = kept_schedule(job.trigger, first)
            due = following(row, schedule, now())
            changed = replace(changed, **schedule._replace(next_run_at=due)._asdict())
        kept = await ask(store.change(changed))
        if kept is not None:  # else somebody else changed it: look again
            return kept


def kept_trigger(trigger: Trigger, row: JobRow) -> Trigger:
    """The trigger that a job is planned by: this node's, unless the store has another one.

    A node with other code, or told so, has written that; planned by its own, this one would undo it. An
    interval that somebody wrote there as a trigger is a fixed rate.

    Raises:
        InvalidTrigger: The store has one that only the code which wrote it knows.
    """
    if row.interval_minutes is not None:
        return Every(row.interval_minutes * 60)
    plain = isinstance(trigger, Every) and not trigger.fixed_rate
    if row.trigger is None or (row.trigger == _text(trigger) and not plain):
        return trigger
    kept = read_trigger(row.trigger)
    return Every(kept.seconds, fixed_rate=True) if isinstance(kept, Every) else kept


def _text(trigger: Trigger) -> str:
    """The line for a trigger; for one that does not say what it is, the name of its kind on every node."""
    kind = type(trigger)
    if kind.__str__ is object.__str__ and kind.__repr__ is object.__repr__:
        return f"{kind.__module__}.{kind.__qualname__}"
    return trigger_text(trigger) or str(trigger)
