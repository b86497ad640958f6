"""Tasks that are not run for a while: told so by hand, or by their breaker."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from bgtasks.clock import Clock
from bgtasks.events import EventBus, TaskPaused, TaskResumed
from bgtasks.job import Job, Request

__all__ = ["Pauses"]


class Pauses:
    """Begins and ends pauses, and says so.

    Args:
        place: Places a job anew after its instant was moved.
    """

    def __init__(self, bus: EventBus, clock: Clock, place: Callable[[Job], None]) -> None:
        self._bus = bus
        self._clock = clock
        self._place = place

    def pause(self, job: Job, reason: str) -> None:
        """Skip the job's ticks until `resume`."""
        if job.paused is None:
            job.paused = reason
            self._bus.emit(TaskPaused(job.name, reason))

    def resume(self, job: Job) -> None:
        """End a pause, also one by the breaker. A plain interval that came due in it is due now."""
        if job.paused is None and job.open_until is None:
            return
        put_off = job.open_until is not None or job.agenda.due is None
        if job.open_until is not None:
            job.failures = 0  # or the next one would open it again
        job.paused = job.open_until = None
        if put_off and job.agenda.waits_for_end and not job.busy:
            job.agenda.postpone(self._clock.monotonic())
        self._place(job)
        self._bus.emit(TaskResumed(job.name, "resumed"))

    def follow(self, job: Job, paused: str | None) -> None:
        """A job of the cluster is paused, or is not any more, for all nodes."""
        if paused is not None:
            self.pause(job, paused)
            job.paused = paused  # the latest reason
        elif job.paused is not None:
            job.paused = None
            self._bus.emit(TaskResumed(job.name, "resumed"))

    def reason(self, job: Job, mono: float) -> str | None:
        """Why the job is not to be run at this instant, if it is not."""
        if job.paused is not None:
            return f"paused: {job.paused}"
        if job.open_until is not None and job.open_until > mono:
            return "its breaker is open"
        return None

    def objection(self, request: Request, mono: float) -> str | None:
        """Why a run that waited is not to be begun at this instant, if it is not."""
        if request.claim is not None:
            return None if request.claim.remaining() else "its claim was not renewed in time"
        return self.reason(request.job, mono) if request.answer is None else None  # what was asked for is run

    def put_off(self, job: Job) -> None:
        """Keep the due run of a plain interval, which has no other tick, until the pause is over."""
        if job.agenda.waits_for_end and job.paused is None and job.open_until is not None:
            job.agenda.postpone(job.open_until)
        self._place(job)

    def say_breaker(self, job: Job, mono: float) -> None:
        """Say that the job's breaker has just opened, or closed."""
        if job.open_until is None:
            self._bus.emit(TaskResumed(job.name, "a run went well"))
            return
        reason = f"{job.failures} failures in a row, the last: {getattr(job.last_outcome, 'reason', '')}"
        until = self._clock.now() + timedelta(seconds=job.open_until - mono)
        self._bus.emit(TaskPaused(job.name, reason, until))
