"""A simulated month across changes of daylight saving: every fire, at the instant that a calendar names.

The calendar knows nothing of `bgtasks.triggers`: it goes through the month minute by minute, asks zoneinfo
what the clocks on the wall say, and applies the rules of Debian cron.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from random import Random
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pytest
from benchmarks.scheduler import month

from bgtasks import BackgroundScheduler, Cron, Every, Trigger
from bgtasks.events import Event, RunFinished, RunMissed, RunSkipped, RunStarted
from bgtasks.outcomes import Done
from bgtasks.testing import VirtualClock, run_virtual

MINUTE = timedelta(minutes=1)
NAMES = {"MON": "1", "TUE": "2", "WED": "3", "THU": "4", "FRI": "5", "SAT": "6", "SUN": "0"}


# -- the calendar --------------------------------------------------------------------------------


class Wall(NamedTuple):
    """What a clock on a wall says."""

    minute: int
    hour: int
    day: int
    month: int
    weekday: int  # 0 is Sunday


def wall(when: datetime) -> Wall:
    return Wall(when.minute, when.hour, when.day, when.month, when.isoweekday() % 7)


def field(text: str, low: int, high: int) -> frozenset[int]:
    """The values of one field of a cron expression."""
    values: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        if span == "*":
            begin, end = low, high
        else:
            begin = int(NAMES.get(first, first))
            end = int(NAMES.get(last, last)) if last else (high if step else begin)
        values.update(range(begin, end + 1, int(step or 1)))
    return frozenset(values)


class Expression:
    """A cron expression, as Debian's manual page reads it."""

    def __init__(self, text: str) -> None:
        fields = text.split()
        limits = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
        self.minutes, self.hours, self.days, self.months, self.weekdays = (
            field(each, *limit) for each, limit in zip(fields, limits, strict=True)
        )
        self.either_day = not fields[2].startswith("*") and not fields[4].startswith("*")
        self.is_wild = fields[0].startswith("*") or fields[1].startswith("*")

    def matches(self, at: Wall) -> bool:
        if at.minute not in self.minutes or at.hour not in self.hours or at.month not in self.months:
            return False
        day, weekday = at.day in self.days, at.weekday in self.weekdays
        return day or weekday if self.either_day else day and weekday


class Tick(NamedTuple):
    """A minute of real time in a zone.

    Attributes:
        says: What the clock on the wall says.
        passed_over: What it would have said in the gap that ends with this minute.
        again: It has said so before, in the hours that come twice.
    """

    at: datetime
    says: Wall
    passed_over: tuple[Wall, ...]
    again: bool


@cache
def ticks(zone: str, begin: datetime, end: datetime) -> tuple[Tick, ...]:
    """Every minute after `begin`, up to `end`."""

    def listed() -> Iterator[Tick]:
        info = ZoneInfo(zone)
        newest = before = begin.astimezone(info).replace(tzinfo=None)
        at = begin
        while at < end:
            at += MINUTE
            local = at.astimezone(info).replace(tzinfo=None)
            gap = (local - before) // MINUTE
            over = tuple(wall(before + number * MINUTE) for number in range(1, gap))
            yield Tick(at, wall(local), over, local <= newest)
            newest, before = max(newest, local), local

    return tuple(listed())


@pytest.fixture(scope="module", autouse=True)
def no_ticks_outlive_these_tests() -> Iterator[None]:
    """There are hundreds of thousands, and each would slow down the collections of all later tests."""
    yield
    ticks.cache_clear()


def by_calendar(text: str, zone: str, begin: datetime, end: datetime) -> list[datetime]:
    """When an expression is due.

    A job at a fixed time runs once right after a gap that held its time, and not again in hours that come
    twice; one whose minute or hour is a wildcard follows real time.
    """
    expression = Expression(text)
    if expression.is_wild:
        return [tick.at for tick in ticks(zone, begin, end) if expression.matches(tick.says)]
    return [
        tick.at
        for tick in ticks(zone, begin, end)
        if not tick.again and any(map(expression.matches, (*tick.passed_over, tick.says)))
    ]


