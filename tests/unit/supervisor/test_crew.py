"""A leader's workers, on virtual time: kept alive while it leads, ended when it does not."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.support.leadership import TIMES, Cluster, Node, refuses

from bgtasks.contracts import Held
from bgtasks.errors import ResourceUnavailable
from bgtasks.events import (
    RunFinished,
    RunStuck,
    TermGained,
    TermLost,
    WorkerCrashed,
    WorkerGivenUp,
    WorkerReady,
)
from bgtasks.lease import LeaseTimes
from bgtasks.outcomes import Deferred, Skipped
from bgtasks.supervisor import WorkerContext, WorkerSnapshot
from bgtasks.testing import VirtualClock, virtual_time

INSTANT = 0.001
NEVER = (1_000_000, 1.0)
"""An intensity that is never too much."""


async def idle() -> None:
    """A worker that waits."""
    await asyncio.Event().wait()


async def crashes() -> None:
    """A worker that cannot work."""
    raise ValueError("not today")


class Worker:
    """A worker that does in turn, at each start, what it was given; the last of it again and again.

    Attributes:
        began: When it was started.
        ended: When it ended.
    """

    def __init__(self, node: Node, *does: Callable[[], Awaitable[Any]], name: str = "it", **options: Any):
        self.node = node
        self.name = name
        self.began: list[float] = []
        self.ended: list[float] = []
        self._does = does
        node.supervisor.register_task(name, self._work, **options)

    async def _work(self) -> Any:
        clock = self.node.cluster.clock
        does = self._does[min(len(self.began), len(self._does) - 1)]
        self.began.append(clock.monotonic())
        try:
            return await does()
        finally:
            self.ended.append(clock.monotonic())

    @property
    def pauses(self) -> list[float]:
        """How long it was not running, each time."""
        return [began - ended for ended, began in zip(self.ended, self.began[1:], strict=False)]

    @property
    def shown(self) -> WorkerSnapshot:
        """What the supervisor shows of it."""
        (found,) = [each for each in self.node.supervisor.snapshot().workers if each.name == self.name]
        return found


def after(seconds: float, error: BaseException | None = None) -> Callable[[], Awaitable[None]]:
    """Work for so long; then end, or crash."""

    async def does() -> None:
        await asyncio.sleep(seconds)
        if error is not None:
            raise error

    return does


async def alone(cluster: Cluster, **options: Any) -> Node:
    """A node that leads, without a worker yet."""
    node = cluster.node(worker=False, **options)
    node.work("present")
    await node.supervisor.start()
    await cluster.clock.settle()
    assert node.leads()
    return node


# -- started again -------------------------------------------------------------------------------


@virtual_time
async def test_the_pauses_of_a_worker_that_crashes_grow_to_a_bound_and_have_a_floor(
    virtual_clock: VirtualClock,
) -> None:
    async with Cluster(virtual_clock) as cluster:
        node = await alone(cluster)
        it = Worker(node, crashes, backoff=2, max_backoff=30, intensity=NEVER)
        await virtual_clock.advance("10m")
        bounds = [min(30.0, 2.0 * 2**number) for number in range(len(it.pauses))]
        assert len(bounds) > 20
        for pause, bound in zip(it.pauses, bounds, strict=True):
            assert bound / 2 - INSTANT <= pause <= bound + INSTANT
        assert len({round(pause, 3) for pause in it.pauses[5:]}) > 10  # drawn, not the same each time


@virtual_time
async def test_health_undoes_crashes_one_by_one(virtual_clock: VirtualClock) -> None:
    async with Cluster(virtual_clock) as cluster:
        node = await alone(cluster)
        error = ValueError("not today")
        it = Worker(node, *[crashes] * 6, after(181, error), crashes, intensity=NEVER)
        await virtual_clock.advance("10m")
        # Six crashes, three minutes of health, and one more: the next pause is that of the fourth crash.
        assert 4 - INSTANT <= it.pauses[6] <= 8 + INSTANT
        assert 8 - INSTANT <= it.pauses[7] <= 16 + INSTANT


@virtual_time
async def test_pauses_survive_terms(virtual_clock: VirtualClock) -> None:
    async with Cluster(virtual_clock) as cluster:
        node = await alone(cluster)
        it = Worker(node, crashes, backoff=100, max_backoff=200, intensity=NEVER)
        await virtual_clock.advance(10)
        planned = it.shown.starts_in
        assert planned is not None
        assert planned >= 40
        due = virtual_clock.monotonic() + planned
        node.supervisor.resign()
        await virtual_clock.advance(TIMES.lease + 2)
        assert len(node.of(TermGained)) == 2
        assert len(it.began) == 1
        await virtual_clock.advance(due - virtual_clock.monotonic() + INSTANT)
        assert len(it.began) == 2
        assert it.pauses[0] == pytest.approx(planned + 10, abs=0.01)
        second = it.shown.starts_in
        assert second is not None
        assert second >= 100 - 2 * INSTANT


@virtual_time
async def test_a_worker_that_ran_when_its_term_ended_starts_at_once_in_the_next(
    virtual_clock: VirtualClock,
) -> None:
    async with Cluster(virtual_clock) as cluster:
        node = await alone(cluster)
        it = Worker(node, crashes, idle, backoff=1, intensity=NEVER)
        await virtual_clock.advance(5)
        assert len(it.began) == 2
        node.supervisor.resign()
        await virtual_clock.advance(TIMES.lease + 2)
        assert it.began[-1] == node.when(TermGained)[-1]
        assert it.shown.task_crash == 1


@pytest.mark.parametrize(
    ("restart", "ends", "again"),
    [
        ("always", after(1), True),
        ("always", after(1, ValueError()), True),
        ("on_error", after(1), False),
        ("on_error", after(1, ValueError()), True),
        ("on_error", after(1, asyncio.CancelledError()), True),
        ("on_error", after(1, ResourceUnavailable("redis", "connection refused")), True),
        ("never", after(1), False),
        ("never", after(1, ValueError()), False),
    ],
    ids=[
        "always, ended",
        "always, failed",
        "on_error, ended",
        "on_error, failed",
        "on_error, cancelled itself",
        "on_error, server away",
        "never, ended",
        "never, failed",
    ],
)
@virtual_time
async def test_whether_it_is_started_again_is_as_was_said(
    virtual_clock: VirtualClock, restart: str, ends: Callable[[], Awaitable[None]], again: bool
) -> None:
    async with Cluster(virtual_clock) as cluster:
        node = await alone(cluster)
        it = Worker(node, ends, restart=restart)
        await virtual_clock.advance(10)
        assert (len(it.began) > 1) is again
        assert (it.shown.given_up is None) is again
        assert it.shown.running_for is None or again
        node.supervisor.resign()
        before = len(it.began)
        await virtual_clock.advance("2m")
        assert len(it.began) > before  # another term, another start


@virtual_time
async def test_answers_of_a_worker_are_no_crashes(virtual_clock: VirtualClock) -> None:
    async with Cluster(virtual_clock) as cluster:
        node = await alone(cluster)

        async def skips() -> Any:
            return Skipped("nothing to do")

        async def defers() -> Any:
            return Deferred("not now")

        it = Worker(node, skips, defers, intensity=(2, 60))
        await virtual_clock.advance(60)
        assert len(it.began) > 3
        assert it.shown.task_crash == 0
        assert not node.of(WorkerCrashed)


@virtual_time
async def test_a_server_that_is_away_is_not_passed_over_in_silence(
    virtual_clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "bgtasks")
    async with Cluster(virtual_clock) as cluster:
        node = await alone(cluster)
        it = Worker(node, after(1, ResourceUnavailable("graph", "connection refused")))
        await virtual_clock.advance(60)
        assert len(it.began) > 2
        assert any("connection refused" in record.getMessage() for record in caplog.records)


# -- given up ------------------------------------------------------------------------------------


@virtual_time
async def test_a_worker_that_crashes_too_often_is_given_up_for_the_term(
    virtual_clock: VirtualClock,
) -> None:
    async with Cluster(virtual_clock) as cluster:
        node = await alone(cluster)
        it = Worker(node, crashes, backoff=0.1, max_backoff=1, intensity=(4, 60))
        await virtual_clock.advance(60)
        assert len(it.began) == 4
        (said,) = node.of(WorkerGivenUp)
        assert said == WorkerGivenUp("it", "4 crashes within 60 s")
        assert it.shown.given_up == said.reason
        assert it.shown.starts_in is None
        assert node.of(WorkerCrashed)[-1].delay == 0
        assert node.working() == 1  # the other one
        assert node.leads()

        node.supervisor.resign()
        await virtual_clock.advance(TIMES.lease + 60)
        assert len(it.began) == 8
        assert len(node.of(WorkerGivenUp)) == 2
        assert it.shown.task_crash == 8


@virtual_time
async def test_crashes_of_long_ago_do_not_count(virtual_clock: VirtualClock) -> None:
    async with Cluster(virtual_clock) as cluster:
        node = await alone(cluster)
        it = Worker(node, after(25, ValueError()), backoff=1, max_backoff=1, intensity=(4, 60))
        await virtual_clock.advance("1h")
        assert len(it.began) > 100
        assert not node.of(WorkerGivenUp)


@virtual_time
async def test_by_default_a_worker_is_never_given_up(virtual_clock: VirtualClock) -> None:
    async with Cluster(virtual_clock) as cluster:
        node = await alone(cluster)
        it = Worker(node, crashes)
        await virtual_clock.advance("1h")
        assert it.shown.given_up is None
        assert len(it.began) > 60


@virtual_time
async def test_crashes_are_counted_and_the_last_ones_are_kept(virtual_clock: VirtualClock) -> None:
    async with Cluster(virtual_clock) as cluster:
        node = await alone(cluster)
        errors = [ValueError(f"number {number}") for number in range(15)]
        it = Worker(
            node, *(after(2, error) for error in errors), idle, backoff=1, max_backoff=1, intensity=NEVER
        )
        await virtual_clock.advance(60)
        shown = it.shown
        assert (shown.task_started, shown.task_crash) == (16, 15)
        assert [crash.reason for crash in shown.crashes] == [
            f"ValueError: number {number}" for number in range(5, 15)
        ]
        assert all(crash.after == pytest.approx(2, abs=0.01) for crash in shown.crashes)
        wall = virtual_clock.now().timestamp() - virtual_clock.monotonic()
        assert [crash.at - wall for crash in shown.crashes] == pytest.approx(it.ended[5:15], abs=0.01)
        said = node.of(WorkerCrashed)
        assert [event.crashes for event in said] == list(range(1, 16))
        assert [event.delay for event in said] == pytest.approx(it.pauses, abs=0.01)
        assert shown.running_for == pytest.approx(virtual_clock.monotonic() - it.began[-1])


@virtual_time
async def test_while_it_rests_it_shows_when_it_starts_again(virtual_clock: VirtualClock) -> None:
    async with Cluster(virtual_clock) as cluster:
        node = await alone(cluster)
        it = Worker(node, crashes, backoff=20, intensity=NEVER)
        await virtual_clock.advance(1)
        shown = it.shown
        assert shown.running_for is None
        assert shown.starts_in == pytest.approx(node.of(WorkerCrashed)[0].delay - 1, abs=0.01)


@virtual_time
async def test_on_a_node_that_follows_no_start_is_planned(virtual_clock: VirtualClock) -> None:
    async with Cluster(virtual_clock) as cluster:
        a = await alone(cluster)
        it = Worker(a, crashes, backoff=20, intensity=NEVER)
        await cluster.start("b")
        await virtual_clock.advance(1)
        a.supervisor.resign()
        await virtual_clock.advance(60)
        assert cluster.leaders == ["b"]
        assert it.shown.starts_in is None


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("not today"), "ValueError: not today"),
        (asyncio.CancelledError(), "CancelledError"),
        (
            ExceptionGroup("two of them", [ValueError("a"), KeyError("b")]),
            "ExceptionGroup: two of them (2 sub-exceptions)",
        ),
        (GeneratorExit(), "GeneratorExit"),
    ],
    ids=["an error", "a cancellation", "a group", "the exit of a generator"],
)
@virtual_time
async def test_whatever_a_worker_raises_is_its_crash_and_nobody_else_s(
    virtual_clock: VirtualClock, error: BaseException, reason: str
) -> None:
    async with Cluster(virtual_clock) as cluster:
        node = await alone(cluster)
        it = Worker(node, after(1, error), idle)
        await virtual_clock.advance(10)
        assert [crash.reason for crash in it.shown.crashes] == [reason]
        assert len(it.began) == 2
        assert node.working() == 1
        assert not node.of(TermLost)


@virtual_time
async def test_what_cannot_even_be_called_crashes(virtual_clock: VirtualClock) -> None:
    async with Cluster(virtual_clock) as cluster:
        node = await alone(cluster)

        def raises() -> Any:
            raise ValueError("at construction")

        def plain() -> Any:
            return 7

        def needs(what: int) -> Any:
            return idle()

        for factory in (raises, plain, needs):
            node.supervisor.register_task(factory.__name__, factory)
        await virtual_clock.advance(1)
        shown = {worker.name: worker.crashes[0].reason for worker in node.supervisor.snapshot().workers[1:]}
        assert shown["raises"] == "ValueError: at construction"
        assert "coroutine" in shown["plain"]
        assert "TypeError" in shown["needs"]


# -- heartbeats ----------------------------------------------------------------------------------


@virtual_time
async def test_a_worker_that_gives_its_heartbeats_is_left_alone(virtual_clock: VirtualClock) -> None:
    async with Cluster(virtual_clock) as cluster:
        node = await alone(cluster)
        began: list[float] = []

        async def beats(ctx: WorkerContext) -> None:
            began.append(virtual_clock.monotonic())
            while True:
                await asyncio.sleep(9)
                ctx.heartbeat()

        node.supervisor.register_task("beats", beats, heartbeat=10)
        await virtual_clock.advance("1h")
        assert len(began) == 1


@virtual_time
async def test_a_worker_whose_heartbeats_stay_out_is_started_again(virtual_clock: VirtualClock) -> None:
    async with Cluster(virtual_clock) as cluster:
        node = await alone(cluster)
        began: list[float] = []
        ended: list[float] = []

        async def hangs(ctx: WorkerContext) -> None:
            began.append(virtual_clock.monotonic())
            await asyncio.sleep(5)
            ctx.heartbeat()
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(virtual_clock.monotonic())

        node.supervisor.register_task("hangs", hangs, heartbeat=10, backoff=1)
        await virtual_clock.advance(20)
        assert ended[0] == pytest.approx(15, abs=0.01)
        assert len(began) == 2
        assert [event.reason for event in node.of(WorkerCrashed)] == ["no heartbeat within 10 s"]
        (shown,) = [each for each in node.supervisor.snapshot().workers if each.name == "hangs"]
        assert shown.task_crash == 1


@virtual_time
async def test_a_worker_that_promised_heartbeats_is_ready_from_the_first_one(
    virtual_clock: VirtualClock,
) -> None:
    async with Cluster(virtual_clock) as cluster:
        node = await alone(cluster)
        contexts: list[WorkerContext] = []

        async def warms_up(ctx: WorkerContext) -> None:
            contexts.append(ctx)
            await asyncio.Event().wait()

        def ready() -> dict[str, bool]:
            return {each.name: each.ready for each in node.supervisor.snapshot().workers}

        node.supervisor.register_task("warms_up", warms_up, heartbeat=10, backoff=1)
        assert not ready()["warms_up"]
        await virtual_clock.advance(1)
        assert ready() == {**dict.fromkeys(ready(), True), "warms_up": False}
        assert not node.of(WorkerReady)

        contexts[0].heartbeat()
        contexts[0].heartbeat()
        assert ready()["warms_up"]
        assert len(node.of(WorkerReady)) == 1

        await virtual_clock.advance(13)
        contexts[0].heartbeat()  # of the run that was ended for lack of them
        assert len(contexts) == 2
        assert not ready()["warms_up"]
        contexts[1].heartbeat()
        assert ready()["warms_up"]
        assert len({each.run_id for each in node.of(WorkerReady)}) == 2


@pytest.mark.parametrize("restart", ["always", "on_error"])
@virtual_time
async def test_missed_heartbeats_are_a_crash_even_of_a_worker_that_ends_politely(
    virtual_clock: VirtualClock, restart: str
) -> None:
    async with Cluster(virtual_clock) as cluster:
        node = await alone(cluster)
        began: list[float] = []

        async def hangs(ctx: WorkerContext) -> None:
            began.append(virtual_clock.monotonic())
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return

        node.supervisor.register_task("hangs", hangs, heartbeat=10, restart=restart)
        await virtual_clock.advance(15)
        assert len(began) == 2
        assert len(node.of(WorkerCrashed)) == 1


@virtual_time
async def test_a_worker_that_hangs_and_does_not_end_is_told_so_again_and_shown(
    virtual_clock: VirtualClock,
) -> None:
    async with Cluster(virtual_clock) as cluster:
        node = await alone(cluster)
        asked: list[float] = []

        async def hangs(ctx: WorkerContext) -> None:
            while len(asked) < 3:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    asked.append(virtual_clock.monotonic())
            raise ValueError("all right")

        node.supervisor.register_task("hangs", hangs, heartbeat=10)
        await virtual_clock.advance(20.2)
        assert asked == [pytest.approx(10), pytest.approx(15), pytest.approx(20)]
        (said,) = node.of(RunStuck)
        assert said.task == "hangs"
        assert "hangs" in said.stack
        (shown,) = [each for each in node.supervisor.snapshot().workers if each.name == "hangs"]
        assert shown.task_crash == 1


# -- ended ---------------------------------------------------------------------------------------


@virtual_time
async def test_workers_are_asked_first_and_cancelled_then(virtual_clock: VirtualClock) -> None:
    async with Cluster(virtual_clock) as cluster:
        node = await alone(cluster)
        told: list[tuple[str, float]] = []

        async def polite(ctx: WorkerContext) -> None:
            await ctx.stopping.wait()
            told.append(("asked", virtual_clock.monotonic()))
            await asyncio.sleep(TIMES.grace * 0.9)
            told.append(("ended by itself", virtual_clock.monotonic()))

        async def deaf(ctx: WorkerContext) -> None:
            try:
                await idle()
            finally:
                told.append(("cancelled", virtual_clock.monotonic()))

        node.supervisor.register_task("polite", polite)
        node.supervisor.register_task("deaf", deaf)
        await virtual_clock.advance(10)
        await node.supervisor.shutdown()
        assert [what for what, _ in told] == ["asked", "ended by itself", "cancelled"]
        assert [at for _, at in told] == pytest.approx([10, 10 + TIMES.grace * 0.9, 10 + TIMES.grace])
        assert not node.of(WorkerCrashed)


@virtual_time
async def test_a_worker_that_cannot_be_asked_is_cancelled_at_once(virtual_clock: VirtualClock) -> None:
    async with Cluster(virtual_clock) as cluster:
        node = await alone(cluster)
        it = Worker(node, idle)
        await virtual_clock.advance(10)
        await node.supervisor.shutdown()
        assert it.ended == [pytest.approx(10)]


@virtual_time
async def test_no_grace_is_waited_out_when_all_end_when_asked(virtual_clock: VirtualClock) -> None:
    async with Cluster(virtual_clock) as cluster:
        node = cluster.node(worker=False)

        async def polite(ctx: WorkerContext) -> None:
            await ctx.stopping.wait()

        node.supervisor.register_task("polite", polite)
        await node.supervisor.start()
        await virtual_clock.advance(10)
        await node.supervisor.shutdown()
        assert virtual_clock.monotonic() == pytest.approx(10, abs=INSTANT)


@virtual_time
async def test_workers_start_in_order_and_are_cancelled_in_the_reverse_order(
    virtual_clock: VirtualClock,
) -> None:
    async with Cluster(virtual_clock) as cluster:
        node = cluster.node(worker=False)
        began: list[str] = []
        ended: list[str] = []
        for name in "abcdefgh":

            async def work(name: str = name) -> None:
                began.append(name)
                try:
                    await idle()
                finally:
                    ended.append(name)

            node.supervisor.register_task(name, work)
        await node.supervisor.start()
        await virtual_clock.advance(1)
        await node.supervisor.shutdown()
        assert began == list("abcdefgh")
        assert ended == list("hgfedcba")


@virtual_time
async def test_a_cancelled_worker_may_tidy_up_for_as_long_as_the_times_say(
    virtual_clock: VirtualClock,
) -> None:
    async with Cluster(virtual_clock) as cluster:
        node = await alone(cluster)
        tidied: list[str] = []

        async def work() -> None:
            try:
                await idle()
            finally:
                await asyncio.sleep(TIMES.kill * 0.8)
                tidied.append("all of it")

        node.supervisor.register_task("tidies", work)
        await virtual_clock.advance(1)
        await node.supervisor.shutdown()
        assert tidied == ["all of it"]


@pytest.mark.parametrize("option", ["kill", "grace"])
@virtual_time
async def test_without_time_to_end_nobody_is_asked_in_a_hot_loop(
    virtual_clock: VirtualClock, option: str
) -> None:
    async with Cluster(virtual_clock) as cluster:
        node = await alone(cluster, times=LeaseTimes(**{option: 0.0}))  # type: ignore[arg-type]
        asked: list[float] = []

        async def work() -> None:
            until = virtual_clock.monotonic() + 3
            while virtual_clock.monotonic() < until and len(asked) < 500:
                try:
                    await asyncio.sleep(until - virtual_clock.monotonic())
                except asyncio.CancelledError:
                    asked.append(virtual_clock.monotonic())

        node.supervisor.register_task("slow", work)
        await virtual_clock.advance(1)
        await node.supervisor.shutdown()
        assert len(asked) < 50


@virtual_time
async def test_a_worker_that_swallows_a_cancellation_is_asked_again(virtual_clock: VirtualClock) -> None:
    async with Cluster(virtual_clock) as cluster:
        node = await alone(cluster)

        async def swallows() -> None:
            for _ in range(2):
                try:
                    await idle()
                except asyncio.CancelledError:
                    continue
            await idle()

        it = Worker(node, swallows)
        await virtual_clock.advance(1)
        assert await node.supervisor.shutdown() == ()
        assert it.ended[0] <= 1 + TIMES.grace + 2 * TIMES.kill + INSTANT
        assert len(node.line.times("release")) == 1


@virtual_time
async def test_a_worker_that_does_not_end_keeps_the_lease_from_being_released_and_is_shown(
    virtual_clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with Cluster(virtual_clock) as cluster:
        cluster.may_overlap = True
        a = await alone(cluster)
        free = asyncio.Event()

        async def where_it_hangs() -> None:
            while not free.is_set():
                try:
                    await free.wait()
                except asyncio.CancelledError:
                    continue

        it = Worker(a, where_it_hangs, name="stubborn")
        (b,) = await cluster.start("b")
        await virtual_clock.advance(20)
        a.line.spoil(refuses, "renew")
        lost = a.line.times("renew")[-1] + TIMES.trusted
        await virtual_clock.advance(lost + TIMES.margin - virtual_clock.monotonic() + 0.01)
        (said,) = [record for record in caplog.records if record.levelno == logging.CRITICAL]
        assert "stubborn" in said.getMessage()
        assert "where_it_hangs" in said.getMessage()
        assert a.state == "stuck"
        assert not a.line.times("release")
        assert isinstance(await b.line.look(), Held) or b.leads()
        a.line.mend()
        await virtual_clock.advance(60)
        assert b.leads()
        stood = len(a.line.times("acquire"))
        free.set()
        await virtual_clock.settle()
        assert len(it.ended) == 1
        assert len(a.line.times("acquire")) == stood + 1


@virtual_time
async def test_a_stuck_worker_holds_no_other_one_back_from_ending(virtual_clock: VirtualClock) -> None:
    async with Cluster(virtual_clock) as cluster:
        node = await alone(cluster, stop_timeout=2)
        free = asyncio.Event()

        async def stubborn() -> None:
            while not free.is_set():
                try:
                    await free.wait()
                except asyncio.CancelledError:
                    continue

        Worker(node, stubborn, name="stubborn")
        others = [Worker(node, idle, name=f"other {number}") for number in range(3)]
        await virtual_clock.advance(1)
        assert await node.supervisor.shutdown() == ("stubborn",)
        assert all(other.ended == [pytest.approx(1)] for other in others)
        free.set()
        await virtual_clock.settle()


@virtual_time
async def test_a_worker_that_fails_while_it_is_ended_has_not_crashed(virtual_clock: VirtualClock) -> None:
    async with Cluster(virtual_clock) as cluster:
        node = await alone(cluster)

        async def fails() -> None:
            try:
                await idle()
            finally:
                raise ValueError("while it ended")

        it = Worker(node, fails)
        await virtual_clock.advance(1)
        await node.supervisor.shutdown()
        assert it.shown.task_crash == 0
        assert not node.of(WorkerCrashed)
        assert [event.task for event in node.of(RunFinished)].count("it") == 1  # and yet it is told
        await node.supervisor.start()
        await virtual_clock.settle()
        assert len(it.began) == 2


@virtual_time
async def test_nobody_waits_out_a_pause_before_a_stop_and_nobody_starts_after_it(
    virtual_clock: VirtualClock,
) -> None:
    async with Cluster(virtual_clock) as cluster:
        node = await alone(cluster)
        it = Worker(node, crashes, backoff=60)
        await virtual_clock.advance(1)
        began = virtual_clock.monotonic()
        await node.supervisor.shutdown()
        assert virtual_clock.monotonic() - began <= TIMES.grace + INSTANT
        await virtual_clock.advance("1h")
        assert len(it.began) == 1


@virtual_time
async def test_no_worker_is_started_in_the_time_that_is_left_after_a_term(
    virtual_clock: VirtualClock,
) -> None:
    async with Cluster(virtual_clock) as cluster:
        node = await alone(cluster)
        it = Worker(node, after(0.05, ValueError()), backoff=0.05, max_backoff=0.05, intensity=NEVER)
        await virtual_clock.advance(10)
        before = len(it.began)
        node.line.spoil(refuses)
        virtual_clock.stall(20)  # the pause of a worker and the deadline of the term are over at one time
        await virtual_clock.settle()
        assert len(it.began) == before
