"""The core in real time, under asyncio's own event loop and uvloop, and with any task factory of a host's.

Intervals are milliseconds; what a test waits for has a name and sets an event.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextvars import ContextVar
from typing import Any

import pytest
import uvloop
from tests.support.recording import Recorder
from tests.support.waiting import PATIENCE_S, until, wait_until

from bgtasks import (
    BackgroundScheduler,
    Breaker,
    Cancelled,
    Done,
    Every,
    Failed,
    Outcome,
    Registry,
    Retry,
    Skipped,
    TimedOut,
    Trigger,
    background_worker,
    build_scheduler,
    current_run,
)
from bgtasks.events import (
    RunFinished,
    RunRetried,
    RunSkipped,
    RunStarted,
    SchedulerStarted,
    SchedulerStopped,
    TaskPaused,
    TaskResumed,
    WorkerRestarted,
)

TICK = Every("2ms", fixed_rate=True)
PLAIN = Every("1ms")
HOURLY = Every("1h")

type Main = Callable[[], Coroutine[Any, Any, None]]


def foreign_factory(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any
) -> asyncio.Task[Any]:
    """As tracing tools install one: a task class of its own."""

    class Traced(asyncio.Task[Any]):
        pass

    return Traced(coroutine, loop=loop, **options)


LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
FACTORIES = {"none": None, "eager": asyncio.eager_task_factory, "foreign": foreign_factory}


class Host:
    """A program: an event loop of some kind, with some task factory, in which a test's `main` runs."""

    def __init__(self, loop: str, factory: str) -> None:
        self._loop, self._factory = loop, factory
        self.runner = asyncio.Runner(loop_factory=LOOPS[loop])

    def run(self, main: Main) -> None:
        self.runner.get_loop().set_task_factory(FACTORIES[self._factory])

        async def within_a_deadline() -> None:
            async with asyncio.timeout(PATIENCE_S):
                await main()

        self.runner.run(within_a_deadline())


EAGER_IS_REFUSED = (3, 13) <= sys.version_info < (3, 13, 3)
"""These Pythons' own eager factory does not take what uvloop gives it."""

PAIRS = [
    (loop, factory)
    for loop, factory in itertools.product(LOOPS, FACTORIES)
    if not (EAGER_IS_REFUSED and (loop, factory) == ("uvloop", "eager"))
]


@pytest.fixture(params=PAIRS, ids="-".join)
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    host = Host(*request.param)
    with host.runner:
        yield host


class Body:
    """What a task does: says that it has begun, waits until it is told to go on, and counts.

    Attributes:
        began: Set at each beginning.
        may_end: Once it is set, runs end at once.
    """

    def __init__(self, *, waits: bool = False) -> None:
        self.began, self.may_end = asyncio.Event(), asyncio.Event()
        if not waits:
            self.may_end.set()
        self.starts = self.ends = self.at_once = self.at_most = 0
        self._more = asyncio.Condition()

    async def __call__(self) -> int:
        self.starts += 1
        self.at_once += 1
        self.at_most = max(self.at_most, self.at_once)
        self.began.set()
        try:
            await self.may_end.wait()
        finally:
            self.at_once -= 1
            self.ends += 1
        return self.ends

    async def has_begun(self, times: int) -> None:
        await until(f"it has begun {times} times", lambda: self.starts >= times)


def scheduler_of(**tasks: tuple[Any, Interval] | tuple[Any, Interval, dict[str, Any]]) -> BackgroundScheduler:
    scheduler = BackgroundScheduler(stop_timeout=PATIENCE_S)
    for name, (func, interval, *options) in tasks.items():
        scheduler.register(name, func, interval, **(options[0] if options else {}))
    return scheduler


type Interval = Trigger | str | float


# -- starting and stopping -----------------------------------------------------------------------


@pytest.mark.parametrize("interval", [PLAIN, TICK], ids=str)
def test_it_ticks_until_it_is_stopped_and_again_after_a_restart(host: Host, interval: Every) -> None:
    async def main() -> None:
        body = Body()
        scheduler = scheduler_of(tick=(body, interval))
        heard = Recorder(scheduler)
        for _ in range(3):
            before = body.starts
            await scheduler.start()
            await body.has_begun(before + 5)
            await scheduler.stop()
            assert body.starts == body.ends
        assert [
            type(event) for event in heard.events if isinstance(event, SchedulerStarted | SchedulerStopped)
        ] == [
            SchedulerStarted,
            SchedulerStopped,
        ] * 3
        assert len(heard.of(RunStarted)) == len(heard.of(RunFinished)) == body.starts
        assert not asyncio.all_tasks() - {asyncio.current_task()}

    host.run(main)


