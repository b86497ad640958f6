"""The heap of jobs by the instant at which each is to be looked at again, and a watch on the wall clock."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable
from random import Random

from bgtasks.clock import Clock
from bgtasks.job import Job

__all__ = ["LONGEST_SLEEP", "Timeline"]

LONGEST_SLEEP = 5.0
"""Seconds to sleep at most, so that a set wall clock or a suspend is noticed within them."""

CLOCK_STEP = 1.0
"""Seconds by which the wall clock must leave the monotonic one to count as having been set."""

LONG_STEP = 3 * 3600.0
"""Seconds of a step back of the wall clock up to which no cron tick runs twice; after a longer one the clock
was wrong before, and cron jobs begin anew. Debian cron draws the line at the same place."""


class Timeline:
    """Jobs in the order of their next instants.

    A job has one valid entry, the last that was put; older ones are passed over when they come up.
    """

    def __init__(self, clock: Clock, random: Random) -> None:
        self._clock = clock
        self._random = random
        self._heap: list[tuple[float, int, Job]] = []
        self._entries = 0
        self._offset = self._wall_offset()

    def put(self, job: Job) -> bool:
        """Place a job by its next instant; False if it has none."""
        due = job.next_instant
        if due is None:
            return False
        self._entries += 1
        job.entry = self._entries
        heapq.heappush(self._heap, (due, job.entry, job))
        return True

    def take_due(self) -> deque[Job]:
        """Remove the jobs whose instant has come, the earliest first."""
        now = self._clock.monotonic()
        due: deque[Job] = deque()
        while self._heap and self._heap[0][0] <= now:
            _, entry, job = heapq.heappop(self._heap)
            if entry == job.entry:
                due.append(job)
        return due

    def sleep(self) -> float:
        """Seconds until the earliest instant, and no more than the longest sleep."""
        if not self._heap:
            return LONGEST_SLEEP
        return min(LONGEST_SLEEP, max(0.0, self._heap[0][0] - self._clock.monotonic()))

    def begin(self) -> None:
        """Forget every job, and take the wall clock as it is."""
        self._heap.clear()
        self._offset = self._wall_offset()

    def heed_clock_step(self, jobs: Iterable[Job]) -> None:
        """If the wall clock was set, place the jobs of calendar triggers anew."""
        step = self._wall_offset() - self._offset
        if abs(step) < CLOCK_STEP:
            return
        self._offset += step
        for job in jobs:
            if job.at is None or job.due is None:
                continue
            if step < -LONG_STEP:
                job.at = None
                job.advance(self._clock, self._random)
            else:
                job.follow_wall_clock(self._clock)
            self.put(job)

    def _wall_offset(self) -> float:
        return self._clock.now().timestamp() - self._clock.monotonic()
