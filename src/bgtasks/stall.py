"""A watch on the event loop from a thread of its own: who holds it, said while it is held.

The loop sets a mark every so often; the thread looks whether it did. A thread sees what no callback can: the
stack of the code that keeps the loop from turning.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import FrameType

from bgtasks.events import LoopStalled

__all__ = ["StallWatch"]


class StallWatch:
    """Names what blocks an event loop, once per stall.

    While the loop is held, the stack of what holds it is written to the standard library's logger
    `bgtasks`, from the watching thread, since nothing else could. When the loop turns again, `report` gets
    a `LoopStalled`.

    Args:
        after: Seconds without a turn that count as a stall.
        report: Called in the event loop.

    Not promised: to see code that holds the interpreter lock for all that time (a C extension). The thread
    stands still then too, as in a process that was suspended, and neither is taken for a stalled loop.
    """

    def __init__(self, after: float, report: Callable[[LoopStalled], None]) -> None:
        self._after = after
        self._report = report
        self._loop: asyncio.AbstractEventLoop | None = None
        self._mark = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._halt = threading.Event()
        self._context = contextvars.Context()
        self._found: tuple[float, str, str] | None = None

    def start(self, loop: asyncio.AbstractEventLoop, context: contextvars.Context) -> None:
        """Begin to watch the loop that this is called in."""
        self._loop, self._context = loop, context
        self._halt = threading.Event()
        self._found = None
        self._turn()
        threading.Thread(
            target=self._watch,
            args=(loop, threading.get_ident(), self._halt),
            name="bgtasks:stall-watch",
            daemon=True,
        ).start()

    def stop(self) -> None:
        """End the watch. Does not wait for the thread, which ends by itself at once."""
        self._halt.set()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop = None
        if self._found is not None:  # it turns again, or nobody could stop it
            self._turn()

    @property
    def stalled(self) -> tuple[float, str] | None:
        """Seconds for which the loop has been held, and by what; None while it turns. Any thread may ask."""
        found = self._found
        return None if found is None else (time.monotonic() - self._mark, found[1])

    def _turn(self) -> None:
        """The loop turns: set the mark, and say what was found before."""
        found, self._found = self._found, None
        before, self._mark = self._mark, time.monotonic()
        if self._loop is not None:
            self._timer = self._loop.call_later(self._after / 4, self._turn, context=self._context.copy())
        if found is not None:
            _, holder, stack = found
            self._report(LoopStalled(self._mark - before, holder, stack))

    def _watch(self, loop: asyncio.AbstractEventLoop, thread: int, halt: threading.Event) -> None:
        looked = time.monotonic()
        while not halt.wait(self._after / 4) and not loop.is_closed():
            before, looked = looked, time.monotonic()
            if looked - before > self._after or not loop.is_running():
                self._mark = looked  # this thread stood still too: the process was suspended
            elif self._found is None and looked - self._mark >= self._after:
                self._look(loop, thread, looked - self._mark)

    def _look(self, loop: asyncio.AbstractEventLoop, thread: int, seconds: float) -> None:
        mark = self._mark
        frame = sys._current_frames().get(thread)
        holder = _holder(loop, frame)
        stack = "".join(traceback.format_stack(frame)).rstrip() if frame is not None else ""
        if self._mark == mark:  # else it turned while it was looked at
            self._found = (seconds, holder, stack)
            logging.getLogger("bgtasks").error(
                "the event loop has stood still for %.1f s, held by %s\n%s", seconds, holder or "?", stack
            )


def _holder(loop: asyncio.AbstractEventLoop, frame: FrameType | None) -> str:
    """The asyncio task that is being run, or the function of a bare callback."""
    task = asyncio.current_task(loop)
    if task is not None:
        return task.get_name()
    return "" if frame is None else frame.f_code.co_qualname
