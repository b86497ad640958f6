"""Jobs that were added at run time: what runs them, and those that this process has in hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import wraps
from typing import TYPE_CHECKING, Any
from uuid import UUID

from bgtasks.claims.book import Book, stored
from bgtasks.claims.declared import kept_trigger
from bgtasks.claims.session import Session
from bgtasks.claims.stored import Stored
from bgtasks.clock import Clock
from bgtasks.errors import InvalidTask, InvalidTrigger
from bgtasks.job import Job
from bgtasks.policies import Policy
from bgtasks.records import EVERY_BOT, JobRow
from bgtasks.run import current_run
from bgtasks.spec import JobSpec, Spec, TaskFunction, TaskSpec, parameters
from bgtasks.triggers import Once

if TYPE_CHECKING:
    from bgtasks.dispatcher import Dispatcher

__all__ = ["Guests", "JobType", "ScheduledJob"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledJob:
    """A job that was added at run time, as a run of it is given it.

    Attributes:
        id: The job's, in the store.
        job_type: What runs it.
        bot_id: Whose it is; `*` for everybody's.
        key: Its name among the jobs of this type and bot, if it has one.
        config: What was given when it was added, read from its JSON.
    """

    id: UUID
    job_type: str
    bot_id: str = EVERY_BOT
    key: str | None = None
    config: Any = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class JobType:
    """What runs the jobs of a type here.

    Attributes:
        kwargs: The resources that are given to each run.
        takes_job: Whether a run is given its `ScheduledJob`.
    """

    name: str
    func: TaskFunction
    kwargs: Mapping[str, Any]
    policy: Policy
    takes_job: bool = False

    @staticmethod
    def of(spec: Spec, kwargs: Mapping[str, Any]) -> JobType:
        """The type that a spec declares; a cluster task too can have jobs beside its own schedule."""
        assert isinstance(spec, JobSpec | TaskSpec)
        takes_job = isinstance(spec, JobSpec) and any(each.name == "job" for each in parameters(spec.func))
        return JobType(spec.name, spec.func, kwargs, spec.policy, takes_job)

    async def run(self, row: JobRow, config_json: str) -> Any:
        """One run of a job with this config.

        Raises:
            InvalidTask: Its config is no JSON, or nothing reads it.
        """
        if self.takes_job:
            return await self.func(**self.kwargs, job=_scheduled(row, config_json))
        if config_json.strip() not in ("", "{}", "null"):
            raise InvalidTask(
                f'the job {row.id} has a config, which "{self.name}" does not read: give it a parameter "job"'
            )
        return await self.func(**self.kwargs)


class Guests:
    """Jobs that this process has in hand because they are due, or wanted; let go when they are done.

    Attributes:
        types: What they may be of.
        broken: Those that are due by a trigger that cannot be read, and why; to be paused, so that it shows.
    """

    def __init__(self, session: Session, book: Book, dispatcher: Dispatcher, clock: Clock) -> None:
        self.types: dict[str, JobType] = {}
        self.broken: dict[UUID, tuple[JobRow, str]] = {}
        self._session = session
        self._book = book
        self._dispatcher = dispatcher
        self._clock = clock
        self._jobs: dict[UUID, Job] = {}

    async def pause_broken(self) -> None:
        """Pause the next one that cannot be read, unless it was changed meanwhile: it would be due for ever.

        Raises:
            BgTasksError: The store does not answer.
        """
        id, (row, why) = next(iter(self.broken.items()))
        await self._session.ask(self._session.store.change(replace(row, enabled=False, reason=why)))
        self.broken.pop(id, None)

    def __iter__(self) -> Iterator[Job]:
        return iter(tuple(self._jobs.values()))

    def receive(self, row: JobRow, *, due: bool = True) -> Job | None:
        """The job of a row, in hand from now on; None if it cannot be run here.

        Args:
            due: For its trigger, and not because somebody wants a run of it.
        """
        kind, job = self.types.get(row.job_type), self._jobs.get(row.id)
        if kind is None:
            return None
        try:
            trigger = kept_trigger(_NEVER, row)
        except InvalidTrigger as error:
            if due:
                self.broken[row.id] = (row, f"its trigger cannot be read: {error}")
                return None
            trigger = _NEVER
        if job is None:
            agenda = Stored(row.id, kind.policy.catch_up, self._session, guest=True)
            job = Job(_name(row), _runs(kind, row.id, self._book), trigger, agenda, kind.policy)
            self._jobs[row.id] = self._book.jobs[row.id] = job
            self._dispatcher.take_in(job)
        job.trigger = trigger
        stored(job).fault = None
        return job

    def release(self, is_in_hand: Callable[[UUID], bool] = lambda _: False) -> None:
        """Let go of those that nothing is going on with: when they are due again, the store says so.

        Args:
            is_in_hand: Whether something else is.
        """
        now = self._clock.monotonic()
        for id, job in tuple(self._jobs.items()):
            shut = job.open_until is not None and job.open_until > now
            if not (job.busy or job.queued is not None or shut or is_in_hand(id)):
                del self._jobs[id], self._book.jobs[id]
                self._dispatcher.retire(job)


_NEVER = Once(datetime.fromtimestamp(0, UTC))
"""Stands for the trigger of a job that has none: it is over."""


def _name(row: JobRow) -> str:
    """What its runs are called: no two jobs are called the same."""
    if row.key is None or "/" in row.bot_id + row.key:
        return f"{row.job_type}[{row.id}]"
    return (
        f"{row.job_type}[{row.key}]" if row.bot_id == EVERY_BOT else f"{row.job_type}[{row.bot_id}/{row.key}]"
    )


def _runs(kind: JobType, id: UUID, book: Book) -> TaskFunction:
    @wraps(kind.func)
    async def run() -> Any:
        row, run = stored(book.jobs[id]).row, current_run.get()
        assert row is not None
        assert run is not None
        assert run.claim is not None
        return await kind.run(row, run.claim.config_json)

    return run


def _scheduled(row: JobRow, config_json: str) -> ScheduledJob:
    try:
        config = json.loads(config_json or "{}")
    except ValueError as error:
        raise InvalidTask(f"the config_json of the job {row.id} is no JSON: {error}") from error
    return ScheduledJob(id=row.id, job_type=row.job_type, bot_id=row.bot_id, key=row.key, config=config)
