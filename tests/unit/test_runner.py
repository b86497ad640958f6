"""One run, once: whatever someone else's code does ends as an outcome between two events."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest
from tests.support.recording import Recorder

from bgtasks import (
    Cancelled,
    Deferred,
    Done,
    EventBus,
    Failed,
    Outcome,
    ResourceUnavailable,
    Retry,
    Skipped,
    TimedOut,
    current_run,
)
from bgtasks.errors import InvalidTask
from bgtasks.events import Event, RunFinished, RunRetried, RunStarted, RunStuck
from bgtasks.policies import Policy
from bgtasks.run import Run, Work
from bgtasks.runner import ASK_AGAIN, Runner
from bgtasks.testing import VirtualClock, VirtualLoop, run_virtual

DUE = datetime(2026, 1, 1, tzinfo=UTC)


def a_run(
    func: Callable[..., Any],
    *args: object,
    failures: int = 0,
    timeout: float | None = None,
    retry: Retry | None = None,
    **kwargs: object,
) -> Run:
    policy = Policy(timeout=timeout, retry=retry)
    return Run(Work("tidy", func, args, kwargs, policy, failures), "r1", DUE)


class Scene:
    """A runner on virtual time, and what it says."""

    def __init__(self, seed: int = 7) -> None:
        self.bus = EventBus()
        self.heard = Recorder(self.bus)
        self.clock = VirtualClock()
        self.ended: list[tuple[Run, float]] = []
        self.runner = Runner(self.bus, self.clock, random=Random(seed), ended=self._ended)

    def _ended(self, run: Run) -> None:
        self.ended.append((run, self.clock.monotonic()))

    def begin(self, run: Run) -> asyncio.Task[Outcome]:
        """Begin a run as the dispatcher does: its first step at once, then its time limit."""
        loop = asyncio.get_running_loop()
        self.runner.open(loop, contextvars.Context())
        task = asyncio.Task(self.runner.run(run), loop=loop, eager_start=True, name="bgtasks:tidy")
        if not task.done():
            self.runner.limit(run)
        return task

    def play(self, run: Run, does: Callable[[], Awaitable[None]] | None = None) -> asyncio.Task[Outcome]:
        """Run it to its end, with `does()` beside it; its asyncio task."""

        async def main(clock: VirtualClock) -> asyncio.Task[Outcome]:
            task = self.begin(run)
            if does is not None:
                await does()
            if not task.done():
                await asyncio.wait([task])
            return task

        return run_virtual(main, self.clock)


def ran(run: Run) -> tuple[Outcome, Recorder]:
    """The outcome of one run, and what was said of it."""
    scene = Scene()
    return scene.play(run).result(), scene.heard


def test_a_run_is_framed_by_two_events_and_its_length_is_measured() -> None:
    async def tidy(channel: str, *, limit: int) -> dict[str, int]:
        await asyncio.sleep(90)
        return {channel: limit}

    outcome, recorder = ran(a_run(tidy, "lobby", limit=5))

    assert outcome == Done({"lobby": 5})
    assert recorder.events == [RunStarted("tidy", "r1", DUE), RunFinished("tidy", "r1", outcome, 90.0, 0)]


@pytest.mark.parametrize(
    "answer", [Done({"n": 1}), Skipped("nothing new"), Deferred("busy"), Deferred("down", "redis")], ids=str
)
def test_an_outcome_that_a_task_returns_is_taken_as_it_is(answer: Outcome) -> None:
    async def tidy() -> Outcome:
        return answer

    assert ran(a_run(tidy))[0] is answer


@pytest.mark.parametrize(
    "answer", [None, 0, "", [], {"n": 1}, Failed(ValueError()), Cancelled(), Done], ids=repr
)
def test_anything_else_a_task_returns_is_the_result_of_a_run_that_is_done(answer: object) -> None:
    async def tidy() -> object:
        return answer

    assert ran(a_run(tidy))[0] == Done(answer)


def test_an_error_is_a_failure_and_counts_those_in_a_row() -> None:
    error = ValueError("no such channel")

    async def tidy() -> None:
        raise error

    outcome, recorder = ran(a_run(tidy, failures=2))

    assert outcome == Failed(error)
    assert recorder.of(RunFinished) == [RunFinished("tidy", "r1", outcome, 0.0, 3)]


def test_a_success_ends_the_failures_in_a_row() -> None:
    async def tidy() -> None: ...

    _, recorder = ran(a_run(tidy, failures=2))

    assert [event.failures for event in recorder.of(RunFinished)] == [0]


def test_an_unavailable_resource_defers_the_run_and_leaves_the_count_of_failures() -> None:
    async def tidy() -> None:
        raise ResourceUnavailable("redis", "no answer from redis://:secret@db")

    outcome, recorder = ran(a_run(tidy, failures=2))

    assert outcome == Deferred("redis is unavailable: no answer from redis://***@db", "redis")
    assert [event.failures for event in recorder.of(RunFinished)] == [2]


def sync_nothing() -> None: ...


async def async_generator() -> Any:
    yield 1


def generator() -> Any:
    yield 1


@pytest.mark.parametrize(
    ("func", "kind"),
    [
        (sync_nothing, "NoneType"),
        (lambda: 7, "int"),
        (generator, "generator"),
        (async_generator, "async_generator"),
        (lambda: sync_nothing, "function"),
    ],
)
def test_a_function_that_returns_no_coroutine_is_a_clear_failure(func: Callable[..., Any], kind: str) -> None:
    outcome, recorder = ran(a_run(func))

    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, InvalidTask)
    assert str(outcome.error) == f'"tidy" returned {kind} instead of a coroutine: write "async def"'
    assert len(recorder.events) == 2


def test_a_function_may_return_any_awaitable() -> None:
    def tidy() -> asyncio.Future[int]:
        async def seven() -> int:
            return 7

        return asyncio.ensure_future(seven())

    assert ran(a_run(tidy))[0] == Done(7)


def test_a_function_that_raises_before_it_returns_a_coroutine_fails_its_run() -> None:
    outcome, _ = ran(a_run(async_generator, "one argument too many"))

    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, TypeError)


def test_the_run_is_known_to_the_code_in_it_and_to_the_listeners_and_to_nobody_else() -> None:
    seen: list[Run | None] = []
    bus = EventBus()
    bus.subscribe(lambda event: seen.append(current_run.get()))

    async def helper() -> None:
        seen.append(current_run.get())

    async def tidy() -> None:
        await asyncio.gather(helper(), asyncio.create_task(helper()))

    run = a_run(tidy)

    async def main(clock: VirtualClock) -> Run | None:
        await asyncio.create_task(Runner(bus, clock).run(run))
        return current_run.get()  # not that of the task, which has a context of its own

    assert run_virtual(main) is None
    assert seen == [run] * 4


async def forever() -> None:
    await asyncio.Event().wait()


STOP = Cancelled("enough")


@pytest.mark.parametrize("insist", [False, True])
def test_a_run_that_is_cancelled_on_purpose_says_why_and_passes_it_on(insist: bool) -> None:
    scene, run = Scene(), a_run(forever)

    async def cancel() -> None:
        await asyncio.sleep(1)
        scene.runner.cancel(run, STOP, insist=insist)

    assert scene.play(run, cancel).cancelled()
    assert scene.heard.outcomes("tidy") == [STOP]
    assert run.outcome == STOP


def test_a_cancellation_that_nobody_asked_for_is_a_failure_and_is_passed_on() -> None:
    scene, run = Scene(), a_run(forever)

    async def cancel() -> None:
        await asyncio.sleep(1)
        assert run.handle is not None
        run.handle.cancel()

    assert scene.play(run, cancel).cancelled()
    [outcome] = scene.heard.outcomes("tidy")
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, asyncio.CancelledError)


async def raise_cancelled() -> None:
    raise asyncio.CancelledError("mine")


async def cancel_own_task() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(1)


@pytest.mark.parametrize("tidy", [raise_cancelled, cancel_own_task])
def test_a_run_that_cancels_itself_has_failed(tidy: Callable[[], Coroutine[Any, Any, None]]) -> None:
    bus = EventBus()
    recorder = Recorder(bus)

    async def main(clock: VirtualClock) -> None:
        task = asyncio.create_task(Runner(bus, clock).run(a_run(tidy, failures=1)))
        await asyncio.wait([task])
        assert task.cancelled()

    run_virtual(main)

    [event] = recorder.of(RunFinished)
    assert isinstance(event.outcome, Failed)
    assert isinstance(event.outcome.error, asyncio.CancelledError)
    assert event.failures == 2


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("first_step", [True, False], ids=["in its first step", "after an await"])
def test_what_is_meant_for_the_process_is_recorded_and_leaves_the_event_loop(
    error: BaseException, first_step: bool
) -> None:
    async def tidy() -> None:
        if not first_step:
            await asyncio.sleep(5)
        raise error

    bus = EventBus()
    recorder = Recorder(bus)
    loop = VirtualLoop()
    task = loop.create_task(Runner(bus, loop.clock).run(a_run(tidy)))

    with pytest.raises(type(error)) as raised:
        loop.run_forever()

    assert raised.value is error
    assert task.done()
    assert task.result() == Failed(error)
    assert recorder.outcomes("tidy") == [Failed(error)]
    loop.close()


class Unusual(BaseException):
    """Neither an `Exception` nor anything asyncio knows, like `pytest.fail` or anyio's cancellation."""


