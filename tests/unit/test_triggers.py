"""When a task is due: intervals, calendars, single instants, and what each refuses."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bgtasks import Cron, Every, Once, Trigger
from bgtasks.errors import BgTasksError, ConfigurationError, InvalidTrigger
from bgtasks.triggers import as_trigger, parse, spoken

HELSINKI = ZoneInfo("Europe/Helsinki")
NEW_YORK = ZoneInfo("America/New_York")


def utc(text: str) -> datetime:
    """An instant written as in `2026-03-29 01:00`."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def dues(trigger: Trigger, after: str, count: int) -> list[str]:
    """The next `count` instants of `trigger` after a UTC instant, as text in UTC."""
    when, found = utc(after), []
    for _ in range(count):
        due = trigger.next_after(when)
        assert due is not None
        assert due > when
        assert due.tzinfo is UTC
        found.append(f"{due:%Y-%m-%d %H:%M}")
        when = due
    return found


# -- intervals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (90, 90.0),
        (0.25, 0.25),
        (timedelta(hours=4), 14_400.0),
        (timedelta(milliseconds=1), 0.001),
        ("90s", 90.0),
        ("4h", 14_400.0),
        ("1d12h", 129_600.0),
        ("1d 12h", 129_600.0),
        ("1.5h", 5_400.0),
        ("50ms", 0.05),
        ("2W", 1_209_600.0),
        (" 5 m ", 300.0),
        ("1m30s", 90.0),
        ("36500d", 3_153_600_000.0),
    ],
)
def test_an_interval_is_read_as_users_write_it(written: float | str | timedelta, expected: float) -> None:
    assert parse(written) == expected
    assert Every(written).seconds == expected


@pytest.mark.parametrize(
    "interval",
    [
        *(0, -1, 0.0, float("nan"), float("inf"), float("-inf"), timedelta(0), timedelta(seconds=-1)),
        *("0s", "36501d", 1e12, "9" * 400 + "s"),
    ],
    ids=str,
)
def test_an_interval_not_above_zero_or_beyond_a_century_is_refused(interval: Any) -> None:
    with pytest.raises(InvalidTrigger, match="must be above zero and at most a century") as refused:
        Every(interval)

    assert repr(interval) in str(refused.value)


def test_an_integer_too_large_for_a_float_is_refused_like_any_other_interval() -> None:
    with pytest.raises(InvalidTrigger):
        Every(10**400)


@pytest.mark.parametrize(
    "interval",
    ["4 parsecs", "", " ", "h", "90", "-5s", "4h and a bit", "4hours", "1,5h", "1h-2m", "1es", "½h"],
)
def test_a_text_that_is_no_interval_is_refused_with_the_notation(interval: str) -> None:
    with pytest.raises(InvalidTrigger) as refused:
        Every(interval)

    assert str(refused.value) == (
        f"{interval!r} is not an interval: write a number and a unit (w d h m s ms), "
        f'such as "90s", "4h" or "1d12h"'
    )


@pytest.mark.parametrize("interval", [True, False, None, b"4h", [60], 3j, object, Every, Cron], ids=repr)
def test_a_thing_that_is_no_interval_is_refused_with_what_is_one(interval: Any) -> None:
    with pytest.raises(InvalidTrigger) as refused:
        as_trigger(interval)

    assert str(refused.value) == (
        f"{interval!r} is not an interval: give seconds, a timedelta, a string such as "
        f'"90s", "4h" or "1d12h", or a trigger (Every, Cron, Once)'
    )


def test_a_plain_interval_stands_for_every_measured_from_the_end() -> None:
    assert as_trigger("4h") == Every(14_400)
    assert not Every("4h").fixed_rate


@pytest.mark.parametrize("trigger", [Every("1h"), Cron("@daily"), Once(utc("2030-01-01 00:00"))], ids=str)
def test_a_trigger_stands_for_itself(trigger: Trigger) -> None:
    assert as_trigger(trigger) is trigger


