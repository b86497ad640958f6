"""Coroutines on virtual time: one by itself, or the body of a test."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

from bgtasks.errors import BgTasksError, ConfigurationError
from bgtasks.testing.clock import VirtualClock
from bgtasks.testing.loop import VirtualLoop

__all__ = ["run_virtual", "virtual_time"]

_FIXTURE = "virtual_clock"


def run_virtual[T](
    main: Callable[[VirtualClock], Coroutine[Any, Any, T]], clock: VirtualClock | None = None
) -> T:
    """Run `main(clock)` to its end on a fresh virtual loop and return its result.

    Raises:
        BgTasksError: Everything waits and nothing will ever happen, or an event loop is running already.
    """
    clock = clock or VirtualClock()
    if _loop_is_running():
        raise BgTasksError(
            "virtual time needs an event loop of its own and one is running: call from a function that is "
            "not async, such as a test under bgtasks.testing.virtual_time"
        )
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock)) as runner:
        return runner.run(main(clock))


def virtual_time[**P, T](test: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Make a plain function of an async test, which runs it on virtual time.

    No plugin for asyncio is needed, and none minds. The clock is the `VirtualClock` among the arguments, such
    as the fixture `virtual_clock`; if there is none, a fresh one, which is given as `virtual_clock` where the
    test has a parameter of that name (`unittest` gives no arguments).

    Raises:
        ConfigurationError: At the decoration: `test` is not a coroutine function.

    Not promised: async fixtures. A plugin runs those on an event loop of its own, in real time.
    """
    if not inspect.iscoroutinefunction(test):
        raise ConfigurationError(f"virtual_time is for an async def test, which {test!r} is not")
    signature = inspect.signature(test)
    wants_clock = _FIXTURE in signature.parameters

    @wraps(test)
    def on_virtual_time(*args: P.args, **kwargs: P.kwargs) -> T:
        given = [value for value in (*args, *kwargs.values()) if isinstance(value, VirtualClock)]
        clock = given[0] if given else VirtualClock()
        if wants_clock and _FIXTURE not in signature.bind_partial(*args, **kwargs).arguments:
            kwargs[_FIXTURE] = clock
        return run_virtual(lambda _: test(*args, **kwargs), clock)

    return on_virtual_time


def _loop_is_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
