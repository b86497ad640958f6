"""The scheduler on virtual time: it starts and stops calmly, and no task disturbs it or another."""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from tests.support.recording import Recorder

from bgtasks import (
    BackgroundScheduler,
    Cancelled,
    Cron,
    Decision,
    Deferred,
    Done,
    EventBus,
    Every,
    Failed,
    Once,
    Registry,
    ResourceUnavailable,
    Trigger,
    background_worker,
    build_scheduler,
    current_run,
)
from bgtasks.errors import BgTasksError, DuplicateTask, InvalidTask, InvalidTrigger
from bgtasks.events import (
    Event,
    ResourceLost,
    ResourceRegained,
    RunFinished,
    RunMissed,
    RunSkipped,
    RunStarted,
    SchedulerStarted,
    SchedulerStopped,
    WorkerRestarted,
)
from bgtasks.testing import VirtualClock, VirtualLoop, run_virtual

START = datetime(2026, 1, 1, tzinfo=UTC)


class SilentClock(VirtualClock):
    """A clock that, as that of a machine does, says nothing when it is set."""

    on_step = None  # type: ignore[assignment]


class Stage:
    """A scheduler on virtual time, and what a test puts on it.

    Attributes:
        times: When the runs of each task began, in seconds since the beginning.
    """

    def __init__(self, clock: VirtualClock | None = None, **options: Any) -> None:
        self.clock = clock or VirtualClock()
        self.scheduler = BackgroundScheduler(clock=self.clock, random=Random(7), **options)
        self.heard = Recorder(self.scheduler)
        self.times: dict[str, list[float]] = {}

    def note(self, name: str) -> None:
        self.times.setdefault(name, []).append(round(self.clock.monotonic(), 3))

    @property
    def stops(self) -> list[tuple[tuple[str, ...], float]]:
        """What each stop left unfinished, and how long it took."""
        return [(event.unfinished, round(event.seconds, 3)) for event in self.heard.of(SchedulerStopped)]

    def task(
        self,
        name: str,
        interval: Any = 60,
        does: Callable[[], Awaitable[Any]] | None = None,
        initial_delay: float = 0.0,
        **options: Any,
    ) -> None:
        """Register a task that notes when it runs and then does what it is told."""
        self.times.setdefault(name, [])

        async def body() -> Any:
            self.note(name)
            return None if does is None else await does()

        self.scheduler.register(name, body, interval, initial_delay, **options)

    def play(self, seconds: float) -> None:
        """Start it, let time pass, and stop it."""

        async def main(clock: VirtualClock) -> None:
            async with self.scheduler:
                await asyncio.sleep(seconds)

        run_virtual(main, self.clock)

    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `main` on this stage's time."""
        run_virtual(lambda clock: main(), self.clock)


@pytest.fixture
def stage() -> Stage:
    return Stage()


either_clock = pytest.mark.parametrize("clock", [VirtualClock, SilentClock])
"""One that announces its steps, and one that has to be looked at to see them."""


def sleeping(seconds: float) -> Callable[[], Awaitable[None]]:
    async def sleep() -> None:
        await asyncio.sleep(seconds)

    return sleep


def raising(error: BaseException) -> Callable[[], Awaitable[None]]:
    async def fail() -> None:
        raise error

    return fail


# -- when things run -----------------------------------------------------------------------------


def test_a_plain_interval_is_measured_from_the_end_of_the_previous_run(stage: Stage) -> None:
    stage.task("slow", 60, sleeping(10))

    stage.play(225)

    assert stage.times["slow"] == [0, 70, 140, 210]


def test_the_first_run_waits_for_the_initial_delay(stage: Stage) -> None:
    stage.task("at_once")
    stage.task("later", 60, initial_delay=30)

    stage.play(100)

    assert stage.times == {"at_once": [0, 60], "later": [30, 90]}


def test_a_fixed_rate_keeps_its_grid_whatever_the_runs_take(stage: Stage) -> None:
    runs = itertools.count()

    async def now_and_then_slow() -> None:
        await asyncio.sleep(25 if next(runs) == 1 else 1)

    stage.task("grid", Every(10, fixed_rate=True), now_and_then_slow)

    stage.play(65)

    assert stage.times["grid"] == [0, 10, 40, 50, 60]
    assert stage.heard.of(RunSkipped) == [
        RunSkipped("grid", START + timedelta(seconds=20), "the previous run is still going"),
        RunSkipped("grid", START + timedelta(seconds=30), "the previous run is still going"),
    ]


def test_ten_thousand_short_steps_run_ten_thousand_times(stage: Stage) -> None:
    stage.clock.stall(1_234.567)  # a machine has been up for a while
    runs = itertools.count()

    async def tick() -> None:
        next(runs)

    stage.scheduler.register("tick", tick, Every(0.1, fixed_rate=True))

    stage.play(999.95)

    assert next(runs) == 10_000


def test_a_cron_tick_that_finds_the_previous_run_still_going_is_skipped(stage: Stage) -> None:
    stage.task("cron", Cron("*/10 * * * *"), sleeping(900))

    stage.play(2990)

    assert stage.times["cron"] == [600, 1800]
    assert stage.heard.of(RunSkipped) == [
        RunSkipped("cron", START + timedelta(minutes=20), "the previous run is still going"),
        RunSkipped("cron", START + timedelta(minutes=40), "the previous run is still going"),
    ]


def test_a_week_of_a_daily_cron_passes_in_a_moment(stage: Stage) -> None:
    stage.task("sunset", Cron("0 3 * * *", "Europe/Helsinki"))

    stage.play(7 * 86_400)

    assert stage.times["sunset"] == [3600 + 86_400 * day for day in range(7)]
    assert [event.due for event in stage.heard.of(RunStarted)] == [
        START + timedelta(days=day, hours=1) for day in range(7)
    ]


@either_clock
def test_a_stall_of_the_event_loop_runs_the_latest_tick_and_says_that_the_others_were_missed(
    clock: type[VirtualClock],
) -> None:
    stage = Stage(clock())

    async def block() -> None:
        stage.clock.stall(35)

    stage.task("blocker", 1000, block, initial_delay=16)
    stage.task("grid", Every(10, fixed_rate=True))

    stage.play(75)

    assert stage.times["grid"] == [0, 10, 51, 60, 70]
    assert stage.heard.of(RunSkipped) == []
    [missed] = stage.heard.of(RunMissed)
    assert missed[:3] == ("grid", START + timedelta(seconds=20), 3)
    assert missed.reason.startswith("noticed 31")
    assert missed.reason.endswith('s late; catch_up="one"')
    assert [event.due for event in stage.heard.of(RunStarted) if event.task == "grid"][2] == (
        START + timedelta(seconds=50)
    )