def test_any_object_with_next_after_is_a_trigger() -> None:
    class Never:
        def next_after(self, when: datetime) -> datetime | None:
            return None

    never = Never()

    assert as_trigger(never) is never


def test_an_interval_adds_to_the_instant_it_is_asked_about_across_daylight_saving() -> None:
    before_the_gap = datetime(2026, 3, 29, 2, 30, tzinfo=HELSINKI)

    due = Every("1h").next_after(before_the_gap)

    assert due == datetime(2026, 3, 29, 4, 30, tzinfo=HELSINKI)
    assert due.tzinfo is UTC


@example(59)
@given(st.integers(min_value=1, max_value=36_500 * 86_400_000))
def test_the_words_of_every_read_back_as_the_same_interval(milliseconds: int) -> None:
    every = Every(timedelta(milliseconds=milliseconds))

    words = str(every).removeprefix("every ")

    assert Every(words) == every
    assert spoken(parse(words)) == words
    assert eval(repr(every)) == every


@example(1e-5)
@given(st.floats(min_value=1e-9, max_value=1e9, exclude_min=True))
def test_whatever_spoken_says_parse_can_read(seconds: float) -> None:
    read = parse(spoken(seconds))

    assert abs(read - seconds) <= max(0.000_5, seconds * 1e-5) + 1e-12