def test_start_returns_before_anything_runs_and_both_are_idempotent(host: Host) -> None:
    async def main() -> None:
        body = Body()
        scheduler = scheduler_of(tick=(body, HOURLY))
        await scheduler.stop()
        await asyncio.gather(*(scheduler.start() for _ in range(3)))
        await body.has_begun(1)
        await asyncio.gather(*(scheduler.stop() for _ in range(3)))
        await scheduler.stop()
        assert body.starts == 1
        assert not scheduler.running

    host.run(main)


def test_a_stop_right_after_the_start_leaves_nothing(host: Host) -> None:
    async def main() -> None:
        body = Body()
        scheduler = scheduler_of(**{f"t{number}": (body, PLAIN) for number in range(20)})
        for _ in range(20):
            await scheduler.start()
            await scheduler.stop()
        assert body.starts == body.ends
        assert scheduler.unfinished == ()

    host.run(main)


def test_a_stop_cancels_the_run_that_waits_and_says_so(host: Host) -> None:
    async def main() -> None:
        body = Body(waits=True)
        scheduler = scheduler_of(waits=(body, HOURLY))
        heard = Recorder(scheduler)
        await scheduler.start()
        await body.began.wait()
        await scheduler.stop()
        assert heard.outcomes("waits") == [Cancelled()]
        assert heard.of(SchedulerStopped)[0].unfinished == ()
        assert body.ends == 1

    host.run(main)


def test_a_run_that_swallows_its_cancel_is_asked_again_and_ends(host: Host) -> None:
    async def main() -> None:
        began, asked = asyncio.Event(), asyncio.Event()

        async def stubborn() -> None:
            began.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                asked.set()
            await asyncio.Event().wait()

        scheduler = BackgroundScheduler(stop_timeout=0.2)
        heard = Recorder(scheduler)
        scheduler.register("stubborn", stubborn, HOURLY)
        await scheduler.start()
        await began.wait()
        await scheduler.stop()
        assert asked.is_set()
        assert heard.of(SchedulerStopped)[0].unfinished == ()

    host.run(main)


def test_a_stop_from_inside_a_run_stops_everything_and_that_run(host: Host) -> None:
    async def main() -> None:
        stopped = asyncio.Event()

        async def stop() -> None:
            try:
                await scheduler.stop()
            finally:
                stopped.set()

        body = Body(waits=True)
        scheduler = scheduler_of(other=(body, HOURLY), stopping=(stop, HOURLY))
        heard = Recorder(scheduler)
        await scheduler.start()
        await stopped.wait()
        await until("it has stopped", lambda: heard.of(SchedulerStopped))
        assert heard.outcomes("stopping") == heard.outcomes("other") == [Cancelled()]
        await scheduler.stop()

    host.run(main)


def test_a_stop_whose_caller_is_cancelled_goes_on(host: Host) -> None:
    async def main() -> None:
        cancelled, may_end = asyncio.Event(), asyncio.Event()

        async def cleans_up() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()
                await may_end.wait()

        scheduler = scheduler_of(slow=(cleans_up, HOURLY))
        heard = Recorder(scheduler)
        await scheduler.start()
        await until("it runs", lambda: scheduler.unfinished)
        stopping = asyncio.ensure_future(scheduler.stop())
        await cancelled.wait()
        stopping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stopping
        may_end.set()
        await until("it has stopped", lambda: heard.of(SchedulerStopped))

    host.run(main)


def test_a_scheduler_left_running_by_one_loop_serves_the_next(host: Host) -> None:
    bodies: list[Body] = []
    scheduler = BackgroundScheduler()

    async def main() -> None:
        body = Body()
        bodies.append(body)
        if len(bodies) == 1:
            scheduler.register("tick", lambda: bodies[-1](), PLAIN)
        await scheduler.start()
        await body.has_begun(3)

    with host.runner:
        host.run(main)
    assert not scheduler.running
    again = Host(host._loop, host._factory)
    with again.runner:
        again.run(main)
        again.run(scheduler.stop)


