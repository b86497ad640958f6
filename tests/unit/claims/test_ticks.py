"""Several nodes on one store: each tick of a cluster task is started once, wherever that may be."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from tests.support.task_cluster import Cluster

from bgtasks import Cron, Every, Once
from bgtasks.claims.pace import GATHER
from bgtasks.events import RunMissed
from bgtasks.records import RunStatus
from bgtasks.testing import VirtualClock, run_virtual


class TestATickIsStartedOnce:
    def test_of_a_fixed_rate(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("5s", fixed_rate=True), 1.0)
        cluster.play(62)
        assert cluster.dues("grid") == [cluster.at(5 * step) for step in range(13)]
        assert cluster.times("grid") == [5.0 * step for step in range(13)]

    def test_of_a_calendar(self, cluster: Cluster) -> None:
        cluster.task("cron", Cron("*/5 * * * *"), 1.0)
        cluster.play(3601)
        assert cluster.dues("cron") == [cluster.at(300 * step) for step in range(1, 13)]

    def test_of_once(self, cluster: Cluster) -> None:
        cluster.task("once", Once(cluster.at(90)))
        cluster.play(600)
        assert cluster.times("once") == [90.0]

    def test_of_a_plain_interval_which_is_from_the_end_of_one_run_to_the_next_on_any_node(
        self, cluster: Cluster
    ) -> None:
        cluster.task("plain", "7s", 2.0)
        cluster.play(91)
        assert cluster.times("plain") == [9.0 * step for step in range(11)]
        assert len({start.node for start in cluster.ledger}) > 1

    def test_of_an_interval_that_is_shorter_than_a_beat(self, cluster: Cluster) -> None:
        cluster.task("plain", "1s", 0.5)
        cluster.play(20)
        assert all(1.5 <= after - before < 2.5 for before, after in pairwise(cluster.times("plain")))

    def test_of_a_hundred_tasks(self, cluster: Cluster) -> None:
        for number in range(100):
            cluster.task(f"task {number}", Every("60s", fixed_rate=True))
        cluster.play(121)
        for number in range(100):
            first, *rest = cluster.times(f"task {number}")
            assert first <= 2 * GATHER  # they are due as they become known
            assert rest == [60.0, 120.0]

    def test_with_a_token_larger_than_the_last(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("1s", fixed_rate=True))
        cluster.play(30)
        tokens = [start.token for start in cluster.ledger]
        assert all(before < after for before, after in pairwise(tokens))

    def test_though_the_store_is_slow_to_hear_and_to_answer(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("5s", fixed_rate=True), 1.0)
        for call in ("claim", "beat", "finish"):
            cluster.a.reach.delay[call] = cluster.b.reach.slow[call] = 1.0
        cluster.play(62)
        dues = cluster.dues("grid")
        assert dues == [cluster.at(5 * step) for step in range(len(dues))]
        assert len(dues) > 10
        assert not cluster.met

    def test_and_what_is_kept_of_it_says_where_and_how_it_went(self, cluster: Cluster) -> None:
        async def counts() -> dict[str, int]:
            await asyncio.sleep(2)
            return {"rows": 3}

        cluster.task("grid", Every("1h", fixed_rate=True), counts)

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(10)
            (run,) = await cluster.runs("grid")
            (start,) = cluster.ledger
            assert (run.status, run.result_json, run.duration_ms) == (RunStatus.SUCCESS, '{"rows": 3}', 2000)
            assert (run.node_id, run.token, run.due) == (start.node, start.token, start.due)
            assert (await cluster.row("grid")).next_run_at == cluster.at(3600)

        cluster.run(main)


class TestDaylightSaving:
    """Two nodes; both end and begin anew in the middle of the shift."""

    @pytest.mark.parametrize(
        "expression",
        [
            "30 2 * * *",
            "30 * * * *",
            pytest.param("*/20 2 * * *", marks=pytest.mark.full),
            pytest.param("15 1,2,3 * * *", marks=pytest.mark.full),
        ],
    )
    @pytest.mark.parametrize(
        "shift",
        [datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC)],
        ids=["gap", "fold"],
    )
    def test_each_instant_of_the_trigger_is_started_once(self, expression: str, shift: datetime) -> None:
        begin, end = shift - timedelta(hours=2), shift + timedelta(hours=2.5)
        trigger = Cron(expression, "Europe/Berlin")
        cluster = Cluster(VirtualClock(begin), "ab")
        cluster.task("cron", trigger, 1.0)

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(shift - timedelta(minutes=10, seconds=20) - cluster.clock.now())
            for name in "abba":
                await cluster.stop(name)
                cluster.process(name)
                await cluster.clock.advance("19m")
                await cluster.start(name)
                await cluster.clock.advance("1m")
            await cluster.clock.advance(end - cluster.clock.now())

        cluster.run(main)
        wanted, when = [], trigger.next_after(begin)
        while when is not None and when <= end:
            wanted.append(when)
            when = trigger.next_after(when)
        assert cluster.dues("cron") == wanted
        assert cluster.events(RunMissed) == []


class TestAnEventLoopThatIsClosedUnderIt:
    def test_is_survived_and_the_next_tick_is_started_in_the_next(self) -> None:
        clock = VirtualClock()
        cluster = Cluster(clock, "ab")
        cluster.task("slow", Every("20s", fixed_rate=True), 10.0)

        async def first(_: VirtualClock) -> None:
            await cluster.start("a")
            await clock.advance(5)

        async def then() -> None:
            await cluster.start("a")
            await clock.advance(60)

        run_virtual(first, clock)
        cluster.run(then)
        assert cluster.times("slow") == [0.0, 5.0, 20.0, 40.0, 60.0]  # what was cut short is had again
        assert not cluster.met
