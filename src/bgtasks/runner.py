"""One run, once: its context, its attempts, its outcome, its events.

This is the home of the one broad `except`: here someone else's code runs, and whatever it does ends as
an `Outcome` on the bus. Each run is an asyncio task of its own, in a copy of the context captured when
the scheduler started, so nothing a run sets is seen by a later one.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import traceback
from collections.abc import Awaitable, Callable, Collection
from random import Random
from types import CoroutineType
from typing import Any

from bgtasks.backoff import Backoff
from bgtasks.clock import Clock
from bgtasks.deadlines import Deadlines
from bgtasks.errors import InvalidTask, OverBudget, ResourceUnavailable
from bgtasks.events import EventBus, RunFinished, RunRetried, RunSkipped, RunStarted, RunStuck
from bgtasks.outcomes import FAILURES, Cancelled, Deferred, Done, Failed, Outcome, Skipped, TimedOut
from bgtasks.run import Run, Work, current_run
from bgtasks.stacks import stack_of

__all__ = ["ASK_AGAIN", "Runner", "Unavailable"]

ASK_AGAIN = 5.0
"""Seconds after which a run that was told to end and goes on is told so again."""


type Unavailable = Callable[[BaseException, Collection[str]], ResourceUnavailable | None]
"""Tells which outage an error stands for, from the error and the names of what the task was given."""


class Runner:
    """Runs a task's coroutine, with the attempts its policy allows, and says on the bus how it ended.

    Args:
        unavailable: Which errors mean that a server does not answer.
        random: Source of the delays between attempts.
        ended: Called at the end of each run that began, within its asyncio task.
    """

    def __init__(
        self,
        bus: EventBus,
        clock: Clock,
        unavailable: Unavailable | None = None,
        random: Random | None = None,
        ended: Callable[[Run], None] | None = None,
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._unavailable = unavailable
        self._random = random or Random()
        self._ended = ended
        self._loop: asyncio.AbstractEventLoop | None = None
        self._context = contextvars.Context()
        self._deadlines: Deadlines[Run] = Deadlines(self._time_is_up)

    def open(self, loop: asyncio.AbstractEventLoop, context: contextvars.Context) -> None:
        """Begin runs in this event loop, each in a copy of this context."""
        self._loop, self._context = loop, context
        self._deadlines.open(loop, context)

    def close(self) -> None:
        """No more runs begin."""
        self._deadlines.close()

    def begin(self, run: Run) -> asyncio.Task[Outcome]:
        """Make the run's asyncio task; its first step is taken, unless the host has a task factory."""
        assert self._loop is not None
        name, context = f"bgtasks:{run.work.name}:{run.run_id}", self._context.copy()
        coroutine = self.run(run)
        if self._loop.get_task_factory() in _EAGER_ALREADY:
            return asyncio.Task(coroutine, loop=self._loop, name=name, context=context, eager_start=True)
        run.began = self._clock.monotonic()
        try:
            run.handle = self._loop.create_task(coroutine, name=name, context=context)
        except BaseException:
            coroutine.close()
            raise
        # Cancelled before its first step it would run nothing, its end included.
        run.handle.add_done_callback(lambda _: self._never_began(run), context=self._context.copy())
        return run.handle

    async def run(self, run: Run) -> Outcome:
        """Run it, note its outcome and return it; `RunStarted` and `RunFinished` frame it on the bus.

        A `CancelledError` is recorded and raised again, unless it is this run's own timeout: as
        `Cancelled` if someone asked for it, else as a failure of this run. `SystemExit` and
        `KeyboardInterrupt` are recorded and then raised out of the event loop, as they are from any
        asyncio task.

        The time limit of the first attempt is set by whoever sees that the run has not ended at once, by
        calling `limit`: most runs of a busy scheduler do, and need no timer.
        """
        current_run.set(run)
        run.handle = asyncio.current_task()
        run.began = self._clock.monotonic()
        failed: Failed | TimedOut | None = None
        while True:
            try:
                if failed is None:
                    self._bus.emit(_new(RunStarted, (run.work.name, run.run_id, run.due)))
                else:
                    await self._rest(run, failed)
                result = await _call(run.work)
                outcome = _DONE if result is None else _outcome(result)
            except asyncio.CancelledError as error:
                if not _timed_out(run):
                    run.killed = not isinstance(run.ending, Cancelled) and _cancelled_by_host(run)
                    self._finished(run, run.ending if isinstance(run.ending, Cancelled) else Failed(error))
                    raise
                assert run.ending is not None
                outcome = run.ending
            except (KeyboardInterrupt, SystemExit) as error:
                # Raised from a callback and not from here, the exception ends the event loop just the
                # same, and no asyncio task is left holding one that nobody retrieves.
                asyncio.get_running_loop().call_soon(_leave_the_loop, error)
                outcome = Failed(error)
                break
            except GeneratorExit as error:
                if not _goes_on(run):  # the event loop is gone and takes the coroutine with it
                    raise
                outcome = Failed(error)
            except BaseException as error:  # noqa: BLE001 - the one place where a task's errors end
                outcome = self._judged(error, run.work)
            if not isinstance(outcome, FAILURES) or not _may_try_again(run):
                break
            failed = outcome
        self._finished(run, outcome)
        return outcome

    def limit(self, run: Run) -> None:
        """Cancel the present attempt when its timeout is over, if it has one."""
        if run.limit is None and not run.rests:
            run.limit = run.work.policy.timeout
            if run.limit is not None:
                self._deadlines.watch(run, run.limit)

    def _never_began(self, run: Run) -> None:
        if run.outcome is not None:
            return
        self._release(run)
        told = run.ending if isinstance(run.ending, Cancelled) else Cancelled("it was cancelled")
        run.outcome, run.ended = told, self._clock.monotonic()
        if self._ended is not None:
            self._ended(run)
        self._bus.emit(RunSkipped(run.task, run.due, f"cancelled before it began: {told.reason}"))

    def cancel(self, run: Run, why: Cancelled, *, insist: bool = True) -> None:
        """Ask a run to end, for this reason; `insist` asks again every few seconds until it has."""
        run.ending = why
        if insist:
            self._ask(run)
        elif run.handle is not None:
            run.handle.cancel()

    async def _rest(self, run: Run, failed: Failed | TimedOut) -> None:
        """Wait until the next attempt, and begin it."""
        retry = run.work.policy.retry
        assert retry is not None
        self._lift_limit(run)
        run.rests = True
        base, cap = retry.seconds
        backoff = Backoff(base, cap, random=self._random)
        backoff.failures = run.attempt - 1
        delay = backoff.failed()
        self._bus.emit(RunRetried(run.work.name, run.run_id, run.attempt, delay, failed.reason))
        await asyncio.sleep(delay)
        run.attempt, run.rests = run.attempt + 1, False
        self.limit(run)

    def _time_is_up(self, run: Run) -> None:
        try:
            if run.asked and not run.stuck:
                run.stuck = True
                stack = "" if run.handle is None else stack_of(run.handle)
                seconds = self._clock.monotonic() - run.began
                self._bus.emit(RunStuck(run.work.name, run.run_id, seconds, stack))
        finally:
            if run.ending is None:
                assert run.work.policy.timeout is not None
                run.ending = TimedOut(run.work.policy.timeout)
            self._ask(run)

    def _ask(self, run: Run) -> None:
        """Cancel the present attempt, and again if it has not ended after a while."""
        self._release(run)
        run.asked += 1
        run.limit = ASK_AGAIN
        self._deadlines.watch(run, ASK_AGAIN)
        if run.handle is not None:
            run.handle.cancel()

    def _judged(self, error: BaseException, work: Work) -> Failed | Deferred:
        """What an error stands for: a failure, or that it is not the time for it."""
        if isinstance(error, OverBudget):
            return Deferred(str(error))
        outage = self._outage(error, work)
        return Failed(error) if outage is None else Deferred(str(outage), outage.resource)

    def _outage(self, error: BaseException, work: Work) -> ResourceUnavailable | None:
        if isinstance(error, ResourceUnavailable):
            return error
        if self._unavailable is None:
            return None
        try:
            return self._unavailable(error, work.kwargs.keys())
        except Exception:  # the host's; whether a server is behind the error stays unknown
            logging.getLogger("bgtasks").exception("what tells outages from errors failed itself")
            return None

    def _finished(self, run: Run, outcome: Outcome) -> None:
        if run.limit is not None:
            self._release(run)
        run.outcome = outcome
        if isinstance(outcome, _WELL):
            run.work.failures = 0
        elif isinstance(outcome, FAILURES):
            run.work.failures += 1
        run.ended = self._clock.monotonic()
        try:
            self._bus.emit(
                _new(
                    RunFinished,
                    (run.work.name, run.run_id, outcome, run.ended - run.began, run.work.failures),
                )
            )
        finally:
            if isinstance(outcome, Failed) and run.answer is None:
                # The error is kept as the last outcome, perhaps for a day: not with all that the run held.
                traceback.clear_frames(outcome.error.__traceback__)
            if self._ended is not None:
                self._ended(run)

    def _release(self, run: Run) -> None:
        if run.limit is not None:
            self._deadlines.release(run, run.limit)
            run.limit = None

    def _lift_limit(self, run: Run) -> None:
        """The attempt is over: no more of its timeout, and what it asked for is taken back."""
        self._release(run)
        if isinstance(run.ending, TimedOut):
            run.ending = None
        while run.asked:
            assert run.handle is not None
            run.handle.uncancel()
            run.asked -= 1


