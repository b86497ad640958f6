"""Who leads, on virtual time: several nodes around one lease, whatever becomes of it or of the line to it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.support.leadership import (
    KEY,
    TIMES,
    Cluster,
    Fault,
    Leases,
    Node,
    hangs,
    ignores_cancellation,
    in_memory,
    in_redis,
    loses_the_answer,
    raises,
    refuses,
)

from bgtasks.contracts import UNKNOWN, Held
from bgtasks.errors import NotLeader, UnsuitableServer
from bgtasks.events import ResourceLost, ResourceRegained, TermGained, TermLost, TermQuarantined
from bgtasks.lease import Term
from bgtasks.supervisor import WorkerContext
from bgtasks.testing import VirtualClock, virtual_time

INSTANT = 0.001
"""Seconds that count as none: what is carried out at once may need a timer of that length."""


@pytest.fixture(params=["memory", "redis"])
def leases(request: pytest.FixtureRequest) -> Leases:
    """Where the lease is kept."""
    if request.param == "memory":
        return in_memory
    return in_redis(request.getfixturevalue("virtual_redis"))


@pytest.fixture
def redis_leases(virtual_redis: Any) -> Leases:
    """The lease is kept in a fake Redis."""
    return in_redis(virtual_redis)


async def leading(cluster: Cluster, **options: Any) -> Node:
    """A node that leads and works."""
    (node,) = await cluster.start("a", fresh=True, **options)
    await cluster.clock.advance(0.5)
    assert node.leads()
    assert node.working()
    return node


async def a_leads_b_follows(cluster: Cluster, watched: float = 20.0) -> tuple[Node, Node]:
    """Two nodes; the second one has watched for so many seconds."""
    a, b = await cluster.start("a", "b", fresh=True)
    await cluster.clock.advance(watched)
    assert cluster.leaders == cluster.at_work == ["a"]
    return a, b


# -- one node ------------------------------------------------------------------------------------


@virtual_time
async def test_a_first_leader_waits_since_an_unknown_one_may_be_at_work(
    virtual_clock: VirtualClock, redis_leases: Leases
) -> None:
    async with Cluster(virtual_clock, redis_leases) as cluster:
        (node,) = await cluster.start("a")
        (said,) = node.of(TermQuarantined)
        assert said.reason == UNKNOWN
        assert said.seconds == pytest.approx(TIMES.quarantine)
        assert said.lease == KEY

        await virtual_clock.advance(TIMES.quarantine - 0.01)
        assert not node.leads()
        assert not node.supervisor.token
        assert node.state == "quarantined"
        assert not node.working()

        await virtual_clock.advance(0.02)
        assert node.leads()
        assert node.working()
        assert node.supervisor.token == said.token
        assert [gained.token for gained in node.of(TermGained)] == [said.token]


@virtual_time
async def test_in_a_key_space_that_is_known_to_be_new_nobody_waits(
    virtual_clock: VirtualClock, redis_leases: Leases
) -> None:
    async with Cluster(virtual_clock, redis_leases) as cluster:
        (node,) = await cluster.start("a", fresh=True)
        assert node.leads()
        assert node.working()
        assert not node.of(TermQuarantined)


@virtual_time
async def test_that_it_was_new_once_says_nothing_of_a_later_loss(
    virtual_clock: VirtualClock, redis_leases: Leases, virtual_redis: Any
) -> None:
    async with Cluster(virtual_clock, redis_leases) as cluster:
        node = await leading(cluster)
        await virtual_redis.flushall()
        await virtual_clock.advance(3)
        assert not node.working()
        assert [said.reason for said in node.of(TermQuarantined)] == [UNKNOWN]


@virtual_time
async def test_a_leader_leads_for_long_in_one_term(virtual_clock: VirtualClock, leases: Leases) -> None:
    async with Cluster(virtual_clock, leases) as cluster:
        node = await leading(cluster)
        await virtual_clock.advance("10m")
        assert len(node.of(TermGained)) == 1
        assert not node.of(TermLost)
        assert not node.of(ResourceLost)
        renewals = node.line.times("renew")
        pauses = [after - before for before, after in itertools.pairwise(renewals)]
        assert max(pauses) <= TIMES.renew + INSTANT
        assert min(pauses) >= TIMES.renew * (1 - TIMES.jitter) - INSTANT


@virtual_time
async def test_a_clean_stop_needs_no_quarantine(virtual_clock: VirtualClock, leases: Leases) -> None:
    async with Cluster(virtual_clock, leases) as cluster:
        node = await leading(cluster)
        for _ in range(3):
            await node.supervisor.shutdown()
            await node.supervisor.start()
            await virtual_clock.settle()
            assert node.working()
        assert not node.of(TermQuarantined)
        tokens = [gained.token for gained in node.of(TermGained)]
        assert tokens == sorted(set(tokens))
        assert len(tokens) == 4


# -- two nodes and more --------------------------------------------------------------------------


@virtual_time
async def test_of_two_nodes_one_leads_and_the_other_knows_who(
    virtual_clock: VirtualClock, leases: Leases
) -> None:
    async with Cluster(virtual_clock, leases) as cluster:
        a, b = await a_leads_b_follows(cluster)
        assert not b.leads()
        assert b.supervisor.token is None
        assert b.state == "following"
        assert b.supervisor.snapshot().holder == a.supervisor.snapshot().holder
        assert str(b.supervisor.snapshot().holder).startswith("a:")


@virtual_time
async def test_a_follower_asks_no_more_often_than_a_lease_lasts(
    virtual_clock: VirtualClock, leases: Leases
) -> None:
    async with Cluster(virtual_clock, leases) as cluster:
        _, b = await a_leads_b_follows(cluster)
        before = len(b.line.calls)
        await virtual_clock.advance("10m")
        assert len(b.line.calls) - before <= 600 / (TIMES.lease - TIMES.renew) + 1


@virtual_time
async def test_after_a_clean_stop_the_next_one_works_at_once(
    virtual_clock: VirtualClock, leases: Leases
) -> None:
    async with Cluster(virtual_clock, leases) as cluster:
        a, b = await a_leads_b_follows(cluster)
        await a.supervisor.shutdown()
        stopped = virtual_clock.monotonic()
        await virtual_clock.advance(INSTANT)
        assert b.leads()
        assert b.spans[0].began - stopped <= INSTANT
        assert not b.of(TermQuarantined)
        assert a.state == "stopped"


@virtual_time
async def test_workers_have_ended_before_the_lease_is_released(
    virtual_clock: VirtualClock, leases: Leases
) -> None:
    async with Cluster(virtual_clock, leases) as cluster:
        a, b = await a_leads_b_follows(cluster)
        a.work("another")
        await virtual_clock.settle()
        stopping = asyncio.ensure_future(a.supervisor.shutdown())
        await virtual_clock.advance(TIMES.grace / 2)
        assert a.working() == 2  # in their grace
        assert isinstance(await b.line.look(), Held)
        await stopping
        released = [call for call in a.line.calls if call.what == "release"]
        assert [call.working for call in released] == [0]


@virtual_time
async def test_after_a_crash_the_next_one_works_when_the_lease_is_over(
    virtual_clock: VirtualClock, leases: Leases
) -> None:
    async with Cluster(virtual_clock, leases) as cluster:
        a, b = await a_leads_b_follows(cluster)
        a.line.spoil(hangs)  # nothing is heard of it any more
        last = max(at for at in a.line.times("renew") if at <= virtual_clock.monotonic())
        await virtual_clock.advance(TIMES.lease + 0.2)
        assert cluster.leaders == cluster.at_work == ["b"]
        assert last + TIMES.lease <= b.spans[0].began <= last + TIMES.lease + 0.1 + INSTANT
        assert not b.of(TermQuarantined)


@virtual_time
async def test_nobody_waits_for_a_whole_lease_when_a_release_is_not_heard_of(
    virtual_clock: VirtualClock, leases: Leases
) -> None:
    async with Cluster(virtual_clock, leases) as cluster:
        a, b = await a_leads_b_follows(cluster)
        b.line.spoil(hangs, "released")
        await virtual_clock.advance(TIMES.lease + 1)  # its present wait, on the old subscription, is over
        await a.supervisor.shutdown()
        await virtual_clock.advance(TIMES.lease + 0.2)
        assert b.working()


@virtual_time
async def test_who_was_told_that_nobody_can_be_at_work_believes_it_for_the_first_answer_only(
    virtual_clock: VirtualClock, redis_leases: Leases, virtual_redis: Any
) -> None:
    async with Cluster(virtual_clock, redis_leases) as cluster:
        await a_leads_b_follows(cluster)
        await virtual_redis.flushall()
        await virtual_clock.advance(TIMES.lease + 1)
        (leader,) = (node for node in cluster.nodes.values() if node.state == "quarantined")
        assert cluster.at_work == []
        await virtual_clock.advance(TIMES.quarantine)
        assert cluster.at_work == [leader.name]
        assert cluster.overlaps == []


@virtual_time
async def test_who_is_given_the_lease_and_never_hears_of_it_does_not_keep_it_from_the_others(
    virtual_clock: VirtualClock, redis_leases: Leases
) -> None:
    async with Cluster(virtual_clock, redis_leases) as cluster:
        deaf = cluster.node("deaf")
        deaf.line.spoil(loses_the_answer, "acquire")
        await deaf.supervisor.start()
        await virtual_clock.advance(1)
        await cluster.start("b")
        await virtual_clock.advance(60)
        assert cluster.at_work == ["b"]


@virtual_time
async def test_three_nodes_lead_one_after_the_other(virtual_clock: VirtualClock, leases: Leases) -> None:
    async with Cluster(virtual_clock, leases) as cluster:
        await cluster.start("a", "b", "c", fresh=True)
        await virtual_clock.advance(20)
        order: list[str] = []
        while len(order) < 3:
            (leader,) = cluster.leaders
            assert cluster.at_work == [leader]
            order.append(leader)
            await cluster.nodes[leader].supervisor.shutdown()
            await virtual_clock.advance(1)
        assert sorted(order) == ["a", "b", "c"]
        tokens = [span.token for span in cluster.spans]
        assert tokens == sorted(set(tokens))


@virtual_time
async def test_two_nodes_of_one_name_never_lead_both(virtual_clock: VirtualClock, leases: Leases) -> None:
    async with Cluster(virtual_clock, leases) as cluster:
        await cluster.start("a", "b", node_id="twin", fresh=True)
        await virtual_clock.advance(60)
        assert cluster.leaders == ["a"]
        await cluster.nodes["a"].supervisor.shutdown()
        await virtual_clock.advance(1)
        assert cluster.leaders == ["b"]
        assert {node.supervisor.node_id for node in cluster.nodes.values()} == {"twin"}


@virtual_time
async def test_a_lease_that_somebody_keeps_for_ever_is_asked_for_once_a_lease(
    virtual_clock: VirtualClock, redis_leases: Leases, virtual_redis: Any
) -> None:
    await virtual_redis.set(KEY, "somebody")
    async with Cluster(virtual_clock, redis_leases) as cluster:
        (node,) = await cluster.start("a")
        await virtual_clock.advance(60)
        assert node.supervisor.snapshot().holder == "somebody"
        # Once more when it begins to hear of releases, and when it has heard of none for a minute.
        assert len(node.line.times("acquire")) <= 60 / TIMES.lease + 1 + 2
        await virtual_redis.delete(KEY)
        await virtual_clock.advance(TIMES.lease + TIMES.quarantine + 1)
        assert node.working()


# -- the lease is lost ---------------------------------------------------------------------------


async def deleted(redis: Any) -> None:
    """The key alone."""
    await redis.delete(KEY)


async def all_deleted(redis: Any) -> None:
    """All that Redis knew."""
    await redis.flushall()


async def taken(redis: Any) -> None:
    """Somebody else is the owner, for three seconds."""
    await redis.set(KEY, "somebody", px=3000)


@pytest.mark.parametrize("lose", [deleted, all_deleted, taken])
@virtual_time
async def test_a_lost_lease_ends_the_work_and_is_had_again_after_a_quarantine(
    virtual_clock: VirtualClock,
    redis_leases: Leases,
    virtual_redis: Any,
    lose: Callable[[Any], Awaitable[None]],
) -> None:
    async with Cluster(virtual_clock, redis_leases) as cluster:
        node = await leading(cluster)
        await virtual_clock.advance(20)
        await lose(virtual_redis)
        lost = virtual_clock.monotonic()

        await virtual_clock.advance(TIMES.renew + TIMES.margin)
        assert [event.reason for event in node.of(TermLost)] == ["the lease was lost"]
        assert not node.leads()
        assert not node.working()
        assert node.spans[0].ended is not None
        assert node.spans[0].ended <= lost + TIMES.renew + TIMES.grace + TIMES.kill

        await virtual_clock.advance(2 * TIMES.lease)
        assert node.working()
        first, second = node.spans
        assert second.token > first.token
        assert len(node.of(TermGained)) == 2


@virtual_time
async def test_a_lease_that_vanished_is_not_worked_under_before_its_time_would_have_been_over(
    virtual_clock: VirtualClock, redis_leases: Leases, virtual_redis: Any
) -> None:
    async with Cluster(virtual_clock, redis_leases) as cluster:
        a, b = await a_leads_b_follows(cluster)
        a.line.spoil(hangs)  # it believes in its lease
        await virtual_redis.delete(KEY)
        lost = virtual_clock.monotonic()
        await virtual_clock.advance(2 * TIMES.lease + 1)
        assert b.working()
        (said,) = b.of(TermQuarantined)
        assert said.reason == "the lease was lost before its time" or b.spans[0].began > lost + TIMES.lease
        assert not cluster.overlaps


@virtual_time
async def test_a_step_of_redis_clock_that_ends_a_lease_early_costs_a_quarantine(
    virtual_clock: VirtualClock, redis_leases: Leases
) -> None:
    async with Cluster(virtual_clock, redis_leases) as cluster:
        a, b = await a_leads_b_follows(cluster, 22.3)
        a.line.spoil(hangs)  # it believes in its lease, and cannot hear that it is gone
        virtual_clock.step_wall(10)
        await virtual_clock.advance(20)
        assert cluster.at_work == ["b"]
        assert a.spans[0].ended is not None
        assert a.spans[0].ended < b.spans[0].began
        (said,) = b.of(TermQuarantined)
        assert "clock" in said.reason


@virtual_time
async def test_a_step_of_redis_clock_backwards_leaves_the_leader_leading(
    virtual_clock: VirtualClock, redis_leases: Leases
) -> None:
    async with Cluster(virtual_clock, redis_leases) as cluster:
        a, _ = await a_leads_b_follows(cluster)
        virtual_clock.step_wall(-3600)
        await virtual_clock.advance(60)
        assert cluster.leaders == ["a"]
        assert not a.of(TermLost)


# -- expired, by a clock that was watched, or not -----------------------------------------------


@virtual_time
async def test_a_node_that_just_came_does_not_believe_that_a_lease_was_over(
    virtual_clock: VirtualClock, redis_leases: Leases
) -> None:
    async with Cluster(virtual_clock, redis_leases) as cluster:
        a = await leading(cluster)
        await virtual_clock.advance(TIMES.renew)  # the server has heard that it is at work
        a.line.spoil(hangs)
        came = virtual_clock.monotonic()
        (b,) = await cluster.start("b")
        await virtual_clock.advance(TIMES.lease + 0.2)
        assert b.state == "quarantined"
        (said,) = b.of(TermQuarantined)
        assert "watched" in said.reason
        await virtual_clock.advance(1)
        assert b.spans[0].began == pytest.approx(came + TIMES.quarantine, abs=0.01)


# -- renewals fail -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        refuses,
        hangs,
        loses_the_answer,
        ignores_cancellation,
        raises(ValueError("what is this?")),
        raises(asyncio.CancelledError()),
    ],
    ids=["refuses", "hangs", "loses the answer", "ignores cancellation", "raises", "cancels"],
)
@pytest.mark.parametrize("phase", [0.0, 0.3, 0.85])
@virtual_time
async def test_without_renewals_it_is_demoted_on_the_dot(
    virtual_clock: VirtualClock, leases: Leases, fault: Fault, phase: float
) -> None:
    async with Cluster(virtual_clock, leases) as cluster:
        (node,) = await cluster.start("a", fresh=True, worker=False)
        told: list[float] = []

        async def worker(ctx: WorkerContext) -> None:
            with node.at_work(ctx):
                await ctx.stopping.wait()
                told.append(virtual_clock.monotonic())

        node.supervisor.register_task("work", worker)
        await virtual_clock.advance(10 + phase)
        node.line.spoil(fault, "renew", "acquire")
        last = node.line.times("renew")[-1]
        deadline = last + TIMES.trusted

        await virtual_clock.advance(deadline - virtual_clock.monotonic() - 2 * INSTANT)
        assert node.leads()
        assert not told
        await virtual_clock.advance(2 * INSTANT)
        assert not node.leads()
        assert node.spans[0].ended == pytest.approx(deadline, abs=INSTANT)
        assert told == [pytest.approx(deadline, abs=INSTANT)]


@virtual_time
async def test_an_answer_that_comes_after_the_end_of_its_term_changes_nothing(
    virtual_clock: VirtualClock, leases: Leases
) -> None:
    async with Cluster(virtual_clock, leases) as cluster:
        node = await leading(cluster)
        node.line.spoil(ignores_cancellation, "renew", "acquire", "release")
        await virtual_clock.advance(TIMES.renew + TIMES.trusted)
        assert not node.leads()
        await virtual_clock.advance(2)
        assert len(node.of(TermLost)) == 1
        assert not node.working()
        before = len(node.of(TermGained))
        node.line.spoil(hangs)  # what comes now fails; what hung before is still to answer
        node.line.mended.set()
        await virtual_clock.settle()
        assert not node.leads()
        assert not node.working()
        assert len(node.of(TermGained)) == before


@virtual_time
async def test_the_line_to_redis_may_fail_for_a_moment(virtual_clock: VirtualClock, leases: Leases) -> None:
    async with Cluster(virtual_clock, leases) as cluster:
        node = await leading(cluster)
        for _ in range(5):
            await virtual_clock.advance(10)
            node.line.spoil(refuses)
            await virtual_clock.advance(1.5)
            node.line.mend()
        await virtual_clock.advance(10)
        assert not node.of(TermLost)
        assert len(node.of(ResourceLost)) == len(node.of(ResourceRegained)) == 5
        assert {event.resource for event in node.of(ResourceLost)} == {f"lease {KEY}"}


@virtual_time
async def test_as_many_attempts_fit_in_as_the_times_say(virtual_clock: VirtualClock, leases: Leases) -> None:
    async with Cluster(virtual_clock, leases) as cluster:
        node = await leading(cluster)
        await virtual_clock.advance(10)
        node.line.spoil(hangs, "renew")
        last = node.line.times("renew")[-1]
        await virtual_clock.advance(TIMES.trusted + 1)
        tried = [at for at in node.line.times("renew") if last < at < last + TIMES.trusted - TIMES.attempt]
        assert len(tried) >= TIMES.attempts


@virtual_time
async def test_a_partitioned_leader_has_ended_its_work_before_the_next_one_begins(
    virtual_clock: VirtualClock, leases: Leases
) -> None:
    async with Cluster(virtual_clock, leases) as cluster:
        a, b = await a_leads_b_follows(cluster)
        for _ in range(20):
            leader = cluster.nodes[cluster.leaders[0]]
            leader.line.spoil(hangs)
            await virtual_clock.advance(TIMES.lease + 1.1)
            assert cluster.leaders != [leader.name]
            leader.line.mend()
            await virtual_clock.advance(7.7)
            assert len(cluster.leaders) == 1
        assert len(a.of(TermGained)) > 5
        assert len(b.of(TermGained)) > 5


@virtual_time
async def test_a_term_whose_renewing_was_cancelled_by_the_host_is_over(
    virtual_clock: VirtualClock, leases: Leases
) -> None:
    async with Cluster(virtual_clock, leases) as cluster:
        node = await leading(cluster)
        for task in asyncio.all_tasks():
            if task.get_name().endswith(":renew"):
                task.cancel()
        await virtual_clock.settle()
        assert not node.leads()
        await virtual_clock.advance(TIMES.margin)
        assert [event.reason for event in node.of(TermLost)] == ["its renewal ended"]


# -- the event loop stands still -----------------------------------------------------------------


@virtual_time
async def test_after_a_stall_nobody_is_leader_even_before_a_timer_ran(
    virtual_clock: VirtualClock, leases: Leases
) -> None:
    async with Cluster(virtual_clock, leases) as cluster:
        node = cluster.node(worker=False, fresh=True)
        seen: list[Any] = []

        async def worker(ctx: WorkerContext) -> None:
            await asyncio.sleep(1.5)
            assert ctx.check() == ctx.token
            virtual_clock.stall(TIMES.trusted + 0.01)
            seen.extend((node.leads(), node.supervisor.token, ctx.remaining()))
            with pytest.raises(NotLeader, match="not renewed in time"):
                ctx.check()
            with pytest.raises(NotLeader):
                await node.supervisor.verify_leadership_before_destructive()
            seen.append("looked")
            await asyncio.Event().wait()

        node.supervisor.register_task("work", worker)
        await node.supervisor.start()
        await virtual_clock.advance(6)
        assert seen[:4] == [False, None, 0.0, "looked"]
        assert node.of(TermLost)[0].reason == "it was not renewed in time"


@pytest.mark.parametrize("phase", [0.0, 0.2, 0.4, 0.6, 0.8, 0.89, 0.95])
@virtual_time
async def test_a_stall_of_a_second_does_not_cost_the_lease(
    virtual_clock: VirtualClock, leases: Leases, phase: float
) -> None:
    async with Cluster(virtual_clock, leases) as cluster:
        node = await leading(cluster)
        for _ in range(10):
            await virtual_clock.advance(5 + phase)
            virtual_clock.stall(TIMES.stall)
            assert node.leads()
            await virtual_clock.settle()
        assert not node.of(TermLost)


@virtual_time
async def test_a_long_stall_costs_the_lease_and_no_two_work_at_once(
    virtual_clock: VirtualClock, leases: Leases
) -> None:
    async with Cluster(virtual_clock, leases) as cluster:
        a, _ = await a_leads_b_follows(cluster)
        virtual_clock.stall(30)
        assert cluster.leaders == []
        await virtual_clock.advance(20)
        assert len(cluster.leaders) == 1
        assert cluster.at_work == cluster.leaders
        assert len(a.of(TermLost)) == 1


# -- handing over --------------------------------------------------------------------------------


@virtual_time
async def test_who_resigns_holds_back_so_that_another_can_lead(
    virtual_clock: VirtualClock, leases: Leases
) -> None:
    async with Cluster(virtual_clock, leases) as cluster:
        a, b = await a_leads_b_follows(cluster)
        a.supervisor.resign("maintenance")
        await virtual_clock.advance(TIMES.grace + 0.1)
        assert cluster.leaders == cluster.at_work == ["b"]
        assert [event.reason for event in a.of(TermLost)] == ["maintenance"]
        assert a.state == "following"
        assert not b.of(TermQuarantined)

        (lost,) = a.when(TermLost)
        await b.supervisor.shutdown()
        assert not a.working()
        await virtual_clock.advance(TIMES.lease + 0.2)
        assert cluster.at_work == ["a"]
        stood = [at for at in a.line.times("acquire") if at > lost]
        assert stood[0] >= lost + TIMES.lease - INSTANT


@virtual_time
async def test_the_word_to_resign_is_heard_at_the_next_renewal(
    virtual_clock: VirtualClock, leases: Leases
) -> None:
    async with Cluster(virtual_clock, leases) as cluster:
        a, b = await a_leads_b_follows(cluster)
        owner = a.supervisor.snapshot().holder
        assert owner is not None
        await b.line.ask_to_resign(owner)
        await virtual_clock.advance(TIMES.renew + TIMES.grace + 0.1)
        assert cluster.at_work == ["b"]
        assert [event.reason for event in a.of(TermLost)] == ["asked to resign"]
        await virtual_clock.advance(60)
        assert cluster.at_work == ["b"]


@virtual_time
async def test_a_word_to_another_term_moves_nobody(virtual_clock: VirtualClock, leases: Leases) -> None:
    async with Cluster(virtual_clock, leases) as cluster:
        a, b = await a_leads_b_follows(cluster)
        await b.line.ask_to_resign("a:another term")
        await virtual_clock.advance(60)
        assert cluster.leaders == ["a"]
        assert not a.of(TermLost)


@virtual_time
async def test_to_resign_does_nothing_for_a_follower(virtual_clock: VirtualClock, leases: Leases) -> None:
    async with Cluster(virtual_clock, leases) as cluster:
        a, b = await a_leads_b_follows(cluster)
        b.supervisor.resign()
        await a.supervisor.shutdown()
        await virtual_clock.advance(INSTANT)
        assert cluster.at_work == ["b"]


@virtual_time
async def test_who_resigns_alone_leads_again_after_a_lease(
    virtual_clock: VirtualClock, leases: Leases
) -> None:
    async with Cluster(virtual_clock, leases) as cluster:
        node = await leading(cluster)
        for _ in range(3):
            node.supervisor.resign()
        await virtual_clock.advance(TIMES.lease)
        assert not node.leads()
        await virtual_clock.advance(1)
        assert node.working()
        assert len(node.of(TermGained)) == 2


@virtual_time
async def test_to_resign_in_quarantine_lets_go_at_once(
    virtual_clock: VirtualClock, redis_leases: Leases, virtual_redis: Any
) -> None:
    async with Cluster(virtual_clock, redis_leases) as cluster:
        (node,) = await cluster.start("a")
        assert node.state == "quarantined"
        node.supervisor.resign()
        await virtual_clock.settle()
        assert await virtual_redis.get(KEY) is None
        assert not node.of(TermGained)


@pytest.mark.parametrize("how", ["it resigns", "it is shut down", "it dies"])
@virtual_time
async def test_whoever_follows_on_a_quarantined_term_is_quarantined_for_as_long(
    virtual_clock: VirtualClock, redis_leases: Leases, how: str
) -> None:
    async with Cluster(virtual_clock, redis_leases) as cluster:
        (first,) = await cluster.start("a")
        await virtual_clock.advance(1.2 * TIMES.renew)
        if how == "it resigns":
            first.supervisor.resign()
        elif how == "it is shut down":
            await first.supervisor.shutdown()
        else:
            first.line.spoil(hangs)
        left = virtual_clock.monotonic()
        (second,) = await cluster.start("b")
        await virtual_clock.advance(TIMES.lease + TIMES.quarantine + 1)
        assert second.of(TermQuarantined)[0].reason == "the term before ended in its quarantine"
        assert cluster.spans[0].node == "b"
        assert cluster.spans[0].began >= left + TIMES.quarantine


# -- Redis is not there --------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [refuses, hangs, raises(UnsuitableServer("no permission"))])
@virtual_time
async def test_a_redis_that_is_away_at_the_start_is_said_once_and_waited_for(
    virtual_clock: VirtualClock, leases: Leases, fault: Fault
) -> None:
    async with Cluster(virtual_clock, leases) as cluster:
        node = cluster.node(fresh=True)
        node.line.spoil(fault)
        began = virtual_clock.monotonic()
        await node.supervisor.start()
        assert virtual_clock.monotonic() == began
        await virtual_clock.advance("1h")
        assert len(node.of(ResourceLost)) == 1
        assert node.state == "following"
        assert len(node.line.times("acquire")) <= 3600 / 1.0 + 10  # its pauses grow to a second and more

        node.line.mend()
        await virtual_clock.advance(3)
        (said,) = node.of(ResourceRegained)
        assert said.seconds == pytest.approx(3600, abs=5)
        assert node.working()


@virtual_time
async def test_a_grant_whose_answer_was_lost_is_had_by_asking_again(virtual_clock: VirtualClock) -> None:
    async with Cluster(virtual_clock) as cluster:
        node = cluster.node()
        node.line.spoil(loses_the_answer, "acquire")
        await node.supervisor.start()
        await virtual_clock.advance(TIMES.attempt + INSTANT)
        node.line.mend()
        await virtual_clock.advance(0.2)
        assert node.working()
        assert node.supervisor.token == 1  # one term, not two


@virtual_time
async def test_a_grant_whose_answer_was_lost_is_given_back_by_who_stops(
    virtual_clock: VirtualClock, leases: Leases
) -> None:
    async with Cluster(virtual_clock, leases) as cluster:
        node = cluster.node()
        node.line.spoil(loses_the_answer, "acquire")
        await node.supervisor.start()
        await virtual_clock.advance(TIMES.attempt / 2)
        assert isinstance(await node.line.look(), Held)
        await node.supervisor.shutdown()
        assert await node.line.look() is None


@pytest.mark.parametrize("error", [ValueError("what is this?"), ConnectionError("closed by the server")])
@virtual_time
async def test_who_listens_for_releases_survives_an_error_that_nobody_foresaw(
    virtual_clock: VirtualClock, leases: Leases, error: Exception
) -> None:
    async with Cluster(virtual_clock, leases) as cluster:
        a = await leading(cluster)
        b = cluster.node("b")
        b.line.spoil(raises(error), "released")
        await b.supervisor.start()
        await virtual_clock.advance(1)
        b.line.mend()
        await virtual_clock.advance(TIMES.renew + 0.1)
        await a.supervisor.shutdown()
        await virtual_clock.advance(INSTANT)
        assert b.leads()


# -- what is made ready first --------------------------------------------------------------------


@virtual_time
async def test_what_is_to_be_done_first_is_done_before_the_first_worker_of_each_term(
    virtual_clock: VirtualClock, leases: Leases
) -> None:
    async with Cluster(virtual_clock, leases) as cluster:
        node = cluster.node(fresh=True)
        order: list[tuple[str, int, int]] = []

        async def prepare(term: Term) -> None:
            order.append(("begun", term.token, node.working()))
            await asyncio.sleep(1)
            order.append(("done", term.token, node.working()))

        node.supervisor.before_work(prepare)
        node.supervisor.before_work(prepare)
        await node.supervisor.start()
        await virtual_clock.advance(1.9)
        assert not node.working()
        await virtual_clock.advance(0.2)
        assert node.working()
        node.supervisor.resign()
        await virtual_clock.advance(TIMES.lease + 3)
        assert node.working()
        first, second = (gained.token for gained in node.of(TermGained))
        assert order == [
            (what, token, 0) for token in (first, second) for what in ("begun", "done", "begun", "done")
        ]


@virtual_time
async def test_a_node_that_cannot_prepare_hands_over(virtual_clock: VirtualClock, leases: Leases) -> None:
    async with Cluster(virtual_clock, leases) as cluster:
        a = cluster.node("a", fresh=True)
        b = cluster.node("b")

        async def prepare(term: Term) -> None:
            raise ValueError("no graph here")

        a.supervisor.before_work(prepare)
        await a.supervisor.start()
        await virtual_clock.settle()
        await b.supervisor.start()
        await virtual_clock.advance(1)
        assert cluster.at_work == ["b"]
        assert not a.spans
        (lost,) = a.of(TermLost)
        assert lost.reason.endswith("prepared: ValueError: no graph here")


@virtual_time
async def test_a_node_that_cannot_prepare_tries_again_once_a_lease(
    virtual_clock: VirtualClock, leases: Leases
) -> None:
    async with Cluster(virtual_clock, leases) as cluster:
        node = cluster.node(fresh=True)
        tried: list[float] = []

        async def prepare(term: Term) -> None:
            tried.append(virtual_clock.monotonic())
            raise ValueError("no graph here")

        node.supervisor.before_work(prepare)
        await node.supervisor.start()
        await virtual_clock.advance(60)
        assert 10 <= len(tried) <= 13
        assert not node.spans


@virtual_time
async def test_preparing_that_hangs_is_cancelled_when_its_term_is_over(
    virtual_clock: VirtualClock, leases: Leases
) -> None:
    async with Cluster(virtual_clock, leases) as cluster:
        node = cluster.node(fresh=True)
        cancelled: list[float] = []

        async def prepare(term: Term) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.append(virtual_clock.monotonic())

        node.supervisor.before_work(prepare)
        await node.supervisor.start()
        await virtual_clock.advance(20)
        assert not cancelled
        assert not node.working()
        node.line.spoil(refuses, "renew")
        await virtual_clock.advance(TIMES.trusted)
        assert len(cancelled) == 1
        node.line.mend()
        await virtual_clock.advance(2 * TIMES.lease)
        await node.supervisor.shutdown()
        assert len(cancelled) == 2
        assert not node.spans


@virtual_time
async def test_preparing_that_was_cancelled_by_itself_has_not_succeeded(
    virtual_clock: VirtualClock, leases: Leases
) -> None:
    async with Cluster(virtual_clock, leases) as cluster:
        node = cluster.node(fresh=True)

        async def prepare(term: Term) -> None:
            inner = asyncio.get_running_loop().create_future()
            inner.cancel()
            await inner

        node.supervisor.before_work(prepare)
        await node.supervisor.start()
        await virtual_clock.advance(1)
        assert not node.spans
        assert len(node.of(TermLost)) == 1


@virtual_time
async def test_preparing_that_fails_when_it_is_cancelled_makes_no_noise(
    virtual_clock: VirtualClock, leases: Leases
) -> None:
    async with Cluster(virtual_clock, leases) as cluster:
        node = cluster.node(fresh=True)

        async def prepare(term: Term) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                raise ValueError("and now this")

        node.supervisor.before_work(prepare)
        await node.supervisor.start()
        await virtual_clock.advance(1)
        await node.supervisor.shutdown()


@virtual_time
async def test_preparing_has_ended_before_the_lease_is_released(
    virtual_clock: VirtualClock, leases: Leases
) -> None:
    async with Cluster(virtual_clock, leases) as cluster:
        node = cluster.node(fresh=True)
        ended: list[float] = []

        async def prepare(term: Term) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0.1)
                ended.append(virtual_clock.monotonic())

        node.supervisor.before_work(prepare)
        await node.supervisor.start()
        await virtual_clock.advance(1)
        await node.supervisor.shutdown()
        await virtual_clock.advance(1)
        assert ended
        assert ended[0] <= node.line.times("release")[0]


@virtual_time
async def test_preparing_that_swallows_its_cancellation_starts_nobody(
    virtual_clock: VirtualClock, leases: Leases
) -> None:
    async with Cluster(virtual_clock, leases) as cluster:
        node = cluster.node(fresh=True)

        async def prepare(term: Term) -> None:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

        node.supervisor.before_work(prepare)
        await node.supervisor.start()
        await virtual_clock.advance(1)
        await node.supervisor.shutdown()
        await virtual_clock.advance(1)
        assert not node.spans


@virtual_time
async def test_while_a_past_preparing_does_not_end_the_node_does_not_stand(
    virtual_clock: VirtualClock, leases: Leases
) -> None:
    async with Cluster(virtual_clock, leases) as cluster:
        node = cluster.node(fresh=True)
        free = asyncio.Event()

        async def prepare(term: Term) -> None:
            while not free.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await free.wait()

        node.supervisor.before_work(prepare)
        await node.supervisor.start()
        await virtual_clock.advance(1)
        node.line.spoil(refuses, "renew")
        await virtual_clock.advance(TIMES.trusted + TIMES.margin + 0.1)
        node.line.mend()
        state = node.state
        await virtual_clock.advance(60)
        stood = len(node.line.times("acquire"))
        free.set()
        await virtual_clock.advance(TIMES.quarantine)
        assert state == "stuck"
        assert stood == 1
        assert node.working()


# -- before something destructive ----------------------------------------------------------------


@virtual_time
async def test_the_token_is_given_once_the_server_has_confirmed_it(
    virtual_clock: VirtualClock, leases: Leases
) -> None:
    async with Cluster(virtual_clock, leases) as cluster:
        a, _ = await a_leads_b_follows(cluster)
        asked = len(a.line.times("look"))
        assert await a.supervisor.verify_leadership_before_destructive() == a.supervisor.token
        assert await a.supervisor.verify_leadership_before_destructive(1.0) == a.supervisor.token
        assert len(a.line.times("look")) == asked + 2


async def refused(node: Node, why: str, **options: float) -> None:
    with pytest.raises(RuntimeError, match=why) as caught:
        await node.supervisor.verify_leadership_before_destructive(**options)
    assert isinstance(caught.value, NotLeader)


@virtual_time
async def test_it_is_refused_to_all_but_the_leader(virtual_clock: VirtualClock, leases: Leases) -> None:
    async with Cluster(virtual_clock, leases) as cluster:
        a, b = await a_leads_b_follows(cluster)
        await refused(b, "not the leader")
        await refused(cluster.node("c"), "not the leader")
        await a.supervisor.shutdown()
        await refused(a, "not the leader")


@virtual_time
async def test_it_is_refused_in_quarantine(virtual_clock: VirtualClock, redis_leases: Leases) -> None:
    async with Cluster(virtual_clock, redis_leases) as cluster:
        (node,) = await cluster.start("a")
        assert node.state == "quarantined"
        await refused(node, "not the leader")


@pytest.mark.parametrize(
    ("lose", "why"),
    [(deleted, "the lease is gone"), (all_deleted, "the lease is gone"), (taken, "owned by another: some")],
)
@virtual_time
async def test_it_is_refused_when_the_server_says_otherwise(
    virtual_clock: VirtualClock,
    redis_leases: Leases,
    virtual_redis: Any,
    lose: Callable[[Any], Awaitable[None]],
    why: str,
) -> None:
    async with Cluster(virtual_clock, redis_leases) as cluster:
        node = await leading(cluster)
        await lose(virtual_redis)
        assert node.leads()  # by its own clock
        await refused(node, why)


@virtual_time
async def test_it_is_refused_for_a_lease_of_which_nobody_knows_how_long_it_lasts(
    virtual_clock: VirtualClock, redis_leases: Leases, virtual_redis: Any
) -> None:
    async with Cluster(virtual_clock, redis_leases) as cluster:
        node = await leading(cluster)
        await virtual_redis.persist(KEY)
        await refused(node, "are left")


@pytest.mark.parametrize(
    "fault",
    [refuses, hangs, ignores_cancellation, raises(ValueError("what?")), raises(asyncio.CancelledError())],
)
@virtual_time
async def test_it_is_refused_where_there_is_doubt_and_soon(
    virtual_clock: VirtualClock, leases: Leases, fault: Fault
) -> None:
    async with Cluster(virtual_clock, leases) as cluster:
        node = await leading(cluster)
        node.line.spoil(fault, "look")
        began = virtual_clock.monotonic()
        await refused(node, "not known")
        assert virtual_clock.monotonic() - began <= TIMES.attempt + INSTANT
        assert node.leads()


@virtual_time
async def test_it_is_refused_when_too_little_of_the_lease_is_left(
    virtual_clock: VirtualClock, leases: Leases
) -> None:
    async with Cluster(virtual_clock, leases) as cluster:
        node = await leading(cluster)
        await refused(node, "less than 3 s", min_remaining=3)
        left = node.supervisor.snapshot().remaining
        await refused(node, "are left", min_remaining=left + INSTANT)
        assert await node.supervisor.verify_leadership_before_destructive(left - 2 * INSTANT)


@virtual_time
async def test_it_is_refused_when_the_term_ended_while_the_server_was_asked(
    virtual_clock: VirtualClock, leases: Leases
) -> None:
    async with Cluster(virtual_clock, leases) as cluster:
        node = await leading(cluster)
        node.line.spoil(refuses, "renew")
        last = node.line.times("renew")[-1] if node.line.times("renew") else 0.0
        await virtual_clock.advance(last + TIMES.trusted - virtual_clock.monotonic() - 0.1)
        assert node.leads()
        node.line.spoil(ignores_cancellation)
        asked = asyncio.ensure_future(node.supervisor.verify_leadership_before_destructive())
        await virtual_clock.advance(0.2)  # less than an attempt may take
        node.line.mend()
        with pytest.raises(NotLeader, match="are left"):
            await asked