@pytest.mark.parametrize("error", [Unusual("hm"), BaseExceptionGroup("one", [Unusual("hm")])])
def test_an_error_of_no_known_kind_is_recorded_like_any_other(error: BaseException) -> None:
    async def tidy() -> None:
        raise error

    bus = EventBus()
    recorder = Recorder(bus)

    async def main(clock: VirtualClock) -> None:
        task = asyncio.create_task(Runner(bus, clock).run(a_run(tidy)))
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()

    run_virtual(main)

    assert recorder.outcomes("tidy") == [Failed(error)]


# -- timeouts ------------------------------------------------------------------------------------


class Body:
    """What a task does, one attempt after the other; the last is repeated. It notes when each began."""

    def __init__(self, *attempts: Callable[[], Awaitable[Any]]) -> None:
        self.attempts = attempts
        self.began: list[float] = []

    async def __call__(self) -> Any:
        self.began.append(asyncio.get_running_loop().time())
        return await self.attempts[min(len(self.began), len(self.attempts)) - 1]()


def sleeping(seconds: float, answer: object = None) -> Callable[[], Awaitable[object]]:
    async def sleep() -> object:
        await asyncio.sleep(seconds)
        return answer

    return sleep


def failing(error: BaseException, after: float = 0.0) -> Callable[[], Awaitable[None]]:
    async def fail() -> None:
        if after:
            await asyncio.sleep(after)
        raise error

    return fail


