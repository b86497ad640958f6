"""Jobs of this process that are due by the store, to be claimed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from bgtasks.claims.book import Book, stored
from bgtasks.claims.offers import first, why
from bgtasks.claims.session import Session
from bgtasks.claims.ticks import Asked, Wanted, ask_for
from bgtasks.events import EventBus, RunMissed, RunSkipped
from bgtasks.job import Job
from bgtasks.records import Claimed, Refusal, Refused
from bgtasks.run import NewRunId

__all__ = ["Due"]


class Due:
    """What is due, until the store has said whose it is.

    Args:
        begin: Called with each claim that was had, and the session that made it.
        declare: Called with a job that was found paused.
    """

    def __init__(
        self,
        session: Session,
        book: Book,
        bus: EventBus,
        new_run_id: NewRunId,
        begin: Callable[[Job, Claimed, str], None],
        declare: Callable[[Job], None],
    ) -> None:
        self._session = session
        self._book = book
        self._bus = bus
        self._new_run_id = new_run_id
        self._begin = begin
        self._declare = declare
        self._wanted: dict[UUID, Wanted] = {}

    def __bool__(self) -> bool:
        return bool(self._wanted)

    def __contains__(self, job: UUID) -> bool:
        return job in self._wanted

    def asks_for(self, run_id: str) -> bool:
        """Whether a claim of this run was sent and not answered; it is asked again."""
        asked = (each.asked for each in self._wanted.values())
        return any(each is not None and each.tick.run_id == run_id for each in asked)

    def want(self, job: Job) -> None:
        """A job is due: claim it."""
        self._wanted.setdefault(stored(job).id, Wanted(job))

    def drop(self, job: Job) -> None:
        """A job is not to be claimed."""
        self._wanted.pop(stored(job).id, None)

    def clear(self) -> None:
        """None is; the store tells of them again."""
        self._wanted.clear()

    async def claim(self) -> None:
        """Claim what is due, in one call.

        Raises:
            BgTasksError: The store does not answer.
        """
        session, now, said = self._session.id, self._book.now(), first(self._wanted)
        for each, wanted in list(said.items()):
            # What was asked and not answered is asked again, word for word: it may be ours already.
            if wanted.asked is None:
                wanted.asked = self._plan(wanted.job, now)
            if wanted.asked is None:  # it was claimed elsewhere meanwhile, or its trigger failed
                del self._wanted[each], said[each]
                self._book.place_again(wanted.job)
        if not said:
            return
        ticks = [wanted.asked.tick for wanted in said.values() if wanted.asked is not None]
        answers = await self._session.ask(self._session.store.claim(session, ticks))
        for (each, wanted), answer in zip(said.items(), answers, strict=True):
            if self._wanted.get(each) is wanted:
                del self._wanted[each]
            assert wanted.asked is not None
            self._answered(wanted.job, wanted.asked, answer, session)

    def _plan(self, job: Job, now: datetime) -> Asked | None:
        try:
            return ask_for(job, now, self._new_run_id)
        except Exception as error:  # noqa: BLE001 - a trigger may be someone else's code
            self._book.fault(job, error)
            return None

    def _answered(self, job: Job, asked: Asked, answer: Claimed | Refused, session: str) -> None:
        row, planned, tick, ahead = asked
        written = isinstance(answer, Claimed) or answer.why is Refusal.MISSED or answer.run_id is not None
        if planned.ticks and written:
            self._bus.emit(RunMissed(job.name, tick.due, planned.ticks, planned.missed))
        coming = tick.following if isinstance(answer, Claimed) else answer.next_run_at
        stored(job).overdue = coming if coming is not None and coming <= self._book.now() else None
        if isinstance(answer, Claimed):
            following = None if row.interval_minutes is not None else tick.following
            began = max(tick.due, self._book.now())
            self._book.place(job, replace(row, next_run_at=following, last_run_at=began))
            self._begin(job, answer, session)
        elif answer.why is Refusal.NO_SESSION:
            self._session.beat_now()
        elif answer.why is Refusal.TAKEN and answer.next_run_at not in (None, tick.following):
            # By another trigger than this node knows, or sooner over than looked for: the next beat tells.
            self._book.place(job, replace(row, next_run_at=None))
            if answer.next_run_at < self._book.now() + timedelta(seconds=self._session.times.renew):
                self._session.beat_now()
        elif answer.why is Refusal.BUSY and answer.run_id is None and ahead:
            self._book.place_at(job, self._session.mono(tick.due))  # its run may be over by then
        elif answer.why is Refusal.BUSY and answer.run_id is None:
            stored(job).wait(row)  # until its run here has ended, or the next beat
        else:
            if answer.why is Refusal.BUSY:
                self._bus.emit(RunSkipped(job.name, tick.due, why(answer)))
            known = answer.why not in (Refusal.DISABLED, Refusal.GONE)
            self._book.place(job, replace(row, next_run_at=answer.next_run_at if known else None))
            if answer.why is Refusal.DISABLED:
                self._declare(job)
