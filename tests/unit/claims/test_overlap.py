"""A tick of a cluster task that comes while the run before it is going, on whatever node."""

from __future__ import annotations

import pytest
from tests.support.task_cluster import Cluster

from bgtasks import Every
from bgtasks.events import RunSkipped


class TestARunThatMeetsTheOneBefore:
    """Ticks at 0, 10, 20, …; each run takes 25 seconds."""

    def play(self, cluster: Cluster, overlap: str, seconds: float = 84) -> None:
        cluster.task("slow", Every("10s", fixed_rate=True), 25.0, overlap=overlap)
        cluster.play(seconds)

    def test_is_skipped_and_that_is_said_and_kept(self, cluster: Cluster) -> None:
        self.play(cluster, "skip")
        assert cluster.times("slow") == [0.0, 30.0, 60.0]
        skipped = sorted(event.due for event in cluster.events(RunSkipped))
        assert skipped == [cluster.at(each) for each in (10, 20, 40, 50, 70, 80)]
        assert not cluster.met

    def test_is_queued_and_only_one(self, cluster: Cluster) -> None:
        self.play(cluster, "queue")
        assert cluster.dues("slow") == [cluster.at(each) for each in (0, 10, 30, 60)]
        first, second, third = cluster.times("slow")[:3]
        assert first == 0.0
        assert 25 <= second < 29
        assert 50 <= third < 58
        assert not cluster.met

    def test_overtakes_it_and_that_is_not_run_again(self, cluster: Cluster) -> None:
        self.play(cluster, "cancel", 38)
        assert cluster.dues("slow") == [cluster.at(each) for each in (0, 10, 20, 30)]
        assert not cluster.met
        assert {start.attempt for start in cluster.ledger} == {1}
        times = cluster.times("slow")
        assert all(10 * step <= at < 10 * step + 7 for step, at in enumerate(times))

    def test_runs_beside_it(self, cluster: Cluster) -> None:
        self.play(cluster, "allow")
        assert cluster.times("slow") == [10.0 * step for step in range(9)]
        assert "slow" in cluster.met

    @pytest.mark.parametrize("overlap", ["queue", "cancel"])
    def test_is_not_said_to_be_skipped_when_it_waits(self, cluster: Cluster, overlap: str) -> None:
        self.play(cluster, overlap, 15)
        assert cluster.events(RunSkipped) == []
