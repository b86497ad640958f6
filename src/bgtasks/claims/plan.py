"""What a job that is due in the store is to do: which tick gets a run, which are missed, what comes next.

The same judgement as an agenda's, but from instants that are kept rather than from this process's start: a
night without any node is late by the store's clock, and `catch_up` decides what becomes of it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from bgtasks.errors import InvalidTrigger
from bgtasks.policies import MISFIRE_GRACE, CatchUp
from bgtasks.triggers import Every, Trigger

__all__ = ["Plan", "first_due", "plan"]

COUNTED = 100
"""How many missed instants of a calendar are counted one by one; beyond it the count is a lower bound."""


class Plan(NamedTuple):
    """What is to become of what a job is due for.

    Attributes:
        runs_for: The instant that a run is for; None for no run.
        following: When the job is due next; None for a plain interval, and when a trigger is over.
        ticks: How many ticks get no run.
        missed: Why; empty if there are none.
    """

    runs_for: datetime | None
    following: datetime | None
    ticks: int = 0
    missed: str = ""


def first_due(trigger: Trigger, now: datetime, delay: float) -> datetime | None:
    """When a job is due that was never kept before.

    Raises:
        Exception: Whatever the trigger raises, if it is a user's own.
    """
    earliest = now + timedelta(seconds=delay)
    return earliest if isinstance(trigger, Every) else _asking(trigger)(earliest)


def plan(
    trigger: Trigger, catch_up: CatchUp, due: datetime, now: datetime, anchor: datetime | None = None
) -> Plan:
    """Judge a job that is due.

    Args:
        due: The instant at which it is due, by the store.
        now: The store's time.
        anchor: The first instant of a fixed rate: its grid stays where it is when `due` was moved by hand.

    Raises:
        Exception: Whatever the trigger raises, if it is a user's own.
    """
    if isinstance(trigger, Every):
        if not trigger.fixed_rate:
            return Plan(due, None)
        step = timedelta(seconds=trigger.seconds)
        ask: Callable[[datetime], datetime | None] = lambda when: _on_grid(anchor or due, step, when)  # noqa: E731
    else:
        ask = _asking(trigger)
    if catch_up is CatchUp.ALL:
        return Plan(due, ask(due))
    latest, passed, following = _latest(ask, due, now)
    late = (now - latest).total_seconds()
    runs = catch_up is CatchUp.ONE or late <= MISFIRE_GRACE
    ticks = passed if runs else passed + 1
    if not ticks:
        return Plan(latest, following)
    since = (now - due).total_seconds()
    count = f"{ticks} ticks" if ticks > 1 else "a tick"
    why = f'{count} missed: noticed {round(since, 1):g} s late; catch_up="{catch_up}"'
    return Plan(latest if runs else None, following, ticks, why)


def _asking(trigger: Trigger) -> Callable[[datetime], datetime | None]:
    """What a trigger answers, if that is an answer: by one that does not go on, time would never come up."""

    def ask(when: datetime) -> datetime | None:
        at: object = trigger.next_after(when)
        if at is None or (isinstance(at, datetime) and at.utcoffset() is not None and at > when):
            return None if at is None else at.astimezone(UTC)
        raise InvalidTrigger(f"it answered {at!r}, which is not an aware instant after {when!r}")

    return ask


def _on_grid(anchor: datetime, step: timedelta, when: datetime) -> datetime:
    """The first instant of the grid after `when`: whole steps from the anchor gather no rounding errors."""
    return anchor + ((when - anchor) // step + 1) * step


def _latest(
    ask: Callable[[datetime], datetime | None], due: datetime, now: datetime
) -> tuple[datetime, int, datetime | None]:
    """The last instant up to `now`, how many lie before it, and the one after.

    A trigger answers forwards only. Beyond `COUNTED` instants the last one is sought from `now` backwards, by
    steps that double until one finds it, and the count stays where it is.
    """
    latest, passed, following = due, 0, ask(due)
    while following is not None and following <= now and passed < COUNTED:
        latest, passed, following = following, passed + 1, ask(following)
    step = timedelta(seconds=1)
    while following is not None and following <= now:
        found = ask(max(latest, now - step))
        step *= 2
        while found is not None and found <= now:
            latest = found
            found = following = ask(found)
    return latest, passed, following
