"""One run, once: whatever someone else's code does ends as an outcome between two events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
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
    Skipped,
    current_run,
)
from bgtasks.errors import InvalidTask
from bgtasks.events import RunFinished, RunStarted
from bgtasks.runner import Run, Runner
from bgtasks.testing import VirtualClock, VirtualLoop, run_virtual

DUE = datetime(2026, 1, 1, tzinfo=UTC)


def a_run(func: Callable[..., Any], *args: object, failures: int = 0, **kwargs: object) -> Run:
    return Run("tidy", "r1", func, args, kwargs, DUE, failures)


def ran(run: Run) -> tuple[Outcome, Recorder]:
    """The outcome of one run, and what was said of it."""
    bus = EventBus()
    recorder = Recorder(bus)

    async def main(clock: VirtualClock) -> Outcome:
        return await Runner(bus, clock).run(run)

    return run_virtual(main), recorder


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


def test_an_unavailable_resource_defers_the_run_and_is_no_failure() -> None:
    async def tidy() -> None:
        raise ResourceUnavailable("redis", "no answer from redis://:secret@db")

    outcome, recorder = ran(a_run(tidy, failures=2))

    assert outcome == Deferred("redis is unavailable: no answer from redis://***@db", "redis")
    assert [event.failures for event in recorder.of(RunFinished)] == [0]


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
        return current_run.get()

    assert run_virtual(main) is None
    assert seen == [run] * 4


def cancelled(run: Run, ask: Callable[[Run], None]) -> tuple[Outcome, bool]:
    """The outcome of a run that is cancelled after `ask`, and whether the cancellation went on."""
    bus = EventBus()
    recorder = Recorder(bus)

    async def main(clock: VirtualClock) -> bool:
        task = asyncio.create_task(Runner(bus, clock).run(run))
        await asyncio.sleep(1)
        ask(run)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    went_on = run_virtual(main)
    [outcome] = recorder.outcomes("tidy")
    return outcome, went_on


async def forever() -> None:
    await asyncio.Event().wait()


def test_a_run_that_is_stopped_on_purpose_is_cancelled_and_passes_it_on() -> None:
    def ask(run: Run) -> None:
        run.stop_requested = True

    assert cancelled(a_run(forever), ask) == (Cancelled(), True)


def test_a_cancellation_that_nobody_asked_for_is_a_failure_and_is_passed_on() -> None:
    outcome, went_on = cancelled(a_run(forever), lambda run: None)

    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, asyncio.CancelledError)
    assert went_on


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
