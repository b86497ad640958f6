"""A watch on the event loop from a thread of its own: who holds it, said while it is held.

The thread looks whether the loop waits for something to do. If not, it is asked for a turn, and what it does
instead is what holds it. A thread sees what no callback can: the stack of the code that keeps the loop from
turning. A loop at rest is never woken for it.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import selectors
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import FrameType
from typing import NamedTuple

from bgtasks.events import LoopStalled

__all__ = ["StallWatch"]

LOOKS = 2
"""Looks in the time that counts as a stall. Each wakes a thread, which is what the watch costs."""

_SELECT = selectors.DefaultSelector.select.__code__


class _Found(NamedTuple):
    """A stall: since when, when the turn was asked for that did not come, and who held the loop where."""

    since: float
    asked: float
    holder: str
    stack: str


class StallWatch:
    """Names what blocks an event loop, once per stall.

    While the loop is held, the stack of what holds it is written to the standard library's logger
    `bgtasks`, from the watching thread, since nothing else could. When the loop turns again, `report` gets
    a `LoopStalled`. Seconds count from the last look at which the loop was seen to turn, up to half of
    `after` before it was held.

    Args:
        after: Seconds for which the loop must owe a turn to count as stalled.
        report: Called in the event loop.

    Not promised: to see code that holds the interpreter lock for all that time (a C extension). The thread
    stands still then too, as in a process that was suspended, and neither is taken for a stalled loop.
    """

    def __init__(self, after: float, report: Callable[[LoopStalled], None]) -> None:
        self._after = after
        self._report = report
        self._turned = 0.0
        self._watching = threading.Lock()
        self._context = contextvars.Context()
        self._found: _Found | None = None

    def start(self, loop: asyncio.AbstractEventLoop, context: contextvars.Context) -> None:
        """Begin to watch the loop that this is called in."""
        self._context = context
        self._watching = threading.Lock()  # an Event would do, at twice the price of a look
        self._watching.acquire()
        self._found = None
        threading.Thread(
            target=self._watch,
            args=(loop, threading.get_ident(), self._watching),
            name="bgtasks:stall-watch",
            daemon=True,
        ).start()

    def stop(self) -> None:
        """End the watch. Does not wait for the thread, which ends by itself at once."""
        if self._watching.locked():
            self._watching.release()
        if self._found is not None:  # it turns again, or nobody could stop it
            self._turn()

    @property
    def stalled(self) -> tuple[float, str] | None:
        """Seconds for which the loop has been held, and by what; None while it turns. Any thread may ask."""
        found = self._found
        if found is None or self._turned >= found.asked:
            return None
        return time.monotonic() - found.since, found.holder

    def _turn(self) -> None:
        """The loop turns: note it, and say what was found before."""
        before, self._turned = self._turned, time.monotonic()
        found, self._found = self._found, None
        if found is not None:
            ended = before if before >= found.asked else self._turned
            self._report(LoopStalled(ended - found.since, found.holder, found.stack))

    def _watch(self, loop: asyncio.AbstractEventLoop, thread: int, watching: threading.Lock) -> None:
        seen, asked, owing = time.monotonic(), 0.0, 0
        while not watching.acquire(timeout=self._after / LOOKS) and not loop.is_closed():
            looked = time.monotonic()
            if not loop.is_running():
                seen, owing = looked, 0
            elif owing and self._turned < asked:
                # Looks are counted, not seconds: where this thread stood still too, there was no look.
                owing += 1
                if owing > LOOKS and self._found is None:
                    self._look(loop, thread, seen, asked)
            elif self._found is None and _waits(sys._current_frames().get(thread)):
                seen, owing = looked, 0
            else:
                seen, asked, owing = max(seen, self._turned), looked, 1
                try:
                    loop.call_soon_threadsafe(self._turn, context=self._context.copy())
                except RuntimeError:  # closed meanwhile
                    return

    def _look(self, loop: asyncio.AbstractEventLoop, thread: int, seen: float, asked: float) -> None:
        frame = sys._current_frames().get(thread)
        holder, frames = _holder(loop, frame), _snapshot(frame)
        if self._turned < asked:  # else it turned while it was looked at
            # Source lines are read only now: for that the interpreter lock is let go many times, and what
            # holds the loop would go on.
            stack = "".join(frames.format()).rstrip()
            seconds = time.monotonic() - seen
            self._found = _Found(seen, asked, holder, stack)
            logging.getLogger("bgtasks").error(
                "the event loop has stood still for %.1f s, held by %s\n%s", seconds, holder or "?", stack
            )


def _snapshot(frame: FrameType | None) -> traceback.StackSummary:
    """The stack as it is at this moment, the innermost call last."""
    walk = (
        [
            traceback.FrameSummary(each.f_code.co_filename, line, each.f_code.co_name, lookup_line=False)
            for each, line in traceback.walk_stack(frame)
        ]
        if frame is not None
        else []
    )
    return traceback.StackSummary.from_list(walk[::-1])


def _waits(frame: FrameType | None) -> bool:
    """Whether an asyncio loop waits for something to do. Of other loops that cannot be seen."""
    caller = frame.f_back if frame is not None and frame.f_code is _SELECT else None
    return caller is not None and caller.f_code.co_name == "_run_once"


def _holder(loop: asyncio.AbstractEventLoop, frame: FrameType | None) -> str:
    """The asyncio task that is being run, or the function of a bare callback."""
    task = asyncio.current_task(loop)
    if task is not None:
        return task.get_name()
    return "" if frame is None else frame.f_code.co_qualname
