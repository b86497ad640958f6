"""Where cluster tasks are claimed, and where the end of their runs is told.

All that is to be said to the store is gathered while a call is on its way, and said in the next one: a
hundred tasks that are due at once cost one call. Nothing here runs anything; the dispatcher does.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import socket
from collections.abc import Coroutine
from dataclasses import replace
from datetime import datetime
from random import Random
from typing import TYPE_CHECKING, Any
from uuid import UUID

from bgtasks.claims.claim import Claim
from bgtasks.claims.declared import declared, job_id
from bgtasks.claims.ending import ending
from bgtasks.claims.offers import Offers, first, why
from bgtasks.claims.session import Session
from bgtasks.claims.stored import Stored
from bgtasks.claims.ticks import Asked, Wanted, ask_for
from bgtasks.clock import Clock
from bgtasks.contracts import TaskStore
from bgtasks.errors import BgTasksError, InvalidTrigger, ResourceUnavailable
from bgtasks.events import EventBus, RunLost, RunMissed, RunSkipped
from bgtasks.job import Job, Request
from bgtasks.lease import LeaseTimes
from bgtasks.outcomes import Cancelled, Deferred, Outcome, Skipped
from bgtasks.policies import CatchUp, Overlap
from bgtasks.records import Beat, Claimed, Ending, JobRow, Refusal, Refused, SessionRow
from bgtasks.run import NewRunId, run_ids

if TYPE_CHECKING:
    from bgtasks.dispatcher import Dispatcher

__all__ = ["Desk"]


class Desk:
    """Claims what is due for the cluster tasks of this process.

    Args:
        dispatcher: Runs what was claimed.
        node_id: What this process is called, for people; by default host and process id.
        new_id: Makes the ids of sessions and of runs.
    """

    def __init__(
        self,
        store: TaskStore,
        dispatcher: Dispatcher,
        node_id: str,
        bus: EventBus,
        clock: Clock,
        random: Random,
        new_id: NewRunId | None = None,
        *,
        times: LeaseTimes | None = None,
    ) -> None:
        self._dispatcher = dispatcher
        self._node_id = node_id or f"{socket.gethostname()}-{os.getpid()}"
        self._bus = bus
        self._clock = clock
        self._random = random
        self._new_run_id = new_id or run_ids()
        self.session = Session(
            store,
            self._describe,
            bus=bus,
            clock=clock,
            random=random,
            new_id=new_id or _session_id,
            heard=self._heard,
            lost=self._lost,
            **({} if times is None else {"times": times}),
        )
        self._store = store
        self._jobs: dict[UUID, Job] = {}
        self._undeclared: dict[UUID, Job] = {}
        self._wanted: dict[UUID, Wanted] = {}
        self._endings: dict[str, Ending] = {}
        self._offers = Offers(
            self.session, bus, random, self._new_run_id, self._spawn, self._talk, self._declare_one
        )
        self._changed = self._hurry = False
        self._silent_since = float("inf")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._context = contextvars.Context()
        self._talking: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    # -- lifecycle -------------------------------------------------------------------------------

    def add(self, job: Job) -> None:
        """Take care of a cluster task."""
        self._jobs[job_id(job.name)] = self._undeclared[job_id(job.name)] = job
        if self._loop is not None:
            self._changed = True
            self.session.open(self._loop, self._context)
            self._talk()

    def agenda(self, catch_up: CatchUp) -> Stored:
        """What a cluster task's agenda is."""
        return Stored(catch_up)

    def drop(self, job: Job) -> None:
        """This process has the task no more; others may."""
        for each in (self._jobs, self._undeclared, self._wanted):
            each.pop(job_id(job.name), None)
        self._offers.drop(job)
        self._changed = True

    def open(self, loop: asyncio.AbstractEventLoop, context: contextvars.Context) -> None:
        """Begin to claim, in this event loop."""
        self._loop, self._context = loop, context
        self._undeclared = dict(self._jobs)
        self._wanted.clear()
        self._changed = self._hurry = False
        if self._jobs:
            self.session.open(loop, context)

    async def close(self, within: float) -> None:
        """Say how the last runs ended, and leave; what is not said by then expires with the session."""
        if self._loop is None:
            return
        until = self._clock.monotonic() + within
        self._wanted.clear()
        self._undeclared.clear()
        self._offers.clear("the scheduler was stopped")
        for task in self._tasks - {self._talking}:
            task.cancel()
        for _ in range(3):  # what is being said may not have all of it, or get no answer
            if self._endings and self.session.within_reach:
                self._talk()
            if self._talking is not None and not self._talking.done():
                await asyncio.wait((self._talking,), timeout=max(0.0, until - self._clock.monotonic()))
        if self._talking is not None:
            self._talking.cancel()
        await self.session.close(max(0.0, until - self._clock.monotonic()))
        self._loop = self._talking = None

    def forget(self) -> None:
        """Let go of an event loop that was closed, or is about to be."""
        self._loop = self._talking = None
        self._endings.clear()
        self.session.forget()

    # -- what is due -----------------------------------------------------------------------------

    def want(self, job: Job) -> None:
        """A job is due by the store: claim it, or leave it to others while it is paused here."""
        held = job.open_until is not None and job.open_until > self._clock.monotonic()
        job.agenda.due = job.open_until if held else None
        self._dispatcher.place(job)  # one that was found overdue has another entry: not twice
        if not held and job.paused is None and not job.removed and job_id(job.name) not in self._wanted:
            self._wanted[job_id(job.name)] = Wanted(job)
            self._talk()

    def run_now(self, job: Job, answer: asyncio.Future[Outcome]) -> None:
        """Run a job beside its schedule, here if it can be had; `answer` is told the outcome."""
        assert self._loop is not None
        if job.busy and job.policy.overlap is Overlap.SKIP:
            self._dispatcher.offer(Request(job, self._now(), answer))  # which says why not
        else:
            self._offers.want(job, self._now(), answer)

    def _heard(self, beat: Beat) -> None:
        self._offers.try_again()
        for row in beat.due:
            job = self._jobs.get(row.id)
            if job is not None and row.id not in self._wanted:
                self._see(job, row)
        for offer in beat.offers:
            if (job := self._jobs.get(offer.job_id)) is not None:
                self._offers.take(job, offer)
        for job in self._jobs.values():
            for run in job.runs:
                if run.claim is not None and run.claim.run_id in beat.unwanted and run.ending is None:
                    run.claim.given_up = True
                    self._dispatcher.cancel(run, Cancelled("its next run is due, or it was removed"))
        for lost in beat.lost:
            again = lost.attempt < lost.attempts
            self._bus.emit(RunLost(lost.job_type, lost.id, lost.due, lost.node_id or "", lost.attempt, again))
        self._talk()

    def _lost(self, why: str) -> None:
        """The session is over: what it claimed is not ours any more, and what is due is seen by the next."""
        self._wanted.clear()
        self._offers.clear(why)
        for job in self._jobs.values():
            job.agenda.due = None
            if job.entry:
                self._dispatcher.place(job)
            self._dispatcher.withdraw(job, why)
            for run in job.runs:
                if run.claim is not None and not isinstance(run.ending, Cancelled):
                    self._dispatcher.cancel(run, Cancelled(why))
        self.session.beat_now()

    def _see(self, job: Job, row: JobRow) -> None:
        """A job as the store has it."""
        job.failures = row.failures
        self._due(job, row)

    def _due(self, job: Job, row: JobRow) -> None:
        at = row.next_run_at if row.enabled else None
        assert isinstance(job.agenda, Stored)
        if job.agenda.fault is not None:
            return
        job.agenda.see(row, None if at is None else self.session.mono(at))
        self._dispatcher.place(job)

    def _now(self) -> datetime:
        return self.session.now(self._clock.monotonic())

    # -- what is told ----------------------------------------------------------------------------

    def holds(self, claim: Claim) -> bool:
        """Whether a claim is this process's at this moment."""
        return claim.session == self.session.id and self.session.holds

    def remaining(self, claim: Claim) -> float:
        """Seconds for which it is."""
        return self.session.remaining if self.holds(claim) else 0.0

    def ended(self, claim: Claim, outcome: Outcome, seconds: float) -> None:
        """The run of a claim is over, or was not begun."""
        job = self._jobs.get(claim.job_id)
        here = job is not None and self._dispatcher.admits and self.holds(claim)
        if not seconds and not here and isinstance(outcome, Skipped):  # another may have what was not begun
            outcome = Cancelled(outcome.reason)
        self._endings[claim.run_id] = ending(claim, outcome, seconds)
        if not isinstance(outcome, Deferred) or outcome.resource is None:
            self._offers.reached(claim.job_id)
        elif job is not None and self._loop is not None:
            self._offers.want_later(job, claim.attempt, self._now)
        if job is not None and isinstance(job.agenda, Stored) and (row := job.agenda.row) is not None:
            if job.agenda.waits:
                self._due(job, row)
            if 0 < (row.interval_minutes or 0) * 60 < self.session.times.renew:
                self._hurry = True  # it is due again before the next beat
        self._talk()

    def _talk(self) -> None:
        """Say what is to be said, from a callback of its own: what is due at once is said in one call."""
        if self._loop is not None and (self._talking is None or self._talking.done()):
            self._talking = self._spawn(self._say(), "claims")

    async def _say(self) -> None:
        try:
            while True:
                if self._endings:
                    await self._finish()
                    self._silent_since = float("inf")
                elif not self.session.holds or not self._dispatcher.admits:
                    return  # the next beat begins anew; what stops takes nothing more
                elif self._changed:
                    await self.session.ask(self._store.describe(self._describe(self.session.id)))
                    self._changed = False
                elif self._undeclared:
                    await self._declare_one(next(iter(self._undeclared.values())))
                elif self._offers:
                    session = self.session.id
                    for job, claimed, answer in await self._offers.accept():
                        self._begin(job, claimed, session, answer)
                    self._silent_since = float("inf")
                elif self._wanted:
                    await self._claim()
                    self._silent_since = float("inf")
                else:
                    return
        except ResourceUnavailable as error:
            now = self._clock.monotonic()
            self._silent_since = min(self._silent_since, now)
            if now - self._silent_since > 2 * self.session.times.lease:
                # It beats, but what it asks for is not answered: what it may have claimed is for others.
                self._silent_since = float("inf")
                self.session.give_up(str(error))
        except BgTasksError:
            return  # said by the session, whose next beat begins anew

    async def _finish(self) -> None:
        said = first(self._endings)
        await self.session.ask(self._store.finish(list(said.values())))
        for run_id in said:
            del self._endings[run_id]
        if self._hurry:
            self._hurry = False
            self.session.beat_now()

    async def _declare_one(self, job: Job) -> None:
        if self._undeclared.get(job_id(job.name)) is not job:
            return
        try:
            row = await declared(job, self._store, self.session.ask, self._now)
        except InvalidTrigger as error:
            self._fault(job, error)
        except BgTasksError:
            raise
        except Exception as error:  # noqa: BLE001 - a trigger may be someone else's code
            self._fault(job, error)
        else:
            self._see(job, row)
            if job.agenda.never:
                over = f"not scheduled: {job.trigger} is over, and never due again"
                self._bus.emit(RunSkipped(job.name, self._now(), over))
        self._undeclared.pop(job_id(job.name), None)

    async def _claim(self) -> None:
        session, now, said = self.session.id, self._now(), first(self._wanted)
        for each, wanted in list(said.items()):
            # What was asked and not answered is asked again, word for word: it may be ours already.
            if wanted.asked is None and (asked := self._plan(wanted.job, now)) is not None:
                wanted.asked = asked
            if wanted.asked is None:  # it was claimed elsewhere meanwhile, or its trigger failed
                del self._wanted[each], said[each]
                assert isinstance(wanted.job.agenda, Stored)
                if (row := wanted.job.agenda.row) is not None:
                    self._due(wanted.job, row)
        if not said:
            return
        ticks = [wanted.asked.tick for wanted in said.values() if wanted.asked is not None]
        answers = await self.session.ask(self._store.claim(session, ticks))
        for (each, wanted), answer in zip(said.items(), answers, strict=True):
            if self._wanted.get(each) is wanted:
                del self._wanted[each]
            assert wanted.asked is not None
            self._answered(wanted.job, wanted.asked, answer, session)

    def _plan(self, job: Job, now: datetime) -> Asked | None:
        try:
            return ask_for(job, now, self._new_run_id)
        except Exception as error:  # noqa: BLE001 - a trigger may be someone else's code
            self._fault(job, error)
            return None

    def _fault(self, job: Job, error: Exception) -> None:
        """A trigger that failed is not asked again."""
        assert isinstance(job.agenda, Stored)
        job.agenda.fault = f"its trigger raised {type(error).__name__}: {error}"
        self._dispatcher.place(job)

    def _answered(self, job: Job, asked: Asked, answer: Claimed | Refused, session: str) -> None:
        row, planned, tick = asked
        written = isinstance(answer, Claimed) or answer.why is Refusal.MISSED or answer.run_id is not None
        if planned.ticks and written:
            self._bus.emit(RunMissed(job.name, tick.due, planned.ticks, planned.missed))
        assert isinstance(job.agenda, Stored)
        coming = tick.following if isinstance(answer, Claimed) else answer.next_run_at
        job.agenda.overdue = coming if coming is not None and coming <= self._now() else None
        if isinstance(answer, Claimed):
            following = None if row.interval_minutes is not None else tick.following
            self._due(job, replace(row, next_run_at=following, last_run_at=self._now()))
            self._begin(job, answer, session)
            return
        if answer.why is Refusal.NO_SESSION:
            self.session.beat_now()
            return
        if answer.why is Refusal.BUSY and answer.run_id is None:
            job.agenda.wait(row)  # until its run here has ended, or the next beat
            return
        if answer.run_id is not None and tick.overlap is Overlap.SKIP:  # else it may have been queued
            self._bus.emit(RunSkipped(job.name, tick.due, why(answer)))
        kept = answer.why not in (Refusal.DISABLED, Refusal.GONE)
        self._due(job, replace(row, next_run_at=answer.next_run_at if kept else None))

    def _begin(
        self, job: Job, claimed: Claimed, session: str, answer: asyncio.Future[Outcome] | None = None
    ) -> None:
        claim = Claim(claimed, f"claim:{job.name}", session, self)
        if job.removed or not self.holds(claim) or not self._dispatcher.admits:  # too late: give it back
            why = Cancelled("the scheduler was stopped" if self.session.holds else "the claim came too late")
            claim.ended(why, 0.0)
            if answer is not None and not answer.done():
                answer.set_result(why)
            return
        self._dispatcher.offer(Request(job, claimed.due, answer, claim=claim))

    def _describe(self, session: str) -> SessionRow:
        names = tuple(job.name for job in self._jobs.values())
        return SessionRow(id=session, node_id=self._node_id, wired=names, known=names)

    def _spawn(self, call: Coroutine[Any, Any, None], what: str) -> asyncio.Task[None]:
        assert self._loop is not None
        task = asyncio.Task(
            call, loop=self._loop, name=f"bgtasks:claims:{what}", context=self._context.copy()
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _session_id() -> str:
    return os.urandom(16).hex()
