"""Virtual time: it jumps when nothing is ready, and says so when nothing ever will be."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta, timezone

import pytest

from bgtasks.clock import Clock
from bgtasks.errors import BgTasksError
from bgtasks.testing import VirtualClock, VirtualLoop, run_virtual, virtual

START = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_year_passes_in_a_moment() -> None:
    async def main(clock: VirtualClock) -> tuple[float, datetime]:
        await asyncio.sleep(365 * 86_400)
        return clock.monotonic(), clock.now()

    before = time.monotonic()

    assert run_virtual(main) == (365 * 86_400, START + timedelta(days=365))
    assert time.monotonic() - before < 5


def test_sleepers_wake_in_the_order_of_their_instants() -> None:
    woken: list[tuple[str, float]] = []

    async def sleep(name: str, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(seconds)
        woken.append((name, loop.time()))

    async def main(clock: VirtualClock) -> None:
        await asyncio.gather(
            sleep("late", 3600), sleep("early", 0.001), sleep("between", 60), sleep("now", 0)
        )

    run_virtual(main)

    assert woken == [("now", 0), ("early", 0.001), ("between", 60), ("late", 3600)]


def test_time_stands_still_while_something_is_ready() -> None:
    async def main(clock: VirtualClock) -> float:
        for _ in range(1000):
            await asyncio.sleep(0)
        return clock.monotonic()

    assert run_virtual(main) == 0


def test_a_timeout_is_virtual_too() -> None:
    async def main(clock: VirtualClock) -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3600):
                await asyncio.Event().wait()
        return clock.monotonic()

    assert run_virtual(main) == 3600


def test_a_clock_may_be_given_and_lives_on() -> None:
    clock = VirtualClock(datetime(2030, 6, 1, 3, tzinfo=timezone(timedelta(hours=3))))

    async def main(given: VirtualClock) -> None:
        assert given is clock
        await asyncio.sleep(60)

    run_virtual(main, clock)
    run_virtual(main, clock)

    assert clock.now() == datetime(2030, 6, 1, 0, 2, tzinfo=UTC)
    assert clock.now().tzinfo is UTC
    assert clock.monotonic() == 120


def test_the_wall_clock_can_be_set_without_time_passing() -> None:
    clock = VirtualClock()

    clock.step_wall(-3600)
    clock.advance(10)

    assert clock.monotonic() == 10
    assert clock.now() == START - timedelta(seconds=3590)


def test_advancing_inside_the_loop_is_a_stall_after_which_timers_are_late() -> None:
    woken: list[float] = []

    async def main(clock: VirtualClock) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(10, lambda: woken.append(loop.time()))
        clock.advance(35)
        await asyncio.sleep(1)

    run_virtual(main)

    assert woken == [35]


def test_what_main_raises_reaches_the_caller() -> None:
    async def main(clock: VirtualClock) -> None:
        raise ValueError("from inside")

    with pytest.raises(ValueError, match="from inside"):
        run_virtual(main)


def test_a_deadlock_is_an_error_and_not_a_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virtual, "_PATIENCE", 0.01)

    async def main(clock: VirtualClock) -> None:
        await asyncio.Event().wait()

    with pytest.raises(BgTasksError, match="deadlock: nothing is ready, no timer is set"):
        run_virtual(main)


def test_a_thread_is_waited_for_while_no_timer_is_pending() -> None:
    async def main(clock: VirtualClock) -> tuple[int, float]:
        return await asyncio.to_thread(lambda: 7), clock.monotonic()

    assert run_virtual(main) == (7, 0)


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


def test_after_years_of_uptime_timers_still_fire() -> None:
    clock = VirtualClock()
    clock.advance(50 * 365 * 86_400 + 0.123)

    async def main(clock: VirtualClock) -> int:
        count = 0
        for _ in range(1000):
            await asyncio.sleep(0.1)
            count += 1
        return count

    assert run_virtual(main, clock) == 1000


def test_a_loop_of_its_own_clock_can_be_made() -> None:
    loop = VirtualLoop()
    try:
        loop.run_until_complete(asyncio.sleep(60))
        assert loop.time() == loop.clock.monotonic() == 60
    finally:
        loop.close()


def test_the_virtual_clock_is_a_clock() -> None:
    clock: Clock = VirtualClock()

    assert clock.now() == START
