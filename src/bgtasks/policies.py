"""What happens when things do not go to plan: the policies of a task, as values that validate themselves.

| policy | decides |
|---|---|
| `overlap` | what a tick does that finds the previous run still going |
| `catch_up` | what becomes of ticks that nobody noticed in time: a stall, a suspend, a set wall clock |
| `timeout` | how long one attempt may take |
| `retry` | whether a failed run is tried again at once, and how often |
| `breaker` | when a task that keeps failing is paused for a while |
| `group` | which tasks share a limit on how many run at once |
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any

from bgtasks.errors import InvalidTask, InvalidTrigger
from bgtasks.triggers import Interval, parse, spoken

__all__ = ["LATE", "MISFIRE_GRACE", "POLICY", "Breaker", "CatchUp", "Overlap", "Policy", "Retry", "policy"]

MISFIRE_GRACE = 10.0
"""Seconds by which a tick may be late and still counts as on time for `catch_up="none"`. More than the five
seconds within which a set wall clock is noticed."""

LATE = 1.0
"""Seconds by which a tick is overdue rather than a little late; several such ticks are started spread out."""


class Overlap(StrEnum):
    """What a tick does that finds the previous run of its task still going."""

    SKIP = "skip"
    """Nothing: the tick is skipped, and that is said."""
    QUEUE = "queue"
    """It waits and runs right after; at most one waits, further ticks are skipped."""
    CANCEL = "cancel"
    """The previous run is cancelled, and the tick runs when that has ended."""
    ALLOW = "allow"
    """It runs beside the previous one."""


class CatchUp(StrEnum):
    """What becomes of ticks that were not noticed in time."""

    ONE = "one"
    """One run stands for all of them: the latest tick runs, the earlier ones are recorded as missed."""
    NONE = "none"
    """All are recorded as missed, but for one that is at most ten seconds late; the next tick runs."""
    ALL = "all"
    """Each gets its run, the oldest first, one after the other."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Try a failed or timed-out run again, inside the same run.

    Args:
        attempts: How often it is tried in all, the first time included; at least 2.
        backoff: Upper bound of the first delay, in seconds or as `"2s"`; it doubles from attempt to
            attempt. Each delay is drawn from the upper half, as `bgtasks.backoff` says.
        cap: Upper bound of every delay.

    Raises:
        InvalidTask: Fewer than two attempts, a delay that is no interval, or a cap below the backoff.

    What is never tried again: a run that was cancelled, one that returned `Skipped` or `Deferred`, and one
    whose server does not answer, which has a backoff of its own.
    """

    attempts: int = 3
    backoff: Interval = 1.0
    cap: Interval = 60.0

    def __post_init__(self) -> None:
        if type(self.attempts) is not int or self.attempts < 2:
            raise InvalidTask(
                f"Retry(attempts) counts the first attempt too: 2 or more, not {self.attempts!r}"
            )
        object.__setattr__(self, "backoff", _interval("Retry(backoff=…)", self.backoff))
        object.__setattr__(self, "cap", _interval("Retry(cap=…)", self.cap))
        if self.seconds[0] > self.seconds[1]:
            raise InvalidTask(
                f"Retry: cap ({spoken(self.seconds[1])}) lies below backoff ({spoken(self.seconds[0])}); "
                f"give a longer one: cap=…"
            )

    @property
    def seconds(self) -> tuple[float, float]:
        """Backoff and cap, in seconds."""
        return parse(self.backoff), parse(self.cap)


@dataclass(frozen=True, slots=True)
class Breaker:
    """Pause a task that keeps failing, and try it again after a while.

    After `after` failed runs in a row the task is paused for `cool_down`; its ticks meanwhile are skipped.
    The first run after that is the trial: if it fails, the task is paused again for as long; if it ends
    well, the breaker closes. A trial that was cancelled or deferred decides nothing; the next run is one too.

    Args:
        after: Failures in a row, at least 1. A run with retries counts once.
        cool_down: Seconds, or a string such as `"10m"`.

    Raises:
        InvalidTask: A count below 1, or a `cool_down` that is no interval.
    """

    after: int = 5
    cool_down: Interval = 300.0

    def __post_init__(self) -> None:
        if type(self.after) is not int or self.after < 1:
            raise InvalidTask(f"Breaker(after) is a number of failures, 1 or more, not {self.after!r}")
        object.__setattr__(self, "cool_down", _interval("Breaker(cool_down=…)", self.cool_down))

    @property
    def seconds(self) -> float:
        """The cool-down, in seconds."""
        return parse(self.cool_down)


@dataclass(frozen=True, slots=True)
class Policy:
    """The policies of one task; the defaults are those of a task that says nothing."""

    overlap: Overlap = Overlap.SKIP
    catch_up: CatchUp = CatchUp.ONE
    timeout: float | None = None
    retry: Retry | None = None
    breaker: Breaker | None = None
    group: str | None = None


POLICY = Policy()
"""That of a task that says nothing; a hundred thousand of them share it."""


def policy(
    task: str,
    overlap: str = "skip",
    catch_up: str = "one",
    timeout: Interval | None = None,
    retry: Retry | None = None,
    breaker: Breaker | None = None,
    group: str | None = None,
) -> Policy:
    """The policies as users write them, checked.

    Raises:
        InvalidTask: One that cannot be read.
    """
    asked = (overlap, catch_up, timeout, retry, breaker, group)
    try:
        made = _made(*asked)  # a hundred thousand tasks have a handful of policies
    except TypeError:  # something that has no hash; what it is wrong with is said below
        made = None
    return _make(task, *asked) if made is None else made


@lru_cache(maxsize=256, typed=True)
def _made(*asked: Any) -> Policy | None:
    """The policy, if these values make one; which of them does not is said with the name of the task."""
    try:
        return _make("", *asked)
    except InvalidTask:
        return None


def _make(
    task: str,
    overlap: str,
    catch_up: str,
    timeout: Interval | None,
    retry: Retry | None,
    breaker: Breaker | None,
    group: str | None,
) -> Policy:
    return Policy(
        overlap=_word(Overlap, task, "overlap", overlap),
        catch_up=_word(CatchUp, task, "catch_up", catch_up),
        timeout=None if timeout is None else _interval(f'"{task}": timeout', timeout),
        retry=_instance(Retry, task, "retry", retry),
        breaker=_instance(Breaker, task, "breaker", breaker),
        group=_group(task, group),
    )


def _word[E: StrEnum](kind: type[E], task: str, label: str, value: str) -> E:
    try:
        return kind(value)
    except ValueError:
        words = ", ".join(f'"{each}"' for each in kind)
        raise InvalidTask(f'"{task}": {label} is one of {words}, not {value!r}') from None


def _instance[T](kind: type[T], task: str, label: str, value: Any) -> T | None:
    if value is None or isinstance(value, kind):
        return value
    raise InvalidTask(f'"{task}": {label} is a {kind.__name__}(…) or None, not {value!r}')


def _group(task: str, value: Any) -> str | None:
    if value is None or (isinstance(value, str) and value):
        return value
    raise InvalidTask(f'"{task}": group is a name, such as group="llm", not {value!r}')


def _interval(label: str, value: Interval) -> float:
    try:
        return parse(value)
    except InvalidTrigger as error:
        raise InvalidTask(
            f'{label} is seconds above zero or a string such as "30s", not {value!r}'
        ) from error
