"""The scheduler beside a simple model of it, whatever order things are asked of it in.

What the model knows of runs it knows from the runs themselves, and of skipped ticks from the bus; the rest it
reckons from what was asked and how much time has passed.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from types import NoneType
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from bgtasks import BackgroundScheduler, BgTasksError, Cron, Every, ResourceUnavailable, Trigger, current_run
from bgtasks.errors import DuplicateTask, UnknownTask
from bgtasks.events import (
    Event,
    RunFinished,
    RunMissed,
    RunSkipped,
    RunStarted,
    SchedulerStarted,
    SchedulerStopped,
)
from bgtasks.health import JobSnapshot
from bgtasks.outcomes import (
    FAILURES,
    Cancelled,
    Deferred,
    Done,
    Failed,
    Missed,
    Outcome,
    Skipped,
    TimedOut,
)
from bgtasks.policies import Breaker
from bgtasks.testing import VirtualClock, VirtualLoop, run_virtual

START = datetime(2026, 1, 1, 0, 0, 7, tzinfo=UTC)
CRON_SECONDS = 180
CRON = Cron("*/3 * * * *")
CRON_DRIFT_S = 3 * 3600
"""A wall clock set back by more begins anew."""
NEAR = 0.01
SPREAD_S = 10.1
"""Overdue jobs start within so many seconds."""

INTERVALS = st.sampled_from([5, 8, 20, 90])
TRIGGERS = st.one_of(
    INTERVALS.map(Every), INTERVALS.map(lambda seconds: Every(seconds, fixed_rate=True)), st.just(CRON)
)
NAMES = st.sampled_from("abcdef")
BEHAVIOURS = st.one_of(
    st.just(["fail"] * 4),
    st.lists(
        st.sampled_from(
            ["fail", "fail late", "hang", "long", "stubborn", "defer", "outage", "give up", "brief", "stop"]
        ),
        min_size=1,
        max_size=4,
    ),
)
OPTIONS = st.fixed_dictionaries(
    {
        "trigger": TRIGGERS,
        "overlap": st.sampled_from(["skip", "queue", "cancel", "allow"]),
        "catch_up": st.sampled_from(["one", "none", "all"]),
        "timeout": st.sampled_from([None, None, 6.37, 23.37]),
        "breaker": st.sampled_from([None, Breaker(after=1, cool_down=33), Breaker(after=2, cool_down=111)]),
        "delay": st.sampled_from([0, 0, 11]),
        "grouped": st.booleans(),
        "plan": st.one_of(st.just([]), BEHAVIOURS),
    }
)
ORDERS = st.lists(st.sampled_from(["stop", "drain", "start"]), min_size=2, max_size=4)


@dataclass
class Task:
    """What the model knows of one task.

    Attributes:
        plan: What its next runs are going to do; nothing, when that is used up.
        told: It was told to end while a run of it was in progress.
        due: When a plain interval is due next; None while that is not known.
        anchor: The first instant of a fixed rate's grid.
        counted: Ticks that became a run, were skipped or missed, since the anchor.
        asked: Runs asked for by hand that have not been answered.
        exact: What it has counted can be compared.
        highest: The latest the wall clock has said, for cron.
        begun: Runs that began, ever.
    """

    name: str
    trigger: Trigger
    overlap: str = "skip"
    catch_up: str = "one"
    timeout: float | None = None
    breaker: Breaker | None = None
    delay: float = 0.0
    grouped: bool = False
    plan: deque[str] = field(default_factory=deque)
    running: int = 0
    failures: int = 0
    paused: bool = False
    last: type[Any] = NoneType
    open_until: float | None = None
    told: bool = False
    due: float | None = None
    anchor: float = 0.0
    counted: int = 0
    asked: list[asyncio.Task[Outcome]] = field(default_factory=list)
    exact: bool = True
    highest: datetime = START
    begun: int = 0
    may_be_sooner: bool = False

    @property
    def from_end(self) -> bool:
        return isinstance(self.trigger, Every) and not self.trigger.fixed_rate

    @property
    def grid(self) -> bool:
        return isinstance(self.trigger, Every) and self.trigger.fixed_rate

    @property
    def seconds(self) -> float:
        return self.trigger.seconds if isinstance(self.trigger, Every) else CRON_SECONDS

    def held_back(self, now: float) -> bool:
        return self.paused or (self.open_until is not None and self.open_until > now)

    def begin(self, now: float, wall: datetime, delay: float) -> None:
        """Its schedule begins."""
        self.due = None if self.running else now + delay
        self.anchor = now + delay
        self.counted = 0
        self.asked = [asked for asked in self.asked if not asked.done()]
        self.exact = not self.asked
        self.highest = wall + timedelta(seconds=delay)
        self.may_be_sooner = False

    def ticks(self, now: float) -> int:
        """How many steps of its grid lie between its anchor and now."""
        return int((now - self.anchor) / self.seconds + 1e-6) + 1 if now >= self.anchor - 1e-6 else 0


class SchedulerMachine(RuleBasedStateMachine):
    """Asks things of a scheduler, in any order, and looks after each whether it agrees with the model."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = VirtualClock(START)
        self.clock.stall(1000)  # the machine has been up for a while
        self.disturbed_at = 0.0
        self.was_set_back = False
        self.loop = VirtualLoop(self.clock)
        self.tasks: dict[str, Task] = {}
        self.allowed: dict[str, tuple[type[Any], ...]] = {}
        self.wrong: list[str] = []
        self.started = False
        self.complaints: list[str] = []
        self.loop.set_exception_handler(lambda _, context: self.complaints.append(str(context)))

    @initialize(
        limit=st.sampled_from([None, None, 1, 2]),
        group=st.booleans(),
        pace=st.sampled_from([0, 0, 2, 9, 33]),
        first=st.lists(OPTIONS, max_size=3),
    )
    def make(self, limit: int | None, group: bool, pace: float, first: list[dict[str, Any]]) -> None:
        self.limit = limit
        self.group = group
        self.pace = pace
        self.scheduler = BackgroundScheduler(
            clock=self.clock,
            random=Random(3),
            max_concurrent=limit,
            group_limits={"few": 1} if group else None,
        )
        self.scheduler.bus.subscribe(self.hear)
        for name, options in zip("abc", first, strict=False):
            self.register(name, options)
        if first:
            self.start()

    # -- what the tasks do -----------------------------------------------------------------------

    async def body(self, task: Task) -> Any:
        run = current_run.get()
        assert run is not None
        began = self.clock.monotonic()
        task.running += 1
        task.begun += 1
        if task.running > 1 and task.overlap != "allow":
            self.wrong.append(f"{task.name} ran beside itself")
        everywhere = sum(each.running for each in self.tasks.values())
        if self.limit is not None and everywhere > self.limit:
            self.wrong.append(f"{everywhere} ran at once")
        try:
            result = await self.act(task.plan.popleft() if task.plan else "nothing")
        except ResourceUnavailable:
            self.allowed[run.run_id] = (Deferred,)
            raise
        except ValueError:
            self.allowed[run.run_id] = (Failed,)
            raise
        except asyncio.CancelledError as error:
            late = task.timeout is not None and self.clock.monotonic() - began >= task.timeout - NEAR
            told = task.told or task.overlap == "cancel"
            if error.args:
                self.allowed[run.run_id] = (Failed,)
            else:
                self.allowed[run.run_id] = ((TimedOut,) if late else ()) + ((Cancelled,) if told else ())
            raise
        else:
            self.allowed[run.run_id] = (type(result) if isinstance(result, Deferred) else Done,)
            return result
        finally:
            task.running -= 1

    async def act(self, what: str) -> Any:
        match what:
            case "brief":
                await asyncio.sleep(0)
            case "fail":
                raise ValueError("no")
            case "fail late":
                await asyncio.sleep(3)
                raise ValueError("no")
            case "long":
                await asyncio.sleep(37)
            case "hang":
                await asyncio.get_running_loop().create_future()
            case "stubborn":
                try:
                    await asyncio.sleep(50)
                except asyncio.CancelledError:
                    await asyncio.sleep(4)
            case "defer":
                return Deferred("busy")
            case "outage":
                raise ResourceUnavailable("redis", "down")
            case "stop":
                await self.tell_to_stop()
            case "give up":
                raise asyncio.CancelledError("by itself")
        return None

    def hear(self, event: Event) -> None:
        now = self.clock.monotonic()
        if isinstance(event, SchedulerStopped) and event.unfinished:
            self.wrong.append(f"unfinished after a stop: {event.unfinished}")
        if isinstance(event, SchedulerStarted):
            self.started = True
            for each in self.tasks.values():
                each.begin(now, self.clock.now(), each.delay)
                each.told = False
                if self.was_set_back and not each.grid:
                    each.exact = False  # no instant comes twice, from one start to the next either
        if not isinstance(event, RunStarted | RunFinished | RunSkipped | RunMissed):
            return
        task = self.tasks[event.task]
        match event:
            case RunStarted():
                task.counted += 1
                task.due = None
            case RunMissed():
                task.counted += event.ticks
                task.last = Missed
            case RunSkipped():
                task.counted += 1
                task.last = Skipped
                if task.held_back(now):
                    task.due = None if task.paused else task.open_until
            case RunFinished():
                self.finished(task, event, now)

    def finished(self, task: Task, event: RunFinished, now: float) -> None:
        kind = type(event.outcome)
        if kind not in self.allowed.pop(event.run_id):
            self.wrong.append(f"a run of {task.name} ended as {event.outcome}")
        task.last = kind
        if kind in FAILURES:
            task.failures += 1
        elif kind is Done:
            task.failures = 0
        if task.overlap == "allow":  # which of several is the last in a row is another test's question
            task.failures = event.failures
        if event.failures != task.failures:
            self.wrong.append(f"{task.name}: {event.failures} failures said, {task.failures} counted")
        if task.breaker is None or task.failures < task.breaker.after:
            task.open_until = None
        elif kind in FAILURES:
            task.open_until = now + task.breaker.seconds
        if not task.running:
            task.due = max(now + task.seconds, task.open_until or 0.0)
        if isinstance(event.outcome, Deferred) and event.outcome.resource is not None:
            task.may_be_sooner, task.exact = True, False  # it is tried again soon
        else:
            task.may_be_sooner = False

    # -- what is asked of it ---------------------------------------------------------------------

    def do[T](self, what: Coroutine[Any, Any, T]) -> T:
        """Do it in the event loop, let a little time pass, and all that becomes ready by that."""

        async def and_settle() -> T:
            try:
                return await what
            finally:
                await self.clock.advance(self.pace)

        return self.loop.run_until_complete(and_settle())

    def pick(self, number: int) -> Task:
        return self.tasks[sorted(self.tasks)[number % len(self.tasks)]]

    @property
    def now(self) -> float:
        return self.clock.monotonic()

    @rule(name=NAMES, options=OPTIONS)
    def register(self, name: str, options: dict[str, Any]) -> None:
        task = Task(name, **{**options, "plan": deque(options["plan"])})
        if task.trigger == CRON:
            task.delay = 0

        async def add() -> None:
            self.scheduler.register(
                name,
                self.body,
                task.trigger,
                task.delay,
                (task,),
                overlap=task.overlap,
                catch_up=task.catch_up,
                timeout=task.timeout,
                breaker=task.breaker,
                group="few" if task.grouped else None,
            )

        if name in self.tasks:
            with pytest.raises(DuplicateTask):
                self.do(add())
            return
        self.tasks[name] = task
        task.told = not self.started
        task.begin(self.now, self.clock.now(), task.delay)
        self.do(add())

    @precondition(lambda self: self.tasks)
    @rule(which=st.integers(0, 5), plan=BEHAVIOURS)
    def plan(self, which: int, plan: list[str]) -> None:
        self.pick(which).plan.extend(plan)

    @rule()
    def start(self) -> None:
        self.do(self.scheduler.start())

    @rule(drain=st.sampled_from([0, 0, 2, 30, 500]))
    def stop(self, drain: float) -> None:
        before = self.now
        self.do(self.tell_to_stop(drain))
        assert self.now - before <= drain + 10 + self.pace + NEAR
        assert self.scheduler.unfinished == ()

    @rule(orders=ORDERS)
    def stop_and_start_at_once(self, orders: list[str]) -> None:
        async def ordered() -> None:
            calls = {
                "stop": self.tell_to_stop,
                "drain": lambda: self.tell_to_stop(drain=30),
                "start": self.scheduler.start,
            }
            await asyncio.gather(*(calls[order]() for order in orders))

        no_run_stops_it = not any("stop" in task.plan for task in self.tasks.values())
        self.do(ordered())
        if no_run_stops_it:
            assert self.scheduler.running == (orders[-1] == "start")

    async def tell_to_stop(self, drain: float = 0) -> None:
        self.started = False
        for task in self.tasks.values():
            task.told = True
        await self.scheduler.stop(drain)

    @precondition(lambda self: self.tasks)
    @rule(which=st.integers(0, 5))
    def pause(self, which: int) -> None:
        task = self.pick(which)
        task.paused = True
        self.scheduler.pause(task.name)

    @precondition(lambda self: self.tasks)
    @rule(which=st.integers(0, 5))
    def resume(self, which: int) -> None:
        task = self.pick(which)
        if task.paused or task.open_until is not None:
            if task.due is None or task.open_until is not None:
                task.due = self.now
            task.may_be_sooner = True
        if task.open_until is not None:
            task.failures = 0  # the next one would open it again
        task.paused = False
        task.open_until = None

        async def resume() -> None:
            self.scheduler.resume(task.name)

        self.do(resume())

    @precondition(lambda self: self.tasks)
    @rule(which=st.integers(0, 5), impatient=st.booleans())
    def run_now(self, which: int, impatient: bool) -> None:
        task = self.pick(which)

        async def ask() -> None:
            asking = asyncio.create_task(self.scheduler.run_now(task.name))
            task.asked.append(asking)
            await self.clock.settle()
            if impatient and not asking.done():
                asking.cancel()
                task.exact = False

        if self.started:
            self.do(ask())
        else:
            with pytest.raises(BgTasksError):
                self.do(self.scheduler.run_now(task.name))

    @precondition(lambda self: self.tasks)
    @rule(which=st.integers(0, 5))
    def remove(self, which: int) -> None:
        task = self.pick(which)
        task.told = True
        self.do(self.scheduler.remove(task.name))
        assert task.running == 0
        assert all(asked.done() for asked in task.asked)
        del self.tasks[task.name]
        with pytest.raises(UnknownTask):
            self.scheduler.pause(task.name)

    @precondition(lambda self: self.tasks)
    @rule(which=st.integers(0, 5), trigger=TRIGGERS)
    def reschedule(self, which: int, trigger: Trigger) -> None:
        task = self.pick(which)

        async def reschedule() -> None:
            self.scheduler.reschedule(task.name, trigger)

        task.trigger = trigger
        task.begin(self.now, self.clock.now(), 0.0 if trigger == CRON else task.seconds)
        task.exact = task.exact and self.row(task).waiting is None
        self.do(reschedule())

    @rule(seconds=st.sampled_from([0.5, 3, 7, 31, 100, 400]))
    def let_time_pass(self, seconds: float) -> None:
        self.do(self.clock.advance(seconds))

    @rule(seconds=st.sampled_from([0.2, 4, 17, 60, 300]))
    def stall(self, seconds: float) -> None:
        async def block() -> None:
            self.clock.stall(seconds)

        self.disturbed_at = self.now + seconds
        self.do(block())

    @rule(seconds=st.sampled_from([30, 700, 4 * 3600, -30, -700, -2 * 3600, -4 * 3600, -30 * 86_400]))
    def set_the_wall_clock(self, seconds: float) -> None:
        async def step() -> None:
            self.clock.step_wall(seconds)

        for task in self.tasks.values():
            due = self.row(task).next_run
            if not task.grid and (due is None or due <= self.clock.now()):
                task.exact = False  # an instant that has come and is not used up yet
            task.highest = max(task.highest, self.clock.now())
        self.disturbed_at = self.now
        self.was_set_back = self.was_set_back or seconds < 0
        self.do(step())
        if seconds < -CRON_DRIFT_S:
            for task in self.tasks.values():
                task.highest = self.clock.now()

    # -- what always holds -----------------------------------------------------------------------

    def row(self, task: Task) -> JobSnapshot:
        (row,) = (row for row in self.scheduler.snapshot() if row.name == task.name)
        return row

    @invariant()
    def nothing_went_wrong(self) -> None:
        assert self.wrong == []
        assert self.complaints == []
        assert self.scheduler.running == self.started

    @invariant()
    def the_snapshot_agrees(self) -> None:
        rows = self.scheduler.snapshot()
        assert [row.name for row in rows] == list(self.tasks)
        for row in rows:
            task = self.tasks[row.name]
            assert row.running == task.running
            assert (row.running_since is None) == (task.running == 0)
            assert row.failures == task.failures
            assert (row.paused is not None) == task.held_back(self.now)
            assert type(row.last_outcome) is task.last
            assert row.when == str(task.trigger)

    @invariant()
    def nobody_is_forgotten(self) -> None:
        if not self.started or not self.tasks:
            return
        wall = self.clock.now()
        for row in self.scheduler.snapshot():
            task = self.tasks[row.name]
            if row.waiting == "the end of the previous run":
                assert row.running
            if row.waiting == "a free slot":
                assert any(each.running for each in self.tasks.values())
                continue
            if task.paused or row.running:
                continue
            if row.next_run is None and task.held_back(self.now):
                continue  # its next tick comes while the breaker is open, and is going to be skipped
            assert row.next_run is not None, f"{row.name} has no next instant"
            ahead = (row.next_run - wall).total_seconds()
            late = min(-ahead, self.now - self.disturbed_at)
            assert late < SPREAD_S, f"{row.name} was due {-ahead} s ago"
            if task.from_end:
                self.plain_interval_is_in_time(task, ahead)
            elif task.trigger == CRON and task.exact and row.waiting is None and ahead > 0:
                assert abs(row.next_run.timestamp() / CRON_SECONDS % 1 - 0.5) > 0.5 - NEAR
                latest = max(wall, task.highest)
                after = (row.next_run - latest).total_seconds()
                assert -NEAR < after <= CRON_SECONDS + NEAR, f"{row.name} is due after {after} s"

    def plain_interval_is_in_time(self, task: Task, ahead: float) -> None:
        if ahead <= 0:  # it is put off a little, among others that are overdue
            return
        assert task.due is not None
        expected = task.due - self.now
        if task.may_be_sooner:
            assert ahead <= max(expected, 0.0) + NEAR
        else:
            assert abs(ahead - expected) <= NEAR, f"{task.name} is due in {ahead} s, not in {expected}"

    @invariant()
    def every_tick_is_accounted_for(self) -> None:
        if not self.started or not self.tasks:
            return
        for row in self.scheduler.snapshot():
            task = self.tasks[row.name]
            if not task.grid or not task.exact or row.waiting is not None or task.paused:
                continue
            if row.next_run is None or row.next_run <= self.clock.now():
                continue
            if any(not asked.done() for asked in task.asked):
                continue
            by_hand = len(task.asked)
            assert task.counted - by_hand == task.ticks(self.now), task.name

    @invariant()
    def it_is_well(self) -> None:
        calm = self.now - self.disturbed_at > SPREAD_S
        if self.started and calm and self.limit is None and not self.group:
            assert self.scheduler.health(SPREAD_S).problems == ()

    def teardown(self) -> None:
        if not hasattr(self, "scheduler"):
            self.loop.close()
            return
        try:
            self.stop(0)
            self.left_by_a_stop()
            for task in self.tasks.values():
                task.plan.clear()
                self.resume(sorted(self.tasks).index(task.name))
            before = {task.name: task.begun for task in self.tasks.values()}
            self.start()
            self.let_time_pass(2 * CRON_SECONDS)
            for task in self.tasks.values():
                if task.trigger != CRON or not self.was_set_back:
                    assert task.begun > before[task.name], f"not run after all: {self.row(task)}"
            self.nothing_went_wrong()
            self.the_snapshot_agrees()
            self.stop(0)
            self.left_by_a_stop()
        finally:
            self.loop.run_until_complete(self.scheduler.stop())
            self.loop.close()

    def left_by_a_stop(self) -> None:
        assert asyncio.all_tasks(self.loop) == set()
        assert not any(task.running for task in self.tasks.values())
        assert all(asked.done() for task in self.tasks.values() for asked in task.asked)
        assert not self.scheduler.running