@pytest.mark.parametrize("trigger", [Every(60), Every(60, fixed_rate=True), Cron("* * * * *")], ids=str)
def test_jitter_never_makes_a_run_early_and_does_not_drift(trigger: Trigger) -> None:
    stage = Stage()
    stage.task("shaken", trigger, jitter=20)

    stage.play(3600)

    times = stage.times["shaken"]
    assert all(
        event.due <= START + timedelta(seconds=at + 1e-3)
        for event, at in zip(stage.heard.of(RunStarted), times, strict=True)
    )
    if isinstance(trigger, Every) and not trigger.fixed_rate:
        assert all(60 <= other - one <= 80 for one, other in itertools.pairwise(times))
    else:
        first = round(times[0] // 60)
        assert all(0 <= at - 60 * step <= 20.001 for step, at in enumerate(times, first))
        assert len(times) == 60 - first
    assert len({round(at % 60, 1) for at in times}) > 10


def test_the_same_seed_gives_the_same_timeline() -> None:
    one, other = Stage(), Stage()
    for stage in (one, other):
        stage.task("shaken", 60, jitter=20)
        stage.play(3600)

    assert one.times == other.times


def test_a_thousand_tasks_due_at_once_all_run_in_the_order_of_registration(stage: Stage) -> None:
    names = [f"t{number}" for number in range(1000)]
    for name in names:
        stage.task(name, 3600)

    stage.play(1)

    assert [event.task for event in stage.heard.of(RunStarted)] == names
    assert all(times == [0] for times in stage.times.values())


def test_arguments_are_passed_as_they_were_registered(stage: Stage) -> None:
    seen: list[object] = []

    async def tidy(*args: object, **kwargs: object) -> None:
        seen.extend((args, kwargs))

    stage.scheduler.register("tidy", tidy, 60, 0.0, ["lobby", 2], {"dry": True})

    stage.play(1)

    assert seen == [("lobby", 2), {"dry": True}]


def test_a_task_registered_while_it_runs_is_due_at_once(stage: Stage) -> None:
    stage.task("old", 3600)

    async def main() -> None:
        async with stage.scheduler:
            await asyncio.sleep(100)
            stage.task("new", 60)
            stage.task("new_cron", Cron("* * * * *"))
            await asyncio.sleep(100)

    stage.run(main)

    assert stage.times == {"old": [0], "new": [100, 160], "new_cron": [120, 180]}


def test_a_run_may_register_another_task(stage: Stage) -> None:
    async def grow() -> None:
        stage.task("child", 60)

    stage.task("parent", 3600, grow, initial_delay=7.5)

    stage.play(100)

    assert stage.times == {"parent": [7.5], "child": [7.5, 67.5]}


# -- what register refuses -----------------------------------------------------------------------


async def nothing() -> None: ...


@pytest.mark.parametrize("interval", [0, -1, float("nan"), float("inf"), "4 parsecs", "", True, None, Every])
def test_a_bad_interval_is_refused_and_nothing_is_registered(stage: Stage, interval: Any) -> None:
    with pytest.raises(InvalidTrigger):
        stage.scheduler.register("tidy", nothing, interval)

    assert stage.scheduler.decisions == ()


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf")])
@pytest.mark.parametrize("label", ["initial_delay", "jitter"])
def test_a_bad_delay_is_refused(stage: Stage, label: str, value: float) -> None:
    options: dict[str, Any] = {label: value}

    with pytest.raises(InvalidTask, match=f'"tidy": {label} is seconds, zero or more, not {value!r}'):
        stage.scheduler.register("tidy", nothing, 60, **options)


def test_what_cannot_be_called_is_refused(stage: Stage) -> None:
    coroutine: Any = "nothing"

    with pytest.raises(InvalidTask, match="'nothing' cannot be called; give a coroutine function"):
        stage.scheduler.register("tidy", coroutine, 60)


def test_a_taken_name_is_refused_and_the_first_stays(stage: Stage) -> None:
    stage.task("tidy", 60)

    with pytest.raises(DuplicateTask, match='the name "tidy" is taken by'):
        stage.scheduler.register("tidy", nothing, 90)

    assert stage.scheduler.decisions == (Decision(name="tidy", when="every 1m"),)


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_a_stop_timeout_not_above_zero_is_refused(timeout: float) -> None:
    with pytest.raises(InvalidTrigger):
        BackgroundScheduler(stop_timeout=timeout)


def test_a_plain_function_fails_its_runs_with_the_cure(stage: Stage) -> None:
    not_async: Any = lambda: None  # noqa: E731

    stage.scheduler.register("tidy", not_async, 60)
    stage.play(61)

    outcomes = stage.heard.outcomes("tidy")
    assert [outcome.reason for outcome in outcomes if isinstance(outcome, Failed)] == [
        'InvalidTask: "tidy" returned NoneType instead of a coroutine: write "async def"'
    ] * 2


# -- lifecycle -----------------------------------------------------------------------------------


def test_start_and_stop_are_idempotent_both_ways(stage: Stage) -> None:
    stage.task("tidy")

    async def main() -> None:
        running = [stage.scheduler.running]
        for call in ("stop", "start", "start", "stop", "stop"):
            await getattr(stage.scheduler, call)()
            running.append(stage.scheduler.running)
            await asyncio.sleep(1)
        assert running == [False, False, True, True, False, False]

    stage.run(main)

    assert stage.times["tidy"] == [1]
    assert len(stage.heard.of(SchedulerStarted)) == len(stage.heard.of(SchedulerStopped)) == 1


def test_start_returns_before_anything_runs(stage: Stage) -> None:
    stage.task("tidy", 60, sleeping(5))

    async def main() -> None:
        await stage.scheduler.start()
        assert stage.times["tidy"] == []
        assert stage.clock.monotonic() == 0
        await stage.scheduler.stop()

    stage.run(main)

    assert stage.times["tidy"] == []


def test_a_stopped_scheduler_starts_again_from_the_beginning(stage: Stage) -> None:
    stage.task("plain", 60, sleeping(10), initial_delay=5)
    stage.task("grid", Every(60, fixed_rate=True))

    async def main() -> None:
        async with stage.scheduler:
            await asyncio.sleep(8)  # inside a run
        await asyncio.sleep(1000)
        async with stage.scheduler:
            await asyncio.sleep(80)

    stage.run(main)

    assert stage.times == {"plain": [5, 1013, 1083], "grid": [0, 1008, 1068]}
    assert stage.heard.outcomes("plain")[:2] == [Cancelled(), Done()]


@pytest.mark.parametrize("seed", range(10))
def test_starts_and_stops_from_everywhere_at_once_end_in_order(seed: int) -> None:
    stage, random = Stage(), Random(seed)
    stage.task("quick", 1, sleeping(0.5))
    stage.task("slow", Every(1, fixed_rate=True), sleeping(30))

    async def call() -> None:
        await asyncio.sleep(random.uniform(0, 20))
        await random.choice([stage.scheduler.start, stage.scheduler.stop])()

    async def main() -> None:
        await asyncio.gather(*(call() for _ in range(100)))
        await stage.scheduler.start()
        assert stage.scheduler.running
        seen = len(stage.times["quick"])
        await asyncio.sleep(10)
        assert len(stage.times["quick"]) > seen
        await asyncio.gather(stage.scheduler.stop(), stage.scheduler.stop(), stage.scheduler.stop())
        assert not stage.scheduler.running

    stage.run(main)

    lifecycle = [
        type(event) for event in stage.heard.events if isinstance(event, SchedulerStarted | SchedulerStopped)
    ]
    assert lifecycle == [SchedulerStarted, SchedulerStopped] * (len(lifecycle) // 2)
    assert len(stage.heard.of(RunStarted)) == len(stage.heard.of(RunFinished))


def test_a_start_during_a_stop_waits_for_its_end(stage: Stage) -> None:
    async def slow_to_end() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(3)

    stage.task("tidy", 60, slow_to_end)

    async def main() -> None:
        await stage.scheduler.start()
        await asyncio.sleep(1)
        stopping = asyncio.create_task(stage.scheduler.stop())
        await asyncio.sleep(1)
        assert not stage.scheduler.running
        await stage.scheduler.start()
        assert stopping.done()
        assert stage.clock.monotonic() == pytest.approx(4)
        await asyncio.sleep(1)
        await stage.scheduler.stop()

    stage.run(main)

    assert stage.times["tidy"] == [0, 4]


def test_the_start_says_what_runs_and_what_does_not(registry: Registry) -> None:
    @background_worker(registry=registry)
    async def journal() -> None:
        await asyncio.Event().wait()

    @background_worker(registry=registry)
    async def needy(redis: object) -> None: ...

    async def main(clock: VirtualClock) -> list[Event]:
        scheduler = build_scheduler(registry=registry, clock=clock)
        scheduler.register("tidy", nothing, 60, 30)
        heard = Recorder(scheduler)
        async with scheduler:
            await asyncio.sleep(1)
        return heard.events

    started, *_, stopped = run_virtual(main)

    assert started == SchedulerStarted(1, 1, (("needy", "needs redis: no Redis client was given"),))
    assert stopped == SchedulerStopped((), 0.0)


def test_the_context_manager_stops_also_when_its_block_raises(stage: Stage) -> None:
    stage.task("tidy", 60, sleeping(30))

    async def main() -> None:
        async with stage.scheduler as entered:
            assert entered is stage.scheduler
            await asyncio.sleep(1)
            raise ValueError("the host gave up")

    with pytest.raises(ValueError, match="the host gave up"):
        stage.run(main)

    assert not stage.scheduler.running
    assert stage.heard.outcomes("tidy") == [Cancelled()]


# -- runs that fail ------------------------------------------------------------------------------


def test_a_task_that_raises_disturbs_nobody_and_runs_again_on_time(stage: Stage) -> None:
    stage.task("bad", 60, raising(ValueError("no")))
    stage.task("bad_grid", Every(60, fixed_rate=True), raising(ValueError("no")))
    stage.task("good", 60)

    stage.play(150)

    assert stage.times == {"bad": [0, 60, 120], "bad_grid": [0, 60, 120], "good": [0, 60, 120]}
    finished = [event for event in stage.heard.of(RunFinished) if event.task == "bad"]
    assert [event.failures for event in finished] == [1, 2, 3]
    assert all(isinstance(event.outcome, Failed) for event in finished)


def test_a_success_ends_the_count_of_failures(stage: Stage) -> None:
    turn = itertools.count()

    async def now_and_then() -> None:
        if next(turn) in (0, 1, 3):
            raise ValueError("no")

    stage.task("moody", 60, now_and_then)

    stage.play(250)

    assert [event.failures for event in stage.heard.of(RunFinished)] == [1, 2, 0, 1, 0]


def test_being_stopped_is_no_failure_of_the_task(stage: Stage) -> None:
    turn = itertools.count()

    async def sleep_then_fail() -> None:
        if next(turn) == 0:
            await asyncio.sleep(3600)
        raise ValueError("no")

    stage.task("tidy", 60, sleep_then_fail)
    stage.play(1)
    stage.play(1)

    assert [event.failures for event in stage.heard.of(RunFinished)] == [0, 1]


async def raise_cancelled() -> None:
    raise asyncio.CancelledError


async def cancel_own_task() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(1)


@pytest.mark.parametrize("does", [raise_cancelled, cancel_own_task])
@pytest.mark.parametrize("trigger", [Every(60), Every(60, fixed_rate=True), Cron("* * * * *")], ids=str)
def test_a_run_that_cancels_itself_fails_and_the_schedule_goes_on(
    does: Callable[[], Awaitable[None]], trigger: Trigger
) -> None:
    stage = Stage()
    stage.task("odd", trigger, does)
    stage.task("good", trigger)

    stage.play(200)

    assert stage.times["odd"] == stage.times["good"]
    assert len(stage.times["odd"]) >= 3
    finished = [event for event in stage.heard.of(RunFinished) if event.task == "odd"]
    assert [event.failures for event in finished] == list(range(1, len(finished) + 1))
    assert all(isinstance(outcome, Failed) for outcome in stage.heard.outcomes("odd"))


@pytest.mark.parametrize("does_first", [True, False], ids=["in its first step", "after an await"])
@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("eager", [False, True], ids=["lazy tasks", "eager tasks"])
def test_what_is_meant_for_the_process_reaches_the_host_and_the_schedule_survives(
    error: BaseException, does_first: bool, eager: bool
) -> None:
    stage = Stage()
    turn = itertools.count()

    async def leave_once() -> None:
        if not does_first:
            await asyncio.sleep(1)
        if next(turn) == 0:
            raise error

    stage.task("before", 60)
    stage.task("leaver", 60, leave_once)
    stage.task("leaver_grid", Every(60, fixed_rate=True), initial_delay=0)
    stage.task("after_cron", Cron("* * * * *"))
    loop = VirtualLoop(stage.clock)
    if eager:
        loop.set_task_factory(asyncio.eager_task_factory)

    async def main() -> None:
        async with stage.scheduler:
            await asyncio.sleep(200)

    host = loop.create_task(main())
    with pytest.raises(type(error)) as raised:
        loop.run_until_complete(host)
    assert raised.value is error
    loop.run_until_complete(host)
    loop.close()

    late = 0 if does_first else 1
    assert stage.times == {
        "before": [0, 60, 120, 180],
        "leaver": [0, 60 + late, 120 + 2 * late, 180 + 3 * late],
        "leaver_grid": [0, 60, 120, 180],
        "after_cron": [60, 120, 180],
    }
    assert stage.heard.outcomes("leaver") == [Failed(error), Done(), Done(), Done()]


def test_a_host_that_runs_the_loop_forever_sees_the_exit_too(stage: Stage) -> None:
    stage.task("leaver", 3600, raising(SystemExit(7)), initial_delay=5)
    stage.task("good", 2)
    loop = VirtualLoop(stage.clock)
    loop.run_until_complete(stage.scheduler.start())

    with pytest.raises(SystemExit) as raised:
        loop.run_forever()
    loop.run_until_complete(asyncio.sleep(4))
    loop.run_until_complete(stage.scheduler.stop())
    loop.close()

    assert raised.value.code == 7
    assert stage.times["good"] == [0, 2, 4, 6, 8]


def test_asyncio_run_hands_the_exit_to_the_program(stage: Stage) -> None:
    stage.task("leaver", 3600, raising(SystemExit(7)))

    with pytest.raises(SystemExit):
        stage.play(60)

    assert stage.clock.monotonic() < 60


class Unusual(BaseException):
    """Neither an `Exception` nor anything asyncio knows, like `pytest.fail` or anyio's cancellation."""


@pytest.mark.parametrize("trigger", [Every(60), Every(60, fixed_rate=True), Cron("* * * * *")], ids=str)
def test_an_error_of_no_known_kind_does_not_end_the_schedule(trigger: Trigger) -> None:
    stage = Stage()
    stage.task("odd", trigger, raising(Unusual("hm")))
    stage.task("good", trigger)

    stage.play(200)

    assert stage.times["odd"] == stage.times["good"]
    assert len(stage.heard.outcomes("odd")) == len(stage.times["odd"])


# -- runs that would not end ---------------------------------------------------------------------


class Stubborn:
    """A body that ignores every cancellation until it is released."""

    def __init__(self) -> None:
        self.released = asyncio.Event()
        self.cancels = 0
        self.beside = 0
        self.most = 0

    async def __call__(self) -> None:
        self.beside += 1
        self.most = max(self.most, self.beside)
        while not self.released.is_set():
            try:
                await self.released.wait()
            except asyncio.CancelledError:
                self.cancels += 1
        self.beside -= 1


@pytest.mark.parametrize("trigger", [Every(60), Every(60, fixed_rate=True), Cron("* * * * *")], ids=str)
def test_a_run_that_never_ends_is_named_and_never_runs_beside_itself(
    trigger: Trigger, caplog: pytest.LogCaptureFixture
) -> None:
    stage, stubborn = Stage(stop_timeout=10), Stubborn()
    stage.task("stubborn", trigger, stubborn)
    stage.task("good", trigger)

    async def main() -> None:
        await stage.scheduler.start()
        await asyncio.sleep(61)
        await stage.scheduler.stop()
        assert stage.clock.monotonic() == pytest.approx(71)
        await stage.scheduler.start()
        await asyncio.sleep(200)
        assert len(stage.times["stubborn"]) == 1
        assert len(stage.times["good"]) > 3
        stubborn.released.set()
        await asyncio.sleep(120)
        assert len(stage.times["stubborn"]) > 1
        await stage.scheduler.stop()

    stage.run(main)

    assert stubborn.most == 1
    assert stubborn.cancels == 2
    assert stage.stops == [(("stubborn",), 10), ((), 0)]
    assert "these runs would not end" in caplog.text
    assert "stubborn" in caplog.text


def test_a_run_that_ends_while_the_scheduler_is_stopped_frees_its_place(stage: Stage) -> None:
    stubborn = Stubborn()
    stage.task("stubborn", 60, stubborn)

    async def main() -> None:
        await stage.scheduler.start()
        await asyncio.sleep(1)
        await stage.scheduler.stop()
        stubborn.released.set()
        await asyncio.sleep(1)
        async with stage.scheduler:
            await asyncio.sleep(1)

    stage.run(main)

    assert stage.times["stubborn"] == [0, 12]


def test_a_run_that_swallows_the_first_cancel_gets_a_second(stage: Stage) -> None:
    cancels: list[float] = []

    async def swallow_once() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancels.append(stage.clock.monotonic())
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancels.append(stage.clock.monotonic())
            raise

    stage.task("swallower", 60, swallow_once)

    stage.play(1)

    assert cancels == [1, 6]
    assert stage.heard.outcomes("swallower") == [Cancelled()]
    assert stage.stops == [((), 5)]


def test_a_run_that_cleans_up_in_time_is_waited_for(stage: Stage) -> None:
    cleaned: list[float] = []

    async def clean_up() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(4)
            cleaned.append(stage.clock.monotonic())

    stage.task("tidy", 60, clean_up)

    stage.play(1)

    assert cleaned == [5]
    assert stage.stops == [((), 4)]


def test_stop_called_from_inside_a_run_stops_everything_and_that_run(stage: Stage) -> None:
    after: list[str] = []

    async def stop_all() -> None:
        await stage.scheduler.stop()
        after.append("the run went on")

    stage.task("stopper", 60, stop_all, initial_delay=5)
    stage.task("other", 60, sleeping(3600))

    async def main() -> None:
        await stage.scheduler.start()
        await asyncio.sleep(300)
        assert not stage.scheduler.running

    stage.run(main)

    assert stage.heard.outcomes("stopper") == stage.heard.outcomes("other") == [Cancelled()]
    assert stage.heard.of(SchedulerStopped) == [SchedulerStopped((), 0.0)]
    assert after == []


def test_what_a_stop_says_is_said_outside_the_run_that_called_it(stage: Stage) -> None:
    said_by: list[object] = []
    stage.scheduler.bus.subscribe(
        lambda event: said_by.append(current_run.get()) if isinstance(event, SchedulerStopped) else None
    )
    stage.task("stopper", 60, stage.scheduler.stop)

    async def main() -> None:
        await stage.scheduler.start()
        await asyncio.sleep(1)

    stage.run(main)

    assert said_by == [None]


def test_a_stop_whose_caller_is_cancelled_goes_on_to_its_end(stage: Stage) -> None:
    async def slow_to_end() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(3)

    stage.task("tidy", 60, slow_to_end)

    async def main() -> None:
        await stage.scheduler.start()
        await asyncio.sleep(1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await stage.scheduler.stop()
        assert stage.heard.of(SchedulerStopped) == []
        await stage.scheduler.stop()

    stage.run(main)

    assert stage.heard.outcomes("tidy") == [Cancelled()]
    assert stage.stops == [((), 3)]


# -- workers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["returns", "raises", "cancels itself"])
def test_a_worker_is_restarted_after_its_delay_however_it_ends(registry: Registry, ending: str) -> None:
    clock, began = VirtualClock(), list[float]()

    @background_worker(restart_delay="10s", registry=registry)
    async def journal() -> None:
        began.append(clock.monotonic())
        await asyncio.sleep(30)
        if ending == "raises":
            raise ValueError("no")
        if ending == "cancels itself":
            raise asyncio.CancelledError

    scheduler = build_scheduler(registry=registry, clock=clock)
    heard = Recorder(scheduler)

    async def main(clock: VirtualClock) -> None:
        async with scheduler:
            await asyncio.sleep(100)

    run_virtual(main, clock)

    assert began == [0, 40, 80]
    runs = [event.run_id for event in heard.of(RunStarted)]
    assert heard.of(WorkerRestarted) == [
        WorkerRestarted("journal", runs[1], 1),
        WorkerRestarted("journal", runs[2], 2),
    ]


def test_a_worker_that_begins_with_the_scheduler_is_not_restarted(registry: Registry) -> None:
    @background_worker(registry=registry)
    async def journal() -> None:
        await asyncio.Event().wait()

    clock = VirtualClock()
    scheduler = build_scheduler(registry=registry, clock=clock)
    heard = Recorder(scheduler)

    async def main(clock: VirtualClock) -> None:
        for _ in range(3):
            async with scheduler:
                await asyncio.sleep(100)

    run_virtual(main, clock)

    assert len(heard.of(RunStarted)) == 3
    assert heard.of(WorkerRestarted) == []


# -- single instants -----------------------------------------------------------------------------


def test_once_runs_once_also_across_restarts(stage: Stage) -> None:
    stage.task("party", Once(START + timedelta(seconds=30)))

    stage.play(100)
    stage.play(100)

    assert stage.times["party"] == [30]


def test_once_in_the_past_never_runs_and_that_is_said(stage: Stage) -> None:
    stage.task("missed", Once(START - timedelta(seconds=1)))

    stage.play(1000)

    assert stage.times["missed"] == []
    [skipped] = stage.heard.of(RunSkipped)
    assert skipped.reason.startswith("not scheduled: once at 2025-12-31 23:59:59 UTC is over")


def test_once_that_passes_between_registration_and_start_runs_at_the_start(stage: Stage) -> None:
    stage.task("slow_host", Once(START + timedelta(seconds=5)))
    stage.clock.stall(60)

    stage.play(100)
    stage.play(100)

    assert stage.times["slow_host"] == [60]
    assert stage.heard.of(RunStarted)[0].due == START + timedelta(seconds=5)


# -- the wall clock is set -----------------------------------------------------------------------


@either_clock
def test_a_wall_clock_set_forward_is_followed_at_once_or_within_five_seconds(
    clock: type[VirtualClock],
) -> None:
    stage = Stage(clock())
    stage.task("noon", Cron("0 12 * * *"))
    stage.task("grid", Every(60, fixed_rate=True))
    stage.task("plain", 60)

    async def main() -> None:
        async with stage.scheduler:
            await asyncio.sleep(101.5)
            stage.clock.step_wall(13 * 3600)
            await asyncio.sleep(99)

    stage.run(main)

    [noon] = stage.times["noon"]
    if clock is SilentClock:
        assert 101.5 < noon <= 106.5
    else:
        assert noon == 101.5
    assert stage.times["grid"] == stage.times["plain"] == [0, 60, 120, 180]


@either_clock
def test_a_wall_clock_set_back_is_followed_and_no_tick_runs_twice(clock: type[VirtualClock]) -> None:
    stage = Stage(clock())
    stage.task("hourly", Cron("0 * * * *"))
    stage.task("grid", Every(600, fixed_rate=True))

    async def main() -> None:
        async with stage.scheduler:
            await asyncio.sleep(3600 + 60)  # 01:01, the tick of 01:00 has run
            stage.clock.step_wall(-1800)  # 00:31
            await asyncio.sleep(3600 + 1800)  # 02:01

    stage.run(main)

    assert stage.times["hourly"] == [3600, 3600 + 1800 + 3600]
    assert [event.due for event in stage.heard.of(RunStarted) if event.task == "hourly"] == [
        START + timedelta(hours=1),
        START + timedelta(hours=2),
    ]
    assert stage.times["grid"] == [600.0 * step for step in range(16)]


@either_clock
def test_many_ticks_passed_over_by_a_step_are_one_run_and_the_others_are_said_to_be_missed(
    clock: type[VirtualClock],
) -> None:
    stage = Stage(clock())
    stage.task("minutely", Cron("* * * * *"))

    async def main() -> None:
        async with stage.scheduler:
            await asyncio.sleep(31)
            stage.clock.step_wall(3600)
            await asyncio.sleep(64)

    stage.run(main)

    caught_up, next_tick = stage.times["minutely"]
    assert 31 <= caught_up <= 36
    assert next_tick == 60
    [missed] = stage.heard.of(RunMissed)
    assert (missed.due, missed.ticks) == (START + timedelta(minutes=1), 59)
    assert [event.due for event in stage.heard.of(RunStarted)] == [
        START + timedelta(minutes=60),
        START + timedelta(minutes=61),
    ]


@either_clock
def test_a_slow_drift_of_the_wall_clock_makes_no_tick_early(clock: type[VirtualClock]) -> None:
    stage = Stage(clock())
    stage.task("hourly", Cron("0 * * * *"))

    async def main() -> None:
        async with stage.scheduler:
            for _ in range(90):
                await asyncio.sleep(60)
                stage.clock.step_wall(-0.1)  # too little at once to count as having been set

    stage.run(main)

    [at] = stage.times["hourly"]
    assert 3605 < at <= 3607


# -- triggers of someone else --------------------------------------------------------------------


class Answering:
    """A trigger that gives these answers in turn: instants, exceptions, nonsense."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)

    def next_after(self, when: datetime) -> Any:
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def __str__(self) -> str:
        return "as it answers"


NONSENSE = [
    (ValueError("no such year"), "its trigger raised ValueError: no such year"),
    (datetime(2030, 1, 1), "its trigger answered datetime.datetime(2030, 1, 1, 0, 0), which is not"),  # noqa: DTZ001
    (START, "which is not an aware instant after"),
    (START - timedelta(days=1), "which is not an aware instant after"),
    ("tomorrow", "its trigger answered 'tomorrow', which is not an aware instant after"),
    (60, "its trigger answered 60, which is not an aware instant after"),
    (timedelta(seconds=60), "which is not an aware instant after"),
]


@pytest.mark.parametrize(("answer", "said"), NONSENSE, ids=lambda value: repr(value)[:30])
@pytest.mark.parametrize("good_answers", [0, 1])
def test_a_trigger_that_raises_or_answers_nonsense_is_said_and_the_others_go_on(
    answer: object, said: str, good_answers: int, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage()
    first = START + timedelta(seconds=30)
    stage.task("good_before", Every(30, fixed_rate=True))
    stage.task("strange", Answering(*[first][:good_answers], answer))
    stage.task("good_after", Every(30, fixed_rate=True))

    stage.play(100)

    assert stage.times["strange"] == [30][:good_answers]
    assert stage.times["good_before"] == stage.times["good_after"] == [0, 30, 60, 90]
    [skipped] = stage.heard.of(RunSkipped)
    assert skipped.task == "strange"
    assert skipped.reason.startswith("not scheduled: its trigger ")
    assert said in skipped.reason
    assert said in caplog.text


def test_a_trigger_of_ones_own_says_when(stage: Stage) -> None:
    stage.task("own", Answering(*(START + timedelta(seconds=at) for at in (10, 25, 70))))

    stage.play(100)

    assert stage.times["own"] == [10, 25, 70]
    assert stage.scheduler.decisions == (Decision(name="own", when="as it answers"),)


# -- resources that are lost ---------------------------------------------------------------------


class Server:
    """A server that answers or does not."""

    def __init__(self, name: str = "redis") -> None:
        self.name = name
        self.up = True

    async def use(self) -> None:
        if not self.up:
            raise ResourceUnavailable(self.name, "connection refused")


def test_a_lost_server_is_said_once_and_so_is_its_return(stage: Stage) -> None:
    server = Server()
    for name in ("one", "two", "three"):
        stage.task(name, 60, server.use)

    async def main() -> None:
        async with stage.scheduler:
            await asyncio.sleep(30)
            server.up = False
            await asyncio.sleep(300)
            assert stage.scheduler.unavailable == {"redis": "redis is unavailable: connection refused"}
            server.up = True
            await asyncio.sleep(300)
            assert stage.scheduler.unavailable == {}

    stage.run(main)

    assert stage.heard.of(ResourceLost) == [ResourceLost("redis", "redis is unavailable: connection refused")]
    [regained] = stage.heard.of(ResourceRegained)
    assert regained.resource == "redis"
    assert 270 <= regained.seconds <= 270 + 61


def test_the_runs_meanwhile_are_deferred_and_no_failures(stage: Stage) -> None:
    server = Server()
    server.up = False
    stage.task("tidy", 60, server.use)

    stage.play(30)

    outcomes = stage.heard.outcomes("tidy")
    assert set(outcomes) == {Deferred("redis is unavailable: connection refused", "redis")}
    assert {event.failures for event in stage.heard.of(RunFinished)} == {0}


TRIGGERS = [
    Every("4h"),
    Every("4h", fixed_rate=True),
    Cron("0 */4 * * *"),
    Once(START + timedelta(hours=4)),
]


@pytest.mark.parametrize("trigger", TRIGGERS, ids=str)
def test_a_deferred_run_is_tried_again_with_growing_delays_sooner_than_its_tick(trigger: Trigger) -> None:
    stage, server = Stage(), Server()
    server.up = False
    stage.task("extract", trigger, server.use)

    stage.play(4 * 3600 + 600)

    begin = 0 if isinstance(trigger, Every) else 4 * 3600
    times = [at for at in stage.times["extract"] if begin <= at < begin + 600]
    delays = [round(other - one, 2) for one, other in itertools.pairwise(times)]
    ceilings = [min(60, 2**step) for step in range(len(delays))]
    assert len(delays) >= 10
    assert all(
        ceiling / 2 <= delay <= ceiling + 0.01 for delay, ceiling in zip(delays, ceilings, strict=True)
    )


@pytest.mark.parametrize("trigger", TRIGGERS[:3], ids=str)
def test_after_its_return_the_task_is_on_its_schedule_again(trigger: Trigger) -> None:
    stage, server = Stage(), Server()
    stage.task("extract", trigger, server.use)

    async def main() -> None:
        async with stage.scheduler:
            await asyncio.sleep(1)
            server.up = False
            await asyncio.sleep(4 * 3600 + 600)
            server.up = True
            await asyncio.sleep(100)
            back = stage.times["extract"][-1]
            await asyncio.sleep(8 * 3600)
            later = [at for at in stage.times["extract"] if at > back]
            if isinstance(trigger, Every) and not trigger.fixed_rate:
                assert later == [pytest.approx(back + 4 * 3600), pytest.approx(back + 8 * 3600)][: len(later)]
            else:
                assert later == [8 * 3600, 12 * 3600]
            assert 4 * 3600 + 600 < back < 4 * 3600 + 701

    stage.run(main)


def test_a_failure_of_another_kind_does_not_say_that_the_server_is_back(stage: Stage) -> None:
    turn = itertools.count()

    async def lost_then_broken() -> None:
        if next(turn) == 0:
            raise ResourceUnavailable("redis", "connection refused")
        raise ValueError("before the server was even asked")

    stage.task("moody", 60, lost_then_broken)

    stage.play(30)

    assert stage.heard.of(ResourceRegained) == []
    assert set(stage.scheduler.unavailable) <= {"redis"}


def test_a_tick_sooner_than_the_retry_is_kept(stage: Stage) -> None:
    server = Server()
    server.up = False
    stage.task("quick", 0.2, server.use)

    stage.play(10)

    assert len(stage.times["quick"]) >= 50


def test_a_deferral_without_a_resource_waits_for_the_next_tick(stage: Stage) -> None:
    async def busy() -> Deferred:
        return Deferred("the model is busy")

    stage.task("tidy", 60, busy)

    stage.play(150)

    assert stage.times["tidy"] == [0, 60, 120]
    assert stage.heard.of(ResourceLost) == []


def test_two_lost_servers_are_two(stage: Stage) -> None:
    redis, graph = Server("redis"), Server("kg_manager")
    redis.up = graph.up = False
    stage.task("one", 60, redis.use)
    stage.task("two", 60, graph.use)

    async def main() -> None:
        async with stage.scheduler:
            await asyncio.sleep(30)
            graph.up = True
            await asyncio.sleep(120)
            assert set(stage.scheduler.unavailable) == {"redis"}

    stage.run(main)

    assert [event.resource for event in stage.heard.of(ResourceLost)] == ["redis", "kg_manager"]
    assert [event.resource for event in stage.heard.of(ResourceRegained)] == ["kg_manager"]


# -- more than one event loop --------------------------------------------------------------------


def test_a_scheduler_that_was_never_stopped_serves_a_second_event_loop(stage: Stage) -> None:
    stage.task("plain", 60, sleeping(10))
    stage.task("grid", Every(60, fixed_rate=True))

    async def start_and_leave() -> None:
        await stage.scheduler.start()
        await asyncio.sleep(65)

    stage.run(start_and_leave)
    stage.clock.stall(35)
    stage.run(start_and_leave)

    assert stage.times == {"plain": [0, 100], "grid": [0, 60, 100, 160]}
    assert len(stage.heard.of(SchedulerStarted)) == 2


def test_a_run_in_progress_when_its_loop_ends_is_said_to_have_ended_and_runs_again(stage: Stage) -> None:
    stage.task("slow", 60, sleeping(3600))

    async def start_and_leave() -> None:
        await stage.scheduler.start()
        await asyncio.sleep(5)

    stage.run(start_and_leave)
    stage.run(start_and_leave)

    assert stage.times["slow"] == [0, 5]
    assert len(stage.heard.of(RunStarted)) == len(stage.heard.of(RunFinished)) == 2


def test_a_scheduler_left_behind_by_a_closed_loop_can_be_stopped_in_another(stage: Stage) -> None:
    stage.task("plain", 60)
    stage.run(stage.scheduler.start)

    stage.run(stage.scheduler.stop)

    assert not stage.scheduler.running


def test_a_task_may_be_registered_between_two_event_loops(stage: Stage) -> None:
    stage.run(stage.scheduler.start)

    stage.task("new", 60)
    stage.play(1)

    assert len(stage.times["new"]) == 1


def test_a_scheduler_that_runs_in_an_open_loop_is_refused_by_another(stage: Stage) -> None:
    stage.task("tidy", 60)
    first = VirtualLoop(stage.clock)
    first.run_until_complete(stage.scheduler.start())

    async def start_and_stop() -> None:
        with pytest.raises(BgTasksError, match="runs in another event loop: stop it there first"):
            await stage.scheduler.start()
        with pytest.raises(BgTasksError, match="runs in another event loop: stop it there"):
            await stage.scheduler.stop()

    stage.run(start_and_stop)

    first.run_until_complete(stage.scheduler.stop())
    first.close()
    assert not stage.scheduler.running


# -- context, names, references ------------------------------------------------------------------

VALUE: ContextVar[str] = ContextVar("VALUE", default="unset")


@pytest.mark.parametrize("trigger", [Every(60), Every(60, fixed_rate=True), Cron("* * * * *")], ids=str)
def test_what_a_run_sets_is_seen_by_no_later_run_and_not_by_the_host(trigger: Trigger) -> None:
    stage = Stage()
    seen: list[str] = []

    async def look_and_set() -> None:
        seen.append(VALUE.get())
        VALUE.set("a run's")

    stage.task("one", trigger, look_and_set)
    stage.task("two", trigger, look_and_set)

    async def main() -> None:
        VALUE.set("the host's")
        async with stage.scheduler:
            VALUE.set("the host's, after start")
            await asyncio.sleep(200)
            assert VALUE.get() == "the host's, after start"

    stage.run(main)

    assert len(seen) >= 6
    assert set(seen) == {"the host's"}


def test_each_start_captures_the_context_anew(stage: Stage) -> None:
    seen: list[str] = []

    async def look() -> None:
        seen.append(VALUE.get())

    stage.task("tidy", 60, look)

    async def main() -> None:
        for value in ("first", "second"):
            VALUE.set(value)
            async with stage.scheduler:
                await asyncio.sleep(1)

    stage.run(main)

    assert seen == ["first", "second"]


def test_no_run_sees_the_run_that_ended_before_it(stage: Stage) -> None:
    seen: list[object] = []

    async def look() -> None:
        seen.append(current_run.get())

    stage.task("one", 60, look)
    stage.task("two", 60, look)
    stage.scheduler.bus.subscribe(
        lambda event: seen.append(current_run.get()) if isinstance(event, RunSkipped) else None
    )
    stage.task("broken", Answering(START + timedelta(seconds=70), ValueError("no")))

    stage.play(100)

    runs = [run for run in seen if run is not None]
    assert len(runs) == len({id(run) for run in runs}) == 4
    assert seen.count(None) == 1


def test_the_id_of_a_run_is_unique_and_the_same_everywhere(stage: Stage) -> None:
    inside: list[str] = []

    async def look() -> None:
        run = current_run.get()
        assert run is not None
        inside.append(run.run_id)

    stage.task("one", 1, look)
    stage.task("two", 1, look)

    stage.play(100)

    started = [event.run_id for event in stage.heard.of(RunStarted)]
    finished = [event.run_id for event in stage.heard.of(RunFinished)]
    assert inside == started == finished
    assert len(set(started)) == len(started) >= 200


def test_ids_may_come_from_the_host() -> None:
    numbers = itertools.count(1)
    stage = Stage(new_run_id=lambda: f"run-{next(numbers)}")
    stage.task("tidy", 60)

    stage.play(100)

    assert [event.run_id for event in stage.heard.of(RunStarted)] == ["run-1", "run-2"]


def test_every_asyncio_task_has_a_name_that_tells_its_run() -> None:
    stage = Stage(new_run_id=lambda: "r1")
    names: list[str] = []

    async def look() -> None:
        task = asyncio.current_task()
        assert task is not None
        names.append(task.get_name())
        await asyncio.sleep(3600)

    stage.task("tidy", 60, look)

    async def main() -> None:
        await stage.scheduler.start()
        await asyncio.sleep(1)
        stopping = asyncio.ensure_future(stage.scheduler.stop())
        await asyncio.sleep(0)
        names.extend(sorted(task.get_name() for task in asyncio.all_tasks() if "bgtasks" in task.get_name()))
        await stopping

    stage.run(main)

    assert names == ["bgtasks:tidy:r1", "bgtasks:stop", "bgtasks:tidy:r1"]


def test_a_collection_between_any_two_steps_loses_no_run() -> None:
    stage = Stage()
    ended: list[int] = []

    async def wait_for_a_future_nobody_holds() -> None:
        for _ in range(3):
            loop = asyncio.get_running_loop()
            future: asyncio.Future[None] = loop.create_future()
            loop.call_later(5, future.set_result, None)
            gc.collect()
            await future
        ended.append(1)

    async def collect() -> None:
        gc.collect()

    for number in range(5):
        stage.task(f"t{number}", 60, wait_for_a_future_nobody_holds)
    stage.task("collector", 1, collect)

    stage.play(50)

    assert len(ended) == 5


def test_a_scheduler_that_the_host_forgets_goes_on(stage: Stage) -> None:
    times: list[float] = []

    async def main(clock: VirtualClock) -> None:
        async def tick() -> None:
            times.append(clock.monotonic())

        scheduler = BackgroundScheduler(clock=clock)
        scheduler.register("tick", tick, 10)
        await scheduler.start()
        stop = scheduler.stop
        del scheduler
        gc.collect()
        await asyncio.sleep(35)
        await stop()

    run_virtual(main)

    assert times == [0, 10, 20, 30]


def test_a_listener_that_raises_disturbs_neither_runs_nor_schedule(caplog: pytest.LogCaptureFixture) -> None:
    bus = EventBus()

    def broken(event: Event) -> None:
        raise RuntimeError("no disk")

    bus.subscribe(broken)
    stage = Stage(bus=bus)
    stage.task("bad", 60, raising(ValueError("no")))
    stage.task("grid", Every(60, fixed_rate=True), sleeping(70))

    stage.play(250)

    assert stage.times == {"bad": [0, 60, 120, 180, 240], "grid": [0, 120, 240]}
    said = [record for record in caplog.records if record.getMessage().startswith("a listener failed on ")]
    assert len(said) == len(stage.heard.events)
    assert all(record.levelno == logging.ERROR for record in said)


# -- what outages and hosts can do ---------------------------------------------------------------


def test_a_job_that_goes_on_to_miss_another_server_leaves_the_next_loss_of_the_first_to_be_said(
    stage: Stage,
) -> None:
    answers = iter(
        [
            ResourceUnavailable("redis", "down"),
            ResourceUnavailable("kg_manager", "down"),
            None,
            ResourceUnavailable("redis", "down again"),
        ]
    )

    async def reach() -> None:
        if (error := next(answers, None)) is not None:
            raise error

    stage.task("reach", 60, reach)
    stage.play(200)

    assert [event.resource for event in stage.heard.of(ResourceLost)] == ["redis", "kg_manager", "redis"]
    assert [event.resource for event in stage.heard.of(ResourceRegained)] == ["kg_manager", "redis"]
    assert stage.scheduler.unavailable == {}


def test_a_worker_that_runs_on_after_an_outage_has_found_the_server_again(stage: Stage) -> None:
    registry = Registry()
    turns = itertools.count()

    @background_worker(registry=registry, restart_delay="1s")
    async def follow() -> None:
        if next(turns) == 0:
            raise ResourceUnavailable("redis", "down")
        await asyncio.sleep(1e6)

    scheduler = build_scheduler(registry=registry, clock=stage.clock)
    heard = Recorder(scheduler)

    async def main(clock: VirtualClock) -> dict[str, str]:
        async with scheduler:
            await asyncio.sleep(20)
            return scheduler.unavailable

    assert run_virtual(main, stage.clock) == {}
    assert [event.resource for event in heard.of(ResourceRegained)] == ["redis"]


@either_clock
def test_after_the_wall_clock_is_set_back_by_days_cron_begins_anew(clock: type[VirtualClock]) -> None:
    stage = Stage(clock())
    stage.task("often", Cron("*/5 * * * *"))

    async def main() -> None:
        async with stage.scheduler:
            await asyncio.sleep(3600)
            stage.clock.step_wall(-30 * 86_400)
            await asyncio.sleep(3600)

    stage.run(main)

    assert len(stage.times["often"]) == 24


def test_an_error_in_starting_one_run_keeps_the_turn_of_the_others_and_of_its_own_job() -> None:
    ids = iter(["first", None])

    def new_run_id() -> str:
        run_id = next(ids, "later")
        if run_id is None:
            raise RuntimeError("no entropy")
        return run_id

    stage = Stage(new_run_id=new_run_id)
    for name in ("a", "b", "c"):
        stage.task(name, 60)

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        async with stage.scheduler:
            await asyncio.sleep(150)

    stage.run(main)

    assert {name: len(times) for name, times in stage.times.items()} == {"a": 3, "b": 2, "c": 3}


def test_of_starts_and_stops_at_once_the_last_one_counts(stage: Stage) -> None:
    async def main() -> tuple[bool, bool]:
        scheduler = stage.scheduler
        await scheduler.start()
        await asyncio.gather(scheduler.stop(), scheduler.start(), scheduler.start(), scheduler.stop())
        stopped = scheduler.running
        await scheduler.start()
        await asyncio.gather(scheduler.stop(), scheduler.start())
        started = scheduler.running
        await scheduler.stop()
        return stopped, started

    assert run_virtual(lambda clock: main(), stage.clock) == (False, True)


def test_delays_are_written_like_intervals_and_bounded_like_them(stage: Stage) -> None:
    stage.task("later", 60, None, "5s", jitter="0ms")  # type: ignore[arg-type]
    stage.play(6)

    assert stage.times["later"] == [5]
    with pytest.raises(InvalidTask, match="initial_delay is seconds"):
        stage.scheduler.register("never", sleeping(0), Cron("* * * * *"), 1e15)