def swallowing(seconds: float, answer: object = None) -> Callable[[], Awaitable[object]]:
    """Ignores every cancellation for so long."""

    async def swallow() -> object:
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while (left := until - loop.time()) > 0:
            try:
                await asyncio.sleep(left)
            except asyncio.CancelledError:
                continue
        return answer

    return swallow


def test_a_run_that_takes_too_long_times_out_and_its_asyncio_task_is_not_cancelled() -> None:
    scene = Scene()

    task = scene.play(a_run(forever, timeout=30, failures=1))

    assert task.result() == TimedOut(30)
    assert scene.heard.events == [
        RunStarted("tidy", "r1", DUE),
        RunFinished("tidy", "r1", TimedOut(30), 30, 2),
    ]


def test_a_run_that_ends_in_time_hears_nothing_of_its_timeout() -> None:
    scene = Scene()

    assert scene.play(a_run(sleeping(29, "well"), timeout=30), sleeping(100)).result() == Done("well")  # type: ignore[arg-type]
    assert len(scene.heard.events) == 2


def test_a_run_that_cleans_up_after_its_timeout_is_let_finish_that() -> None:
    cleaned: list[float] = []

    async def clean_up() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(ASK_AGAIN - 1)
            cleaned.append(asyncio.get_running_loop().time())

    scene = Scene()

    assert scene.play(a_run(clean_up, timeout=30)).result() == TimedOut(30)
    assert cleaned == [30 + ASK_AGAIN - 1]
    assert scene.heard.of(RunStuck) == []