def test_while_the_loop_of_a_scheduler_left_running_ends_nothing_is_begun_that_cannot_end(host: Host) -> None:
    body = Body(waits=True)
    scheduler = scheduler_of(tick=(body, PLAIN))
    heard = Recorder(scheduler)

    def keep_the_loop_from_its_end() -> None:
        wait_until("it stops or begins anew", lambda: not scheduler.running or body.starts > 1)

    async def main() -> None:
        await scheduler.start()
        await body.began.wait()
        asyncio.get_running_loop().run_in_executor(None, keep_the_loop_from_its_end)

    with host.runner:
        host.run(main)

    assert not scheduler.running
    assert scheduler.unfinished == ()
    assert body.starts == body.ends
    assert len(heard.of(SchedulerStopped)) == 1


# -- draining ------------------------------------------------------------------------------------


def test_a_drain_lets_the_run_end_by_itself_and_begins_no_other(host: Host) -> None:
    async def main() -> None:
        body, other = Body(waits=True), Body()
        scheduler = scheduler_of(slow=(body, TICK), other=(other, TICK))
        heard = Recorder(scheduler)
        await scheduler.start()
        await body.began.wait()
        stopping = asyncio.ensure_future(scheduler.stop(drain=PATIENCE_S))
        await until("it begins no more", lambda: not scheduler.running)
        begun = other.starts
        body.may_end.set()
        await stopping
        assert heard.outcomes("slow") == [Done(1)]
        assert other.starts == begun

    host.run(main)


def test_a_drain_that_takes_too_long_cancels(host: Host) -> None:
    async def main() -> None:
        body = Body(waits=True)
        scheduler = scheduler_of(slow=(body, HOURLY))
        heard = Recorder(scheduler)
        await scheduler.start()
        await body.began.wait()
        await scheduler.stop(drain="20ms")
        assert heard.outcomes("slow") == [Cancelled()]

    host.run(main)


def test_a_second_stop_without_a_drain_cuts_the_wait_short(host: Host) -> None:
    async def main() -> None:
        body = Body(waits=True)
        scheduler = scheduler_of(slow=(body, HOURLY))
        heard = Recorder(scheduler)
        await scheduler.start()
        await body.began.wait()
        draining = asyncio.ensure_future(scheduler.stop(drain="1h"))
        await until("it begins no more", lambda: not scheduler.running)
        await scheduler.stop()
        await draining
        assert heard.outcomes("slow") == [Cancelled()]

    host.run(main)


# -- overlap -------------------------------------------------------------------------------------


def test_a_tick_that_finds_its_run_still_going_is_skipped(host: Host) -> None:
    async def main() -> None:
        body = Body(waits=True)
        scheduler = scheduler_of(slow=(body, TICK))
        heard = Recorder(scheduler)
        async with scheduler:
            await until("three ticks are skipped", lambda: len(heard.of(RunSkipped)) >= 3)
            assert body.starts == 1
            body.may_end.set()
            await body.has_begun(3)
        assert body.at_most == 1
        assert {event.reason for event in heard.of(RunSkipped)} == {"the previous run is still going"}

    host.run(main)


def test_a_queued_tick_runs_right_after_and_at_most_one_waits(host: Host) -> None:
    async def main() -> None:
        body = Body(waits=True)
        scheduler = scheduler_of(slow=(body, TICK, {"overlap": "queue"}))
        heard = Recorder(scheduler)
        async with scheduler:
            await until("two ticks find one queued", lambda: len(heard.of(RunSkipped)) >= 2)
            assert body.starts == 1
            queued = heard.of(RunSkipped)[0].due
            body.may_end.set()
            await body.has_begun(2)
            assert heard.of(RunStarted)[1].due < queued
        assert body.at_most == 1

    host.run(main)


def test_with_cancel_the_previous_run_gives_way_to_the_next(host: Host) -> None:
    async def main() -> None:
        body = Body(waits=True)
        scheduler = scheduler_of(slow=(body, TICK, {"overlap": "cancel"}))
        heard = Recorder(scheduler)
        async with scheduler:
            await body.has_begun(4)
        assert body.at_most == 1
        assert set(heard.outcomes("slow")[:3]) == {Cancelled("its next run is due")}

    host.run(main)


