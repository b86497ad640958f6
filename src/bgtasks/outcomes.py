"""How a run ended, as a value.

"Nothing to do" and "not now" are answers, not exceptions: a task may return `Skipped` or `Deferred`
itself. Whatever else it returns becomes the result of `Done`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["FAILURES", "Cancelled", "Deferred", "Done", "Failed", "Missed", "Outcome", "Skipped", "TimedOut"]


@dataclass(frozen=True, slots=True)
class Done:
    """The run ended by itself; `result` is what it returned, usually counts."""

    result: Any = None


@dataclass(frozen=True, slots=True)
class Skipped:
    """Nothing was run, and why. The same value says why a task was not wired."""

    reason: str


@dataclass(frozen=True, slots=True)
class Deferred:
    """Not now, and why.

    With `resource` set, a server did not answer: the scheduler tries again after a short, growing
    delay. Without it the task waits for its next tick.
    """

    reason: str
    resource: str | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The run raised `error`; a `CancelledError` that nobody but the task asked for counts too."""

    error: BaseException

    @property
    def reason(self) -> str:
        """The error in one line: its type and its message."""
        try:
            text = str(self.error)
        except Exception as error:  # noqa: BLE001 - the message of someone else's error
            text = f"(its message cannot be shown: {type(error).__name__})"
        return f"{type(self.error).__name__}: {text}" if text else type(self.error).__name__


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The run was ended from outside, and why."""

    reason: str = "the scheduler was stopped"


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The run took longer than its timeout of so many seconds and was cancelled. Counts as a failure."""

    seconds: float

    @property
    def reason(self) -> str:
        """The timeout in words."""
        return f"timed out after {self.seconds:g} s"


@dataclass(frozen=True, slots=True)
class Missed:
    """Ticks that nobody noticed in time and that get no run: how many, and why."""

    reason: str
    ticks: int = 1


FAILURES = (Failed, TimedOut)
"""The outcomes that count as failures."""

type Outcome = Done | Skipped | Deferred | Failed | Cancelled | TimedOut | Missed
