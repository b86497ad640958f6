"""When a task is due: `Every`, `Cron` and `Once`.

A trigger is a value. It answers one question, `next_after(when)`, with an aware UTC instant strictly
after `when`, or None when it will never be due again. Any object with that method serves as a trigger.

Daylight saving follows Debian cron, as implemented by cronsim: a job at a fixed time that falls into
the gap runs once, right after it; in the fold it runs once, at the first of the two instants; a job
whose minute or hour starts with `*` follows real time. Time zones are IANA names, read by zoneinfo.

cronsim and zoneinfo are imported when the first `Cron` is made: most programs start without one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable

from bgtasks.errors import InvalidTrigger, nearest

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

__all__ = ["Cron", "Every", "Interval", "Once", "Trigger", "as_trigger", "parse", "parse_delay", "spoken"]

type Interval = float | int | str | timedelta
"""A duration as users write it: seconds, a timedelta, or a string such as `"90s"` or `"1d12h"`."""

_UNITS = {"w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}  # in ms
_PART = r"(\d+(?:\.\d+)?)\s*(ms|[wdhms])\s*"
_SHORTEST_SEASON = timedelta(days=7)
"""No zone keeps a UTC offset for less: Morocco's, around Ramadan, are of some weeks."""
_LONGEST = 100 * 365 * 86_400.0
_ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


@runtime_checkable
class Trigger(Protocol):
    """What decides when a task is due."""

    def next_after(self, when: datetime) -> datetime | None:
        """The first instant strictly after the aware instant `when`, or None if there is none."""


class Every:
    """Due again and again, `interval` apart.

    Args:
        interval: Seconds, a timedelta, or a string of numbers with the units `w d h m s ms`
            (`"90s"`, `"4h"`, `"1d12h"`).
        fixed_rate: False measures from the *end* of the previous run, so runs never meet. True keeps
            a grid of equal steps from the first due instant, without drift; a step that finds the
            previous run still going is skipped and recorded.

    Raises:
        InvalidTrigger: The interval is not a duration, not above zero, not finite, or above a century.

    Not promised: exactness below the resolution of the event loop's timer, about a millisecond.
    """

    __slots__ = ("fixed_rate", "seconds")

    def __init__(self, interval: Interval, *, fixed_rate: bool = False) -> None:
        self.seconds = parse(interval)
        self.fixed_rate = fixed_rate

    def next_after(self, when: datetime) -> datetime:
        """`when` plus the interval, in UTC; `when` is the end of a run or the previous due instant."""
        return _aware(when) + timedelta(seconds=self.seconds)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Every) and (self.seconds, self.fixed_rate) == (
            other.seconds,
            other.fixed_rate,
        )

    def __hash__(self) -> int:
        return hash((self.seconds, self.fixed_rate))

    def __str__(self) -> str:
        return f"every {spoken(self.seconds)}" + (" at a fixed rate" if self.fixed_rate else "")

    def __repr__(self) -> str:
        return f"Every({spoken(self.seconds)!r}{', fixed_rate=True' if self.fixed_rate else ''})"


