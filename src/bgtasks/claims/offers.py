"""Runs that are wanted beside the schedule: by hand, after an outage, or in place of one that was lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime
from itertools import chain
from random import Random
from typing import Any
from uuid import UUID

from bgtasks.backoff import Backoff
from bgtasks.claims.book import stored
from bgtasks.claims.session import Session
from bgtasks.errors import BgTasksError
from bgtasks.events import EventBus, RunSkipped
from bgtasks.job import Job, Request
from bgtasks.outcomes import Outcome
from bgtasks.policies import Overlap
from bgtasks.records import Claimed, JobRow, Offer, Refusal, Refused, RunStatus
from bgtasks.run import NewRunId

__all__ = ["Offers", "first", "why"]

BATCH = 500
"""Claims and endings in one call."""


class Offers:
    """Offers that this process has heard of or made, and has not claimed yet.

    Attributes:
        withdrawals: Those that nobody wants any more, and why.
        strangers: Those of jobs that this process does not have in hand, by the job.

    Args:
        talk: Called when there is something to accept.
        declare: Makes a task known to the store.
    """

    def __init__(
        self,
        session: Session,
        bus: EventBus,
        random: Random,
        new_run_id: NewRunId,
        spawn: Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]],
        talk: Callable[[], None],
        declare: Callable[[Job], Coroutine[Any, Any, None]],
    ) -> None:
        self._session = session
        self._bus = bus
        self._random = random
        self._new_run_id = new_run_id
        self._spawn = spawn
        self._talk = talk
        self._declare = declare
        self._open: dict[str, tuple[Job, Offer]] = {}
        self._busy: dict[str, tuple[Job, Offer]] = {}
        self._asked: dict[str, tuple[Job, Offer, asyncio.Future[Outcome]]] = {}
        self._backoffs: dict[UUID, Backoff] = {}
        self.withdrawals: dict[str, str] = {}
        self.strangers: dict[UUID, list[Offer]] = {}

    @property
    def jobs(self) -> frozenset[UUID]:
        """Of which jobs there are some."""
        offers = chain(self._open.values(), self._busy.values(), (each[:2] for each in self._asked.values()))
        return frozenset(chain(self.strangers, (offer.job_id for _, offer in offers)))

    def asks_for(self, run_id: str) -> bool:
        """Whether it is being claimed, or will be."""
        return run_id in self._open or run_id in self._busy

    def __bool__(self) -> bool:
        return bool(self._open)

    def take(self, job: Job, offer: Offer) -> None:
        """The store has one."""
        self._open[offer.run_id] = (job, offer)

    def clear(self, reason: str = "") -> None:
        """Forget those of the store, which tells of them again, and answer who waits for one."""
        for each in (self._open, self._busy, self.strangers):
            each.clear()
        for run_id in tuple(self._asked):
            self._withdraw(run_id, reason)

    def drop(self, job: Job) -> None:
        """Forget those of a job."""
        for of in (self._open, self._busy):
            for run_id in [each for each, (whose, _) in of.items() if whose is job]:
                del of[run_id]
        for run_id in [each for each, (whose, *_) in self._asked.items() if whose is job]:
            self._withdraw(run_id, "the task was removed")

    def try_again(self) -> None:
        """Try again to have those that somebody waits for here, and that waited for a run to end."""
        self._open.update(self._busy)
        self._busy.clear()

    def want(self, job: Job, due: datetime, answer: asyncio.Future[Outcome] | None = None) -> None:
        """Offer a run, for one start, and try to have it here."""
        offer = Offer(self._new_run_id(), stored(job).id, due, 1, 1)
        if answer is not None:
            self._asked[offer.run_id] = (job, offer, answer)
        offering = self._spawn(self._offer(job, offer), "offer")
        offering.add_done_callback(lambda done: self._not_offered(offer) if done.cancelled() else None)

    def want_later(self, job: Job, attempt: int, now: Callable[[], datetime]) -> None:
        """A server did not answer: offer the tick again soon, rather than at its next instant."""
        backoff = self._backoffs.setdefault(stored(job).id, Backoff(random=self._random))
        self._spawn(self._offer_later(job, backoff.failed(), attempt, now), "offer")

    def reached(self, job: UUID) -> None:
        """A run of the job got further than that."""
        self._backoffs.pop(job, None)

    async def _offer_later(self, job: Job, delay: float, attempt: int, now: Callable[[], datetime]) -> None:
        await asyncio.sleep(delay)
        await self._offer(job, Offer(self._new_run_id(), stored(job).id, now(), attempt, attempt))

    async def _offer(self, job: Job, offer: Offer) -> None:
        try:
            if not await self._session.ask(self._session.store.offer(offer)):
                if stored(job).guest:  # it was removed meanwhile
                    self.reached(offer.job_id)
                    self._decline(offer.run_id, "it was removed")
                    return
                await self._declare(job)
                await self._session.ask(self._session.store.offer(offer))
        except BgTasksError as error:
            if offer.run_id in self._asked:  # it may have been offered all the same
                self._withdraw(offer.run_id, str(error))
            return
        if job.removed:  # a guest that is gone meanwhile: the store tells of its offer
            self._session.beat_now()
        else:
            self.take(job, offer)
            self._talk()

    def _not_offered(self, offer: Offer) -> None:
        """A host cancelled that, perhaps before its first step: whoever waits is told."""
        if offer.run_id in self._asked:
            self._withdraw(offer.run_id, "it was cancelled before it was offered")
            self._talk()

    async def meet_next(self, receive: Callable[[JobRow], Job | None]) -> None:
        """Have a job in hand of which runs are wanted.

        Args:
            receive: Makes the job of a row, if it can be run here.

        Raises:
            BgTasksError: The store does not answer.
        """
        id = next(iter(self.strangers))
        row = await self._session.ask(self._session.store.job(id))
        offers = self.strangers.pop(id, [])
        if row is not None and (job := receive(row)) is not None:
            for offer in offers:
                self.take(job, offer)

    async def withdraw_next(self) -> None:
        """Tell the store of an offer that nobody wants any more.

        Raises:
            BgTasksError: The store does not answer.
        """
        run_id, reason = next(iter(self.withdrawals.items()))
        if not await self._session.ask(self._session.store.withdraw(run_id, reason)):
            run = await self._session.ask(self._session.store.run(run_id))
            if run is not None and run.status is not RunStatus.SKIPPED:  # else it was withdrawn before
                reason = "another node has it"
        self.withdrawals.pop(run_id, None)
        self._decline(run_id, reason)

    async def accept(self) -> list[tuple[Job, Claimed, asyncio.Future[Outcome] | None]]:
        """Claim what is open; what was had, each with who waits for its outcome.

        Raises:
            BgTasksError: The store does not answer.
        """
        said = first(self._open)
        wanted = [(run_id, job.policy.overlap is Overlap.ALLOW) for run_id, (job, _) in said.items()]
        answers = await self._session.ask(self._session.store.accept(self._session.id, wanted))
        had = list[tuple[Job, Claimed, asyncio.Future[Outcome] | None]]()
        for (run_id, (job, offer)), answer in zip(said.items(), answers, strict=True):
            self._open.pop(run_id, None)
            if isinstance(answer, Claimed):
                had.append((job, answer, self._asked.pop(run_id, (None, None, None))[2]))
            elif run_id not in self._asked:
                continue
            elif answer.why is Refusal.BUSY and job.policy.overlap is not Overlap.SKIP:
                self._busy[run_id] = (job, offer)
            elif answer.why is Refusal.BUSY:
                self.withdrawals[run_id] = why(answer)  # who waits is told when nobody else can have it
            else:
                self._decline(run_id, why(answer))
        return had

    def _withdraw(self, run_id: str, reason: str) -> None:
        self.withdrawals.setdefault(run_id, reason)
        self._decline(run_id, reason)

    def _decline(self, run_id: str, reason: str) -> None:
        """Tell who waits for a run that it is not had here."""
        if (asked := self._asked.pop(run_id, None)) is not None:
            job, offer, answer = asked
            Request(job, offer.due, answer).decline(reason)
            self._bus.emit(RunSkipped(job.name, offer.due, reason))


def first[K, V](of: dict[K, V]) -> dict[K, V]:
    """The first of them, as many as one call takes."""
    return dict(list(of.items())[:BATCH])


def why(answer: Refused) -> str:
    """A refusal in words."""
    return {
        Refusal.BUSY: "the previous run is still going",
        Refusal.TAKEN: "another node has it",
        Refusal.GONE: "it was removed",
        Refusal.NO_SESSION: "the store had given this session up",
    }.get(answer.why, str(answer.why))
