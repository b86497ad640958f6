"""One run, once: its context, its outcome, its events.

This is the home of the one broad `except`: here someone else's code runs, and whatever it does ends as
an `Outcome` on the bus. Each run is an asyncio task of its own, in a copy of the context captured when
the scheduler started, so nothing a run sets is seen by a later one.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bgtasks.clock import Clock
from bgtasks.errors import InvalidTask, ResourceUnavailable
from bgtasks.events import EventBus, RunFinished, RunStarted
from bgtasks.outcomes import Cancelled, Deferred, Done, Failed, Outcome, Skipped
from bgtasks.spec import TaskFunction

__all__ = ["Run", "Runner", "Unavailable", "current_run"]


@dataclass(slots=True, eq=False)
class Run:
    """One run of a task: what is run, why now, and how often it failed before, in a row.

    `stop_requested` is set by whoever cancels the run on purpose; it tells a stop from a task that
    cancelled itself. `outcome` is None until the run has ended, and stays so if it never began.
    """

    task: str
    run_id: str
    func: TaskFunction
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    due: datetime
    failures: int = 0
    stop_requested: bool = False
    outcome: Outcome | None = None


current_run: ContextVar[Run | None] = ContextVar("bgtasks_current_run", default=None)
"""The run that the calling code is part of; None outside one."""


type Unavailable = Callable[[BaseException, Collection[str]], ResourceUnavailable | None]
"""Tells which outage an error stands for, from the error and the names of what the task was given."""


class Runner:
    """Runs a task's coroutine once and says on the bus how it ended."""

    __slots__ = ("_bus", "_clock", "_unavailable")

    def __init__(self, bus: EventBus, clock: Clock, unavailable: Unavailable | None = None) -> None:
        self._bus = bus
        self._clock = clock
        self._unavailable = unavailable

    async def run(self, run: Run) -> Outcome:
        """Run it, note its outcome and return it; `RunStarted` and `RunFinished` frame it on the bus.

        A `CancelledError` is recorded and raised again: as `Cancelled` if a stop was requested, else as
        a failure of this run. `SystemExit` and `KeyboardInterrupt` are recorded and then raised out of
        the event loop, as they are from any asyncio task.
        """
        current_run.set(run)
        started = self._clock.monotonic()
        self._bus.emit(RunStarted(run.task, run.run_id, run.due))
        try:
            outcome = _outcome(await _call(run))
        except asyncio.CancelledError as error:
            self._finished(run, started, Cancelled() if run.stop_requested else Failed(error))
            raise
        except (KeyboardInterrupt, SystemExit) as error:
            # Raised from a callback and not from here, the exception ends the event loop just the same,
            # and no asyncio task is left holding one that nobody retrieves.
            asyncio.get_running_loop().call_soon(_leave_the_loop, error)
            outcome = Failed(error)
        except GeneratorExit:  # the event loop is gone and takes the coroutine with it
            raise
        except BaseException as error:  # noqa: BLE001 - the one place where a task's errors end
            outage = self._outage(error, run)
            outcome = Failed(error) if outage is None else Deferred(str(outage), outage.resource)
        self._finished(run, started, outcome)
        return outcome

    def _outage(self, error: BaseException, run: Run) -> ResourceUnavailable | None:
        if isinstance(error, ResourceUnavailable):
            return error
        return None if self._unavailable is None else self._unavailable(error, run.kwargs.keys())

    def _finished(self, run: Run, started: float, outcome: Outcome) -> None:
        run.outcome = outcome
        failures = run.failures + 1 if isinstance(outcome, Failed) else 0
        seconds = self._clock.monotonic() - started
        self._bus.emit(RunFinished(run.task, run.run_id, outcome, seconds, failures))


def _outcome(result: Any) -> Outcome:
    """What a task returned, as an outcome; a task may return `Skipped` or `Deferred` itself."""
    return result if isinstance(result, Done | Skipped | Deferred) else Done(result)


def _call(run: Run) -> Awaitable[Any]:
    result = run.func(*run.args, **run.kwargs)
    if not inspect.isawaitable(result):
        raise InvalidTask(
            f'"{run.task}" returned {type(result).__name__} instead of a coroutine: write "async def"'
        )
    return result


def _leave_the_loop(error: BaseException) -> None:
    raise error
