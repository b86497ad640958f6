"""`TaskSupervisor`, on virtual time: it starts and stops calmly, and says how it stands."""

from __future__ import annotations

import asyncio
import gc
import logging
from contextvars import ContextVar
from typing import Any

import pytest
from tests.support.leadership import (
    KEY,
    TIMES,
    Cluster,
    Fault,
    Node,
    hangs,
    ignores_cancellation,
    in_redis,
    refuses,
)

from bgtasks.contracts import Held
from bgtasks.errors import BgTasksError, ConfigurationError, DuplicateTask, InvalidTask
from bgtasks.events import TermGained, TermLost
from bgtasks.lease import LeaseTimes
from bgtasks.stores.lease_memory import MemoryLeaseStore
from bgtasks.supervisor import TaskSupervisor, WorkerContext
from bgtasks.testing import VirtualClock, run_virtual, virtual_time

INSTANT = 0.001


async def idle() -> None:
    """A worker that waits."""
    await asyncio.Event().wait()


async def leading(cluster: Cluster, **options: Any) -> Node:
    """A node that leads and works."""
    (node,) = await cluster.start("a", **options)
    assert node.working()
    return node


def put_stubborn(node: Node, free: asyncio.Event, name: str = "stubborn") -> None:
    """Register a worker that goes on until `free`, whoever cancels it."""

    async def stubborn(ctx: WorkerContext) -> None:
        with node.at_work(ctx, name):
            while not free.is_set():
                try:
                    await free.wait()
                except asyncio.CancelledError:
                    continue

    node.supervisor.register_task(name, stubborn)


# -- who stands ----------------------------------------------------------------------------------


@virtual_time
async def test_without_a_worker_it_does_not_stand(virtual_clock: VirtualClock) -> None:
    async with Cluster(virtual_clock) as cluster:
        (node,) = await cluster.start("a", worker=False)
        await virtual_clock.advance(60)
        assert node.line.calls == []
        assert node.state == "idle"
        assert await node.supervisor.shutdown() == ()
        assert node.state == "stopped"


@virtual_time
async def test_a_worker_that_is_registered_later_makes_it_stand(virtual_clock: VirtualClock) -> None:
    async with Cluster(virtual_clock) as cluster:
        (node,) = await cluster.start("a", worker=False)
        await virtual_clock.advance(60)
        node.work()
        await virtual_clock.settle()
        assert node.working()


@virtual_time
async def test_a_worker_that_is_registered_during_a_term_starts_at_once(virtual_clock: VirtualClock) -> None:
    async with Cluster(virtual_clock) as cluster:
        node = await leading(cluster)
        await virtual_clock.advance(60)
        node.work("another")
        await virtual_clock.settle()
        assert [span.worker for span in node.spans] == ["work", "another"]
        assert len(node.of(TermGained)) == 1


@virtual_time
async def test_a_worker_that_is_registered_on_a_follower_waits_for_its_term(
    virtual_clock: VirtualClock,
) -> None:
    async with Cluster(virtual_clock) as cluster:
        a, b = await cluster.start("a", "b")
        b.work("another")
        await virtual_clock.advance(60)
        assert not b.spans
        await a.supervisor.shutdown()
        await virtual_clock.settle()
        assert [span.worker for span in b.spans] == ["work", "another"]


@virtual_time
async def test_without_redis_it_leads_at_once(virtual_clock: VirtualClock) -> None:
    supervisor = TaskSupervisor(clock=virtual_clock)
    supervisor.register_task("work", idle)
    async with supervisor:
        await virtual_clock.settle()
        assert supervisor.is_leader
        assert supervisor.token == 1
        assert await supervisor.verify_leadership_before_destructive() == 1
        await virtual_clock.advance("1h")
        assert supervisor.is_leader
        assert supervisor.token == 1


def test_without_redis_the_lease_is_timed_by_the_clock_that_was_given() -> None:
    clock = VirtualClock()
    supervisor = TaskSupervisor(clock=clock)
    assert isinstance(store := supervisor._elector.store, MemoryLeaseStore)
    assert store._clock is clock


