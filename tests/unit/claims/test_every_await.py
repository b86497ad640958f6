"""Every place where claims wait: cancelled there, and met there by an end of the node, or of its line.

Two nodes on one store, whose calls take time, go through all that there is to wait for. Whatever is done to
one of them, at whatever moment: each tick is started once, or once more where a run of it was lost; none is
left over; and afterwards all goes on as before.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import os
import re
import warnings
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from contextvars import ContextVar, copy_context
from datetime import timedelta
from functools import cache
from random import Random
from typing import Any
from unittest import mock
from uuid import UUID

import pytest
from tests.support.awaits import HOUSE, Moment, Place, Places, WatchedLoop, one_a_turn, walk
from tests.support.task_cluster import Cluster, Node, Start

from bgtasks import BgTasksError, Cron, Deferred, Every, Once, background_job
from bgtasks.claims import Claim, Jobs, ScheduledJob, current_claim
from bgtasks.claims.declared import job_id
from bgtasks.records import Command, JobRow, RunQuery, RunRow, RunStatus
from bgtasks.run import current_run
from bgtasks.testing import VirtualClock

MODULES = (
    *sorted(f"claims/{path.name}" for path in (HOUSE / "claims").glob("*.py")),
    "line.py",
)

EXCUSED = {"Upkeep._say_unresolved": "it says what it knows, and waits for nothing"}
"""Functions whose places the tour need not reach, and why."""

PLACES = Places(MODULES, EXCUSED)

ONE_WAY = 0.05
"""Seconds that a call takes to the store, and its answer back."""

AWAY = 20.0
"""Seconds for which the store is away in each tour: longer than a session lives."""

LEFT = 45.0
"""Seconds after which nothing that was begun, or wanted, can still be so."""

TAIL = 30.0
"""Seconds in which each task is to be run, when all is well again; with those, a minute of the calendar."""

PATIENCE = 30.0
"""Seconds that a host waits at most for anything: less than until the next end of a session."""

DEAF = 21.0
"""Seconds within which a node that runs, and reaches the store, is to have beaten."""

whose: ContextVar[str] = ContextVar("whose", default="")
"""The node that an asyncio task is of."""


async def _greet(subject: str, arguments: Any) -> str:
    await asyncio.sleep(1)
    return "hello"


class Taking(dict[str, float]):
    """The same time for each call; a line that is mended takes it too."""

    def __contains__(self, call: object) -> bool:
        return True

    def __missing__(self, call: str) -> float:
        return ONE_WAY


class Town(Cluster):
    """Nodes whose calls to the store take time, and can be told whose asyncio task is whose."""

    def process(self, name: str) -> Node:
        node = super().process(name)
        node.reach.delay, node.reach.slow = Taking(), Taking()
        node.scheduler.on_command("greet", _greet)
        return node

    def job(self, job_type: str, function: Callable[..., Coroutine[Any, Any, Any]], **options: Any) -> None:
        """Declare, on all nodes, what runs jobs that are added at run time."""
        for node, registry in self._registries.items():
            background_job(job_type, registry=registry, **options)(function)
            self.process(node)

    async def start(self, on: str = "") -> None:
        for name in on or list(self.nodes):
            token = whose.set(name)
            try:
                await self.nodes[name].start()
            finally:
                whose.reset(token)


class Tour:
    """A life of two nodes; the one that is disturbed is `a`.

    Attributes:
        beside: Tasks of which two runs with claims that held were in progress at once.
        cancelled: The asyncio tasks that a disturbance cancelled.
        lost_session: A disturbance may have ended the session.
    """

    def __init__(self, watcher: Callable[[int], object] = lambda turn: None, *, debug: bool = False) -> None:
        self.clock = VirtualClock()
        self.loop = WatchedLoop(self.clock, watcher)
        self.loop.set_debug(debug)
        self.town = Town(self.clock, "ab")
        self.beside: list[str] = []
        self.cancelled: list[asyncio.Task[Any]] = []
        self.hosts: list[asyncio.Task[Any]] = []
        self.wrong: list[str] = []
        self.lost_session = False
        self._told: list[str] = []
        self._grids: dict[str, float] = {}
        self._going: dict[str, list[Claim]] = {}
        self._errand: UUID | None = None

    @property
    def a(self) -> Node:
        """The node that is disturbed, as it is now."""
        return self.town.nodes["a"]

    def make(self) -> list[str]:
        """Make the tour, see to the end of it, and what is wrong afterwards, in words."""
        with (
            warnings.catch_warnings(record=True) as warned,
            mock.patch.object(os, "urandom", Random(7).randbytes),
        ):
            warnings.simplefilter("always")
            try:
                self._declare()
                self.loop.run_until_complete(self._tour())
                self.loop.watcher = lambda turn: None
                self.loop.run_until_complete(self._aftermath())
            except asyncio.CancelledError as error:
                self.wrong.append(f"cannot be stopped, or not be started again: {error!r}")
            finally:
                self.loop.watcher = lambda turn: None
                self.loop.run_until_complete(self._leave_nothing())
                self.loop.close()
            del self.town, self.hosts[:], self.cancelled[:]  # what they held complains now
            gc.collect()
        return self.wrong + self.loop.complaints + [str(each.message) for each in warned]

    # -- what there is to wait for ---------------------------------------------------------------

    def _declare(self) -> None:
        def task(name: str, trigger: Any, does: Callable[[], Awaitable[Any]] | float, **more: Any) -> None:
            async def watched() -> Any:
                return await self._watched(name, does)

            self.town.task(name, trigger, watched, **more)

        async def lingers() -> None:
            try:
                await asyncio.sleep(30)
            finally:
                await asyncio.sleep(0.5)

        async def fails() -> None:
            await asyncio.sleep(1)
            raise ValueError("no")

        times = itertools.count()

        async def defers() -> Deferred | None:
            return Deferred("away", "a server") if next(times) % 2 == 0 else None

        def grid(name: str, seconds: float, does: Callable[[], Awaitable[Any]] | float, **more: Any) -> None:
            self._grids[name] = seconds
            task(name, Every(seconds, fixed_rate=True), does, **more)

        task("plain", 6, 1.0)
        grid("grid", 7, 1.0, catch_up="all")
        grid("here", 9, 0.0, on="a")
        task("calendar", Cron("* * * * *"), 5.0)
        grid("queues", 11, 13.0, overlap="queue")
        grid("overtakes", 11, lingers, overlap="cancel")
        grid("beside", 11, 13.0, overlap="allow")
        grid("skips", 11, 13.0)
        grid("fails", 13, fails)
        grid("defers", 17, defers, on="a")
        grid("paused", 7, 1.0)
        task("asked", 3600, 3.0, initial_delay=3600)
        task("forgotten", 3600, 1.0, initial_delay=3600)
        task("told", 3600, 2.0, initial_delay=3600)
        task("elsewhere", 3600, 18.0, initial_delay=3600)

        async def errand(job: ScheduledJob) -> None:
            await self._watched(self._begins(f"errand[{job.key}]"), 2.0)

        async def chore() -> None:
            await self._watched(self._begins(), 1.0)

        self.town.job("errand", errand)
        self.town.job("chore", chore)

    def _begins(self, known_as: str = "") -> str:
        """A run of a job begins that was added at run time: what it is called."""
        run, claim = current_run.get(), current_claim()
        assert run is not None
        assert claim is not None
        if known_as not in ("", run.task):
            self.wrong.append(f"{run.task} is told that it is {known_as}")
        start = Start(run.task, run.due, whose.get(), claim.token, claim.attempt, self.town.now)
        self.town.ledger.append(start)
        return run.task

    async def _watched(self, name: str, does: Callable[[], Awaitable[Any]] | float) -> Any:
        claim = current_claim()
        assert claim is not None
        others = self._going.setdefault(name, [])
        if name != "beside" and any(each.remaining() for each in others):
            self.beside.append(name)
        others.append(claim)
        try:
            return await (asyncio.sleep(does) if isinstance(does, float) else does())
        finally:
            others.remove(claim)

    def spawn(self, what: Callable[[], Coroutine[Any, Any, Any]], name: str, of: str = "a") -> None:
        """Have a host of a node do something."""

        async def tolerant() -> None:
            begun = self.clock.monotonic()
            with suppress(BgTasksError):  # a disturbance may have stopped it
                await what()
            if (took := self.clock.monotonic() - begun) > PATIENCE:
                self.wrong.append(f"{name} took {took:g} s")

        context = copy_context()
        context.run(whose.set, of)
        self.hosts.append(self.loop.create_task(tolerant(), name=f"host:{name}", context=context))

    async def _tour(self) -> None:
        town, clock = self.town, self.clock
        await self._seed()
        self.spawn(lambda: self.a.scheduler.jobs.list(), "looks ahead")
        await clock.advance(0.3)
        self.a.scheduler.pause("asked", "not yet")
        await town.start("a")
        self.spawn(lambda: self.a.scheduler.run_now("forgotten"), "asks early")
        await clock.advance(1.2)
        self.a.scheduler.resume("asked")
        await town.start("b")
        await clock.advance(1.5)
        self.spawn(self._adds, "adds")
        self.spawn(lambda: town.b.scheduler.run_now("elsewhere"), "has it elsewhere", of="b")
        self.spawn(lambda: self.a.scheduler.run_now("asked"), "asks")
        await clock.advance(1.03)
        self.spawn(lambda: self.a.scheduler.run_now("elsewhere"), "asks for what runs")
        self.a.scheduler.pause("paused", "for a while")
        self.spawn(self._changes, "changes")
        for kind, subject in (("greet", ""), ("run_now", "told"), ("pause", "plain"), ("dance", "")):
            await self._tell(kind, subject)
        await clock.advance(6)
        self.a.scheduler.resume("paused")
        self.a.scheduler.reschedule("plain", 5)
        await self._tell("resume", "plain")
        await clock.advance(3)
        await town.kill("b")
        await clock.advance(2)
        await town.start("b")
        await clock.advance(16)
        await self._look("it took over")
        self.a.reach.hangs = town.b.reach.down = True
        await clock.advance(AWAY)
        self.a.reach.mend()
        town.b.reach.mend()
        await clock.advance(12)
        self.spawn(lambda: self.a.scheduler.stop(drain=2), "stops")
        await clock.advance(5)
        await town.start("a")
        await clock.advance(4)
        self.spawn(lambda: self.a.scheduler.run_now("asked"), "asks too late")
        await clock.advance(0.02)
        self.spawn(lambda: self.a.scheduler.stop(), "stops in a hurry")
        await clock.advance(0.02)
        await town.start("a")
        await clock.advance(3)
        self.spawn(lambda: self.a.scheduler.run_now("asked"), "asks again")
        self.spawn(lambda: self.a.scheduler.jobs.list(), "looks back")
        await self._tell("greet", id="greet again")
        await clock.advance(6)

    async def _seed(self) -> None:
        """What was there before: of a task that no code has any more, and of code that is newer."""
        now = self.clock.now()
        old = JobRow(id=job_id("old"), job_type="old", key="old", trigger="0 0 1 1 *", declared=True)
        strange = JobRow(id=UUID(int=1), job_type="errand", key="strange", trigger="when I like")
        await self.town.store.add(old)
        await self.town.store.add(JobRow(**{**_fields(strange), "next_run_at": now + timedelta(seconds=4)}))

    async def _adds(self) -> None:
        jobs, now = self.a.scheduler.jobs, self.clock.now()
        self._errand = (await jobs.add("errand", Every(6, fixed_rate=True), key="again", config={"of": 1})).id
        await jobs.add("errand", Once(now + timedelta(seconds=4)), key="once")
        await jobs.add("chore", 8, key="chore")
        rare = await jobs.add("chore", 3600, key="rare", initial_delay=3600)
        await asyncio.sleep(2)
        await jobs.run_now(rare.id)

    async def _changes(self) -> None:
        jobs = self.a.scheduler.jobs
        await Jobs(self.a.reach).list("errand")
        if self._errand is None:
            return
        await jobs.pause(self._errand, "a while")
        await jobs.resume(self._errand)
        await jobs.update(self._errand, config={"of": 2})
        run = await jobs.run_now(self._errand)
        await jobs.run(run)
        await jobs.runs(self._errand)
        await asyncio.sleep(3)
        await jobs.remove(job_id("forgotten"))

    # -- what holds afterwards -------------------------------------------------------------------

    async def _look(self, when: str) -> None:
        """A node that runs and is not seen in the store is to say so."""
        alive = [session.node_id for session in await self.town.store.sessions()]
        says = not self.a.scheduler.health() or "store" in self.a.scheduler.unavailable
        if self.a.scheduler.running and "a" not in alive and not says:
            self.wrong.append(f"deaf when {when}, and says that it is well")

    async def _aftermath(self) -> None:
        town, clock = self.town, self.clock
        for node in town.nodes.values():
            node.reach.mend()
        begun = len(town.ledger)
        await clock.advance(DEAF)
        await self._look("it was left alone")
        await town.start()
        for name in ("paused", "plain"):
            self.a.scheduler.resume(name)
        for row in await town.store.jobs(limit=1000):
            if row.key in ("again", "chore"):
                await Jobs(town.store, now=clock.now).resume(row.id)
        await clock.advance(LEFT - DEAF)
        before = len(town.ledger)
        await clock.advance(TAIL)
        ran = {start.task for start in town.ledger[before:]}
        ran |= {"calendar"} & {start.task for start in town.ledger[begun:]}
        known = {start.task for start in town.ledger} | {*self._grids, "plain", "calendar"}
        rare = {"asked", "forgotten", "told", "elsewhere", "errand[once]", "errand[strange]", "chore[rare]"}
        if idle := sorted(known - ran - rare):
            self.wrong.append(f"not run afterwards: {', '.join(idle)}")
        for name, node in town.nodes.items():
            if not node.scheduler.health():
                self.wrong.append(f"{name} is not well: {node.scheduler.health().problems}")
        alive = sorted(session.node_id for session in await town.store.sessions())
        if alive != ["a", "b"]:
            self.wrong.append(f"alive afterwards: {alive}")
        rows = await self._rows()
        self._judge_rows(rows)
        self._judge_starts()
        self._judge_grids(rows)
        await self._judge_commands()
        self.wrong += [f"{host.get_name()} waits for ever" for host in self.hosts if not host.done()]
        for task in self.cancelled:
            if not task.done():
                self.wrong.append(f"{task.get_name()} was cancelled, and goes on")
            elif not task.cancelled():
                self.wrong.append(f"{task.get_name()} swallowed its cancellation")
        await town.stop()
        await clock.settle()
        left = sorted(each.get_name() for each in asyncio.all_tasks() if each is not asyncio.current_task())
        if left:
            self.wrong.append(f"left after a stop: {', '.join(left)}")
        for node in town.nodes.values():
            if node.scheduler.unfinished:
                self.wrong.append(f"unfinished: {', '.join(node.scheduler.unfinished)}")
        if running := [run.id for run in await self._rows(RunStatus.RUNNING)]:
            self.wrong.append(f"in progress after the last stop: {', '.join(running)}")
        self.wrong += [
            f"{host.get_name()} raised {host.exception()!r}"
            for host in self.hosts
            if host.done() and not host.cancelled() and host.exception() is not None
        ]

    async def _rows(self, *statuses: RunStatus) -> list[RunRow]:
        return list(await self.town.store.runs(RunQuery(statuses=statuses, limit=100_000)))

    def _judge_rows(self, rows: list[RunRow]) -> None:
        kept = {row.id: row for row in rows}
        for row in rows:
            age = (self.clock.now() - (row.started_at or row.created_at)).total_seconds()
            if not row.status.is_over and age > LEFT:
                self.wrong.append(f"{row.job_type} is {row.status} for {age:g} s")
            base, again, attempt = row.id.partition("~")
            if again:
                before = kept.get(base if attempt == "2" else f"{base}~{row.attempt - 1}")
                if before is None or before.status is not RunStatus.LOST:
                    self.wrong.append(f"{row.job_type}: attempt {attempt} of what was not lost")

    def _judge_starts(self) -> None:
        ledger = self.town.ledger
        for task in dict.fromkeys(self.beside):
            self.wrong.append(f"two runs of {task} at once")
        starts = Counter((start.task, start.due, start.attempt) for start in ledger)
        self.wrong += [
            f"{task} was started {count} times for {due}, attempt {attempt}"
            for (task, due, attempt), count in starts.items()
            if count > 1
        ]
        for task in dict.fromkeys(start.task for start in ledger):
            tokens = [start.token for start in ledger if start.task == task]
            if tokens != sorted(set(tokens)):
                self.wrong.append(f"tokens of {task} do not grow")

    def _judge_grids(self, rows: list[RunRow]) -> None:
        """Each instant of a fixed rate was started, or is written down as skipped or missed."""
        for task, seconds in self._grids.items():
            if task == "paused" and self.lost_session:  # it may have ended between two calls
                continue
            step, begun = timedelta(seconds=seconds), [start.due for start in self.town.starts(task)]
            told = {row.due for row in rows if row.job_type == task and not row.status.is_over}.union(begun)
            for row in rows:
                if row.job_type == task and row.status is RunStatus.SKIPPED:
                    ticks = re.match(r"(\d+) ticks", row.error_message or "")
                    told |= {row.due + step * tick for tick in range(int(ticks[1]) if ticks else 1)}
            all_of_them = {min(begun) + step * each for each in range((max(begun) - min(begun)) // step)}
            if silent := sorted((due - self.town.begun).total_seconds() for due in all_of_them - told):
                self.wrong.append(f"what {task} was due for at {silent} s was neither started nor skipped")

    async def _tell(self, kind: str, subject: str = "", id: str = "") -> None:
        """Send a command to the node that is disturbed, and remember whether it was there to hear it."""
        desk = self.a.scheduler._desk
        assert desk is not None
        command = Command(id=id or kind, kind=kind, node_id="a", subject=subject)
        if desk.session.id in [each.id for each in await self.town.store.sessions()]:
            self._told.append(command.id)
        await self.town.store.command(command, 600.0)

    async def _judge_commands(self) -> None:
        """A session that lives on answers what it was told."""
        if not self.lost_session:
            answered = {each.id for each in await self.town.store.commands() if each.answers}
            self.wrong += [f"no answer to: {each}" for each in self._told if each not in answered]

    async def _leave_nothing(self) -> None:
        """However wrong things went: the next tour begins with none of it."""
        while left := [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]:
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=20)
        await self.loop.shutdown_asyncgens()


def _fields(row: JobRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in JobRow.__dataclass_fields__}


# -- moments -------------------------------------------------------------------------------------


ASKS = "bgtasks:store:ask:"

type Disturbance = Callable[[Tour, Moment], set[Place]]
"""Does its worst at a moment of a tour, and returns the places that it met."""


def waiting(tour: Tour) -> list[tuple[str, asyncio.Task[Any], tuple[Place, ...]]]:
    """The asyncio tasks of the disturbed node that wait in places of claims, or for the store."""
    found = []
    for task in asyncio.all_tasks(tour.loop):
        if task.get_context().get(whose) == "a":
            name, places = _called(task), PLACES.waits_at(task)
            if places or name.startswith((ASKS, "bgtasks:stop")):
                found.append((name, task, places))
    return sorted(found, key=lambda each: (each[0], each[2]))


def _called(task: asyncio.Task[Any]) -> str:
    """What an asyncio task does: a call to the store by the name of that, a run without its id."""
    name = task.get_name()
    if name == "bgtasks:store:ask":
        frame = getattr(task.get_coro(), "cr_frame", None)
        return f"{ASKS}{'' if frame is None else frame.f_locals.get('name', '')}"
    if name.startswith("Task-"):  # of a gather
        return "several"
    return name if name.startswith(("bgtasks:store:", "bgtasks:claims:")) else ":".join(name.split(":")[:2])


def _met(tour: Tour) -> set[Place]:
    return {place for _, _, places in waiting(tour) for place in places}


def cancel(tour: Tour, moment: Moment) -> set[Place]:
    found = [(task, places) for name, task, places in waiting(tour) if name == moment.task]
    task, places = next((each for each in found if each[1] == moment.places), found[0])
    task.cancel()
    tour.cancelled.append(task)
    tour.lost_session |= moment.task in ("bgtasks:store:beat", "bgtasks:stop")
    return set(places)


def stop(tour: Tour, moment: Moment) -> set[Place]:
    met = _met(tour)
    tour.lost_session = True
    tour.spawn(lambda: tour.a.scheduler.stop(), "disturbs")
    return met


def cut(tour: Tour, moment: Moment) -> set[Place]:
    met, reach = _met(tour), tour.a.reach
    reach.cut()
    tour.loop.call_later(5, reach.mend)
    return met


def lose_the_answer(tour: Tour, moment: Moment) -> set[Place]:
    """To each call that is on its way: it is applied, and nobody hears."""
    for name, _, _ in waiting(tour):
        if name.startswith(ASKS):
            tour.a.reach.deaf[name.rpartition(":")[2]] = 1
    return _met(tour)


def kill(tour: Tour, moment: Moment) -> set[Place]:
    met, tour.lost_session = _met(tour), True

    async def anew() -> None:
        await tour.town.kill("a")
        await asyncio.sleep(3)
        await tour.town.start("a")

    tour.spawn(anew, "disturbs", of="")
    return met


def two(tour: Tour, moment: Moment) -> set[Place]:
    """One of these, and soon another."""
    random, tour.lost_session = Random(str(moment)), True
    later = random.choice(ONE)

    def again() -> None:
        if found := waiting(tour):
            name, _, places = random.choice(found)
            later(tour, Moment(tour.loop.turn, name, places))

    tour.loop.call_later(random.uniform(0, 8), again)
    return random.choice([stop, cut, lose_the_answer, kill])(tour, moment)


ONE: list[Disturbance] = [cancel, stop, cut, lose_the_answer, kill]


@cache
def moments() -> list[Moment]:
    """All moments of a tour that nobody disturbs."""
    return seen()


def seen() -> list[Moment]:
    """The moments of one more tour that nobody disturbs."""
    found: list[Moment] = []

    def look(turn: int) -> None:
        found.extend(Moment(turn, name, places) for name, _, places in waiting(tour))

    tour = Tour(look)
    assert tour.make() == []
    return found


def each_stay(*which: int) -> list[Moment]:
    """Of the moments at which an asyncio task waits in the same places, the first (0) or the last (-1)."""
    stays: dict[tuple[str, tuple[Place, ...]], list[Moment]] = {}
    for moment in moments():
        stays.setdefault((moment.task, moment.places), []).append(moment)
    return sorted({stay[each] for stay in stays.values() for each in which})


def each_place() -> list[Moment]:
    """Few moments at which all places are met, if they are disturbed in these ways by turns."""
    at: dict[int, set[Place]] = {}
    for moment in moments():
        at.setdefault(moment.turn, set()).update(moment.places)
    several = {(frozenset(at[moment.turn]), moment.places): moment for moment in moments()}.values()
    left, chosen = set[Place]().union(*at.values()), list[Moment]()
    while left:
        alone = ONE[len(chosen) % len(ONE)] is cancel
        gains = [(len(left.intersection(each.places if alone else at[each.turn])), each) for each in several]
        _, best = max(gains, key=lambda each: each[0])
        chosen.append(best)
        left.difference_update(best.places if alone else at[best.turn])
    return chosen


def disturbed(disturb: Disturbance, moment: Moment) -> tuple[list[str], set[Place]]:
    """What is wrong after a tour that was disturbed at a moment, and the places that this met."""
    met: set[Place] = set()
    tour: Tour = Tour(lambda turn: met.update(disturb(tour, moment)) if turn == moment.turn else None)
    return [f"{disturb.__name__}: {each}" for each in tour.make()], met


@pytest.fixture(autouse=True)
def no_log(caplog: pytest.LogCaptureFixture) -> None:
    """A thousand tours have nothing to say."""
    caplog.set_level(logging.CRITICAL, "bgtasks")


def test_the_places_are_found() -> None:
    functions = {place.function for place in PLACES}
    assert {"Desk._say", "Session._keep", "Offers.accept", "Line.ask"} <= functions


def test_two_tours_are_the_same() -> None:
    assert moments() == seen()


@pytest.mark.full
def test_a_node_survives_a_disturbance_at_every_await() -> None:
    ways = itertools.cycle(ONE)
    walk(lambda moment: disturbed(next(ways), moment), each_place(), PLACES)


INNER = ("bgtasks:store:beat", "bgtasks:stop", "bgtasks:claims:offer", "bgtasks:claims:command:greet")


@pytest.mark.full
def test_what_the_host_cancels_of_ours_goes_on_or_is_answered_for() -> None:
    """As late as can be: no stop that follows makes up for it."""
    last = {(each.task, each.places[:2]): each for each in each_stay(-1) if each.task in INNER}
    wrong = [f"{moment}: {each}" for moment in last.values() for each in disturbed(cancel, moment)[0]]
    assert not wrong, "\n".join(wrong[:20])


@pytest.mark.full
@pytest.mark.timeout(300)
@pytest.mark.parametrize("which", [0, -1])
def test_a_node_survives_that_the_host_cancels_whoever_waits(which: int) -> None:
    walk(lambda moment: disturbed(cancel, moment), each_stay(which), PLACES)


@pytest.mark.full
@pytest.mark.timeout(300)
@pytest.mark.parametrize("disturb", [stop, cut, lose_the_answer, kill, two])
def test_a_node_survives_a_disturbance_whoever_waits(disturb: Disturbance) -> None:
    walk(lambda moment: disturbed(disturb, moment), one_a_turn(each_stay(0)), PLACES)
