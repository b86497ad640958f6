"""Ticks of cluster tasks that came while nodes were down, or that are late."""

from __future__ import annotations

from tests.support.task_cluster import Cluster

from bgtasks import Cron, Every, Once
from bgtasks.events import RunMissed, RunSkipped
from bgtasks.records import RunStatus


class TestAfterAllNodesWereDown:
    """Ticks each minute from 0; down from 90 to 330."""

    def play(self, cluster: Cluster, catch_up: str, does: float | None = None, again: float = 330) -> None:
        cluster.task("grid", Every("60s", fixed_rate=True), does, catch_up=catch_up)

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(90)
            await cluster.stop()
            await cluster.clock.advance(again - 90)
            cluster.ledger.clear()
            for name in "abc":
                cluster.process(name)
            await cluster.start()
            await cluster.clock.advance(65)
            self.skipped = [
                (run.due, run.error_message) for run in await cluster.runs("grid", RunStatus.SKIPPED)
            ]

        cluster.run(main)

    def test_one_run_stands_for_what_was_missed(self, cluster: Cluster) -> None:
        self.play(cluster, "one")
        assert cluster.dues("grid") == [cluster.at(300), cluster.at(360)]
        assert cluster.times("grid")[0] == 330.0
        (missed,) = cluster.events(RunMissed)
        assert (missed.due, missed.ticks) == (cluster.at(120), 3)
        assert self.skipped == [(cluster.at(120), missed.reason)]

    def test_nothing_is_run_for_it(self, cluster: Cluster) -> None:
        self.play(cluster, "none")
        assert cluster.dues("grid") == [cluster.at(360)]
        (missed,) = cluster.events(RunMissed)
        assert (missed.due, missed.ticks) == (cluster.at(120), 4)
        assert self.skipped == [(cluster.at(120), missed.reason)]

    def test_nothing_is_run_for_it_but_for_a_tick_of_just_now(self, cluster: Cluster) -> None:
        self.play(cluster, "none", again=305)
        assert cluster.dues("grid") == [cluster.at(300), cluster.at(360)]
        assert cluster.events(RunMissed)[0].ticks == 3

    def test_each_of_them_has_its_run_one_after_the_other(self, cluster: Cluster) -> None:
        self.play(cluster, "all", 5.0)
        assert cluster.dues("grid") == [cluster.at(60 * step) for step in range(2, 7)]
        assert not cluster.met
        assert cluster.events(RunMissed) == []
        assert cluster.events(RunSkipped) == []
        assert cluster.times("grid")[3] < 360

    def test_waiting_for_ones_turn_costs_a_call_now_and_then(self, cluster: Cluster) -> None:
        self.play(cluster, "all", 8.0)
        assert cluster.dues("grid")[:4] == [cluster.at(60 * step) for step in range(2, 6)]
        assert sum(node.reach.calls.count("claim") for node in cluster.nodes.values()) < 100

    def test_the_last_of_them_waits_its_turn_too(self, cluster: Cluster) -> None:
        self.play(cluster, "all", 5.0, again=300.5)
        assert cluster.dues("grid") == [cluster.at(60 * step) for step in range(2, 7)]
        assert cluster.events(RunSkipped) == []

    def test_a_plain_interval_runs_at_once(self, cluster: Cluster) -> None:
        cluster.task("plain", "60s", 1.0)

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(70)
            await cluster.stop()
            await cluster.clock.advance(930)
            await cluster.start()
            await cluster.clock.advance(70)

        cluster.run(main)
        assert cluster.times("plain") == [0.0, 61.0, 1000.0, 1061.0]

    def test_an_instant_that_passed_meanwhile_is_made_up_for(self, cluster: Cluster) -> None:
        cluster.task("once", Once(cluster.at(100)))

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(50)
            await cluster.stop()
            await cluster.clock.advance(950)
            await cluster.start()
            await cluster.clock.advance(50)

        cluster.run(main)
        assert cluster.times("once") == [1000.0]
        assert cluster.dues("once") == [cluster.at(100)]


class TestARestart:
    def test_of_one_node_changes_nothing(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("10s", fixed_rate=True), 1.0)
        cluster.task("plain", "10s", 1.0)

        async def main() -> None:
            await cluster.start()
            for name in "abcabc":
                await cluster.clock.advance(13)
                while cluster.going.get("grid") or cluster.going.get("plain"):
                    await cluster.clock.advance(0.5)
                await cluster.stop(name)
                await cluster.clock.advance(4)
                cluster.process(name)
                await cluster.start(name)

        cluster.run(main)
        assert cluster.times("grid") == [10.0 * step for step in range(len(cluster.times("grid")))]
        assert cluster.times("plain") == [11.0 * step for step in range(len(cluster.times("plain")))]
        assert len(cluster.times("grid")) > 9

    def test_of_all_keeps_the_instants(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("60s", fixed_rate=True))

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(70)
            await cluster.stop()
            await cluster.clock.advance(10)
            await cluster.start()
            await cluster.clock.advance(41)

        cluster.run(main)
        assert cluster.times("grid") == [0.0, 60.0, 120.0]

    def test_waits_for_no_initial_delay_again(self, cluster: Cluster) -> None:
        cluster.task("late", Every("60s", fixed_rate=True), initial_delay="30s")

        async def main() -> None:
            for _ in range(3):
                await cluster.start()
                await cluster.clock.advance(40)
                await cluster.stop()

        cluster.run(main)
        assert cluster.times("late") == [30.0, 90.0]

    def test_of_a_scheduler_that_was_stopped(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("10s", fixed_rate=True))

        async def main() -> None:
            for _ in range(4):
                await cluster.a.start()
                await cluster.clock.advance(10)
                await cluster.a.stop()
                await cluster.a.stop()

        cluster.run(main)
        assert cluster.times("grid") == [0.0, 10.0, 20.0, 30.0, 40.0]


class TestATickThatIsOverdue:
    def test_takes_no_later_one_with_it(self) -> None:
        cluster = Cluster(names="a")
        cluster.task("hourly", Cron("0 * * * *"))

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance("59m")
            await cluster.stop()
            await cluster.clock.advance("20m")
            await cluster.start()
            await cluster.clock.advance("1m")
            assert cluster.dues("hourly") == [cluster.at(3600)]
            assert (await cluster.row("hourly")).next_run_at == cluster.at(7200)

        cluster.run(main)

    def test_of_many_tasks_is_started_once_each(self, cluster: Cluster) -> None:
        for number in range(30):
            cluster.task(f"task {number}", Every("1h", fixed_rate=True))

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance("1m")
            await cluster.stop()
            await cluster.clock.advance("3h")
            cluster.ledger.clear()
            await cluster.start()
            await cluster.clock.advance("10m")

        cluster.run(main)
        assert len(cluster.ledger) == 30
        assert len({start.task for start in cluster.ledger}) == 30

    def test_that_another_node_claims_meanwhile_does_not_bring_the_next_one_forward(self) -> None:
        cluster = Cluster(names="ab")
        cluster.task("grid", Every("10s", fixed_rate=True), 1.0)
        for node in (cluster.a, cluster.b):
            node.reach.deaf["add"] = 2
        cluster.play(101)
        assert all(start.at >= (start.due - cluster.begun).total_seconds() for start in cluster.ledger)
        assert len(cluster.ledger) == 11
