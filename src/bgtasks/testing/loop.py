"""An asyncio event loop on virtual time: when nothing is ready, time jumps to the next timer.

The idea of an autojumping clock is trio's (`MockClock`); this is an asyncio loop whose selector does not
wait. A month of schedule takes as long as its callbacks do.
"""

from __future__ import annotations

import asyncio
import selectors
import threading
from asyncio import Future, Handle
from collections.abc import Callable
from concurrent.futures import Executor
from contextvars import Context
from functools import partial
from pathlib import Path
from typing import Any, cast

from bgtasks.errors import BgTasksError
from bgtasks.stacks import frames
from bgtasks.testing.clock import VirtualClock

__all__ = ["VirtualLoop"]

_RESOLUTION = 1e-6
"""Seconds; coarse enough that the rounding of a century in seconds cannot hold a timer back for ever."""

_LOOKS = 64
"""A jump asks the kernel once in so many times, though nothing can be there but a signal."""

_JOIN_S = 300.0
"""Real seconds to wait for the end of threads, as asyncio does by itself."""

_NAMED = 20
"""Tasks that a deadlock is explained with."""

_ASYNCIO = str(Path(asyncio.__file__).parent)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose `time()` is a `VirtualClock`'s.

    While work given to `asyncio.to_thread` or `run_in_executor` is going on, time stands still. When nothing
    is ready, no timer is set and nothing else can come, that is an error which names what every task
    waits for.

    Attributes:
        clock: Its clock.
        patience: Real seconds to wait for a thread, or for a socket while no timer is set.

    Not promised: anything about code that waits for real sockets, or for a thread that it started by itself.
    Those are waited for only while no timer is set; otherwise time jumps past them.
    """

    patience = 5.0

    def __init__(self, clock: VirtualClock | None = None) -> None:
        self.clock = clock or VirtualClock()
        self._work: dict[object, str] = {}
        self._settling: list[Future[None]] = []
        self._known_threads = frozenset(threading.enumerate())
        self._jumping = _JumpingSelector(self)
        super().__init__(cast(Any, self._jumping))
        self._clock_resolution = _RESOLUTION

    def time(self) -> float:
        """Seconds of the virtual clock."""
        return self.clock._elapsed

    async def until(self, when: float) -> None:
        """Wait for that instant of `time()`, and until nothing is ready in it."""
        reached = self.create_future()
        timer = self.call_at(when, _release, reached)
        try:
            await reached
        finally:
            timer.cancel()
        self.clock._reach(when)
        await self.settle()

    async def settle(self) -> None:
        """Wait until nothing is ready, without letting time pass."""
        settled = self.create_future()
        self._settling.append(settled)
        await settled

    # -- what may make something ready besides timers ---------------------------------------------

    def call_soon_threadsafe[*Ts](
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> Handle:
        """As in any event loop."""
        self._jumping.woken = True
        return super().call_soon_threadsafe(callback, *args, context=context)

    def run_in_executor[T, *Ts](
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> Future[T]:
        """As in any event loop, but time stands still until it is done."""
        future = super().run_in_executor(executor, func, *args)
        self._work[future] = _name_of(func, args)
        future.add_done_callback(lambda done: self._work.pop(done, None))
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Wait for the threads, in real time, since a virtual time limit would be over at once.

        It is patient: what is to be told of a thread that does not answer was told before.
        """
        key, patience = object(), self.patience
        self._work[key] = "the end of the default executor"
        self.patience = max(patience, _JOIN_S if timeout is None else timeout)
        try:
            await super().shutdown_default_executor(None)
        finally:
            self.patience = patience
            del self._work[key]

    # -- nothing is ready ------------------------------------------------------------------------

    def _release_settled(self) -> None:
        waiting, self._settling = self._settling, []
        for future in waiting:
            _release(future)

    def _has_strange_threads(self) -> bool:
        """Whether somebody has started a thread by himself, from which something may come."""
        idle = getattr(getattr(self, "_default_executor", None), "_threads", ())
        return any(
            thread not in self._known_threads and thread not in idle for thread in threading.enumerate()
        )

    def _unanswered(self) -> BgTasksError:
        work = ", ".join(self._work.values())
        return BgTasksError(
            f"a thread has not answered for {self.patience:g} s of real time: {work}. If it takes that long, "
            f"set `patience` on the running VirtualLoop"
        )

    def _deadlock(self) -> BgTasksError:
        tasks = sorted(asyncio.all_tasks(self), key=lambda task: (len(task.get_name()), task.get_name()))
        waits = [f"  {task.get_name()}: {_place(task)}" for task in tasks[:_NAMED]]
        if len(tasks) > _NAMED:
            waits.append(f"  and {len(tasks) - _NAMED} more")
        return BgTasksError(
            "\n".join(["deadlock: nothing is ready, no timer is set, and no thread is at work", *waits])
        )


class _JumpingSelector(selectors.DefaultSelector):
    """Lets time jump where another selector would wait."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self.woken = False
        self._loop = loop
        self._files = 0
        self._jumps = 0

    def register(self, *args: Any, **kwargs: Any) -> selectors.SelectorKey:
        key = super().register(*args, **kwargs)
        self._files += 1
        return key

    def unregister(self, *args: Any, **kwargs: Any) -> selectors.SelectorKey:
        key = super().unregister(*args, **kwargs)
        self._files -= 1
        return key

    def select(self, timeout: float | None = None) -> Any:
        self._jumps += 1
        ready: Any = []
        if self._files > 1 or self.woken or self._jumps >= _LOOKS:  # one file is the loop's own pipe
            self._jumps, self.woken = 0, False
            ready = super().select(0)
        if ready or timeout == 0:
            return ready
        loop = self._loop
        if loop._work:
            if ready := super().select(loop.patience):
                return ready
            raise loop._unanswered()
        if loop._settling and (timeout is None or timeout >= _RESOLUTION):
            loop._release_settled()
        elif timeout is not None:
            loop.clock._elapsed += timeout  # no method call: a month of schedule is made of these
        else:
            return self._wait()
        return ready

    def _wait(self) -> Any:
        """Wait, in real time, for what may come when no timer is set."""
        may_come = self._files > 1 or self._loop._has_strange_threads()
        ready = super().select(self._loop.patience if may_come else 0)
        if not ready:
            raise self._loop._deadlock()
        return ready


def _release(future: Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _name_of(func: Any, args: tuple[Any, ...]) -> str:
    if isinstance(func, partial):  # asyncio.to_thread wraps what it was given: context.run(func, …)
        func, args = func.func, func.args
    if isinstance(getattr(func, "__self__", None), Context) and args:
        func = args[0]
    name = getattr(func, "__qualname__", None) or repr(func)
    return f"{getattr(func, '__module__', None) or '?'}.{name}"


def _place(task: asyncio.Task[Any]) -> str:
    """Where a task waits, in the innermost code that is not asyncio's."""
    place, inside = "has not begun, or is at its end", ""
    for frame in frames(task.get_coro()):
        name = frame.f_code.co_qualname
        if str(Path(frame.f_code.co_filename).parent) == _ASYNCIO:
            inside = f", for {name}"
        else:
            place, inside = f"waits at {frame.f_code.co_filename}:{frame.f_lineno} in {name}", ""
    return place + inside
