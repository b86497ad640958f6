"""`run_virtual` and `virtual_time`: a coroutine, or the body of a test, on virtual time."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import unittest
from typing import Any

import pytest

from bgtasks.errors import BgTasksError, ConfigurationError
from bgtasks.testing import VirtualClock, VirtualLoop, run_virtual, virtual_time


def test_a_clock_may_be_given_and_lives_on() -> None:
    clock = VirtualClock()

    async def main(given: VirtualClock) -> None:
        assert given is clock
        await asyncio.sleep(60)

    run_virtual(main, clock)
    run_virtual(main, clock)

    assert clock.monotonic() == 120


def test_what_main_raises_reaches_the_caller() -> None:
    async def main(clock: VirtualClock) -> None:
        raise ValueError("from inside")

    with pytest.raises(ValueError, match="from inside"):
        run_virtual(main)


def test_tasks_left_running_are_cancelled_at_the_end() -> None:
    ended: list[str] = []

    async def forever() -> None:
        try:
            await asyncio.sleep(1e9)
        finally:
            ended.append("cancelled")

    async def main(clock: VirtualClock) -> asyncio.Task[None]:
        task = asyncio.create_task(forever())
        await asyncio.sleep(1)
        return task

    assert run_virtual(main).cancelled()
    assert ended == ["cancelled"]


async def test_within_a_running_loop_it_is_an_error_with_the_cure() -> None:
    async def main(clock: VirtualClock) -> None: ...

    with pytest.raises(BgTasksError, match=r"an event loop of its own and one is running.*virtual_time"):
        run_virtual(main)


# -- the decorator -------------------------------------------------------------------------------


@virtual_time
async def test_a_decorated_test_is_given_its_fixtures(virtual_clock: VirtualClock, tmp_path: Any) -> None:
    await asyncio.sleep(3600)

    assert virtual_clock.monotonic() == 3600
    assert tmp_path.is_dir()


@virtual_time
async def test_a_decorated_test_needs_no_clock() -> None:
    loop = asyncio.get_running_loop()
    await asyncio.sleep(3600)

    assert isinstance(loop, VirtualLoop)
    assert loop.time() == 3600


@pytest.mark.parametrize("seconds", [1, 2])
@virtual_time
async def test_a_decorated_test_may_be_parametrized(seconds: int, virtual_clock: VirtualClock) -> None:
    await virtual_clock.advance(seconds)

    assert virtual_clock.monotonic() == seconds


class TestMethods:
    @virtual_time
    async def test_methods_are_decorated_too(self, virtual_clock: VirtualClock) -> None:
        assert isinstance(self, TestMethods)
        await virtual_clock.advance("30d")

    @staticmethod
    @virtual_time
    async def test_and_static_ones(virtual_clock: VirtualClock) -> None:
        await virtual_clock.advance("30d")


class TestUnderUnittest(unittest.TestCase):
    @virtual_time
    async def test_it_has_a_loop_on_virtual_time(self) -> None:
        await asyncio.sleep(3600)
        self.assertEqual(asyncio.get_running_loop().time(), 3600)  # noqa: PT009

    @virtual_time
    async def test_it_is_given_a_clock_where_it_asks_for_one(self, virtual_clock: VirtualClock) -> None:
        await virtual_clock.advance("30d")
        self.assertEqual(asyncio.get_running_loop().time(), 30 * 86_400)  # noqa: PT009


class TestUnderIsolatedUnittest(unittest.IsolatedAsyncioTestCase):
    @virtual_time
    async def test_it_is_given_a_clock_too(self, virtual_clock: VirtualClock) -> None:
        await virtual_clock.advance("30d")


def test_a_decorated_test_is_a_plain_function_of_the_same_name_and_signature() -> None:
    async def test_something(virtual_clock: VirtualClock, other: int = 3) -> str:
        """What it is for."""
        return f"{virtual_clock.monotonic():g} {other}"

    decorated = virtual_time(test_something)

    assert not inspect.iscoroutinefunction(decorated)
    assert inspect.signature(decorated) == inspect.signature(test_something)
    assert (decorated.__name__, decorated.__doc__) == ("test_something", "What it is for.")
    clock = VirtualClock()
    clock.stall(5)
    assert [decorated(clock), decorated(virtual_clock=clock, other=4)] == ["5 3", "5 4"]
    assert decorated() == "0 3"  # type: ignore[call-arg]


def test_each_call_without_a_clock_has_a_fresh_one() -> None:
    @virtual_time
    async def seconds() -> float:
        await asyncio.sleep(1)
        return asyncio.get_running_loop().time()

    assert [seconds(), seconds()] == [1, 1]


def test_a_failed_assertion_comes_through() -> None:
    @virtual_time
    async def fails() -> None:
        await asyncio.sleep(1)
        raise AssertionError("no")

    with pytest.raises(AssertionError, match="no"):
        fails()


def test_the_context_of_the_test_is_there() -> None:
    variable = contextvars.ContextVar[str]("variable")
    variable.set("from outside")

    @virtual_time
    async def read() -> str:
        return variable.get()

    assert read() == "from outside"


@pytest.mark.parametrize("thing", [lambda: None, VirtualClock])
def test_what_is_no_coroutine_function_is_refused(thing: Any) -> None:
    with pytest.raises(ConfigurationError, match="virtual_time is for an async def test"):
        virtual_time(thing)


def test_a_missing_argument_is_python_s_own_error() -> None:
    @virtual_time
    async def wants(virtual_clock: VirtualClock, tmp_path: object) -> None: ...

    call: Any = wants
    with pytest.raises(TypeError, match="tmp_path"):
        call(VirtualClock())
