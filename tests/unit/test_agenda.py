"""When a job is due: grids without drift, calendars that follow the wall clock, and what is late."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bgtasks import Cron, Every, Once, Trigger
from bgtasks.agenda import COUNTED, Agenda, PassedOver, agenda
from bgtasks.clock import Reading
from bgtasks.policies import MISFIRE_GRACE, CatchUp

START = datetime(2026, 1, 1, tzinfo=UTC)
GRID = Every(10, fixed_rate=True)
MINUTELY = Cron("* * * * *")


class Scene:
    """An agenda, and the two clocks that it is asked at."""

    def __init__(
        self,
        trigger: Trigger,
        catch_up: str = "one",
        *,
        delay: float = 0.0,
        jitter: float = 0.0,
        mono: float = 0.0,
        seed: int = 1,
        begin: bool = True,
    ) -> None:
        self.mono = mono
        self.offset = START - timedelta(seconds=mono)
        self.agenda: Agenda = agenda(trigger, CatchUp(catch_up), jitter, Random(seed), self)
        self.delay = delay
        if begin:
            self.begin()

    def now(self) -> datetime:
        return self.offset + timedelta(seconds=self.mono)

    def monotonic(self) -> float:
        return self.mono

    @property
    def reading(self) -> Reading:
        return Reading(self.mono, self.now())

    @property
    def due(self) -> float:
        assert self.agenda.due is not None
        return self.agenda.due

    def begin(self) -> None:
        self.agenda.begin(self.reading, self.delay)

    def take(self, late: float = 0.0) -> float | None:
        """Let the due instant come, and `late` seconds more; the instant a run is for, since the start."""
        self.mono = max(self.mono, self.due + late)
        due = self.agenda.take(self.reading)
        return None if due is None else round((due - START).total_seconds(), 6)

    def missed(self) -> tuple[int, float] | None:
        """How many instants the last `take` passed over, and the earliest of them."""
        if self.agenda.missed is None:
            return None
        ticks, since = self.agenda.missed
        return ticks, round((since - START).total_seconds(), 6)


# -- fixed rate ----------------------------------------------------------------------------------


def test_a_million_steps_at_a_fixed_rate_stay_on_the_grid() -> None:
    scene = Scene(Every(0.1, fixed_rate=True), mono=1_234.567)
    anchor = scene.due

    for _ in range(1_000_000):
        scene.agenda.take(Reading(scene.due, START))

    exact = Fraction(anchor) + 1_000_000 * Fraction(1, 10)
    assert abs(Fraction(scene.due) - exact) < Fraction(1, 10**6)


@example(interval=0.1, began=1_234.567, lateness=[0.0] * 50)
@given(
    interval=st.floats(0.1, 1e6),
    began=st.floats(0, 1e7),
    lateness=st.lists(st.floats(0, 5), min_size=1, max_size=50),
)
def test_each_fixed_rate_instant_is_a_later_grid_point_and_the_first_one_ahead(
    interval: float, began: float, lateness: list[float]
) -> None:
    scene = Scene(Every(interval, fixed_rate=True), mono=began)
    anchor = scene.due
    fuzz = 1e-6 * interval + 1e-12 * began  # a float holds no more

    for late in lateness:  # in intervals
        before = scene.due
        scene.mono = before + late * interval
        scene.agenda.take(scene.reading)
        due = scene.due

        steps = round((due - anchor) / interval)
        assert abs(due - (anchor + steps * interval)) <= fuzz
        assert scene.mono - fuzz <= due <= scene.mono + interval + fuzz
        assert steps > round((before - anchor) / interval)


@example(milliseconds=100, began=1_234.567, count=300)
@given(
    milliseconds=st.integers(50, 10_000_000),
    began=st.floats(0, 1e7),
    count=st.integers(1, 300),
)
def test_no_step_of_a_fixed_rate_is_left_out_or_taken_twice(
    milliseconds: int, began: float, count: int
) -> None:
    interval = milliseconds / 1000
    scene = Scene(Every(timedelta(milliseconds=milliseconds), fixed_rate=True), mono=began)
    instants = [scene.due]

    for _ in range(count):
        scene.take()
        assert scene.missed() is None
        instants.append(scene.due)

    assert all(abs(other - one - interval) < interval / 2 for one, other in pairwise(instants))


@example(seed=0, interval=1351.573462652348, share=0.0)
@given(seed=st.integers(), interval=st.floats(1, 1e5), share=st.floats(0, 0.99))
def test_jitter_moves_each_instant_later_than_its_grid_point_and_never_the_grid(
    seed: int, interval: float, share: float
) -> None:
    jitter = share * interval
    scene = Scene(Every(interval, fixed_rate=True), jitter=jitter, seed=seed)

    for step in range(100):
        assert step * interval - 1e-6 <= scene.due <= step * interval + jitter + 1e-6
        scene.take()
        assert scene.missed() is None


def test_a_grid_of_a_microsecond_is_found_again_at_once_after_a_year() -> None:
    scene = Scene(Every(timedelta(microseconds=1), fixed_rate=True))

    late = 365 * 86_400.0
    scene.take(late)  # step by step this would take weeks

    missed = scene.missed()
    assert missed is not None
    assert missed[0] == pytest.approx(late * 1e6, abs=1)
    assert scene.mono <= scene.due <= scene.mono + 2e-6


# -- a fixed rate that is late -------------------------------------------------------------------


def test_a_tick_that_is_a_little_late_runs_for_its_own_instant() -> None:
    scene = Scene(GRID)
    scene.take()

    assert scene.take(late=9.5) == 10
    assert scene.missed() is None
    assert scene.due == 20


def test_one_run_stands_for_all_that_a_grid_missed() -> None:
    scene = Scene(GRID)

    assert scene.take(late=35) == 30
    assert scene.missed() == (3, 0)  # 0, 10 and 20
    assert scene.due == 40
    assert scene.agenda.behind is None


def test_none_of_what_a_grid_missed_is_run() -> None:
    scene = Scene(Every(60, fixed_rate=True), "none")

    assert scene.take(late=3 * 60 + 30) is None
    assert scene.missed() == (4, 0)
    assert scene.due == 240


def test_of_what_a_grid_missed_a_tick_that_has_just_come_is_on_time() -> None:
    scene = Scene(Every(60, fixed_rate=True), "none")

    assert scene.take(late=3 * 60 + MISFIRE_GRACE) == 180
    assert scene.missed() == (3, 0)


@pytest.mark.parametrize(
    "trigger", [Every("1h", fixed_rate=True), Cron("0 * * * *"), Once(START + timedelta(hours=1))], ids=str
)
@pytest.mark.parametrize(
    ("late", "runs"), [(0, True), (MISFIRE_GRACE, True), (MISFIRE_GRACE + 1, False), (1800, False)]
)
def test_a_single_tick_that_is_later_than_the_grace_is_missed_whatever_the_trigger(
    trigger: Trigger, late: float, runs: bool
) -> None:
    scene = Scene(trigger, "none")
    at = scene.due

    assert scene.take(late) == (at if runs else None)
    assert scene.missed() == (None if runs else (1, at))


def test_all_that_a_grid_missed_come_one_by_one_the_oldest_first() -> None:
    scene = Scene(GRID, "all")

    taken = [scene.take(late=35)]
    while scene.agenda.behind is not None:
        assert scene.missed() is None
        taken.append(scene.take())

    assert taken == [0, 10, 20, 30]
    assert scene.due == 40


@pytest.mark.parametrize("jitter", [0.0, 4.0])
@given(late=st.lists(st.floats(0, 120), min_size=1, max_size=20), seed=st.integers(0, 99))
def test_each_step_of_a_grid_is_taken_or_missed_exactly_once(
    jitter: float, late: list[float], seed: int
) -> None:
    for catch_up in CatchUp:
        scene = Scene(GRID, catch_up, jitter=jitter, seed=seed)
        steps = 0
        for each in late:
            ran = scene.take(each)
            missed = scene.missed()
            steps += (ran is not None) + (missed[0] if missed else 0)
            assert steps * 10 - 1e-6 <= scene.due <= steps * 10 + jitter + 1e-6


# -- from end to start ---------------------------------------------------------------------------


def test_a_plain_interval_counts_from_the_end_of_the_run() -> None:
    scene = Scene(Every(60), delay=5)

    assert scene.agenda.waits_for_end
    assert scene.due == 5
    assert scene.take() == 5
    assert scene.agenda.due is None
    scene.agenda.ended(42)  # the run that began at 5
    assert scene.due == 102


@pytest.mark.parametrize("catch_up", list(CatchUp))
def test_a_plain_interval_has_nothing_to_catch_up_with(catch_up: str) -> None:
    scene = Scene(Every(60), catch_up)

    assert scene.take(late=3600) == 0
    assert scene.missed() is None


def test_jitter_comes_on_top_of_a_plain_interval() -> None:
    scene = Scene(Every(60), jitter=10, seed=3)
    seen = []
    for _ in range(200):
        scene.begin()
        seen.append(scene.due)
        scene.agenda.take(scene.reading)
        scene.agenda.ended(0)
        seen.append(scene.due - 60)

    assert all(0 <= shift <= 10 for shift in seen)
    assert max(seen) - min(seen) > 5


# -- calendars -----------------------------------------------------------------------------------


def test_a_calendar_instant_is_kept_in_wall_time_and_converted() -> None:
    scene = Scene(Cron("0 12 * * *"))

    assert (scene.agenda.at, scene.due) == (START + timedelta(hours=12), 12 * 3600)
    scene.offset -= timedelta(hours=1)
    scene.agenda.follow_wall_clock(scene.reading)
    assert scene.due == 13 * 3600
    assert not scene.agenda.waits_for_end


def test_a_calendar_instant_gets_jitter_and_is_never_early() -> None:
    shifts = [Scene(Cron("0 12 * * *"), jitter=30, seed=seed).due - 12 * 3600 for seed in range(200)]

    assert all(0 <= shift <= 30 for shift in shifts)
    assert max(shifts) - min(shifts) > 20


@pytest.mark.parametrize("catch_up", list(CatchUp))
def test_jitter_does_not_move_the_calendar_and_is_no_lateness(catch_up: str) -> None:
    scene = Scene(Cron("0 * * * *"), catch_up, jitter=600, seed=5)

    for hour in range(1, 50):
        assert scene.agenda.at == START + timedelta(hours=hour)
        assert scene.take() == hour * 3600
        assert scene.missed() is None


def test_a_calendar_waits_for_the_initial_delay() -> None:
    scene = Scene(MINUTELY, delay=90)

    assert scene.agenda.at == START + timedelta(minutes=2)


# -- a calendar that is late ---------------------------------------------------------------------


def test_one_run_stands_for_all_that_a_calendar_missed() -> None:
    scene = Scene(MINUTELY)

    assert scene.take(late=5 * 60 + 30) == 360
    assert scene.missed() == (5, 60)
    assert scene.due == 420


def test_none_of_what_a_calendar_missed_is_run() -> None:
    scene = Scene(MINUTELY, "none")

    assert scene.take(late=5 * 60 + 30) is None
    assert scene.missed() == (6, 60)
    assert scene.due == 420


def test_of_what_a_calendar_missed_a_tick_that_has_just_come_is_on_time() -> None:
    scene = Scene(MINUTELY, "none")

    assert scene.take(late=5 * 60 + MISFIRE_GRACE) == 360
    assert scene.missed() == (5, 60)


def test_all_that_a_calendar_missed_come_one_by_one_the_oldest_first() -> None:
    scene = Scene(MINUTELY, "all")

    taken = [scene.take(late=3 * 60 + 5)]
    while scene.agenda.behind is not None:
        taken.append(scene.take())

    assert taken == [60, 120, 180, 240]
    assert scene.due == 300


def test_what_jitter_holds_back_is_counted_from_its_own_instant() -> None:
    scene = Scene(MINUTELY, jitter=30, seed=2)
    shift = scene.due - 60

    assert scene.take(late=119) == 120  # 179 s after its minute and shift: one more has passed
    assert scene.missed() == (1, 60)
    assert shift > 0


class Ticking:
    """A trigger of the user's own, every `step` up to an end; it counts how often it is asked."""

    def __init__(self, step: timedelta, last: datetime | None = None) -> None:
        self.step = step
        self.last = last
        self.asked = 0

    def next_after(self, when: datetime) -> datetime | None:
        self.asked += 1
        at = START + ((when - START) // self.step + 1) * self.step
        return at if self.last is None or at <= self.last else None


@given(
    seconds=st.integers(1, 10_000),
    late=st.floats(0, 1e7),
    ends=st.one_of(st.none(), st.floats(0, 1e7)),
)
@example(seconds=1, late=1e7, ends=None)
@example(seconds=1, late=1e7, ends=200.0)
def test_the_latest_instant_is_found_and_the_count_is_exact_up_to_a_hundred(
    seconds: int, late: float, ends: float | None
) -> None:
    last = None if ends is None else START + timedelta(seconds=max(ends, seconds))
    trigger = Ticking(timedelta(seconds=seconds), last)
    scene = Scene(trigger)

    got = scene.take(late)

    horizon = scene.now() if last is None else min(scene.now(), last)
    passed = (horizon - START) // trigger.step  # by arithmetic: how many instants there were
    assert got == passed * seconds
    missed = scene.missed()
    assert (missed[0] if missed else 0) == min(passed - 1, COUNTED)
    assert scene.agenda.at == trigger.next_after(scene.now())


def test_an_outage_of_a_year_is_caught_up_with_in_a_few_questions() -> None:
    trigger = Ticking(timedelta(seconds=1))
    scene = Scene(trigger)

    scene.take(late=365 * 86_400)

    assert trigger.asked < 2 * COUNTED


@given(gaps=st.lists(st.integers(1, 5_000), min_size=1, max_size=300), late=st.integers(0, 500_000))
def test_the_latest_of_uneven_instants_is_found_too(gaps: list[int], late: int) -> None:
    instants, at = [], 0
    for gap in gaps:
        at += gap
        instants.append(at)

    class Uneven:
        def next_after(self, when: datetime) -> datetime | None:
            since = (when - START).total_seconds()
            return next((START + timedelta(seconds=each) for each in instants if each > since), None)

    scene = Scene(Uneven())

    got = scene.take(late)

    assert got == max(each for each in instants if each <= scene.mono)
    following = [each for each in instants if each > scene.mono]
    assert scene.agenda.due == (following[0] if following else None)


@pytest.mark.parametrize("good_answers", [0, 1, 5, COUNTED - 1, COUNTED, COUNTED + 1, COUNTED + 2])
@pytest.mark.parametrize(
    "breaks", [lambda when: 1 / 0, lambda when: when, lambda when: "tomorrow"], ids=["raises", "same", "text"]
)
def test_a_trigger_that_fails_while_the_latest_is_sought_is_at_fault_and_raises_nothing(
    good_answers: int, breaks: Callable[[datetime], Any]
) -> None:
    trigger = Ticking(timedelta(seconds=1))

    class Breaking:
        def next_after(self, when: datetime) -> Any:
            at = trigger.next_after(when)
            return at if trigger.asked <= 1 + good_answers else breaks(when)

    scene = Scene(Breaking())

    got = scene.take(late=100_000)

    assert got is not None
    assert scene.agenda.fault is not None
    assert scene.agenda.due is None


# -- the wall clock is set -----------------------------------------------------------------------


def test_an_instant_that_the_wall_clock_was_set_back_before_is_not_taken() -> None:
    scene = Scene(Cron("0 1 * * *"))
    scene.mono = scene.due
    scene.offset -= timedelta(minutes=30)

    assert scene.agenda.take(scene.reading) is None
    assert scene.missed() is None
    assert scene.due == 3600 + 1800


def test_a_step_forward_is_lateness() -> None:
    scene = Scene(MINUTELY)
    scene.mono = 30
    scene.offset += timedelta(hours=1)
    scene.agenda.follow_wall_clock(scene.reading)

    assert scene.due < scene.mono
    assert scene.take() == 3600
    assert scene.missed() == (59, 60)
    assert scene.due == 60


def test_jitter_outlives_a_step_of_the_wall_clock() -> None:
    scene = Scene(Cron("0 12 * * *"), jitter=600)
    shift = scene.due - 12 * 3600
    scene.offset += timedelta(hours=1)

    scene.agenda.follow_wall_clock(scene.reading)

    assert scene.due == pytest.approx(11 * 3600 + shift)


def test_a_calendar_that_begins_anew_asks_its_trigger_from_now() -> None:
    scene = Scene(MINUTELY)
    scene.take()
    scene.offset -= timedelta(days=30)

    scene.agenda.begin_anew(scene.reading)

    assert scene.agenda.at == START - timedelta(days=30) + timedelta(minutes=2)
    assert scene.due == 120


@pytest.mark.parametrize("trigger", [Every(60), GRID], ids=str)
@pytest.mark.parametrize("follow", ["follow_wall_clock", "begin_anew"])
def test_intervals_do_not_mind_the_wall_clock(trigger: Trigger, follow: str) -> None:
    scene = Scene(trigger)
    before = scene.due
    scene.offset += timedelta(days=1)

    getattr(scene.agenda, follow)(scene.reading)

    assert scene.due == before


# -- daylight saving -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "elapsed", "due"),
    [
        # Sweden leaves 02:00 for 03:00 on 29 March 2026: 02:30 is run right after the gap, once.
        (datetime(2026, 3, 28, 22, tzinfo=UTC), "gap", [datetime(2026, 3, 29, 1, tzinfo=UTC)]),
        # and comes back from 03:00 to 02:00 on 25 October: 02:30 is run in the first pass, once.
        (datetime(2026, 10, 24, 22, tzinfo=UTC), "fold", [datetime(2026, 10, 25, 0, 30, tzinfo=UTC)]),
    ],
    ids=["gap", "fold"],
)
def test_a_calendar_runs_once_where_the_clocks_on_the_wall_change(
    now: datetime, elapsed: str, due: list[datetime]
) -> None:
    scene = Scene(Cron("30 2 * * *", "Europe/Stockholm"), begin=False)
    scene.offset = now
    scene.begin()
    taken = []
    while scene.due < 20 * 3600:
        scene.mono = scene.due
        taken.append(scene.agenda.take(scene.reading))

    assert taken == due