@given(
    st.lists(
        st.tuples(st.integers(1, 999), st.sampled_from(["w", "d", "h", "m", "s", "ms"])),
        min_size=1,
        max_size=6,
    )
)
def test_an_interval_of_many_parts_is_their_sum(parts: list[tuple[int, str]]) -> None:
    unit = {"w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
    expected = sum(count * unit[name] for count, name in parts)

    assert round(parse("".join(f"{count}{name}" for count, name in parts)) * 1000) == expected


def test_triggers_are_values() -> None:
    assert Every("60s") == Every(60) != Every(60, fixed_rate=True)
    assert hash(Every("60s")) == hash(Every(60))
    assert Cron("0  3 * * *", "Europe/Helsinki") == Cron("0 3 * * *", HELSINKI) != Cron("0 3 * * *")
    assert hash(Cron("0 3 * * *", HELSINKI)) == hash(Cron("0 3 * * *", "Europe/Helsinki"))
    assert Once(datetime(2026, 6, 1, 3, tzinfo=HELSINKI)) == Once(utc("2026-06-01 00:00"))
    assert len({Once(utc("2026-06-01 00:00")), Once(utc("2026-06-01 00:00"))}) == 1
    assert Every(60) != 60
    assert Cron("@daily") != "@daily"
    assert Once(utc("2026-06-01 00:00")) != utc("2026-06-01 00:00")


@pytest.mark.parametrize(
    ("trigger", "words", "code"),
    [
        (Every(129_600), "every 1d12h", "Every('1d12h')"),
        (Every(0.1, fixed_rate=True), "every 100ms at a fixed rate", "Every('100ms', fixed_rate=True)"),
        (Cron("@daily", "Asia/Makassar"), "cron @daily (Asia/Makassar)", "Cron('@daily', 'Asia/Makassar')"),
        (
            Once(utc("2026-06-01 00:00")),
            "once at 2026-06-01 00:00:00 UTC",
            "Once(datetime.datetime(2026, 6, 1, 0, 0, tzinfo=datetime.timezone.utc))",
        ),
    ],
)
def test_a_trigger_says_what_it_is_to_people_and_to_programmers(
    trigger: Trigger, words: str, code: str
) -> None:
    assert str(trigger) == words
    assert repr(trigger) == code


# -- once ----------------------------------------------------------------------------------------


def test_once_is_due_a_single_time() -> None:
    once = Once(datetime(2026, 6, 1, 3, tzinfo=HELSINKI))

    assert once.next_after(utc("2026-05-31 23:59")) == utc("2026-06-01 00:00")
    assert once.next_after(utc("2026-06-01 00:00")) is None
    assert once.next_after(utc("2030-01-01 00:00")) is None


NAIVE = datetime(2026, 6, 1)  # noqa: DTZ001 - what is to be refused


@pytest.mark.parametrize(
    "use",
    [
        lambda: Once(NAIVE),
        lambda: Once(utc("2026-06-01 00:00")).next_after(NAIVE),
        lambda: Every(60).next_after(NAIVE),
        lambda: Cron("@daily").next_after(NAIVE),
    ],
    ids=["Once", "Once.next_after", "Every.next_after", "Cron.next_after"],
)
def test_a_naive_datetime_is_refused_with_the_cure(use: Callable[[], object]) -> None:
    with pytest.raises(
        InvalidTrigger, match=re.escape("is naive: say which zone it means, such as datetime(…, tzinfo=")
    ):
        use()


@pytest.mark.parametrize("when", [date(2026, 6, 1), "2026-06-01", 1_780_272_000, None], ids=repr)
def test_once_refuses_what_is_no_datetime(when: Any) -> None:
    with pytest.raises(
        InvalidTrigger, match=r"is not a datetime: give an aware one, such as datetime\.now\(UTC\)"
    ):
        Once(when)


# -- calendars: golden instants ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "zone", "after", "expected"),
    [
        # Helsinki springs from 03:00 to 04:00 (01:00 UTC) and falls back from 04:00 to 03:00 (01:00 UTC).
        (
            "30 3 * * *",
            "Europe/Helsinki",
            "2026-03-28 00:00",
            ["2026-03-28 01:30", "2026-03-29 01:00", "2026-03-30 00:30"],
        ),
        ("0 3 * * *", "Europe/Helsinki", "2026-03-28 02:00", ["2026-03-29 01:00", "2026-03-30 00:00"]),
        ("0 3,4 * * *", "Europe/Helsinki", "2026-03-28 03:00", ["2026-03-29 01:00", "2026-03-30 00:00"]),
        ("*/30 3 * * *", "Europe/Helsinki", "2026-03-28 02:00", ["2026-03-30 00:00", "2026-03-30 00:30"]),
        ("0 4 * * *", "Europe/Helsinki", "2026-03-28 03:00", ["2026-03-29 01:00", "2026-03-30 01:00"]),
        ("30 3 * * *", "Europe/Helsinki", "2026-10-24 12:00", ["2026-10-25 00:30", "2026-10-26 01:30"]),
        ("0 4 * * *", "Europe/Helsinki", "2026-10-24 12:00", ["2026-10-25 02:00", "2026-10-26 02:00"]),
        (
            "30 * * * *",
            "Europe/Helsinki",
            "2026-10-24 23:45",
            ["2026-10-25 00:30", "2026-10-25 01:30", "2026-10-25 02:30"],
        ),
        (
            "*/30 3 * * *",
            "Europe/Helsinki",
            "2026-10-24 12:00",
            [
                "2026-10-25 00:00",
                "2026-10-25 00:30",
                "2026-10-25 01:00",
                "2026-10-25 01:30",
                "2026-10-26 01:00",
            ],
        ),
        (
            "*/30 3 25 10 *",
            "Europe/Helsinki",
            "2026-01-01 00:00",
            ["2026-10-25 00:00", "2026-10-25 00:30", "2026-10-25 01:00", "2026-10-25 01:30"],
        ),
        # New York springs from 02:00 to 03:00 (07:00 UTC) and falls back from 02:00 to 01:00 (06:00 UTC).
        ("30 2 * * *", "America/New_York", "2026-03-07 08:00", ["2026-03-08 07:00", "2026-03-09 06:30"]),
        (
            "0 * * * *",
            "America/New_York",
            "2026-03-08 05:30",
            ["2026-03-08 06:00", "2026-03-08 07:00", "2026-03-08 08:00"],
        ),
        ("30 1 * * *", "America/New_York", "2026-10-31 12:00", ["2026-11-01 05:30", "2026-11-02 06:30"]),
        (
            "30 * * * *",
            "America/New_York",
            "2026-11-01 05:00",
            ["2026-11-01 05:30", "2026-11-01 06:30", "2026-11-01 07:30"],
        ),
        # Lord Howe moves by half an hour: 02:00 to 02:30 (15:30 UTC) and 02:00 back to 01:30 (15:00 UTC).
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-02 16:00", ["2026-10-03 15:30", "2026-10-04 15:15"]),
        ("45 2 * * *", "Australia/Lord_Howe", "2026-10-02 17:00", ["2026-10-03 15:45", "2026-10-04 15:45"]),
        ("45 1 * * *", "Australia/Lord_Howe", "2026-04-03 15:00", ["2026-04-04 14:45", "2026-04-05 15:15"]),
        (
            "45 * * * *",
            "Australia/Lord_Howe",
            "2026-04-04 14:00",
            ["2026-04-04 14:45", "2026-04-04 15:15", "2026-04-04 16:15"],
        ),
        # Makassar has no daylight saving, and is eight hours ahead.
        ("30 2 * * *", "Asia/Makassar", "2026-03-28 00:00", ["2026-03-28 18:30", "2026-03-29 18:30"]),
        # Days that not every month or year has.
        ("0 0 29 2 *", "UTC", "2026-01-01 00:00", ["2028-02-29 00:00", "2032-02-29 00:00"]),
        ("0 0 29 2 *", "UTC", "2096-02-29 00:00", ["2104-02-29 00:00"]),
        ("0 0 31 * *", "UTC", "2026-01-31 00:00", ["2026-03-31 00:00", "2026-05-31 00:00"]),
        (
            "59 23 L * *",
            "UTC",
            "2028-01-01 00:00",
            ["2028-01-31 23:59", "2028-02-29 23:59", "2028-03-31 23:59"],
        ),
        (
            "0 9 LW * *",
            "UTC",
            "2026-01-01 00:00",
            ["2026-01-30 09:00", "2026-02-27 09:00", "2026-03-31 09:00"],
        ),
        ("0 9 * * MON#1", "UTC", "2026-01-01 00:00", ["2026-01-05 09:00", "2026-02-02 09:00"]),
        ("0 9 * * 5L", "UTC", "2026-01-01 00:00", ["2026-01-30 09:00", "2026-02-27 09:00"]),
        # Either day counts when both are restricted, and Sunday is 0 and 7.
        (
            "0 0 13 * FRI",
            "UTC",
            "2026-02-07 00:00",
            ["2026-02-13 00:00", "2026-02-20 00:00", "2026-02-27 00:00"],
        ),
        ("0 0 * JAN sun", "UTC", "2026-01-01 00:00", ["2026-01-04 00:00", "2026-01-11 00:00"]),
        ("0 0 * 1 7", "UTC", "2026-01-01 00:00", ["2026-01-04 00:00", "2026-01-11 00:00"]),
        (
            "5-59/20 8-9 * * *",
            "UTC",
            "2026-01-01 00:00",
            ["2026-01-01 08:05", "2026-01-01 08:25", "2026-01-01 08:45", "2026-01-01 09:05"],
        ),
    ],
)
def test_a_cron_expression_is_due_at_these_instants(
    expression: str, zone: str, after: str, expected: list[str]
) -> None:
    assert dues(Cron(expression, zone), after, len(expected)) == expected


