"""What holds the event loop is named, in real time: a thread watches, and a task or a callback blocks.

These tests block a real event loop on purpose, for a moment: that is what is watched for.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.processes import run_python
from tests.support.recording import Recorder
from tests.support.waiting import until, wait_until

from bgtasks import BackgroundScheduler
from bgtasks.clock import SystemClock
from bgtasks.events import LoopStalled
from bgtasks.run import current_run
from bgtasks.stall import StallWatch
from bgtasks.testing import VirtualClock

AFTER = 0.1
LONG = 3 * AFTER


@pytest.fixture(autouse=True)
def nothing_blocks_the_loop() -> None:
    """Here it is blocked on purpose, also by what our runner runs."""


@pytest.fixture(autouse=True)
def no_watch_is_left() -> Iterator[None]:
    yield
    wait_until("the watching threads have ended", lambda: not watches())


def watches() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "bgtasks:stall-watch"]


class Scene:
    """A watch on the running loop, and what it reports there."""

    def __init__(self, after: float = AFTER) -> None:
        self.reports: list[LoopStalled] = []
        self.watch = StallWatch(after, self.reports.append)

    @contextmanager
    def watching(self) -> Iterator[None]:
        self.watch.start(asyncio.get_running_loop(), contextvars.Context())
        try:
            yield
        finally:
            self.watch.stop()

    def of(self, place: str) -> list[LoopStalled]:
        """The stalls in a function of this name; a busy machine may bring others about."""
        return [stalled for stalled in self.reports if f"in {place}\n" in stalled.stack]

    async def reported(self, place: str) -> list[LoopStalled]:
        await until("the stall is reported", lambda: self.of(place))
        return self.of(place)


def block(seconds: float = LONG) -> None:
    time.sleep(seconds)


def errors(caplog: pytest.LogCaptureFixture, place: str) -> list[str]:
    """What was said of stalls in a function of this name."""
    texts = (record.getMessage() for record in caplog.records if record.levelno == logging.ERROR)
    return [text for text in texts if f"in {place}\n" in text]


async def turn(times: int = 3) -> None:
    """Let the loop turn, and the watch look."""
    done = asyncio.Event()
    loop = asyncio.get_running_loop()
    for _ in range(times):
        loop.call_later(AFTER / 4, done.set)
        await done.wait()
        done.clear()


# -- who holds it --------------------------------------------------------------------------------


async def test_the_task_that_holds_the_loop_is_named_while_it_does_and_again_when_it_turns(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scene, said = Scene(), list[str]()

    async def blocker() -> None:
        block()
        said.extend(errors(caplog, "blocker"))

    with scene.watching():
        await asyncio.create_task(blocker(), name="the culprit")
        [stalled] = await scene.reported("blocker")

    [line] = said
    assert line.startswith("the event loop has stood still for 0.")
    assert "s, held by the culprit\n" in line
    assert "time.sleep(seconds)" in line
    assert stalled.task == "the culprit"
    assert stalled.stack.endswith("time.sleep(seconds)")
    assert LONG - 0.01 <= stalled.seconds < 10


async def test_a_bare_callback_is_named_by_its_function() -> None:
    scene = Scene()

    def bare_callback() -> None:
        until = time.monotonic() + LONG
        while time.monotonic() < until:
            pass

    with scene.watching():
        asyncio.get_running_loop().call_soon(bare_callback)
        [stalled] = await scene.reported("bare_callback")

    assert stalled.task.endswith("bare_callback")


async def test_each_stall_is_said_once_however_long_it_is(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene(after=0.05)

    def first() -> None:
        block(0.5)

    def second() -> None:
        block(0.2)

    with scene.watching():
        first()
        await scene.reported("first")
        second()
        await scene.reported("second")

    for place in ("first", "second"):
        assert len(scene.of(place)) == len(errors(caplog, place)) == 1


async def test_while_it_is_held_another_thread_can_ask_for_how_long_and_by_what() -> None:
    scene = Scene()
    answers: list[Any] = []

    def ask() -> None:
        wait_until("the stall is found", lambda: scene.watch.stalled)
        answers.append(scene.watch.stalled)

    async def blocker() -> None:
        asker = threading.Thread(target=ask)
        asker.start()
        asker.join()  # this too blocks the loop: until the stall was found

    with scene.watching():
        assert scene.watch.stalled is None
        await asyncio.create_task(blocker(), name="the culprit")
        await scene.reported("blocker")

    [(seconds, holder)] = answers
    assert holder == "the culprit"
    assert AFTER <= seconds < 30


async def test_the_report_comes_outside_the_context_of_whoever_started_the_watch() -> None:
    seen: list[object] = []
    watch = StallWatch(AFTER, lambda stalled: seen.append(current_run.get()))
    token = current_run.set("a run")  # type: ignore[arg-type]

    watch.start(asyncio.get_running_loop(), contextvars.Context())
    block()
    await until("the stall is reported", lambda: seen)
    watch.stop()
    current_run.reset(token)

    assert seen == [None]


# -- what is no stall ----------------------------------------------------------------------------


async def test_a_loop_that_turns_is_not_reported(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene(after=5.0)

    with scene.watching():
        block(0.2)  # much less than five seconds
        await turn()

    assert scene.reports == []
    assert errors(caplog, "block") == []


async def test_a_loop_at_rest_is_not_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    wake = loop.call_soon_threadsafe
    woken: list[str] = []

    def note(*args: Any, **more: Any) -> asyncio.Handle:
        woken.append(threading.current_thread().name)
        return wake(*args, **more)

    monkeypatch.setattr(loop, "call_soon_threadsafe", note)
    scene = Scene(after=0.02)

    with scene.watching(), suppress(TimeoutError):
        await asyncio.wait_for(loop.create_future(), 25 * 0.02 / 2)  # 25 looks

    assert len(woken) <= 2  # a look may come just before the rest begins, or as it ends


async def test_time_in_which_the_watch_stood_still_too_is_no_stall(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    skipped, looks = 0.0, 0

    def monotonic() -> float:
        nonlocal looks
        looks += threading.current_thread().name == "bgtasks:stall-watch"
        return time.monotonic() + skipped

    monkeypatch.setattr("bgtasks.stall.time", SimpleNamespace(monotonic=monotonic))
    scene = Scene(after=2.0)

    with scene.watching():
        wait_until("the watch has begun", lambda: looks >= 1)
        skipped += 3600  # the process was suspended: no thread of it ran
        wait_until("the watch has looked, before the loop turned", lambda: looks >= 2)
        await turn(1)

    assert scene.reports == []
    assert "stood still" not in caplog.text


# -- starting and stopping -----------------------------------------------------------------------


async def test_a_stop_ends_the_thread_and_reports_nothing_more() -> None:
    scene = Scene()

    with scene.watching():
        assert len(watches()) == 1
    block()
    await turn()

    await until("the thread has ended", lambda: not watches())
    assert scene.reports == []


async def test_a_watch_can_be_started_again() -> None:
    scene = Scene()

    for _ in range(3):
        with scene.watching():
            await turn(1)
    with scene.watching():
        block()
        assert len(await scene.reported("block")) == 1


def test_a_loop_that_was_closed_under_the_watch_is_no_stall_and_ends_the_thread(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scene = Scene()

    async def start_and_leave() -> None:
        scene.watch.start(asyncio.get_running_loop(), contextvars.Context())

    asyncio.run(start_and_leave())
    try:
        wait_until("the thread has ended", lambda: not watches(), timeout_s=5)
    finally:
        scene.watch.stop()

    assert "stood still" not in caplog.text


def test_a_loop_that_is_not_being_run_for_a_while_is_not_held_by_anybody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scene = Scene()
    loop = asyncio.new_event_loop()

    async def start() -> None:
        scene.watch.start(loop, contextvars.Context())

    loop.run_until_complete(start())
    block()  # the host does something else, between two calls
    loop.run_until_complete(turn())
    scene.watch.stop()
    loop.close()

    assert scene.of("block") == []
    assert errors(caplog, "block") == []


# -- under a scheduler ---------------------------------------------------------------------------


async def test_a_task_that_blocks_is_named_with_its_run_on_the_bus() -> None:
    scheduler = BackgroundScheduler(stall_after=AFTER)
    heard = Recorder(scheduler)

    async def crunch() -> None:
        block()

    scheduler.register("crunch", crunch, 3600)
    async with scheduler:
        await until(
            "the stall is on the bus",
            lambda: [each for each in heard.of(LoopStalled) if "crunch" in each.task],
        )

    assert any(
        stalled.task.startswith("bgtasks:crunch:") and "in crunch\n" in stalled.stack
        for stalled in heard.of(LoopStalled)
    )


async def test_a_scheduler_watches_only_while_it_runs_and_only_if_told_to() -> None:
    scheduler = BackgroundScheduler(stall_after=AFTER)
    assert watches() == []

    for _ in range(2):
        async with scheduler:
            assert len(watches()) == 1
        await until("the thread has ended", lambda: not watches())

    async with BackgroundScheduler(stall_after=None):
        assert watches() == []


async def test_time_that_is_not_real_is_not_watched() -> None:
    async with BackgroundScheduler(clock=VirtualClock(), stall_after=AFTER):
        assert watches() == []
    async with BackgroundScheduler(clock=SystemClock(), stall_after=AFTER):
        assert len(watches()) == 1


def test_the_watch_keeps_no_program_from_ending() -> None:
    ended = run_python(
        "-c",
        "import asyncio\n"
        "from bgtasks import BackgroundScheduler\n"
        "asyncio.run(BackgroundScheduler(stall_after=0.1).start(), debug=False)\n",
    )

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
