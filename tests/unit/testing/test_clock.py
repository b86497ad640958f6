"""The virtual clock: what moves which of its two sides, and who hears of it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from bgtasks.clock import Clock
from bgtasks.errors import BgTasksError, ConfigurationError, InvalidTrigger
from bgtasks.testing import VirtualClock, VirtualLoop, run_virtual

START = datetime(2026, 1, 1, tzinfo=UTC)
HELSINKI = ZoneInfo("Europe/Helsinki")


def test_the_virtual_clock_is_a_clock() -> None:
    clock: Clock = VirtualClock()

    assert (clock.now(), clock.monotonic()) == (START, 0)


def test_it_shows_where_it_is() -> None:
    clock = VirtualClock()
    clock.stall(90.5)

    assert repr(clock) == "<VirtualClock 2026-01-01T00:01:30.500000+00:00, 90.5 s>"


def test_it_may_begin_in_any_zone_and_answers_in_utc() -> None:
    clock = VirtualClock(datetime(2030, 6, 1, 3, tzinfo=timezone(timedelta(hours=3))))

    assert clock.now() == datetime(2030, 6, 1, tzinfo=UTC)
    assert clock.now().tzinfo is UTC


def test_it_may_begin_just_before_the_hour_that_is_left_out() -> None:
    clock = VirtualClock(datetime(2026, 3, 29, 2, 59, 30, tzinfo=HELSINKI))

    clock.stall("1m")

    assert clock.now().astimezone(HELSINKI).isoformat() == "2026-03-29T04:00:30+03:00"


@pytest.mark.parametrize(("fold", "utc_hour"), [(0, 0), (1, 1)])
def test_it_may_begin_in_either_of_the_hours_that_come_twice(fold: int, utc_hour: int) -> None:
    clock = VirtualClock(datetime(2026, 10, 25, 3, 30, tzinfo=HELSINKI, fold=fold))

    assert clock.now() == datetime(2026, 10, 25, utc_hour, 30, tzinfo=UTC)


@pytest.mark.parametrize("setting", [VirtualClock, VirtualClock().set_wall])
def test_a_naive_instant_is_refused_with_the_cure(setting: type[VirtualClock]) -> None:
    with pytest.raises(ConfigurationError, match=r"is naive: say which zone it means, .*tzinfo=UTC"):
        setting(datetime(2026, 1, 1))  # noqa: DTZ001


# -- stalls and steps ----------------------------------------------------------------------------


@pytest.mark.parametrize("duration", [20, 20.0, "20s", timedelta(seconds=20)])
def test_a_stall_is_time_on_both_sides(duration: float | str | timedelta) -> None:
    clock = VirtualClock()

    clock.stall(duration)

    assert (clock.now() - START, clock.monotonic()) == (timedelta(seconds=20), 20)


@pytest.mark.parametrize("duration", [-1, "soon", float("nan"), timedelta(-1)])
def test_time_does_not_go_back(duration: float | str | timedelta) -> None:
    clock = VirtualClock()

    with pytest.raises(InvalidTrigger):
        clock.stall(duration)
    assert clock.monotonic() == 0


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [(3600, 3600), ("1h", 3600), (-0.5, -0.5), (timedelta(days=-1), -86_400), (timedelta(days=1), 86_400)],
)
def test_the_wall_clock_is_stepped_without_time_passing(
    duration: float | str | timedelta, seconds: float
) -> None:
    clock = VirtualClock()

    clock.step_wall(duration)
    clock.stall(10)

    assert (clock.now() - START, clock.monotonic()) == (timedelta(seconds=seconds + 10), 10)


@pytest.mark.parametrize("duration", [float("inf"), float("nan"), "-1h", "later"])
def test_a_step_that_cannot_be_meant_is_refused(duration: float | str) -> None:
    with pytest.raises(ConfigurationError):
        VirtualClock().step_wall(duration)


def test_the_wall_clock_is_set_to_an_instant_of_any_zone() -> None:
    clock = VirtualClock()
    clock.stall(0.3)

    clock.set_wall(datetime(2026, 10, 25, 3, 59, 59, 999_999, tzinfo=HELSINKI))

    assert clock.now() == datetime(2026, 10, 25, 0, 59, 59, 999_999, tzinfo=UTC)
    assert clock.monotonic() == 0.3


# -- listeners -----------------------------------------------------------------------------------


def test_listeners_hear_of_each_step_and_stall_after_it() -> None:
    clock, heard = VirtualClock(), list[tuple[timedelta, float]]()
    clock.on_step(lambda: heard.append((clock.now() - START, clock.monotonic())))

    clock.stall(1)
    clock.step_wall("1h")
    clock.set_wall(START)

    assert heard == [(timedelta(seconds=1), 1), (timedelta(seconds=3601), 1), (timedelta(0), 1)]


def test_listeners_do_not_hear_of_the_loop_s_own_jumps() -> None:
    heard: list[float] = []

    async def main(clock: VirtualClock) -> None:
        clock.on_step(lambda: heard.append(clock.monotonic()))
        await asyncio.sleep(60)
        await clock.advance("1h")

    run_virtual(main)

    assert heard == []


def test_a_listener_can_leave_also_twice_and_while_it_is_called() -> None:
    clock, heard = VirtualClock(), list[str]()

    def once() -> None:
        heard.append("once")
        leave()

    leave = clock.on_step(once)
    stay = clock.on_step(lambda: heard.append("always"))

    clock.stall(1)
    clock.stall(1)
    leave()
    stay()
    clock.stall(1)

    assert heard == ["once", "always", "always"]


def test_the_same_function_may_listen_twice_and_leave_once() -> None:
    clock, heard = VirtualClock(), list[int]()

    def listen() -> None:
        heard.append(1)

    clock.on_step(listen)
    clock.on_step(listen)()
    clock.stall(1)

    assert heard == [1]


# -- advance and settle --------------------------------------------------------------------------


@pytest.mark.parametrize("duration", [10, "10s", timedelta(seconds=10)])
def test_to_advance_runs_all_that_becomes_due_up_to_the_last_instant(
    duration: float | str | timedelta,
) -> None:
    woken: list[float] = []

    async def every_second(clock: VirtualClock) -> None:
        while True:
            await asyncio.sleep(1)
            woken.append(clock.monotonic())

    async def main(clock: VirtualClock) -> float:
        task = asyncio.create_task(every_second(clock))
        await clock.advance(duration)
        assert woken == list(range(1, 11))
        task.cancel()
        return clock.monotonic()

    assert run_virtual(main) == 10


def test_what_follows_from_the_last_instant_without_time_is_done_too() -> None:
    done: list[str] = []

    async def chain() -> None:
        await asyncio.sleep(10)
        for _ in range(100):
            await asyncio.sleep(0)
        done.append(await asyncio.to_thread(lambda: "in a thread"))
        asyncio.get_running_loop().call_later(0, done.append, "a timer of no time")
        asyncio.get_running_loop().call_later(0.001, done.append, "too late")

    async def main(clock: VirtualClock) -> float:
        task = asyncio.create_task(chain())
        await clock.advance(10)
        assert task.done()
        return clock.monotonic()

    assert run_virtual(main) == 10
    assert done == ["in a thread", "a timer of no time"]


def test_to_advance_by_nothing_is_to_settle() -> None:
    async def main(clock: VirtualClock) -> tuple[bool, float]:
        task = asyncio.create_task(asyncio.sleep(0))
        await clock.advance(0)
        return task.done(), clock.monotonic()

    assert run_virtual(main) == (True, 0)


def test_several_may_advance_and_settle_at_once() -> None:
    async def main(clock: VirtualClock) -> tuple[float, ...]:
        async def advance(seconds: float) -> float:
            await clock.settle()
            await clock.advance(seconds)
            return clock.monotonic()

        return tuple(await asyncio.gather(advance(20), advance(10), advance(10)))

    assert run_virtual(main) == (20, 10, 10)


def test_a_stall_within_an_advance_makes_it_end_late() -> None:
    async def main(clock: VirtualClock) -> float:
        asyncio.get_running_loop().call_later(5, clock.stall, 60)
        await clock.advance(10)
        return clock.monotonic()

    assert run_virtual(main) == 65


def test_an_advance_can_be_cancelled() -> None:
    async def main(clock: VirtualClock) -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await clock.advance("1d")
        waiting = asyncio.create_task(clock.settle())
        asyncio.get_running_loop().call_soon(waiting.cancel)
        await asyncio.wait([waiting])
        await asyncio.sleep(5)
        return clock.monotonic()

    assert run_virtual(main) == 10


def test_settling_lets_everything_run_and_no_time_pass() -> None:
    steps: list[int] = []

    async def work() -> None:
        for step in range(50):
            await asyncio.sleep(0)
            steps.append(step)
        await asyncio.sleep(1)
        steps.append(99)

    async def main(clock: VirtualClock) -> float:
        task = asyncio.create_task(work())
        await clock.settle()
        assert steps == list(range(50))
        task.cancel()
        return clock.monotonic()

    assert run_virtual(main) == 0


def test_settling_where_all_else_waits_for_ever_is_no_deadlock() -> None:
    async def main(clock: VirtualClock) -> bool:
        event = asyncio.Event()
        task = asyncio.create_task(event.wait())
        await clock.settle()
        event.set()
        return await task

    assert run_virtual(main)


@pytest.mark.parametrize("method", ["advance", "settle"])
def test_on_another_loop_it_is_an_error_with_the_cure(method: str) -> None:
    clock = VirtualClock()

    async def main(_: object = None) -> None:
        await (clock.advance(1) if method == "advance" else clock.settle())

    with pytest.raises(
        BgTasksError, match=r"not on this VirtualClock: .*virtual_time, or run it by run_virt"
    ):
        asyncio.run(main())
    with pytest.raises(BgTasksError, match="not on this VirtualClock"):
        run_virtual(main, VirtualClock())


def test_a_negative_advance_is_refused() -> None:
    async def main(clock: VirtualClock) -> None:
        await clock.advance(-1)

    with pytest.raises(InvalidTrigger, match="zero or more"):
        run_virtual(main)


def test_an_advance_ends_at_its_instant_to_the_digit() -> None:
    async def main(clock: VirtualClock) -> list[float]:
        seen: list[float] = []
        asyncio.get_running_loop().call_later(0.3 - 5e-7, seen.append, 0.0)  # within the resolution of timers
        await clock.advance(0.1)
        await clock.advance(0.2)
        return [*seen, clock.monotonic()]

    assert run_virtual(main) == [0.0, 0.1 + 0.2]


def test_thirty_days_of_a_timer_each_minute_take_a_moment() -> None:
    async def main(clock: VirtualClock) -> int:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        count = 0

        def tick() -> None:
            nonlocal count
            count += 1
            loop.call_later(60, tick)

        loop.call_later(60, tick)
        await clock.advance("30d")
        return count

    assert run_virtual(main) == 30 * 24 * 60