@virtual_time
async def test_it_takes_a_client_of_redis(virtual_clock: VirtualClock, virtual_redis: Any) -> None:
    supervisor = TaskSupervisor(virtual_redis, "one", clock=virtual_clock, fresh=True)
    supervisor.register_task("work", idle)
    async with supervisor:
        await virtual_clock.settle()
        assert (await virtual_redis.get(KEY)).decode().startswith("one:")
    assert await virtual_redis.get(KEY) is None
    assert await virtual_redis.ping()  # the client is the host's, and open


# -- start and stop ------------------------------------------------------------------------------


@virtual_time
async def test_to_start_and_stop_twice_is_to_do_it_once(virtual_clock: VirtualClock) -> None:
    async with Cluster(virtual_clock) as cluster:
        node = cluster.node()
        assert await node.supervisor.shutdown() == ()
        for _ in range(3):
            await node.supervisor.start()
        await virtual_clock.settle()
        assert len(node.line.times("acquire")) == 1
        assert len(node.spans) == 1
        for _ in range(3):
            assert await node.supervisor.shutdown() == ()
        assert len(node.of(TermLost)) == 1
        assert len(node.line.times("release")) == 1


@virtual_time
async def test_it_starts_again_after_a_stop(virtual_clock: VirtualClock) -> None:
    async with Cluster(virtual_clock) as cluster:
        node = await leading(cluster)
        for term in range(2, 5):
            await node.supervisor.shutdown()
            assert not node.working()
            await virtual_clock.advance(100)
            assert len(node.spans) == term - 1
            await node.supervisor.start()
            await virtual_clock.settle()
            assert node.working() == 1
            assert node.supervisor.token == term


@virtual_time
async def test_two_stops_at_once_both_return_when_it_has_stopped(virtual_clock: VirtualClock) -> None:
    async with Cluster(virtual_clock) as cluster:
        node = await leading(cluster)
        await asyncio.gather(node.supervisor.shutdown(), node.supervisor.shutdown())
        assert node.state == "stopped"
        assert not node.working()
        assert len(node.line.times("release")) == 1


@virtual_time
async def test_a_start_during_a_stop_is_not_forgotten(virtual_clock: VirtualClock) -> None:
    async with Cluster(virtual_clock) as cluster:
        node = await leading(cluster)
        stopping = asyncio.ensure_future(node.supervisor.shutdown())
        await virtual_clock.advance(TIMES.grace / 2)
        await node.supervisor.start()
        await stopping
        await virtual_clock.advance(1)
        assert node.working()


@virtual_time
async def test_a_worker_registered_while_the_store_is_closed_does_not_revive_a_stopped_supervisor(
    virtual_clock: VirtualClock,
) -> None:
    async with Cluster(virtual_clock) as cluster:
        node = await leading(cluster)
        node.line.spoil(ignores_cancellation, "aclose")
        stopping = asyncio.ensure_future(node.supervisor.shutdown())
        await virtual_clock.advance(TIMES.grace + TIMES.attempt / 2)
        assert not stopping.done()
        node.work("another")
        node.line.mend()
        await stopping
        await virtual_clock.advance(1)
        try:
            assert node.state == "stopped"
            assert not node.working()
        finally:
            await node.supervisor.start()  # so that the shutdown of the cluster finds what goes on
            await virtual_clock.settle()


@virtual_time
async def test_a_stop_whose_caller_is_cancelled_goes_on(virtual_clock: VirtualClock) -> None:
    async with Cluster(virtual_clock) as cluster:
        node = await leading(cluster)
        stopping = asyncio.ensure_future(node.supervisor.shutdown())
        await virtual_clock.advance(TIMES.grace / 2)
        stopping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stopping
        await virtual_clock.advance(5)
        assert not node.working()
        assert len(node.line.times("release")) == 1
        assert node.state == "stopped"
        assert await node.supervisor.shutdown() == ()
        await node.supervisor.start()
        await virtual_clock.settle()
        assert node.working()


@virtual_time
async def test_a_worker_may_stop_the_supervisor_that_runs_it(virtual_clock: VirtualClock) -> None:
    async with Cluster(virtual_clock) as cluster:
        node = cluster.node(worker=False)

        async def last() -> None:
            await asyncio.sleep(1)
            await node.supervisor.shutdown()

        node.supervisor.register_task("last", last)
        await node.supervisor.start()
        await virtual_clock.advance(5)
        assert len(node.line.times("release")) == 1
        await node.supervisor.shutdown()
        assert node.state == "stopped"


