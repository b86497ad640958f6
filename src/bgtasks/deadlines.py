"""Timeouts of many runs with few timers: runs of one timeout end in the order in which they began.

A timer per run would cost more than most runs do. Here each length of timeout has one line and one timer, for
the earliest run in it; a run that ends in time leaves its line without touching the timer.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Hashable

__all__ = ["Deadlines"]


class Deadlines[K: Hashable]:
    """Calls `expired(key)` for each key that stays longer than its timeout.

    Not promised: anything before `open()`; a key is watched once, for one timeout.
    """

    def __init__(self, expired: Callable[[K], None]) -> None:
        self._expired = expired
        self._lines: dict[float, _Line[K]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._context = contextvars.Context()

    def open(self, loop: asyncio.AbstractEventLoop, context: contextvars.Context) -> None:
        """Watch in this event loop from now on; what was watched in another is forgotten."""
        if loop is not self._loop:
            self._lines = {}
        self._loop, self._context = loop, context

    def close(self) -> None:
        """Let go of the timers that nobody needs; whoever is watched still is."""
        for line in self._lines.values():
            if not line.due and line.timer is not None:
                line.timer.cancel()
                line.timer = None

    def watch(self, key: K, timeout: float) -> None:
        """Call `expired(key)` after `timeout` seconds of the event loop's time, unless it is released."""
        assert self._loop is not None
        line = self._lines.get(timeout)
        if line is None:
            line = self._lines[timeout] = _Line()
        due = self._loop.time() + timeout
        line.due.pop(key, None)  # watched anew, it goes to the end of the line
        line.due[key] = due
        if line.timer is None:
            self._arm(line, due)

    def release(self, key: K, timeout: float) -> None:
        """It ended in time."""
        line = self._lines.get(timeout)
        if line is not None:
            line.due.pop(key, None)

    def _arm(self, line: _Line[K], due: float) -> None:
        assert self._loop is not None
        line.timer = self._loop.call_at(due, self._look, line, context=self._context.copy())

    def _look(self, line: _Line[K]) -> None:
        assert self._loop is not None
        now = self._loop.time()
        try:
            while line.due and line.earliest <= now:
                key = next(iter(line.due))
                del line.due[key]
                self._expired(key)  # it may watch anew: the timer counts as set until all were seen
        finally:
            line.timer = None
            if line.due:
                self._arm(line, line.earliest)


class _Line[K]:
    """Keys of one timeout, the earliest first, each with the instant at which it is over."""

    __slots__ = ("due", "timer")

    def __init__(self) -> None:
        self.due: dict[K, float] = {}
        self.timer: asyncio.TimerHandle | None = None

    @property
    def earliest(self) -> float:
        """The instant at which the first key's time is over."""
        return next(iter(self.due.values()))
