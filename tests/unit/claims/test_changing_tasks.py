"""Cluster tasks that are added, paused and removed on one node while others go on."""

from __future__ import annotations

from tests.support.task_cluster import Cluster

from bgtasks import Breaker, Every
from bgtasks.events import RunFinished, TaskPaused
from bgtasks.records import RunStatus
from bgtasks.wiring import Wiring


class TestATaskThatJoinsLater:
    def test_is_run_again_and_again(self) -> None:
        cluster = Cluster(names="a")
        cluster.task("first", "10s", 1.0)

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(5)
            late = Cluster(cluster.clock, "x")
            late.ledger, late.going = cluster.ledger, cluster.going
            late.task("second", "10s", 1.0)
            (spec,) = late._registries["x"]
            wiring = Wiring({}, claims=True)
            verdict = wiring.judge(spec)
            cluster.a.scheduler.adopt(spec, verdict, wiring.decide(spec, verdict))
            await cluster.clock.advance(40)

        cluster.run(main)
        assert cluster.times("second") == [5.0, 16.0, 27.0, 38.0]

    def test_though_it_is_the_first_of_its_kind(self) -> None:
        cluster = Cluster(names="a")

        async def main() -> None:
            await cluster.start()
            late = Cluster(cluster.clock, "x")
            late.ledger, late.going = cluster.ledger, cluster.going
            late.task("second", "10s", 1.0)
            (spec,) = late._registries["x"]
            wiring = Wiring({}, claims=True)
            verdict = wiring.judge(spec)
            cluster.a.scheduler.adopt(spec, verdict, wiring.decide(spec, verdict))
            await cluster.clock.advance(40)

        cluster.run(main)
        assert cluster.times("second") == [0.0, 11.0, 22.0, 33.0]


class TestPausesAndRemovals:
    def test_a_pause_holds_on_all_nodes(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("5s", fixed_rate=True))

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(12)
            cluster.a.scheduler.pause("grid", "too loud")
            await cluster.clock.advance(30)

        cluster.run(main)
        assert cluster.times("grid") == [0.0, 5.0, 10.0]
        paused = {event.reason for event in cluster.events(TaskPaused)}
        assert paused == {"too loud"}

    def test_a_pause_outlives_the_processes(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("5s", fixed_rate=True))

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(1)
            cluster.a.scheduler.pause("grid")
            await cluster.clock.advance(1)
            await cluster.stop("a")
            await cluster.start("b")
            await cluster.clock.advance(60)
            (stands,) = cluster.b.scheduler.snapshot()
            assert stands.paused == "by hand"
            assert stands.next_run is None

        cluster.run(main)
        assert cluster.times("grid") == [0.0]

    def test_what_passes_in_a_pause_is_written_down_and_not_run(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("60s", fixed_rate=True))

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(10)
            cluster.a.scheduler.pause("grid", "too loud")
            await cluster.clock.advance(150)
            cluster.b.scheduler.resume("grid")
            await cluster.clock.advance(30)
            (skipped,) = await cluster.runs("grid", RunStatus.SKIPPED)
            assert skipped.due == cluster.at(60)
            assert skipped.error_message == "2 ticks passed while it was paused: too loud"

        cluster.run(main)
        assert cluster.dues("grid") == [cluster.at(0), cluster.at(180)]

    def test_a_plain_interval_that_came_due_in_a_pause_is_run_when_it_ends(self, cluster: Cluster) -> None:
        cluster.task("plain", "20s")

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(10)
            cluster.a.scheduler.pause("plain")
            await cluster.clock.advance(50)
            cluster.a.scheduler.resume("plain")
            await cluster.clock.advance(30)

        cluster.run(main)
        assert cluster.times("plain") == [0.0, 60.0, 80.0]

    def test_a_pause_that_the_store_cannot_be_told_of_holds_here_and_is_told_later(
        self, cluster: Cluster
    ) -> None:
        cluster.task("grid", Every("60s", fixed_rate=True))

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(10)
            cluster.a.reach.cut()
            cluster.a.scheduler.pause("grid")
            await cluster.clock.advance(40)
            assert (await cluster.row("grid")).enabled
            cluster.a.reach.mend()
            await cluster.clock.advance(5)
            assert not (await cluster.row("grid")).enabled

        cluster.run(main)

    def test_a_pause_and_its_end_before_the_store_hears_of_either(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("5s", fixed_rate=True))

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(1)
            cluster.a.scheduler.pause("grid")
            cluster.a.scheduler.resume("grid")
            await cluster.clock.advance(10)
            assert (await cluster.row("grid")).enabled

        cluster.run(main)
        assert cluster.times("grid") == [0.0, 5.0, 10.0]

    def test_an_open_breaker_holds_it_back_here(self) -> None:
        cluster = Cluster(names="a")

        async def fail() -> None:
            raise ValueError("no")

        breaker = Breaker(after=2, cool_down="60s")
        cluster.task("bad", Every("10s", fixed_rate=True), fail, breaker=breaker)
        cluster.play(75)
        assert cluster.times("bad") == [0.0, 10.0, 70.0]
        assert len(cluster.events(TaskPaused)) == 2

    def test_a_removed_task_is_left_to_the_others(self, cluster: Cluster) -> None:
        cluster.task("slow", Every("30s", fixed_rate=True), 10.0)

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(5)
            first = cluster.ledger[0]
            await cluster.nodes[first.node].scheduler.remove("slow")
            await cluster.clock.advance(60)
            assert all(start.node != first.node for start in cluster.ledger[1:])
            assert [start.attempt for start in cluster.ledger] == [1, 2, 1, 1]

        cluster.run(main)

    def test_failures_in_a_row_are_counted_over_all_nodes(self, cluster: Cluster) -> None:
        async def fail() -> None:
            raise ValueError("no")

        cluster.task("bad", Every("2s", fixed_rate=True), fail)
        cluster.play(41)
        finished = sorted((event for event in cluster.events(RunFinished)), key=lambda event: event.failures)
        assert finished[-1].failures >= 15
