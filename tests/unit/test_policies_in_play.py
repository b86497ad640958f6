"""Each policy under a scheduler, on virtual time: what ticks find, stalls leave and operators say."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from tests.unit.test_scheduler import (
    START,
    Server,
    SilentClock,
    Stage,
    Stubborn,
    either_clock,
    raising,
    sleeping,
)

from bgtasks import (
    Breaker,
    Cancelled,
    Cron,
    Deferred,
    Done,
    Every,
    Failed,
    JobSnapshot,
    Missed,
    Once,
    Outcome,
    Retry,
    Skipped,
    TimedOut,
    Trigger,
    background_worker,
    build_scheduler,
    current_run,
)
from bgtasks.errors import BgTasksError, DuplicateTask, InvalidTask, InvalidTrigger, UnknownTask
from bgtasks.events import (
    Event,
    ResourceLost,
    RunFinished,
    RunMissed,
    RunRetried,
    RunSkipped,
    RunStarted,
    RunStuck,
    TaskPaused,
    TaskResumed,
)
from bgtasks.registry import Registry
from bgtasks.testing import VirtualClock, VirtualLoop, run_virtual

PLAIN = Every(60)
GRID = Every(60, fixed_rate=True)
CRON = Cron("* * * * *")
BOTH = pytest.mark.parametrize("trigger", [GRID, CRON], ids=str)
ALL = pytest.mark.parametrize("trigger", [PLAIN, GRID, CRON], ids=str)
STILL = "the previous run is still going"


def wall(seconds: float) -> Any:
    return START + timedelta(seconds=seconds)


def skips(stage: Stage, name: str) -> list[tuple[float, str]]:
    """Each tick of a task that was skipped, and why."""
    return [
        ((event.due - START).total_seconds(), event.reason)
        for event in stage.heard.of(RunSkipped)
        if event.task == name
    ]


def missed(stage: Stage, name: str) -> list[tuple[float, int]]:
    """The first of each lot of missed ticks, and how many they were."""
    return [
        ((event.due - START).total_seconds(), event.ticks)
        for event in stage.heard.of(RunMissed)
        if event.task == name
    ]


def dues(stage: Stage, name: str) -> list[float]:
    """The instants that the runs of a task were for."""
    return [(event.due - START).total_seconds() for event in stage.heard.of(RunStarted) if event.task == name]


def shown(stage: Stage, name: str) -> JobSnapshot:
    [row] = [row for row in stage.scheduler.snapshot() if row.name == name]
    return row


def taking(*seconds: float) -> Callable[[], Awaitable[None]]:
    """The runs take so long, one after the other; the last is repeated."""
    turns = itertools.count()

    async def sleep() -> None:
        await asyncio.sleep(seconds[min(next(turns), len(seconds) - 1)])

    return sleep


def begins(trigger: Trigger) -> float:
    """When a job of this trigger runs first."""
    return 60 if isinstance(trigger, Cron) else 0


@pytest.fixture
def stage() -> Stage:
    return Stage()


def during(stage: Stage, main: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    """Run `main` while the scheduler does, and stop it."""

    async def started() -> None:
        async with stage.scheduler:
            await main()

    stage.run(started)


# -- overlap -------------------------------------------------------------------------------------


@BOTH
def test_skip_leaves_out_the_ticks_that_find_a_run_going(trigger: Trigger) -> None:
    stage, first = Stage(), begins(trigger)
    stage.task("slow", trigger, taking(150), overlap="skip")

    stage.play(first + 250)

    assert stage.times["slow"] == [first, first + 180]
    assert skips(stage, "slow") == [(first + 60, STILL), (first + 120, STILL), (first + 240, STILL)]


@BOTH
def test_queue_runs_one_right_after_and_skips_the_rest(trigger: Trigger) -> None:
    stage, first = Stage(), begins(trigger)
    stage.task("slow", trigger, taking(150, 10), overlap="queue")

    stage.play(first + 250)

    assert stage.times["slow"] == [first, first + 150, first + 180, first + 240]
    assert dues(stage, "slow") == [first, first + 60, first + 180, first + 240]
    assert skips(stage, "slow") == [(first + 120, STILL + ", and one is queued already")]


@BOTH
def test_cancel_ends_the_run_and_begins_the_next_when_it_has_ended(trigger: Trigger) -> None:
    stage, first = Stage(), begins(trigger)

    async def clean_up() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(2)

    stage.task("slow", trigger, clean_up, overlap="cancel")

    stage.play(first + 130)

    assert stage.times["slow"] == [first, first + 62, first + 122]
    assert dues(stage, "slow") == [first, first + 60, first + 120]
    assert stage.heard.outcomes("slow")[:2] == [Cancelled("its next run is due")] * 2
    assert skips(stage, "slow") == []


@BOTH
def test_allow_runs_beside_the_previous_ones(trigger: Trigger) -> None:
    stage, first = Stage(), begins(trigger)
    stage.task("slow", trigger, taking(150), overlap="allow")

    async def main() -> None:
        await asyncio.sleep(first + 130)
        assert shown(stage, "slow").running == 3
        assert shown(stage, "slow").running_since == wall(first)
        await asyncio.sleep(25)
        assert shown(stage, "slow").running == 2

    during(stage, main)

    assert stage.times["slow"] == [first, first + 60, first + 120]
    assert skips(stage, "slow") == []


@pytest.mark.parametrize("overlap", ["skip", "queue", "cancel", "allow"])
@BOTH
def test_runs_that_end_in_time_are_as_they_would_be_without_a_policy(trigger: Trigger, overlap: str) -> None:
    stage, first = Stage(), begins(trigger)
    stage.task("quick", trigger, taking(30), overlap=overlap)

    stage.play(first + 200)

    assert stage.times["quick"] == [first, first + 60, first + 120, first + 180]
    assert stage.heard.of(RunSkipped) == []


def test_a_queued_run_begins_when_the_previous_one_fails_too(stage: Stage) -> None:
    async def fail_slowly() -> None:
        await asyncio.sleep(90)
        raise ValueError("no")

    stage.task("slow", GRID, fail_slowly, overlap="queue")

    stage.play(200)

    assert stage.times["slow"] == [0, 90, 180]
    assert [event.failures for event in stage.heard.of(RunFinished)][:2] == [1, 2]


def test_a_run_that_will_not_end_on_cancel_holds_back_only_the_latest_tick(stage: Stage) -> None:
    stubborn = Stubborn()
    stage.task("stubborn", GRID, stubborn, overlap="cancel")

    async def main() -> None:
        await asyncio.sleep(250)
        assert shown(stage, "stubborn").waiting == "the end of the previous run"
        stubborn.released.set()
        await asyncio.sleep(1)

    during(stage, main)

    assert stage.times["stubborn"] == [0, 250]
    assert dues(stage, "stubborn") == [0, 240]
    assert skips(stage, "stubborn") == [(at, "overtaken by a later one") for at in (60, 120, 180)]
    assert stubborn.most == 1
    assert stubborn.cancels >= 4


@pytest.mark.parametrize("seconds", [1, 3, 5, 10, 60])
def test_a_run_that_will_not_end_on_cancel_is_said_to_be_stuck_once_however_often_it_is_asked(
    seconds: float,
) -> None:
    stage, stubborn = Stage(), Stubborn()
    stage.task("stubborn", Every(seconds, fixed_rate=True), stubborn, overlap="cancel")

    async def main() -> None:
        await asyncio.sleep(300)
        health = stage.scheduler.health()
        stubborn.released.set()
        await stage.clock.settle()
        assert not health
        assert health.problems == ('"stubborn" was told to end (its next run is due) and is still going',)

    during(stage, main)

    [stuck] = stage.heard.of(RunStuck)
    assert "self.released.wait()" in stuck.stack


def test_a_cancelled_run_has_five_seconds_to_clean_up_before_it_is_asked_again(stage: Stage) -> None:
    cleaned: list[float] = []

    async def clean_up() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(4)
            cleaned.append(stage.clock.monotonic())

    stage.task("slow", GRID, clean_up, overlap="cancel", timeout=62)

    stage.play(100)

    assert cleaned == [64, 104]
    assert stage.heard.of(RunStuck) == []


@pytest.mark.parametrize("overlap", ["queue", "cancel"])
def test_a_stop_declines_what_is_queued(overlap: str) -> None:
    stage, stubborn = Stage(), Stubborn()
    stage.task("slow", GRID, stubborn, overlap=overlap)

    async def main() -> None:
        await stage.scheduler.start()
        await asyncio.sleep(70)
        stopping = asyncio.create_task(stage.scheduler.stop())
        await asyncio.sleep(0.5)
        stubborn.released.set()
        await stopping
        await asyncio.sleep(100)

    stage.run(main)

    assert stage.times["slow"] == [0]
    assert skips(stage, "slow") == [(60, "the scheduler was stopped")]


def test_failures_of_runs_beside_each_other_are_counted_together(stage: Stage) -> None:
    async def fail_slowly() -> None:
        await asyncio.sleep(90)
        raise ValueError("no")

    stage.task("slow", GRID, fail_slowly, overlap="allow")

    stage.play(300)

    assert [event.failures for event in stage.heard.of(RunFinished)][:3] == [1, 2, 3]


@pytest.mark.parametrize(
    ("overlap", "outcomes", "times"),
    [
        ("skip", [Done(), Skipped(STILL), Done()], [0, 100]),
        ("queue", [Done(), Done(), Done()], [0, 30, 100]),
        ("cancel", [Cancelled("its next run is due"), Done(), Done()], [0, 10, 100]),
        ("allow", [Done(), Done(), Done()], [0, 10, 100]),
    ],
)
@pytest.mark.parametrize("fixed_rate", [True, False])
def test_run_now_is_judged_by_the_overlap_policy_too(
    overlap: str, outcomes: list[Outcome], times: list[float], fixed_rate: bool
) -> None:
    stage = Stage()
    stage.task("slow", Every(3600, fixed_rate=fixed_rate), taking(30), 3000.0, overlap=overlap)
    got: dict[int, Outcome] = {}

    async def run(number: int, at: float) -> None:
        await asyncio.sleep(at)
        got[number] = await stage.scheduler.run_now("slow")

    async def main() -> None:
        await asyncio.gather(run(0, 0), run(1, 10), run(2, 100))

    during(stage, main)

    assert [got[number] for number in range(3)] == outcomes
    assert stage.times["slow"] == times


# -- catching up ---------------------------------------------------------------------------------


def stalled(trigger: Trigger, catch_up: str, clock: type[VirtualClock], **options: Any) -> Stage:
    """A task every minute, and a stall of 3.5 minutes that begins half a minute after its second tick."""
    stage = Stage(clock())
    stage.task("tidy", trigger, catch_up=catch_up, **options)

    async def main() -> None:
        await asyncio.sleep(begins(trigger) + 90)
        stage.clock.stall(210)
        await asyncio.sleep(100)

    during(stage, main)
    return stage


@either_clock
@BOTH
def test_one_run_stands_for_all_missed_ticks(trigger: Trigger, clock: type[VirtualClock]) -> None:
    stage, first = stalled(trigger, "one", clock), begins(trigger)

    assert [at - first for at in stage.times["tidy"]] == [0, 60, pytest.approx(300, abs=5), 360]
    assert [due - first for due in dues(stage, "tidy")] == [0, 60, 300, 360]
    assert missed(stage, "tidy") == [(first + 120, 3)]


@either_clock
@BOTH
def test_no_run_for_missed_ticks_unless_the_latest_has_just_come(
    trigger: Trigger, clock: type[VirtualClock]
) -> None:
    stage, first = stalled(trigger, "none", clock), begins(trigger)

    assert [due - first for due in dues(stage, "tidy")] == [0, 60, 300, 360]  # 300 is the end of the stall
    assert missed(stage, "tidy") == [(first + 120, 3)]


@either_clock
@BOTH
def test_none_of_the_missed_ticks_runs(trigger: Trigger, clock: type[VirtualClock]) -> None:
    stage, first = Stage(clock()), begins(trigger)
    stage.task("tidy", trigger, catch_up="none")

    async def main() -> None:
        await asyncio.sleep(first + 90)
        stage.clock.stall(240)
        await asyncio.sleep(1)
        if clock is VirtualClock:
            assert isinstance(shown(stage, "tidy").last_outcome, Missed)
        await asyncio.sleep(99)

    during(stage, main)

    assert [due - first for due in dues(stage, "tidy")] == [0, 60, 360, 420]
    assert missed(stage, "tidy") == [(first + 120, 4)]
    [event] = stage.heard.of(RunMissed)
    assert event.reason.startswith("noticed 21")
    assert event.reason.endswith('s late; catch_up="none"')


@either_clock
@BOTH
def test_every_missed_tick_gets_its_run_the_oldest_first(trigger: Trigger, clock: type[VirtualClock]) -> None:
    stage, first = stalled(trigger, "all", clock, does=taking(5)), begins(trigger)

    assert [due - first for due in dues(stage, "tidy")] == [0, 60, 120, 180, 240, 300, 360]
    began = [at - first for at in stage.times["tidy"]]
    assert began[:2] + began[-1:] == [0, 60, 360]
    assert all(5 <= other - one <= 5.2 for one, other in itertools.pairwise(began[2:6]))  # never side by side
    assert (stage.heard.of(RunMissed), stage.heard.of(RunSkipped)) == ([], [])


@pytest.mark.parametrize("overlap", ["skip", "queue", "allow"])
def test_catching_up_with_all_is_one_after_the_other_whatever_the_overlap_policy(overlap: str) -> None:
    stage = stalled(GRID, "all", VirtualClock, does=taking(7), overlap=overlap)

    assert dues(stage, "tidy") == [0, 60, 120, 180, 240, 300, 360]
    assert all(other - one >= 7 for one, other in itertools.pairwise(stage.times["tidy"]))


def test_a_thousand_missed_ticks_that_end_at_once_are_caught_up_with_one_by_one(stage: Stage) -> None:
    stage.task("tidy", Every(1, fixed_rate=True), catch_up="all")

    async def main() -> None:
        await asyncio.sleep(0.5)
        stage.clock.stall(1000)
        await asyncio.sleep(1)

    during(stage, main)

    assert dues(stage, "tidy") == list(range(1002))


def test_a_plain_interval_runs_once_after_a_stall_and_then_from_its_end(stage: Stage) -> None:
    stage.task("tidy", 60, taking(5))

    async def main() -> None:
        await asyncio.sleep(30)
        stage.clock.stall(600)
        await asyncio.sleep(100)

    during(stage, main)

    assert stage.times["tidy"] == [0, 630, 695]
    assert stage.heard.of(RunMissed) == []


@either_clock
@pytest.mark.parametrize(
    ("catch_up", "runs", "lots"),
    [("one", [60, 1860, 1920], [(120, 29)]), ("none", [60, 1920], [(120, 30)])],
)
def test_ticks_that_a_set_wall_clock_passes_over_are_missed_too(
    catch_up: str, runs: list[float], lots: list[tuple[float, int]], clock: type[VirtualClock]
) -> None:
    stage = Stage(clock())
    stage.task("tidy", CRON, catch_up=catch_up)
    stage.task("grid", GRID, catch_up=catch_up)

    async def main() -> None:
        await asyncio.sleep(90)
        stage.clock.step_wall(1800)
        await asyncio.sleep(35)

    during(stage, main)

    assert dues(stage, "tidy") == runs
    assert missed(stage, "tidy") == lots
    assert stage.times["grid"] == [0, 60, 120]


def test_all_ticks_that_a_set_wall_clock_passes_over_may_be_made_up_for(stage: Stage) -> None:
    stage.task("tidy", CRON, catch_up="all")

    async def main() -> None:
        await asyncio.sleep(90)
        stage.clock.step_wall(600)
        await asyncio.sleep(35)

    during(stage, main)

    assert dues(stage, "tidy") == [60.0 * step for step in range(1, 13)]
    assert stage.heard.of(RunMissed) == []


# -- many at once --------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 100, 1000])
@pytest.mark.parametrize("trigger", [PLAIN, GRID, CRON], ids=str)
def test_what_is_overdue_does_not_start_in_one_instant_and_all_of_it_within_ten_seconds(
    trigger: Trigger, count: int
) -> None:
    stage = Stage()
    for number in range(count):
        stage.task(f"t{number}", trigger)

    async def main() -> None:
        await asyncio.sleep(70)
        stage.clock.stall(600)
        stage.times.clear()
        await asyncio.sleep(11)
        assert stage.scheduler.health()

    during(stage, main)

    began = [min(times) for times in stage.times.values()]
    assert len(began) == count
    assert max(Counter(began).values()) == 1
    assert min(began) == 670
    assert max(began) <= 680


def test_a_second_stall_while_what_is_overdue_is_being_started_is_spread_too(stage: Stage) -> None:
    for number in range(100):
        stage.task(f"t{number}", 60)

    async def main() -> None:
        await asyncio.sleep(10)
        stage.clock.stall(600)
        await asyncio.sleep(2)
        stage.clock.stall(600)
        stage.times.clear()
        await asyncio.sleep(11)

    during(stage, main)

    instants = Counter(at for times in stage.times.values() for at in times)
    assert max(instants.values()) <= 2  # one of those held back, and one that ran before


@pytest.mark.parametrize("trigger", [GRID, CRON], ids=str)
def test_a_tick_that_was_noticed_in_time_is_not_missed_because_it_is_spread(trigger: Trigger) -> None:
    stage = Stage()
    for number in range(100):
        stage.task(f"t{number}", trigger, catch_up="none")

    async def main() -> None:
        await asyncio.sleep(130)
        stage.clock.stall(55)  # the tick of the 180th second is noticed five seconds late
        stage.times.clear()
        await asyncio.sleep(12)

    during(stage, main)

    assert len(stage.times) == 100
    assert stage.heard.of(RunMissed) == []


def test_what_is_a_little_late_is_not_put_off(stage: Stage) -> None:
    for number in range(50):
        stage.task(f"t{number}", 60)

    async def main() -> None:
        await asyncio.sleep(59.5)
        stage.clock.stall(1)
        await asyncio.sleep(1)

    during(stage, main)

    assert all(times == [0, 60.5] for times in stage.times.values())


# -- jitter --------------------------------------------------------------------------------------


@pytest.mark.parametrize("catch_up", ["one", "none", "all"])
@BOTH
def test_jitter_is_neither_lateness_nor_drift(trigger: Trigger, catch_up: str) -> None:
    stage, first = Stage(), begins(trigger)
    stage.task("shaken", trigger, jitter=45, catch_up=catch_up)

    stage.play(3600)

    times = stage.times["shaken"]
    assert all(0 <= at - first - 60 * step <= 45.001 for step, at in enumerate(times))
    assert len(times) >= (3600 - first) // 60 - 1
    assert (stage.heard.of(RunMissed), stage.heard.of(RunSkipped)) == ([], [])


def test_jitter_outlives_another_interval(stage: Stage) -> None:
    stage.task("shaken", GRID, jitter=30)

    async def main() -> None:
        stage.scheduler.reschedule("shaken", Every(100, fixed_rate=True))
        await asyncio.sleep(2050)

    during(stage, main)

    shifts = {round(at % 100, 3) for at in stage.times["shaken"]}
    assert len(shifts) > 10
    assert all(shift <= 30 for shift in shifts)


# -- timeout and retry ---------------------------------------------------------------------------


@ALL
def test_a_run_that_takes_too_long_fails_and_the_schedule_goes_on(trigger: Trigger) -> None:
    stage, first = Stage(), begins(trigger)
    stage.task("hang", trigger, sleeping(3600), timeout="30s")

    stage.play(first + 200)

    step = 90 if trigger == PLAIN else 60
    assert stage.times["hang"] == [first + step * turn for turn in range(len(stage.times["hang"]))]
    finished = [event for event in stage.heard.of(RunFinished) if event.outcome == TimedOut(30)]
    assert [event.failures for event in finished] == [1, 2, 3, 4][: len(finished)]
    assert len(finished) >= 2


def test_a_run_that_ignores_its_timeout_keeps_its_place_and_makes_health_red(stage: Stage) -> None:
    stubborn = Stubborn()
    stage.task("stubborn", GRID, stubborn, timeout=10)

    async def main() -> None:
        await asyncio.sleep(12)
        assert stage.scheduler.health()  # it may be cleaning up
        await asyncio.sleep(20)
        assert stage.scheduler.health().problems == (
            '"stubborn" was told to end (timed out after 10 s) and is still going',
        )
        await asyncio.sleep(60)
        stubborn.released.set()
        await stage.clock.settle()
        assert stage.scheduler.health()

    during(stage, main)

    assert stubborn.most == 1
    assert skips(stage, "stubborn") == [(60, STILL)]
    assert len(stage.heard.of(RunStuck)) == 1


def test_a_plain_interval_is_measured_from_the_end_of_the_last_attempt(stage: Stage) -> None:
    stage.task("moody", 60, raising(ValueError("no")), retry=Retry(2, 10))

    stage.play(100)

    one, other, third, *_ = stage.times["moody"]
    assert 5 <= other - one <= 10
    assert third == pytest.approx(other + 60, abs=0.01)
    assert [event.attempt for event in stage.heard.of(RunRetried)][:1] == [1]


def test_a_run_between_two_attempts_is_going_on_for_the_overlap_policy(stage: Stage) -> None:
    stage.task("moody", Every(10, fixed_rate=True), raising(ValueError("no")), retry=Retry(2, 40))

    async def main() -> None:
        await asyncio.sleep(15)
        assert shown(stage, "moody").running == 1
        assert shown(stage, "moody").failures == 0

    during(stage, main)

    assert skips(stage, "moody") == [(10, STILL)]


def test_a_retry_with_a_timeout_and_a_success_is_one_run_without_a_failure(stage: Stage) -> None:
    stage.task("moody", 3600, taking(100, 100, 5), timeout=30, retry=Retry(3, 2))

    stage.play(200)

    assert stage.heard.outcomes("moody") == [Done()]
    assert len(stage.times["moody"]) == 3
    assert [event.reason for event in stage.heard.of(RunRetried)] == ["timed out after 30 s"] * 2


def test_a_lost_server_is_not_for_the_retry_but_for_the_outage(stage: Stage) -> None:
    server = Server()
    server.up = False
    stage.task("tidy", 3600, server.use, retry=Retry(5, 1), breaker=Breaker(1))

    stage.play(30)

    assert (stage.heard.of(RunRetried), stage.heard.of(TaskPaused)) == ([], [])
    assert {type(outcome) for outcome in stage.heard.outcomes("tidy")} == {Deferred}
    assert len(stage.times["tidy"]) >= 4


# -- breaker -------------------------------------------------------------------------------------


def broken_until(stage: Stage, seconds: float) -> Callable[[], Awaitable[None]]:
    async def fail() -> None:
        if stage.clock.monotonic() < seconds:
            raise ValueError("no")

    return fail


@BOTH
def test_a_breaker_skips_the_ticks_until_it_has_cooled_down_and_closes_when_a_trial_goes_well(
    trigger: Trigger,
) -> None:
    stage, first = Stage(), begins(trigger)
    stage.task("moody", trigger, broken_until(stage, first + 400), breaker=Breaker(3, "5m"))

    async def main() -> None:
        await asyncio.sleep(first + 130)
        row = shown(stage, "moody")
        assert (row.paused, row.failures) == ("its breaker is open", 3)
        assert stage.scheduler.health()
        await asyncio.sleep(400)
        assert shown(stage, "moody").paused is None

    during(stage, main)

    assert stage.times["moody"] == [first + at for at in (0, 60, 120, 420, 480)]
    open_ticks = [first + at for at in (180, 240, 300, 360)]
    assert skips(stage, "moody") == [(at, "its breaker is open") for at in open_ticks]
    assert stage.heard.of(TaskPaused) == [
        TaskPaused("moody", "3 failures in a row, the last: ValueError: no", wall(first + 420))
    ]
    assert stage.heard.of(TaskResumed) == [TaskResumed("moody", "a run went well")]


@BOTH
def test_a_trial_that_fails_opens_the_breaker_for_as_long_again(trigger: Trigger) -> None:
    stage, first = Stage(), begins(trigger)
    stage.task("broken", trigger, raising(ValueError("no")), breaker=Breaker(2, "5m"))

    stage.play(first + 1000)

    assert stage.times["broken"] == [first + at for at in (0, 60, 360, 660, 960)]
    assert [event.until for event in stage.heard.of(TaskPaused)] == [
        wall(first + at) for at in (360, 660, 960, 1260)
    ]
    assert stage.heard.of(TaskResumed) == []


def test_the_trial_of_a_plain_interval_comes_when_the_breaker_has_cooled_down(stage: Stage) -> None:
    stage.task("moody", 60, broken_until(stage, 300), breaker=Breaker(2, "5m"))

    async def main() -> None:
        await asyncio.sleep(100)
        assert shown(stage, "moody").next_run == wall(360)
        await asyncio.sleep(400)

    during(stage, main)

    assert stage.times["moody"] == [0, 60, 360, 420, 480]
    assert skips(stage, "moody") == []


def test_a_cool_down_shorter_than_the_interval_does_not_bring_a_run_forward(stage: Stage) -> None:
    stage.task("broken", 60, raising(ValueError("no")), breaker=Breaker(1, "5s"))

    stage.play(130)

    assert stage.times["broken"] == [0, 60, 120]


def test_failures_that_are_not_in_a_row_do_not_open_a_breaker(stage: Stage) -> None:
    turns = itertools.count()

    async def now_and_then() -> None:
        if next(turns) % 3 < 2:
            raise ValueError("no")

    stage.task("moody", 60, now_and_then, breaker=Breaker(3))

    stage.play(1000)

    assert stage.heard.of(TaskPaused) == []


def test_a_timeout_counts_for_the_breaker_and_a_run_with_retries_counts_once(stage: Stage) -> None:
    stage.task("hang", GRID, sleeping(3600), timeout=5, retry=Retry(3, 1), breaker=Breaker(2, "10m"))

    stage.play(300)

    [paused] = stage.heard.of(TaskPaused)
    assert paused.reason == "2 failures in a row, the last: timed out after 5 s"
    assert len(stage.times["hang"]) == 6


@pytest.mark.parametrize("trigger", [PLAIN, GRID], ids=str)
def test_run_now_may_be_the_trial_and_closes_an_open_breaker(trigger: Trigger) -> None:
    stage = Stage()
    stage.task("moody", trigger, broken_until(stage, 50), breaker=Breaker(1, "1h"))

    async def main() -> None:
        await asyncio.sleep(100)
        assert await stage.scheduler.run_now("moody") == Done()
        assert shown(stage, "moody").paused is None
        await asyncio.sleep(70)

    during(stage, main)

    assert stage.times["moody"] == [0, 100, 160 if trigger == PLAIN else 120]
    assert stage.heard.of(TaskResumed) == [TaskResumed("moody", "a run went well")]


@pytest.mark.parametrize("trigger", [PLAIN, GRID], ids=str)
def test_run_now_that_fails_keeps_the_breaker_open_for_as_long_again(trigger: Trigger) -> None:
    stage = Stage()
    stage.task("broken", trigger, raising(ValueError("no")), breaker=Breaker(1, "10m"))

    async def main() -> None:
        await asyncio.sleep(300)
        assert isinstance(await stage.scheduler.run_now("broken"), Failed)
        await asyncio.sleep(650)

    during(stage, main)

    assert stage.times["broken"] == [0, 300, 900]


@pytest.mark.parametrize("trigger", [PLAIN, GRID], ids=str)
def test_resume_closes_an_open_breaker(trigger: Trigger) -> None:
    stage = Stage()
    stage.task("moody", trigger, broken_until(stage, 50), breaker=Breaker(1, "1h"))

    async def main() -> None:
        await asyncio.sleep(100)
        stage.scheduler.resume("moody")
        await asyncio.sleep(30)

    during(stage, main)

    assert stage.times["moody"] == [0, 100 if trigger == PLAIN else 120]
    assert stage.heard.of(TaskResumed) == [TaskResumed("moody", "resumed")]


@pytest.mark.parametrize("interval", [10, 30, 900])
def test_another_interval_while_the_breaker_is_open_loses_no_trial(interval: float) -> None:
    stage = Stage()
    stage.task("moody", 60, broken_until(stage, 50), breaker=Breaker(1, "10m"))

    async def main() -> None:
        await asyncio.sleep(100)
        stage.scheduler.reschedule("moody", interval)
        await asyncio.sleep(950)

    during(stage, main)

    assert stage.times["moody"][1] == max(600, 100 + interval)


@ALL
def test_an_open_breaker_outlives_a_restart(trigger: Trigger) -> None:
    stage, first = Stage(), begins(trigger)
    stage.task("broken", trigger, raising(ValueError("no")), breaker=Breaker(2, "10m"))

    stage.play(first + 90)
    assert len(stage.times["broken"]) == 2
    assert shown(stage, "broken").paused == "its breaker is open"
    stage.play(700)

    opened = first + 60
    assert opened + 600 <= stage.times["broken"][2] <= opened + 660


@pytest.mark.parametrize("ending", ["cancelled", "deferred"])
def test_a_trial_that_was_cancelled_or_deferred_decides_nothing(ending: str) -> None:
    stage, turns = Stage(), itertools.count()

    async def moody() -> object:
        turn = next(turns)
        if turn < 3:
            raise ValueError("no")
        if turn == 3 and ending == "deferred":
            return Deferred("busy")
        if turn == 3:
            await asyncio.sleep(3600)
        return None

    stage.task("moody", GRID, moody, breaker=Breaker(3, "2m"), overlap="cancel")

    stage.play(400)

    assert [event.failures for event in stage.heard.of(RunFinished)][:5] == [1, 2, 3, 3, 0]
    assert stage.heard.of(TaskResumed) == [TaskResumed("moody", "a run went well")]
    assert len(stage.heard.of(TaskPaused)) == 1
    resumed = stage.heard.events.index(TaskResumed("moody", "a run went well"))
    assert [event.outcome for event in stage.heard.events[:resumed] if isinstance(event, RunFinished)][
        -1
    ] == Done()


# -- limits --------------------------------------------------------------------------------------


class Busy:
    """A body that counts how many of its kind are in progress."""

    def __init__(self, *seconds: float) -> None:
        self.body = taking(*seconds)
        self.now = 0
        self.most = 0

    async def __call__(self) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await self.body()
        finally:
            self.now -= 1


def test_no_more_runs_than_allowed_are_in_progress_and_all_get_their_turn_in_order() -> None:
    stage, busy = Stage(max_concurrent=3), Busy(10)
    names = [f"t{number}" for number in range(10)]
    for name in names:
        stage.task(name, 3600, busy)

    stage.play(45)

    assert busy.most == 3
    assert [event.task for event in stage.heard.of(RunStarted)] == names
    assert [times for (times,) in stage.times.values()] == [0] * 3 + [10] * 3 + [20] * 3 + [30]


def test_a_full_group_does_not_hold_up_the_others_in_play() -> None:
    stage = Stage(group_limits={"llm": 1})
    llm, others = Busy(10), Busy(10)
    for number in range(4):
        stage.task(f"llm{number}", 3600, llm, group="llm")
        stage.task(f"free{number}", 3600, others, group="unlimited" if number % 2 else None)

    stage.play(45)

    assert (llm.most, others.most) == (1, 4)
    assert [stage.times[f"llm{number}"] for number in range(4)] == [[0], [10], [20], [30]]
    assert all(stage.times[f"free{number}"] == [0] for number in range(4))


def test_a_group_and_the_total_hold_together() -> None:
    stage = Stage(max_concurrent=2, group_limits={"llm": 1})
    busy = Busy(10)
    for name, group in [("a", "llm"), ("b", "llm"), ("c", None), ("d", None)]:
        stage.task(name, 3600, busy, group=group)

    stage.play(35)

    assert busy.most == 2
    assert stage.times == {"a": [0], "b": [10], "c": [0], "d": [10]}


def test_what_waits_for_a_slot_is_shown_and_in_the_end_makes_health_red() -> None:
    stage = Stage(max_concurrent=1)
    stage.task("hog", 3600, sleeping(1000))
    stage.task("waits", 3600)

    async def main() -> None:
        await asyncio.sleep(5)
        assert shown(stage, "waits").waiting == "a free slot"
        assert stage.scheduler.health()
        await asyncio.sleep(10)
        assert stage.scheduler.health().problems == ('"waits" has waited for a free slot for 15 s',)
        assert stage.scheduler.health("1h")

    during(stage, main)


def test_a_tick_that_finds_the_last_one_still_waiting_for_a_slot_is_skipped() -> None:
    stage = Stage(max_concurrent=1)
    stage.task("hog", 3600, sleeping(150))
    stage.task("waits", GRID, overlap="queue")

    stage.play(200)

    assert stage.times["waits"] == [150, 180]
    reason = "the previous run has not begun yet"
    assert skips(stage, "waits") == [(60, reason), (120, reason)]


def test_workers_take_no_slot(registry: Registry) -> None:
    clock, began = VirtualClock(), list[str]()

    @background_worker(registry=registry)
    async def journal() -> None:
        await asyncio.Event().wait()

    @background_worker(registry=registry)
    async def listen() -> None:
        await asyncio.Event().wait()

    async def tidy() -> None:
        began.append("tidy")

    scheduler = build_scheduler(registry=registry, clock=clock, max_concurrent=1)
    scheduler.register("tidy", tidy, 60)

    async def main(clock: VirtualClock) -> None:
        async with scheduler:
            await clock.advance(130)
            assert [row.running for row in scheduler.snapshot()] == [1, 1, 0]

    run_virtual(main, clock)

    assert began == ["tidy"] * 3


ENDINGS: dict[str, tuple[Callable[[], Awaitable[Any]], dict[str, Any]]] = {
    "well": (sleeping(0), {}),
    "at once": (raising(ValueError("no")), {}),
    "failed": (taking(3), {"retry": Retry(2, 1)}),
    "timed out": (sleeping(100), {"timeout": 5}),
    "cancels itself": (raising(asyncio.CancelledError()), {}),
    "deferred": (raising(ConnectionError("no")), {}),
    "cancelled by the next": (sleeping(100), {"overlap": "cancel"}),
    "with an attempt more": (raising(ValueError("no")), {"retry": Retry(2, 5)}),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_however_runs_end_no_slot_is_lost_or_given_twice(ending: str) -> None:
    does, options = ENDINGS[ending]
    stage = Stage(max_concurrent=2, group_limits={"llm": 1})
    for number in range(5):
        stage.task(f"t{number}", Every(20, fixed_rate=True), does, group="llm", **options)
    busy = Busy(1)

    async def main() -> None:
        await asyncio.sleep(300)
        for number in range(5):
            await stage.scheduler.remove(f"t{number}")
        for number in range(6):
            stage.task(f"b{number}", 3600, busy, group="llm" if number < 3 else None)
        await asyncio.sleep(10)

    during(stage, main)

    assert busy.most == 2
    assert all(len(stage.times[f"b{number}"]) == 1 for number in range(6))


@pytest.mark.parametrize("drain", [0, 5])
def test_no_slot_is_lost_or_given_twice_over_many_stops_and_starts(drain: float) -> None:
    stage, random = Stage(max_concurrent=3, group_limits={"llm": 2}), Random(5)
    busy, llm = Busy(7, 3, 11), Busy(4, 9)
    for number in range(8):
        stage.task(f"t{number}", Every(10, fixed_rate=True), llm if number % 2 else busy,
                   group="llm" if number % 2 else None, overlap="queue")  # fmt: skip

    async def main() -> None:
        for _ in range(30):
            await stage.scheduler.start()
            await asyncio.sleep(random.uniform(0, 40))
            await stage.scheduler.stop(drain)
        for times in stage.times.values():
            times.clear()
        await stage.scheduler.start()
        await asyncio.sleep(60)
        await stage.scheduler.stop()

    stage.run(main)

    assert llm.most <= 2
    assert busy.most <= 3
    assert all(stage.times.values())


def test_run_now_waits_for_its_slot() -> None:
    stage = Stage(max_concurrent=1)
    stage.task("hog", 3600, sleeping(20))
    stage.task("tidy", 3600, initial_delay=3000)

    async def main() -> None:
        await asyncio.sleep(5)
        assert await stage.scheduler.run_now("tidy") == Done()
        assert stage.clock.monotonic() == 20

    during(stage, main)


@pytest.mark.parametrize("limit", [{"max_concurrent": 0}, {"group_limits": {"llm": -1}}], ids=str)
def test_a_limit_that_lets_nothing_run_is_refused(limit: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="is a number of runs, 1 or more"):
        Stage(**limit)


# -- pause and resume ----------------------------------------------------------------------------


@ALL
def test_a_paused_task_does_not_run_and_says_so(trigger: Trigger) -> None:
    stage, first = Stage(), begins(trigger)
    stage.task("tidy", trigger)

    async def main() -> None:
        await asyncio.sleep(first + 10)
        stage.scheduler.pause("tidy", "the model is down")
        stage.scheduler.pause("tidy")  # it is already
        await asyncio.sleep(170)
        assert shown(stage, "tidy").paused == "the model is down"
        assert shown(stage, "tidy").next_run is None
        assert stage.scheduler.health()
        stage.scheduler.resume("tidy")
        stage.scheduler.resume("tidy")
        assert shown(stage, "tidy").paused is None
        await asyncio.sleep(65)

    during(stage, main)

    ticks = [60] if trigger == PLAIN else [60, 120, 180]
    assert skips(stage, "tidy") == [(first + at, "paused: the model is down") for at in ticks]
    # A plain interval that came due meanwhile runs at once, the others at their next tick.
    assert [at - first for at in stage.times["tidy"]] == ([0, 180, 240] if trigger == PLAIN else [0, 240])
    assert stage.heard.of(TaskPaused) == [TaskPaused("tidy", "the model is down")]
    assert stage.heard.of(TaskResumed) == [TaskResumed("tidy", "resumed")]


def test_once_that_passes_during_a_pause_is_over(stage: Stage) -> None:
    stage.task("party", Once(wall(30)))

    async def main() -> None:
        stage.scheduler.pause("party")
        await asyncio.sleep(60)
        stage.scheduler.resume("party")
        await asyncio.sleep(60)

    during(stage, main)

    assert stage.times["party"] == []
    assert skips(stage, "party") == [(30, "paused: by hand")]


def test_a_run_in_progress_goes_on_and_a_resume_before_its_end_changes_nothing(stage: Stage) -> None:
    stage.task("slow", 60, sleeping(30))

    async def main() -> None:
        await asyncio.sleep(5)
        stage.scheduler.pause("slow")
        await asyncio.sleep(5)
        stage.scheduler.resume("slow")
        await asyncio.sleep(100)

    during(stage, main)

    assert stage.times["slow"] == [0, 90]
    assert skips(stage, "slow") == []


@ALL
def test_what_waits_for_a_slot_when_its_task_is_paused_does_not_run(trigger: Trigger) -> None:
    stage, first = Stage(max_concurrent=1), begins(trigger)
    stage.task("hog", 3600, sleeping(50), initial_delay=max(0, first - 1))
    stage.task("tidy", trigger)

    async def main() -> None:
        await asyncio.sleep(first + 10)
        stage.scheduler.pause("tidy")
        await asyncio.sleep(45)
        assert skips(stage, "tidy") == [(first, "paused: by hand")]
        stage.scheduler.resume("tidy")
        await asyncio.sleep(10)

    during(stage, main)

    expected = first + 55 if trigger == PLAIN else first + 60
    assert stage.times["tidy"] == [expected]


def test_a_resume_before_a_plain_interval_came_due_does_not_bring_it_forward(stage: Stage) -> None:
    stage.task("tidy", 60)

    async def main() -> None:
        await asyncio.sleep(10)
        stage.scheduler.pause("tidy")
        await asyncio.sleep(10)
        stage.scheduler.resume("tidy")
        await asyncio.sleep(50)

    during(stage, main)

    assert stage.times["tidy"] == [0, 60]


@ALL
def test_a_pause_outlives_a_stop(trigger: Trigger) -> None:
    stage = Stage()
    stage.task("tidy", trigger)
    stage.scheduler.pause("tidy")

    stage.play(130)
    assert stage.times["tidy"] == []
    assert shown(stage, "tidy").paused == "by hand"

    stage.scheduler.resume("tidy")
    stage.play(61)
    assert stage.times["tidy"] == ([180] if trigger == CRON else [130, 190])


def test_a_resume_between_two_event_loops_runs_nothing_by_itself(stage: Stage) -> None:
    stage.task("tidy", 60, initial_delay=10)
    stage.scheduler.pause("tidy")
    stage.play(30)
    stage.scheduler.resume("tidy")

    stage.play(15)

    assert stage.times["tidy"] == [40]


def test_run_now_runs_a_paused_task_and_leaves_it_paused(stage: Stage) -> None:
    stage.task("tidy", 60)

    async def main() -> None:
        await asyncio.sleep(10)
        stage.scheduler.pause("tidy")
        await asyncio.sleep(90)  # it came due at 60
        assert await stage.scheduler.run_now("tidy") == Done()
        assert shown(stage, "tidy").paused == "by hand"
        await asyncio.sleep(10)
        stage.scheduler.resume("tidy")
        await asyncio.sleep(60)

    during(stage, main)

    assert stage.times["tidy"] == [0, 100, 160]  # measured anew from the end of the run by hand


def test_a_resume_while_a_run_by_hand_goes_on_says_nothing_of_a_skip(stage: Stage) -> None:
    stage.task("tidy", 60, taking(1, 20))

    async def main() -> None:
        await asyncio.sleep(10)
        stage.scheduler.pause("tidy")
        await asyncio.sleep(90)
        run = asyncio.ensure_future(stage.scheduler.run_now("tidy"))
        await asyncio.sleep(5)
        stage.scheduler.resume("tidy")
        await run
        await asyncio.sleep(65)

    during(stage, main)

    assert stage.times["tidy"] == [0, 100, 180]
    assert skips(stage, "tidy") == [(61, "paused: by hand")]


def test_another_trigger_during_a_pause_is_what_the_resume_goes_by(stage: Stage) -> None:
    others: dict[str, Trigger] = {"grid": GRID, "cron": Cron("*/5 * * * *"), "past": Once(wall(1))}
    for name in others:
        stage.task(name, 60)
        stage.scheduler.pause(name)

    async def main() -> None:
        await asyncio.sleep(70)  # they came due
        for name, trigger in others.items():
            stage.scheduler.reschedule(name, trigger)
            stage.scheduler.resume(name)
        await asyncio.sleep(250)

    during(stage, main)

    assert stage.times == {"grid": [130, 190, 250, 310], "cron": [300], "past": []}


def test_a_paused_worker_is_restarted_when_the_pause_ends(registry: Registry) -> None:
    clock, began = VirtualClock(), list[float]()

    @background_worker(restart_delay=5, registry=registry)
    async def journal() -> None:
        began.append(clock.monotonic())
        await asyncio.sleep(10)

    scheduler = build_scheduler(registry=registry, clock=clock)

    async def main(clock: VirtualClock) -> None:
        async with scheduler:
            await clock.advance(1)
            scheduler.pause("journal")
            await clock.advance(99)
            scheduler.resume("journal")
            await clock.advance(1)

    run_virtual(main, clock)

    assert began == [0, 100]


# -- run now -------------------------------------------------------------------------------------


def test_run_now_returns_the_outcome(stage: Stage) -> None:
    error = ValueError("no")

    async def seven() -> int:
        await asyncio.sleep(5)
        return 7

    stage.task("seven", 3600, seven, initial_delay=1800)
    stage.task("bad", 3600, raising(error), initial_delay=1800)
    stage.task("hang", 3600, sleeping(100), initial_delay=1800, timeout=10)
    got: list[Outcome] = []

    async def main() -> None:
        for name in ("seven", "bad", "hang"):
            got.append(await stage.scheduler.run_now(name))

    during(stage, main)

    assert got == [Done(7), Failed(error), TimedOut(10)]
    assert [event.due for event in stage.heard.of(RunStarted)] == [wall(0), wall(5), wall(5)]


@ALL
def test_a_plain_interval_is_measured_anew_and_the_others_stay_as_they_are(trigger: Trigger) -> None:
    stage, first = Stage(), begins(trigger)
    stage.task("tidy", trigger, taking(5))

    async def main() -> None:
        await asyncio.sleep(first + 30)
        await stage.scheduler.run_now("tidy")
        await asyncio.sleep(70)

    during(stage, main)

    expected = [0, 30, 95] if trigger == PLAIN else [0, 30, 60]
    assert [at - first for at in stage.times["tidy"]] == expected


def test_a_caller_that_is_cancelled_leaves_the_run_alone(stage: Stage) -> None:
    stage.task("slow", 3600, sleeping(20), initial_delay=1800)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await stage.scheduler.run_now("slow")
        assert shown(stage, "slow").running == 1
        await asyncio.sleep(20)

    during(stage, main)

    assert stage.heard.outcomes("slow") == [Done()]


def test_a_stop_answers_whoever_waits(stage: Stage) -> None:
    stage.task("runs", GRID, sleeping(3600), overlap="queue", initial_delay=3000)
    got: dict[str, Outcome] = {}

    async def ask(which: str) -> None:
        got[which] = await stage.scheduler.run_now("runs")

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            await stage.scheduler.start()
            group.create_task(ask("running"))
            await asyncio.sleep(1)
            group.create_task(ask("queued"))
            await asyncio.sleep(1)
            await stage.scheduler.stop()

    stage.run(main)

    assert got == {"running": Cancelled(), "queued": Skipped("the scheduler was stopped")}


def test_a_task_cannot_wait_for_a_run_of_itself(stage: Stage) -> None:
    said: list[str] = []

    async def again() -> None:
        async def helper() -> None:
            await stage.scheduler.run_now("tidy")

        for ask in (stage.scheduler.run_now("tidy"), asyncio.create_task(helper())):
            with pytest.raises(BgTasksError) as refused:
                await ask
            said.append(str(refused.value))

    stage.task("tidy", 3600, again)

    stage.play(10)

    assert said == ['"tidy" cannot wait for a run of itself'] * 2
    assert stage.heard.outcomes("tidy") == [Done()]


def test_a_run_may_run_another_task_which_has_a_context_of_its_own(stage: Stage) -> None:
    seen: list[str] = []

    async def look() -> None:
        run = current_run.get()
        assert run is not None
        seen.append(run.task)

    async def chain() -> Outcome:
        return await stage.scheduler.run_now("other")

    stage.task("first", 3600, chain)
    stage.task("other", 3600, look, initial_delay=1800)

    stage.play(10)

    assert seen == ["other"]
    assert stage.heard.outcomes("first") == [Done()]


def test_run_now_needs_a_scheduler_that_runs_in_this_event_loop(stage: Stage) -> None:
    stage.task("tidy", 60)
    refused = '"tidy" cannot be run: start the scheduler first, in this event loop'

    async def ask() -> None:
        with pytest.raises(BgTasksError) as error:
            await stage.scheduler.run_now("tidy")
        assert str(error.value) == refused

    stage.run(ask)  # not started
    stage.play(1)
    stage.run(ask)  # stopped
    first = VirtualLoop(stage.clock)
    first.run_until_complete(stage.scheduler.start())
    stage.run(ask)  # runs in another
    first.run_until_complete(stage.scheduler.stop())
    first.close()


# -- reschedule ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trigger", "times"),
    [
        (30, [0, 40, 70, 100]),
        ("30s", [0, 40, 70, 100]),
        (timedelta(seconds=30), [0, 40, 70, 100]),
        (Every(30, fixed_rate=True), [0, 40, 70, 100]),
        (CRON, [0, 60, 120]),
        (Once(wall(50)), [0, 50]),
        (Once(wall(5)), [0]),
    ],
    ids=str,
)
@pytest.mark.parametrize("before", [PLAIN, GRID], ids=str)
def test_another_interval_or_trigger_is_measured_from_now(
    before: Trigger, trigger: Any, times: list[float]
) -> None:
    stage = Stage()
    stage.task("tidy", before)

    async def main() -> None:
        await asyncio.sleep(10)
        stage.scheduler.reschedule("tidy", trigger)
        await asyncio.sleep(115)

    during(stage, main)

    assert stage.times["tidy"] == times
    assert shown(stage, "tidy").when == stage.scheduler.decisions[0].when


def test_a_run_in_progress_goes_on_and_the_new_interval_counts_from_its_end(stage: Stage) -> None:
    stage.task("slow", 60, sleeping(20))

    async def main() -> None:
        await asyncio.sleep(5)
        stage.scheduler.reschedule("slow", 10)
        await asyncio.sleep(30)

    during(stage, main)

    assert stage.times["slow"] == [0, 30]
    assert stage.heard.outcomes("slow")[0] == Done()


def test_a_run_may_give_its_own_task_another_interval(stage: Stage) -> None:
    async def slow_down() -> None:
        stage.scheduler.reschedule("tidy", 10 * 2 ** len(stage.times["tidy"]))

    stage.task("tidy", 10, slow_down)

    stage.play(150)

    assert stage.times["tidy"] == [0, 20, 60, 140]


def test_what_is_rescheduled_while_stopped_holds_from_the_start(stage: Stage) -> None:
    stage.task("tidy", 60)
    stage.scheduler.reschedule("tidy", "10s")

    stage.play(25)

    assert stage.times["tidy"] == [0, 10, 20]


@pytest.mark.parametrize("interval", [0, -1, "soon", None, float("nan")])
def test_what_is_no_interval_is_refused_and_the_old_one_stays(stage: Stage, interval: Any) -> None:
    stage.task("tidy", 60)

    async def main() -> None:
        with pytest.raises(InvalidTrigger):
            stage.scheduler.reschedule("tidy", interval)
        await asyncio.sleep(70)

    during(stage, main)

    assert stage.times["tidy"] == [0, 60]
    assert shown(stage, "tidy").when == "every 1m"


def test_a_worker_has_no_schedule(registry: Registry) -> None:
    @background_worker(registry=registry)
    async def journal() -> None: ...

    scheduler = build_scheduler(registry=registry, clock=VirtualClock())

    with pytest.raises(InvalidTask, match='"journal" is a worker: it has no schedule'):
        scheduler.reschedule("journal", 30)


# -- remove --------------------------------------------------------------------------------------


def test_a_removed_task_runs_no_more_and_has_no_row(stage: Stage) -> None:
    stage.task("tidy", 60)
    stage.task("other", 60)

    async def main() -> None:
        await asyncio.sleep(10)
        await stage.scheduler.remove("tidy")
        await asyncio.sleep(100)

    during(stage, main)

    assert stage.times == {"tidy": [0], "other": [0, 60]}
    assert [row.name for row in stage.scheduler.decisions] == ["other"]
    assert [row.name for row in stage.scheduler.snapshot()] == ["other"]


def test_a_task_may_be_removed_while_the_scheduler_is_stopped(stage: Stage) -> None:
    stage.task("tidy", 60)

    stage.run(lambda: stage.scheduler.remove("tidy"))
    stage.play(10)

    assert stage.times["tidy"] == []


def test_the_run_of_a_removed_task_is_cancelled_and_waited_for_and_then_its_name_is_free(
    stage: Stage,
) -> None:
    async def clean_up() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(3)

    stage.task("tidy", 60, clean_up)

    async def main() -> None:
        await asyncio.sleep(10)
        removing = asyncio.create_task(stage.scheduler.remove("tidy"))
        await asyncio.sleep(1)
        with pytest.raises(DuplicateTask):
            stage.task("tidy", 60)
        with pytest.raises(UnknownTask):
            stage.scheduler.pause("tidy")
        assert stage.scheduler.snapshot() == ()
        await removing
        assert stage.clock.monotonic() == 13
        stage.task("tidy", 60)
        await asyncio.sleep(1)

    during(stage, main)

    assert stage.heard.outcomes("tidy") == [Cancelled("the task was removed"), Done()]
    assert stage.times["tidy"] == [0, 13]


def test_a_run_that_will_not_end_is_waited_for_as_long_as_a_stop_would_be() -> None:
    stage, stubborn = Stage(stop_timeout=10), Stubborn()
    stage.task("stubborn", 60, stubborn)

    async def main() -> None:
        await stage.scheduler.remove("stubborn")
        await asyncio.sleep(1)

    async def scene() -> None:
        async with stage.scheduler:
            await asyncio.sleep(5)
            await stage.scheduler.remove("stubborn")
            assert stage.clock.monotonic() == 15
            assert stage.scheduler.unfinished == ("stubborn",)
            assert not stage.scheduler.health()
            stubborn.released.set()
            await stage.clock.settle()
            stage.task("stubborn", 60)

    stage.run(scene)

    assert len(stage.heard.of(RunStuck)) == 1


def test_a_task_may_remove_itself_from_inside_its_run(stage: Stage) -> None:
    after: list[str] = []

    async def leave() -> None:
        await stage.scheduler.remove("tidy")
        after.append("the run went on")

    stage.task("tidy", 60, leave)

    async def main() -> None:
        await asyncio.sleep(10)
        assert stage.scheduler.snapshot() == ()
        stage.task("tidy", 60)
        await asyncio.sleep(1)

    during(stage, main)

    assert stage.heard.outcomes("tidy") == [Cancelled("the task was removed"), Done()]
    assert after == []


@pytest.mark.parametrize("waits", ["queued", "for a slot"])
def test_what_waits_is_declined_when_its_task_is_removed(waits: str) -> None:
    stage = Stage(max_concurrent=1 if waits == "for a slot" else None)
    stage.task("hog", 3600, sleeping(100))
    if waits == "queued":
        stage.task("tidy", GRID, sleeping(100), overlap="queue")
    else:
        stage.task("tidy", GRID, overlap="queue")
    stage.task("next", 3600, initial_delay=1)

    async def main() -> None:
        await asyncio.sleep(30)
        asked = asyncio.ensure_future(stage.scheduler.run_now("tidy"))
        await asyncio.sleep(1)
        await stage.scheduler.remove("tidy")
        if waits == "queued":
            assert await asked == Skipped("the task was removed")
        else:
            assert await asked == Skipped("the previous run has not begun yet")
        await asyncio.sleep(100)

    during(stage, main)

    assert len(stage.times["tidy"]) == (1 if waits == "queued" else 0)
    assert len(stage.times["next"]) == 1


def test_the_last_task_that_waits_for_a_lost_server_takes_the_outage_with_it(stage: Stage) -> None:
    server = Server()
    server.up = False
    stage.task("first", 60, server.use)

    async def main() -> None:
        await asyncio.sleep(5)
        await stage.scheduler.remove("first")
        assert stage.scheduler.unavailable == {}  # nobody knows
        stage.task("second", 60, server.use)
        await asyncio.sleep(5)

    during(stage, main)

    assert len(stage.heard.of(ResourceLost)) == 2


# -- snapshot and health -------------------------------------------------------------------------


def test_a_job_is_shown_at_each_stage_of_its_life(stage: Stage) -> None:
    error = ValueError("no")
    turns = itertools.count()

    async def moody() -> None:
        await asyncio.sleep(10)
        if next(turns) == 1:
            raise error

    stage.task("tidy", 60, moody, initial_delay=5)
    assert shown(stage, "tidy") == JobSnapshot("tidy", "every 1m")

    async def main() -> None:
        assert shown(stage, "tidy") == JobSnapshot("tidy", "every 1m", next_run=wall(5))
        await asyncio.sleep(10)
        assert shown(stage, "tidy") == JobSnapshot("tidy", "every 1m", running=1, running_since=wall(5))
        await asyncio.sleep(10)
        done = JobSnapshot("tidy", "every 1m", next_run=wall(75), last_outcome=Done(), last_ended=wall(15))
        assert shown(stage, "tidy") == done
        await asyncio.sleep(70)
        assert shown(stage, "tidy") == JobSnapshot(
            "tidy",
            "every 1m",
            next_run=wall(145),
            last_outcome=Failed(error),
            last_ended=wall(85),
            failures=1,
        )

    during(stage, main)

    assert shown(stage, "tidy").next_run is None


def test_a_task_that_is_skipped_and_one_that_is_missed_say_so(stage: Stage) -> None:
    stage.task("slow", GRID, sleeping(100))
    stage.task("cron", CRON, catch_up="none")

    async def main() -> None:
        await asyncio.sleep(70)
        assert shown(stage, "slow").last_outcome == Skipped(STILL)
        stage.clock.stall(85)
        await stage.clock.settle()
        last = shown(stage, "cron").last_outcome
        assert isinstance(last, Missed)
        assert last.ticks == 1
        assert last.reason.startswith("noticed 35")

    during(stage, main)


def test_a_task_that_waits_for_a_lost_server_says_so_and_is_as_it_should_be(stage: Stage) -> None:
    server = Server()
    server.up = False
    stage.task("tidy", 3600, server.use)

    async def main() -> None:
        await asyncio.sleep(1000)
        assert shown(stage, "tidy").waiting == "redis, which does not answer"
        assert stage.scheduler.health()

    during(stage, main)


def test_health_is_red_unless_the_scheduler_runs(stage: Stage) -> None:
    stage.task("tidy", 60)
    red = ("the scheduler is not running: it was not started, or was stopped",)
    assert stage.scheduler.health().problems == red

    async def main() -> None:
        assert stage.scheduler.health()
        await asyncio.sleep(100)
        assert stage.scheduler.health().problems == ()

    during(stage, main)

    assert stage.scheduler.health().problems == red


def test_health_is_red_while_the_event_loop_does_not_get_to_what_is_due(stage: Stage) -> None:
    answers: list[Any] = []

    def ask() -> None:
        health = stage.scheduler.health()
        answers.append((health.ok, health.problems, health.lag))

    async def hold() -> None:
        stage.clock.stall(40)  # the loop does not turn meanwhile
        for _ in range(2):
            probe = threading.Thread(target=ask)
            probe.start()
            probe.join()

    stage.task("holder", 3600, hold, initial_delay=5)
    stage.task("tidy", 20)

    async def main() -> None:
        await asyncio.sleep(100)
        assert stage.scheduler.health()
        assert stage.scheduler.lag == 0

    during(stage, main)

    # It is the 45th second: the tick of the 20th is late by 25, that which is being held by 40.
    for ok, problems, lag in answers:
        assert (ok, problems) == (False, ('"tidy" was due 25 s ago and has not started',))
        assert 25 <= lag <= 40


@pytest.mark.parametrize("tolerance", [-1, float("nan"), "soon", None])
def test_a_tolerance_that_is_no_duration_is_refused(stage: Stage, tolerance: Any) -> None:
    with pytest.raises(InvalidTrigger):
        stage.scheduler.health(tolerance)


NAMED: list[tuple[str, tuple[Any, ...]]] = [
    ("pause", ()),
    ("resume", ()),
    ("reschedule", (60,)),
    ("run_now", ()),
    ("remove", ()),
]


@pytest.mark.parametrize(("method", "more"), NAMED, ids=[name for name, _ in NAMED])
def test_an_unknown_name_is_an_error_with_the_nearest_one(
    stage: Stage, method: str, more: tuple[Any, ...]
) -> None:
    stage.task("extract", 60)

    async def main() -> None:
        async def ask() -> None:
            answer = getattr(stage.scheduler, method)("extrakt", *more)
            if asyncio.iscoroutine(answer):
                await answer

        with pytest.raises(UnknownTask) as unknown:
            await ask()
        assert str(unknown.value) == 'no task is called "extrakt": did you mean "extract"?'

    during(stage, main)


# -- what listeners can do -----------------------------------------------------------------------

HEARD: list[type[Any]] = [
    RunStarted,
    RunFinished,
    RunRetried,
    RunSkipped,
    RunMissed,
    RunStuck,
    TaskPaused,
    TaskResumed,
]


@pytest.mark.parametrize("at", HEARD, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("first_step", [True, False], ids=["in its first step", "after an await"])
@ALL
def test_an_interrupt_in_a_listener_costs_no_task_its_turn_and_no_slot(
    trigger: Trigger, first_step: bool, at: Any
) -> None:
    stage = Stage(max_concurrent=1)
    turns, pressed = itertools.count(), list[Event]()
    busy, most = list[str](), list[int]()

    def press_once(event: Event) -> None:
        if isinstance(event, at) and not pressed and stage.clock.monotonic() < 1400:
            pressed.append(event)
            raise KeyboardInterrupt

    async def eventful() -> None:
        turn = next(turns)
        if not first_step:
            await asyncio.sleep(1)
        if turn < 4:
            raise ValueError("no")
        if turn == 5:
            for _ in range(2):
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(3600)

    def counted(name: str, does: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        async def body() -> None:
            busy.append(name)
            most.append(len(busy))
            try:
                await does()
            finally:
                busy.remove(name)

        return body

    stage.scheduler.bus.subscribe(press_once)
    stage.task(
        "eventful",
        trigger,
        counted("eventful", eventful),
        timeout=30,
        retry=Retry(2, 1),
        breaker=Breaker(2, 90),
    )
    for name in ("other", "another"):
        stage.task(name, trigger, counted(name, taking(0, 20)))
    loop = VirtualLoop(stage.clock)
    loop.set_exception_handler(lambda *_: None)

    async def main() -> None:
        async with stage.scheduler:
            await asyncio.sleep(600)
            stage.clock.stall(200)
            await asyncio.sleep(600)
            for times in stage.times.values():
                times.clear()
            await asyncio.sleep(600)

    host = loop.create_task(main(), context=contextvars.Context())
    left = 0
    while not host.done():
        try:
            loop.run_until_complete(host)
        except KeyboardInterrupt:
            left += 1
    loop.close()

    assert left == len(pressed)
    assert pressed or trigger == PLAIN  # whose ticks are neither missed nor, here, skipped
    assert max(most) == 1
    assert {name for name, times in stage.times.items() if len(times) < 3} == set()


def test_the_clocks_of_these_tests_differ_in_what_they_say() -> None:
    assert SilentClock.on_step is None
    assert VirtualClock.on_step is not None
