"""Jobs that are added, changed and taken away while nodes run."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.support.task_cluster import Cluster

from bgtasks import Cron, Every, Jobs, Once, ScheduledJob
from bgtasks.events import RunMissed
from bgtasks.records import JobRow, RunStatus
from bgtasks.testing import VirtualClock


class TestAJobThatIsAdded:
    def test_is_run_from_the_end_of_each_run_and_given_what_was_said(self, cluster: Cluster) -> None:
        cluster.job_type("digest", 2.0)

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(1)
            row = await cluster.a.jobs.add("digest", "10s", bot_id="b1", key="daily", config={"n": [1, "ä"]})
            await cluster.clock.advance(40)
            wanted = ScheduledJob(
                id=row.id, job_type="digest", bot_id="b1", key="daily", config={"n": [1, "ä"]}
            )
            assert all(start.job == wanted for start in cluster.ledger)

        cluster.run(main)
        assert cluster.times("digest") == [1.0, 13.0, 25.0, 37.0]

    def test_begins_after_its_initial_delay(self, cluster: Cluster) -> None:
        cluster.job_type("digest")

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(5)
            await cluster.a.jobs.add("digest", "10s", initial_delay="20s")
            await cluster.clock.advance(35)

        cluster.run(main)
        assert cluster.times("digest") == [25.0, 35.0]

    def test_at_a_fixed_rate_keeps_its_grid(self, cluster: Cluster) -> None:
        cluster.job_type("digest", 4.0)

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(3)
            await cluster.b.jobs.add("digest", Every("10s", fixed_rate=True))
            await cluster.clock.advance(35)

        cluster.run(main)
        assert cluster.dues("digest") == [cluster.at(second) for second in (3, 13, 23, 33)]

    def test_once_is_run_once(self, cluster: Cluster) -> None:
        cluster.job_type("digest")

        async def main() -> None:
            await cluster.start()
            row = await cluster.a.jobs.add("digest", Once(cluster.at(20)))
            await cluster.clock.advance(60)
            over = await cluster.b.jobs.get(row.id)
            assert (over.next_run_at, over.last_run_at) == (None, cluster.at(20))

        cluster.run(main)
        assert cluster.times("digest") == [20.0]

    def test_once_in_the_past_is_run_as_soon_as_may_be(self, cluster: Cluster) -> None:
        cluster.job_type("digest")

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(30)
            await cluster.a.jobs.add("digest", Once(cluster.at(10)))
            await cluster.clock.advance(30)

        cluster.run(main)
        assert cluster.times("digest") == [30.0]
        assert cluster.dues("digest") == [cluster.at(10)]

    def test_of_a_calendar_in_a_zone_is_run_once_in_an_hour_that_comes_twice(self) -> None:
        cluster = Cluster(VirtualClock(datetime(2026, 10, 24, 23, 50, tzinfo=UTC)), "a")
        cluster.job_type("digest")

        async def main() -> None:
            await cluster.start()
            row = await cluster.a.jobs.add("digest", Cron("30 3 * * *", "Europe/Helsinki"))
            await cluster.clock.advance("2h")
            row = await cluster.a.jobs.get(row.id)
            assert row.trigger == "cron 30 3 * * * (Europe/Helsinki)"
            assert row.next_run_at == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)

        cluster.run(main)
        assert cluster.dues("digest") == [datetime(2026, 10, 25, 0, 30, tzinfo=UTC)]

    def test_survives_the_death_of_all_nodes(self, cluster: Cluster) -> None:
        cluster.job_type("digest")

        async def main() -> None:
            await cluster.start("ab")
            row = await cluster.a.jobs.add("digest", "30s", config="kept", initial_delay="30s")
            await cluster.clock.advance(5)
            await cluster.kill("a")
            await cluster.kill("b")
            await cluster.clock.advance(100)
            await cluster.start("c")
            await cluster.clock.advance(40)
            assert {start.node for start in cluster.ledger} == {"c"}
            assert [start.job and start.job.id for start in cluster.ledger] == [row.id] * 2

        cluster.run(main)
        assert cluster.times("digest") == [105.0, 135.0]

    def test_is_taken_over_from_a_node_that_dies(self, cluster: Cluster) -> None:
        cluster.job_type("digest", 20.0)

        async def main() -> None:
            await cluster.start()
            await cluster.a.jobs.add("digest", Once(cluster.at(2)), config=[1])
            await cluster.clock.advance(5)
            await cluster.kill(cluster.ledger[0].node)
            await cluster.clock.advance(60)

        cluster.run(main)
        assert [start.attempt for start in cluster.ledger] == [1, 2]
        assert [start.job and start.job.config for start in cluster.ledger] == [[1], [1]]

    def test_beside_others_of_its_type_runs_beside_them(self, cluster: Cluster) -> None:
        cluster.job_type("digest", 10.0)

        async def main() -> None:
            await cluster.start("a")
            for number in range(3):
                await cluster.a.jobs.add("digest", "1h", config=number)
            await cluster.clock.advance(1)
            assert sorted(cluster.going.values()) == [1, 1, 1]
            await cluster.clock.advance(20)

        cluster.run(main)
        assert not cluster.met

    def test_with_299_others_at_one_instant_runs_as_they_do_once(self, cluster: Cluster) -> None:
        cluster.job_type("digest", 1.0)

        async def main() -> None:
            await cluster.start()
            for number in range(300):
                await cluster.a.jobs.add("digest", Once(cluster.at(20)), config=number)
            await cluster.clock.advance(40)

        cluster.run(main)
        assert sorted(start.job.config for start in cluster.ledger if start.job) == list(range(300))
        assert {start.node for start in cluster.ledger} <= set("abc")
        assert max(cluster.times("digest")) < 25

    @pytest.mark.parametrize("trigger", ["1s", Every("1s", fixed_rate=True)])
    def test_each_second_is_run_each_second(self, cluster: Cluster, trigger: Any) -> None:
        cluster.job_type("digest")

        async def main() -> None:
            await cluster.start()
            await cluster.a.jobs.add("digest", trigger)
            await cluster.clock.advance(59.5)

        cluster.run(main)
        assert len(cluster.ledger) >= 57
        assert len(set(cluster.dues("digest"))) == len(cluster.ledger)

    def test_with_others_waits_for_a_slot(self) -> None:
        cluster = Cluster(names="ab", max_concurrent=2)
        cluster.job_type("digest", 3.0)

        async def main() -> None:
            await cluster.start()
            for number in range(20):
                await cluster.a.jobs.add("digest", Once(cluster.at(5)), config=number)
            for _ in range(60):
                await cluster.clock.advance(1)
                assert sum(cluster.going.values()) <= 4
            assert not cluster.a.scheduler.snapshot()
            assert not cluster.b.scheduler.snapshot()

        cluster.run(main)
        assert sorted(start.job.config for start in cluster.ledger if start.job) == list(range(20))

    def test_by_a_program_without_a_scheduler_is_run_by_the_next_beat(self, cluster: Cluster) -> None:
        cluster.job_type("digest")

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(10)
            await Jobs(cluster.store, now=cluster.clock.now).add("digest", "1h")
            await cluster.clock.advance(3)

        cluster.run(main)
        assert len(cluster.ledger) == 1

    def test_is_spared_a_look_at_the_store_that_others_have_just_had(self, cluster: Cluster) -> None:
        """A beat tells of all that is due soon: one for each of many would cost their square."""
        cluster.job_type("digest")

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(10)
            before = cluster.a.reach.calls.count("beat")
            for _ in range(200):
                await cluster.a.jobs.add("digest", Once(cluster.at(15)))
            assert cluster.a.reach.calls.count("beat") - before < 50

        cluster.run(main)


class TestAKey:
    def test_makes_adding_twice_adding_once(self, cluster: Cluster) -> None:
        cluster.job_type("digest")

        async def main() -> None:
            await cluster.start()
            first = await cluster.a.jobs.add("digest", "10s", key="daily", config=1)
            second = await cluster.b.jobs.add("digest", "20s", key="daily", config=2)
            assert second.id == first.id
            assert (second.config_json, second.interval_minutes) == ("1", first.interval_minutes)
            other = await cluster.b.jobs.add("digest", "20s", key="daily", bot_id="b1")
            assert other.id != first.id

        cluster.run(main)

    def test_makes_adding_at_once_on_two_nodes_adding_once(self, cluster: Cluster) -> None:
        cluster.job_type("digest")

        async def main() -> None:
            await cluster.start()
            cluster.a.reach.delay["add"] = cluster.b.reach.delay["add"] = 0.5
            one, two = await asyncio.gather(
                cluster.a.jobs.add("digest", Once(cluster.at(5)), key="daily"),
                cluster.b.jobs.add("digest", Once(cluster.at(5)), key="daily"),
            )
            assert one.id == two.id
            await cluster.clock.advance(20)

        cluster.run(main)
        assert len(cluster.ledger) == 1

    def test_is_free_again_when_its_job_was_removed(self, cluster: Cluster) -> None:
        cluster.job_type("digest")

        async def main() -> None:
            await cluster.start()
            first = await cluster.a.jobs.add("digest", "10s", key="daily")
            await cluster.clock.advance(1)
            assert await cluster.b.jobs.remove(first.id)
            second = await cluster.b.jobs.add("digest", "10s", key="daily")
            assert second.id != first.id
            await cluster.clock.advance(5)
            tokens = [start.token for start in cluster.ledger]
            assert tokens == sorted(set(tokens))

        cluster.run(main)
        assert len(cluster.ledger) == 2

    def test_that_reads_like_another_jobs_does_not_confuse_them(self) -> None:
        """The first is of bot b1 and called daily, the second of all bots and called b1/daily."""
        cluster = Cluster(names="a")
        cluster.job_type("digest", 30.0)

        async def main() -> None:
            await cluster.start()
            await cluster.a.jobs.add("digest", "1h", bot_id="b1", key="daily")
            await cluster.a.jobs.add("digest", "1h", key="b1/daily")
            await cluster.clock.advance(5)
            assert len(cluster.ledger) == 2
            assert len({claim.source for claim in cluster.claims}) == 2
            assert len(cluster.a.scheduler.snapshot()) == 2
            await cluster.stop()
            assert sum(cluster.going.values()) == 0

        cluster.run(main)


class TestListing:
    def test_finds_jobs_by_type_and_bot_and_page_by_page(self, cluster: Cluster) -> None:
        async def main() -> None:
            await cluster.start("a")
            jobs = cluster.b.jobs
            for number in range(10):
                await cluster.a.jobs.add("digest" if number % 2 else "other", "1h", bot_id=f"b{number % 3}")
            assert len(await jobs.list()) == 10
            assert {row.job_type for row in await jobs.list("digest")} == {"digest"}
            assert {row.bot_id for row in await jobs.list(bot_id="b1")} == {"b1"}
            found, page = list[JobRow](), await jobs.list(limit=3)
            while page:
                found += page
                page = await jobs.list(after=page[-1].id, limit=3)
            assert found == list(await jobs.list())

        cluster.run(main)

    def test_finds_runs_the_latest_first(self, cluster: Cluster) -> None:
        cluster.job_type("digest")

        async def main() -> None:
            await cluster.start("a")
            row = await cluster.a.jobs.add("digest", Every("5s", fixed_rate=True))
            await cluster.a.jobs.add("digest", Once(cluster.at(7)))
            await cluster.clock.advance(26)
            runs = await cluster.b.jobs.runs(row.id)
            assert [run.due for run in runs] == [cluster.at(second) for second in (25, 20, 15, 10, 5, 0)]
            assert len(await cluster.b.jobs.runs(job_type="digest")) == 7
            assert not await cluster.b.jobs.runs(row.id, statuses=[RunStatus.FAILED])
            older = await cluster.b.jobs.runs(row.id, before=runs[1], limit=2)
            assert older == runs[2:4]
            assert await cluster.b.jobs.run(runs[0].id) == runs[0]

        cluster.run(main)


class TestAJobThatIsRemoved:
    def test_is_not_run_again_anywhere(self, cluster: Cluster) -> None:
        cluster.job_type("digest")

        async def main() -> None:
            await cluster.start()
            row = await cluster.a.jobs.add("digest", Every("5s", fixed_rate=True))
            await cluster.clock.advance(7)
            assert await cluster.b.jobs.remove(row.id)
            assert not await cluster.c.jobs.remove(row.id)
            await cluster.clock.advance(30)
            assert len(await cluster.a.jobs.runs(row.id)) == 2

        cluster.run(main)
        assert cluster.times("digest") == [0.0, 5.0]

    def test_while_it_runs_is_cancelled_and_not_offered_again(self, cluster: Cluster) -> None:
        cluster.job_type("digest", 60.0)

        async def main() -> None:
            await cluster.start()
            row = await cluster.a.jobs.add("digest", "10s")
            await cluster.clock.advance(5)
            other = next(name for name in "abc" if name != cluster.ledger[0].node)
            await cluster.nodes[other].jobs.remove(row.id)
            await cluster.clock.advance(5)
            assert sum(cluster.going.values()) == 0
            await cluster.clock.advance(60)
            (run,) = await cluster.a.jobs.runs(row.id)
            assert run.status is RunStatus.LOST
            assert run.error_message == "cancelled: its next run is due, or it was removed"

        cluster.run(main)
        assert len(cluster.ledger) == 1

    def test_while_it_waits_for_a_slot_is_not_begun(self) -> None:
        cluster = Cluster(names="a", max_concurrent=1)
        cluster.job_type("digest", 30.0)

        async def main() -> None:
            await cluster.start()
            one = await cluster.a.jobs.add("digest", Once(cluster.at(1)))
            two = await cluster.a.jobs.add("digest", Once(cluster.at(2)))
            await cluster.clock.advance(10)
            assert [start.job and start.job.id for start in cluster.ledger] == [one.id]
            await cluster.a.jobs.remove(two.id)
            await cluster.clock.advance(90)
            assert not cluster.a.scheduler.snapshot()

        cluster.run(main)
        assert len(cluster.ledger) == 1

    def test_while_it_is_on_its_way_is_not_begun(self) -> None:
        cluster = Cluster(names="a")
        cluster.job_type("digest", 30.0)

        async def main() -> None:
            await cluster.start()
            row = await cluster.a.jobs.add("digest", Once(cluster.at(5)))
            cluster.a.reach.delay["claim"] = 1.0
            await cluster.clock.advance(5.5)
            await cluster.a.jobs.remove(row.id)
            await cluster.clock.advance(30)
            assert not cluster.a.scheduler.snapshot()

        cluster.run(main)
        assert not cluster.ledger

    def test_and_is_declared_comes_back_with_a_node_that_has_it(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("5s", fixed_rate=True))

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(7)
            await cluster.a.jobs.remove((await cluster.row("grid")).id)
            await cluster.clock.advance(30)
            assert cluster.times("grid") == [0.0, 5.0]
            await cluster.start("b")
            await cluster.clock.advance(1)
            assert (await cluster.row("grid")).declared
            await cluster.clock.advance(10)

        cluster.run(main)
        assert len(cluster.ledger) > 3


class TestCatchingUpAndOverlap:
    @pytest.mark.parametrize(
        ("catch_up", "dues"),
        [("one", [0, 500, 600]), ("none", [0, 600]), ("all", [0, 100, 200, 300, 400, 500, 600])],
    )
    def test_are_the_types_for_each_job(self, cluster: Cluster, catch_up: str, dues: list[int]) -> None:
        cluster.job_type("digest", catch_up=catch_up)

        async def main() -> None:
            await cluster.start("a")
            await cluster.a.jobs.add("digest", Every("100s", fixed_rate=True))
            await cluster.clock.advance(5)
            await cluster.stop("a")
            await cluster.clock.advance(550)
            await cluster.start("b")
            await cluster.clock.advance(100)

        cluster.run(main)
        assert cluster.dues("digest") == [cluster.at(second) for second in dues]
        assert bool(cluster.events(RunMissed)) == (catch_up != "all")

    @pytest.mark.parametrize(
        ("overlap", "times", "most"),
        [("skip", [0, 20, 40], 1), ("queue", [0, 16, 32], 1), ("allow", [0, 10, 20, 30, 40], 2)],
    )
    def test_of_runs_is_the_types(
        self, cluster: Cluster, overlap: str, times: list[float], most: int
    ) -> None:
        cluster.job_type("digest", 15.0, overlap=overlap)

        async def main() -> None:
            await cluster.start()
            await cluster.a.jobs.add("digest", Every("10s", fixed_rate=True))
            await cluster.clock.advance(44)

        cluster.run(main)
        assert cluster.times("digest") == pytest.approx(times, abs=4)
        assert bool(cluster.met) == (most > 1)

    def test_of_one_job_does_not_hold_back_another(self, cluster: Cluster) -> None:
        cluster.job_type("digest", 15.0)

        async def main() -> None:
            await cluster.start("a")
            await cluster.a.jobs.add("digest", Every("10s", fixed_rate=True), config="one")
            await cluster.a.jobs.add("digest", Every("10s", fixed_rate=True), initial_delay="5s")
            await cluster.clock.advance(8)
            assert len(cluster.ledger) == 2

        cluster.run(main)
