"""More than can be done: jobs due faster than they run, and a hundred thousand overdue at once."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.waiting import PATIENCE_S, until

from bgtasks import BackgroundScheduler, Every
from bgtasks.events import Event, RunMissed, RunSkipped, RunStarted
from bgtasks.testing import VirtualClock, run_virtual

JOBS = 1000
TURNS = 100
A_TURN_S = 1.0
"""What an unrelated coroutine waits for a turn at most: a thousand times as long as on an idle machine."""

TRIGGERS = {
    "1 ms, fixed rate": Every("1ms", fixed_rate=True),
    "1 ms, from end": Every("1ms"),
    "1 µs, fixed rate": Every(1e-6, fixed_rate=True),
    "1 µs, from end": Every(1e-6),
}
OVERLAPS = ["skip", "queue", "cancel", "allow"]
CATCH_UP = ["one", "none", "all"]


async def nothing() -> None:
    pass


async def for_ever() -> None:
    await asyncio.get_running_loop().create_future()


def heap_of(scheduler: BackgroundScheduler) -> int:
    return len(scheduler._dispatcher.timeline._heap)


class Lines(logging.Handler):
    """Counts the lines of a log, by level."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.counts: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        self.counts[record.levelname] += 1


class Overload:
    """A thousand jobs in real time, and what an unrelated coroutine sees of them.

    Attributes:
        worst: The longest that the coroutine waited for a turn.
        heap: The most entries that the timeline held.
        lines: What was logged.
        said: How many events of each kind.
        stopped_in: How long the stop took.
    """

    def __init__(
        self, trigger: Every, body: Callable[[], Any] = nothing, jobs: int = JOBS, **options: Any
    ) -> None:
        self.scheduler = BackgroundScheduler(stop_timeout=PATIENCE_S)
        for number in range(jobs):
            self.scheduler.register(f"t{number}", body, trigger, **options)
        self.said: Counter[type[Event]] = Counter()
        self.started: set[str] = set()
        self.scheduler.bus.subscribe(self._count)
        self.worst = self.stopped_in = 0.0
        self.heap = 0
        self.lines: Counter[str] = Counter()

    def _count(self, event: Event) -> None:
        self.said[type(event)] += 1
        if isinstance(event, RunStarted):
            self.started.add(event.task)

    async def live(self, seen_enough: Callable[[], bool]) -> None:
        """Run until enough was seen; an unrelated coroutine takes turns meanwhile."""
        lines, logger = Lines(), logging.getLogger("bgtasks")
        logger.addHandler(lines)
        deadline = time.monotonic() + PATIENCE_S
        turns = 0
        try:
            await self.scheduler.start()
            while turns < TURNS or not seen_enough():
                began = time.monotonic()
                await asyncio.sleep(0)
                self.worst = max(self.worst, time.monotonic() - began)
                self.heap = max(self.heap, heap_of(self.scheduler))
                turns += 1
                assert time.monotonic() < deadline
            began = time.monotonic()
            await self.scheduler.stop()
            self.stopped_in = time.monotonic() - began
        finally:
            logger.removeHandler(lines)
        self.lines = lines.counts

    def all_ran(self) -> bool:
        return len(self.started) == len(self.scheduler.snapshot())


