"""Runs of cluster tasks that somebody asks for beside the schedule."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tests.support.task_cluster import Cluster

from bgtasks import Done, Every, Skipped


class TestRunNow:
    def outcome_of(self, cluster: Cluster, name: str, before: float, prepare: Callable[[], Any]) -> Any:
        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(before)
            prepare()
            self.outcome = await cluster.a.scheduler.run_now(name)
            self.took = cluster.now - before
            await cluster.clock.advance(60)

        cluster.run(main)
        return self.outcome

    def test_runs_it_here_with_a_claim(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("1h", fixed_rate=True), 1.0)
        assert self.outcome_of(cluster, "grid", 10, lambda: None) == Done()
        assert cluster.times("grid") == [0.0, 10.0]
        assert cluster.ledger[1].node == "a"
        assert cluster.ledger[1].token > cluster.ledger[0].token

    def test_as_soon_as_it_is_started(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("1h", fixed_rate=True), 1.0, initial_delay="30m")
        assert self.outcome_of(cluster, "grid", 0, lambda: None) == Done()
        assert cluster.dues("grid") == [cluster.at(0)]

    def test_leaves_a_fixed_rate_as_it_is(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("20s", fixed_rate=True))
        self.outcome_of(cluster, "grid", 10, lambda: None)
        assert cluster.times("grid") == [0.0, 10.0, 20.0, 40.0, 60.0]

    def test_measures_a_plain_interval_anew(self, cluster: Cluster) -> None:
        cluster.task("plain", "20s")
        self.outcome_of(cluster, "plain", 10, lambda: None)
        assert cluster.times("plain") == [0.0, 10.0, 30.0, 50.0, 70.0]

    def test_of_a_task_that_is_paused(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("1h", fixed_rate=True))
        outcome = self.outcome_of(cluster, "grid", 10, lambda: cluster.a.scheduler.pause("grid"))
        assert outcome == Done()

    def test_beside_a_run_is_skipped_and_not_run_later(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("1h", fixed_rate=True), 20.0, on="a")
        outcome = self.outcome_of(cluster, "grid", 10, lambda: None)
        assert outcome == Skipped("the previous run is still going")
        assert cluster.times("grid") == [0.0]

    def test_beside_a_run_that_allows_it(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("1h", fixed_rate=True), 20.0, overlap="allow")
        assert self.outcome_of(cluster, "grid", 10, lambda: None) == Done()
        assert cluster.times("grid") == [0.0, 10.0]

    def test_while_the_store_is_away_is_skipped_soon(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("1h", fixed_rate=True))
        outcome = self.outcome_of(cluster, "grid", 10, cluster.a.reach.cut)
        assert isinstance(outcome, Skipped)
        assert self.took <= 2

    def test_while_the_store_does_not_answer_is_skipped_in_time(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("1h", fixed_rate=True))

        def hang() -> None:
            cluster.a.reach.hangs = True

        assert isinstance(self.outcome_of(cluster, "grid", 10, hang), Skipped)
        assert self.took <= 3

    def test_is_answered_when_the_session_is_lost_before_it_is_had(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("1h", fixed_rate=True))

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(10)
            cluster.a.reach.deaf["accept"] = 100
            cluster.a.reach.delay["beat"] = 5.0
            asked = asyncio.create_task(cluster.a.scheduler.run_now("grid"))
            await asyncio.wait((asked,), timeout=120)
            assert asked.done()
            cluster.a.reach.deaf.clear()
            cluster.a.reach.delay.clear()

        cluster.run(main)

    def test_of_a_task_that_is_removed_before_it_is_had(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("1h", fixed_rate=True))

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(10)
            cluster.a.reach.slow["accept"] = 1.0
            asked = asyncio.create_task(cluster.a.scheduler.run_now("grid"))
            await asyncio.sleep(0.5)
            await cluster.a.scheduler.remove("grid")
            await cluster.clock.advance(10)
            assert isinstance(asked.result(), Skipped)
            assert cluster.times("grid") == [0.0]

        cluster.run(main)