def test_a_run_that_swallows_its_timeout_and_ends_well_is_done() -> None:
    scene = Scene()

    assert scene.play(a_run(swallowing(33, "well"), timeout=30)).result() == Done("well")


def test_a_run_that_fails_while_it_is_timed_out_fails_of_that() -> None:
    error = OSError("the file was gone")

    async def fail_in_cleaning_up() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            raise error

    assert ran(a_run(fail_in_cleaning_up, timeout=30))[0] == Failed(error)


def test_a_run_that_does_not_end_is_asked_again_every_five_seconds_and_said_to_be_stuck_once() -> None:
    asked: list[float] = []

    async def stubborn_task() -> None:
        while len(asked) < 5:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                asked.append(asyncio.get_running_loop().time())

    scene = Scene()

    scene.play(a_run(stubborn_task, timeout=30))

    assert asked == [30, 35, 40, 45, 50]
    [stuck] = scene.heard.of(RunStuck)
    assert (stuck.task, stuck.run_id, stuck.seconds) == ("tidy", "r1", 35)
    assert "in stubborn_task" in stuck.stack
    assert "await asyncio.sleep(3600)" in stuck.stack


def test_a_timeout_as_long_as_the_wait_between_two_requests_is_no_other() -> None:
    scene = Scene()

    scene.play(a_run(swallowing(22), timeout=ASK_AGAIN))

    assert [event.seconds for event in scene.heard.of(RunStuck)] == [10]
    assert scene.heard.outcomes("tidy") == [Done()]


@pytest.mark.parametrize("apart", [-1e-7, 1e-7], ids=["cancel first", "timeout first"])
def test_a_timeout_that_arrives_together_with_a_cancel_on_purpose_is_a_cancel(apart: float) -> None:
    scene, run = Scene(), a_run(forever, timeout=30)

    async def cancel_too() -> None:
        def cancel() -> None:
            assert (run.ending is None) is (apart < 0)
            scene.runner.cancel(run, STOP)

        asyncio.get_running_loop().call_at(30 + apart, cancel)  # in the same turn of the loop

    assert scene.play(run, cancel_too).cancelled()
    assert scene.heard.outcomes("tidy") == [STOP]


def test_a_timeout_that_arrives_together_with_a_strangers_cancel_is_passed_on_as_a_cancel() -> None:
    scene, run = Scene(), a_run(forever, timeout=30)

    async def cancel_too() -> None:
        def cancel() -> None:
            assert run.handle is not None
            run.handle.cancel()

        asyncio.get_running_loop().call_at(30, cancel)

    assert scene.play(run, cancel_too).cancelled()
    [outcome] = scene.heard.outcomes("tidy")
    assert isinstance(outcome, Failed)


def test_a_run_that_is_cancelled_has_five_seconds_to_clean_up_whatever_its_timeout() -> None:
    cleaned: list[float] = []

    async def clean_up() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(3)
            cleaned.append(asyncio.get_running_loop().time())

    scene, run = Scene(), a_run(clean_up, timeout=30)

    async def cancel() -> None:
        await asyncio.sleep(29)
        scene.runner.cancel(run, STOP)

    scene.play(run, cancel)

    assert cleaned == [32]
    assert scene.heard.of(RunStuck) == []
    assert scene.heard.outcomes("tidy") == [STOP]


def test_the_time_limit_of_ones_own_inside_a_task_still_works_after_a_timed_out_attempt() -> None:
    async def limit_oneself() -> str:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await asyncio.sleep(3600)
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(1))
        return "well"

    run = a_run(Body(forever, limit_oneself), timeout=30, retry=Retry(2))

    assert ran(run)[0] == Done("well")


# -- attempts ------------------------------------------------------------------------------------


