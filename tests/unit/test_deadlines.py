"""Timeouts of many runs with few timers: each is called in time, once, and those that ended are not."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import ContextVar
from random import Random
from typing import Any

import pytest

from bgtasks.deadlines import Deadlines
from bgtasks.testing import VirtualClock, VirtualLoop, run_virtual


class CountingLoop(VirtualLoop):
    """Counts the timers that are set."""

    def __init__(self, clock: VirtualClock | None = None) -> None:
        self.timers = 0
        super().__init__(clock)

    def call_at[*Ts](
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        self.timers += 1
        return super().call_at(when, callback, *args, context=context)


class Scene:
    """Deadlines on virtual time, and which keys expired when."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.expired: list[tuple[str, float]] = []
        self.deadlines: Deadlines[str] = Deadlines(self._expired)
        self.also: Callable[[str], object] = lambda key: None

    def _expired(self, key: str) -> None:
        self.expired.append((key, round(self.clock.monotonic(), 6)))
        self.also(key)

    def open(self) -> None:
        self.deadlines.open(asyncio.get_running_loop(), contextvars.Context())

    def play(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def opened(clock: VirtualClock) -> None:
            self.open()
            await main()

        run_virtual(opened, self.clock)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_key_that_stays_too_long_expires_once(scene: Scene) -> None:
    async def main() -> None:
        scene.deadlines.watch("a", 30)
        await asyncio.sleep(300)

    scene.play(main)

    assert scene.expired == [("a", 30)]


def test_a_key_that_is_released_in_time_does_not_expire(scene: Scene) -> None:
    async def main() -> None:
        scene.deadlines.watch("a", 30)
        await asyncio.sleep(29)
        scene.deadlines.release("a", 30)
        scene.deadlines.release("a", 30)
        scene.deadlines.release("never watched", 7)
        await asyncio.sleep(300)

    scene.play(main)

    assert scene.expired == []


def test_keys_of_one_timeout_expire_in_the_order_in_which_they_began(scene: Scene) -> None:
    async def main() -> None:
        for key in "abc":
            scene.deadlines.watch(key, 30)
            await asyncio.sleep(1)
        scene.deadlines.release("b", 30)
        await asyncio.sleep(300)

    scene.play(main)

    assert scene.expired == [("a", 30), ("c", 32)]


def test_keys_of_one_instant_expire_together(scene: Scene) -> None:
    async def main() -> None:
        for key in "abc":
            scene.deadlines.watch(key, 30)
        await asyncio.sleep(300)

    scene.play(main)

    assert scene.expired == [("a", 30), ("b", 30), ("c", 30)]


def test_each_length_of_timeout_is_kept_by_itself(scene: Scene) -> None:
    async def main() -> None:
        scene.deadlines.watch("long", 60)
        scene.deadlines.watch("short", 5)
        await asyncio.sleep(300)

    scene.play(main)

    assert scene.expired == [("short", 5), ("long", 60)]


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_watched_and_released_each_expires_when_it_should(scene: Scene, seed: int) -> None:
    random = Random(seed)
    expected: list[tuple[str, float]] = []

    async def one(number: int) -> None:
        key, timeout = f"k{number}", random.choice([1.0, 5.0, 30.0])
        await asyncio.sleep(random.uniform(0, 100))
        scene.deadlines.watch(key, timeout)
        begun, takes = scene.clock.monotonic(), random.uniform(0, 2 * timeout)
        if takes > timeout:
            expected.append((key, round(begun + timeout, 6)))
        await asyncio.sleep(takes)
        scene.deadlines.release(key, timeout)

    async def main() -> None:
        await asyncio.gather(*(one(number) for number in range(200)))

    scene.play(main)

    assert dict(scene.expired) == pytest.approx(dict(expected), abs=1e-5)
    assert len(scene.expired) == len(expected)


# -- few timers ----------------------------------------------------------------------------------


def test_a_thousand_short_runs_set_a_handful_of_timers(scene: Scene) -> None:
    async def main() -> int:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, CountingLoop)
        scene.open()
        before = loop.timers
        for number in range(1000):
            scene.deadlines.watch(f"k{number}", 30)
            scene.deadlines.release(f"k{number}", 30)
        return loop.timers - before

    with asyncio.Runner(loop_factory=lambda: CountingLoop(scene.clock)) as runner:
        assert runner.run(main()) == 1


