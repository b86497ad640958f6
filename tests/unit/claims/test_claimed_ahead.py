"""A tick is claimed a moment before it is due, so that its run begins on time."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.task_cluster import Cluster

from bgtasks import Cron, Done, Every
from bgtasks.claims.stored import AHEAD
from bgtasks.events import RunSkipped
from bgtasks.testing.loop import VirtualLoop
from bgtasks.trigger_text import read_trigger

GRID = Every("10s", fixed_rate=True)
IN_HAND = 10 - AHEAD / 2
"""A tick is claimed by then, and not begun."""


class TestARun:
    def test_begins_on_time_though_the_store_is_slow(self, cluster: Cluster) -> None:
        cluster.task("grid", GRID)
        for node in cluster.nodes.values():
            node.reach.delay["claim"] = 0.6 * AHEAD
            node.reach.slow["claim"] = 0.3 * AHEAD
        cluster.play(35)
        assert cluster.times("grid")[1:] == [10.0, 20.0, 30.0]

    @pytest.mark.parametrize("nodes", ["a", "abc"])
    def test_that_is_over_right_before_the_next_is_due_does_not_skip_it(self, nodes: str) -> None:
        cluster = Cluster(names=nodes)
        cluster.task("grid", GRID, 10 - AHEAD / 2)
        cluster.play(45)
        assert cluster.times("grid") == [0.0, 10.0, 20.0, 30.0, 40.0]
        assert not cluster.events(RunSkipped)

    def test_that_is_over_right_after_the_next_is_due_skips_it(self, cluster: Cluster) -> None:
        cluster.task("grid", GRID, 10 + AHEAD / 2)
        cluster.play(45)
        assert cluster.times("grid") == [0.0, 20.0, 40.0]
        skipped = {event.due for event in cluster.events(RunSkipped)}
        assert skipped == {cluster.at(10), cluster.at(30)}

    def test_may_run_beside_another_on_time(self, cluster: Cluster) -> None:
        cluster.task("grid", GRID, 25.0, overlap="allow")
        cluster.play(35)
        assert cluster.times("grid") == [0.0, 10.0, 20.0, 30.0]

    def test_of_an_interval_shorter_than_that(self, cluster: Cluster) -> None:
        cluster.task("quick", Every(f"{AHEAD / 4}s", fixed_rate=True))
        cluster.play(5)
        assert len(set(cluster.dues("quick"))) == len(cluster.dues("quick"))
        assert all(start.due <= cluster.at(start.at) for start in cluster.ledger)

    def test_is_kept_as_begun_when_it_is_due(self, cluster: Cluster) -> None:
        cluster.task("grid", GRID, 1.0)

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(15)
            assert [run.started_at for run in await cluster.runs("grid")] == [cluster.at(0), cluster.at(10)]
            assert (await cluster.row("grid")).last_run_at == cluster.at(10)

        cluster.run(main)


class TestBetweenTheClaimAndTheInstant:
    def test_a_pause_comes_too_late_for_that_run(self, cluster: Cluster) -> None:
        cluster.task("grid", GRID)

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(IN_HAND)
            await cluster.b.jobs.pause((await cluster.row("grid")).id, "too loud")
            await cluster.clock.advance(30)

        cluster.run(main)
        assert cluster.times("grid") == [0.0, 10.0]

    def test_another_trigger_is_not_due_then_again(self, cluster: Cluster) -> None:
        cluster.task("cron", Cron("* * * * *"))

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(60 - AHEAD / 2)
            cluster.b.scheduler.reschedule("cron", Cron("0-59 * * * *"))
            await cluster.clock.advance(150)

        cluster.run(main)
        assert cluster.dues("cron") == [cluster.at(60), cluster.at(120), cluster.at(180)]

    @pytest.mark.parametrize("trigger", ["cron 0-59 * * * *", "every 30s"])
    def test_another_trigger_of_a_job_is_not_due_then_again(self, cluster: Cluster, trigger: str) -> None:
        cluster.job_type("digest")

        async def main() -> None:
            await cluster.start()
            row = await cluster.a.jobs.add("digest", Cron("* * * * *"))
            await cluster.clock.advance(60 - AHEAD / 2)
            await cluster.b.jobs.update(row.id, trigger=read_trigger(trigger))
            await cluster.clock.advance(150)

        cluster.run(main)
        assert cluster.dues("digest")[0] == cluster.at(60)
        assert len(set(cluster.dues("digest"))) == len(cluster.dues("digest")) > 2

    def test_a_stop_gives_it_back(self, cluster: Cluster) -> None:
        cluster.task("grid", GRID, 1.0)

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(IN_HAND)
            await cluster.start("b")
            await cluster.stop("a")
            assert not cluster.events(RunSkipped)
            await cluster.clock.advance(9)
            runs = await cluster.runs("grid")
            assert [(run.due, run.status) for run in runs[1:]] == [
                (cluster.at(10), "lost"),
                (cluster.at(10), "success"),
            ]

        cluster.run(main)
        assert [(start.node, start.attempt) for start in cluster.ledger] == [("a", 1), ("b", 2)]

    def test_a_task_that_is_removed_is_not_begun(self, cluster: Cluster) -> None:
        cluster.task("grid", GRID, on="a")

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(IN_HAND)
            await cluster.a.scheduler.remove("grid")
            await cluster.clock.advance(30)

        cluster.run(main)
        assert cluster.times("grid") == [0.0]

    def test_a_process_that_stood_still_until_others_may_have_it_does_not_begin_it(
        self, cluster: Cluster
    ) -> None:
        cluster.task("grid", GRID, 1.0)

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(IN_HAND)
            cluster.clock.stall(60)
            await cluster.clock.advance(5)
            dropped = [event for event in cluster.events(RunSkipped) if event.due == cluster.at(10)]
            assert "its claim was not renewed in time" in {event.reason for event in dropped}
            first = next(run for run in await cluster.runs("grid") if run.due == cluster.at(10))
            assert first.status == "lost"

        cluster.run(main)
        assert not cluster.met

    def test_what_is_wanted_beside_it_is_run_where_that_is_allowed(self, cluster: Cluster) -> None:
        cluster.task("grid", GRID, overlap="allow")

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(IN_HAND)
            assert await cluster.a.scheduler.run_now("grid") == Done(None)
            await cluster.clock.advance(1)

        cluster.run(main)
        assert cluster.times("grid") == [0.0, IN_HAND, 10.0]

    def test_an_event_loop_that_is_closed_leaves_nothing_behind(self, cluster: Cluster) -> None:
        for name in ("one", "two"):
            cluster.task(name, GRID, on="a")
        left = VirtualLoop(cluster.clock)
        left.run_until_complete(cluster.a.start())
        left.run_until_complete(cluster.clock.advance(IN_HAND))
        for task in asyncio.all_tasks(left):
            task.cancel()
        left.run_until_complete(cluster.clock.settle())
        left.close()

        async def main() -> None:
            await cluster.a.start()
            await cluster.clock.advance(60)

        cluster.run(main)
        for name in ("one", "two"):
            assert cluster.times(name)[-3:] == [40.0, 50.0, 60.0]

    def test_run_now_is_told_that_one_is_about_to_begin(self, cluster: Cluster) -> None:
        cluster.task("grid", GRID)

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(IN_HAND)
            outcome = await cluster.a.scheduler.run_now("grid")
            assert "the previous run has not begun yet" in str(outcome)

        cluster.run(main)
