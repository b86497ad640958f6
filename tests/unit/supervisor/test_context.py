"""What a worker is given: it tells the truth about leadership at every moment, and after it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.support.leadership import TIMES, Cluster, hangs, refuses

from bgtasks.errors import NotLeader
from bgtasks.supervisor import WorkerContext
from bgtasks.testing import VirtualClock, virtual_time

INSTANT = 0.001


class Given:
    """A worker that keeps what it was given, and waits."""

    def __init__(self, cluster: Cluster, **options: Any) -> None:
        self.node = cluster.node(worker=False, **options)
        self.all: list[WorkerContext] = []
        self.node.supervisor.register_task("work", self._work)

    async def _work(self, ctx: WorkerContext) -> None:
        self.all.append(ctx)
        await asyncio.Event().wait()

    async def start(self) -> WorkerContext:
        await self.node.supervisor.start()
        await self.node.cluster.clock.settle()
        return self.all[-1]


@virtual_time
async def test_it_gives_the_token_of_the_term(virtual_clock: VirtualClock) -> None:
    async with Cluster(virtual_clock) as cluster:
        given = Given(cluster)
        ctx = await given.start()
        assert ctx.token == ctx.check() == given.node.supervisor.token
        await virtual_clock.advance("1h")
        assert ctx.check() == ctx.token


@virtual_time
async def test_it_says_for_how_long_the_lease_is_trusted(virtual_clock: VirtualClock) -> None:
    async with Cluster(virtual_clock) as cluster:
        given = Given(cluster)
        ctx = await given.start()
        assert ctx.remaining() == pytest.approx(TIMES.trusted)
        await virtual_clock.advance(0.5)
        assert ctx.remaining() == pytest.approx(TIMES.trusted - 0.5)
        await virtual_clock.advance(60)
        assert TIMES.trusted - TIMES.renew - INSTANT <= ctx.remaining() <= TIMES.trusted


@pytest.mark.parametrize("fault", [refuses, hangs])
@virtual_time
async def test_it_says_no_from_the_moment_at_which_the_lease_is_not_trusted(
    virtual_clock: VirtualClock, fault: Any
) -> None:
    async with Cluster(virtual_clock) as cluster:
        given = Given(cluster)
        ctx = await given.start()
        given.node.line.spoil(fault)
        await virtual_clock.advance(ctx.remaining() - 2 * INSTANT)
        assert ctx.check()
        assert not ctx.stopping.is_set()
        await virtual_clock.advance(3 * INSTANT)
        with pytest.raises(NotLeader, match="not renewed in time"):
            ctx.check()
        assert ctx.remaining() == 0.0
        assert ctx.stopping.is_set()


@virtual_time
async def test_it_says_why_its_term_is_over(virtual_clock: VirtualClock) -> None:
    async with Cluster(virtual_clock) as cluster:
        given = Given(cluster)
        ctx = await given.start()
        given.node.supervisor.resign("maintenance")
        await virtual_clock.advance(1)
        with pytest.raises(NotLeader, match="maintenance"):
            ctx.check()


@virtual_time
async def test_one_of_a_past_term_stays_without_leave_in_the_next(virtual_clock: VirtualClock) -> None:
    async with Cluster(virtual_clock) as cluster:
        given = Given(cluster)
        first = await given.start()
        await given.node.supervisor.shutdown()
        second = await given.start()
        assert second is not first
        assert second.check() > first.token
        with pytest.raises(NotLeader, match="stopped"):
            first.check()
        assert first.remaining() == 0.0
        assert first.stopping.is_set()
        assert not second.stopping.is_set()


@virtual_time
async def test_while_a_worker_is_asked_to_end_it_still_leads(virtual_clock: VirtualClock) -> None:
    async with Cluster(virtual_clock) as cluster:
        node = cluster.node(worker=False)
        said: list[int] = []

        async def work(ctx: WorkerContext) -> None:
            await ctx.stopping.wait()
            await asyncio.sleep(TIMES.grace / 2)
            said.append(ctx.check())  # the last write under the token

        node.supervisor.register_task("work", work)
        await node.supervisor.start()
        await virtual_clock.advance(1)
        await node.supervisor.shutdown()
        assert said == [1]


@virtual_time
async def test_each_start_is_given_one_of_its_own(virtual_clock: VirtualClock) -> None:
    async with Cluster(virtual_clock) as cluster:
        node = cluster.node(worker=False)
        given: list[WorkerContext] = []

        async def work(ctx: WorkerContext) -> None:
            given.append(ctx)

        node.supervisor.register_task("work", work)
        await node.supervisor.start()
        await virtual_clock.advance(10)
        assert len(given) > 2
        assert len(set(map(id, given))) == len(given)
        assert {ctx.token for ctx in given} == {1}


@virtual_time
async def test_a_heartbeat_that_nobody_asked_for_does_no_harm(virtual_clock: VirtualClock) -> None:
    async with Cluster(virtual_clock) as cluster:
        given = Given(cluster)
        ctx = await given.start()
        ctx.heartbeat()
        await given.node.supervisor.shutdown()
        ctx.heartbeat()


@virtual_time
async def test_a_worker_without_the_parameter_is_called_without_it(virtual_clock: VirtualClock) -> None:
    async with Cluster(virtual_clock) as cluster:
        node = cluster.node(worker=False)
        called: list[tuple[Any, ...]] = []

        async def plain() -> None:
            called.append(())
            await asyncio.Event().wait()

        async def with_default(ctx: WorkerContext | None = None) -> None:
            called.append((type(ctx),))
            await asyncio.Event().wait()

        node.supervisor.register_task("plain", plain)
        node.supervisor.register_task("with_default", with_default)
        await node.supervisor.start()
        await virtual_clock.settle()
        assert called == [(), (WorkerContext,)]