@pytest.mark.parametrize(
    ("alias", "fields"),
    [
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
        ("@monthly", "0 0 1 * *"),
        ("@weekly", "0 0 * * 0"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@hourly", "0 * * * *"),
        ("@Daily", "0 0 * * *"),
    ],
)
def test_an_alias_stands_for_its_fields(alias: str, fields: str) -> None:
    after = "2026-03-28 12:34"

    assert dues(Cron(alias, HELSINKI), after, 5) == dues(Cron(fields, HELSINKI), after, 5)


def test_cron_answers_strictly_after_and_sees_the_seconds() -> None:
    cron = Cron("0 * * * *")

    assert cron.next_after(utc("2026-01-01 10:00")) == utc("2026-01-01 11:00")
    assert cron.next_after(utc("2026-01-01 10:59:59.999999")) == utc("2026-01-01 11:00")
    assert cron.next_after(utc("2026-01-01 11:00:00.000001")) == utc("2026-01-01 12:00")


# 03:10 happens twice in Helsinki on 25 October 2026; the second time is 01:10 UTC.
SECOND_PASS = datetime(2026, 10, 25, 3, 10, tzinfo=HELSINKI, fold=1)


def test_asked_inside_the_second_pass_of_the_fold_a_fixed_time_is_over_for_the_day() -> None:
    assert Cron("30 3 * * *", HELSINKI).next_after(SECOND_PASS) == utc("2026-10-26 01:30")
    assert Cron("5 3 * * *", HELSINKI).next_after(SECOND_PASS) == utc("2026-10-26 01:05")
    assert Cron("0 4 * * *", HELSINKI).next_after(SECOND_PASS) == utc("2026-10-25 02:00")


def test_asked_inside_the_second_pass_of_the_fold_a_wildcard_goes_on_in_real_time() -> None:
    assert Cron("30 * * * *", HELSINKI).next_after(SECOND_PASS) == utc("2026-10-25 01:30")
    assert Cron("*/5 * * * *", HELSINKI).next_after(SECOND_PASS) == utc("2026-10-25 01:15")
    assert Cron("* 3 * * *", HELSINKI).next_after(SECOND_PASS) == utc("2026-10-25 01:11")


def test_asked_inside_the_first_pass_of_the_fold_a_wildcard_runs_in_both_passes() -> None:
    first_pass = SECOND_PASS.replace(fold=0)

    assert dues(Cron("30 * * * *", HELSINKI), f"{first_pass.astimezone(UTC):%Y-%m-%d %H:%M}", 2) == [
        "2026-10-25 00:30",
        "2026-10-25 01:30",
    ]


@pytest.mark.parametrize("expression", ["30 3 * * *", "0 4 * * *", "* * * * *", "45 * * * *"])
@pytest.mark.parametrize("fold", [0, 1])
def test_asked_with_a_local_time_inside_the_gap_cron_answers_after_the_instant_it_means(
    expression: str, fold: int
) -> None:
    in_the_gap = datetime(2026, 3, 29, 3, 20, tzinfo=HELSINKI, fold=fold)
    cron = Cron(expression, HELSINKI)

    due = cron.next_after(in_the_gap)

    assert due is not None
    assert due == cron.next_after(in_the_gap.astimezone(UTC))
    assert due > in_the_gap.astimezone(UTC)


def test_a_fixed_time_in_the_gap_is_asked_for_right_before_and_right_after() -> None:
    cron = Cron("30 3 * * *", HELSINKI)

    assert cron.next_after(utc("2026-03-29 00:59:59")) == utc("2026-03-29 01:00")
    assert cron.next_after(utc("2026-03-29 01:00")) == utc("2026-03-30 00:30")
    assert cron.next_after(utc("2026-03-29 01:15")) == utc("2026-03-30 00:30")


def test_the_zone_of_the_question_does_not_matter() -> None:
    cron = Cron("30 3 * * *", HELSINKI)
    when = utc("2026-10-25 00:31")

    assert cron.next_after(when) == cron.next_after(when.astimezone(NEW_YORK)) == utc("2026-10-26 01:30")


# -- calendars: bad input ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        (
            "* * * * * *",
            (
                "has six fields: seconds are not supported in cron expressions, "
                'since daylight-saving rules would be lost; use five fields, or Every("10s")'
            ),
        ),
        ("0 3 *", "has 3 fields; a cron expression has five: minute hour day-of-month month day-of-week"),
        ("", "has 0 fields; a cron expression has five"),
        (
            "@dayly",
            (
                "is not a cron alias; use one of "
                "@yearly @annually @monthly @weekly @daily @midnight @hourly or five fields"
            ),
        ),
        ("@", "is not a cron alias"),
        ("61 * * * *", "is not a cron expression: Bad minute"),
        ("* 24 * * *", "is not a cron expression: Bad hour"),
        ("* * * 13 *", "is not a cron expression: Bad month"),
        ("* * * * 8", "is not a cron expression: Bad day-of-week"),
        ("*/0 * * * *", "is not a cron expression: Bad minute"),
        ("30-10 * * * *", "is not a cron expression: Bad minute"),
        ("half past ten o'clock", "has 4 fields"),
        ("0 0 30 2 *", "is not a cron expression: Bad day-of-month"),
        ("0 0 31 4,6,9,11 *", "is not a cron expression: Bad day-of-month"),
        ("0 0 */29 2 MON#5", "is never due: no such day within 50 years"),
    ],
)
def test_an_expression_that_cannot_be_meant_is_refused_with_what_is_wrong(expression: str, said: str) -> None:
    with pytest.raises(InvalidTrigger) as refused:
        Cron(expression)

    assert str(refused.value).startswith(f"{expression!r} {said}")


