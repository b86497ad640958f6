"""What happened, as values, and the small bus that carries them.

The core emits events; logs, and whatever else a host subscribes, listen. Listeners are called
synchronously, in the order they subscribed; for `RunStarted`, `RunRetried` and `RunFinished` inside the
context of the run. Events are
named tuples: immutable, and the cheapest such thing to make, since every run makes two.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple

from bgtasks.outcomes import Outcome

__all__ = [
    "DebugEvent",
    "Event",
    "EventBus",
    "JobsUnresolved",
    "Listener",
    "LoopStalled",
    "ResourceLost",
    "ResourceRegained",
    "RunFinished",
    "RunLost",
    "RunMissed",
    "RunRetried",
    "RunSkipped",
    "RunStarted",
    "RunStuck",
    "SchedulerStarted",
    "SchedulerStopped",
    "TaskPaused",
    "TaskResumed",
    "TermGained",
    "TermLost",
    "TermQuarantined",
    "WorkerCrashed",
    "WorkerGivenUp",
    "WorkerReady",
    "WorkerRestarted",
]


class SchedulerStarted(NamedTuple):
    """A scheduler began: how many tasks and workers it runs, and what is not wired and why."""

    tasks: int
    workers: int
    skipped: tuple[tuple[str, str], ...] = ()


class SchedulerStopped(NamedTuple):
    """A scheduler ended; `unfinished` names the runs that did not end within the stop timeout."""

    unfinished: tuple[str, ...]
    seconds: float


class RunStarted(NamedTuple):
    """One run of a task or worker began. `due` is the wall time at which it was due."""

    task: str
    run_id: str
    due: datetime


class RunFinished(NamedTuple):
    """One run ended; `failures` counts the failed runs in a row up to and including this one.

    A run that was cancelled or deferred neither adds to them nor ends the row.
    """

    task: str
    run_id: str
    outcome: Outcome
    seconds: float
    failures: int = 0


class RunSkipped(NamedTuple):
    """A task was due and nothing was run, and why: its policy, a pause, or a stop."""

    task: str
    due: datetime
    reason: str


class RunMissed(NamedTuple):
    """Ticks of a task passed unnoticed and get no run.

    `due` is the earliest of them; `ticks` says how many: for a calendar beyond a hundred, at least.
    """

    task: str
    due: datetime
    ticks: int
    reason: str


class RunLost(NamedTuple):
    """A run of a cluster task was found lost: its node was not heard of any more.

    `again` says whether it is offered once more; if not, it was started as often as may be.
    """

    task: str
    run_id: str
    due: datetime
    node: str
    attempt: int
    again: bool


class JobsUnresolved(NamedTuple):
    """Jobs of a type wait: no node that is alive can run them. Said by one node, once until some can."""

    job_type: str
    jobs: int
    reason: str


class RunRetried(NamedTuple):
    """An attempt of a run failed, and after `delay` seconds another one follows in the same run."""

    task: str
    run_id: str
    attempt: int
    delay: float
    reason: str


class RunStuck(NamedTuple):
    """A run was cancelled and does not end; `stack` shows where it is. Said once a run."""

    task: str
    run_id: str
    seconds: float
    stack: str


class TaskPaused(NamedTuple):
    """A task is not run for a while: told so (`until` is None), or by its breaker."""

    task: str
    reason: str
    until: datetime | None = None


class TaskResumed(NamedTuple):
    """A paused task is on its schedule again."""

    task: str
    reason: str


class LoopStalled(NamedTuple):
    """The event loop did not turn for `seconds`; emitted when it does again.

    `task` names the asyncio task or callback that held it, `stack` shows where it was when the stall was
    noticed. Both are empty if nothing of it could be seen.
    """

    seconds: float
    task: str
    stack: str


class TermGained(NamedTuple):
    """This node leads: it has the lease, and its workers begin. Larger tokens are of later terms."""

    lease: str
    token: int
    owner: str


class TermLost(NamedTuple):
    """A term of this node is over, and why; it held the lease for `seconds`."""

    lease: str
    token: int
    reason: str
    seconds: float


class TermQuarantined(NamedTuple):
    """This node has the lease and lets its workers wait, since those of another may still be at work."""

    lease: str
    token: int
    seconds: float
    reason: str


class WorkerRestarted(NamedTuple):
    """A long-lived worker ended and is started again; `restarts` counts since the scheduler began."""

    task: str
    run_id: str
    restarts: int


class WorkerCrashed(NamedTuple):
    """A leader's worker ended by an error; it starts again after `delay` seconds, unless it is given up."""

    task: str
    run_id: str
    reason: str
    crashes: int
    delay: float


class WorkerReady(NamedTuple):
    """A leader's worker that promised heartbeats has given the first one since it was started."""

    task: str
    run_id: str


class WorkerGivenUp(NamedTuple):
    """A leader's worker is not started again in this term, and why."""

    task: str
    reason: str


class ResourceLost(NamedTuple):
    """A server that tasks work with stopped answering. Said once, until `ResourceRegained`."""

    resource: str
    reason: str


class ResourceRegained(NamedTuple):
    """A lost server answers again; `seconds` after it was found lost."""

    resource: str
    seconds: float


class DebugEvent(NamedTuple):
    """What somebody who looks for a fault asked to hear of; see `bgtasks.telemetry.publish_debug_event`."""

    topic: str
    data: Mapping[str, Any]


type Event = (
    SchedulerStarted
    | SchedulerStopped
    | RunStarted
    | RunFinished
    | RunSkipped
    | RunMissed
    | RunLost
    | JobsUnresolved
    | RunRetried
    | RunStuck
    | TaskPaused
    | TaskResumed
    | LoopStalled
    | TermGained
    | TermLost
    | TermQuarantined
    | WorkerCrashed
    | WorkerGivenUp
    | WorkerReady
    | WorkerRestarted
    | ResourceLost
    | ResourceRegained
    | DebugEvent
)
type Listener = Callable[[Event], None]


class EventBus:
    """Hands each event to every listener, at once.

    A listener that raises is logged with its traceback and does not disturb the run or the other
    listeners. Not promised: delivery in another thread or process, or after the fact.
    """

    __slots__ = ("_listeners", "_routes")

    def __init__(self) -> None:
        self._listeners: tuple[Listener, ...] = ()
        self._routes: dict[type[Any], tuple[Callable[[Any], None], ...]] = {}

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """Who listens, in the order they subscribed."""
        return self._listeners

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` for every event from now on; the returned function ends that.

        A listener may have a method `on(kind)`, which is asked once for the function that takes events of one
        kind, and saves it from telling them apart each time.
        """
        self._listeners = (*self._listeners, listener)
        self._routes = {}

        def unsubscribe() -> None:
            held = list(self._listeners)
            if listener in held:
                held.remove(listener)  # one of them, if it was subscribed more than once
            self._listeners = tuple(held)
            self._routes = {}

        return unsubscribe

    def emit(self, event: Event) -> None:
        """Hand `event` to every listener. Never raises an `Exception`."""
        kind = type(event)
        if (routes := self._routes.get(kind)) is None:
            routes = self._routes[kind] = tuple(_route(listener, kind) for listener in self._listeners)
        for listener in routes:
            try:
                listener(event)
            except Exception:  # a listener is someone else's code; logged, and the others go on
                with suppress(Exception):  # so is a log handler
                    logging.getLogger("bgtasks").exception("a listener failed on %s", type(event).__name__)


def _route(listener: Listener, kind: type[Any]) -> Callable[[Any], None]:
    on: Callable[[type[Any]], Callable[[Any], None]] | None = getattr(listener, "on", None)
    return listener if on is None else on(kind)
