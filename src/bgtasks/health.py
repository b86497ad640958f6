"""Whether a scheduler does its work: judged by what is due and has not started, not by being alive."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from bgtasks.clock import Reading
from bgtasks.job import Job
from bgtasks.outcomes import Outcome
from bgtasks.timeline import LONGEST_SPREAD

__all__ = ["Health", "JobSnapshot", "overdue", "snapshot", "standstill"]


@dataclass(frozen=True, slots=True)
class Health:
    """The answer to a liveness probe.

    Attributes:
        ok: Whether everything that was due has started in time.
        problems: What is wrong, a sentence each.
        lag: Seconds by which the event loop is late.
    """

    ok: bool
    problems: tuple[str, ...]
    lag: float

    def __bool__(self) -> bool:
        return self.ok


@dataclass(frozen=True, slots=True)
class JobSnapshot:
    """How one job stands.

    Attributes:
        name: The task or worker.
        when: Its trigger in words.
        next_run: When it is due next, as far as that is known: a plain interval is measured from the end of
            a run in progress, a paused task has none.
        running: How many of its runs are in progress.
        running_since: When the earliest of them began.
        last_outcome: How the last run ended, or why the last tick had none.
        last_ended: When a run ended last.
        failures: Failed runs in a row.
        paused: Why it is paused, or None.
        fault: Why its trigger is asked no more, so that it will never be due again, or None.
        waiting: What a due run waits for, or None.
    """

    name: str
    when: str
    next_run: datetime | None = None
    running: int = 0
    running_since: datetime | None = None
    last_outcome: Outcome | None = None
    last_ended: datetime | None = None
    failures: int = 0
    paused: str | None = None
    waiting: str | None = None
    fault: str | None = None


def snapshot(job: Job, reading: Reading) -> JobSnapshot:
    """How `job` stands at this moment."""

    def wall(instant: float | None) -> datetime | None:
        try:
            return None if instant is None else reading.wall + timedelta(seconds=instant - reading.mono)
        except OverflowError:  # a trigger's way to say "never"
            return None

    runs, instant = tuple(job.runs), job.next_instant
    known = instant is not None and job.entry and job.paused is None
    if known and job.open_until is not None and job.open_until > max(instant or 0.0, reading.mono):
        known = False  # a tick that its breaker will skip
    return JobSnapshot(
        name=job.name,
        when=str(job.trigger),
        next_run=wall(instant) if known else None,
        running=len(runs),
        running_since=wall(runs[0].began) if runs else None,
        last_outcome=job.last_outcome,
        last_ended=wall(job.last_ended),
        failures=job.failures,
        paused=job.paused or ("its breaker is open" if _open(job, reading) else None),
        waiting=_waiting(job),
        fault=job.agenda.fault,
    )


def standstill(stalled: tuple[float, str] | None, tolerance: float) -> Iterable[str]:
    """That the event loop stands still for longer than `tolerance` seconds, and what holds it."""
    if stalled and stalled[0] > tolerance:
        yield f"the event loop has stood still for {stalled[0]:.1f} s, held by {stalled[1]}"


def overdue(jobs: Iterable[Job], reading: Reading, tolerance: float) -> Iterable[str]:
    """What is due for longer than `tolerance` seconds and has not started, a sentence each."""
    for job in jobs:
        if job.agenda.fault is not None:
            yield f'"{job.name}" is not scheduled any more: {job.agenda.fault}'
        instant = job.next_instant
        wanted = job.waiting
        if wanted is not None and wanted.since is not None:
            late = reading.mono - wanted.since
            if late > tolerance and (wanted.answer is not None or not _held_back(job, reading)):
                yield f'"{job.name}" has waited for a free slot for {late:.0f} s'
            continue
        if instant is None or job.removed or _held_back(job, reading):
            continue
        since = max(
            instant, job.held[0] + LONGEST_SPREAD if job.held else instant, job.agenda.behind or instant
        )
        late = reading.mono - since
        if late > tolerance:
            yield f'"{job.name}" was due {late:.0f} s ago and has not started'
    for job in jobs:
        for run in tuple(job.runs):
            if run.ending is not None and run.asked > 1:
                yield f'"{job.name}" was told to end ({run.ending.reason}) and is still going'


def _held_back(job: Job, reading: Reading) -> bool:
    return job.paused is not None or _open(job, reading)


def _open(job: Job, reading: Reading) -> bool:
    return job.open_until is not None and job.open_until > reading.mono


def _waiting(job: Job) -> str | None:
    if job.waiting is not None and job.waiting.since is not None and not job.waiting.has_slot:
        return "a free slot"
    if job.waiting is not None and job.waiting.begins is not None:
        return "its instant"
    if job.waiting is not None or job.queued is not None:
        return "the end of the previous run"
    return job.agenda.waits_for if job.wait is None else f"{job.wait.resource}, which does not answer"