@pytest.mark.parametrize(
    ("zone", "said"),
    [
        ("Europe/Helsinky", "'Europe/Helsinky' is not a known time zone: did you mean 'Europe/Helsinki'?"),
        ("Helsinki", "'Helsinki' is not a known time zone: did you mean 'Europe/Helsinki'?"),
        ("new_york", "'new_york' is not a known time zone: did you mean 'America/New_York'?"),
        ("#!?", "'#!?' is not a known time zone: use an IANA name such as \"Europe/Helsinki\""),
        ("", "'' is not a known time zone: use an IANA name such as \"Europe/Helsinki\""),
        (
            "../etc/passwd",
            "'../etc/passwd' is not a known time zone: use an IANA name such as \"Europe/Helsinki\"",
        ),
    ],
)
def test_an_unknown_zone_is_refused_with_the_nearest(zone: str, said: str) -> None:
    with pytest.raises(InvalidTrigger) as refused:
        Cron("@daily", zone)

    assert str(refused.value) == said


def test_a_bad_trigger_is_a_configuration_error_and_a_value_error() -> None:
    assert issubclass(InvalidTrigger, ConfigurationError)
    assert issubclass(InvalidTrigger, ValueError)
    assert issubclass(InvalidTrigger, BgTasksError)


# -- calendars: against brute force --------------------------------------------------------------

