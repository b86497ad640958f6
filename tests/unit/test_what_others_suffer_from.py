"""What users of schedulers complain of, one test for each complaint that a single process can cure."""

from __future__ import annotations

import asyncio
import functools
import gc
import itertools
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from tests.support.recording import Recorder
from tests.support.waiting import PATIENCE_S, until

from bgtasks import (
    BackgroundScheduler,
    Breaker,
    Cancelled,
    Cron,
    Done,
    Every,
    Failed,
    Missed,
    Once,
    Registry,
    Retry,
    Skipped,
    TimedOut,
    Trigger,
    background_task,
    build_scheduler,
    current_run,
)
from bgtasks.errors import BgTasksError, DuplicateTask, InvalidTask, InvalidTrigger, UnknownTask
from bgtasks.events import (
    Event,
    LoopStalled,
    RunFinished,
    RunMissed,
    RunRetried,
    RunSkipped,
    RunStarted,
    SchedulerStarted,
    TaskPaused,
)
from bgtasks.testing import VirtualClock, VirtualLoop, virtual_time

START = datetime(2026, 1, 1, tzinfo=UTC)
HELSINKI = ZoneInfo("Europe/Helsinki")
MINUTE = Every(60, fixed_rate=True)
EACH_MINUTE = pytest.mark.parametrize("trigger", [MINUTE, Cron("* * * * *")], ids=["grid", "cron"])


class Life:
    """A scheduler on virtual time, what it said, and when the runs of each task began."""

    def __init__(self, clock: VirtualClock, **options: Any) -> None:
        self.clock = clock
        self.scheduler = BackgroundScheduler(clock=clock, random=Random(3), **options)
        self.heard = Recorder(self.scheduler)
        self.times: dict[str, list[float]] = {}

    def task(
        self, name: str, trigger: Any, does: Callable[[], Awaitable[Any]] | None = None, **options: Any
    ) -> None:
        times = self.times.setdefault(name, [])

        async def body() -> Any:
            times.append(round(self.clock.monotonic(), 3))
            return None if does is None else await does()

        self.scheduler.register(name, body, trigger, **options)

    def skips(self, task: str) -> list[str]:
        return [event.reason for event in self.heard.of(RunSkipped) if event.task == task]

    def missed(self, task: str) -> list[tuple[datetime, int]]:
        return [(event.due, event.ticks) for event in self.heard.of(RunMissed) if event.task == task]

    def row(self, task: str) -> Any:
        return next(row for row in self.scheduler.snapshot() if row.name == task)


@pytest.fixture
def life(virtual_clock: VirtualClock) -> Life:
    return Life(virtual_clock)


async def for_ever() -> None:
    await asyncio.get_running_loop().create_future()


def sleeping(seconds: float) -> Callable[[], Awaitable[None]]:
    return lambda: asyncio.sleep(seconds)


def raising(error: BaseException) -> Callable[[], Awaitable[None]]:
    async def fail() -> None:
        raise error

    return fail


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What we have logged; asyncio in debug mode adds a line for each callback that takes long."""
    return [record.getMessage() for record in caplog.records if record.name.split(".")[0] == "bgtasks"]


def hold_the_loop_until(holds: Callable[[], object]) -> None:
    """Block the event loop, as a call without await does, until something is seen from another thread."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline


# -- ticks that are lost -------------------------------------------------------------------------


@EACH_MINUTE
@pytest.mark.parametrize("catch_up", ["one", "none", "all"])
@virtual_time
async def test_jobs_are_skipped_in_silence_for_being_two_seconds_late(
    virtual_clock: VirtualClock, life: Life, trigger: Trigger, catch_up: str
) -> None:
    life.task("mail", trigger, catch_up=catch_up)
    async with life.scheduler:
        await virtual_clock.advance(119)
        virtual_clock.stall(3)
        await virtual_clock.advance(30)

    assert life.times["mail"][-1] == 122
    assert life.heard.of(RunMissed) == []


@EACH_MINUTE
@pytest.mark.parametrize(("catch_up", "runs"), [("one", 1), ("none", 0), ("all", 1)])
@virtual_time
async def test_what_is_left_out_for_being_late_is_left_out_in_silence(
    virtual_clock: VirtualClock, life: Life, trigger: Trigger, catch_up: str, runs: int
) -> None:
    life.task("mail", trigger, catch_up=catch_up)
    async with life.scheduler:
        await virtual_clock.advance(119)
        before = len(life.times["mail"])
        virtual_clock.stall(30)
        await virtual_clock.advance(10)

    assert len(life.times["mail"]) - before == runs
    due = START + timedelta(seconds=120)
    assert life.missed("mail") == ([] if runs else [(due, 1)])


