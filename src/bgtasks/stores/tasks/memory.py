"""The reference `TaskStore`: what it must do, in plain Python, for those who share one object."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from bgtasks.clock import Clock, SystemClock
from bgtasks.policies import Overlap
from bgtasks.records import (
    Answer,
    Beat,
    Claimed,
    Command,
    CommandRow,
    Ending,
    Going,
    JobRow,
    Offer,
    Refusal,
    Refused,
    RunQuery,
    RunRow,
    RunStatus,
    SessionRow,
    Tick,
    skipped_run,
    wanted_run,
)
from bgtasks.stores.tasks.rows import Commands, Jobs, Runs

__all__ = ["MemoryTaskStore"]

NO_JOB = UUID(int=0)


class MemoryTaskStore:
    """Jobs, runs and sessions of this process, gone with it.

    Args:
        clock: Where the store's time comes from.
    """

    name = "memory://"

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._jobs = Jobs()
        self._runs = Runs()
        self._sessions: dict[str, SessionRow] = {}
        self._commands = Commands()

    async def open(self) -> None:
        """See `TaskStore`."""

    async def aclose(self) -> None:
        """See `TaskStore`."""

    # -- sessions --------------------------------------------------------------------------------

    async def join(self, session: SessionRow, ttl: float) -> datetime:
        """See `TaskStore`."""
        now = self._clock.now()
        known = self._sessions.get(session.id)  # sent again by who lost the answer
        joined = now if known is None else known.joined_at
        expires = now + timedelta(seconds=ttl)
        self._sessions[session.id] = replace(session, joined_at=joined, expires_at=expires)
        return now

    async def beat(self, session: str, ttl: float, horizon: float, *, limit: int = 1000) -> Beat:
        """See `TaskStore`."""
        now, row = self._clock.now(), self._alive(session)
        if row is not None:
            self._sessions[session] = replace(row, expires_at=now + timedelta(seconds=ttl))
        lost = self._reap()
        if row is None:
            return Beat(now, False, lost=lost)
        offers = [run for run in self._runs.wanted() if run.job_type in row.wired][:limit]
        mine = [run for run in self._runs.going() if run.session == session]
        return Beat(
            now,
            True,
            tuple(self._jobs.due(row.wired, now + timedelta(seconds=horizon), limit)),
            tuple(Offer(run.id, run.job_id, run.due, run.attempt, run.attempts) for run in offers),
            tuple(run.id for run in mine if run.unwanted),
            lost,
            tuple(self._commands.told(row, now)),
            tuple(sorted(Going(run.token, run.id) for run in mine)),
        )

    async def describe(self, session: SessionRow) -> None:
        """See `TaskStore`."""
        if (row := self._sessions.get(session.id)) is not None:
            self._sessions[session.id] = replace(session, joined_at=row.joined_at, expires_at=row.expires_at)

    async def leave(self, session: str) -> None:
        """See `TaskStore`."""
        self._sessions.pop(session, None)
        self._lose(run for run in self._runs.going() if run.session == session)

    async def sessions(self) -> Sequence[SessionRow]:
        """See `TaskStore`."""
        return [row for row in self._sessions.values() if self._alive(row.id)]

    def _alive(self, session: str | None) -> SessionRow | None:
        row = self._sessions.get(session or "")
        if row is None or row.expires_at is None or row.expires_at <= self._clock.now():
            return None
        return row

    def _reap(self) -> tuple[RunRow, ...]:
        lost = [run for run in self._runs.going() if self._alive(run.session) is None]
        self._lose(lost)
        for session in [each for each in self._sessions if self._alive(each) is None]:
            del self._sessions[session]
        return tuple(row for run in lost if (row := self._runs.get(run.id)) is not None)

    def _lose(self, runs: Iterable[RunRow]) -> None:
        for run in runs:
            self._over(run, RunStatus.LOST, "its node was not heard of any more")
            self._follow(run, again=True)

    # -- claims ----------------------------------------------------------------------------------

    async def claim(self, session: str, ticks: Sequence[Tick]) -> Sequence[Claimed | Refused]:
        """See `TaskStore`."""
        return [self._claim(session, tick) for tick in ticks]

    def _claim(self, session: str, tick: Tick) -> Claimed | Refused:
        job, now = self._jobs.get(tick.job_id), self._clock.now()
        if job is None:
            return Refused(tick.job_id, Refusal.GONE)
        if (known := self._runs.get(tick.run_id)) is not None and _is_doing(session, known):
            return _claimed(known, job)  # asked again by who lost the answer
        if self._alive(session) is None:
            return Refused(job.id, Refusal.NO_SESSION, job.next_run_at)
        if not job.enabled:
            return Refused(job.id, Refusal.DISABLED, job.next_run_at)
        if job.next_run_at != tick.due:
            return Refused(job.id, Refusal.TAKEN, job.next_run_at)
        if tick.patient and self._runs.going(job.id):
            return Refused(job.id, Refusal.BUSY, job.next_run_at)
        following = _after_interval(job, now) if job.interval_minutes is not None else tick.following
        job = self._jobs.put(replace(job, next_run_at=following, version=job.version + 1))
        if tick.missed:
            self._runs.put(skipped_run(job, f"{tick.run_id}:missed", tick.due, now, tick.missed))
        if tick.runs_for is None:
            return Refused(job.id, Refusal.MISSED, following)
        run = wanted_run(
            Offer(tick.run_id, job.id, tick.runs_for, 1, tick.attempts), job.job_type, job.bot_id, now
        )
        if self._runs.going(job.id) and tick.overlap is not Overlap.ALLOW:
            return self._overlaps(job, run, tick.overlap)
        return self._start(job, run, session, max(now, run.due))

    def _overlaps(self, job: JobRow, run: RunRow, overlap: Overlap) -> Refused:
        waits = list(self._runs.wanted(job.id))
        if overlap is Overlap.CANCEL:
            for each in waits:
                self._over(each, RunStatus.SKIPPED, "overtaken by a later one")
            self._runs.cancel(job.id)
        elif overlap is Overlap.SKIP or waits:
            one = ", and one is queued already" if waits else ""
            why = f"the previous run is still going{one}"
            self._runs.put(skipped_run(job, run.id, run.due, run.created_at, why))
            return Refused(job.id, Refusal.BUSY, job.next_run_at, run.id)
        self._runs.put(run)
        return Refused(job.id, Refusal.QUEUED, job.next_run_at, run.id)

    def _start(self, job: JobRow, run: RunRow, session: str, at: datetime) -> Claimed:
        token = max(job.token + 1, round(self._clock.now().timestamp() * 1_000_000))
        due = (
            None if job.interval_minutes is not None else job.next_run_at
        )  # that of an interval is its end's
        self._jobs.put(replace(job, token=token, last_run_at=at, next_run_at=due))
        started = self._runs.put(
            replace(
                run,
                status=RunStatus.RUNNING,
                session=session,
                node_id=self._sessions[session].node_id,
                token=token,
                started_at=at,
            )
        )
        return _claimed(started, job)

    async def accept(self, session: str, offers: Sequence[tuple[str, bool]]) -> Sequence[Claimed | Refused]:
        """See `TaskStore`."""
        return [self._accept(session, run_id, beside) for run_id, beside in offers]

    def _accept(self, session: str, run_id: str, beside: bool) -> Claimed | Refused:
        run = self._runs.get(run_id)
        job = None if run is None else self._jobs.get(run.job_id)
        if run is None or job is None:
            return Refused(NO_JOB if run is None else run.job_id, Refusal.GONE)
        if _is_doing(session, run):
            return _claimed(run, job)
        if self._alive(session) is None:
            return Refused(job.id, Refusal.NO_SESSION, job.next_run_at)
        if run.status is not RunStatus.PENDING:
            return Refused(job.id, Refusal.TAKEN, job.next_run_at)
        if self._runs.going(job.id) and not beside:
            return Refused(job.id, Refusal.BUSY, job.next_run_at)
        if job.interval_minutes is not None:  # due no more until this one is over
            job = replace(job, version=job.version + 1)
        return self._start(job, run, session, self._clock.now())

    async def finish(self, ended: Sequence[Ending]) -> Sequence[bool]:
        """See `TaskStore`."""
        return [self._finish(each) for each in ended]

    def _finish(self, ending: Ending) -> bool:
        run = self._runs.get(ending.run_id)
        if run is None or run.token != ending.token:
            return False
        if run.status is not RunStatus.RUNNING:
            return run.status is ending.status  # told again by who lost the answer
        said = {"duration_ms": ending.duration_ms, "result_json": ending.result_json}
        self._over(run, ending.status, ending.error_message, **said)
        job = self._jobs.get(run.job_id)
        if job is not None:
            if (failures := _in_a_row(job.failures, ending)) != job.failures:
                self._jobs.put(replace(job, failures=failures))
            self._follow(run, again=ending.again)
        return True

    # -- what a run that is over leaves ------------------------------------------------------------

    def _over(self, run: RunRow, status: RunStatus, why: str | None, **more: Any) -> RunRow:
        now, took = self._clock.now(), None
        if (began := run.started_at) is not None:
            began = min(began, now)  # one that was claimed ahead may be given back before its instant
            took = round((now - began).total_seconds() * 1000)
        over = {"status": status, "error_message": why, "started_at": began, "finished_at": now}
        return self._runs.put(replace(run, **{**over, "duration_ms": took, **more}))

    def _follow(self, run: RunRow, *, again: bool) -> None:
        """Offer the run again, or have a plain interval begin."""
        job, now = self._jobs.get(run.job_id), self._clock.now()
        if job is None:
            return
        if again and not run.unwanted and run.attempt < run.attempts:
            base = run.id.partition("~")[0]
            self._runs.put(
                replace(
                    run,
                    id=f"{base}~{run.attempt + 1}",
                    status=RunStatus.PENDING,
                    attempt=run.attempt + 1,
                    session=None,
                    node_id=None,
                    token=0,
                    unwanted=False,
                    created_at=now,
                    started_at=None,
                )
            )
        elif job.next_run_at is None and job.interval_minutes is not None:
            self._jobs.put(replace(job, next_run_at=_after_interval(job, now), version=job.version + 1))

    # -- jobs ------------------------------------------------------------------------------------

    async def add(self, job: JobRow) -> JobRow:
        """See `TaskStore`."""
        return self._jobs.like(job) or self._jobs.put(job)

    async def change(self, job: JobRow) -> JobRow | None:
        """See `TaskStore`."""
        known = self._jobs.get(job.id)
        if known is None or known.version != job.version:
            return None
        return self._jobs.put(
            replace(
                job,
                job_type=known.job_type,
                bot_id=known.bot_id,
                key=known.key,
                last_run_at=known.last_run_at,
                token=known.token,
                failures=known.failures,
                version=known.version + 1,
            )
        )

    async def remove(self, job: UUID) -> bool:
        """See `TaskStore`."""
        if not self._jobs.remove(job):
            return False
        for run in self._runs.wanted(job):
            self._over(run, RunStatus.SKIPPED, "the job was removed")
        self._runs.cancel(job)
        return True

    async def job(self, job: UUID) -> JobRow | None:
        """See `TaskStore`."""
        return self._jobs.get(job)

    async def jobs(
        self,
        *,
        job_type: str | None = None,
        bot_id: str | None = None,
        after: UUID | None = None,
        limit: int = 100,
    ) -> Sequence[JobRow]:
        """See `TaskStore`."""
        return self._jobs.page(job_type, bot_id, after, limit)

    async def types(self) -> Mapping[str, int]:
        """See `TaskStore`."""
        return self._jobs.types()

    async def offer(self, offer: Offer) -> bool:
        """See `TaskStore`."""
        job = self._jobs.get(offer.job_id)
        if job is None:
            return False
        if self._runs.get(offer.run_id) is None:
            self._runs.put(wanted_run(offer, job.job_type, job.bot_id, self._clock.now()))
        return True

    async def withdraw(self, run_id: str, why: str) -> bool:
        """See `TaskStore`."""
        run = self._runs.get(run_id)
        if run is None or run.status is not RunStatus.PENDING:
            return False
        self._over(run, RunStatus.SKIPPED, why)
        if not self._runs.going(run.job_id) and not any(self._runs.wanted(run.job_id)):
            self._follow(run, again=False)
        return True

    # -- commands --------------------------------------------------------------------------------

    async def command(self, command: Command, ttl: float) -> CommandRow:
        """See `TaskStore`."""
        now = self._clock.now()
        expires = now + timedelta(seconds=ttl)
        return self._commands.keep(CommandRow(**asdict(command), created_at=now, expires_at=expires))

    async def answer(self, session: str, command: str, done: bool, text: str) -> None:
        """See `TaskStore`."""
        if (row := self._alive(session)) is not None:
            self._commands.answer(command, Answer(session, row.node_id, self._clock.now(), done, text))

    async def commands(self, *, id: str | None = None, limit: int = 100) -> Sequence[CommandRow]:
        """See `TaskStore`."""
        return self._commands.page(id, limit)

    # -- history ---------------------------------------------------------------------------------

    async def run(self, run_id: str) -> RunRow | None:
        """See `TaskStore`."""
        return self._runs.get(run_id)

    async def runs(self, query: RunQuery) -> Sequence[RunRow]:
        """See `TaskStore`."""
        return self._runs.page(query)

    async def skip(self, run: RunRow) -> None:
        """See `TaskStore`."""
        if self._runs.get(run.id) is None:
            self._runs.put(run)

    async def prune(self, before: datetime, keep: int) -> int:
        """See `TaskStore`."""
        for job in self._jobs.over(before):
            if not self._runs.going(job.id) and not any(self._runs.wanted(job.id)):
                self._jobs.remove(job.id)
        self._commands.prune(before)
        return self._runs.prune(before, keep)


def _in_a_row(failures: int, ending: Ending) -> int:
    if ending.status in (RunStatus.FAILED, RunStatus.TIMED_OUT):
        return failures + 1
    well = ending.status in (RunStatus.SUCCESS, RunStatus.SKIPPED) and not ending.again  # not cut short
    return 0 if well else failures


def _is_doing(session: str, run: RunRow) -> bool:
    return run.session == session and run.status is RunStatus.RUNNING


def _claimed(run: RunRow, job: JobRow) -> Claimed:
    return Claimed(run.id, run.job_id, run.due, run.attempt, run.token, job.config_json)


def _after_interval(job: JobRow, now: datetime) -> datetime | None:
    return None if job.interval_minutes is None else now + timedelta(minutes=job.interval_minutes)
