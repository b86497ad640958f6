"""Waiting for a named condition until a deadline: how tests of real processes wait."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Awaitable, Callable

__all__ = ["PATIENCE_S", "until", "wait_until"]

PATIENCE_S = 40.0
"""Seconds until a condition counts as never coming: the machine may be slow and busy."""

_LOOK_S = 0.01


def wait_until(what: str, holds: Callable[[], object], timeout_s: float = PATIENCE_S) -> None:
    """Return once `holds()` is true; fail, naming `what`, when the deadline passes."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not holds():
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        pause.wait(_LOOK_S)


async def until(
    what: str, holds: Callable[[], object | Awaitable[object]], timeout_s: float = PATIENCE_S
) -> None:
    """As `wait_until`, while the event loop goes on; `holds` may be a coroutine function."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = holds()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        await asyncio.sleep(_LOOK_S)
