"""One registered task or worker of a scheduler: what it runs, when it is due, how it has fared."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from random import Random

from bgtasks.agenda import Agenda
from bgtasks.backoff import Backoff
from bgtasks.clock import Reading
from bgtasks.outcomes import FAILURES, Outcome, Skipped
from bgtasks.policies import Policy
from bgtasks.runner import Run, Work
from bgtasks.triggers import Every, Trigger

__all__ = ["Job", "Request"]


@dataclass(slots=True, eq=False)
class Request:
    """A run that is wanted: of which job, for which instant, and who waits for its outcome, if anyone."""

    job: Job
    due: datetime
    answer: asyncio.Future[Outcome] | None = None
    since: float = 0.0
    has_slot: bool = False

    def decline(self, reason: str) -> None:
        """It will not be run: say so to whoever waits."""
        self.job.last_outcome = skipped = Skipped(reason)
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(skipped)


@dataclass(slots=True, eq=False, kw_only=True)
class Job:
    """A task or worker under a scheduler.

    Attributes:
        retry: An earlier monotonic instant at which it is tried again, after a server did not answer.
        held: Until when a due run is put off, so that what is overdue does not start all at once.
        entry: Number of its one valid entry on the timeline; 0 for none.
        runs: The runs in progress, the earliest first. More than one only if its policy allows that.
        queued: A run that waits for the present one to end.
        waiting: A run that waits for a free slot.
        started: How many runs began since the scheduler did.
        failures: Failed runs in a row.
        last_ended: The monotonic instant at which a run ended last.
        paused: Why it is paused by hand.
        open_until: Until when its breaker pauses it.
        due_in_pause: A plain interval came due during a pause; it runs when that ends.
        removed: It has been taken off the schedule, and waits for its run to end.
    """

    work: Work
    trigger: Trigger
    agenda: Agenda
    policy: Policy
    initial_delay: float = 0.0
    jitter: float = 0.0
    is_worker: bool = False
    retry: float | None = None
    held: float | None = None
    entry: int = 0
    runs: list[Run] = field(default_factory=list)
    queued: Request | None = None
    waiting: Request | None = None
    started: int = 0
    failures: int = 0
    last_outcome: Outcome | None = None
    last_ended: float | None = None
    paused: str | None = None
    open_until: float | None = None
    due_in_pause: bool = False
    removed: bool = False
    waiting_for: str | None = None
    _backoff: Backoff | None = None

    @property
    def name(self) -> str:
        """Unique in its scheduler."""
        return self.work.name

    @property
    def limited(self) -> bool:
        """Whether its runs take slots; a worker, which never ends, would hold one for ever."""
        return not self.is_worker

    @property
    def busy(self) -> bool:
        """Whether a run is in progress or waits for a slot."""
        return bool(self.runs) or self.waiting is not None

    @property
    def next_instant(self) -> float | None:
        """When to look at it again, on the monotonic timeline; None for never, or not before its run ends."""
        due, retry = self.agenda.due, self.retry
        if retry is not None and (due is None or retry < due):
            return retry
        return None if due is None or (self.agenda.behind and self.busy) else due

    def run_begins(self, run: Run) -> None:
        """Note a run that begins, perhaps ahead of time: a plain interval is measured anew from its end."""
        self.runs.append(run)
        self.started += 1
        self.retry = None
        if self.agenda.waits_for_end:
            self.agenda.due, self.entry = None, 0

    def begin(self, reading: Reading) -> None:
        """Set the first due instant after a start of the scheduler."""
        self.retry = self.held = self.open_until = None
        self.started = 0
        self.due_in_pause = False
        self.agenda.begin(reading, self.initial_delay)
        if self.runs and self.agenda.waits_for_end:
            self.agenda.due = None  # its run outlived the last stop: due again when that has ended

    def begin_anew(self, reading: Reading) -> None:
        """Set the next instant after the job was given another trigger: one interval from now."""
        self.retry = self.held = None
        every = self.trigger
        self.agenda.begin(reading, every.seconds if isinstance(every, Every) else 0.0)
        if self.runs and self.agenda.waits_for_end:
            self.agenda.due = None

    def take(self, reading: Reading) -> datetime | None:
        """Use up the instant that has come: the wall instant a run is due for, or None for no run."""
        agenda = self.agenda
        self.held, agenda.missed = None, 0
        retry = self.retry
        if retry is not None:
            if retry <= reading.mono and (agenda.due is None or retry <= agenda.due):
                self.retry = None
                if agenda.waits_for_end:
                    agenda.due = None
                return reading.wall
            if agenda.due is not None and agenda.due <= reading.mono:
                self.retry = None
        if agenda.due is None or agenda.due > reading.mono:
            return None
        return agenda.take(reading)

    def ended(self, outcome: Outcome | None, mono: float) -> None:
        """Note how and when a run has ended."""
        self.last_outcome, self.last_ended = outcome, mono
        if isinstance(outcome, FAILURES):
            self.failures += 1
            breaker = self.policy.breaker
            if breaker is not None and self.failures >= breaker.after:
                self.open_until = mono + breaker.seconds
        else:
            self.failures = 0
            self.open_until = None

    def wait_for(self, resource: str, now: float, random: Random) -> None:
        """A server did not answer: be tried again after the next delay of the job's backoff."""
        self.waiting_for = resource
        self._backoff = self._backoff or Backoff(random=random)
        self.retry = now + self._backoff.failed()

    def waited(self) -> str:
        """The server answered: no more of that. Returns the name it was waited for by."""
        resource, self.waiting_for = self.waiting_for or "", None
        self._backoff = self.retry = None
        return resource