@pytest.mark.parametrize("state", ["following", "quarantined", "away", "held back", "preparing"])
@virtual_time
async def test_it_stops_at_once_whatever_it_was_waiting_for(
    virtual_clock: VirtualClock, virtual_redis: Any, state: str
) -> None:
    async with Cluster(virtual_clock, in_redis(virtual_redis)) as cluster:
        node = cluster.node("b", fresh=state in ("held back", "preparing"))
        if state == "following":
            await cluster.start("a", fresh=True)
        if state == "away":
            node.line.spoil(refuses)
        if state == "preparing":
            node.supervisor.before_work(lambda term: idle())
        await node.supervisor.start()
        await virtual_clock.advance(1)
        if state == "held back":
            node.supervisor.resign()
            await virtual_clock.advance(1)
        began = virtual_clock.monotonic()
        assert await node.supervisor.shutdown() == ()
        assert virtual_clock.monotonic() - began <= INSTANT
        assert node.state == "stopped"
        assert not node.working()


@pytest.mark.parametrize("fault", [hangs, ignores_cancellation, refuses])
@pytest.mark.parametrize("stop_timeout", [1.0, 3.0])
@pytest.mark.parametrize("leader", [True, False])
@virtual_time
async def test_it_stops_in_time_whatever_the_line_to_redis_does(
    virtual_clock: VirtualClock, fault: Fault, stop_timeout: float, leader: bool
) -> None:
    async with Cluster(virtual_clock) as cluster:
        node = cluster.node(stop_timeout=stop_timeout)
        if leader:
            await node.supervisor.start()
            await virtual_clock.advance(1)
            node.line.spoil(fault)
        else:
            node.line.spoil(fault)
            await node.supervisor.start()
            await virtual_clock.advance(0.1)
        began = virtual_clock.monotonic()
        assert await node.supervisor.shutdown() == ()
        assert virtual_clock.monotonic() - began <= stop_timeout + INSTANT
        assert not node.working()


@pytest.mark.parametrize("stop_timeout", [0.3, 1.0, 10.0])
@virtual_time
async def test_it_stops_in_time_with_a_worker_that_does_not(
    virtual_clock: VirtualClock, stop_timeout: float
) -> None:
    async with Cluster(virtual_clock) as cluster:
        node = await leading(cluster, stop_timeout=stop_timeout)
        free = asyncio.Event()
        put_stubborn(node, free)
        await virtual_clock.settle()
        began = virtual_clock.monotonic()
        assert await node.supervisor.shutdown() == ("stubborn",)
        assert virtual_clock.monotonic() - began <= stop_timeout + INSTANT
        assert not node.line.times("release")
        assert isinstance(await node.line.look(), Held)  # until it expires
        assert not node.leads()
        assert node.state == "stopped"
        free.set()
        await virtual_clock.settle()
        assert not node.working()


@virtual_time
async def test_a_supervisor_whose_worker_ended_after_the_stop_starts_as_if_new(
    virtual_clock: VirtualClock,
) -> None:
    async with Cluster(virtual_clock) as cluster:
        node = await leading(cluster, stop_timeout=1)
        free = asyncio.Event()
        put_stubborn(node, free)
        await virtual_clock.settle()
        await node.supervisor.shutdown()
        free.set()
        await virtual_clock.advance(60)
        await node.supervisor.start()
        await virtual_clock.settle()
        assert node.leads()
        assert node.state == "leading"
        released = len(node.line.times("release"))
        assert await node.supervisor.shutdown() == ()
        assert len(node.line.times("release")) == released + 1


@virtual_time
async def test_a_supervisor_whose_worker_outlived_the_stop_does_not_stand_before_it_has_ended(
    virtual_clock: VirtualClock,
) -> None:
    async with Cluster(virtual_clock) as cluster:
        node = await leading(cluster, stop_timeout=1)
        free = asyncio.Event()
        put_stubborn(node, free)
        await virtual_clock.settle()
        await node.supervisor.shutdown()
        await virtual_clock.advance(60)
        await node.supervisor.start()
        await virtual_clock.advance(60)
        stood, state = node.leads(), node.state
        free.set()
        await virtual_clock.advance(60)
        assert not stood
        assert state == "stuck"
        assert node.leads()


