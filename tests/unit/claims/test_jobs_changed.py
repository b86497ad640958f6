"""Jobs that are changed, paused and run by hand, from any node."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.support.task_cluster import Cluster

from bgtasks import Cron, Every, Once
from bgtasks.claims.stored import AHEAD
from bgtasks.events import TaskPaused
from bgtasks.records import RunStatus


class TestAChange:
    def test_of_the_config_is_seen_by_the_next_run(self, cluster: Cluster) -> None:
        cluster.job_type("digest")

        async def main() -> None:
            await cluster.start()
            row = await cluster.a.jobs.add("digest", Every("10s", fixed_rate=True), config="old")
            await cluster.clock.advance(19.8)
            await cluster.c.jobs.update(row.id, config="new")
            await cluster.clock.advance(5)

        cluster.run(main)
        assert [start.job and start.job.config for start in cluster.ledger] == ["old", "old", "new"]

    def test_of_the_config_is_not_seen_by_a_run_that_is_taken_over_and_began_before(
        self, cluster: Cluster
    ) -> None:
        """A run is given the config as it is when it is claimed: the second attempt has the new one."""
        cluster.job_type("digest", 30.0)

        async def main() -> None:
            await cluster.start()
            row = await cluster.a.jobs.add("digest", Once(cluster.at(1)), config="old")
            await cluster.clock.advance(5)
            await cluster.kill(cluster.ledger[0].node)
            await cluster.nodes[cluster.ledger[0].node].jobs.update(row.id, config="new")
            await cluster.clock.advance(60)

        cluster.run(main)
        assert [start.job and start.job.config for start in cluster.ledger] == ["old", "new"]

    def test_of_the_trigger_leaves_what_is_overdue(self, cluster: Cluster) -> None:
        cluster.job_type("digest", on="b")

        async def main() -> None:
            await cluster.start("a")
            row = await cluster.a.jobs.add("digest", Every("10s", fixed_rate=True))
            await cluster.clock.advance(5)
            changed = await cluster.a.jobs.update(row.id, trigger=Cron("0 * * * *"))
            assert changed.next_run_at == pytest.approx(row.next_run_at, abs=timedelta(milliseconds=1))
            await cluster.start("b")
            await cluster.clock.advance(100)
            assert (await cluster.a.jobs.get(row.id)).next_run_at == cluster.at(3600)

        cluster.run(main)
        assert cluster.times("digest") == [5.0]

    def test_of_the_trigger_is_due_by_the_new_one(self, cluster: Cluster) -> None:
        cluster.job_type("digest")

        async def main() -> None:
            await cluster.start()
            row = await cluster.a.jobs.add("digest", Every("1h", fixed_rate=True))
            await cluster.clock.advance(5)
            await cluster.b.jobs.update(row.id, trigger=Once(cluster.at(30)))
            await cluster.clock.advance(60)
            row = await cluster.c.jobs.get(row.id)
            assert (row.trigger, row.next_run_at) == (f"once at {cluster.at(30).isoformat()}", None)

        cluster.run(main)
        assert cluster.dues("digest") == [cluster.at(0), cluster.at(30)]

    def test_of_an_interval_counts_from_the_last_run(self, cluster: Cluster) -> None:
        cluster.job_type("digest")

        async def main() -> None:
            await cluster.start()
            row = await cluster.a.jobs.add("digest", "1h")
            await cluster.clock.advance(5)
            await cluster.b.jobs.update(row.id, trigger="20s")
            await cluster.clock.advance(40)

        cluster.run(main)
        assert cluster.times("digest") == [0.0, 20.0, 40.0]

    def test_of_an_interval_during_a_run_counts_from_its_end(self, cluster: Cluster) -> None:
        cluster.job_type("digest", 30.0)

        async def main() -> None:
            await cluster.start()
            row = await cluster.a.jobs.add("digest", "1h")
            await cluster.clock.advance(5)
            await cluster.b.jobs.update(row.id, trigger="10s")
            await cluster.clock.advance(80)
            assert not await cluster.a.jobs.runs(row.id, statuses=[RunStatus.SKIPPED])

        cluster.run(main)
        assert cluster.times("digest") == [0.0, 40.0, 80.0]

    def test_of_the_instant_has_it_due_then(self, cluster: Cluster) -> None:
        cluster.job_type("digest")

        async def main() -> None:
            await cluster.start()
            row = await cluster.a.jobs.add("digest", "1h")
            await cluster.clock.advance(5)
            await cluster.b.jobs.update(row.id, next_run_at=cluster.at(30))
            await cluster.clock.advance(60)

        cluster.run(main)
        assert cluster.times("digest") == [0.0, 30.0]

    def test_of_the_instant_of_a_fixed_rate_leaves_its_grid(self, cluster: Cluster) -> None:
        cluster.job_type("digest")

        async def main() -> None:
            await cluster.start()
            row = await cluster.a.jobs.add("digest", Every("20s", fixed_rate=True))
            await cluster.clock.advance(5)
            await cluster.b.jobs.update(row.id, next_run_at=cluster.at(31))
            await cluster.clock.advance(60)

        cluster.run(main)
        assert cluster.times("digest") == [0.0, 31.0, 40.0, 60.0]

    def test_has_a_job_that_is_over_run_again(self, cluster: Cluster) -> None:
        cluster.job_type("digest")

        async def main() -> None:
            await cluster.start()
            row = await cluster.a.jobs.add("digest", Once(cluster.at(1)))
            await cluster.clock.advance(10)
            await cluster.b.jobs.update(row.id, next_run_at=cluster.at(20))
            await cluster.clock.advance(20)
            await cluster.b.jobs.update(row.id, trigger=Once(cluster.at(40)))
            await cluster.clock.advance(30)

        cluster.run(main)
        assert cluster.times("digest") == [1.0, 20.0, 40.0]

    def test_by_two_nodes_at_once_loses_neither(self, cluster: Cluster) -> None:
        cluster.job_type("digest")

        async def main() -> None:
            await cluster.start()
            row = await cluster.a.jobs.add("digest", "1h", initial_delay="1h")
            for node in cluster.nodes.values():
                node.reach.delay["change"] = 0.3
            await asyncio.gather(
                cluster.a.jobs.update(row.id, config="new"),
                cluster.b.jobs.update(row.id, trigger=Cron("0 9 * * *")),
                cluster.c.jobs.pause(row.id, "too loud"),
            )
            row = await cluster.a.jobs.get(row.id)
            assert (row.config_json, row.trigger, row.reason) == ('"new"', "cron 0 9 * * * (UTC)", "too loud")

        cluster.run(main)


class TestAPause:
    @pytest.mark.parametrize(
        "at",
        [
            5.0,
            9.8,
            9.999 - AHEAD,
        ],
    )
    def test_holds_on_all_nodes_though_it_comes_right_before_a_run(self, cluster: Cluster, at: float) -> None:
        cluster.job_type("digest")

        async def main() -> None:
            await cluster.start()
            row = await cluster.a.jobs.add("digest", Every("10s", fixed_rate=True), key="daily")
            await cluster.clock.advance(at)
            paused = await cluster.b.jobs.pause(row.id, "too loud")
            assert (paused.enabled, paused.reason) == (False, "too loud")
            await cluster.clock.advance(100)
            assert cluster.times("digest") == [0.0]
            assert [each.id for each in await cluster.a.jobs.list()] == [row.id]

        cluster.run(main)
        assert cluster.times("digest") == [0.0]

    def test_ends_on_all_nodes_and_what_passed_is_skipped(self, cluster: Cluster) -> None:
        cluster.job_type("digest")

        async def main() -> None:
            await cluster.start()
            row = await cluster.a.jobs.add("digest", Every("10s", fixed_rate=True))
            await cluster.clock.advance(5)
            await cluster.b.jobs.pause(row.id)
            await cluster.clock.advance(30)
            await cluster.c.jobs.resume(row.id)
            await cluster.clock.advance(20)
            (skipped,) = await cluster.a.jobs.runs(row.id, statuses=[RunStatus.SKIPPED])
            assert skipped.error_message == "3 ticks passed while it was paused: by hand"

        cluster.run(main)
        assert cluster.times("digest") == [0.0, 40.0, 50.0]

    def test_of_a_plain_interval_ends_with_a_run(self, cluster: Cluster) -> None:
        cluster.job_type("digest")

        async def main() -> None:
            await cluster.start()
            row = await cluster.a.jobs.add("digest", "10s")
            await cluster.clock.advance(5)
            await cluster.b.jobs.pause(row.id)
            await cluster.clock.advance(30)
            await cluster.c.jobs.resume(row.id)
            await cluster.clock.advance(14)

        cluster.run(main)
        assert cluster.times("digest") == [0.0, 35.0, 45.0]

    def test_lets_a_run_in_progress_go_on(self, cluster: Cluster) -> None:
        cluster.job_type("digest", 20.0)

        async def main() -> None:
            await cluster.start()
            row = await cluster.a.jobs.add("digest", "10s")
            await cluster.clock.advance(5)
            await cluster.b.jobs.pause(row.id)
            await cluster.clock.advance(100)
            (run,) = await cluster.a.jobs.runs(row.id)
            assert run.status is RunStatus.SUCCESS

        cluster.run(main)

    def test_twice_is_one_with_the_last_reason(self, cluster: Cluster) -> None:
        async def main() -> None:
            await cluster.start("a")
            row = await cluster.a.jobs.add("digest", "10s")
            await cluster.a.jobs.pause(row.id, "one")
            again = await cluster.a.jobs.pause(row.id, "two")
            same = await cluster.a.jobs.pause(row.id, "two")
            assert (again.reason, same) == ("two", again)
            assert (await cluster.a.jobs.resume(row.id)).reason == ""
            assert (await cluster.a.jobs.resume(row.id)).enabled

        cluster.run(main)

    def test_of_a_cluster_task_holds_it(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("10s", fixed_rate=True))

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(9.8)
            await cluster.b.jobs.pause((await cluster.row("grid")).id, "too loud")
            await cluster.clock.advance(30)
            assert {event.reason for event in cluster.events(TaskPaused)} == {"too loud"}

        cluster.run(main)
        assert cluster.times("grid") == [0.0]

    def test_that_is_said_right_before_a_stop_is_kept(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("10s", fixed_rate=True))

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(5)
            cluster.a.scheduler.pause("grid")
            await cluster.stop("a")
            assert not (await cluster.row("grid")).enabled

        cluster.run(main)

    def test_that_was_said_before_the_first_start_holds(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("10s", fixed_rate=True))

        async def main() -> None:
            cluster.a.scheduler.pause("grid", "not yet")
            await cluster.start("a")
            await cluster.clock.advance(30)
            assert (await cluster.row("grid")).reason == "not yet"

        cluster.run(main)
        assert not cluster.ledger

    def test_whose_end_was_not_answered_is_written_down_all_the_same(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("10s", fixed_rate=True))

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(5)
            cluster.a.scheduler.pause("grid")
            await cluster.clock.advance(30)
            cluster.a.reach.deaf["change"] = 1
            cluster.a.scheduler.resume("grid")
            await cluster.clock.advance(20)
            assert await cluster.runs("grid", RunStatus.SKIPPED)

        cluster.run(main)
        assert cluster.times("grid") == [0.0, 40.0, 50.0]


class TestRunNow:
    def test_runs_it_beside_its_schedule(self, cluster: Cluster) -> None:
        cluster.job_type("digest", 1.0)

        async def main() -> None:
            await cluster.start()
            row = await cluster.a.jobs.add("digest", Every("1h", fixed_rate=True), initial_delay="1h")
            await cluster.clock.advance(10)
            run_id = await cluster.b.jobs.run_now(row.id)
            await cluster.clock.advance(5)
            run = await cluster.c.jobs.run(run_id)
            assert run is not None
            assert (run.status, run.attempts) == (RunStatus.SUCCESS, 1)
            assert (await cluster.c.jobs.get(row.id)).next_run_at == row.next_run_at

        cluster.run(main)
        assert cluster.times("digest") == [10.0]

    def test_runs_it_though_it_is_paused_and_says_no_pause(self, cluster: Cluster) -> None:
        cluster.job_type("digest")

        async def main() -> None:
            await cluster.start()
            row = await cluster.a.jobs.add("digest", "1h", initial_delay="1h")
            await cluster.a.jobs.pause(row.id)
            for _ in range(3):
                await cluster.a.jobs.run_now(row.id)
                await cluster.clock.advance(10)
            assert not (await cluster.a.jobs.get(row.id)).enabled
            assert not cluster.events(TaskPaused)

        cluster.run(main)
        assert len(cluster.ledger) == 3

    def test_waits_for_a_run_in_progress(self, cluster: Cluster) -> None:
        cluster.job_type("digest", 20.0)

        async def main() -> None:
            await cluster.start()
            row = await cluster.a.jobs.add("digest", "1h")
            await cluster.clock.advance(5)
            run_id = await cluster.b.jobs.run_now(row.id)
            await cluster.clock.advance(60)
            run = await cluster.a.jobs.run(run_id)
            assert run is not None
            assert run.status is RunStatus.SUCCESS
            assert run.started_at is not None
            assert run.started_at - cluster.at(20) < timedelta(seconds=5)

        cluster.run(main)
        assert not cluster.met

    @pytest.mark.parametrize("what", ["digest", "grid"])
    def test_of_what_is_removed_before_it_begins_is_skipped(self, cluster: Cluster, what: str) -> None:
        cluster.job_type("digest", 20.0)
        cluster.task("grid", "1h", 20.0)

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(1)
            row: Any = await cluster.row("grid")
            if what == "digest":
                row = await cluster.a.jobs.add("digest", "1h")
            await cluster.clock.advance(5)
            run_id = await cluster.b.jobs.run_now(row.id)
            await cluster.a.jobs.remove(row.id)
            await cluster.clock.advance(60)
            run = await cluster.a.jobs.run(run_id)
            assert run is not None
            assert (run.status, run.error_message) == (RunStatus.SKIPPED, "the job was removed")

        cluster.run(main)
        assert len(cluster.starts(what)) == 1

    def test_of_a_cluster_task_from_a_node_that_has_it_not(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("1h", fixed_rate=True), on="b")

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(5)
            await cluster.a.jobs.run_now((await cluster.row("grid")).id)
            await cluster.clock.advance(5)

        cluster.run(main)
        assert len(cluster.ledger) == 2


class TestAnIntervalThatSomebodyWroteAsATrigger:
    def test_keeps_its_rate_over_a_pause(self, cluster: Cluster) -> None:
        cluster.job_type("digest")

        async def main() -> None:
            await cluster.start()
            row = await cluster.a.jobs.add("digest", Every("10s", fixed_rate=True))
            kept = await cluster.store.change(replace(row, trigger="10s"))
            assert kept is not None
            await cluster.clock.advance(5)
            await cluster.a.jobs.pause(row.id)
            await cluster.clock.advance(20)
            await cluster.a.jobs.resume(row.id)
            await cluster.clock.advance(20)

        cluster.run(main)
        assert cluster.times("digest") == [0.0, 30.0, 40.0]