def test_a_failed_attempt_is_tried_again_in_the_same_run() -> None:
    error = ValueError("no")
    body = Body(failing(error), failing(error, after=5), sleeping(1, "well"))
    scene = Scene()
    run = a_run(body, retry=Retry(5, "2s"), failures=3)

    assert scene.play(run).result() == Done("well")

    started, one, two, finished = scene.heard.events
    assert started == RunStarted("tidy", "r1", DUE)
    assert [event[:3] for event in (one, two)] == [("tidy", "r1", 1), ("tidy", "r1", 2)]
    assert isinstance(one, RunRetried)
    assert isinstance(two, RunRetried)
    assert one.reason == two.reason == "ValueError: no"
    assert body.began == [0, pytest.approx(one.delay), pytest.approx(one.delay + 5 + two.delay)]
    assert isinstance(finished, RunFinished)
    assert (finished.outcome, finished.failures) == (Done("well"), 0)
    assert finished.seconds == pytest.approx(body.began[-1] + 1)
    assert run.attempt == 3


def test_when_all_attempts_have_failed_the_last_error_is_the_outcome_and_one_failure() -> None:
    errors = [ValueError(number) for number in range(3)]
    scene = Scene()

    outcome = scene.play(a_run(Body(*map(failing, errors)), retry=Retry(3), failures=1)).result()

    assert outcome == Failed(errors[-1])
    assert [event.attempt for event in scene.heard.of(RunRetried)] == [1, 2]
    assert [event.failures for event in scene.heard.of(RunFinished)] == [2]
    assert [run.attempt for run, _ in scene.ended] == [3]


@pytest.mark.parametrize("seed", range(20))
def test_the_delays_double_up_to_their_cap_and_are_drawn_from_the_upper_half(seed: int) -> None:
    scene = Scene(seed)

    scene.play(a_run(failing(ValueError()), retry=Retry(10, 2.0, 60.0)))

    delays = [event.delay for event in scene.heard.of(RunRetried)]
    bounds = [2, 4, 8, 16, 32, 60, 60, 60, 60]
    assert all(bound / 2 <= delay <= bound for delay, bound in zip(delays, bounds, strict=True))
    assert len(set(delays)) == len(delays)


def test_the_same_seed_gives_the_same_delays() -> None:
    def delays() -> list[float]:
        scene = Scene(seed=3)
        scene.play(a_run(failing(ValueError()), retry=Retry(5)))
        return [event.delay for event in scene.heard.of(RunRetried)]

    assert delays() == delays()


def test_each_attempt_has_the_whole_timeout() -> None:
    body = Body(sleeping(100), sleeping(100), sleeping(25, "well"))
    scene = Scene()

    assert scene.play(a_run(body, timeout=30, retry=Retry(3))).result() == Done("well")

    one, two = scene.heard.of(RunRetried)
    assert one.reason == two.reason == "timed out after 30 s"
    assert body.began == [0, pytest.approx(30 + one.delay), pytest.approx(60 + one.delay + two.delay)]


def test_the_wait_between_two_attempts_does_not_count_for_the_timeout() -> None:
    error = ValueError("at once")
    body = Body(failing(error))

    outcome, heard = ran(a_run(body, timeout=5, retry=Retry(3, 40)))

    assert outcome == Failed(error)
    assert len(heard.of(RunRetried)) == 2
    assert len(body.began) == 3


def test_a_timeout_begun_by_an_attempt_that_failed_at_once_does_not_shorten_the_next() -> None:
    body = Body(failing(ValueError("at once")), sleeping(4.9, "well"))

    assert ran(a_run(body, timeout=5, retry=Retry(2, 2)))[0] == Done("well")


NOT_AGAIN: list[tuple[Callable[[], Awaitable[Any]], type[Any]]] = [
    (sleeping(1, Skipped("nothing new")), Skipped),
    (sleeping(1, Deferred("busy")), Deferred),
    (failing(ResourceUnavailable("redis", "gone")), Deferred),
    (sleeping(1), Done),
    (raise_cancelled, Failed),
    (cancel_own_task, Failed),
]