@pytest.mark.parametrize("trigger", TRIGGERS)
async def test_an_unrelated_coroutine_has_its_turn_and_so_has_each_job_and_the_stop(trigger: str) -> None:
    overload = Overload(TRIGGERS[trigger])

    await overload.live(overload.all_ran)

    assert overload.worst < A_TURN_S
    assert overload.stopped_in < 5 * A_TURN_S
    assert overload.heap <= 2 * JOBS
    assert overload.lines["ERROR"] == 0
    assert overload.scheduler.unfinished == ()
    told_of_each = (overload.said[RunMissed] // JOBS).bit_length() + 8  # the 1st, 2nd, 4th, 8th … time
    assert sum(overload.lines.values()) < JOBS * told_of_each


@pytest.mark.full
@pytest.mark.parametrize("trigger", [name for name in TRIGGERS if "fixed" in name])
@pytest.mark.parametrize("catch_up", CATCH_UP)
async def test_however_it_is_to_catch_up_it_does_not_take_the_loop_for_itself(
    trigger: str, catch_up: str
) -> None:
    overload = Overload(TRIGGERS[trigger], catch_up=catch_up)

    skips = catch_up != "all"  # then, sooner or later, it says so

    await overload.live(
        lambda: overload.all_ran() and overload.said[RunStarted] > 1000 and skips <= overload.said[RunMissed]
    )

    assert overload.worst < A_TURN_S
    assert overload.heap <= 2 * JOBS
    assert (overload.said[RunMissed] > 0) == skips


@pytest.mark.full
@pytest.mark.parametrize("trigger", [name for name in TRIGGERS if "fixed" in name])
@pytest.mark.parametrize("overlap", OVERLAPS[:3])
async def test_runs_that_never_end_leave_no_heap_of_ticks_behind(trigger: str, overlap: str) -> None:
    overload = Overload(TRIGGERS[trigger], for_ever, jobs=100, overlap=overlap)

    await overload.live(
        lambda: overload.all_ran() and overload.said[RunStarted] + overload.said[RunSkipped] > 2000
    )

    assert overload.worst < A_TURN_S
    assert overload.heap <= 200
    assert overload.scheduler.unfinished == ()
    told = overload.said[RunSkipped] + overload.said[RunMissed]
    if overlap == "cancel":  # each run is begun and cancelled: two such end the row of what is left out
        assert overload.lines["WARNING"] < told
    else:
        assert overload.lines["WARNING"] < 100 * 2 * ((told // 100).bit_length() + 3), f"of {told} skips"


async def test_the_log_says_less_and_less_of_the_same() -> None:
    overload = Overload(Every("1ms", fixed_rate=True), for_ever, jobs=1)

    await overload.live(lambda: overload.said[RunSkipped] > 300)

    assert overload.lines["WARNING"] <= 3 + overload.said[RunSkipped].bit_length() * 2


async def test_a_limit_holds_while_a_thousand_wait_and_all_come_to_their_turn() -> None:
    scheduler = BackgroundScheduler(max_concurrent=5)
    at_once = most = 0
    ran: set[int] = set()

    async def work(number: int) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        try:
            await asyncio.sleep(0)
            ran.add(number)
        finally:
            at_once -= 1

    for number in range(JOBS):
        scheduler.register(f"t{number}", work, Every("1ms"), args=(number,))
    async with scheduler:
        await until("each had its turn", lambda: len(ran) == JOBS)
    assert most == 5
    assert at_once == 0


# -- a hundred thousand at once ------------------------------------------------------------------


@pytest.mark.parametrize("jobs", [10_000, pytest.param(100_000, marks=pytest.mark.full)])
def test_jobs_that_are_overdue_all_at_once_all_start_within_ten_seconds(jobs: int) -> None:
    clock = VirtualClock()
    times: list[float] = []

    async def note() -> None:
        times.append(clock.monotonic())

    async def main(clock: VirtualClock) -> int:
        scheduler = BackgroundScheduler(clock=clock)
        hourly = Every("1h", fixed_rate=True)
        for number in range(jobs):
            scheduler.register(f"t{number}", note, hourly, 1)
        async with scheduler:
            clock.stall("30m")
            await clock.advance(11)
            assert scheduler.health().ok
            return heap_of(scheduler)

    heap = run_virtual(main, clock)

    assert len(times) == jobs
    assert heap <= 2 * jobs
    assert times == sorted(times)
    assert all(1800 <= at <= 1811 for at in times)
    most_at_once = max(Counter(round(at, 2) for at in times).values())
    assert most_at_once <= jobs / 500


@pytest.mark.full
async def test_the_same_in_real_time_while_another_coroutine_takes_its_turns() -> None:
    jobs, begun = 100_000, itertools.count(1)
    seen = 0

    async def count() -> None:
        nonlocal seen
        seen = next(begun)

    clock = Skewed()
    scheduler = BackgroundScheduler(clock=clock, stop_timeout=PATIENCE_S)
    for number in range(jobs):
        scheduler.register(f"t{number}", count, Every("1h", fixed_rate=True), "10m")
    await scheduler.start()
    clock.skip(1800)
    worst, deadline = 0.0, time.monotonic() + PATIENCE_S
    while seen < jobs:
        began = time.monotonic()
        await asyncio.sleep(0)
        worst = max(worst, time.monotonic() - began)
        assert time.monotonic() < deadline, f"{seen} of {jobs}"
    await scheduler.stop()
    assert worst < 3 * A_TURN_S


class Skewed(VirtualClock):
    """The machine's time, which a test may move on, without saying so."""

    on_step = None  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self._began, self._skipped = time.monotonic(), 0.0

    def skip(self, seconds: float) -> None:
        self._skipped += seconds

    def monotonic(self) -> float:
        return time.monotonic() - self._began + self._skipped
