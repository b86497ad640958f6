"""One registered task or worker of a scheduler: what it runs, and when it is due next.

Instants on a job's timeline are seconds of the clock's monotonic side. Calendar triggers answer in wall
time; their instant is kept beside and converted, so that a step of the wall clock can be followed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from bgtasks.backoff import Backoff
from bgtasks.clock import Clock
from bgtasks.runner import Run
from bgtasks.spec import TaskFunction
from bgtasks.triggers import Every, Trigger

__all__ = ["Job"]


@dataclass(slots=True, eq=False, kw_only=True)
class Job:
    """A task or worker under a scheduler, and its place on the timeline.

    Attributes:
        due: The monotonic instant at which it is due; None while it is not: it is running (from-end
            intervals), or its trigger has no further instant.
        at: The wall instant behind `due`, for calendar triggers.
        retry: An earlier monotonic instant at which it is tried again, after a server did not answer.
        entry: Number of its one valid entry in the scheduler's heap.
        run: The run in progress.
        began: The monotonic instant at which that run began.
        runs: How many runs began since the scheduler did.
        fault: Why its trigger can no longer be asked.
    """

    name: str
    func: TaskFunction
    trigger: Trigger
    registered: datetime
    initial_delay: float = 0.0
    jitter: float = 0.0
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    is_worker: bool = False
    due: float | None = None
    at: datetime | None = None
    retry: float | None = None
    entry: int = 0
    run: Run | None = None
    began: float = 0.0
    runs: int = 0
    ever_ran: bool = False
    failures: int = 0
    waiting_for: str | None = None
    fault: str | None = None
    _backoff: Backoff | None = field(default=None, init=False)
    _anchor: float = field(default=0.0, init=False)
    _steps: int = field(default=0, init=False)
    _shift: float = field(default=0.0, init=False)

    @property
    def waits_for_end(self) -> bool:
        """Whether the next due instant is known only when the run has ended."""
        return isinstance(self.trigger, Every) and not self.trigger.fixed_rate

    def begin(self, clock: Clock, random: Random) -> None:
        """Set the first due instant after a start of the scheduler."""
        self.retry, self.runs = None, 0
        mono, wall = clock.monotonic(), clock.now()
        earliest = mono + self.initial_delay
        if isinstance(self.trigger, Every):
            self._anchor, self._steps = earliest, 0
            self._shift = random.uniform(0, self.jitter)
            self.due, self.at = earliest + self._shift, None
            return
        at = self._ask(wall + timedelta(seconds=self.initial_delay))
        if at is None and not self.ever_ran:
            at = self._ask(self.registered)  # its only instant passed while the host was starting up
        self._place(at, mono, wall, random)
        if self.due is not None:
            self.due = max(self.due, earliest)

    def take(self, clock: Clock, random: Random) -> datetime | None:
        """Use up the instant that has come, and set the next one where that does not take the run's end.

        Returns:
            The wall instant the run is for, or None if the job is not due after all: its trigger is
            one of wall time, and the wall clock was slowed.
        """
        wall = clock.now()
        if self.retry is not None and (self.due is None or self.retry <= self.due):
            self.retry = None
            if self.waits_for_end:
                self.due = None
            return wall
        if self.at is not None and wall < self.at:
            self.follow_wall_clock(clock)
            return None
        late = clock.monotonic() - self.due if self.due is not None else 0.0
        nominal = self.at or wall - timedelta(seconds=late)
        self.due = self.retry = None
        if not self.waits_for_end:
            self.advance(clock, random)
        return nominal

    def advance(self, clock: Clock, random: Random) -> None:
        """Set the next due instant: at the start of a run for grids and calendars, else at its end."""
        mono, wall = clock.monotonic(), clock.now()
        if isinstance(self.trigger, Every):
            self._shift = random.uniform(0, self.jitter)
            self.due = self._step(self.trigger, mono) + self._shift
        else:
            # After a step back of the wall clock the instant just consumed lies ahead once more.
            self._place(self._ask(max(wall, self.at or wall)), mono, wall, random)

    def wait_for(self, resource: str, clock: Clock, random: Random) -> None:
        """A server did not answer: be tried again after the next delay of the job's backoff."""
        self.waiting_for = resource
        self._backoff = self._backoff or Backoff(random=random)
        self.retry = clock.monotonic() + self._backoff.failed()

    def waited(self) -> str:
        """The server answered: no more of that. Returns the name it was waited for by."""
        resource, self.waiting_for = self.waiting_for or "", None
        self._backoff = self.retry = None
        return resource

    @property
    def next_instant(self) -> float | None:
        """When to look at it again, on the monotonic timeline; None for never."""
        if self.due is None or self.retry is None:
            return self.retry if self.due is None else self.due
        return min(self.due, self.retry)

    def follow_wall_clock(self, clock: Clock) -> None:
        """Convert the wall instant again, after the wall clock was set or drifted."""
        if self.at is not None and self.due is not None:
            self.due = clock.monotonic() + (self.at - clock.now()).total_seconds() + self._shift

    def _step(self, every: Every, mono: float) -> float:
        if not every.fixed_rate:
            return mono + every.seconds
        # From the anchor by a whole number of steps: adding up intervals would gather rounding errors,
        # and an instant computed anew may come out a hair later than the same one did before.
        self._steps = max(self._steps, int((mono - self._anchor) // every.seconds)) + 1
        due = self._anchor + self._steps * every.seconds
        if due <= mono:
            self._steps += 1
            due += every.seconds
        return due

    def _place(self, at: datetime | None, mono: float, wall: datetime, random: Random) -> None:
        self.at = at
        self._shift = random.uniform(0, self.jitter)
        self.due = None if at is None else mono + (at - wall).total_seconds() + self._shift

    def _ask(self, when: datetime) -> datetime | None:
        """The trigger's answer; a trigger that fails or answers nonsense is not asked again."""
        if self.fault is not None:
            return None
        try:
            at: object = self.trigger.next_after(when)
        except Exception as error:  # noqa: BLE001 - a trigger may be someone else's code
            self.fault = f"its trigger raised {type(error).__name__}: {error}"
            return None
        if at is None:
            return None
        if not isinstance(at, datetime) or at.utcoffset() is None or at <= when:
            self.fault = f"its trigger answered {at!r}, which is not an aware instant after {when!r}"
            return None
        return at.astimezone(UTC)