@EACH_MINUTE
@virtual_time
async def test_a_missed_job_waits_for_its_next_time_instead_of_running_at_once(
    virtual_clock: VirtualClock, life: Life, trigger: Trigger
) -> None:
    life.task("report", trigger)
    async with life.scheduler:
        await virtual_clock.advance(70)
        virtual_clock.stall(135)  # until 205: the ticks of 120 and 180 are missed
        await virtual_clock.advance(60)

    assert life.times["report"][-2:] == [205, 240]
    assert life.missed("report") == [(START + timedelta(seconds=120), 1)]


@virtual_time
async def test_hours_asleep_are_replayed_run_by_run(virtual_clock: VirtualClock, life: Life) -> None:
    life.task("digest", Cron("0 * * * *"))
    life.task("poll", Every("1m", fixed_rate=True))
    life.task("plain", "1m")
    async with life.scheduler:
        await virtual_clock.advance("90m")
        before = {name: len(times) for name, times in life.times.items()}
        virtual_clock.stall("8h")
        await virtual_clock.advance(15)

    assert {name: len(times) - before[name] for name, times in life.times.items()} == {
        "digest": 1,
        "poll": 1,
        "plain": 1,
    }
    assert life.missed("digest") == [(START + timedelta(hours=2), 7)]
    assert [ticks for _, ticks in life.missed("poll")] == [479]


@virtual_time
async def test_each_hour_asleep_was_wanted_and_only_one_run_comes(
    virtual_clock: VirtualClock, life: Life
) -> None:
    life.task("invoice", Cron("0 * * * *"), catch_up="all")
    async with life.scheduler:
        await virtual_clock.advance("90m")
        virtual_clock.stall("8h")
        await virtual_clock.advance(15)

    dues = [event.due.hour for event in life.heard.of(RunStarted)]
    assert dues == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert life.missed("invoice") == []