# -- event loops ---------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["start", "shutdown"])
@virtual_time
async def test_it_is_nothing_for_another_event_loop_while_it_runs(
    virtual_clock: VirtualClock, call: str
) -> None:
    async with Cluster(virtual_clock) as cluster:
        node = await leading(cluster)

        async def elsewhere() -> None:
            async with asyncio.timeout(2):  # real seconds
                await getattr(node.supervisor, call)()

        with pytest.raises(BgTasksError, match="another event loop"):
            await asyncio.to_thread(asyncio.run, elsewhere())
        assert node.leads()


def test_it_runs_in_one_event_loop_after_the_other() -> None:
    clock = VirtualClock()
    supervisor = TaskSupervisor(clock=clock)
    supervisor.register_task("work", idle)

    async def once(_: VirtualClock) -> None:
        await supervisor.start()
        await clock.settle()
        assert supervisor.is_leader
        await supervisor.shutdown()

    for _ in range(3):
        run_virtual(once, clock)


@pytest.mark.parametrize("call", ["start", "shutdown"])
def test_an_event_loop_that_was_closed_under_it_is_let_go_of(call: str) -> None:
    clock = VirtualClock()
    store = MemoryLeaseStore(KEY, clock)
    supervisor = TaskSupervisor(store=store, clock=clock)
    supervisor.register_task("work", idle)

    async def first(_: VirtualClock) -> None:
        await supervisor.start()
        await clock.settle()
        assert supervisor.is_leader

    async def second(_: VirtualClock) -> None:
        assert supervisor.token is None
        if call == "shutdown":
            await supervisor.shutdown()
            assert supervisor.snapshot().state == "stopped"
        await supervisor.start()
        await clock.advance(TIMES.lease + TIMES.quarantine)
        assert supervisor.is_leader
        await supervisor.shutdown()

    run_virtual(first, clock)
    run_virtual(second, clock)


def test_after_the_end_of_its_event_loop_the_lease_expires() -> None:
    clock = VirtualClock()
    store = MemoryLeaseStore(KEY, clock)
    supervisor = TaskSupervisor(store=store, clock=clock)
    ended: list[bool] = []

    async def work() -> None:
        try:
            await idle()
        finally:
            ended.append(supervisor.is_leader)

    supervisor.register_task("work", work)

    async def first(_: VirtualClock) -> None:
        await supervisor.start()
        await clock.settle()

    async def second(_: VirtualClock) -> None:
        assert isinstance(await store.look(), Held)
        await clock.advance(TIMES.lease + INSTANT)
        assert await store.look() is None

    run_virtual(first, clock)
    assert len(ended) == 1
    assert not supervisor.is_leader
    run_virtual(second, clock)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_an_interruption_in_a_worker_ends_the_loop_and_the_lease_is_not_kept(
    interruption: type[BaseException],
) -> None:
    clock = VirtualClock()
    store = MemoryLeaseStore(KEY, clock)
    supervisor = TaskSupervisor(store=store, clock=clock)
    other = TaskSupervisor(store=store, clock=clock)

    async def work() -> None:
        await asyncio.sleep(1)
        raise interruption

    supervisor.register_task("work", work)
    supervisor.register_task("another", idle)
    other.register_task("work", idle)

    async def first(_: VirtualClock) -> None:
        await supervisor.start()
        await idle()

    async def second(_: VirtualClock) -> None:
        await other.start()
        await clock.advance(TIMES.lease + 0.2)
        assert other.is_leader
        await other.shutdown()

    with pytest.raises(interruption):
        run_virtual(first, clock)
    gc.collect()
    assert not supervisor.is_leader
    run_virtual(second, clock)


@virtual_time
async def test_a_host_that_cancels_all_tasks_does_not_leave_a_supervisor_that_says_it_follows(
    virtual_clock: VirtualClock,
) -> None:
    async with Cluster(virtual_clock) as cluster:
        node = await leading(cluster)
        for task in asyncio.all_tasks():
            if task is not asyncio.current_task():
                task.cancel()
        await virtual_clock.advance(TIMES.lease + TIMES.quarantine)
        stands = node.leads() or node.state not in ("following", "leading")
        await node.supervisor.shutdown()
        assert stands
        assert not node.working()


_where: ContextVar[str] = ContextVar("where", default="nowhere")


