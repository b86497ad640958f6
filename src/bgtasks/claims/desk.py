"""Where cluster tasks are claimed, and where the end of their runs is told.

All that is to be said to the store is gathered while a call is on its way, and said in the next one: a
hundred tasks that are due at once cost one call. Nothing here runs anything; the dispatcher does.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING, Any

from bgtasks.claims.book import Book, stored
from bgtasks.claims.claim import Claim
from bgtasks.claims.commands import Commands
from bgtasks.claims.declared import Declarations, job_id
from bgtasks.claims.due import Due
from bgtasks.claims.ending import Endings
from bgtasks.claims.in_hand import InHand
from bgtasks.claims.job_types import Guests, JobType
from bgtasks.claims.jobs import Jobs
from bgtasks.claims.offers import Offers
from bgtasks.claims.pace import Pace
from bgtasks.claims.presence import Presence, State
from bgtasks.claims.session import Session
from bgtasks.claims.stored import AHEAD, Stored
from bgtasks.claims.switches import Switches
from bgtasks.claims.upkeep import RETENTION, Retention, Upkeep
from bgtasks.clock import Clock
from bgtasks.contracts import TaskStore
from bgtasks.errors import BgTasksError, ResourceUnavailable
from bgtasks.events import EventBus, RunLost
from bgtasks.job import Job, Request
from bgtasks.lease import LeaseTimes
from bgtasks.outcomes import Cancelled, Deferred, Outcome
from bgtasks.policies import CatchUp, Overlap
from bgtasks.records import Beat, Claimed, JobRow
from bgtasks.run import NewRunId, run_ids
from bgtasks.spec import Spec, promises_counts

if TYPE_CHECKING:
    from bgtasks.dispatcher import Dispatcher

__all__ = ["Desk"]


class Desk:
    """Claims what is due for the cluster tasks of this process.

    Args:
        dispatcher: Runs what was claimed.
        node_id: What this process is called, for people; by default host and process id.
        new_id: Makes the ids of sessions and of runs.
        retention: How much of the history of runs is kept.
        state: How this process stands, for whoever asks from outside.

    Attributes:
        guests: Jobs that were added at run time, while they are in hand.
        commands: What this process is told from outside.
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
        retention: Retention | None = None,
        state: State = dict,
    ) -> None:
        self._dispatcher = dispatcher
        self._bus = bus
        self._clock = clock
        new_run_id = new_id or run_ids()
        self.session = Session(
            store,
            lambda session: self._presence.row(session),
            bus=bus,
            clock=clock,
            random=random,
            new_id=new_id or (lambda: os.urandom(16).hex()),
            heard=self._heard,
            lost=self._lost,
            **({} if times is None else {"times": times}),
        )
        self._store = store
        self._book = Book(self.session, dispatcher, clock)
        self._jobs = self._book.jobs
        self._declarations = Declarations(self.session, self._book, bus)
        self._switches = self._book.switching = Switches(
            self.session, self._book, new_run_id, self._declarations.tell
        )
        self._due = Due(self.session, self._book, bus, new_run_id, self._begin, self._declarations.want)
        self._offers = Offers(
            self.session, bus, random, new_run_id, self._spawn, self._talk, self._declarations.tell
        )
        self.guests = Guests(self.session, self._book, dispatcher, clock)
        self._presence = Presence(node_id, self._book, self.guests, state, clock)
        self.commands = Commands(self.session, self._spawn, self._talk)
        self._upkeep = Upkeep(self.session, self._book, bus, retention or RETENTION)
        self.jobs = Jobs(
            store,
            ask=self.session.ask_first,
            now=self._book.now,
            new_run_id=new_run_id,
            changed=self.session.beat_now,
        )
        self._endings = Endings(self.session)
        self._in_hand = InHand(self._book, dispatcher)
        self._telling, self._claiming = Pace(clock), Pace(clock)
        self._hurry = False
        self._silent_since = float("inf")  # since when what was asked for got no answer
        self._loop: asyncio.AbstractEventLoop | None = None
        self._context = contextvars.Context()
        self._talking: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def away(self) -> dict[str, str]:
        """Why the store does not answer, if so: `store`, with the reason."""
        return {} if self.session.trouble is None else {"store": self.session.trouble}

    # -- lifecycle -------------------------------------------------------------------------------

    def add(self, job: Job) -> None:
        """Take care of a cluster task."""
        self._jobs[stored(job).id] = job
        self._declarations.want(job)
        if self._loop is not None:
            self._presence.changed = True
            self.session.open(self._loop, self._context)
            self._talk()

    def agenda(self, name: str, catch_up: CatchUp) -> Stored:
        """What a cluster task's agenda is."""
        return Stored(job_id(name), catch_up, self.session)

    def drop(self, job: Job) -> None:
        """This process has the task no more; others may."""
        self._jobs.pop(stored(job).id, None)
        self._declarations.drop(job)
        self._due.drop(job)
        self._offers.drop(job)
        self.guests.types.pop(job.name, None)
        self._presence.changed = True

    def host(self, spec: Spec, kwargs: Mapping[str, Any]) -> None:
        """Run the jobs of a type, which are added at run time, with these resources."""
        self.guests.types[spec.name] = JobType.of(spec, kwargs)
        self._presence.changed = True

    def open(self, loop: asyncio.AbstractEventLoop, context: contextvars.Context) -> None:
        """Begin to claim, in this event loop."""
        self._loop, self._context = loop, context
        self._declarations.want(*self._jobs.values())
        self._due.clear()
        self._hurry = False
        self.session.open(loop, context)

    async def close(self, within: float) -> None:
        """Say how the last runs ended, and leave; what is not said by then expires with the session."""
        if self._loop is None:
            return
        until = self._clock.monotonic() + within
        self._due.clear()
        self._declarations.clear()
        self._offers.clear("the scheduler was stopped")
        if given_up := [task for task in self._tasks if task is not self._talking and task.cancel()]:
            # What is said of that is told too; a host's command may swallow its cancellation.
            await asyncio.wait(given_up, timeout=within / 2)
        for _ in range(3):  # what is being said may not have all of it, or get no answer
            untold = self._endings or self._offers.withdrawals or self._switches or self.commands
            if untold and self.session.trouble is None:
                self._talk()
            if self._talking is not None and not self._talking.done():
                await asyncio.wait((self._talking,), timeout=max(0.0, until - self._clock.monotonic()))
        if self._talking is not None:
            self._talking.cancel()
        self._loop = self._talking = None  # a task that joins from now on begins with the next start
        await self.session.close(max(0.0, until - self._clock.monotonic()))
        self.commands.clear()
        self.guests.release()

    def forget(self) -> None:
        """Let go of an event loop that was closed, or is about to be."""
        if self._loop is not None and not self._loop.is_closed():
            self._offers.clear("the scheduler was stopped")
            for task in self._tasks:
                task.cancel()
        self._loop = self._talking = None
        self._endings.clear()
        self._in_hand.clear()
        self.session.forget()
        self.guests.release()

    # -- what is due -----------------------------------------------------------------------------

    def want(self, job: Job) -> None:
        """A job is due by the store, or soon: claim it, or leave it to others while it is paused here."""
        if not self._book.put_off(job) and job.paused is None and not job.removed:
            self._due.want(job)
            self._talk()

    def run_now(self, job: Job, answer: asyncio.Future[Outcome]) -> None:
        """Run a job beside its schedule, here if it can be had; `answer` is told the outcome."""
        assert self._loop is not None
        if job.busy and job.policy.overlap is Overlap.SKIP:
            self._dispatcher.offer(Request(job, self._book.now(), answer))  # which says why not
        else:
            self._offers.want(job, self._book.now(), answer)

    def pause(self, job: Job, reason: str | None) -> None:
        """Pause a job on all nodes, or with None end that: said to the store as soon as may be."""
        self._switches.want(stored(job).id, reason)
        self._talk()

    def _heard(self, beat: Beat) -> None:
        self._offers.try_again()
        offered = self._offers.jobs
        self.guests.release(lambda job: job in self._due or job in offered)
        for row in beat.due:
            if row.id not in self._due:
                self._receive(row)
        for offer in beat.offers:
            if (job := self._jobs.get(offer.job_id)) is not None:
                self._offers.take(job, offer)
            else:
                self._offers.strangers.setdefault(offer.job_id, []).append(offer)
        for ghost in self._in_hand.ghosts(beat.going, (self._due, self._offers)):
            self._endings.disown(ghost)
        for command in beat.commands:
            self.commands.hear(command)
        self._in_hand.give_up(beat.unwanted)
        for lost in beat.lost:
            again = lost.attempt < lost.attempts
            self._bus.emit(RunLost(lost.job_type, lost.id, lost.due, lost.node_id or "", lost.attempt, again))
        if beat.alive and self._upkeep.is_due(now := self._clock.monotonic()):
            self._spawn(self._look_after(now), "upkeep")
        self._presence.look()
        self._talk()

    def _receive(self, row: JobRow, *, due: bool = True) -> Job | None:
        """The job of a row as it is now: a task's, or a guest."""
        job = self._jobs.get(row.id)
        if job is None or job.name != row.job_type:
            job = self.guests.receive(row, due=due)
        if job is not None:
            self._book.see(job, row)
        return job

    async def _look_after(self, now: float) -> None:
        with suppress(BgTasksError):  # said by the session; the next round is soon enough
            await self._upkeep.round(now)

    def _lost(self, why: str) -> None:
        """The session is over: what it claimed is not ours any more, and what is due is seen by the next."""
        self._due.clear()
        self._offers.clear(why)
        self._declarations.want(*self._jobs.values())  # somebody may have taken them for retired
        self._in_hand.forget_ghosts()
        self.commands.clear()
        for job in self._jobs.values():
            job.agenda.due = None
            if job.entry:
                self._dispatcher.place(job)
            self._dispatcher.withdraw(job, why)
            for run in job.runs:
                if run.claim is not None and not isinstance(run.ending, Cancelled):
                    self._dispatcher.cancel(run, Cancelled(why))
        self.session.beat_now()

    # -- what is told ----------------------------------------------------------------------------

    def holds(self, claim: Claim) -> bool:
        """Whether a claim is this process's at this moment."""
        return claim.session == self.session.id and self.session.holds and not claim.over

    def remaining(self, claim: Claim) -> float:
        """Seconds for which it is."""
        return self.session.remaining if self.holds(claim) else 0.0

    def ended(self, claim: Claim, outcome: Outcome, seconds: float) -> None:
        """The run of a claim is over."""
        job = self._jobs.get(claim.job_id)
        counts = job is not None and promises_counts(job.func)
        self._endings.add(claim, outcome, seconds, counts=counts)
        if not isinstance(outcome, Deferred) or outcome.resource is None:
            self._offers.reached(claim.job_id)
        elif job is not None and self._loop is not None:
            self._offers.want_later(job, claim.attempt, self._book.now)
        if job is not None and isinstance(job.agenda, Stored) and (row := job.agenda.row) is not None:
            if job.agenda.waits:
                self._book.place(job, row)
            if 0 < (row.interval_minutes or 0) * 60 < self.session.times.renew:
                self._hurry = True  # it is due again before the next beat
        self._talk()

    def _talk(self) -> None:
        """Say what is to be said, from a callback of its own: what is due at once is said in one call."""
        open_loop = self._loop is not None and not self._loop.is_closed()
        if open_loop and (self._talking is None or self._talking.done()):
            self._talking = self._spawn(self._say(), "claims")

    async def _say(self) -> None:
        had_turn = False  # what is due all the time, which would leave none to the rest
        try:
            while True:
                if self._endings and not (self._dispatcher.admits and self._telling.left):
                    self._telling.called()
                    self._in_hand.drop(await self._endings.tell())
                    self._silent_since = float("inf")
                    if self._hurry:
                        self._hurry = False
                        self.session.beat_now()
                elif self._offers.withdrawals:
                    await self._offers.withdraw_next()
                elif not self.session.holds:
                    return  # the next beat begins anew
                elif self._switches:
                    await self._switches.tell_next()
                elif self.commands:
                    await self.commands.answer_next()
                elif not self._dispatcher.admits:
                    return  # what stops takes nothing more
                elif self._presence.changed:
                    await self.session.ask(self._store.describe(self._presence.row(self.session.id)))
                elif self._offers:
                    session = self.session.id
                    for job, claimed, answer in await self._offers.accept():
                        self._begin(job, claimed, session, answer)
                    self._silent_since = float("inf")
                elif self._due and not (had_turn or self._endings or self._claiming.left):
                    had_turn = True  # after the ends: one may be of the run before
                    self._claiming.called()
                    await self._due.claim()
                    self._silent_since = float("inf")
                elif self._declarations:
                    had_turn = False
                    await self._declarations.tell_next()
                elif self.guests.broken:
                    await self.guests.pause_broken()
                elif self._offers.strangers:
                    await self._offers.meet_next(lambda row: self._receive(row, due=False))
                elif self._endings or self._due:
                    had_turn = False
                    await asyncio.sleep((self._telling if self._endings else self._claiming).left)
                else:  # all of it was answered
                    self._silent_since = float("inf")
                    return
        except ResourceUnavailable as error:
            if self.session.trouble is None:
                self.session.beat_now()  # which says so, or that it was one call
            now = self._clock.monotonic()
            self._silent_since = min(self._silent_since, now)
            if now - self._silent_since > 2 * self.session.times.lease:
                # It beats, but what it asks for is not answered: what it may have claimed is for others.
                self._silent_since = float("inf")
                self.session.give_up(str(error))
        except BgTasksError:
            return  # said by the session, whose next beat begins anew

    def _begin(
        self, job: Job, claimed: Claimed, session: str, answer: asyncio.Future[Outcome] | None = None
    ) -> None:
        if self._in_hand.take(claimed.run_id):
            claim = Claim(claimed, f"claim:{job.name}", session, self)
            if self._dispatcher.admits and self.holds(claim) and not job.removed:
                now, begins = self._clock.monotonic(), self.session.mono(claimed.due)
                ahead = min(begins, now + 2 * AHEAD) if begins > now else None
                self._dispatcher.offer(Request(job, claimed.due, answer, claim=claim, begins=ahead))
                return
            why = Cancelled("the scheduler was stopped" if self.session.holds else "the claim came too late")
            claim.ended(why, 0.0)
        else:  # claimed again, by who had not heard the first answer
            why = Cancelled("it was given back")
        if answer is not None and not answer.done():
            answer.set_result(why)

    def _spawn(self, call: Coroutine[Any, Any, None], what: str) -> asyncio.Task[None]:
        assert self._loop is not None
        task = asyncio.Task(
            call, loop=self._loop, name=f"bgtasks:claims:{what}", context=self._context.copy()
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