@pytest.mark.parametrize("overlap", ["skip", "queue", "cancel", "allow"])
@pytest.mark.parametrize("catch_up", ["one", "none", "all"])
@EACH_MINUTE
@virtual_time
async def test_some_ticks_are_nowhere_in_the_records(
    virtual_clock: VirtualClock, life: Life, trigger: Trigger, overlap: str, catch_up: str
) -> None:
    chance = Random(11)
    now_and_then_slow = [0.0] * 6 + [30.0, 90.0, 200.0]
    life.task(
        "job",
        trigger,
        lambda: asyncio.sleep(chance.choice(now_and_then_slow)),
        overlap=overlap,
        catch_up=catch_up,
    )
    async with life.scheduler:
        for _ in range(40):
            await virtual_clock.advance(chance.uniform(0, 600))
            virtual_clock.stall(chance.choice([0, 3, 30, 130, 500]))
        await virtual_clock.advance("3h")
        minutes = int(virtual_clock.monotonic() // 60)
        ticks = minutes + (trigger is MINUTE)  # a grid begins at once
        waiting = life.row("job").waiting is not None
        told = (
            len(life.heard.of(RunStarted))
            + len(life.heard.of(RunSkipped))
            + sum(event.ticks for event in life.heard.of(RunMissed))
        )
    assert told + waiting == ticks


# -- runs that never happen again ----------------------------------------------------------------


@EACH_MINUTE
@virtual_time
async def test_after_one_run_that_took_too_long_the_second_never_happens(
    virtual_clock: VirtualClock, life: Life, trigger: Trigger
) -> None:
    lengths = itertools.chain([150.0], itertools.repeat(1.0))
    life.task("job", trigger, lambda: asyncio.sleep(next(lengths)))
    async with life.scheduler:
        await virtual_clock.advance("10m")

    first, *others = life.times["job"]
    assert others == [float(at) for at in range(int(first) + 180, 601, 60)]
    assert life.skips("job") == ["the previous run is still going"] * 2


@virtual_time
async def test_one_call_that_hangs_ends_all_later_ticks_of_all_jobs_in_silence(
    virtual_clock: VirtualClock, life: Life
) -> None:
    life.task("hangs", MINUTE, for_ever)
    life.task("others", MINUTE)
    async with life.scheduler:
        await virtual_clock.advance("10m")
        row = life.row("hangs")

    assert len(life.times["others"]) == 11
    assert life.skips("hangs") == ["the previous run is still going"] * 10
    assert (row.running, row.running_since) == (1, START)


@pytest.mark.parametrize("trigger", [Every(60), MINUTE, Cron("* * * * *")], ids=str)
@virtual_time
async def test_a_stuck_running_marker_blocks_every_later_run(
    virtual_clock: VirtualClock, life: Life, trigger: Trigger
) -> None:
    life.task("hangs", trigger, for_ever, timeout="30s")
    async with life.scheduler:
        await virtual_clock.advance("10m")
        assert life.scheduler.health().ok

    assert len(life.times["hangs"]) >= 6
    assert set(life.heard.outcomes("hangs")[:-1]) == {TimedOut(30)}


class Unspeakable(Exception):
    """An error whose text cannot be had, as of a broken client library."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


WAYS_TO_END: dict[str, Callable[[], Awaitable[Any]]] = {
    "returns": sleeping(1),
    "raises": raising(ValueError("no")),
    "raises something odd": raising(BaseException("odd")),
    "cancels itself": raising(asyncio.CancelledError()),
    "raises what ends a generator": raising(GeneratorExit()),
    "raises what cannot be shown": raising(Unspeakable()),
    "says that there was nothing to do": functools.partial(asyncio.sleep, 1, Skipped("no news")),
    "returns what cannot be compared": functools.partial(asyncio.sleep, 1, float("nan")),
}


@pytest.mark.parametrize("how", WAYS_TO_END)
@pytest.mark.parametrize("limits", [{}, {"max_concurrent": 1}], ids=["free", "limited"])
@virtual_time
async def test_a_job_looks_busy_though_nothing_of_it_runs(
    virtual_clock: VirtualClock, how: str, limits: dict[str, Any]
) -> None:
    life = Life(virtual_clock, **limits)
    life.task("job", 60, WAYS_TO_END[how])
    life.task("other", 60, sleeping(1))
    async with life.scheduler:
        await virtual_clock.advance("10m")
        await virtual_clock.advance(5)
        rows = life.scheduler.snapshot()
        assert [(row.running, row.running_since, row.waiting) for row in rows] == [(0, None, None)] * 2
        assert life.scheduler.unfinished == ()
    assert len(life.times["job"]) >= 9
    assert len(life.times["other"]) >= 9


def test_a_run_that_was_cut_off_with_its_event_loop_blocks_the_job_in_the_next_one() -> None:
    clock = VirtualClock()
    life = Life(clock, max_concurrent=1)
    life.task("job", 60, for_ever)

    async def main() -> None:
        await life.scheduler.start()
        await clock.advance(90)

    for _ in range(3):
        with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock)) as runner:
            runner.run(main())

    assert life.times["job"] == [0, 90, 180]


@pytest.mark.parametrize(
    "policies", [{"retry": Retry(2)}, {"breaker": Breaker(1, "1s")}], ids=["retry", "breaker"]
)
@pytest.mark.parametrize("trigger", [Every(60), MINUTE], ids=str)
@virtual_time
async def test_an_error_that_cannot_be_shown_ends_the_schedule_of_its_job(
    virtual_clock: VirtualClock, life: Life, trigger: Trigger, policies: dict[str, Any]
) -> None:
    life.task("job", trigger, raising(Unspeakable()), **policies)
    async with life.scheduler:
        await virtual_clock.advance("590s")
        assert life.row("job").running == 0

    assert len(life.heard.outcomes("job")) >= 9


@virtual_time
async def test_a_failed_job_is_never_tried_again_or_for_ever(virtual_clock: VirtualClock, life: Life) -> None:
    life.task("bad", 3600, raising(ValueError("no")), retry=Retry(4, backoff="10s", cap="1m"))
    async with life.scheduler:
        await virtual_clock.advance("30m")

    assert len(life.times["bad"]) == 4
    delays = [event.delay for event in life.heard.of(RunRetried)]
    assert all(bound / 2 <= delay <= bound for delay, bound in zip(delays, (10, 20, 40), strict=True))


@pytest.mark.parametrize("first_step", [0.0, 0.5], ids=["at once", "after a while"])
@virtual_time
async def test_the_time_limit_of_an_attempt_runs_on_while_the_next_one_is_waited_for(
    virtual_clock: VirtualClock, life: Life, first_step: float
) -> None:
    attempts = itertools.count(1)

    async def third_time_lucky() -> int:
        if first_step:
            await asyncio.sleep(first_step)
        if (attempt := next(attempts)) < 3:
            raise ValueError("not yet")
        return attempt

    life.task("job", 3600, third_time_lucky, timeout="1s", retry=Retry(3, backoff="30s"))
    async with life.scheduler:
        await virtual_clock.advance("10m")

    assert life.heard.outcomes("job") == [Done(3)]


@virtual_time
async def test_a_job_that_fails_all_night_costs_money_all_night(
    virtual_clock: VirtualClock, life: Life
) -> None:
    life.task("llm", MINUTE, raising(ValueError("401")), breaker=Breaker(after=3, cool_down="1h"))
    async with life.scheduler:
        await virtual_clock.advance("8h")

    assert len(life.times["llm"]) < 3 + 8
    assert len(life.heard.of(TaskPaused)) == len(life.times["llm"]) - 2
    assert "ValueError: 401" in life.heard.of(TaskPaused)[0].reason


# -- a scheduler that looks alive ----------------------------------------------------------------


@virtual_time
async def test_all_looks_healthy_though_the_scheduler_was_never_started(
    virtual_clock: VirtualClock, life: Life
) -> None:
    life.task("job", 60)
    await virtual_clock.advance("1h")

    health = life.scheduler.health()
    assert not health.ok
    assert "not started" in health.problems[0]
    assert life.row("job").next_run is None


async def test_next_run_moves_on_looking_healthy_while_nothing_fires() -> None:
    scheduler = BackgroundScheduler(stall_after=0.1)
    held, asked = threading.Event(), threading.Event()
    answers: list[tuple[Any, Any, float]] = []

    def ask_from_outside() -> None:
        held.wait(PATIENCE_S)
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            health = scheduler.health(tolerance=0.2)
            if any("stood still" in each for each in health.problems) and len(health.problems) > 1:
                break
        snapshot = {row.name: row for row in scheduler.snapshot()}
        answers.append((health, snapshot["victim"].next_run, scheduler.lag))
        asked.set()

    async def victim() -> None:
        pass

    async def culprit() -> None:
        held.set()
        hold_the_loop_until(asked.is_set)

    scheduler.register("victim", victim, Every("50ms", fixed_rate=True))
    scheduler.register("culprit", culprit, "1h", "60ms")
    asking = asyncio.ensure_future(asyncio.to_thread(ask_from_outside))
    async with scheduler:
        await asking
        await until("it is healthy again", lambda: scheduler.health(tolerance=5).ok)
    health, next_run, lag = answers[0]
    assert not health.ok
    assert any("bgtasks:culprit:" in problem for problem in health.problems)
    assert any(problem.startswith('"victim" was due') for problem in health.problems)
    assert next_run < datetime.now(UTC)
    assert lag > 0.1
    assert health.lag > 0.1


async def test_one_job_blocks_all_and_nobody_knows_which(caplog: pytest.LogCaptureFixture) -> None:
    scheduler = BackgroundScheduler(stall_after=0.1)
    heard = Recorder(scheduler)

    async def parses_a_huge_file() -> None:
        hold_the_loop_until(lambda: "has stood still" in caplog.text)

    scheduler.register("innocent", asyncio.sleep, Every("5ms"), args=(0,))
    scheduler.register("guilty", parses_a_huge_file, "1h")
    async with scheduler:
        await until("the stall is over and said", lambda: heard.of(LoopStalled))
    (stall,) = heard.of(LoopStalled)
    assert stall.task.startswith("bgtasks:guilty:")
    assert "parses_a_huge_file" in stall.stack
    assert "guilty" in caplog.text


@virtual_time
async def test_a_job_is_accepted_that_can_never_fire(virtual_clock: VirtualClock) -> None:
    mine = Registry()

    @background_task("1m", requires=("discord",), registry=mine)
    async def greet(discord: object) -> None: ...

    scheduler = build_scheduler(registry=mine, clock=virtual_clock)
    heard = Recorder(scheduler)
    async with scheduler:
        pass
    (row,) = scheduler.decisions
    assert row.reason is not None
    assert "discord" in row.reason
    assert heard.of(SchedulerStarted)[0].skipped == (("greet", row.reason),)
    with pytest.raises(InvalidTrigger, match="0 0 30 2"):
        Cron("0 0 30 2 *")
    with pytest.raises(InvalidTask, match='nothing fills the parameter "bot"'):

        @background_task("1m", registry=mine)
        async def lacks(bot: object) -> None: ...


@virtual_time
async def test_a_single_date_that_was_over_when_it_was_given_is_taken_without_a_word(
    virtual_clock: VirtualClock, life: Life, caplog: pytest.LogCaptureFixture
) -> None:
    life.task("party", Once(START - timedelta(days=1)))
    async with life.scheduler:
        await virtual_clock.advance("1h")

    assert life.times["party"] == []
    assert life.skips("party") or "party" in caplog.text


@virtual_time
async def test_a_schedule_that_breaks_at_night_is_dead_without_a_word(
    virtual_clock: VirtualClock, life: Life
) -> None:
    class Brittle:
        def next_after(self, when: datetime) -> datetime:
            if when.hour >= 3:
                raise OSError("the calendar service is down")
            return when + timedelta(hours=1)

    life.task("brittle", Brittle())
    life.task("other", "1h")
    async with life.scheduler:
        await virtual_clock.advance("5h")
        row = life.row("brittle")

    assert life.skips("brittle") == [
        "not scheduled: its trigger raised OSError: the calendar service is down"
    ]
    assert row.next_run is None
    assert "the calendar service is down" in repr(row)
    assert len(life.times["other"]) == 6


@virtual_time
async def test_an_error_in_the_schedulers_own_listener_ends_it(
    virtual_clock: VirtualClock, life: Life, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(event: Event) -> None:
        raise RuntimeError("no disk left")

    life.scheduler.bus.subscribe(broken)
    life.task("good", MINUTE)
    life.task("bad", MINUTE, raising(ValueError("no")), retry=Retry(2), breaker=Breaker(2, "5m"))
    life.task("slow", MINUTE, sleeping(90), timeout=100)
    async with life.scheduler:
        await virtual_clock.advance("10m")
        virtual_clock.stall("10m")
        await virtual_clock.advance("10m")
        life.scheduler.pause("good")
        life.scheduler.resume("good")

    assert len(life.times["good"]) == 11 + 1 + 10
    complaints = [record for record in caplog.records if "a listener failed on" in record.getMessage()]
    assert len(complaints) == len(life.heard.events)


@virtual_time
async def test_a_log_handler_that_fails_ends_the_schedule(virtual_clock: VirtualClock, life: Life) -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError("the log server is down")

    logger, handler = logging.getLogger("bgtasks"), Broken()
    life.task("bad", MINUTE, raising(ValueError("no")))
    logger.addHandler(handler)
    try:
        async with life.scheduler:
            await virtual_clock.advance("10m")
    finally:
        logger.removeHandler(handler)

    assert len(life.times["bad"]) == 11


@pytest.mark.parametrize("what", ["pause", "reschedule", "remove", "register", "run_now", "stop"])
@virtual_time
async def test_a_listener_that_uses_the_scheduler_confuses_it(
    virtual_clock: VirtualClock, life: Life, what: str
) -> None:
    scheduler, tasks, numbers = life.scheduler, list[asyncio.Future[Any]](), itertools.count()

    def later(coroutine: Any) -> None:
        tasks.append(asyncio.ensure_future(coroutine))

    def meddle(event: Event) -> None:
        if not isinstance(event, RunStarted | RunFinished) or event.task != "job":
            return
        match what:
            case "pause":
                scheduler.pause("job")
                scheduler.resume("job")
            case "reschedule":
                scheduler.reschedule("job", 60)
            case "remove":
                scheduler.register(name := f"new-{next(numbers)}", for_ever, "1h")
                later(scheduler.remove(name))
            case "register":
                scheduler.register(f"new-{next(numbers)}", for_ever, "1h", "1h")
            case "run_now":
                later(scheduler.run_now("victim"))
            case "stop":
                later(scheduler.stop())

    life.task("job", 60)
    life.task("victim", 60, sleeping(30))
    life.task("other", 60)
    scheduler.bus.subscribe(meddle)
    async with scheduler:
        await virtual_clock.advance("10m")
        await asyncio.gather(*tasks)
        assert scheduler.running == (what != "stop")
        assert scheduler.health().ok == (what != "stop")
    assert len(life.times["other"]) == (1 if what == "stop" else 11)
    assert len(life.times["job"]) == (1 if what == "stop" else 11)
    assert scheduler.unfinished == ()


# -- what asyncio makes easy to get wrong --------------------------------------------------------


@virtual_time
async def test_a_task_vanishes_when_garbage_is_collected(virtual_clock: VirtualClock, life: Life) -> None:
    async def wait_for_what_nobody_holds() -> str:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[str] = loop.create_future()
        loop.call_later(30, future.set_result, "here")
        gc.collect()
        return await future

    async def collect() -> None:
        gc.collect()

    life.task("waits", "1h", wait_for_what_nobody_holds)
    life.task("collects", 5, collect)
    async with life.scheduler:
        await virtual_clock.advance("1m")

    assert life.heard.outcomes("waits") == [Done("here")]


@pytest.mark.parametrize("how", ["at once", "after a while", "in a retry", "when it is stopped"])
@virtual_time
async def test_the_log_says_that_an_exception_was_never_retrieved(
    virtual_clock: VirtualClock, life: Life, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    gc.collect()  # what others left behind is not this test's
    caplog.clear()

    async def fail() -> None:
        try:
            await asyncio.sleep(0 if how == "at once" else 100 if how == "when it is stopped" else 1)
        finally:
            raise ValueError("no")

    life.task("bad", 10, fail, **({"retry": Retry(3)} if how == "in a retry" else {}))
    async with life.scheduler:
        await virtual_clock.advance(60)
    gc.collect()

    assert all(isinstance(outcome, Failed | Cancelled) for outcome in life.heard.outcomes("bad"))
    assert life.heard.outcomes("bad")
    assert [record for record in caplog.records if record.name == "asyncio"] == []


def test_it_runs_my_coroutine_on_another_loop_than_the_one_i_started_it_in() -> None:
    scheduler = BackgroundScheduler()
    seen: list[asyncio.AbstractEventLoop] = []

    async def look() -> None:
        seen.append(asyncio.get_running_loop())

    scheduler.register("look", look, "5ms")

    async def start() -> None:
        await scheduler.start()
        await until("it ran", lambda: seen)

    async def refused() -> None:
        for ask in (scheduler.start, scheduler.stop, functools.partial(scheduler.run_now, "look")):
            with pytest.raises(BgTasksError, match="event loop"):
                await ask()

    with asyncio.Runner() as mine, asyncio.Runner() as other:
        mine.run(start())
        other.run(refused())
        mine.run(scheduler.stop())
        assert set(seen) == {mine.get_loop()}


async def test_a_start_from_a_thread_without_a_loop_pretends_to_work() -> None:
    scheduler = BackgroundScheduler()

    def start() -> None:
        coroutine = scheduler.start()
        try:
            coroutine.send(None)
        finally:
            coroutine.close()

    with pytest.raises(RuntimeError, match="no running event loop"):
        await asyncio.to_thread(start)
    assert not scheduler.running


@virtual_time
async def test_a_plain_function_is_taken_and_blocks_or_does_nothing(
    virtual_clock: VirtualClock, life: Life
) -> None:
    life.scheduler.register("plain", print, "1m")  # type: ignore[arg-type]
    async with life.scheduler:
        await virtual_clock.advance(1)

    (outcome,) = life.heard.outcomes("plain")
    assert isinstance(outcome, Failed)
    assert 'write "async def"' in outcome.reason


# -- stopping ------------------------------------------------------------------------------------


@virtual_time
async def test_a_shutdown_always_cancels_and_cannot_wait(virtual_clock: VirtualClock, life: Life) -> None:
    life.task("upload", "1h", sleeping(20))
    life.task("tick", 1)
    await life.scheduler.start()
    await virtual_clock.advance(5)
    before = len(life.times["tick"])
    await life.scheduler.stop(drain="1m")

    assert life.heard.outcomes("upload") == [Done()]
    assert virtual_clock.monotonic() == 20
    assert len(life.times["tick"]) == before


@virtual_time
async def test_a_shutdown_that_waits_hangs_for_ever(virtual_clock: VirtualClock, life: Life) -> None:
    async def deaf() -> None:
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue

    released = asyncio.Event()
    life.task("deaf", "1h", deaf)
    await life.scheduler.start()
    await virtual_clock.advance(5)
    await life.scheduler.stop(drain="1m")

    assert virtual_clock.monotonic() == pytest.approx(5 + 60 + 10, abs=0.1)
    assert list(life.scheduler.unfinished) == ["deaf"]
    released.set()
    await virtual_clock.settle()
    assert list(life.scheduler.unfinished) == []


@virtual_time
async def test_a_shutdown_that_a_job_asks_for_waits_for_that_very_job(
    virtual_clock: VirtualClock, life: Life
) -> None:
    life.task("upload", "1h", sleeping(20))
    life.task("updates", "1h", lambda: life.scheduler.stop(drain="30m"))
    life.task("later", "1h")  # due with the others, and not begun after the stop
    await life.scheduler.start()
    await virtual_clock.advance("1m")

    assert life.heard.outcomes("upload") == [Done()]
    assert life.heard.outcomes("later") == []
    assert list(life.scheduler.unfinished) == []
    await life.scheduler.stop()


@pytest.mark.parametrize("pause_s", [0.0, 0.2, 30.0])
@pytest.mark.parametrize("step_s", [0.0, -1.0], ids=["", "and the clock is set back a second"])
@virtual_time
async def test_a_restart_in_the_same_minute_runs_the_tick_of_that_minute_again(
    virtual_clock: VirtualClock, life: Life, pause_s: float, step_s: float
) -> None:
    life.task("job", Cron("* * * * *"))
    for _ in range(3):
        await life.scheduler.start()
        await virtual_clock.advance(60)
        await life.scheduler.stop()
        virtual_clock.step_wall(step_s)
        await virtual_clock.advance(pause_s)

    dues = [event.due for event in life.heard.of(RunStarted)]
    assert len(dues) == len(set(dues))
    assert dues


@virtual_time
async def test_a_job_is_put_in_twice_under_a_reload(virtual_clock: VirtualClock, life: Life) -> None:
    life.task("job", 60)
    with pytest.raises(DuplicateTask, match='the name "job" is taken'):
        life.task("job", 60)
    async with life.scheduler:
        await life.scheduler.start()
        await virtual_clock.advance(90)

    assert life.times["job"] == [0, 60]


# -- clocks --------------------------------------------------------------------------------------


def at(*when: int) -> datetime:
    return datetime(*when, tzinfo=HELSINKI)  # type: ignore[arg-type, misc]


AUTUMN, SPRING = at(2026, 10, 24, 12), at(2026, 3, 28, 12)


@virtual_time
async def test_in_autumn_an_hourly_job_skips_the_hour_that_comes_twice(
    virtual_clock: VirtualClock, life: Life
) -> None:
    virtual_clock.set_wall(AUTUMN)
    life.task("hourly", Cron("0 * * * *", "Europe/Helsinki"))
    life.task("often", Cron("*/10 * * * *", "Europe/Helsinki"))
    async with life.scheduler:
        await virtual_clock.advance("25h")

    assert len(life.times["hourly"]) == 25
    assert len(life.times["often"]) == 25 * 6
    assert {later - earlier for earlier, later in itertools.pairwise(life.times["hourly"])} == {3600}


@virtual_time
async def test_in_autumn_a_nightly_job_runs_twice(virtual_clock: VirtualClock, life: Life) -> None:
    virtual_clock.set_wall(AUTUMN)
    life.task("nightly", Cron("30 3 * * *", "Europe/Helsinki"))
    async with life.scheduler:
        await virtual_clock.advance("48h")

    dues = [event.due.astimezone(HELSINKI) for event in life.heard.of(RunStarted)]
    assert [(due.day, due.hour, due.minute) for due in dues] == [(25, 3, 30), (26, 3, 30)]


@virtual_time
async def test_in_spring_a_nightly_job_does_not_run_at_all(virtual_clock: VirtualClock, life: Life) -> None:
    virtual_clock.set_wall(SPRING)
    life.task("nightly", Cron("30 3 * * *", "Europe/Helsinki"))
    async with life.scheduler:
        await virtual_clock.advance("48h")

    dues = [event.due.astimezone(HELSINKI) for event in life.heard.of(RunStarted)]
    assert [(due.day, due.hour, due.minute) for due in dues] == [(29, 4, 0), (30, 3, 30)]


@virtual_time
async def test_in_spring_an_hourly_job_loses_its_way(virtual_clock: VirtualClock, life: Life) -> None:
    virtual_clock.set_wall(SPRING)
    life.task("hourly", Cron("0 * * * *", "Europe/Helsinki"))
    async with life.scheduler:
        await virtual_clock.advance("24h")

    assert {later - earlier for earlier, later in itertools.pairwise(life.times["hourly"])} == {3600}
    assert len(life.times["hourly"]) == 24


@virtual_time
async def test_all_jobs_share_one_time_zone(virtual_clock: VirtualClock, life: Life) -> None:
    zones = {"Asia/Tokyo": 15, "Europe/Helsinki": 22, "America/New_York": 5, "UTC": 0}
    for zone in zones:
        life.task(zone, Cron("0 0 * * *", zone))
    async with life.scheduler:
        await virtual_clock.advance("25h")

    hours = {event.task: event.due.hour for event in life.heard.of(RunStarted)}
    assert hours == zones


@virtual_time
async def test_the_same_minute_comes_up_more_than_once(virtual_clock: VirtualClock, life: Life) -> None:
    chance = Random(5)
    life.task("job", Cron("* * * * *"))
    async with life.scheduler:
        for _ in range(300):
            await virtual_clock.advance(chance.uniform(0, 100))
            virtual_clock.step_wall(chance.uniform(-3, 3))

    dues = [event.due for event in life.heard.of(RunStarted)]
    assert dues == sorted(set(dues))
    ticks = len(dues) + sum(ticks for _, ticks in life.missed("job"))
    assert ticks == (dues[-1] - dues[0]).total_seconds() / 60 + 1


@virtual_time
async def test_schedules_cannot_be_tested_in_simulated_time(virtual_clock: VirtualClock, life: Life) -> None:
    life.task("hourly", "1h")
    life.task("daily", Cron("0 3 * * *", "Europe/Helsinki"))
    began = time.monotonic()
    async with life.scheduler:
        await virtual_clock.advance("30d")

    assert {name: len(times) for name, times in life.times.items()} == {"hourly": 721, "daily": 30}
    assert time.monotonic() - began < PATIENCE_S


# -- everything at once --------------------------------------------------------------------------


@virtual_time
async def test_all_jobs_of_one_interval_strike_in_the_same_instant(
    virtual_clock: VirtualClock, life: Life
) -> None:
    for number in range(100):
        life.task(f"t{number}", Cron("0 * * * *"), jitter="1m")
    async with life.scheduler:
        await virtual_clock.advance("2h")
        await virtual_clock.advance("1m")

    for hour in (1, 2):
        times = [each[hour - 1] - hour * 3600 for each in life.times.values()]
        assert all(0 <= time <= 60 for time in times)
        assert len({round(time) for time in times}) > 30


@pytest.mark.parametrize("jitter", ["30s", "10m"])
@EACH_MINUTE
@virtual_time
async def test_with_much_jitter_ticks_are_lost(
    virtual_clock: VirtualClock, life: Life, trigger: Trigger, jitter: str
) -> None:
    try:
        life.task("shaken", trigger, jitter=jitter)
    except InvalidTask as refused:
        assert "jitter" in str(refused)  # noqa: PT017 - to refuse it is one of two good answers
        return
    async with life.scheduler:
        await virtual_clock.advance("5h")

    assert life.missed("shaken") == []


@virtual_time
async def test_after_a_suspend_everything_strikes_at_once(virtual_clock: VirtualClock, life: Life) -> None:
    for number in range(200):
        life.task(f"t{number}", Every("1h", fixed_rate=True), initial_delay=number % 60)
    async with life.scheduler:
        await virtual_clock.advance("90m")
        virtual_clock.stall("1h")
        await virtual_clock.advance(15)

    times = [each[-1] - 9000 for each in life.times.values()]
    assert all(0 <= time <= 10 for time in times)
    assert len({round(time, 2) for time in times}) > 100


@virtual_time
async def test_a_hundred_runs_at_once_exhaust_what_they_share(
    virtual_clock: VirtualClock,
) -> None:
    life = Life(virtual_clock, group_limits={"llm": 3})
    at_once, most = 0, 0

    async def call_a_model() -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(5)
        at_once -= 1

    for number in range(100):
        life.task(f"t{number}", "1h", call_a_model, group="llm")
    life.task("free", 10)
    async with life.scheduler:
        await virtual_clock.advance("10m")

    assert most == 3
    assert all(life.times.values())
    assert len(life.times["free"]) == 61


# -- what a run is told, and what is known of it -------------------------------------------------


@virtual_time
async def test_a_run_cannot_tell_whether_it_was_done_before(virtual_clock: VirtualClock, life: Life) -> None:
    seen: list[tuple[str, datetime, int]] = []

    async def body() -> None:
        run = current_run.get()
        assert run is not None
        seen.append((run.run_id, run.due, run.attempt))
        raise ValueError("no")

    life.task("job", Cron("* * * * *"), body, retry=Retry(3, backoff="1s"))
    async with life.scheduler:
        await virtual_clock.advance("3m")
        await virtual_clock.advance(30)

    by_id: dict[str, list[tuple[datetime, int]]] = {}
    for run_id, due, attempt in seen:
        by_id.setdefault(run_id, []).append((due, attempt))
    assert len(by_id) == 3
    for minute, attempts in enumerate(by_id.values(), 1):
        assert attempts == [(START + timedelta(minutes=minute), attempt) for attempt in (1, 2, 3)]


@virtual_time
async def test_nobody_knows_how_the_last_run_went_or_when_the_next_is(
    virtual_clock: VirtualClock, life: Life
) -> None:
    life.task("good", MINUTE, sleeping(10))
    life.task("bad", MINUTE, raising(ValueError("no")))
    life.task("late", Cron("* * * * *"), catch_up="none")
    async with life.scheduler:
        await virtual_clock.advance(100)
        virtual_clock.stall(50)
        await virtual_clock.advance(1)
        good, bad, late = life.scheduler.snapshot()

    assert (good.last_outcome, good.next_run) == (Done(), START + timedelta(seconds=180))
    assert (bad.failures, bad.next_run) == (3, START + timedelta(seconds=180))
    assert isinstance(late.last_outcome, Missed)
    assert "30" in late.last_outcome.reason


@virtual_time
async def test_a_job_cannot_be_held_back_or_changed_without_a_deploy(
    virtual_clock: VirtualClock, life: Life
) -> None:
    life.task("job", MINUTE)
    async with life.scheduler:
        await virtual_clock.advance(90)
        life.scheduler.pause("job", "the supplier is angry")
        await virtual_clock.advance(120)
        assert life.row("job").paused == "the supplier is angry"
        assert life.scheduler.health().ok
        life.scheduler.resume("job")
        life.scheduler.reschedule("job", Every(10, fixed_rate=True))
        await virtual_clock.advance(35)
        assert await life.scheduler.run_now("job") == Done()
        await life.scheduler.remove("job")
        with pytest.raises(UnknownTask):
            life.scheduler.pause("job")

    assert life.times["job"] == [0, 60, 220, 230, 240, 245]
    assert life.skips("job") == ["paused: the supplier is angry"] * 2


@virtual_time
async def test_a_mistyped_name_is_an_error_that_helps_nobody(virtual_clock: VirtualClock, life: Life) -> None:
    life.task("sweep", 60)
    async with life.scheduler:
        for ask in (life.scheduler.pause, life.scheduler.resume):
            with pytest.raises(UnknownTask, match='did you mean "sweep"'):
                ask("sweeep")
        with pytest.raises(UnknownTask, match='did you mean "sweep"'):
            life.scheduler.reschedule("swep", 5)
        with pytest.raises(UnknownTask, match='did you mean "sweep"'):
            await life.scheduler.run_now("swep")


@pytest.mark.full
@pytest.mark.parametrize("policies", [{}, {"retry": Retry(3, backoff="100ms")}], ids=["", "with retries"])
@virtual_time
async def test_a_failing_job_floods_the_log(
    virtual_clock: VirtualClock, life: Life, policies: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "bgtasks")
    life.task("bad", 1, raising(ValueError("no")), **policies)
    async with life.scheduler:
        await virtual_clock.advance("1h")

    assert len(life.heard.outcomes("bad")) > 2000
    assert 0 < len(lines(caplog)) < 60


@pytest.mark.parametrize("stalls", [0.0, 2.5], ids=["", "and the loop stalls"])
@virtual_time
async def test_a_hanging_job_floods_the_log(
    virtual_clock: VirtualClock, life: Life, stalls: float, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "bgtasks")
    life.task("hangs", Every(1, fixed_rate=True), for_ever)
    async with life.scheduler:
        for _ in range(1000):
            await virtual_clock.advance(2)
            virtual_clock.stall(stalls)

    assert len(life.skips("hangs")) > 1500
    assert 0 < len(lines(caplog)) < 60