def by_interval(seconds: float, begin: datetime, end: datetime) -> list[datetime]:
    """When an interval is due whose runs take no time: at once, and then every so often."""
    count = int((end - begin).total_seconds() // seconds)
    return [begin + timedelta(seconds=number * seconds) for number in range(count + 1)]


def expected(trigger: Trigger, begin: datetime, end: datetime) -> list[datetime]:
    if isinstance(trigger, Every):
        return by_interval(trigger.seconds, begin, end)
    assert isinstance(trigger, Cron)
    return by_calendar(trigger.expression, trigger.zone.key, begin, end)


# -- the month -----------------------------------------------------------------------------------

MORE = (
    ("0,30 2,3 * * *", "Europe/Helsinki"),
    ("45 1 * * SUN", "Australia/Lord_Howe"),
    ("*/7 3 * * *", "UTC"),
)
"""Expressions that the month of the benchmark has not."""


def jobs() -> list[tuple[str, Trigger]]:
    return month.jobs()


class Played(NamedTuple):
    """Who ran when, by the clock and by what the run was due for; and whatever else was said."""

    times: dict[str, list[datetime]]
    dues: dict[str, list[datetime]]
    rest: list[Event]


def play(listed: list[tuple[str, Trigger]], begin: datetime, length: timedelta) -> Played:
    """Let time pass, from `begin` until just before the minute after `begin + length`."""
    played = Played({name: [] for name, _ in listed}, {name: [] for name, _ in listed}, [])

    def hear(event: Event) -> None:
        if isinstance(event, RunStarted):
            played.times[event.task].append(clock.now())
            played.dues[event.task].append(event.due)
        elif isinstance(event, RunMissed | RunSkipped) or (
            isinstance(event, RunFinished) and not isinstance(event.outcome, Done)
        ):
            played.rest.append(event)

    async def nothing() -> None: ...

    async def main(clock: VirtualClock) -> None:
        scheduler = BackgroundScheduler(clock=clock, random=Random(1))
        scheduler.bus.subscribe(hear)
        for name, trigger in listed:
            scheduler.register(name, nothing, trigger)
        async with scheduler:
            await clock.advance(length + timedelta(seconds=30))

    clock = VirtualClock(begin)
    run_virtual(main, clock)
    return played


def check(listed: list[tuple[str, Trigger]], begin: datetime, length: timedelta) -> int:
    """Play it and compare each instant with the calendar's; how many fires there were."""
    played = play(listed, begin, length)
    fires = 0
    assert played.rest == []
    for name, trigger in listed:
        instants = expected(trigger, begin, begin + length)
        assert rounded(played.dues[name]) == instants, name
        assert rounded(played.times[name]) == instants, name
        fires += len(instants)
    return fires


def rounded(times: list[datetime]) -> list[datetime]:
    """To the millisecond: half a month in seconds is a float that is not exact to the microsecond."""
    return [at.replace(microsecond=0) + timedelta(milliseconds=round(at.microsecond / 1000)) for at in times]


CHANGES = {
    "Helsinki, an hour that comes twice": datetime(2026, 10, 24, tzinfo=UTC),
    "Helsinki, an hour that does not come": datetime(2026, 3, 28, tzinfo=UTC),
    "Lord Howe, half an hour that comes twice": datetime(2026, 4, 3, 12, tzinfo=UTC),
    "Lord Howe, half an hour that does not come": datetime(2026, 10, 2, 12, tzinfo=UTC),
}
SUCH_CHANGES = {
    "New York, an hour that comes twice": datetime(2026, 10, 31, tzinfo=UTC),
    "New York, an hour that does not come": datetime(2026, 3, 7, tzinfo=UTC),
}


@pytest.mark.parametrize(
    "begin",
    [
        *(pytest.param(begin, id=what) for what, begin in CHANGES.items()),
        *(pytest.param(begin, id=what, marks=pytest.mark.full) for what, begin in SUCH_CHANGES.items()),
    ],
)
def test_three_days_across_a_change_run_as_the_calendar_says(begin: datetime) -> None:
    more: list[tuple[str, Trigger]] = [(text, Cron(text, zone)) for text, zone in MORE]

    fires = check(jobs() + more, begin, timedelta(days=3))

    assert fires >= 13_000


def test_the_month_is_what_it_is_said_to_be() -> None:
    seconds = [trigger.seconds for _, trigger in jobs() if isinstance(trigger, Every)]
    zones = [trigger.zone.key for _, trigger in jobs() if isinstance(trigger, Cron)]

    assert (len(seconds), min(seconds), max(seconds)) == (39, 60, 6 * 3600)
    assert (len(zones), len(set(zones))) == (20, 4)


@pytest.mark.parametrize(
    "begin", [month.START, datetime(2026, 3, 7, tzinfo=UTC)], ids=["in autumn", "in spring"]
)
@pytest.mark.full
def test_a_month_runs_as_the_calendar_says(begin: datetime) -> None:
    assert check(jobs(), begin, timedelta(days=31)) >= 130_000