@pytest.fixture(autouse=True)
def no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "bgtasks")


def agree(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        SchedulerMachine,
        settings=settings(max_examples=examples, stateful_step_count=steps, report_multiple_bugs=False),
    )


def test_whatever_is_asked_of_it_the_scheduler_agrees_with_a_simple_model() -> None:
    agree(150, 40)


@pytest.mark.full
@pytest.mark.timeout(600)
def test_it_agrees_for_longer() -> None:
    agree(2000, 60)


# -- what the model found ------------------------------------------------------------------------


def test_a_run_that_began_at_the_first_instant_of_the_clock_says_since_when_it_runs() -> None:
    clock = VirtualClock(START)
    scheduler = BackgroundScheduler(clock=clock)

    async def long() -> None:
        await asyncio.sleep(10)

    async def main(clock: VirtualClock) -> JobSnapshot:
        scheduler.register("long", long, 60)
        async with scheduler:
            await clock.advance(1)
            return scheduler.snapshot()[0]

    row = run_virtual(main, clock)

    assert (row.running, row.running_since) == (1, START)


def test_a_run_that_is_deferred_takes_back_no_failure_of_one_beside_it() -> None:
    scripts = iter(["defer late", "fail", "fail"])
    clock = VirtualClock(START)
    scheduler = BackgroundScheduler(clock=clock)

    async def body() -> Deferred | None:
        match next(scripts, "nothing"):
            case "defer late":
                await asyncio.sleep(25)
                return Deferred("busy")
            case "fail":
                raise ValueError("no")
        return None

    async def main(clock: VirtualClock) -> tuple[JobSnapshot, JobSnapshot]:
        scheduler.register(
            "beside", body, Every(10, fixed_rate=True), overlap="allow", breaker=Breaker(after=2)
        )
        async with scheduler:
            await clock.advance(21)
            before = scheduler.snapshot()[0]
            await clock.advance(5)
            return before, scheduler.snapshot()[0]

    before, after = run_virtual(main, clock)

    assert (before.failures, before.paused) == (2, "its breaker is open")
    assert (after.failures, after.paused) == (2, "its breaker is open")
