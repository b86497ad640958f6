"""Jobs that are added, changed and taken away while programs run: by a program, by the CLI, by any node."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from bgtasks.claims.ask import Ask, simply
from bgtasks.claims.declared import following, kept_schedule, onward
from bgtasks.claims.plan import first_due
from bgtasks.claims.switches import switched
from bgtasks.contracts import TaskStore
from bgtasks.errors import InvalidTask, InvalidTrigger, UnknownJob
from bgtasks.records import EVERY_BOT, JobRow, Offer, RunQuery, RunRow, RunStatus
from bgtasks.run import NewRunId, run_ids
from bgtasks.spec import check_name, delay
from bgtasks.trigger_text import trigger_text
from bgtasks.triggers import Interval, Once, Trigger, as_trigger

__all__ = ["Jobs"]


class Jobs:
    """The jobs of a store. `scheduler.jobs` is one; it works from any process that reaches the store.

    A job is of a type, which a function decorated with `@background_job` runs on any node that has it wired;
    a type that no node has is kept, and said to be unresolved. Cluster tasks that are declared in code are
    jobs too, called by their names, and are found here with `declared` set.

    Every method raises `ResourceUnavailable` if the store does not answer.

    Args:
        store: Where they are kept. It must have been opened.
        ask: Bounds each call.
        now: The store's time.
        new_run_id: Makes the ids of runs.
        changed: Called when something may be due at once.
    """

    def __init__(
        self,
        store: TaskStore,
        *,
        ask: Ask = simply,
        now: Callable[[], datetime] | None = None,
        new_run_id: NewRunId | None = None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._ask = ask
        self._now = now or (lambda: datetime.now(UTC))
        self._new_run_id = new_run_id or run_ids()
        self._changed = changed

    async def add(
        self,
        job_type: str,
        trigger: Interval | Trigger,
        *,
        bot_id: str = EVERY_BOT,
        key: str | None = None,
        config: Any = None,
        initial_delay: Interval = 0.0,
    ) -> JobRow:
        """Add a job, which begins at once or after `initial_delay`, as a task does.

        Args:
            job_type: What runs it.
            trigger: Seconds, a timedelta, a string such as `"4h"`, or an `Every`, `Cron` or `Once`. A `Once`
                that has passed is run as soon as may be.
            bot_id: Whose it is; `*` for everybody's.
            key: A name of its own: a second job of this type, bot and key is not added, and the first is
                returned as it is.
            config: What its runs are given, as JSON can hold it.

        Raises:
            InvalidTrigger: It is no trigger, cannot be written down, or is never due.
            InvalidTask: A name is no line of text, or the config cannot be written as JSON.
        """
        check_name(job_type)
        check_name(bot_id)
        if key is not None:
            check_name(key)
        when = _written(trigger)
        first = (
            when.when
            if isinstance(when, Once)
            else first_due(when, self._now(), delay(job_type, "initial_delay", initial_delay))
        )
        if first is None:
            raise InvalidTrigger(f"{when} is never due: a job with it would wait for ever")
        row = JobRow(
            id=uuid4(),
            job_type=job_type,
            bot_id=bot_id,
            key=key,
            config_json=_json(job_type, {} if config is None else config),
            **kept_schedule(when, first)._asdict(),
        )
        kept = await self._ask(self._store.add(row))
        self._changed()
        return kept

    async def get(self, id: UUID) -> JobRow:
        """One job.

        Raises:
            UnknownJob: There is none of this id.
        """
        row = await self._ask(self._store.job(id))
        if row is None:
            raise UnknownJob(id)
        return row

    async def list(
        self,
        job_type: str | None = None,
        *,
        bot_id: str | None = None,
        after: UUID | None = None,
        limit: int = 100,
    ) -> Sequence[JobRow]:
        """Jobs in the order of their ids: a page of them, after that of an id."""
        return await self._ask(self._store.jobs(job_type=job_type, bot_id=bot_id, after=after, limit=limit))

    async def update(
        self,
        id: UUID,
        *,
        trigger: Interval | Trigger | None = None,
        config: Any = None,
        next_run_at: datetime | None = None,
    ) -> JobRow:
        """Give a job another trigger or config, or have it due at another instant. A run in progress goes on.

        Raises:
            UnknownJob: There is none of this id.
            InvalidTrigger: As for `add`; or `next_run_at` has no time zone.
            InvalidTask: The config cannot be written as JSON, or the job is declared in code, which says when
                it is due.
        """
        when = None if trigger is None else _written(trigger)
        due = None if next_run_at is None else Once(next_run_at).when
        while True:
            row = changed = await self.get(id)
            if when is not None:
                if row.declared:
                    raise InvalidTask(
                        f'"{row.job_type}" is declared in code: change its interval there, or with '
                        f"scheduler.reschedule"
                    )
                now = self._now()
                first = when.when if isinstance(when, Once) else first_due(when, onward(row, now), 0.0)
                if first is None:
                    raise InvalidTrigger(f"{when} is never due: a job with it would wait for ever")
                schedule = kept_schedule(when, first)
                schedule = schedule._replace(next_run_at=following(row, schedule, now))
                changed = replace(changed, **schedule._asdict())
            if config is not None:
                changed = replace(changed, config_json=_json(row.job_type, config))
            if due is not None:
                changed = replace(changed, next_run_at=due)
            kept = await self._ask(self._store.change(changed))
            if kept is not None:  # else somebody else changed it: look again
                self._changed()
                return kept

    async def pause(self, id: UUID, reason: str = "by hand") -> JobRow:
        """Start no run of a job on any node until `resume`; a run in progress goes on.

        Raises:
            UnknownJob: There is none of this id.
        """
        return await self._switch(id, reason or "by hand")

    async def resume(self, id: UUID) -> JobRow:
        """End a pause. A plain interval that came due meanwhile runs now, anything else at its next tick.

        Raises:
            UnknownJob: There is none of this id.
        """
        row = await self._switch(id, None)
        self._changed()
        return row

    async def remove(self, id: UUID) -> bool:
        """Forget a job; runs in progress are cancelled, and its history stays. Whether there was one.

        One that is declared in code comes back when a node starts that has it.
        """
        return await self._ask(self._store.remove(id))

    async def run_now(self, id: UUID) -> str:
        """Run a job beside its schedule, paused or not, on whichever node has it first; the id of the run.

        Its overlap policy holds: it waits for a run in progress, unless both may run at once.

        Raises:
            UnknownJob: There is none of this id.
        """
        offer = Offer(self._new_run_id(), id, self._now(), 1, 1)
        if not await self._ask(self._store.offer(offer)):
            raise UnknownJob(id)
        self._changed()
        return offer.run_id

    async def run(self, run_id: str) -> RunRow | None:
        """One run, as it stands."""
        return await self._ask(self._store.run(run_id))

    async def runs(
        self,
        id: UUID | None = None,
        *,
        job_type: str | None = None,
        statuses: Sequence[RunStatus] = (),
        before: RunRow | None = None,
        limit: int = 100,
    ) -> Sequence[RunRow]:
        """Runs of a job, of a type, or all, the latest first: a page of them, before another."""
        place = None if before is None else (before.created_at, before.id)
        return await self._ask(self._store.runs(RunQuery(id, job_type, tuple(statuses), place, limit)))

    async def _switch(self, id: UUID, paused: str | None) -> JobRow:
        row = await switched(self._store, self._ask, id, paused, self._now, self._new_run_id())
        if row is None:
            raise UnknownJob(id)
        return row


def _written(trigger: Interval | Trigger) -> Trigger:
    """A trigger that can be kept."""
    when = as_trigger(trigger)
    if trigger_text(when) is None:
        raise InvalidTrigger(
            f"{when!r} cannot be written down: a job is kept with an interval, an Every, a Cron or a Once"
        )
    return when


def _json(job_type: str, config: Any) -> str:
    try:
        return json.dumps(config, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidTask(f'the config of a job "{job_type}" cannot be written as JSON: {error}') from error
