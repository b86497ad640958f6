"""Where a suspended asyncio task waits: all its frames, not only the outermost one that asyncio shows."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Iterator
from types import FrameType
from typing import Any

__all__ = ["frames", "stack_of"]


def frames(awaited: Any) -> Iterator[FrameType]:
    """The frames of what awaits what, the outermost first, down to something that is not a coroutine."""
    while awaited is not None:
        for kind, inner in (("cr", "await"), ("gi", "yieldfrom"), ("ag", "await")):
            if (frame := getattr(awaited, f"{kind}_frame", None)) is not None:
                yield frame
                awaited = getattr(awaited, f"{kind}_{inner}")
                break
        else:
            return


def stack_of(task: asyncio.Task[Any]) -> str:
    """Where a task waits, as a traceback reads; empty if it has ended or not begun."""
    found = ((frame, frame.f_lineno) for frame in frames(task.get_coro()))
    return "".join(traceback.StackSummary.extract(found).format()).rstrip()
