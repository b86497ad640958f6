"""What becomes of a job that is due: a run, a place in a line, or a reason why not.

A tick becomes a run in these steps: the agenda says which instant it is for and what was missed; a pause
or an open breaker may hold it back; the overlap policy judges it beside a run in progress; it takes a slot;
it runs. Each step that ends the way says so on the bus.
"""

from __future__ import annotations

import asyncio
import contextvars
from datetime import datetime
from random import Random
from typing import TYPE_CHECKING, Protocol

from bgtasks.agenda import PassedOver
from bgtasks.clock import Clock, Reading
from bgtasks.events import EventBus, RunMissed, RunSkipped, WorkerRestarted
from bgtasks.job import Job, Request
from bgtasks.outages import HEALTHY, Outages
from bgtasks.outcomes import Cancelled, Deferred, Missed, Outcome
from bgtasks.pauses import Pauses
from bgtasks.policies import Overlap
from bgtasks.run import NewRunId, Run
from bgtasks.runner import Runner, Unavailable
from bgtasks.slots import Slots
from bgtasks.timeline import Timeline

if TYPE_CHECKING:
    from bgtasks.claims.claim import Claim

__all__ = ["Claims", "Dispatcher"]

STOPPED = "the scheduler was stopped"
LAST_BREATH = 1.0
"""Seconds to admit nothing for, after the host cancelled a run: `asyncio.run` does so at its end, and what
began then would be destroyed."""


class Claims(Protocol):
    """Claims what is due by a store, and hands it back as a request with a claim."""

    def want(self, job: Job) -> None:
        """A job is due by the store."""