def test_with_allow_runs_go_side_by_side(host: Host) -> None:
    async def main() -> None:
        body = Body(waits=True)
        scheduler = scheduler_of(slow=(body, TICK, {"overlap": "allow"}))
        async with scheduler:
            await body.has_begun(5)
            body.may_end.set()
            await until("they end", lambda: body.ends >= 5)
        assert body.at_most >= 5
        assert body.at_once == 0

    host.run(main)


# -- limits, timeouts, attempts, breaker ---------------------------------------------------------


def test_limits_hold_and_everyone_has_his_turn(host: Host) -> None:
    async def main() -> None:
        together = Body(waits=True)
        scheduler = BackgroundScheduler(max_concurrent=3, group_limits={"llm": 1})
        heard = Recorder(scheduler)
        for number in range(10):
            scheduler.register(f"t{number}", together, PLAIN, group="llm" if number < 5 else None)
        async with scheduler:
            await together.has_begun(3)
            together.may_end.set()
            await until("each ran", lambda: len({event.task for event in heard.of(RunFinished)}) == 10)
        assert together.at_most == 3

    host.run(main)


def test_a_run_that_takes_too_long_is_cancelled_and_runs_again(host: Host) -> None:
    async def main() -> None:
        body = Body(waits=True)
        scheduler = scheduler_of(slow=(body, PLAIN, {"timeout": "5ms"}))
        heard = Recorder(scheduler)
        async with scheduler:
            await body.has_begun(4)
        assert heard.outcomes("slow")[:3] == [TimedOut(0.005)] * 3

    host.run(main)


def test_a_failed_run_is_tried_again_within_itself(host: Host) -> None:
    async def main() -> None:
        attempts = itertools.count(1)
        done = asyncio.Event()

        async def third_time_lucky() -> int:
            attempt = next(attempts)
            if attempt < 3:
                raise ValueError("not yet")
            done.set()
            return attempt

        retry = {"retry": Retry(5, backoff="2ms"), "timeout": "10s"}
        scheduler = scheduler_of(flaky=(third_time_lucky, HOURLY, retry))
        heard = Recorder(scheduler)
        async with scheduler:
            await done.wait()
            await until("it ended", lambda: heard.outcomes("flaky"))
        assert heard.outcomes("flaky") == [Done(3)]
        assert [event.attempt for event in heard.of(RunRetried)] == [1, 2]

    host.run(main)


def test_a_breaker_opens_tries_again_and_closes(host: Host) -> None:
    async def main() -> None:
        broken = True

        async def body() -> None:
            if broken:
                raise OSError("no")

        breaker = {"breaker": Breaker(after=2, cool_down="10ms")}
        scheduler = scheduler_of(bad=(body, TICK, breaker))
        heard = Recorder(scheduler)
        async with scheduler:
            await until("it opened twice", lambda: len(heard.of(TaskPaused)) >= 2)
            broken = False
            await until("it closed", lambda: heard.of(TaskResumed))
        assert Done() in heard.outcomes("bad")

    host.run(main)


# -- by hand -------------------------------------------------------------------------------------


def test_run_now_gives_the_outcome(host: Host) -> None:
    async def main() -> None:
        async def add(one: int, other: int) -> int:
            return one + other

        async def fail() -> None:
            raise KeyError("x")

        scheduler = BackgroundScheduler()
        scheduler.register("add", add, HOURLY, "1h", args=(1,), kwargs={"other": 2})
        scheduler.register("fail", fail, HOURLY, "1h")
        async with scheduler:
            assert await scheduler.run_now("add") == Done(3)
            outcome = await scheduler.run_now("fail")
            assert isinstance(outcome, Failed)
            assert isinstance(outcome.error, KeyError)

    host.run(main)


def test_run_now_beside_a_run_follows_the_overlap_policy(host: Host) -> None:
    async def main() -> None:
        body = Body(waits=True)
        scheduler = scheduler_of(skip=(body, HOURLY))
        async with scheduler:
            await body.began.wait()
            assert await scheduler.run_now("skip") == Skipped("the previous run is still going")

    host.run(main)


def test_a_run_asked_for_goes_on_when_its_caller_is_cancelled(host: Host) -> None:
    async def main() -> None:
        body = Body(waits=True)
        scheduler = BackgroundScheduler()
        scheduler.register("slow", body, HOURLY, "1h")
        heard = Recorder(scheduler)
        async with scheduler:
            asking = asyncio.ensure_future(scheduler.run_now("slow"))
            await body.began.wait()
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            body.may_end.set()
            await until("it ended", lambda: heard.outcomes("slow"))
        assert heard.outcomes("slow") == [Done(1)]

    host.run(main)