class Cron:
    """Due at the instants of a cron expression, in a time zone.

    Args:
        expression: Five fields (minute, hour, day of month, month, day of week) with `*`, lists,
            ranges, steps, names, `L`, `LW` and `#`, or an alias: `@yearly` `@annually` `@monthly`
            `@weekly` `@daily` `@midnight` `@hourly`.
        zone: An IANA zone name such as `"Europe/Helsinki"`, or a ZoneInfo.

    Raises:
        InvalidTrigger: The expression cannot be read, has a seconds field (a sixth field switches
            off the daylight-saving rules of cronsim), can never be due, or the zone is unknown.
    """

    __slots__ = ("_fields", "_follows_real_time", "expression", "zone")

    def __init__(self, expression: str, zone: str | ZoneInfo = "UTC") -> None:
        self.expression = " ".join(expression.split())
        self.zone = _zone(zone)
        fields = _ALIASES.get(self.expression.lower(), self.expression).split()
        if self.expression.startswith("@") and self.expression.lower() not in _ALIASES:
            raise InvalidTrigger(
                f"{self.expression!r} is not a cron alias; use one of {' '.join(_ALIASES)} or five fields"
            )
        if len(fields) == 6:
            raise InvalidTrigger(
                f"{self.expression!r} has six fields: seconds are not supported in cron expressions, "
                f'since daylight-saving rules would be lost; use five fields, or Every("10s")'
            )
        if len(fields) != 5:
            raise InvalidTrigger(
                f"{self.expression!r} has {len(fields)} fields; a cron expression has five: "
                f"minute hour day-of-month month day-of-week"
            )
        from cronsim import CronSimError

        self._fields = " ".join(fields)
        # As in Debian cron, a job whose minute or hour is a wildcard follows real time.
        self._follows_real_time = fields[0].startswith("*") or fields[1].startswith("*")
        try:
            first = self.next_after(datetime.now(UTC))
        except CronSimError as error:
            raise InvalidTrigger(f"{self.expression!r} is not a cron expression: {error}") from error
        if first is None:
            raise InvalidTrigger(f"{self.expression!r} is never due: no such day within 50 years")

    def next_after(self, when: datetime) -> datetime | None:
        """The first due instant strictly after `when`, in UTC; None if there is none within 50 years."""
        when = _aware(when)
        if self._follows_real_time:
            return self._next_in_real_time(when)
        # Inside the second pass of a fold cronsim begins again with the first pass, which is over.
        dues = (due.astimezone(UTC) for due in self._dues(when, self.zone))
        return next((due for due in dues if due > when), None)

    def _dues(self, when: datetime, zone: tzinfo) -> Iterator[datetime]:
        from cronsim import CronSim

        return CronSim(self._fields, when.astimezone(zone))

    def _next_in_real_time(self, when: datetime) -> datetime | None:
        """The first match after `when`, one span of constant UTC offset after the other.

        cronsim steps through real time by whole hours, which after a shift by half an hour (Lord Howe)
        passes over matches. Within a span of one offset no step can.
        """
        span, after = when, when
        while True:
            due = next(self._dues(after, timezone(self._offset(span))), None)
            if due is None:
                return None
            change = self._change(span, due)
            if change is None:
                return due.astimezone(UTC)
            span, after = change, change - timedelta(seconds=1)

    def _change(self, begin: datetime, end: datetime) -> datetime | None:
        """The first second after `begin` with another UTC offset; None if there is none by `end`."""
        offset = self._offset(begin)
        before = begin
        while before < end:
            after = min(before + _SHORTEST_SEASON, end)
            if self._offset(after) == offset:
                before = after
                continue
            while after - before > timedelta(seconds=1):
                middle = before + (after - before) / 2
                if self._offset(middle) == offset:
                    before = middle
                else:
                    after = middle
            return after.replace(microsecond=0)
        return None

    def _offset(self, when: datetime) -> timedelta:
        return when.astimezone(self.zone).utcoffset() or timedelta(0)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cron) and (self.expression, self.zone.key) == (
            other.expression,
            other.zone.key,
        )

    def __hash__(self) -> int:
        return hash((self.expression, self.zone.key))

    def __str__(self) -> str:
        return f"cron {self.expression} ({self.zone.key})"

    def __repr__(self) -> str:
        return f"Cron({self.expression!r}, {self.zone.key!r})"


class Once:
    """Due a single time.

    Args:
        when: An aware datetime. An instant that is past when the task is registered is never due.

    Raises:
        InvalidTrigger: `when` has no time zone, or is not a datetime.
    """

    __slots__ = ("when",)

    def __init__(self, when: datetime) -> None:
        self.when = _aware(when)

    def next_after(self, when: datetime) -> datetime | None:
        """The instant, if it lies strictly after `when`; None once it is past."""
        return self.when if self.when > _aware(when) else None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Once) and self.when == other.when

    def __hash__(self) -> int:
        return hash(self.when)

    def __str__(self) -> str:
        return f"once at {self.when:%Y-%m-%d %H:%M:%S} UTC"

    def __repr__(self) -> str:
        return f"Once({self.when!r})"


def as_trigger(interval: Interval | Trigger) -> Trigger:
    """The trigger that a task's `interval` argument stands for; a plain interval is from end to start.

    Raises:
        InvalidTrigger: It is neither an interval above zero nor a trigger.
    """
    kind = type(interval)
    if kind is Every or kind is Cron or kind is Once:  # as nearly always; the question below is a slow one
        return cast(Trigger, interval)
    if isinstance(interval, (float, int, str, timedelta)):
        return _plain(interval)
    if isinstance(interval, type) or not isinstance(interval, Trigger):
        raise InvalidTrigger(_no_interval(interval))
    return interval


@lru_cache(maxsize=256, typed=True)
def _plain(interval: Interval) -> Every:
    """The trigger of a plain interval; many tasks have the same, and it is a value."""
    return Every(interval)