class Dispatcher:
    """Turns due jobs into runs, and follows each run to its end.

    Args:
        unavailable: Which errors of a task mean that a server does not answer.
        slots: Limits how many runs are in progress.
        jobs: All jobs by name, in the order of registration. A removed job leaves it when its run has ended.
    """

    def __init__(
        self,
        *,
        bus: EventBus,
        clock: Clock,
        random: Random,
        unavailable: Unavailable | None,
        slots: Slots,
        new_run_id: NewRunId,
        jobs: dict[str, Job],
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._runner = Runner(bus, clock, unavailable, random, self._ended)
        self._slots = slots
        self._new_run_id = new_run_id
        self._jobs = jobs
        self.timeline = Timeline(clock, self._fire, jobs.values)
        self.pauses = Pauses(bus, clock, self.place)
        self.outages = Outages(bus, clock, random, jobs.values, self.place)
        self.claims: Claims | None = None
        self._loop_ends = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._context = contextvars.Context()

    # -- lifecycle -------------------------------------------------------------------------------

    def cancel(self, run: Run, why: Cancelled) -> None:
        """Ask one run to end."""
        self._runner.cancel(run, why)

    @property
    def admits(self) -> bool:
        """Whether a due job is run."""
        return self._loop is not None

    @property
    def unfinished(self) -> tuple[str, ...]:
        """The name of the job of each run that has not ended."""
        return tuple(job.name for job in tuple(self._jobs.values()) for _ in job.runs)

    def open(self, loop: asyncio.AbstractEventLoop, context: contextvars.Context, reading: Reading) -> None:
        """Run what is due from now on, in this loop, each run in a copy of this context."""
        self._loop, self._context = loop, context
        self._runner.open(loop, context)
        self.timeline.start(loop, context, reading)
        jobs = tuple(self._jobs.values())  # what is called below may register more
        self._slots.clear()
        for job in jobs:
            if job.runs:  # some may be of a loop that has since been closed
                job.runs = tuple(run for run in job.runs if _lives(run))
                for _ in job.runs if job.limited else ():
                    self._slots.take(job.policy.group)
                self._drop_removed(job)
            job.started = 0
            job.begin(reading, job.initial_delay)
        self.timeline.put_all(jobs)
        for job in jobs:
            if not job.entry:
                self._say_if_unscheduled(job)

    def close(self) -> None:
        """Begin no more runs, and decline those that wait."""
        self._loop = None
        self.timeline.stop()
        self._runner.close()
        for job in tuple(self._jobs.values()):
            self._decline_waiting(job, STOPPED)

    def take_in(self, job: Job) -> None:
        """Have a job, which is placed by whoever knows when it is due."""
        self._jobs[job.name] = job

    def retire(self, job: Job) -> None:
        """Take a job off the schedule, decline what waits, and cancel its runs."""
        job.removed = True
        self.timeline.put(job)
        self.withdraw(job, "the task was removed")
        self.outages.give_up(job)
        for run in job.runs:
            self._runner.cancel(run, Cancelled("the task was removed"))
        self._drop_removed(job)

    def withdraw(self, job: Job, reason: str) -> None:
        """Decline what waits to be begun."""
        self._decline_waiting(job, reason)
        self._hand_slot_on()

    def _drop_removed(self, job: Job) -> None:
        if job.removed and not job.runs and self._jobs.get(job.name) is job:
            del self._jobs[job.name]

    def _decline_waiting(self, job: Job, reason: str) -> None:
        requests, job.queued, job.waiting = (job.queued, job.waiting), None, None
        for request in requests:
            if request is not None:
                self._slots.withdraw(request)
                if request.has_slot:
                    self._slots.give_back(job.policy.group)
                self._decline(request, reason, given_back=request.begins is not None)

    def in_progress(self, of: Job | None = None, *, workers: bool = True) -> list[asyncio.Task[Outcome]]:
        """The asyncio tasks of the runs that have not ended, of all jobs or of one."""
        return [
            run.handle
            for job in (tuple(self._jobs.values()) if of is None else (of,))
            for run in job.runs
            if run.handle is not None and not run.handle.done() and (workers or not job.is_worker)
        ]

    def cancel_all(self) -> None:
        """Ask each run to end, since the scheduler stops."""
        for job in tuple(self._jobs.values()):
            for run in job.runs:
                self._runner.cancel(run, Cancelled(STOPPED), insist=False)

    def forget(self) -> None:
        """Let go of the runs of an event loop that was closed under them; `close` comes first."""
        self._slots.clear()
        self.outages.clear()
        for job in tuple(self._jobs.values()):
            job.runs, job.waiting, job.queued = (), None, None
            self._drop_removed(job)

    # -- from tick to run ------------------------------------------------------------------------

    def place(self, job: Job) -> None:
        """Put a job where its next instant is; if its trigger failed, say so."""
        self.timeline.put(job)
        if job.agenda.fault is not None and not job.entry:
            self._say_if_unscheduled(job)

    def add(self, job: Job, reading: Reading, delay: float) -> None:
        """Schedule a job that joins, or has been given another trigger, in a running scheduler."""
        job.begin(reading, delay)
        self.timeline.put(job)
        self._say_if_unscheduled(job)

    def _fire(self, job: Job, reading: Reading) -> None:
        if job.agenda.kept and self.claims is not None:
            job.held = None
            self.claims.want(job)
            return
        due = job.take(reading)
        if job.agenda.behind is None:
            # The next tick is set before user code begins: nothing it does can take it away.
            self.timeline.put(job)
            if not job.entry:
                self._say_if_unscheduled(job)
            self._consider(job, due, reading)
            return
        try:  # the next one is due already, and waits for the end of this one
            self._consider(job, due, reading)
        finally:
            self.place(job)

    def _consider(self, job: Job, due: datetime | None, reading: Reading) -> None:
        if job.agenda.missed is not None:
            self._say_missed(job, job.agenda.missed, reading)
        if due is None or job.removed:
            return
        if job.paused is not None or job.open_until is not None:
            reason = self.pauses.reason(job, reading.mono)
            if reason is not None:
                self.pauses.put_off(job)
                self._decline(Request(job, due), reason)
                return
        if job.runs or job.waiting is not None or self._slots.limited:
            self.offer(Request(job, due))
        else:
            self._begin(job, due)

    def offer(self, request: Request) -> None:
        """Begin a run if the overlap policy and the slots allow; else let it wait, or decline it."""
        job, overlap = request.job, request.job.policy.overlap
        beside = overlap is Overlap.ALLOW and request.begins is None and not self._slots.limited
        if job.waiting is not None and not beside:
            self._decline(request, "the previous run has not begun yet")
        elif not job.runs or overlap is Overlap.ALLOW:
            self._admit(request)
        elif overlap is Overlap.SKIP:
            self._decline(request, "the previous run is still going")
        elif overlap is Overlap.QUEUE and job.queued is not None:
            self._decline(request, "the previous run is still going, and one is queued already")
        else:
            overtaken, job.queued = job.queued, request
            if overtaken is not None:
                self._decline(overtaken, "overtaken by a later one")
            if overlap is Overlap.CANCEL:
                for run in job.runs:
                    run.overtaken = True
                    if run.ending is None:  # one that was told already is told again by itself
                        self._runner.cancel(run, Cancelled("its next run is due"))

    def _admit(self, request: Request) -> None:
        job = request.job
        if early := request.early(self._clock.monotonic()):
            self._admit_soon(request, early)
            return
        if self._slots.limited and job.limited:
            request.since = self._clock.monotonic()
            if not self._slots.admit(request):
                job.waiting = request
                return
        self._begin(job, request.due, request.answer, request.claim)

    def _begin(
        self,
        job: Job,
        due: datetime,
        answer: asyncio.Future[Outcome] | None = None,
        claim: Claim | None = None,
    ) -> None:
        run: Run | None = None
        try:
            run = Run(job, self._new_run_id() if claim is None else claim.run_id, due, answer)
            if claim is not None:
                run.claim = claim
            job.run_begins(run)
            if job.entry and job.agenda.waits_for_end:
                self.timeline.drop(job)  # begun ahead of its instant
            if job.is_worker and job.started > 1:
                self._bus.emit(WorkerRestarted(job.name, run.run_id, job.started - 1))
            task = self._runner.begin(run)
        except BaseException as error:  # an id or a task factory of the host's, or an interrupt in a listener
            if run is None or run.outcome is None:
                self._not_begun(Request(job, due, answer, claim=claim), error)
            raise
        if task.done():
            return
        self._runner.limit(run)
        if job.is_worker and job.wait is not None:
            assert self._loop is not None
            self._loop.call_later(HEALTHY, self.outages.runs_on, job, run, context=self._context.copy())

    def _not_begun(self, request: Request, error: BaseException) -> None:
        job = request.job
        job.runs = tuple(run for run in job.runs if run.handle is not None and not run.handle.done())
        self._decline(request, f"could not be begun: {type(error).__name__}: {error}")
        self._free_slot(job)
        if job.agenda.waits_for_end and not job.runs:
            job.agenda.ended(self._clock.monotonic())
        self.place(job)

    # -- from run to next tick -------------------------------------------------------------------

    def _ended(self, run: Run) -> None:
        job: Job = run.work  # type: ignore[assignment] # a dispatcher's runs are of its jobs
        if run not in job.runs:  # of an event loop that was given up
            return
        was_open = job.open_until
        job.run_ended(run)
        if run.claim is not None:
            how = Cancelled("by the host") if run.killed else run.outcome or Cancelled()
            run.claim.ended(how, run.ended - run.began)
        if run.answer is not None and not run.answer.done():
            run.answer.set_result(run.outcome or Cancelled())
        self._loop_ends = run.killed
        if self._slots.limited:
            self._free_slot(job)
        if job.removed:
            self._drop_removed(job)
        elif self._loop is not None:
            self._go_on(job, run)
        run.handle = None  # its context holds the run: no circle is left for the collector
        if job.open_until != was_open:
            self.pauses.say_breaker(job, run.ended)

    def _go_on(self, job: Job, run: Run) -> None:
        """The job's next instant, and its next run if one waits for the end of this."""
        if job.agenda.waits_for_end and not job.runs:
            job.agenda.ended(run.ended)
            if job.open_until is not None and job.agenda.due is not None:
                job.agenda.postpone(max(job.agenda.due, job.open_until))
        if job.queued is not None and not job.runs:
            request, job.queued = job.queued, None
            self._admit_soon(request)
        try:
            if (job.wait is not None or isinstance(run.outcome, Deferred)) and run.claim is None:
                self.outages.heed(job, run.outcome)
        finally:
            if job.agenda.waits_for_end or job.wait is not None or job.agenda.behind is not None:
                self.place(job)

    def _free_slot(self, job: Job) -> None:
        if self._slots.limited and job.limited:
            self._slots.give_back(job.policy.group)
            self._hand_slot_on()

    def _hand_slot_on(self) -> None:
        if (following := self._slots.next_in_line()) is not None:
            following.has_slot = True
            self._admit_soon(following)

    def _admit_soon(self, request: Request, wait: float = 0.0) -> None:
        """Admit a run that waits, from a callback of its own: a row of short ones must not nest."""
        request.job.waiting = request
        if self._loop is not None:
            context = self._context.copy()
            if wait := LAST_BREATH if self._loop_ends else wait:
                self._loop.call_later(wait, self._admit_waiting, request, context=context)
            else:
                self._loop.call_soon(self._admit_waiting, request, context=context)

    def _admit_waiting(self, request: Request) -> None:
        job = request.job
        if job.waiting is not request or not self.admits:  # declined meanwhile
            return
        job.waiting = None
        reason = self.pauses.objection(request, self._clock.monotonic())
        if reason is not None:
            if request.has_slot:
                self._free_slot(job)
            self.pauses.put_off(job)
            self._decline(request, reason)
        elif request.has_slot:
            self._begin(job, request.due, request.answer, request.claim)
        else:
            self._admit(request)

    # -- what is said ----------------------------------------------------------------------------

    def _decline(self, request: Request, reason: str, *, given_back: bool = False) -> None:
        request.decline(reason)
        if not given_back:  # which others may run, and is said in the history
            self._bus.emit(RunSkipped(request.job.name, request.due, reason))

    def _say_if_unscheduled(self, job: Job) -> None:
        if job.agenda.fault is not None and not job.entry:
            why = job.agenda.fault
        elif job.agenda.never:
            why = f"{job.trigger} is over, and never due again"
        else:
            return
        self._decline(Request(job, self._clock.now()), f"not scheduled: {why}")

    def _say_missed(self, job: Job, missed: PassedOver, reading: Reading) -> None:
        late = (reading.wall - missed.since).total_seconds()
        reason = f'noticed {round(late, 1):g} s late; catch_up="{job.policy.catch_up}"'
        job.last_outcome = Missed(reason, missed.ticks)
        self._bus.emit(RunMissed(job.name, missed.since, missed.ticks, reason))


def _lives(run: Run) -> bool:
    return run.handle is not None and not run.handle.get_loop().is_closed()
