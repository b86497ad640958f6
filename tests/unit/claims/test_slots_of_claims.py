"""Claimed runs that wait for a slot."""

from __future__ import annotations

from tests.support.task_cluster import Cluster

from bgtasks import Every


class TestSlots:
    def test_a_claimed_run_waits_for_one(self) -> None:
        cluster = Cluster(names="a", max_concurrent=1)
        for name in ("one", "two", "three"):
            cluster.task(name, Every("1h", fixed_rate=True), 10.0)
        cluster.play(60)
        assert sorted(start.at for start in cluster.ledger) == [0.0, 10.0, 20.0]
        assert len({start.task for start in cluster.ledger}) == 3

    def test_a_run_that_waits_for_one_is_given_back_by_a_stop(self) -> None:
        cluster = Cluster(names="ab", max_concurrent=1)
        for name in ("one", "two"):
            cluster.task(name, Every("1h", fixed_rate=True), 10.0)

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(5)
            await cluster.start("b")
            await cluster.stop("a")
            await cluster.clock.advance(60)
            done = [*await cluster.runs("one"), *await cluster.runs("two")]
            assert sorted(run.status for run in done) == ["lost", "lost", "success", "success"]

        cluster.run(main)

    def test_a_run_that_waits_for_one_is_not_begun_when_the_claim_is_lost(self) -> None:
        cluster = Cluster(names="ab", max_concurrent=1)
        for name in ("one", "two"):
            cluster.task(name, Every("1h", fixed_rate=True), 30.0)

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(1)
            cluster.a.reach.cut()
            await cluster.start("b")
            await cluster.clock.advance(200)
            for name in ("one", "two"):
                assert [run.status for run in await cluster.runs(name)] == ["lost", "success"]

        cluster.run(main)
        assert not cluster.met
        assert [start.node for start in cluster.ledger] == ["a", "b", "b"]