BEGIN = utc("2026-01-01 00:00")
MINUTES = 365 * 1440
HALF_HOURS = MINUTES // 30
EPOCH = date(1970, 1, 1)


def minute_of(when: datetime) -> int:
    return int(when.timestamp()) // 60


def local_minutes(zone: str) -> tuple[int, ...]:
    """For each minute of 2026, what the clock on the wall shows, as minutes since 1970."""
    here, shown = ZoneInfo(zone), list[int]()
    first = minute_of(BEGIN)
    for slot in range(HALF_HOURS):  # every zone here changes its offset on a half hour
        offset = (BEGIN + timedelta(minutes=30 * slot)).astimezone(here).utcoffset()
        assert offset is not None
        begin = first + 30 * slot + int(offset.total_seconds()) // 60
        shown.extend(range(begin, begin + 30))
    return tuple(shown)  # the collector passes over a tuple of numbers, and not over a list


def field(text: str, low: int, high: int) -> set[int]:
    """One cron field of numbers, lists, ranges and steps."""
    chosen: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        first, _, last = (f"{low}-{high}" if span == "*" else span).partition("-")
        chosen.update(range(int(first), int(last or first) + 1, int(step or 1)))
    return chosen


def due_minutes(expression: str, shown: tuple[int, ...]) -> list[int]:
    """The minutes of 2026 at which Debian's cron starts a job, walked one by one."""
    minute, hour, day, month, weekday = expression.split()
    minutes, hours, months = field(minute, 0, 59), field(hour, 0, 23), field(month, 1, 12)
    days, weekdays = field(day, 1, 31), {each % 7 for each in field(weekday, 0, 7)}
    both_days = day.startswith("*") or weekday.startswith("*")

    def is_day(number: int) -> bool:
        that = date.fromordinal(EPOCH.toordinal() + number)
        matches = (that.day in days, that.isoweekday() % 7 in weekdays)
        return that.month in months and (all(matches) if both_days else any(matches))

    of_day = [each % 60 in minutes and each // 60 in hours for each in range(1440)]
    of_year = {number: is_day(number) for number in range(shown[0] // 1440 - 1, shown[-1] // 1440 + 2)}

    def matches(now: int) -> bool:
        return of_day[now % 1440] and of_year[now // 1440]

    if minute.startswith("*") or hour.startswith("*"):  # such a job follows the clock on the wall
        return [at for at, now in enumerate(shown) if of_day[now % 1440] and of_year[now // 1440]]
    due, latest = [], shown[0] - 1
    for at, now in enumerate(shown):
        if now == latest + 1:
            if of_day[now % 1440] and of_year[now // 1440]:
                due.append(at)
        elif now > latest:  # a gap: what it swallowed is due right after it, once
            if any(map(matches, range(latest + 1, now + 1))):
                due.append(at)
        else:  # the second pass of a fold
            continue
        latest = now
    return due


EXPRESSIONS = [
    "30 2 * * *",
    "0 0-4 * * *",
    "45 1,2,3 * * 0,6",
    "15 * * * *",
    "0 */6 * * *",
    "*/20 1-3 * * *",
    "10 2 13,29 2-11 5",
]
ZONES = ["Europe/Helsinki", "Australia/Lord_Howe"]
MORE_ZONES = ["America/New_York", "Asia/Makassar"]
IN_EACH_ZONE = pytest.mark.parametrize(
    "zone", [*ZONES, *(pytest.param(zone, marks=pytest.mark.full) for zone in MORE_ZONES)]
)


@pytest.fixture(scope="module")
def shown() -> dict[str, tuple[int, ...]]:
    return {zone: local_minutes(zone) for zone in (*ZONES, *MORE_ZONES)}


@pytest.mark.parametrize("expression", EXPRESSIONS)
@IN_EACH_ZONE
def test_a_year_of_cron_agrees_with_a_calendar_walked_minute_by_minute(
    expression: str, zone: str, shown: dict[str, tuple[int, ...]]
) -> None:
    expected = [BEGIN + timedelta(minutes=at) for at in due_minutes(expression, shown[zone])]
    cron, found, when = Cron(expression, zone), [], BEGIN - timedelta(microseconds=1)

    while (due := cron.next_after(when)) is not None and due < BEGIN + timedelta(minutes=MINUTES):
        found.append(due)
        when = due

    assert found == expected
    assert all(one < other for one, other in pairwise(found))


@pytest.mark.parametrize(
    "expression", ["45 * * * *", "*/30 3 25 10 *", "* 1 1 11 *", "30 3 25 10 *", "15 */12 5 4 *"]
)
@IN_EACH_ZONE
def test_asked_from_anywhere_in_the_year_cron_names_the_next_tick_of_that_calendar(
    expression: str, zone: str, shown: dict[str, tuple[int, ...]]
) -> None:
    calendar = [BEGIN + timedelta(minutes=at) for at in due_minutes(expression, shown[zone])]
    cron, random = Cron(expression, zone), Random(expression + zone)
    asked = [BEGIN + timedelta(seconds=random.uniform(0, MINUTES * 60)) for _ in range(150)]

    for when in [
        BEGIN,
        *asked,
        *(due + timedelta(seconds=step) for due in calendar[:50] for step in (-1, 0, 1)),
    ]:
        later = calendar[bisect_right(calendar, when) :]
        if later:
            assert cron.next_after(when) == later[0], f"asked at {when}"


@given(st.datetimes(min_value=datetime(2026, 1, 1), max_value=datetime(2026, 12, 30), timezones=st.just(UTC)))  # noqa: DTZ001 - hypothesis takes its bounds naive
def test_asked_at_any_instant_cron_names_the_same_ticks(when: datetime) -> None:
    for expression in ("30 3 * * *", "*/30 * * * *", "15 2,3 * * *"):
        cron = Cron(expression, HELSINKI)

        due = cron.next_after(when)

        assert due is not None
        assert due > when
        assert cron.next_after(due - timedelta(microseconds=1)) == due