def test_a_stall_across_the_fold_counts_in_real_time() -> None:
    scene = Scene(Cron("*/30 * * * *", "Europe/Stockholm"), begin=False)
    scene.offset = datetime(2026, 10, 24, 23, 45, tzinfo=UTC)
    scene.begin()

    scene.mono = 3 * 3600 + 60
    latest = scene.agenda.take(scene.reading)

    assert latest == datetime(2026, 10, 25, 2, 30, tzinfo=UTC)
    assert scene.agenda.missed == PassedOver(5, datetime(2026, 10, 25, 0, 0, tzinfo=UTC))


# -- single instants -----------------------------------------------------------------------------


def test_once_ahead_is_due_once() -> None:
    scene = Scene(Once(START + timedelta(hours=1)))

    assert scene.due == 3600
    assert scene.take() == 3600
    assert scene.agenda.due is None


def test_once_before_the_registration_is_never_due() -> None:
    scene = Scene(Once(START - timedelta(seconds=1)))

    assert scene.agenda.due is None


def test_once_between_registration_and_start_is_due_at_the_start_and_then_no_more() -> None:
    scene = Scene(Once(START + timedelta(seconds=10)), begin=False)
    scene.mono = 60
    scene.begin()

    assert scene.due == 60
    assert scene.take() == 10
    scene.begin()
    assert scene.agenda.due is None


def test_once_within_the_initial_delay_waits_for_its_end() -> None:
    scene = Scene(Once(START + timedelta(seconds=10)), delay=60)

    assert scene.due == 60
    assert scene.take() == 10
