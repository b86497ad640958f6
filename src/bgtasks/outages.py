"""Which servers do not answer at the moment: each loss is said once, and each return.

A job that finds its server lost is tried again after a short, growing delay instead of at its next tick; when
one job finds the server back, all that wait for it are tried at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random

from bgtasks.clock import Clock
from bgtasks.events import EventBus, ResourceLost, ResourceRegained
from bgtasks.job import Job
from bgtasks.outcomes import Deferred, Done, Outcome, Skipped
from bgtasks.run import Run

__all__ = ["HEALTHY", "Outages"]

HEALTHY = 5.0
"""Seconds after which a worker that waited for a server and runs on has found it: it may never end."""


class Outages:
    """The resources that runs found lost, since when and why, and the jobs that wait for them.

    Args:
        put: Places a job anew after its instant was moved.
    """

    def __init__(
        self,
        bus: EventBus,
        clock: Clock,
        random: Random,
        jobs: Callable[[], Iterable[Job]],
        put: Callable[[Job], None],
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._random = random
        self._jobs = jobs
        self._put = put
        self._lost: dict[str, tuple[float, str]] = {}

    @property
    def reasons(self) -> dict[str, str]:
        """Each lost resource with the reason it was first found lost for."""
        return {resource: reason for resource, (_, reason) in self._lost.items()}

    def heed(self, job: Job, outcome: Outcome | None) -> None:
        """Come back soon to a server that does not answer; once it does, try all that wait for it."""
        missing = outcome.resource if isinstance(outcome, Deferred) else None
        if job.wait is not None and isinstance(outcome, Done | Skipped):
            self.found(job)
        elif job.wait is not None and job.wait.resource != missing and outcome is not None:
            self.give_up(job)  # it got no further than something else
        if isinstance(outcome, Deferred) and missing is not None:
            now = self._clock.monotonic()
            job.wait_for(missing, now, self._random)
            if missing not in self._lost:
                self._lost[missing] = (now, outcome.reason)
                self._bus.emit(ResourceLost(missing, outcome.reason))

    def found(self, job: Job) -> None:
        """The server that a job waited for answers."""
        resource = job.waited()
        lost = self._lost.pop(resource, None)
        if lost is None:
            return
        now = self._clock.monotonic()
        self._bus.emit(ResourceRegained(resource, now - lost[0]))
        for other in tuple(self._jobs()):
            wait = other.wait
            if wait is not None and wait.resource == resource and wait.again is not None:
                wait.again = now
                self._put(other)

    def runs_on(self, job: Job, run: Run) -> None:
        """A worker has been at it for a while: if it waited for a server, it has found it."""
        if run in job.runs and job.wait is not None:
            self.found(job)

    def give_up(self, job: Job) -> None:
        """A job no longer waits, and whether the server answers is not known.

        If nobody else waits for it either, its next loss is said again.
        """
        if job.wait is not None:
            resource = job.waited()
            if not any(
                other.wait is not None and other.wait.resource == resource for other in tuple(self._jobs())
            ):
                self._lost.pop(resource, None)

    def clear(self) -> None:
        """Start afresh, without a word."""
        self._lost.clear()
