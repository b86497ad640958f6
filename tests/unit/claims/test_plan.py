"""What a job that is due is to do, judged from what the store has kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgtasks import Cron, Every, Once
from bgtasks.claims.plan import COUNTED, Plan, first_due, plan
from bgtasks.errors import InvalidTrigger
from bgtasks.policies import MISFIRE_GRACE, CatchUp
from bgtasks.triggers import Trigger

DUE = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def after(seconds: float) -> datetime:
    return DUE + timedelta(seconds=seconds)


class Instants(NamedTuple):
    """A trigger that is due at these instants."""

    all: tuple[datetime, ...]

    def next_after(self, when: datetime) -> datetime | None:
        return next((each for each in self.all if each > when), None)


class Answers(NamedTuple):
    """A trigger that says the same whatever it is asked."""

    what: object

    def next_after(self, when: datetime) -> datetime | None:
        return self.what  # type: ignore[return-value]


class TestAJobThatIsOnTime:
    @pytest.mark.parametrize("catch_up", CatchUp)
    @pytest.mark.parametrize("late", [-0.5, 0.0, 9.0])
    def test_runs_for_its_instant(self, catch_up: CatchUp, late: float) -> None:
        planned = plan(Every("60s", fixed_rate=True), catch_up, DUE, after(late))
        assert planned == Plan(DUE, DUE + MINUTE)

    @pytest.mark.parametrize("catch_up", CatchUp)
    def test_of_a_plain_interval_has_no_following_instant(self, catch_up: CatchUp) -> None:
        assert plan(Every("60s"), catch_up, DUE, after(0)) == Plan(DUE, None)

    @pytest.mark.parametrize("catch_up", CatchUp)
    def test_of_once_is_over_then(self, catch_up: CatchUp) -> None:
        assert plan(Once(DUE), catch_up, DUE, after(1)) == Plan(DUE, None)


class TestAJobThatIsLate:
    def test_runs_for_the_last_instant_and_says_how_many_were_missed(self) -> None:
        planned = plan(Cron("* * * * *"), CatchUp.ONE, DUE, after(190))
        assert planned[:3] == (DUE + 3 * MINUTE, DUE + 4 * MINUTE, 3)
        assert planned.missed == '3 ticks missed: noticed 190 s late; catch_up="one"'

    def test_runs_for_none_of_them(self) -> None:
        planned = plan(Cron("* * * * *"), CatchUp.NONE, DUE, after(195))
        assert planned[:3] == (None, DUE + 4 * MINUTE, 4)

    def test_runs_for_one_of_just_now(self) -> None:
        planned = plan(Cron("* * * * *"), CatchUp.NONE, DUE, after(180 + MISFIRE_GRACE))
        assert planned[:3] == (DUE + 3 * MINUTE, DUE + 4 * MINUTE, 3)

    def test_runs_for_one_after_the_other(self) -> None:
        planned = plan(Cron("* * * * *"), CatchUp.ALL, DUE, after(190))
        assert planned == Plan(DUE, DUE + MINUTE)

    @pytest.mark.parametrize("catch_up", CatchUp)
    def test_of_a_plain_interval_runs_for_what_it_was_due(self, catch_up: CatchUp) -> None:
        assert plan(Every("60s"), catch_up, DUE, after(86_400)) == Plan(DUE, None)

    def test_of_once_is_made_up_for(self) -> None:
        assert plan(Once(DUE), CatchUp.ONE, DUE, after(86_400)) == Plan(DUE, None)

    def test_of_once_is_missed_for_good(self) -> None:
        planned = plan(Once(DUE), CatchUp.NONE, DUE, after(86_400))
        assert planned == Plan(None, None, 1, 'a tick missed: noticed 86400 s late; catch_up="none"')

    def test_by_years_finds_the_last_instant_and_counts_a_hundred(self) -> None:
        planned = plan(Cron("*/5 * * * *"), CatchUp.ONE, DUE, DUE + timedelta(days=3000, seconds=61))
        assert planned[:3] == (DUE + timedelta(days=3000), DUE + timedelta(days=3000, minutes=5), COUNTED)


class TestAFixedRate:
    def test_gathers_no_rounding_errors(self) -> None:
        trigger, due = Every(1 / 3, fixed_rate=True), DUE
        for _ in range(1000):
            following = plan(trigger, CatchUp.ALL, due, due, DUE).following
            assert following is not None
            due = following
        assert due == DUE + 1000 * timedelta(seconds=1 / 3)

    def test_stays_on_its_grid_when_an_instant_was_moved_by_hand(self) -> None:
        planned = plan(Every("60s", fixed_rate=True), CatchUp.ONE, after(17), after(17), DUE)
        assert planned == Plan(after(17), after(60))

    def test_is_a_grid_from_what_is_due_without_an_anchor(self) -> None:
        planned = plan(Every("60s", fixed_rate=True), CatchUp.ONE, after(17), after(17))
        assert planned == Plan(after(17), after(77))


class TestATriggerThatAnswersNonsense:
    @pytest.mark.parametrize("what", [DUE, DUE - MINUTE, DUE.replace(tzinfo=None), "soon", 7])
    @pytest.mark.parametrize("catch_up", CatchUp)
    def test_is_told_so_and_not_asked_for_ever(self, what: object, catch_up: CatchUp) -> None:
        with pytest.raises(InvalidTrigger, match="not an aware instant after"):
            plan(Answers(what), catch_up, DUE, after(500))

    def test_is_told_so_when_the_job_is_first_kept(self) -> None:
        with pytest.raises(InvalidTrigger, match="not an aware instant after"):
            first_due(Answers(DUE), DUE, 0.0)


class TestTheFirstInstant:
    def test_of_an_interval_is_after_the_delay(self) -> None:
        assert first_due(Every("1h"), DUE, 30.0) == after(30)
        assert first_due(Every("1h", fixed_rate=True), DUE, 0.0) == DUE

    def test_of_a_calendar_is_the_first_after_the_delay(self) -> None:
        assert first_due(Cron("* * * * *"), DUE, 90.0) == after(120)

    def test_of_what_has_passed_is_none(self) -> None:
        assert first_due(Once(DUE), DUE, 0.0) is None


def model(trigger: Trigger, catch_up: CatchUp, due: datetime, now: datetime) -> Plan:
    """By asking for one instant after the other."""
    passed = [due]
    while (following := trigger.next_after(passed[-1])) is not None and following <= now:
        passed.append(following)
    if catch_up is CatchUp.ALL:
        return Plan(due, trigger.next_after(due))
    runs = catch_up is CatchUp.ONE or (now - passed[-1]).total_seconds() <= MISFIRE_GRACE
    return Plan(passed[-1] if runs else None, following, len(passed) - runs)


steps = st.lists(st.integers(1, 4000), max_size=400)
late = st.integers(-2, 100_000)


@given(steps, st.sampled_from(CatchUp), late)
def test_any_calendar_is_judged_as_by_asking_it_step_by_step(
    steps: list[int], catch_up: CatchUp, late: int
) -> None:
    instants = [DUE]
    for step in steps:
        instants.append(instants[-1] + timedelta(seconds=step))
    trigger = Instants(tuple(instants))
    planned, wanted = plan(trigger, catch_up, DUE, after(late)), model(trigger, catch_up, DUE, after(late))
    assert planned[:2] == wanted[:2]
    assert planned.ticks == wanted.ticks or COUNTED <= planned.ticks <= wanted.ticks
    assert bool(planned.missed) == bool(planned.ticks)


@given(st.integers(1, 5000), st.integers(-5000, 0), st.sampled_from(CatchUp), late)
def test_any_grid_is_judged_as_by_asking_it_step_by_step(
    seconds: int, anchor: int, catch_up: CatchUp, late: int
) -> None:
    now = after(min(late, 150 * seconds))
    steps = -anchor // seconds + 153
    grid = Instants(tuple(each for step in range(steps) if (each := after(anchor + step * seconds)) > DUE))
    wanted = model(grid, catch_up, DUE, now)
    planned = plan(Every(seconds, fixed_rate=True), catch_up, DUE, now, after(anchor))
    assert planned[:2] == wanted[:2]
    assert planned.ticks == wanted.ticks or COUNTED <= planned.ticks <= wanted.ticks
