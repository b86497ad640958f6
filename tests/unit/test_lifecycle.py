"""Stopping with patience: what is running may end by itself for a while, and nothing else begins."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.support.recording import Recorder
from tests.unit.test_scheduler import Stage, Stubborn, raising, sleeping

from bgtasks import Cancelled, Done, Every, Failed, Retry, Skipped, TimedOut, background_worker
from bgtasks.build import build_scheduler
from bgtasks.errors import InvalidTrigger
from bgtasks.events import RunFinished, RunStarted, SchedulerStopped
from bgtasks.registry import Registry
from bgtasks.testing import VirtualClock, run_virtual


@pytest.fixture
def stage() -> Stage:
    return Stage()


def stopping(stage: Stage, after: float, *stops: tuple[float, Any]) -> list[float]:
    """Start it, and call `stop(drain)` after so many seconds each; when each of them returned."""
    returned: list[float] = []

    async def stop(at: float, drain: Any) -> None:
        await asyncio.sleep(at)
        await (stage.scheduler.stop() if drain is None else stage.scheduler.stop(drain))
        returned.append(round(stage.clock.monotonic(), 3))

    async def main() -> None:
        await stage.scheduler.start()
        await asyncio.gather(*(stop(after + at, drain) for at, drain in stops))

    stage.run(main)
    return returned


def test_a_run_that_ends_within_the_drain_ends_by_itself_and_the_stop_returns_at_once(stage: Stage) -> None:
    stage.task("slow", 60, sleeping(20))

    assert stopping(stage, 5, (0, 60)) == [20]

    assert stage.heard.outcomes("slow") == [Done()]
    assert stage.stops == [((), 15)]


@pytest.mark.parametrize("drain", ["10s", 10, 10.0])
def test_a_run_that_takes_longer_than_the_drain_is_cancelled_then(stage: Stage, drain: Any) -> None:
    stage.task("slow", 60, sleeping(3600))

    assert stopping(stage, 5, (0, drain)) == [15]

    assert stage.heard.outcomes("slow") == [Cancelled()]


def test_nothing_begins_during_the_drain(stage: Stage) -> None:
    stage.task("slow", 60, sleeping(50))
    stage.task("quick", Every(1, fixed_rate=True))
    stage.task("queue", Every(10, fixed_rate=True), sleeping(35), overlap="queue")

    stopping(stage, 25.5, (0, 60))

    assert stage.times["quick"][-1] == 25
    assert stage.times["slow"] == stage.times["queue"] == [0]
    assert stage.heard.outcomes("queue") == [Done()]


def test_a_run_that_waits_for_a_slot_is_declined_when_the_drain_begins() -> None:
    stage = Stage(max_concurrent=1)
    stage.task("first", 60, sleeping(20))
    stage.task("second", 60)

    assert stopping(stage, 5, (0, 60)) == [20]

    assert stage.times["second"] == []
    [second] = [row for row in stage.scheduler.snapshot() if row.name == "second"]
    assert second.last_outcome == Skipped("the scheduler was stopped")


def test_several_runs_are_waited_for(stage: Stage) -> None:
    for seconds in (10, 20, 30):
        stage.task(f"t{seconds}", 60, sleeping(seconds))

    assert stopping(stage, 5, (0, 20)) == [25]

    assert [stage.heard.outcomes(f"t{seconds}") for seconds in (10, 20, 30)] == [
        [Done()],
        [Done()],
        [Cancelled()],
    ]


@pytest.mark.parametrize("drain", [None, 0, "0s"])
def test_a_second_stop_without_a_drain_cuts_the_wait_short(stage: Stage, drain: Any) -> None:
    stage.task("slow", 60, sleeping(3600))

    assert stopping(stage, 5, (0, 600), (10, drain)) == [15, 15]

    assert stage.heard.outcomes("slow") == [Cancelled()]
    assert len(stage.heard.of(SchedulerStopped)) == 1


def test_a_second_stop_with_a_drain_waits_with_the_first(stage: Stage) -> None:
    stage.task("slow", 60, sleeping(100))

    assert stopping(stage, 5, (0, 600), (10, 1)) == [100, 100]


def test_workers_which_never_end_are_not_waited_for(registry: Registry) -> None:
    @background_worker(registry=registry)
    async def journal() -> None:
        await asyncio.Event().wait()

    clock = VirtualClock()
    scheduler = build_scheduler(registry=registry, clock=clock)
    heard = Recorder(scheduler)

    async def main(clock: VirtualClock) -> None:
        await scheduler.start()
        await clock.advance(5)
        await scheduler.stop("1h")

    run_virtual(main, clock)

    assert clock.monotonic() == 5
    assert heard.outcomes("journal") == [Cancelled()]


def test_a_worker_goes_on_while_tasks_are_waited_for(registry: Registry) -> None:
    clock, ended = VirtualClock(), list[float]()

    @background_worker(registry=registry)
    async def journal() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(clock.monotonic())

    scheduler = build_scheduler(registry=registry, clock=clock)
    scheduler.register("slow", sleeping(20), 60)

    async def main(clock: VirtualClock) -> None:
        await scheduler.start()
        await clock.advance(5)
        await scheduler.stop("1h")

    run_virtual(main, clock)

    assert ended == [20]


def test_timeouts_hold_during_the_drain(stage: Stage) -> None:
    stage.task("hang", 60, sleeping(3600), timeout=30)

    assert stopping(stage, 5, (0, 600)) == [30]

    assert stage.heard.outcomes("hang") == [TimedOut(30)]


def test_the_attempts_of_a_run_are_part_of_it_during_the_drain(stage: Stage) -> None:
    stage.task("moody", 60, raising(ValueError("no")), retry=Retry(3, 10))

    [returned] = stopping(stage, 1, (0, 600))

    assert 10 <= returned <= 30
    assert len(stage.times["moody"]) == 3
    [outcome] = stage.heard.outcomes("moody")
    assert isinstance(outcome, Failed)


def test_a_run_between_two_attempts_is_cancelled_by_a_stop(stage: Stage) -> None:
    stage.task("moody", 60, raising(ValueError("no")), retry=Retry(3, 50))

    assert stopping(stage, 1, (0, None)) == [1]

    assert stage.heard.outcomes("moody") == [Cancelled()]


def test_a_drain_and_the_stop_timeout_together_bound_the_stop() -> None:
    stage, stubborn = Stage(stop_timeout=10), Stubborn()
    stage.task("stubborn", 60, stubborn)

    async def main() -> None:
        await stage.scheduler.start()
        await asyncio.sleep(5)
        await stage.scheduler.stop(20)
        assert stage.clock.monotonic() == 35
        stubborn.released.set()
        await stage.clock.settle()

    stage.run(main)

    assert stage.stops == [(("stubborn",), 30)]


def test_a_start_during_a_drain_waits_for_its_end(stage: Stage) -> None:
    stage.task("slow", 60, sleeping(20))

    async def main() -> None:
        await stage.scheduler.start()
        await asyncio.sleep(5)
        stop = asyncio.create_task(stage.scheduler.stop(60))
        await asyncio.sleep(5)
        await stage.scheduler.start()
        assert stop.done()
        assert stage.clock.monotonic() == 20
        await asyncio.sleep(5)
        await stage.scheduler.stop()

    stage.run(main)

    assert stage.times["slow"] == [0, 20]


def test_a_drain_whose_caller_is_cancelled_goes_on_to_its_end(stage: Stage) -> None:
    stage.task("slow", 60, sleeping(20))

    async def main() -> None:
        await stage.scheduler.start()
        await asyncio.sleep(5)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await stage.scheduler.stop(600)
        await asyncio.sleep(30)

    stage.run(main)

    assert stage.heard.outcomes("slow") == [Done()]
    assert stage.stops == [((), 15)]


def test_a_drain_with_nothing_to_wait_for_returns_at_once(stage: Stage) -> None:
    stage.task("quick", 60)

    assert stopping(stage, 5, (0, 600)) == [5]


def test_a_run_that_is_waited_for_may_ask_for_another_to_be_run_and_is_told_no(stage: Stage) -> None:
    answers: list[object] = []

    async def ask() -> None:
        await asyncio.sleep(20)
        try:
            answers.append(await stage.scheduler.run_now("other"))
        except Exception as error:  # noqa: BLE001
            answers.append(str(error))

    stage.task("asker", 60, ask)
    stage.task("other", 3600, initial_delay=1800)

    stopping(stage, 5, (0, 60))

    assert answers == ['"other" cannot be run: start the scheduler first, in this event loop']
    assert stage.times["other"] == []


@pytest.mark.parametrize("drain", [-1, float("nan"), "soon", None, True])
def test_a_drain_that_is_no_duration_is_refused_and_nothing_is_stopped(stage: Stage, drain: Any) -> None:
    async def main() -> None:
        async with stage.scheduler:
            with pytest.raises(InvalidTrigger):
                await stage.scheduler.stop(drain)
            assert stage.scheduler.running

    stage.run(main)


# -- a host that never stops it ------------------------------------------------------------------


def leaving(stage: Stage, seconds: float) -> None:
    """As a host does that starts it and lets `asyncio.run` end without a stop."""

    async def start_and_leave() -> None:
        await stage.scheduler.start()
        await asyncio.sleep(seconds)

    stage.run(start_and_leave)


@pytest.mark.parametrize("waits", ["for a slot", "in the queue"])
def test_what_waits_when_the_event_loop_ends_does_not_begin_in_its_last_moments(waits: str) -> None:
    stage = Stage(max_concurrent=1 if waits == "for a slot" else None)
    if waits == "for a slot":
        stage.task("first", 60, sleeping(3600))
        stage.task("second", 60, sleeping(3600))
    else:
        stage.task("first", Every(10, fixed_rate=True), sleeping(3600), overlap="queue")

    leaving(stage, 15)

    assert len(stage.heard.of(RunStarted)) == len(stage.heard.of(RunFinished)) == 1


def test_no_slot_is_lost_with_an_event_loop() -> None:
    stage = Stage(max_concurrent=2, group_limits={"llm": 1})
    for number in range(4):
        stage.task(f"t{number}", 60, sleeping(3600), group="llm" if number % 2 else None)

    leaving(stage, 5)
    for times in stage.times.values():
        times.clear()
    leaving(stage, 5)

    assert sum(len(times) for times in stage.times.values()) == 2