def parse(interval: Interval, label: str = "") -> float:
    """The seconds of a duration as users write it; `label` says in an error what it is the duration of.

    Raises:
        InvalidTrigger: Not a duration, not above zero, not finite, or above a century.
    """
    seconds = _seconds(interval, label)
    if not 0 < seconds <= _LONGEST:
        raise InvalidTrigger(
            f"{_said(label)}an interval must be above zero and at most a century, not {interval!r}"
        )
    return seconds


def parse_delay(delay: Interval, label: str = "") -> float:
    """The seconds of a duration that may be zero, such as an initial delay.

    Raises:
        InvalidTrigger: As for `parse`, but for zero.
    """
    if type(delay) is float and 0 <= delay <= _LONGEST:
        return delay
    seconds = _seconds(delay, label)
    if not 0 <= seconds <= _LONGEST:
        raise InvalidTrigger(
            f"{_said(label)}a delay must be zero or more and at most a century, not {delay!r}"
        )
    return seconds


def _seconds(interval: Interval, label: str) -> float:
    if isinstance(interval, timedelta):
        return interval.total_seconds()
    if isinstance(interval, str):
        return _parse_text(interval, label)
    if isinstance(interval, bool) or not isinstance(interval, int | float):
        raise InvalidTrigger(_said(label) + _no_interval(interval))
    return float(interval) if abs(interval) <= _LONGEST else math.inf  # what is too much for a float, too


def _said(label: str) -> str:
    return f"{label}: " if label else ""


def _no_interval(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value!r} is an instant, not an interval: say Once(…), or Every(…) for one after the other"
    return (
        f"{value!r} is not an interval: give seconds, a timedelta, a string such as "
        f'"90s", "4h" or "1d12h", or a trigger (Every, Cron, Once)'
    )


def _parse_text(text: str, label: str) -> float:
    parts = re.findall(_PART, text, re.IGNORECASE)
    if not parts or re.sub(_PART, "", text, flags=re.IGNORECASE).strip():
        if text.startswith("@") or len(text.split()) == 5:
            raise InvalidTrigger(f"{_said(label)}{text!r} is not an interval: say Cron({text!r})")
        raise InvalidTrigger(
            f"{_said(label)}{text!r} is not an interval: write a number and a unit (w d h m s ms), "
            f'such as "90s", "4h" or "1d12h"'
        )
    return math.fsum(float(number) * _UNITS[unit.lower()] for number, unit in parts) / 1000


def spoken(seconds: float) -> str:
    """The seconds in the notation that `parse` reads, largest units first."""
    left = round(seconds * 1000)
    if left / 1000 != seconds:
        return f"{Decimal(seconds):f}s"  # finer than milliseconds: in full, so that it reads back the same
    words = []
    for unit in ("d", "h", "m", "s", "ms"):
        count, left = divmod(left, _UNITS[unit])
        if count:
            words.append(f"{count}{unit}")
    return "".join(words)


def _aware(when: datetime) -> datetime:
    if not isinstance(when, datetime):
        raise InvalidTrigger(f"{when!r} is not a datetime: give an aware one, such as datetime.now(UTC)")
    if when.utcoffset() is None:
        raise InvalidTrigger(
            f"{when!r} is naive: say which zone it means, such as "
            f'datetime(…, tzinfo=ZoneInfo("Europe/Helsinki")) or datetime.now(UTC)'
        )
    try:
        return when.astimezone(UTC)
    except OverflowError as error:
        raise InvalidTrigger(f"{when} lies outside the years 1 to 9999 in UTC") from error


def _zone(zone: str | ZoneInfo) -> ZoneInfo:
    from zoneinfo import ZoneInfo

    if isinstance(zone, ZoneInfo):
        return zone
    try:
        return ZoneInfo(zone)
    except (LookupError, ValueError, OSError) as error:
        raise InvalidTrigger(_unknown_zone(zone)) from error


def _unknown_zone(zone: str) -> str:
    from importlib.resources import files  # one small file, where zoneinfo would walk a whole tree

    names = files("tzdata").joinpath("zones").read_text("utf-8").split()
    by_city = {name.rsplit("/", 1)[-1].lower(): name for name in names}
    near = nearest(zone, names) or by_city.get(str(zone).lower())
    hint = f"did you mean {near!r}?" if near else 'use an IANA name such as "Europe/Helsinki"'
    return f"{zone!r} is not a known time zone: {hint}"