def test_keys_that_are_watched_anew_when_they_expire_set_one_timer_each_time(scene: Scene) -> None:
    keys, rounds = "abc", 200
    scene.also = lambda key: scene.deadlines.watch(key, 5)

    async def main() -> int:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, CountingLoop)
        scene.open()
        for key in keys:
            scene.deadlines.watch(key, 5)
            await asyncio.sleep(1)
        before = loop.timers
        await asyncio.sleep(5 * rounds)
        return loop.timers - before

    with asyncio.Runner(loop_factory=lambda: CountingLoop(scene.clock)) as runner:
        assert runner.run(main()) <= len(keys) * (rounds + 1)
    for key, first in zip(keys, (5, 6, 7), strict=True):
        assert [at for each, at in scene.expired if each == key][:rounds] == [
            first + 5 * step for step in range(rounds)
        ]


def test_a_key_that_is_watched_again_before_it_expires_has_its_whole_timeout(scene: Scene) -> None:
    async def main() -> None:
        scene.deadlines.watch("a", 30)
        scene.deadlines.watch("b", 30)
        await asyncio.sleep(20)
        scene.deadlines.watch("a", 30)
        await asyncio.sleep(300)

    scene.play(main)

    assert scene.expired == [("b", 30), ("a", 50)]


# -- what is called ------------------------------------------------------------------------------

VALUE: ContextVar[str] = ContextVar("VALUE", default="unset")


def test_nothing_of_the_context_of_whoever_watches_is_seen(scene: Scene) -> None:
    seen: list[str] = []
    scene.also = lambda key: seen.append(VALUE.get())

    async def main() -> None:
        VALUE.set("a run's")
        scene.deadlines.watch("a", 30)
        await asyncio.sleep(300)

    scene.play(main)

    assert seen == ["unset"]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()], ids=repr)
def test_what_is_raised_for_one_key_takes_the_timeout_of_no_other(scene: Scene, error: BaseException) -> None:
    def break_for_a(key: str) -> None:
        if key == "a":
            raise error

    scene.also = break_for_a
    loop = VirtualLoop(scene.clock)
    loop.set_exception_handler(lambda *_: None)

    async def main() -> None:
        scene.open()
        for key in "abc":
            scene.deadlines.watch(key, 30)
        scene.deadlines.watch("later", 60)
        await asyncio.sleep(100)
        scene.deadlines.watch("much later", 30)
        await asyncio.sleep(300)

    host = loop.create_task(main())
    while not host.done():
        with suppress(KeyboardInterrupt):
            loop.run_until_complete(host)
    loop.close()

    assert scene.expired == [("a", 30), ("b", 30), ("c", 30), ("later", 60), ("much later", 130)]


# -- opening and closing -------------------------------------------------------------------------


def test_whoever_is_watched_still_is_after_the_close(scene: Scene) -> None:
    async def main() -> None:
        scene.deadlines.watch("a", 30)
        scene.deadlines.close()
        await asyncio.sleep(300)

    scene.play(main)

    assert scene.expired == [("a", 30)]


def test_after_the_close_no_timer_is_left_that_nobody_needs(scene: Scene) -> None:
    async def main() -> None:
        scene.deadlines.watch("a", 3600)
        scene.deadlines.release("a", 3600)
        scene.deadlines.close()
        scene.deadlines.watch("b", 30)
        await asyncio.sleep(100)
        await scene.clock.settle()
        scene.open()
        scene.deadlines.watch("c", 3600)
        await asyncio.sleep(4000)

    scene.play(main)

    assert scene.expired == [("b", 30), ("c", 3700)]


def test_what_was_watched_in_another_event_loop_is_forgotten(scene: Scene) -> None:
    async def leave() -> None:
        scene.deadlines.watch("a", 30)

    async def main() -> None:
        scene.deadlines.release("a", 30)
        scene.deadlines.watch("b", 30)
        await asyncio.sleep(100)

    scene.play(leave)
    scene.play(main)

    assert scene.expired == [("b", 30)]