@virtual_time
async def test_workers_see_the_context_of_the_start_each_in_a_copy(virtual_clock: VirtualClock) -> None:
    seen: list[str] = []

    async def work() -> None:
        seen.append(_where.get())
        _where.set("inside")
        await asyncio.sleep(1)

    supervisor = TaskSupervisor(clock=virtual_clock)
    supervisor.register_task("work", work)
    _where.set("at the start")
    await supervisor.start()
    _where.set("later")
    await virtual_clock.advance(10)
    await supervisor.shutdown()
    assert len(seen) > 2
    assert set(seen) == {"at the start"}


# -- how it stands -------------------------------------------------------------------------------


@virtual_time
async def test_it_shows_how_it_stands_from_the_first_moment_to_the_last(
    virtual_clock: VirtualClock, virtual_redis: Any
) -> None:
    async with Cluster(virtual_clock, in_redis(virtual_redis)) as cluster:
        node = cluster.node()
        first = node.supervisor.snapshot()
        assert (first.state, first.token, first.remaining, first.holder) == ("stopped", None, 0.0, None)
        assert (first.lease, first.node_id) == (KEY, "a")
        (worker,) = first.workers
        assert (worker.name, worker.running_for, worker.starts_in) == ("work", None, None)
        assert (worker.task_started, worker.task_crash, worker.crashes) == (0, 0, ())

        await node.supervisor.start()
        await virtual_clock.advance(1)
        waiting = node.supervisor.snapshot()
        assert waiting.state == "quarantined"
        assert waiting.token is not None
        assert waiting.remaining > 0

        await virtual_clock.advance(TIMES.quarantine)
        leads = node.supervisor.snapshot()
        assert (leads.state, leads.token) == ("leading", waiting.token)
        assert leads.holder == (await virtual_redis.get(KEY)).decode()
        assert 0 < leads.remaining <= TIMES.trusted
        assert leads.workers[0].running_for == pytest.approx(1, abs=0.01)
        assert leads.workers[0].task_started == 1

        await virtual_redis.delete(KEY)
        while node.leads():
            await virtual_clock.advance(0.1)
        assert node.state == "ending"
        assert node.supervisor.snapshot().remaining == 0.0

        await node.supervisor.shutdown()
        last = node.supervisor.snapshot()
        assert (last.state, last.token, last.remaining) == ("stopped", None, 0.0)
        assert last.workers[0].running_for is None
        assert last.workers[0].task_started == 1


@virtual_time
async def test_it_shows_that_a_term_is_ending_while_its_workers_end(virtual_clock: VirtualClock) -> None:
    async with Cluster(virtual_clock) as cluster:
        node = await leading(cluster)
        node.supervisor.resign()
        await virtual_clock.advance(TIMES.grace / 2)
        assert node.working()
        assert node.state == "ending"


@virtual_time
async def test_a_term_whose_time_is_over_does_not_show_as_quarantined(virtual_clock: VirtualClock) -> None:
    async with Cluster(virtual_clock) as cluster:
        node = await leading(cluster)
        await virtual_clock.advance(1)
        virtual_clock.stall(10)
        assert not node.leads()
        assert node.state == "ending"


@virtual_time
async def test_it_shows_who_is_stuck_and_stands_again_when_nobody_is(virtual_clock: VirtualClock) -> None:
    async with Cluster(virtual_clock) as cluster:
        cluster.may_overlap = True
        a, b = await cluster.start("a", "b")
        free = asyncio.Event()
        put_stubborn(a, free)
        await virtual_clock.advance(20)
        a.line.spoil(refuses, "renew")
        await virtual_clock.advance(TIMES.trusted + TIMES.margin + 0.1)
        a.line.mend()
        assert a.state == "stuck"
        assert not a.leads()
        assert not a.line.times("release")
        stood = len(a.line.times("acquire"))
        await virtual_clock.advance(60)
        assert a.state == "stuck"
        assert len(a.line.times("acquire")) == stood
        assert b.leads()

        free.set()
        await virtual_clock.settle()
        assert a.state == "following"
        await b.supervisor.shutdown()
        await virtual_clock.settle()
        assert a.leads()


# -- what it is told -----------------------------------------------------------------------------


