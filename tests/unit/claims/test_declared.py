"""A task that is declared in code is a job in the store, and follows its code."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from tests.support.task_cluster import Cluster

from bgtasks import Cron, Every, Once
from bgtasks.claims.declared import job_id
from bgtasks.events import RunSkipped

HOUR = 3600


@pytest.fixture
def cluster() -> Cluster:
    return Cluster(names="ab")


class Broken:
    """Raises after so many answers."""

    def __init__(self, answers: int = 0, says: Any = None) -> None:
        self.left = answers
        self.says = says
        self.asked = 0

    def next_after(self, when: datetime) -> datetime | None:
        self.asked += 1
        self.left -= 1
        if self.left < 0 and self.says is None:
            raise ValueError("no such day")
        return self.says if self.left < 0 else when + timedelta(seconds=10)


class TestATaskThatWasNeverKept:
    def test_is_one_job_however_many_nodes_declare_it(self, cluster: Cluster) -> None:
        cluster.task("tidy", "4h", 60.0)

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(10)
            (row,) = await cluster.store.jobs()
            assert (row.id, row.job_type, row.bot_id) == (job_id("tidy"), "tidy", "*")
            assert row.declared
            assert (row.interval_minutes, row.trigger) == (240.0, None)

        cluster.run(main)

    @pytest.mark.parametrize(
        ("trigger", "line"),
        [
            (Every("4h", fixed_rate=True), "every 4h at a fixed rate"),
            (Cron("0 9 * * *", "Europe/Berlin"), "cron 0 9 * * * (Europe/Berlin)"),
        ],
    )
    def test_is_kept_with_its_trigger(self, cluster: Cluster, trigger: Any, line: str) -> None:
        cluster.task("tidy", trigger)

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(10)
            row = await cluster.row("tidy")
            assert (row.trigger, row.interval_minutes) == (line, None)

        cluster.run(main)

    def test_waits_for_its_initial_delay(self, cluster: Cluster) -> None:
        cluster.task("tidy", Every("60s", fixed_rate=True), initial_delay="30s")
        cluster.play(100)
        assert cluster.times("tidy") == [30.0, 90.0]

    def test_is_never_due_if_its_instant_has_passed_and_that_is_said(self, cluster: Cluster) -> None:
        cluster.task("tidy", Once(cluster.at(-5)))
        cluster.play(100, "a")
        assert cluster.times("tidy") == []
        (said,) = cluster.events(RunSkipped)
        assert "never due again" in said.reason

    def test_is_kept_once_though_the_answer_was_lost(self, cluster: Cluster) -> None:
        cluster.a.reach.deaf["add"] = 2
        cluster.task("tidy", Every("10s", fixed_rate=True))
        cluster.play(61)
        assert cluster.times("tidy") == [10.0 * step for step in range(7)]


class TestATaskWithAnotherTrigger:
    """Declared by node a, then by node b with another."""

    def change(self, cluster: Cluster, old: Any, new: Any, seconds: float, gap: float, then: float) -> None:
        cluster.task("tidy", old, 1.0, on="a")
        cluster.task("tidy", new, 1.0, on="b")

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(seconds)
            await cluster.stop("a")
            await cluster.clock.advance(gap)
            cluster.ledger.clear()
            await cluster.start("b")
            await cluster.clock.advance(then)

        cluster.run(main)

    def test_is_due_by_the_new_one(self, cluster: Cluster) -> None:
        self.change(cluster, Every("1h", fixed_rate=True), Cron("*/10 * * * *"), 70, 10, 1500)
        assert cluster.times("tidy") == [600.0, 1200.0]

    def test_from_a_calendar_to_a_plain_interval_is_due_so_long_after_its_last_run(
        self, cluster: Cluster
    ) -> None:
        self.change(cluster, Cron("*/10 * * * *"), "5m", 610, 10, 700)
        assert cluster.times("tidy") == [900.0, 1201.0]

    def test_from_one_interval_to_another(self, cluster: Cluster) -> None:
        self.change(cluster, "1h", "5m", 610, 10, 400)
        assert cluster.times("tidy") == [620.0, 921.0]

    def test_that_is_overdue_is_caught_up_with_first(self, cluster: Cluster) -> None:
        self.change(cluster, Every("60s", fixed_rate=True), Cron("0 * * * *"), 70, 100, HOUR)
        assert cluster.times("tidy")[0] == 180.0 - 10
        assert cluster.times("tidy")[1:] == [float(HOUR)]

    def test_though_the_answer_to_the_change_was_lost(self, cluster: Cluster) -> None:
        cluster.task("tidy", "1h", on="a")
        cluster.task("tidy", Every("10s", fixed_rate=True), on="b")
        cluster.b.reach.deaf["change"] = 1

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(5)
            await cluster.stop("a")
            await cluster.start("b")
            await cluster.clock.advance(30)

        cluster.run(main)
        first, *others = cluster.dues("tidy")
        assert first == cluster.at(0)
        seconds = [(each - others[0]).total_seconds() for each in others]
        assert seconds == [10.0 * step for step in range(len(others))]
        assert len(others) >= 3


class TestNodesWithDifferentCode:
    """An old one goes on while a new one has declared another trigger."""

    @pytest.mark.parametrize("old", ["15s", Every("15s", fixed_rate=True), Cron("*/2 * * * *")])
    @pytest.mark.parametrize(
        "new", [Cron("* * * * *"), Every("60s", fixed_rate=True), "60s"], ids=["cron", "grid", "interval"]
    )
    def test_follow_the_trigger_that_was_declared_last(self, cluster: Cluster, old: Any, new: Any) -> None:
        cluster.task("tidy", old, on="a")
        cluster.task("tidy", new, on="b")

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(20)
            await cluster.start("b")
            await cluster.clock.advance(5)
            await cluster.stop("b")  # only the old one is there to start it
            cluster.ledger.clear()
            await cluster.clock.advance(600)

        cluster.run(main)
        times = cluster.times("tidy")
        assert len(times) >= 9
        assert {round(after - before, 3) for before, after in pairwise(times)} == {60.0}


class TestATaskThatIsRescheduled:
    def test_is_due_by_the_new_trigger_on_all_nodes(self, cluster: Cluster) -> None:
        cluster.task("tidy", Every("1h", fixed_rate=True))

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(5)
            cluster.a.scheduler.reschedule("tidy", Every("10s", fixed_rate=True))
            await cluster.clock.advance(60)

        cluster.run(main)
        first, second, *others = cluster.times("tidy")
        assert first == 0.0
        assert second <= 15
        assert others == [second + 10 * step for step in range(1, len(others) + 1)]
        assert len(others) >= 4


class TestATriggerThatFails:
    @pytest.mark.parametrize("answers", [0, 1, 3])
    @pytest.mark.parametrize("says", [None, datetime(2000, 1, 1), "soon"])  # noqa: DTZ001
    def test_is_a_fault_of_that_task_only_and_said_once(
        self, cluster: Cluster, answers: int, says: Any
    ) -> None:
        trigger = Broken(answers, says)
        cluster.task("bad", trigger)
        cluster.task("good", Every("10s", fixed_rate=True))

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(100)
            assert cluster.times("good") == [10.0 * step for step in range(11)]
            assert len(cluster.times("bad")) == max(0, answers - 1)
            said = [event for event in cluster.events(RunSkipped) if event.task == "bad"]
            assert len(said) == 1
            assert "its trigger raised" in said[0].reason
            assert trigger.asked == answers + 1
            assert any('"bad"' in problem for problem in cluster.a.scheduler.health().problems)

        cluster.run(main)

    def test_is_asked_again_after_a_restart(self, cluster: Cluster) -> None:
        trigger = Broken(1)
        cluster.task("bad", trigger, on="a")

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(15)
            await cluster.stop("a")
            assert cluster.times("bad") == []
            trigger.left = 1000
            await cluster.start("a")
            await cluster.clock.advance(1)
            assert cluster.a.scheduler.health().ok
            assert cluster.times("bad") == [15.0]

        cluster.run(main)


class TestAKindOfTriggerOfOnesOwn:
    def test_is_the_same_on_every_node(self, cluster: Cluster) -> None:
        cluster.task("own", Broken(1000))

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(15)
            before = await cluster.row("own")
            await cluster.start("b")
            await asyncio.sleep(1)
            assert (await cluster.row("own")).trigger == before.trigger
            assert " at 0x" not in str(before.trigger)

        cluster.run(main)
