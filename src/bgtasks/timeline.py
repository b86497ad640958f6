"""The jobs by the instant at which each is to be looked at again, and one timer for the earliest.

A job has one valid entry in the heap, the last that was put; older ones are passed over when they come up.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
from collections.abc import Callable, Iterable

from bgtasks.agenda import LONG_STEP
from bgtasks.clock import Clock, Reading, read
from bgtasks.job import Job
from bgtasks.policies import LATE

__all__ = ["LONGEST_SLEEP", "LONGEST_SPREAD", "Timeline"]

LONGEST_SLEEP = 5.0
"""Seconds to sleep at most, so that a set wall clock or a suspend is noticed within them."""

CLOCK_STEP = 1.0
"""Seconds by which the wall clock must leave the monotonic one to count as having been set."""

SPREAD = 0.1
"""Seconds between the starts of two overdue jobs, at most."""

LONGEST_SPREAD = 10.0
"""Seconds over which all overdue jobs together are spread, however many they are."""

SLICE = 0.005
"""Seconds that one tick starts runs for, before it lets the event loop turn."""


class Timeline:
    """A heap of jobs and a timer.

    Args:
        clock: Where time comes from. If it announces its own steps (`on_step`, as a `VirtualClock` does),
            the timer sleeps until the next job is due; else it wakes every five seconds to look for them.
        fire: Called with each job that is due. It puts the job back before it runs anything.
        jobs: All jobs, for when the wall clock was set.
    """

    def __init__(
        self, clock: Clock, fire: Callable[[Job, Reading], None], jobs: Callable[[], Iterable[Job]]
    ) -> None:
        self._clock = clock
        self._fire = fire
        self._jobs = jobs
        self._heap: list[tuple[float, int, Job]] = []
        self._entries = self._stale = 0
        self._offset = 0.0
        self._looked = 0.0
        self._lag = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._context = contextvars.Context()
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = float("inf")
        self._firing = False
        self._announces: Callable[[Callable[[], None]], Callable[[], None]] | None = getattr(
            clock, "on_step", None
        )
        self._forget_steps: Callable[[], None] | None = None

    def start(self, loop: asyncio.AbstractEventLoop, context: contextvars.Context, reading: Reading) -> None:
        """Begin with an empty heap, and take the wall clock as it is."""
        self._heap.clear()
        self._stale = 0
        self._loop, self._context = loop, context
        self._lag = 0.0
        self._looked = reading.mono
        self._offset = reading.wall.timestamp() - reading.mono
        if self._announces is not None:
            self._forget_steps = self._announces(self._wake)
        self._arm()

    def stop(self) -> None:
        """Let go of the timer and of every job."""
        if self._timer is not None:
            self._timer.cancel()
        if self._forget_steps is not None:
            self._forget_steps()
        self._timer = self._loop = self._forget_steps = None
        self._wakes_at = float("inf")
        for _, _, job in self._heap:
            job.entry = 0
        self._heap.clear()

    def put(self, job: Job, instant: float | None = None) -> None:
        """Place a job by its next instant, or by this one. Nothing is placed while stopped."""
        due = job.next_instant if instant is None else instant
        if job.entry:
            self.drop(job)
        if due is not None and self._loop is not None and not job.removed:
            if instant is None:
                due -= job.agenda.ahead
            self._entries += 1
            job.entry = self._entries
            heapq.heappush(self._heap, (due, job.entry, job))
            if due < self._wakes_at and not self._firing:
                self._arm()

    def drop(self, job: Job) -> None:
        """Take a job off the timeline. Its entry stays until it comes up, or until such entries are many."""
        job.entry = 0
        self._stale += 1
        if self._stale > 64 + len(self._heap) // 2:
            self._heap[:] = [entry for entry in self._heap if entry[1] == entry[2].entry]
            heapq.heapify(self._heap)
            self._stale = 0

    def put_all(self, jobs: Iterable[Job]) -> None:
        """Place many jobs at once, in their order where instants are equal."""
        for job in jobs:
            due = job.next_instant
            job.entry = 0
            if due is not None and not job.removed:
                self._entries += 1
                job.entry = self._entries
                self._heap.append((due, self._entries, job))
        heapq.heapify(self._heap)
        self._arm()

    @property
    def lag(self) -> float:
        """Seconds by which the event loop is late: how late the last tick was, or this one is already."""
        waits = self._timer is not None or self._firing
        overdue = self._clock.monotonic() - self._wakes_at if waits else 0.0
        return max(0.0, self._lag, overdue)

    def _arm(self) -> None:
        """Set the timer for the earliest entry."""
        assert self._loop is not None
        if self._timer is not None:
            self._timer.cancel()
        if self._loop.is_closed():
            return
        now = self._clock.monotonic()
        wakes_at = self._heap[0][0] if self._heap else float("inf")
        if self._looked == float("-inf"):
            wakes_at = now
        elif self._announces is None:
            wakes_at = min(wakes_at, now + LONGEST_SLEEP)
        self._wakes_at = wakes_at
        self._timer = None
        if wakes_at != float("inf"):
            when = self._loop.time() + max(0.0, wakes_at - now)
            self._timer = self._loop.call_at(when, self._tick, context=self._context.copy())

    def _wake(self) -> None:
        """The clock says that it was set: look at once."""
        self._looked = float("-inf")
        if self._loop is not None and not self._firing and not self._loop.is_closed():
            self._arm()

    def _tick(self) -> None:
        self._timer, self._firing = None, True
        reading = read(self._clock)
        self._lag = reading.mono - self._wakes_at
        try:
            if reading.mono - self._looked >= CLOCK_STEP:
                self._heed_clock_step(reading)
            self._fire_due(reading)
        finally:  # whatever the host's part in this did, the timer goes on
            self._firing = False
            if self._loop is not None:
                self._arm()

    def _fire_due(self, reading: Reading) -> None:
        heap, until = self._heap, reading.mono + SLICE
        overdue: list[Job] = []
        try:
            while heap and heap[0][0] <= reading.mono:
                due, entry, job = heapq.heappop(heap)
                if entry != job.entry:
                    self._stale -= 1
                    continue
                job.entry = 0
                if reading.mono - due > LATE:
                    overdue.append(job)
                    continue
                self._fire(job, reading)
                if self._clock.monotonic() > until:
                    break
        finally:
            if overdue:
                self._spread(overdue, reading)
        if overdue:  # one at least in each tick, however rarely the event loop turns
            self._fire(overdue[0], reading)

    def _spread(self, overdue: list[Job], reading: Reading) -> None:
        """Put overdue jobs off so that they do not all start in one instant."""
        for number, job in enumerate(overdue):
            until = reading.mono + number * min(SPREAD, LONGEST_SPREAD / len(overdue))
            job.held = (job.held[0] if job.held is not None else reading.mono, until)
            self.put(job, until)

    def _heed_clock_step(self, reading: Reading) -> None:
        """If the wall clock was set, place the jobs of calendar triggers anew."""
        self._looked = reading.mono
        step = reading.wall.timestamp() - reading.mono - self._offset
        if abs(step) < CLOCK_STEP:
            return
        self._offset += step
        for job in tuple(self._jobs()):
            if job.agenda.at is not None and job.agenda.due is not None:
                if step < -LONG_STEP.total_seconds():
                    job.agenda.begin_anew(reading)
                else:
                    job.agenda.follow_wall_clock(reading)
                self.put(job, None if job.held is None else job.held[1])
