"""The virtual loop: time jumps when nothing is ready, waits for threads, and names a deadlock."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from bgtasks.errors import BgTasksError
from bgtasks.testing import VirtualClock, VirtualLoop, run_virtual

START = datetime(2026, 1, 1, tzinfo=UTC)


def running() -> VirtualLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VirtualLoop, "patience", 0.05)


# -- jumps ---------------------------------------------------------------------------------------


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
        await asyncio.sleep(seconds)
        woken.append((name, running().time()))

    async def main(clock: VirtualClock) -> None:
        await asyncio.gather(
            sleep("late", 3600), sleep("early", 0.001), sleep("between", 60), sleep("now", 0)
        )

    run_virtual(main)

    assert woken == [("now", 0), ("early", 0.001), ("between", 60), ("late", 3600)]


def test_ten_thousand_sleepers_each_wake_at_their_own_instant() -> None:
    async def main(clock: VirtualClock) -> list[float]:
        async def sleep(number: int) -> float:
            await asyncio.sleep(number * 7919 % 10_007)
            return clock.monotonic()

        return await asyncio.gather(*(sleep(number) for number in range(10_000)))

    before = time.monotonic()

    assert run_virtual(main) == [number * 7919 % 10_007 for number in range(10_000)]
    assert time.monotonic() - before < 10


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


def test_a_stall_makes_timers_late() -> None:
    woken: list[float] = []

    async def main(clock: VirtualClock) -> None:
        running().call_later(10, lambda: woken.append(clock.monotonic()))
        clock.stall("35s")
        await asyncio.sleep(1)

    run_virtual(main)

    assert woken == [35]


def test_after_years_of_uptime_timers_still_fire() -> None:
    clock = VirtualClock()
    clock.stall(50 * 365 * 86_400 + 0.123)

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


def test_jumps_do_not_ask_the_kernel_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    kernel = VirtualLoop.__init__.__globals__["selectors"].DefaultSelector

    def select(self: Any, timeout: float | None = None) -> Any:
        asked.append(timeout)
        return real(self, timeout)

    real = kernel.select
    monkeypatch.setattr(kernel, "select", select)

    async def main(clock: VirtualClock) -> None:
        for _ in range(6400):
            await asyncio.sleep(1)

    run_virtual(main)

    assert 100 <= len(asked) < 400  # two rounds of the loop for each sleep, of which one in 64 asks


# -- threads -------------------------------------------------------------------------------------


def test_work_in_a_thread_takes_no_virtual_time_though_timers_are_set() -> None:
    may_answer = threading.Event()
    woken: list[float] = []

    async def main(clock: VirtualClock) -> tuple[int, float]:
        running().call_later(1, lambda: woken.append(clock.monotonic()))
        threading.Timer(0.05, may_answer.set).start()
        return await asyncio.to_thread(lambda: may_answer.wait(10) and 7), clock.monotonic()

    assert run_virtual(main) == (7, 0)
    assert woken == []


def test_work_in_an_executor_of_one_s_own_is_waited_for_too() -> None:
    may_answer = threading.Event()

    def work(answer: int) -> int:
        may_answer.wait(10)
        return answer

    async def main(clock: VirtualClock) -> tuple[list[int], float]:
        both = [running().run_in_executor(executor, work, answer) for answer in (1, 2)]
        threading.Timer(0.05, may_answer.set).start()
        async with asyncio.timeout(3600):
            return await asyncio.gather(*both), clock.monotonic()

    with ThreadPoolExecutor(2) as executor:
        assert run_virtual(main) == ([1, 2], 0)


def test_between_work_in_threads_time_passes() -> None:
    async def main(clock: VirtualClock) -> list[float]:
        seen = []
        for _ in range(3):
            await asyncio.sleep(60)
            seen.append(await asyncio.to_thread(clock.monotonic))
        return seen

    assert run_virtual(main) == [60, 120, 180]


def test_what_a_thread_raises_arrives() -> None:
    def fail() -> None:
        raise ValueError("in a thread")

    async def main(clock: VirtualClock) -> None:
        await asyncio.to_thread(fail)

    with pytest.raises(ValueError, match="in a thread"):
        run_virtual(main)


def test_work_that_nobody_waits_for_any_more_holds_time_no_longer() -> None:
    may_end = threading.Event()

    async def main(clock: VirtualClock) -> float:
        work = asyncio.create_task(asyncio.to_thread(may_end.wait, 10))
        await asyncio.sleep(0)
        work.cancel()
        await asyncio.wait([work])
        await asyncio.sleep(60)
        may_end.set()
        return clock.monotonic()

    assert run_virtual(main) == 60


def slow_answer(event: threading.Event) -> None:
    event.wait(10)


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_thread_that_does_not_answer_is_named(impatient: None, wrapped: bool) -> None:
    event = threading.Event()

    async def main(clock: VirtualClock) -> None:
        running().call_later(60, event.set)
        try:
            await (
                asyncio.to_thread(slow_answer, event)
                if wrapped
                else running().run_in_executor(None, partial(slow_answer, event))
            )
        finally:
            event.set()

    with pytest.raises(
        BgTasksError, match=r"a thread has not answered for 0\.05 s.*\.slow_answer\. .*patience"
    ):
        run_virtual(main)


def test_a_thread_that_answers_too_late_is_named_though_its_end_is_waited_for(impatient: None) -> None:
    def late() -> None:
        time.sleep(0.3)
        ended.append(True)

    async def main(clock: VirtualClock) -> None:
        await asyncio.to_thread(late)

    ended: list[bool] = []
    with pytest.raises(BgTasksError, match=r"has not answered for 0\.05 s of real time: .*late"):
        run_virtual(main)
    assert ended == [True]


def test_a_loop_may_be_more_patient(impatient: None) -> None:
    def answer() -> str:
        time.sleep(0.2)
        return "at last"

    async def main(clock: VirtualClock) -> str:
        running().patience = 10
        return await asyncio.to_thread(answer)

    assert run_virtual(main) == "at last"


def test_a_thread_that_somebody_else_started_is_waited_for_while_no_timer_is_set() -> None:
    async def main(clock: VirtualClock) -> str:
        answer: asyncio.Future[str] = running().create_future()
        loop = running()
        threading.Timer(0.05, lambda: loop.call_soon_threadsafe(answer.set_result, "hello")).start()
        return await answer

    assert run_virtual(main) == "hello"


# -- sockets and signals -------------------------------------------------------------------------


def test_a_socket_is_waited_for_while_no_timer_is_set() -> None:
    here, there = socket.socketpair()
    with here, there:
        here.setblocking(False)

        async def main(clock: VirtualClock) -> tuple[bytes, float]:
            threading.Timer(0.05, there.send, [b"hello"]).start()
            return await running().sock_recv(here, 5), clock.monotonic()

        assert run_virtual(main) == (b"hello", 0)


def test_what_a_socket_has_already_is_taken_before_time_passes() -> None:
    async def main(clock: VirtualClock) -> bytes:
        here, there = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=here)
        _, far = await asyncio.open_connection(sock=there)
        far.write(b"hello\n")
        try:
            return await reader.readline()
        finally:
            for each in (writer, far):
                each.close()
                await each.wait_closed()

    assert run_virtual(main) == b"hello\n"


def test_a_signal_is_handled_among_jumps() -> None:
    async def main(clock: VirtualClock) -> bool:
        caught = asyncio.Event()
        running().add_signal_handler(signal.SIGUSR1, caught.set)
        try:
            os.kill(os.getpid(), signal.SIGUSR1)
            for _ in range(1000):
                await asyncio.sleep(1)
                if caught.is_set():
                    return True
            return False
        finally:
            running().remove_signal_handler(signal.SIGUSR1)

    assert run_virtual(main)


# -- deadlocks -----------------------------------------------------------------------------------


async def hold(lock: asyncio.Lock) -> None:
    async with lock:
        await asyncio.wait_for(forever(), None)


async def forever() -> None:
    await asyncio.Event().wait()


def place(function: Any, line: int) -> str:
    return f"{__file__}:{function.__code__.co_firstlineno + line} in {function.__qualname__}"


def test_a_deadlock_names_each_task_and_where_it_waits() -> None:
    async def main(clock: VirtualClock) -> None:
        lock = asyncio.Lock()
        first = asyncio.create_task(hold(lock), name="first")
        second = asyncio.create_task(hold(lock), name="second")
        await asyncio.gather(first, second)

    before = time.monotonic()
    with pytest.raises(BgTasksError, match="deadlock: nothing is ready, no timer is set") as caught:
        run_virtual(main)

    assert time.monotonic() - before < 2  # said at once: nothing could still come
    _, *lines = str(caught.value).splitlines()
    named = dict(line.strip().split(": ", 1) for line in lines)
    assert len(named) == 3
    assert named.pop("first") == f"waits at {place(forever, 1)}, for Event.wait"
    assert named.pop("second") == f"waits at {place(hold, 1)}, for Lock.acquire"
    assert list(named.values()) == [f"waits at {place(main, 4)}"]


def test_a_deadlock_among_many_names_some() -> None:
    async def main(clock: VirtualClock) -> None:
        await asyncio.gather(*(asyncio.Event().wait() for _ in range(100)))

    with pytest.raises(BgTasksError, match=r"and 81 more$") as caught:
        run_virtual(main)
    assert len(str(caught.value).splitlines()) == 1 + 20 + 1


def test_a_deadlock_below_a_generator_is_placed() -> None:
    async def numbers() -> AsyncIterator[int]:
        yield 1
        await asyncio.Event().wait()

    async def main(clock: VirtualClock) -> None:
        async for _ in numbers():
            pass

    with pytest.raises(BgTasksError, match=r"waits at .*test_loop\.py:\d+ in test_a_deadlock_below"):
        run_virtual(main)


def test_a_deadlock_with_an_open_socket_is_said_after_a_while(impatient: None) -> None:
    here, there = socket.socketpair()
    with here, there:
        here.setblocking(False)

        async def main(clock: VirtualClock) -> None:
            await running().sock_recv(here, 5)

        with pytest.raises(BgTasksError, match="deadlock"):
            run_virtual(main)


def test_a_deadlock_after_work_in_a_thread_is_said_at_once() -> None:
    async def main(clock: VirtualClock) -> None:
        await asyncio.to_thread(int)
        await asyncio.Event().wait()

    before = time.monotonic()
    with pytest.raises(BgTasksError, match="deadlock"):
        run_virtual(main)
    assert time.monotonic() - before < 2


def test_a_deadlock_lets_tasks_clean_up() -> None:
    ended: list[str] = []

    async def main(clock: VirtualClock) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(1)
            ended.append("clean")

    with pytest.raises(BgTasksError, match="deadlock"):
        run_virtual(main)
    assert ended == ["clean"]


# -- debug mode ----------------------------------------------------------------------------------


def test_it_works_in_debug_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONASYNCIODEBUG", "1")

    async def main(clock: VirtualClock) -> tuple[bool, float]:
        assert await asyncio.to_thread(lambda: 7) == 7
        await asyncio.sleep(3600)
        await clock.advance("1h")
        await clock.settle()
        return running().get_debug(), clock.monotonic()

    assert run_virtual(main) == (True, 7200)


def test_a_deadlock_is_told_in_debug_mode_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONASYNCIODEBUG", "1")

    async def main(clock: VirtualClock) -> None:
        await asyncio.Event().wait()

    with pytest.raises(BgTasksError, match=r"waits at .* for Event\.wait"):
        run_virtual(main)