def _may_try_again(run: Run) -> bool:
    """Whether a failed attempt may be followed by another: not once somebody asked the run to end."""
    retry = run.work.policy.retry
    over = run.overtaken or isinstance(run.ending, Cancelled)
    return retry is not None and run.attempt < retry.attempts and not over


def _goes_on(run: Run) -> bool:
    """Whether the run's asyncio task is the one that is being run."""
    try:
        return asyncio.current_task() is run.handle
    except RuntimeError:  # no event loop
        return False


def _timed_out(run: Run) -> bool:
    """Whether a cancellation is the run's own timeout and nothing but that."""
    return isinstance(run.ending, TimedOut) and not _cancelled_by_host(run)


def _cancelled_by_host(run: Run) -> bool:
    return run.handle is not None and run.handle.cancelling() > run.asked


def _outcome(result: Any) -> Outcome:
    """What a task returned, as an outcome; a task may return `Skipped` or `Deferred` itself."""
    return result if isinstance(result, _ANSWERS) else Done(result)


_EAGER_ALREADY = (None, asyncio.eager_task_factory)
"""Task factories that are no reason to begin a run otherwise than we do."""

_new = tuple.__new__
"""Makes a named tuple at two thirds of the price of calling its class, which every run would pay twice."""

_DONE = Done()
_ANSWERS = (Done, Skipped, Deferred)
_WELL = (Done, Skipped)
"""What ends a row of failures; a run that did not come to its own end leaves it as it is."""


def _call(work: Work) -> Awaitable[Any]:
    result = work.func(*work.args, **work.kwargs)
    if type(result) is not CoroutineType and not inspect.isawaitable(result):
        raise InvalidTask(
            f'"{work.name}" returned {type(result).__name__} instead of a coroutine: write "async def"'
        )
    return result


def _leave_the_loop(error: BaseException) -> None:
    raise error