@pytest.mark.parametrize(("does", "kind"), NOT_AGAIN)
def test_what_is_no_failure_and_what_cancels_itself_is_not_tried_again(
    does: Callable[[], Awaitable[Any]], kind: type[Any]
) -> None:
    body, scene = Body(does), Scene()

    scene.play(a_run(body, timeout=30, retry=Retry(3)))

    [outcome] = scene.heard.outcomes("tidy")
    assert type(outcome) is kind
    assert len(body.began) == 1
    assert scene.heard.of(RunRetried) == []


def converting() -> Callable[[], Awaitable[None]]:
    async def convert() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            raise RuntimeError("interrupted") from None

    return convert


@pytest.mark.parametrize("insist", [False, True])
def test_a_run_that_makes_an_error_of_being_cancelled_is_not_tried_again(insist: bool) -> None:
    body, scene = Body(converting()), Scene()
    run = a_run(body, retry=Retry(3))

    async def cancel() -> None:
        await asyncio.sleep(1)
        scene.runner.cancel(run, STOP, insist=insist)

    scene.play(run, cancel)

    assert len(body.began) == 1
    assert len(scene.ended) == 1


def test_a_timeout_that_a_task_makes_an_error_of_is_tried_again() -> None:
    body = Body(converting(), sleeping(1, "well"))

    assert ran(a_run(body, timeout=30, retry=Retry(2)))[0] == Done("well")


@pytest.mark.parametrize("on_purpose", [True, False])
def test_a_run_that_is_cancelled_between_two_attempts_ends(on_purpose: bool) -> None:
    body, scene = Body(failing(ValueError("no"), after=1)), Scene()
    run = a_run(body, retry=Retry(3, 40))

    async def cancel() -> None:
        await asyncio.sleep(5)
        assert run.handle is not None
        if on_purpose:
            scene.runner.cancel(run, STOP)
        else:
            run.handle.cancel()

    assert scene.play(run, cancel).cancelled()
    [outcome] = scene.heard.outcomes("tidy")
    assert outcome == STOP if on_purpose else isinstance(outcome, Failed)
    assert [at for _, at in scene.ended] == [5]
    assert len(body.began) == 1


def test_a_run_is_said_to_be_stuck_once_however_many_attempts_it_has() -> None:
    async def swallow_then_fail() -> None:
        await swallowing(40)()
        raise ValueError("no")

    scene = Scene()

    scene.play(a_run(swallow_then_fail, timeout=30, retry=Retry(3)))

    assert len(scene.heard.of(RunRetried)) == 2
    assert len(scene.heard.of(RunStuck)) == 1


# -- what listeners can do -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "at", [RunStarted, RunRetried, RunStuck, RunFinished], ids=lambda kind: kind.__name__
)
def test_an_interrupt_in_a_listener_leaves_the_event_loop_and_the_run_ends_all_the_same(
    at: type[Event],
) -> None:
    interrupt = KeyboardInterrupt()
    scene = Scene()
    turns = itertools.count()

    def press_once(event: Event) -> None:
        if isinstance(event, at) and next(turns) == 0:
            raise interrupt

    scene.bus.subscribe(press_once)
    run = a_run(Body(failing(ValueError("no")), swallowing(50)), timeout=30, retry=Retry(2))
    loop = VirtualLoop(scene.clock)

    async def main() -> None:
        with suppress(KeyboardInterrupt):  # of a first step, which is taken at once
            task = scene.begin(run)
            await asyncio.wait([task])

    host = loop.create_task(main())
    while not host.done():
        with suppress(KeyboardInterrupt):
            loop.run_until_complete(host)
    rest = loop.create_task(asyncio.sleep(100))
    while not rest.done():
        with suppress(KeyboardInterrupt):
            loop.run_until_complete(rest)
    if run.handle is not None and run.handle.done() and not run.handle.cancelled():
        run.handle.exception()
    loop.close()

    assert next(turns) >= 1
    assert run.outcome is not None
    assert len(scene.ended) == 1