def test_pause_resume_reschedule_and_remove_while_it_runs(host: Host) -> None:
    async def main() -> None:
        body = Body()
        scheduler = scheduler_of(tick=(body, PLAIN))
        heard = Recorder(scheduler)
        async with scheduler:
            await body.has_begun(2)
            scheduler.pause("tick")
            await until("a tick is skipped", lambda: heard.of(RunSkipped))
            paused_at = body.starts
            scheduler.resume("tick")
            await body.has_begun(paused_at + 2)
            scheduler.reschedule("tick", TICK)
            await body.has_begun(body.starts + 3)
            await scheduler.remove("tick")
            assert scheduler.snapshot() == ()
            scheduler.register("tick", body, PLAIN)
            await body.has_begun(body.starts + 2)

    host.run(main)


# -- failures ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [ValueError("no"), asyncio.CancelledError(), BaseException("odd")], ids=repr
)
def test_a_run_that_raises_disturbs_nobody_and_runs_again(host: Host, error: BaseException) -> None:
    async def main() -> None:
        async def fail() -> None:
            raise error

        body = Body()
        scheduler = scheduler_of(bad=(fail, PLAIN), good=(body, PLAIN))
        heard = Recorder(scheduler)
        async with scheduler:
            await body.has_begun(5)
            await until("it failed five times", lambda: len(heard.outcomes("bad")) >= 5)
        assert all(isinstance(outcome, Failed) for outcome in heard.outcomes("bad")[:5])

    host.run(main)


@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "later"])
@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_what_is_meant_for_the_process_leaves_the_loop_and_the_schedule_goes_on_in_it(
    host: Host, kind: type[BaseException], at_once: bool
) -> None:
    scheduler = BackgroundScheduler()
    heard = Recorder(scheduler)
    runs = itertools.count()
    good: list[int] = []
    loop = host.runner.get_loop()
    loop.set_task_factory(FACTORIES[host._factory])

    async def leave() -> None:
        if not at_once:
            ready = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(ready.set_result, None)
            await ready
        if next(runs) == 0:
            raise kind("over")

    async def go_on() -> None:
        good.append(1)

    async def start() -> None:
        scheduler.register("leave", leave, PLAIN)
        scheduler.register("good", go_on, PLAIN)
        await scheduler.start()

    def live() -> None:
        loop.run_until_complete(start())  # under uvloop the first tick may come in here
        loop.run_forever()

    with pytest.raises(kind, match="over"):
        live()
    before = len(good)

    async def both_run() -> None:
        await until("both run again", lambda: len(good) > before + 2 and len(heard.outcomes("leave")) > 3)
        await scheduler.stop()

    loop.run_until_complete(both_run())
    first, *others = heard.outcomes("leave")
    assert isinstance(first, Failed)
    assert isinstance(first.error, kind)
    assert set(others) <= {Done(), Cancelled()}


def test_a_runner_hands_the_exit_to_the_program(host: Host) -> None:
    async def main() -> None:
        async def leave() -> None:
            raise SystemExit(3)

        async with scheduler_of(leave=(leave, HOURLY)):
            await asyncio.Event().wait()

    with pytest.raises(SystemExit) as left:
        host.run(main)
    assert left.value.code == 3


