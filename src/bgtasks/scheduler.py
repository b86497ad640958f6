"""`BackgroundScheduler` decides when.

One heap holds every job by its due instant, and one timer waits for the earliest. Each run is an asyncio
task with a context of its own. What user code does ends in the runner; here it can neither stop the
timer nor disturb another job.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from random import Random
from types import TracebackType
from typing import Any, Self

from bgtasks.clock import Clock, SystemClock
from bgtasks.errors import BgTasksError, DuplicateTask, InvalidTask
from bgtasks.events import (
    EventBus,
    RunSkipped,
    SchedulerStarted,
    SchedulerStopped,
    WorkerRestarted,
)
from bgtasks.job import Job
from bgtasks.outages import Outages
from bgtasks.outcomes import Deferred, Done, Failed, Outcome, Skipped
from bgtasks.runner import Run, Runner, Unavailable
from bgtasks.spec import Spec, TaskFunction, TaskSpec, WorkerSpec, delay, place
from bgtasks.timeline import LONGEST_SLEEP, Timeline
from bgtasks.triggers import Interval, Trigger, as_trigger, parse
from bgtasks.wiring import Decision, Wired

__all__ = ["BackgroundScheduler"]


class BackgroundScheduler:
    """Runs registered coroutine functions when they are due, in the event loop it is started in.

    `start()` and `stop()` are idempotent both ways, and the scheduler can be started again; it is also
    an async context manager. A job never runs beside itself: a from-end interval is due only after the
    run has ended, and a fixed-rate or cron tick that finds the previous run still going is skipped,
    with a `RunSkipped` event.

    Args:
        clock: Where time comes from.
        bus: Receives every event. The default log listener joins it at `start()`.
        random: Source of jitter and backoff; pass a seeded one for repeatable runs.
        stop_timeout: Seconds that `stop()` waits for cancelled runs to end.
        new_run_id: Makes a run's id; unique ids by default.
        unavailable: Tells which errors of a task mean that a server does not answer; it gets the error
            and the names of what the task was given. `ResourceUnavailable` always means that.

    Raises:
        InvalidTrigger: `stop_timeout` is not above zero.

    Not promised: real-time precision (a busy event loop delays every run), persistence, or that a task
    runs on one node only: that takes a store.
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        bus: EventBus | None = None,
        random: Random | None = None,
        stop_timeout: float = 10.0,
        new_run_id: Callable[[], str] | None = None,
        unavailable: Unavailable | None = None,
    ) -> None:
        self.bus = bus if bus is not None else EventBus()
        self.stop_timeout = parse(stop_timeout)
        self._clock = clock or SystemClock()
        self._random = random or Random()
        self._new_run_id = new_run_id or _new_run_id
        self._runner = Runner(self.bus, self._clock, unavailable)
        self._jobs: dict[str, Job] = {}
        self._decisions: dict[tuple[str, str], Decision] = {}
        self._timeline = Timeline(self._clock, self._random)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._context = contextvars.Context()
        self._runs: dict[asyncio.Task[Outcome], Job] = {}
        self._stopping: asyncio.Task[None] | None = None
        self._intention = 0
        self._outages = Outages(self.bus, self._clock)

    # -- what there is ---------------------------------------------------------------------------

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """One row per known task or worker: wired here (`reason` is None), or why it is not."""
        return tuple(self._decisions.values())

    @property
    def running(self) -> bool:
        """Whether it is started and not yet told to stop."""
        return self._loop is not None and self._stopping is None and not self._loop.is_closed()

    @property
    def unfinished(self) -> tuple[str, ...]:
        """The jobs whose run is in progress; after a stop, those whose run would not end."""
        return tuple(job.name for task, job in self._runs.items() if not task.done())

    @property
    def unavailable(self) -> dict[str, str]:
        """Resources whose server does not answer at the moment, each with the reason."""
        return self._outages.reasons

    def register(
        self,
        name: str,
        func: TaskFunction,
        interval: Interval | Trigger,
        initial_delay: Interval = 0.0,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        jitter: Interval = 0.0,
    ) -> None:
        """Add a task by hand; it also may be added to a running scheduler.

        Args:
            name: Unique in this scheduler.
            func: Called with `args` and `kwargs`; returns a coroutine.
            interval: Seconds, a timedelta, a string such as `"4h"`, or a trigger.
            initial_delay: How long after the start the first run may be due: seconds, or `"30s"`.
            args: Positional arguments for `func`.
            kwargs: Keyword arguments for `func`.
            jitter: Each due instant is moved by a random time between zero and this.

        Raises:
            InvalidTrigger: The interval is not above zero, not finite or not readable.
            InvalidTask: `func` cannot be called, or a delay is negative.
            DuplicateTask: The name is taken.
        """
        if not callable(func):
            raise InvalidTask(f'"{name}": {func!r} cannot be called; give a coroutine function')
        trigger = as_trigger(interval)
        self._add(
            Job(
                name=name,
                func=func,
                trigger=trigger,
                registered=self._clock.now(),
                initial_delay=delay(name, "initial_delay", initial_delay),
                jitter=delay(name, "jitter", jitter),
                args=tuple(args),
                kwargs=kwargs or {},
            ),
            Decision(name=name, when=str(trigger)),
        )

    def adopt(self, spec: Spec, verdict: Wired | Skipped, decision: Decision) -> None:
        """Take what the wiring decided: run a wired spec, keep the row of any other.

        Raises:
            DuplicateTask: The name is taken.
        """
        if isinstance(verdict, Skipped):
            self.keep(decision)
            return
        job = Job(
            name=spec.name,
            func=spec.func,
            trigger=verdict.trigger,
            registered=self._clock.now(),
            kwargs=verdict.kwargs,
            is_worker=isinstance(spec, WorkerSpec),
        )
        if isinstance(spec, TaskSpec):
            job.initial_delay, job.jitter = spec.initial_delay, spec.jitter
        self._add(job, decision)

    def keep(self, decision: Decision) -> None:
        """Keep a row for something that does not run here."""
        self._decisions.setdefault((decision.kind, decision.name), decision)

    def _add(self, job: Job, decision: Decision) -> None:
        if (held := self._jobs.get(job.name)) is not None:
            raise DuplicateTask(job.name, place(held.func), place(job.func))
        self._jobs[job.name] = job
        self._decisions[decision.kind, job.name] = decision
        if self.running:
            job.begin(self._clock, self._random)
            self._schedule(job)
            self._arm()

    # -- lifecycle -------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to run what is due. Returns at once; does nothing if it is running.

        The context of the caller is captured: each run begins with a copy of it.

        Raises:
            BgTasksError: It is running in another event loop that is still open.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not None and self._loop is not loop:
            if not self._loop.is_closed():
                raise BgTasksError("this scheduler runs in another event loop: stop it there first")
            self._forget_loop()
        self._intention += 1
        intention = self._intention
        if self._stopping is not None:
            await asyncio.shield(self._stopping)
        if self._loop is not None or self._intention != intention:  # a later call decided otherwise
            return
        from bgtasks.telemetry import attach_default  # composition: loads structlog, at start only

        attach_default(self.bus)
        self._loop = loop
        self._context = contextvars.copy_context()
        self._timeline.begin()
        for job in self._jobs.values():
            job.begin(self._clock, self._random)
            if job.run is not None and job.waits_for_end:
                job.due = None  # its run outlived the last stop: due again when that has ended
            self._schedule(job)
        self._arm()
        workers = sum(job.is_worker for job in self._jobs.values())
        left_out = tuple((row.name, row.reason) for row in self.decisions if row.reason is not None)
        self.bus.emit(SchedulerStarted(len(self._jobs) - workers, workers, left_out))

    async def stop(self) -> None:
        """Start nothing more, cancel what runs and wait for it, at most `stop_timeout` seconds.

        Runs that would not end are named in the `SchedulerStopped` event and in the log; they keep
        their place, so that a restarted scheduler does not run the same job beside them. If the caller
        is cancelled, the stop goes on to its end.
        """
        self._intention += 1
        if self._loop is None:
            return
        if self._loop is not asyncio.get_running_loop():
            if not self._loop.is_closed():
                raise BgTasksError("this scheduler runs in another event loop: stop it there")
            self._forget_loop()
            return
        if self._stopping is None:
            # In the scheduler's context, since a run may be what calls this.
            self._stopping = self._loop.create_task(
                self._stop(), name="bgtasks:stop", context=self._context.copy()
            )
        await asyncio.shield(self._stopping)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _stop(self) -> None:
        began = self._clock.monotonic()
        try:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._timeline.begin()
            for _ in range(2):  # a run that swallowed the first request gets a second one
                pending = [task for task in self._runs if not task.done()]
                for task in pending:
                    if (run := self._runs[task].run) is not None:
                        run.stop_requested = True
                    task.cancel()
                if pending:
                    await asyncio.wait(pending, timeout=self.stop_timeout / 2)
        finally:
            self._loop = None
            self._stopping = None
        self._outages.clear()
        self.bus.emit(SchedulerStopped(self.unfinished, self._clock.monotonic() - began))

    def _forget_loop(self) -> None:
        """Let go of an event loop that was closed under a running scheduler."""
        self._loop = self._timer = self._stopping = None
        self._timeline.begin()
        self._runs.clear()
        self._outages.clear()
        for job in self._jobs.values():
            job.run = None

    # -- the timer -------------------------------------------------------------------------------

    def _schedule(self, job: Job) -> None:
        if not self._timeline.put(job) and job.fault is not None:
            self.bus.emit(RunSkipped(job.name, self._clock.now(), f"not scheduled: {job.fault}"))

    def _arm(self) -> None:
        """Set the timer for the earliest job."""
        if self._loop is None or self._stopping is not None:
            return
        if self._timer is not None:
            self._timer.cancel()
        when = self._loop.time() + self._timeline.sleep()
        self._timer = self._loop.call_at(when, self._tick, context=self._context.copy())

    def _tick(self) -> None:
        self._timer = None
        due: deque[Job] = deque()
        try:
            self._timeline.heed_clock_step(self._jobs.values())
            self._heed_recovered_workers()
            due = self._timeline.take_due()
            while due:
                self._fire(due.popleft())
        finally:
            for job in due:  # something of the host's failed: the others keep their turn
                self._schedule(job)
            self._arm()

    def _heed_recovered_workers(self) -> None:
        """A worker that waited for a server and has now run for a while has found it: it may never end."""
        for job in self._jobs.values() if self._outages.reasons else ():
            healthy = job.run is not None and self._clock.monotonic() - job.began >= LONGEST_SLEEP
            if job.is_worker and job.waiting_for is not None and healthy:
                self._found(job)

    def _fire(self, job: Job) -> None:
        due = job.take(self._clock, self._random)
        # The next tick is set before user code begins: nothing it does can take it away.
        self._schedule(job)
        if due is None:
            return
        if job.run is not None:
            self.bus.emit(RunSkipped(job.name, due, "the previous run is still going"))
            return
        try:
            self._begin_run(job, due)
        except BaseException:  # an id or a task factory of the host's
            if job.waits_for_end and job.run is None:
                job.advance(self._clock, self._random)
                self._schedule(job)
            raise

    def _begin_run(self, job: Job, due: datetime) -> None:
        assert self._loop is not None
        run = Run(job.name, self._new_run_id(), job.func, job.args, job.kwargs, due, job.failures)
        name = f"bgtasks:{job.name}:{run.run_id}"
        task = self._loop.create_task(self._runner.run(run), name=name, context=self._context.copy())
        self._runs[task] = job
        task.add_done_callback(self._ended, context=self._context.copy())
        job.run, job.began = run, self._clock.monotonic()
        job.runs += 1
        job.ever_ran = True
        if job.is_worker and job.runs > 1:
            self.bus.emit(WorkerRestarted(job.name, run.run_id, job.runs - 1))

    def _ended(self, task: asyncio.Task[Outcome]) -> None:
        job = self._runs.pop(task, None)
        if job is None:  # of an event loop that was given up
            return
        run, job.run = job.run, None
        outcome = None if run is None else run.outcome
        job.failures = job.failures + 1 if isinstance(outcome, Failed) else 0
        if not self.running:
            return
        if job.waits_for_end:
            job.advance(self._clock, self._random)
        self._note_resource(job, outcome)
        if job.waits_for_end or job.retry is not None:
            self._schedule(job)
            self._arm()

    def _note_resource(self, job: Job, outcome: Outcome | None) -> None:
        """Come back soon to a server that does not answer; once it does, try all that wait for it."""
        missing = outcome.resource if isinstance(outcome, Deferred) else None
        if job.waiting_for is not None and isinstance(outcome, Done | Skipped):
            self._found(job)
        elif job.waiting_for is not None and job.waiting_for != missing and outcome is not None:
            resource = job.waited()  # it got no further than something else
            if not any(other.waiting_for == resource for other in self._jobs.values()):
                self._outages.forget(resource)
        if isinstance(outcome, Deferred) and missing is not None:
            job.wait_for(missing, self._clock, self._random)
            self._outages.begin(missing, outcome.reason)

    def _found(self, job: Job) -> None:
        resource = job.waited()
        if self._outages.end(resource):
            for other in self._jobs.values():
                if other.waiting_for == resource and other.retry is not None:
                    other.retry = self._clock.monotonic()
                    self._schedule(other)
            self._arm()


def _new_run_id() -> str:
    return os.urandom(8).hex()
