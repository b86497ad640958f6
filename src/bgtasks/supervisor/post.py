"""One worker's place under a supervisor: how it is started, how it has fared, when it starts again."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from bgtasks.backoff import Backoff
from bgtasks.run import Run, Work
from bgtasks.spec import Restart
from bgtasks.supervisor.context import WorkerContext

__all__ = ["Crash", "Intensity", "Post"]

REMEMBERED = 10
"""Crashes of a worker that are kept to be shown."""


class Intensity(NamedTuple):
    """How many crashes within how many seconds are too many: the worker is given up for the term."""

    crashes: int
    seconds: float


class Crash(NamedTuple):
    """One crash: the wall time as seconds since 1970, after how many seconds of work, and why."""

    at: float
    after: float
    reason: str


@dataclass(eq=False)
class Post:
    """A worker under a supervisor.

    Attributes:
        work: What is run.
        takes_context: It has a parameter `ctx`.
        heartbeat: Seconds within which it promised to give the next heartbeat; None for no promise.
        backoff: How long to wait before it starts again. It survives terms.
        crashes: The last ones.
        intensity: After how many crashes it is given up; None for never.
        recent: The instants of those that count towards that.
        run: The run in progress.
        context: What that was given.
        again: The instant at which it starts again.
        given_up: Why it is not started again in this term.
        beaten: When it gave the last heartbeat of the run in progress; None before the first.
        started: How often it was started (`task_started`).
        crashed: How often it crashed (`task_crash`).
    """

    work: Work
    backoff: Backoff
    restart: Restart = Restart.ALWAYS
    intensity: Intensity | None = None
    takes_context: bool = False
    heartbeat: float | None = None
    crashes: deque[Crash] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    recent: deque[float] = field(default_factory=deque)
    run: Run | None = None
    context: WorkerContext | None = None
    again: float | None = None
    timer: asyncio.Handle | None = None
    given_up: str | None = None
    beaten: float | None = None
    started: int = 0
    crashed: int = 0

    @property
    def name(self) -> str:
        """The worker's name."""
        return self.work.name

    @property
    def ready(self) -> bool:
        """Whether it runs, and has given its first heartbeat if it promised any."""
        return self.run is not None and (self.heartbeat is None or self.beaten is not None)

    def too_many(self, now: float) -> bool:
        """Note a crash; whether that is one too many."""
        if self.intensity is None:
            return False
        self.recent.append(now)
        while self.recent and self.recent[0] <= now - self.intensity.seconds:
            self.recent.popleft()
        return len(self.recent) >= self.intensity.crashes
