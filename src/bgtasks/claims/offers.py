"""Runs that are wanted beside the schedule: by hand, after an outage, or in place of one that was lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime
from random import Random
from typing import Any
from uuid import UUID

from bgtasks.backoff import Backoff
from bgtasks.claims.declared import job_id
from bgtasks.claims.session import Session
from bgtasks.errors import BgTasksError
from bgtasks.events import EventBus, RunSkipped
from bgtasks.job import Job, Request
from bgtasks.outcomes import Outcome
from bgtasks.policies import Overlap
from bgtasks.records import Claimed, Offer, Refusal, Refused
from bgtasks.run import NewRunId

__all__ = ["Offers", "first", "why"]

BATCH = 500
"""Claims and endings in one call."""


class Offers:
    """Offers that this process has heard of or made, and has not claimed yet.

    Args:
        talk: Called when there is something to accept.
    """

    def __init__(
        self,
        session: Session,
        bus: EventBus,
        random: Random,
        new_run_id: NewRunId,
        spawn: Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]],
        talk: Callable[[], None],
    ) -> None:
        self._session = session
        self._bus = bus
        self._random = random
        self._new_run_id = new_run_id
        self._spawn = spawn
        self._talk = talk
        self._open: dict[str, tuple[Job, Offer]] = {}
        self._answers: dict[str, asyncio.Future[Outcome]] = {}
        self._backoffs: dict[UUID, Backoff] = {}

    def __bool__(self) -> bool:
        return bool(self._open)

    def take(self, job: Job, offer: Offer) -> None:
        """The store has one."""
        self._open[offer.run_id] = (job, offer)

    def clear(self) -> None:
        """Forget those of the store; it tells of them again."""
        self._open.clear()

    def drop(self, job: Job) -> None:
        """Forget those of a job."""
        self._open = {run_id: each for run_id, each in self._open.items() if each[0] is not job}

    def want(self, job: Job, due: datetime, answer: asyncio.Future[Outcome] | None = None) -> None:
        """Offer a run, for one start, and try to have it here."""
        offer = Offer(self._new_run_id(), job_id(job.name), due, 1, 1)
        if answer is not None:
            self._answers[offer.run_id] = answer
        self._spawn(self._offer(job, offer), "offer")

    def want_later(self, job: Job, attempt: int, now: Callable[[], datetime]) -> None:
        """A server did not answer: offer the tick again soon, rather than at its next instant."""
        backoff = self._backoffs.setdefault(job_id(job.name), Backoff(random=self._random))
        self._spawn(self._offer_later(job, backoff.failed(), attempt, now), "offer")

    def reached(self, job: UUID) -> None:
        """A run of the job got further than that."""
        self._backoffs.pop(job, None)

    async def _offer_later(self, job: Job, delay: float, attempt: int, now: Callable[[], datetime]) -> None:
        await asyncio.sleep(delay)
        await self._offer(job, Offer(self._new_run_id(), job_id(job.name), now(), attempt, attempt))

    async def _offer(self, job: Job, offer: Offer) -> None:
        try:
            await self._session.ask(self._session.store.offer(offer))
        except BgTasksError as error:
            self._decline(job, offer, str(error))
            return
        self.take(job, offer)
        self._talk()

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
                had.append((job, answer, self._answers.pop(run_id, None)))
            elif run_id in self._answers:
                self._decline(job, offer, why(answer))
        return had

    def _decline(self, job: Job, offer: Offer, reason: str) -> None:
        Request(job, offer.due, self._answers.pop(offer.run_id, None)).decline(reason)
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