def test_a_listener_that_raises_disturbs_nobody(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        def broken(event: object) -> None:
            raise RuntimeError("no disk")

        body = Body()
        scheduler = scheduler_of(tick=(body, PLAIN))
        scheduler.bus.subscribe(broken)
        async with scheduler:
            await body.has_begun(3)

    host.run(main)
    assert any("a listener failed on" in record.getMessage() for record in caplog.records)


# -- workers, contexts, threads ------------------------------------------------------------------


def test_a_worker_that_ends_is_restarted(host: Host, registry: Registry) -> None:
    async def main() -> None:
        body = Body()

        @background_worker(restart_delay="2ms", registry=registry)
        async def follow() -> None:
            await body()

        scheduler = build_scheduler(registry=registry)
        heard = Recorder(scheduler)
        async with scheduler:
            await body.has_begun(4)
        assert [event.restarts for event in heard.of(WorkerRestarted)][:3] == [1, 2, 3]

    host.run(main)


def test_each_run_has_a_context_and_an_asyncio_task_of_its_own(host: Host) -> None:
    mine: ContextVar[str] = ContextVar("mine", default="nothing")
    seen: list[tuple[str, str, bool]] = []

    async def main() -> None:
        async def look() -> None:
            run, task = current_run.get(), asyncio.current_task()
            assert run is not None
            assert task is not None
            seen.append((mine.get(), task.get_name(), run.handle is task))
            mine.set("a run's")

        scheduler = scheduler_of(look=(look, PLAIN))
        heard = Recorder(scheduler)
        mine.set("the host's")
        async with scheduler:
            await until("three runs", lambda: len(seen) >= 3)
        assert mine.get() == "the host's"
        assert current_run.get() is None
        names = [f"bgtasks:look:{event.run_id}" for event in heard.of(RunStarted)]
        assert seen == [("the host's", name, True) for name in names]

    host.run(main)


def test_health_and_lag_may_be_asked_from_a_thread(host: Host) -> None:
    async def main() -> None:
        body = Body()
        scheduler = scheduler_of(tick=(body, PLAIN))
        async with scheduler:
            await body.has_begun(2)
            health = await asyncio.to_thread(scheduler.health)
            assert health.ok, health.problems
            assert await asyncio.to_thread(lambda: scheduler.lag) >= 0
        assert not (await asyncio.to_thread(scheduler.health)).ok

    host.run(main)


# -- task factories of the host's ----------------------------------------------------------------


@pytest.mark.parametrize("loop", LOOPS)
def test_a_task_factory_of_the_hosts_makes_the_runs(loop: str) -> None:
    async def main() -> None:
        made: list[str] = []
        done = asyncio.Event()

        async def look() -> None:
            made.append(type(asyncio.current_task()).__name__)
            done.set()

        async with scheduler_of(look=(look, HOURLY)):
            await done.wait()
        assert made == ["Traced"]

    host = Host(loop, "foreign")
    with host.runner:
        host.run(main)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_task_factory_that_fails_now_and_then_costs_those_runs_only(loop: str) -> None:
    async def main() -> None:
        calls = itertools.count()

        def factory(
            loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any
        ) -> asyncio.Task[Any]:
            if getattr(coroutine, "__qualname__", "") == "Runner.run" and next(calls) % 2 == 0:
                raise RuntimeError("no more tasks")
            return asyncio.Task(coroutine, loop=loop, **options)

        running = asyncio.get_running_loop()
        running.set_task_factory(factory)
        running.set_exception_handler(lambda *_: None)
        body = Body()
        scheduler = scheduler_of(tick=(body, PLAIN))
        heard = Recorder(scheduler)
        async with scheduler:
            await body.has_begun(3)
        assert len(heard.of(RunSkipped)) >= 3
        assert all("RuntimeError: no more tasks" in event.reason for event in heard.of(RunSkipped))

    host = Host(loop, "none")
    with host.runner:
        host.run(main)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_run_stopped_before_its_first_step_keeps_its_place_in_the_schedule(loop: str) -> None:
    async def main() -> None:
        body = Body()
        scheduler = scheduler_of(tick=(body, HOURLY))
        heard = Recorder(scheduler)

        await scheduler.start()
        asking = asyncio.ensure_future(scheduler.run_now("tick"))
        stopping = asyncio.ensure_future(scheduler.stop())
        outcome: Outcome = await asking
        await stopping
        assert isinstance(outcome, Cancelled | Done | Skipped)
        assert scheduler.unfinished == ()
        assert len(heard.of(RunStarted)) == len(heard.of(RunFinished))
        await scheduler.start()
        await body.has_begun(body.starts + 1)
        await scheduler.stop()

    host = Host(loop, "foreign")
    with host.runner:
        host.run(main)


def test_awaitables_that_are_no_coroutines_are_taken(host: Host) -> None:
    async def main() -> None:
        def promise() -> Awaitable[str]:
            future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(future.set_result, "kept")
            return future

        scheduler = BackgroundScheduler()
        scheduler.register("promise", promise, HOURLY, "1h")
        async with scheduler:
            assert await scheduler.run_now("promise") == Done("kept")

    host.run(main)
