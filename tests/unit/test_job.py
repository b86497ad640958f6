"""A job's place on the timeline: grids without drift, calendars that follow the wall clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from random import Random

from hypothesis import example, given
from hypothesis import strategies as st

from bgtasks import Cron, Every, Once, Trigger
from bgtasks.job import Job
from bgtasks.testing import VirtualClock

START = datetime(2026, 1, 1, tzinfo=UTC)


class SetClock:
    """A clock that stands where a test sets it, to the last bit."""

    def __init__(self, mono: float = 0.0) -> None:
        self.mono = mono

    def now(self) -> datetime:
        return START + timedelta(seconds=self.mono)

    def monotonic(self) -> float:
        return self.mono


async def nothing() -> None: ...


def job(trigger: Trigger, *, initial_delay: float = 0.0, jitter: float = 0.0) -> Job:
    return Job(
        name="tidy",
        func=nothing,
        trigger=trigger,
        registered=START,
        initial_delay=initial_delay,
        jitter=jitter,
    )


def due_of(tidy: Job) -> float:
    assert tidy.due is not None
    return tidy.due


# -- fixed rate ----------------------------------------------------------------------------------


def test_a_million_steps_at_a_fixed_rate_stay_on_the_grid() -> None:
    clock, random = SetClock(mono=1_234.567), Random(1)
    tidy = job(Every(0.1, fixed_rate=True))
    tidy.begin(clock, random)
    anchor = due_of(tidy)

    for _ in range(1_000_000):
        clock.mono = due_of(tidy)
        tidy.advance(clock, random)

    exact = Fraction(anchor) + 1_000_000 * Fraction(1, 10)
    assert abs(Fraction(due_of(tidy)) - exact) < Fraction(1, 10**6)


@example(interval=0.1, began=1_234.567, lateness=[0.0] * 50)
@given(
    interval=st.floats(0.1, 1e6),
    began=st.floats(0, 1e7),
    lateness=st.lists(st.floats(0, 5), min_size=1, max_size=50),
)
def test_each_fixed_rate_instant_is_a_later_grid_point_and_the_first_one_ahead(
    interval: float, began: float, lateness: list[float]
) -> None:
    clock, random = SetClock(began), Random(1)
    tidy = job(Every(interval, fixed_rate=True))
    tidy.begin(clock, random)
    anchor = due_of(tidy)
    fuzz = 1e-6 * interval + 1e-12 * began  # a float holds no more

    for late in lateness:  # in intervals
        before = due_of(tidy)
        clock.mono = before + late * interval
        tidy.advance(clock, random)
        due = due_of(tidy)

        steps = round((due - anchor) / interval)
        assert abs(due - (anchor + steps * interval)) <= fuzz
        assert clock.mono - fuzz <= due <= clock.mono + interval + fuzz
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
    clock, random = SetClock(began), Random(1)
    interval = milliseconds / 1000
    tidy = job(Every(timedelta(milliseconds=milliseconds), fixed_rate=True))
    tidy.begin(clock, random)
    instants = [due_of(tidy)]

    for _ in range(count):
        clock.mono = instants[-1]
        tidy.advance(clock, random)
        instants.append(due_of(tidy))

    assert all(abs(other - one - interval) < interval / 2 for one, other in pairwise(instants))


@example(seed=0, interval=1351.573462652348, share=0.0)
@given(seed=st.integers(), interval=st.floats(1, 1e5), share=st.floats(0, 0.99))
def test_jitter_moves_each_instant_later_than_its_grid_point_and_never_the_grid(
    seed: int, interval: float, share: float
) -> None:
    clock, random = SetClock(), Random(seed)
    jitter = share * interval
    tidy = job(Every(interval, fixed_rate=True), jitter=jitter)
    tidy.begin(clock, random)

    for step in range(100):
        assert step * interval - 1e-6 <= due_of(tidy) <= step * interval + jitter + 1e-6
        clock.mono = due_of(tidy)
        tidy.advance(clock, random)


# -- from end to start ---------------------------------------------------------------------------


def test_a_plain_interval_counts_from_the_end_of_the_run() -> None:
    clock, random = SetClock(), Random(1)
    tidy = job(Every(60), initial_delay=5)
    tidy.begin(clock, random)

    assert tidy.waits_for_end
    assert due_of(tidy) == 5
    clock.mono = 42  # the run that began at 5 has ended
    tidy.advance(clock, random)
    assert due_of(tidy) == 102


def test_jitter_comes_on_top_of_a_plain_interval() -> None:
    clock, random = SetClock(), Random(3)
    tidy = job(Every(60), jitter=10)
    seen = []
    for _ in range(200):
        tidy.begin(clock, random)
        seen.append(due_of(tidy))
        tidy.advance(clock, random)
        seen.append(due_of(tidy) - 60)

    assert all(0 <= shift <= 10 for shift in seen)
    assert max(seen) - min(seen) > 5


# -- calendars -----------------------------------------------------------------------------------


def test_a_calendar_instant_is_kept_in_wall_time_and_converted() -> None:
    clock, random = VirtualClock(datetime(2026, 1, 1, 11, 59, tzinfo=UTC)), Random(1)
    tidy = job(Cron("0 12 * * *"))
    tidy.begin(clock, random)

    assert (tidy.at, tidy.due) == (datetime(2026, 1, 1, 12, tzinfo=UTC), 60)
    clock.step_wall(-3600)
    tidy.follow_wall_clock(clock)
    assert tidy.due == 3660
    assert not tidy.waits_for_end


def test_a_calendar_instant_gets_jitter_and_is_never_early() -> None:
    clock = VirtualClock(datetime(2026, 1, 1, 11, 59, tzinfo=UTC))
    shifts = []
    for seed in range(200):
        tidy = job(Cron("0 12 * * *"), jitter=30)
        tidy.begin(clock, Random(seed))
        shifts.append(due_of(tidy) - 60)

    assert all(0 <= shift <= 30 for shift in shifts)
    assert max(shifts) - min(shifts) > 20


def test_jitter_does_not_move_the_calendar() -> None:
    clock, random = VirtualClock(), Random(5)
    tidy = job(Cron("0 * * * *"), jitter=600)
    tidy.begin(clock, random)

    for hour in range(1, 50):
        assert tidy.at == START + timedelta(hours=hour)
        clock.advance(due_of(tidy) - clock.monotonic())
        tidy.advance(clock, random)


def test_a_calendar_waits_for_the_initial_delay() -> None:
    tidy = job(Cron("* * * * *"), initial_delay=90)

    tidy.begin(VirtualClock(), Random(1))

    assert tidy.at == START + timedelta(minutes=2)


# -- single instants -----------------------------------------------------------------------------


def test_once_ahead_is_due_once() -> None:
    clock, random = VirtualClock(), Random(1)
    tidy = job(Once(START + timedelta(hours=1)))
    tidy.begin(clock, random)

    assert tidy.due == 3600
    clock.advance(3600)
    tidy.advance(clock, random)
    assert tidy.due is None


def test_once_before_the_registration_is_never_due() -> None:
    tidy = job(Once(START - timedelta(seconds=1)))

    tidy.begin(VirtualClock(), Random(1))

    assert tidy.due is None


def test_once_between_registration_and_start_is_due_at_the_start() -> None:
    clock = VirtualClock()
    tidy = job(Once(START + timedelta(seconds=10)))
    clock.advance(60)

    tidy.begin(clock, Random(1))

    assert tidy.due == 60