def test_what_cannot_be_meant_is_refused() -> None:
    supervisor = TaskSupervisor()

    async def beats(ctx: WorkerContext) -> None:
        ctx.heartbeat()

    with pytest.raises(InvalidTask):
        supervisor.register_task("", idle)
    with pytest.raises(InvalidTask, match="coroutine function"):
        supervisor.register_task("work", "idle")  # type: ignore[arg-type]
    with pytest.raises(InvalidTask, match="restart"):
        supervisor.register_task("work", idle, restart="sometimes")
    for intensity in [(0, 60), (-1, 60), (True, 60), (1.5, 60), 5, (1, 2, 3)]:
        with pytest.raises(InvalidTask, match="intensity"):
            supervisor.register_task("work", idle, intensity=intensity)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError):
        supervisor.register_task("work", idle, intensity=(1, 0))
    with pytest.raises(InvalidTask, match="ctx"):
        supervisor.register_task("work", idle, heartbeat=1)
    for wrong in (0, -1, float("nan"), "soon"):
        for option in ("backoff", "max_backoff", "heartbeat"):
            with pytest.raises(ConfigurationError):
                supervisor.register_task("work", beats, **{option: wrong})  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError):
        supervisor.register_task("work", idle, backoff=10, max_backoff=1)
    assert supervisor.snapshot().workers == ()


def test_a_name_is_one_function_s() -> None:
    supervisor = TaskSupervisor()

    async def other() -> None:
        """Another worker."""

    supervisor.register_task("work", idle)
    supervisor.register_task("work", idle)
    with pytest.raises(DuplicateTask, match="work"):
        supervisor.register_task("work", other)
    assert [worker.name for worker in supervisor.snapshot().workers] == ["work"]


def test_the_key_is_given_or_from_the_environment_or_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SG_LEADER_KEY", raising=False)
    assert TaskSupervisor().snapshot().lease == "sg:leader:supervisor"
    assert TaskSupervisor(group="heavy").snapshot().lease == "sg:leader:supervisor:heavy"
    monkeypatch.setenv("SG_LEADER_KEY", "mine")
    assert TaskSupervisor().snapshot().lease == "mine"
    assert TaskSupervisor(group="heavy").snapshot().lease == "mine:heavy"
    assert TaskSupervisor(key="given").snapshot().lease == "given"
    monkeypatch.setenv("SG_LEADER_KEY", "")
    assert TaskSupervisor().snapshot().lease == "sg:leader:supervisor"


@pytest.mark.parametrize(
    "options",
    [{"node_id": "two\nlines"}, {"node_id": 7}, {"key": "a\0b"}, {"group": ""}, {"stop_timeout": -1}],
)
def test_names_that_are_no_text_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        TaskSupervisor(**options)


def test_nodes_without_a_name_have_one_of_their_own() -> None:
    assert TaskSupervisor().node_id
    assert TaskSupervisor(node_id="mine").node_id == "mine"


# -- what is written -----------------------------------------------------------------------------


@virtual_time
async def test_terms_and_crashes_are_lines_of_the_log(
    virtual_clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "bgtasks")

    async def crashes() -> None:
        raise ValueError("not today")

    async with Cluster(virtual_clock) as cluster:
        (node,) = await cluster.start("a")
        node.supervisor.register_task("crashes", crashes, intensity=(3, 60))
        await virtual_clock.advance(30)
        await node.supervisor.shutdown()
    lines = [record.getMessage() for record in caplog.records if record.name == "bgtasks"]

    def said(text: str) -> list[str]:
        return [line for line in lines if line.startswith(text)]

    (gained,) = said("this node leads:")
    assert KEY in gained
    assert "token=1" in gained
    (lost,) = said("this node leads no more")
    assert "reason=stopped" in lost
    assert len(said("worker crashed")) == 3
    assert len([line for line in lines if "not today" in line]) >= 1
    (given_up,) = said("worker given up")
    assert "task=crashes" in given_up
    assert "3 crashes within 60 s" in given_up


@virtual_time
async def test_the_times_are_checked_and_used(virtual_clock: VirtualClock) -> None:
    with pytest.raises(ConfigurationError, match="T1"):
        LeaseTimes(lease=1)
    times = LeaseTimes(lease=15, renew=5, attempt=2, margin=3)
    async with Cluster(virtual_clock) as cluster:
        node = await leading(cluster, times=times)
        await virtual_clock.advance(0.1)
        assert node.supervisor.snapshot().remaining == pytest.approx(times.trusted - 0.1)
        await virtual_clock.advance("10m")
        assert len(node.line.times("renew")) <= 600 / (5 * 0.9) + 1
