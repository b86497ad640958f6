"""Every place where the core waits: cancelled there, and told to stop at that moment.

The places are read off the syntax trees. A tour of the scheduler's life is made once to see at which turns
of the event loop which asyncio task waits where; then it is made again for each of these moments, and
disturbed in it.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from random import Random
from typing import Any

import pytest
from tests.support.awaits import Moment, Place, Places, WatchedLoop, one_a_turn, one_of_each, some_of, walk
from tests.support.recording import Recorder

from bgtasks import BackgroundScheduler, BgTasksError, Cron, Every
from bgtasks.events import RunFinished, RunStarted
from bgtasks.policies import Retry
from bgtasks.testing import VirtualClock

MODULES = ("scheduler.py", "lifecycle.py", "runner.py", "dispatcher.py")

EXCUSED = {
    "Lifecycle._loop_ends": "an event loop that ends: test_under_uvloop.py has it",
    "Lifecycle._take_leave": "of a store: tests/unit/claims has it",
}
"""Functions whose places the tour need not reach, and why."""

PLACES = Places(MODULES, EXCUSED)


class Tour:
    """A scheduler that goes through all that it can wait for, by asyncio tasks of the host.

    Attributes:
        begun: How often each job began.
    """

    def __init__(self, watcher: Callable[[int], object] = lambda turn: None, *, debug: bool = False) -> None:
        self.clock = VirtualClock()
        self.loop = WatchedLoop(self.clock, watcher)
        self.loop.set_debug(debug)
        numbers = itertools.count(1)
        self.scheduler = BackgroundScheduler(
            clock=self.clock, random=Random(7), max_concurrent=20, new_run_id=lambda: f"{next(numbers)}"
        )
        self.heard = Recorder(self.scheduler)
        self.begun: dict[str, int] = {}
        self.hosts: list[asyncio.Task[Any]] = []

    def watch(self, watcher: Callable[[int], object]) -> None:
        self.loop.watcher = watcher

    def make(self) -> list[str]:
        """Make the tour, see to the end of it, and start again; what is wrong afterwards, in words."""
        wrong: list[str] = []
        try:
            self.loop.run_until_complete(self._tour())
            self.loop.watcher = lambda turn: None
            wrong += self.loop.run_until_complete(self._aftermath())
        except asyncio.CancelledError as error:
            wrong.append(f"cannot be stopped, or not be started again: {error!r}")
        finally:
            self.loop.run_until_complete(self._leave_nothing())
            self.loop.close()
        gc.collect(1)
        return wrong + self.loop.complaints

    # -- what there is to wait for ---------------------------------------------------------------

    def _register(self) -> None:
        def task(name: str, body: Callable[[], Coroutine[Any, Any, Any]], interval: Any, **more: Any) -> None:
            self.begun[name] = 0

            async def counted() -> Any:
                self.begun[name] += 1
                return await body()

            self.scheduler.register(name, counted, interval, **more)

        async def brief() -> None: ...

        async def slow() -> None:
            await asyncio.sleep(8)

        async def stubborn() -> None:
            try:
                await asyncio.sleep(8)
            except asyncio.CancelledError:
                await asyncio.sleep(8)

        async def lingers() -> None:
            try:
                await asyncio.sleep(1e6)
            finally:
                await asyncio.sleep(2)

        async def fails() -> None:
            await asyncio.sleep(0)
            raise ValueError("no")

        grid = Every(5, fixed_rate=True)
        task("brief", brief, 3)
        task("slow", slow, 20)
        task("stubborn", stubborn, 20)
        task("lingers", lingers, 20)
        task("asked", slow, 3600, initial_delay=25)
        task("fails", fails, 20, retry=Retry(attempts=3, backoff=4))
        task("timed", lingers, 20, timeout=3)
        task("again", lingers, 20, timeout=3, retry=Retry(attempts=2, backoff=1))
        task("queues", slow, grid, overlap="queue")
        task("overtakes", lingers, grid, overlap="cancel")
        task("beside", slow, grid, overlap="allow")
        task("calendar", slow, Cron("* * * * *"))

    def spawn(self, what: Callable[[], Coroutine[Any, Any, Any]], name: str) -> None:
        async def tolerant() -> None:
            with suppress(BgTasksError):  # a disturbance may have stopped it, or removed the task
                await what()

        self.hosts.append(self.loop.create_task(tolerant(), name=f"host:{name}"))

    async def _tour(self) -> None:
        self._register()
        scheduler, clock = self.scheduler, self.clock
        await scheduler.start()
        await clock.advance(1)
        self.spawn(lambda: scheduler.run_now("asked"), "asks")
        await clock.advance(1)
        self.spawn(lambda: scheduler.remove("lingers"), "removes")
        await clock.advance(4)
        self.spawn(lambda: scheduler.stop(drain=3), "stops")
        await clock.advance(1)
        self.spawn(self._enter_and_leave, "enters")
        await clock.advance(60)
        self.spawn(scheduler.stop, "stops again")
        self.spawn(scheduler.start, "starts again")
        await clock.advance(7)
        self.spawn(lambda: scheduler.stop(drain=1e3), "has time")
        await clock.advance(1)
        self.spawn(scheduler.stop, "is in a hurry")
        await clock.advance(30)

    async def _enter_and_leave(self) -> None:
        async with self.scheduler:
            await asyncio.sleep(6)

    # -- what holds afterwards -------------------------------------------------------------------

    async def _aftermath(self) -> list[str]:
        wrong = []
        await self.scheduler.stop()
        await self.clock.settle()
        left = sorted(task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task())
        if left:
            wrong.append(f"left after a stop: {', '.join(left)}")
        if self.scheduler.unfinished:
            wrong.append(f"unfinished: {', '.join(self.scheduler.unfinished)}")
        if running := [job.name for job in self.scheduler.snapshot() if job.running]:
            wrong.append(f"running after a stop: {', '.join(running)}")
        started = [event.run_id for event in self.heard.of(RunStarted)]
        finished = [event.run_id for event in self.heard.of(RunFinished)]
        if sorted(started) != sorted(finished):
            wrong.append(f"{len(started)} runs began and {len(finished)} ended")
        before = dict(self.begun)
        await self.scheduler.start()
        if not self.scheduler.running:
            wrong.append("not running after a start")
        await self.clock.advance(70)
        if not self.scheduler.health():
            wrong.append(str(self.scheduler.health().problems))
        names = {job.name for job in self.scheduler.snapshot()}
        if idle := sorted(name for name in names if self.begun[name] == before[name]):
            wrong.append(f"not run after another start: {', '.join(idle)}")
        await self.scheduler.stop()
        await self.clock.settle()
        if len(asyncio.all_tasks()) > 1:
            wrong.append("left after the last stop")
        return wrong + [
            f"{host.get_name()} raised {host.exception()!r}"
            for host in self.hosts
            if not host.cancelled() and host.exception() is not None
        ]

    async def _leave_nothing(self) -> None:
        """However wrong things went: the next tour begins with none of it."""
        for job in self.scheduler.snapshot():
            await self.scheduler.remove(job.name)
        while left := [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]:
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=20)
        await self.loop.shutdown_asyncgens()


# -- moments -------------------------------------------------------------------------------------


type Disturbance = Callable[[Tour, Moment], set[Place]]
"""Does its worst at a moment of a tour, and returns the places that it met."""


def tasks_of(loop: asyncio.AbstractEventLoop) -> list[asyncio.Task[Any]]:
    """The asyncio tasks but that of the tour itself."""
    tasks = (task for task in asyncio.all_tasks(loop) if not task.get_name().startswith("Task-"))
    return sorted(tasks, key=lambda task: task.get_name())


def cancel_who_waits(tour: Tour, moment: Moment) -> set[Place]:
    (task,) = (task for task in tasks_of(tour.loop) if task.get_name() == moment.task)
    task.cancel()
    return set(PLACES.waits_at(task))


def cancel_all(tour: Tour, moment: Moment) -> set[Place]:
    """What a host does that is in a hurry to leave: tasks that have not begun are among them."""
    met: set[Place] = set()
    for task in tasks_of(tour.loop):
        met.update(PLACES.waits_at(task))
        task.cancel()
    return met


def stop(tour: Tour, moment: Moment) -> set[Place]:
    tour.spawn(tour.scheduler.stop, "disturbs")
    return {place for task in tasks_of(tour.loop) for place in PLACES.waits_at(task)}


def start(tour: Tour, moment: Moment) -> set[Place]:
    tour.spawn(tour.scheduler.start, "disturbs")
    return {place for task in tasks_of(tour.loop) for place in PLACES.waits_at(task)}


def moments() -> list[Moment]:
    """All moments of a tour that nobody disturbs."""
    seen: list[Moment] = []

    def look(turn: int) -> None:
        for task in tasks_of(tour.loop):
            if waiting := PLACES.waits_at(task):
                seen.append(Moment(turn, task.get_name(), waiting))

    tour = Tour(look)
    assert tour.make() == []
    return seen


def disturbed(disturb: Disturbance, moment: Moment, *, debug: bool) -> tuple[list[str], set[Place]]:
    """What is wrong after a tour that was disturbed at a moment, and the places that this met."""
    met: set[Place] = set()
    tour: Tour = Tour(
        lambda turn: met.update(disturb(tour, moment)) if turn == moment.turn else None,
        debug=debug,
    )
    return tour.make(), met


def meet(disturb: Disturbance, chosen: list[Moment], *, debug: bool = False) -> None:
    """Disturb a tour at each of these moments."""
    walk(lambda moment: disturbed(disturb, moment, debug=debug), chosen, PLACES)


DISTURBANCES = [cancel_who_waits, cancel_all, stop, start]


@pytest.fixture(autouse=True)
def no_log(caplog: pytest.LogCaptureFixture) -> None:
    """A thousand tours have nothing to say."""
    caplog.set_level(logging.CRITICAL, "bgtasks")


def test_the_places_are_found() -> None:
    functions = {place.function for place in PLACES}
    assert {"Runner.run", "Lifecycle.stop", "BackgroundScheduler.run_now"} <= functions
    assert not set(EXCUSED) - functions


def test_two_tours_are_the_same() -> None:
    assert moments() == moments()


@pytest.mark.parametrize("disturb", DISTURBANCES)
def test_the_scheduler_survives_a_disturbance_at_every_await(disturb: Disturbance) -> None:
    chosen = some_of(moments())
    meet(disturb, chosen if disturb is cancel_who_waits else one_a_turn(chosen))


@pytest.mark.full
@pytest.mark.parametrize("disturb", DISTURBANCES)
def test_so_it_does_in_the_debug_mode_of_asyncio(disturb: Disturbance) -> None:
    meet(disturb, one_of_each(moments()), debug=True)


@pytest.mark.full
@pytest.mark.parametrize("disturb", DISTURBANCES)
def test_the_scheduler_survives_a_disturbance_at_every_turn(disturb: Disturbance) -> None:
    seen = moments()
    meet(disturb, seen if disturb is cancel_who_waits else one_a_turn(seen))


# -- collections ---------------------------------------------------------------------------------


@contextmanager
def eager_collector() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(1)
    try:
        yield
    finally:
        gc.set_threshold(*before)


@pytest.mark.full
def test_a_collection_at_every_turn_loses_no_run() -> None:
    undisturbed = Tour()
    assert undisturbed.make() == []

    with eager_collector():
        collected = Tour(lambda turn: gc.collect())
        assert collected.make() == []

    assert [str(event) for event in collected.heard.events] == [
        str(event) for event in undisturbed.heard.events
    ]
