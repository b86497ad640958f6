"""`BackgroundScheduler`: what is registered, starting and stopping, and what can be asked and told.

When a job is due is known by its agenda (`agenda.py`); the timeline waits for it (`timeline.py`), the
dispatcher makes a run of it or says why not (`dispatcher.py`), the runner runs it (`runner.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from random import Random
from typing import TYPE_CHECKING, Any, Self

from bgtasks.clock import Clock, SystemClock, read
from bgtasks.contracts import TaskStore
from bgtasks.dispatcher import Dispatcher
from bgtasks.errors import BgTasksError, InvalidTask
from bgtasks.events import EventBus, SchedulerStarted
from bgtasks.health import Health, JobSnapshot, overdue, snapshot, standstill
from bgtasks.job import Job, Request
from bgtasks.lifecycle import Lifecycle
from bgtasks.node_state import NodeState
from bgtasks.outcomes import Outcome, Skipped
from bgtasks.policies import Breaker, Retry, policy
from bgtasks.roll import Roll
from bgtasks.run import NOTHING, NewRunId, current_run, run_ids
from bgtasks.runner import Unavailable
from bgtasks.slots import Slots
from bgtasks.spec import Spec, TaskFunction, check_call, check_name, delay
from bgtasks.stall import StallWatch
from bgtasks.triggers import Every, Interval, Trigger, as_trigger, parse, parse_delay
from bgtasks.wiring import Decision, Wired

if TYPE_CHECKING:
    from bgtasks.claims import Desk, Handler, Jobs, Retention

__all__ = ["BackgroundScheduler"]


class BackgroundScheduler:
    """Runs registered coroutine functions when they are due, in the event loop it is started in.

    `start()` and `stop()` are idempotent both ways, and the scheduler can be started again; it is also
    an async context manager. Unless its policy allows it, a job never runs beside itself.

    Args:
        clock: Where time comes from.
        bus: Receives every event. The default log listener joins it at `start()`.
        random: Source of jitter and backoff; pass a seeded one for repeatable runs.
        stop_timeout: Seconds that `stop()` waits for cancelled runs to end.
        max_concurrent: How many runs may be in progress at once; None for any number. Workers do not count.
        group_limits: The same for tasks that name a `group`, by group.
        stall_after: Seconds without a turn after which the event loop counts as stalled and what holds it is
            named; None watches nothing. Only real time is watched: not where a `clock` was given.
        new_run_id: Makes a run's id; unique ids by default.
        store: Where the ticks of tasks with `scope="cluster"` are claimed, so that each is started on exactly
            one node; without one they are this process's alone. Opened at each start, closed at each stop.
        node_id: What this process is called in the store; by default host and process id.
        retention: How much of the history is kept there; by default 30 days, and 1,000 runs of each job.
        unavailable: Tells which errors of a task mean that a server does not answer; it gets the error
            and the names of what the task was given. `ResourceUnavailable` always means that.

    Raises:
        InvalidTrigger: `stop_timeout` or `stall_after` is not above zero.
        ConfigurationError: A limit is below 1.

    Not promised: real-time precision (a busy event loop delays every run); without a store, persistence.
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        bus: EventBus | None = None,
        random: Random | None = None,
        stop_timeout: Interval = 10.0,
        max_concurrent: int | None = None,
        group_limits: Mapping[str, int] | None = None,
        stall_after: Interval | None = 1.0,
        new_run_id: NewRunId | None = None,
        unavailable: Unavailable | None = None,
        store: TaskStore | None = None,
        node_id: str = "",
        retention: Retention | None = None,
    ) -> None:
        self.bus = bus if bus is not None else EventBus()
        self.stop_timeout = parse(stop_timeout, "stop_timeout")
        self._clock = clock or SystemClock()
        self._random = random or Random()
        self._own_random = random is None
        self._roll = Roll(self._clock, self._random, self._joins)
        self._slots = Slots(max_concurrent, group_limits or {})
        self._dispatcher = Dispatcher(
            bus=self.bus,
            clock=self._clock,
            random=self._random,
            unavailable=unavailable,
            slots=self._slots,
            new_run_id=new_run_id or run_ids(),
            jobs=self._roll.jobs,
        )
        self._state = NodeState(self._clock, self)
        self._desk: Desk | None = None
        if store is not None:
            from bgtasks.claims import Desk  # loaded where there is something to claim

            self._desk = self._dispatcher.claims = self._roll.desk = Desk(
                store,
                self._dispatcher,
                node_id,
                self.bus,
                self._clock,
                self._random,
                new_run_id,
                retention=retention,
                state=self._state,
            )
            self._desk.commands.obey(self)
        self._watch = None
        if stall_after is not None and isinstance(self._clock, SystemClock):
            self._watch = StallWatch(parse(stall_after, "stall_after"), self.bus.emit)
        self._lifecycle = Lifecycle(self.bus, self._clock, self._dispatcher, self._watch, self._desk)

    # -- what there is ---------------------------------------------------------------------------

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """One row per known task or worker: wired here (`reason` is None), or why it is not."""
        return self._roll.decisions

    @property
    def running(self) -> bool:
        """Whether it is started and not yet told to stop."""
        return self._lifecycle.running

    @property
    def unfinished(self) -> tuple[str, ...]:
        """The jobs whose run is in progress; after a stop, those whose run would not end."""
        return self._dispatcher.unfinished

    @property
    def unavailable(self) -> dict[str, str]:
        """Resources whose server does not answer at the moment, each with the reason; `store` among them."""
        return self._dispatcher.outages.reasons | ({} if self._desk is None else self._desk.away)

    @property
    def lag(self) -> float:
        """Seconds by which the event loop is late with what is due. Any thread may ask."""
        return self._dispatcher.timeline.lag

    @property
    def jobs(self) -> Jobs:
        """The jobs of the store: those that are added at run time, and cluster tasks.

        Raises:
            BgTasksError: There is no store.
        """
        if self._desk is None:
            raise BgTasksError("jobs are kept in a store: give the scheduler redis= or store=")
        return self._desk.jobs

    def describe(self, name: str, section: Callable[[], Mapping[str, Any]]) -> None:
        """Publish something more of this process, for `bgtasks nodes`: what JSON can hold, under a name."""
        self._state.sections[name] = section

    def on_command(self, kind: str, handler: Handler) -> None:
        """Carry out commands of a kind that are sent to this node through the store."""
        if self._desk is not None:
            self._desk.commands.handlers[kind] = handler

    def snapshot(self) -> tuple[JobSnapshot, ...]:
        """How each job stands: next run, last outcome, failures in a row, since when it runs.

        To be asked in the scheduler's own thread.
        """
        reading = read(self._clock)
        return tuple(snapshot(job, reading) for job in tuple(self._roll.jobs.values()) if not job.removed)

    def health(self, tolerance: Interval = 10.0) -> Health:
        """Whether what is due starts: the answer for a liveness probe.

        Red when the scheduler does not run, when its event loop stands still, when something has been due for
        longer than `tolerance` and has not started, when a trigger failed, so that its job will never be due
        again, or when a run was told to end twice and goes on. Jobs that are paused, or whose server does not
        answer, are as they should be. Any thread may ask.
        """
        within = parse_delay(tolerance, "tolerance")
        if not self.running:
            stopped = "the scheduler is not running: it was not started, or was stopped"
            return Health(False, (stopped,), self.lag)
        stalled = self._watch.stalled if self._watch is not None else None
        problems = (
            *standstill(stalled, within),
            *overdue(tuple(self._roll.jobs.values()), read(self._clock), within),
        )
        return Health(not problems, problems, self.lag)

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
        overlap: str = "skip",
        catch_up: str = "one",
        timeout: Interval | None = None,
        retry: Retry | None = None,
        breaker: Breaker | None = None,
        group: str | None = None,
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
            overlap: See `background_task`, as `catch_up`, `timeout`, `retry`, `breaker` and `group`.

        Raises:
            InvalidTrigger: The interval is not above zero, not finite or not readable.
            InvalidTask: `func` cannot be called, a delay is negative, or a policy cannot be meant.
            DuplicateTask: The name is taken.
        """
        check_name(name)
        check_call(name, func, args, kwargs)
        trigger = as_trigger(interval)
        policies = policy(name, overlap, catch_up, timeout, retry, breaker, group)
        self._roll.add(
            Job(
                name,
                func,
                trigger,
                self._roll.agenda(name, trigger, policies, delay(name, "jitter", jitter)),
                policies,
                args=tuple(args),
                kwargs=kwargs or NOTHING,
                initial_delay=delay(name, "initial_delay", initial_delay),
            )
        )

    def adopt(self, spec: Spec, verdict: Wired | Skipped, decision: Decision) -> None:
        """Take what the wiring decided: run a wired spec, keep the row of any other.

        Raises:
            DuplicateTask: The name is taken.
        """
        self._roll.adopt(spec, verdict, decision)

    def keep(self, decision: Decision) -> None:
        """Keep a row for something that does not run here."""
        self._roll.keep(decision)

    def _joins(self, job: Job) -> None:
        if self.running:
            self._dispatcher.add(job, read(self._clock), job.initial_delay)

    # -- what it can be told ---------------------------------------------------------------------

    def pause(self, name: str, reason: str = "by hand") -> None:
        """Skip the task's ticks until `resume`; a run in progress goes on. Outlives a stop, not the process.

        A task whose ticks are claimed is paused for all nodes, and stays so, as soon as the store is told;
        `await scheduler.jobs.pause(id)` waits for that.

        Raises:
            UnknownTask: There is no such job.
        """
        job = self._roll.find(name)
        self._dispatcher.pauses.pause(job, reason or "by hand")
        if self._desk is not None and job.agenda.kept:
            self._desk.pause(job, reason or "by hand")

    def resume(self, name: str) -> None:
        """End a pause, or close a breaker.

        A plain interval that came due meanwhile runs now, a fixed rate or a calendar at its next tick.

        Raises:
            UnknownTask: There is no such job.
        """
        job = self._roll.find(name)
        self._dispatcher.pauses.resume(job)
        if self._desk is not None and job.agenda.kept:
            self._desk.pause(job, None)

    async def run_now(self, name: str) -> Outcome:
        """Run a task now and return how it ended, paused or not; its overlap policy and the limits hold.

        If the caller is cancelled, the run goes on. A plain interval is measured anew from its end, a fixed
        rate or a calendar stays as it is. A run that waits for another one like this needs a free slot for
        it: with a limit of one they would wait for each other.

        Returns:
            The run's outcome; `Skipped` with the reason if its policy did not let it run.

        Raises:
            UnknownTask: There is no such job.
            BgTasksError: The scheduler does not run, runs in another loop, or the task waits for itself.
        """
        job = self._roll.find(name)
        loop = asyncio.get_running_loop()
        if not self.running or self._lifecycle.loop is not loop:
            raise BgTasksError(f'"{name}" cannot be run: start the scheduler first, in this event loop')
        if current_run.get() in job.runs:
            raise BgTasksError(f'"{name}" cannot wait for a run of itself')
        answer: asyncio.Future[Outcome] = loop.create_future()
        if self._desk is not None and job.agenda.kept:
            self._desk.run_now(job, answer)
        else:
            self._dispatcher.offer(Request(job, self._clock.now(), answer))
        return await answer

    def reschedule(self, name: str, interval: Interval | Trigger) -> None:
        """Give a task another interval or trigger, measured from now. A run in progress goes on.

        Raises:
            UnknownTask: There is no such job.
            InvalidTrigger: It is no interval above zero and no trigger.
            InvalidTask: It is a worker.
        """
        job = self._roll.find(name, declared=True)
        if job.is_worker:
            raise InvalidTask(f'"{name}" is a worker: it has no schedule, it is restarted when it ends')
        trigger = as_trigger(interval)
        self._roll.rescheduled(job, trigger)
        if self._desk is not None and job.agenda.kept:
            self._desk.add(job)
        elif self.running:
            reading = read(self._clock)
            self._dispatcher.add(job, reading, trigger.seconds if isinstance(trigger, Every) else 0.0)

    async def remove(self, name: str) -> None:
        """Take a task off the schedule; cancel its run and wait for it, at most `stop_timeout` seconds.

        The name is free again when the run has ended.

        Raises:
            UnknownTask: There is no such job.
        """
        job = self._roll.find(name, declared=True)
        self._dispatcher.retire(job)
        if self._desk is not None:
            self._desk.drop(job)
        self._roll.drop(job)
        if runs := self._dispatcher.in_progress(job):
            await asyncio.wait(runs, timeout=self.stop_timeout)

    # -- lifecycle -------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to run what is due. Returns at once; does nothing if it is running.

        The context of the caller is captured: each run begins with a copy of it.

        Raises:
            BgTasksError: It is running in another event loop that is still open.
        """
        if self._own_random and not self.running:
            self._random.seed()  # a process forked since then draws its own
        if not await self._lifecycle.start(self.stop_timeout):
            return
        jobs = self._roll.jobs.values()
        self._slots.warn_of_unused({job.policy.group for job in jobs})
        workers = sum(job.is_worker for job in jobs)
        left_out = tuple((row.name, row.reason) for row in self._roll.decisions if row.reason is not None)
        self.bus.emit(SchedulerStarted(len(jobs) - workers, workers, left_out))

    async def stop(self, drain: Interval = 0.0) -> None:
        """Start nothing more, wait for runs to end, then cancel what is left and wait for that.

        Runs that would not end are named in the `SchedulerStopped` event and in the log; they keep
        their place, so that a restarted scheduler does not run the same job beside them. If the caller
        is cancelled, the stop goes on to its end.

        Args:
            drain: How long runs in progress may go on by themselves, in seconds or as `"30s"`. Workers,
                which never end, are not waited for. A second `stop()` without it cuts the wait short.

        Returns within `drain` and `stop_timeout` seconds together.

        Raises:
            InvalidTrigger: `drain` is no duration.
            BgTasksError: It is running in another event loop that is still open.
        """
        await self._lifecycle.stop(parse_delay(drain, "drain"), self.stop_timeout)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
