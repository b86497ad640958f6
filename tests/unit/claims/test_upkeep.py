"""The chores of a store, done by the node that has been there longest."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.support.task_cluster import Cluster

from bgtasks import Every, Once
from bgtasks.claims import Retention
from bgtasks.errors import InvalidTask
from bgtasks.events import JobsUnresolved
from bgtasks.nodes import Nodes
from bgtasks.records import RunStatus


def rounds(cluster: Cluster) -> dict[str, int]:
    """How often each node counted the types of jobs."""
    return {name: node.reach.calls.count("types") for name, node in cluster.nodes.items()}


class TestWhoDoesThem:
    def test_is_the_eldest_each_minute(self, cluster: Cluster) -> None:
        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(310)
            assert rounds(cluster) == {"a": 6, "b": 0, "c": 0}

        cluster.run(main)

    @pytest.mark.parametrize("how", ["stops", "dies", "is cut off"])
    def test_is_the_next_when_that_one_goes(self, cluster: Cluster, how: str) -> None:
        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(100)
            if how == "stops":
                await cluster.stop("a")
            elif how == "dies":
                await cluster.kill("a")
            else:
                cluster.a.reach.cut()
            before = rounds(cluster)["a"]
            await cluster.clock.advance(200)
            after = rounds(cluster)
            assert after["b"] >= 2
            assert after["c"] == 0
            cluster.a.reach.mend()
            await cluster.start("a")
            await cluster.clock.advance(200)
            assert rounds(cluster)["b"] >= after["b"] + 3
            assert rounds(cluster)["a"] <= before + 1

        cluster.run(main)

    def test_is_heard_once_of_each_type(self, cluster: Cluster) -> None:
        async def main() -> None:
            await cluster.start()
            for name in ("one", "two", "one"):
                await cluster.a.jobs.add(name, "1h")
            await cluster.clock.advance(300)
            assert sorted(cluster.events(JobsUnresolved)) == [
                JobsUnresolved("one", 2, "no node that is alive knows it"),
                JobsUnresolved("two", 1, "no node that is alive knows it"),
            ]
            assert len({id(node) for node in cluster.nodes.values() if node.heard.of(JobsUnresolved)}) == 1
            assert await Nodes(cluster.store).unresolved() == {"one": 2, "two": 1}

        cluster.run(main)

    @pytest.mark.parametrize("call", ["sessions", "types", "jobs", "change", "prune"])
    @pytest.mark.parametrize("kind", ["deaf", "delay", "slow"])
    def test_does_them_though_a_call_fails_now_and_then(self, cluster: Cluster, call: str, kind: str) -> None:
        cluster.task("grid", Every("1h", fixed_rate=True), on="c")

        async def main() -> None:
            await cluster.start("c")
            await cluster.clock.advance(1)
            await cluster.stop("c")
            await cluster.start("ab")
            getattr(cluster.a.reach, kind)[call] = 70
            await cluster.clock.advance(150)
            cluster.a.reach.mend()
            await cluster.a.jobs.add("one", "1h")
            await cluster.clock.advance(100)
            assert cluster.a.heard.of(JobsUnresolved)
            assert (await cluster.row("grid")).retired_at is not None

        cluster.run(main)

    def test_does_them_after_the_store_was_away(self, cluster: Cluster) -> None:
        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(30)
            for node in cluster.nodes.values():
                node.reach.cut()
            await cluster.clock.advance(200)
            for node in cluster.nodes.values():
                node.reach.mend()
            await cluster.a.jobs.add("one", "1h")
            await cluster.clock.advance(100)
            assert len(cluster.events(JobsUnresolved)) == 1

        cluster.run(main)


class TestATaskThatNoNodeKnowsAnyMore:
    def test_is_marked_and_its_instant_stays(self, cluster: Cluster) -> None:
        cluster.task("old", Every("1h", fixed_rate=True), on="c")
        cluster.task("new", Every("1h", fixed_rate=True))

        async def main() -> None:
            await cluster.start("c")
            await cluster.clock.advance(5)
            before = await cluster.row("old")
            await cluster.stop("c")
            await cluster.start("ab")
            await cluster.clock.advance(5)
            row = await cluster.row("old")
            assert row.retired_at is not None
            assert row.retired_at - cluster.at(cluster.now) < timedelta(seconds=10)
            assert (row.next_run_at, row.enabled) == (before.next_run_at, True)
            await cluster.clock.advance(300)
            assert await cluster.row("old") == row
            assert (await cluster.row("new")).retired_at is None

        cluster.run(main)

    def test_is_run_again_when_one_comes_back_that_does(self, cluster: Cluster) -> None:
        cluster.task("old", Every("100s", fixed_rate=True), on="c")

        async def main() -> None:
            await cluster.start("c")
            await cluster.clock.advance(5)
            await cluster.stop("c")
            await cluster.start("ab")
            await cluster.clock.advance(120)
            assert (await cluster.row("old")).retired_at is not None
            await cluster.start("c")
            await cluster.clock.advance(5)
            row = await cluster.row("old")
            assert (row.retired_at, row.next_run_at) == (None, cluster.at(200))

        cluster.run(main)
        assert cluster.dues("old") == [cluster.at(0), cluster.at(100)]

    def test_is_not_marked_once_its_node_is_heard_of_again(self, cluster: Cluster) -> None:
        """It was cut off, and has not been started anew."""
        cluster.task("old", Every("100s", fixed_rate=True), on="c")

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(5)
            cluster.c.reach.cut()
            await cluster.clock.advance(120)
            assert (await cluster.row("old")).retired_at is not None
            cluster.c.reach.mend()
            await cluster.clock.advance(120)
            assert len(cluster.starts("old")) > 1
            assert (await cluster.row("old")).retired_at is None

        cluster.run(main)

    def test_is_not_one_that_a_node_knows_and_cannot_run(self, cluster: Cluster) -> None:
        cluster.task("old", Every("1h", fixed_rate=True))
        cluster.equip("a", exclude=("old",))
        cluster.equip("b", only=())

        async def main() -> None:
            await cluster.start("c")
            await cluster.clock.advance(5)
            await cluster.stop("c")
            await cluster.start("ab")
            await cluster.clock.advance(120)
            assert (await cluster.row("old")).retired_at is None
            assert {event.reason for event in cluster.events(JobsUnresolved)} == {
                "no node that is alive has all that it needs"
            }

        cluster.run(main)

    def test_is_not_a_job_that_was_added_at_run_time(self, cluster: Cluster) -> None:
        async def main() -> None:
            await cluster.start("a")
            row = await cluster.a.jobs.add("digest", "1h")
            await cluster.clock.advance(120)
            assert await cluster.a.jobs.get(row.id) == row

        cluster.run(main)

    def test_is_marked_though_a_thousand_jobs_are_of_its_type(self, cluster: Cluster) -> None:
        cluster.task("zeta", Every("1h", fixed_rate=True), on="c")

        async def main() -> None:
            await cluster.start("c")
            await cluster.clock.advance(5)
            await cluster.stop("c")
            for _ in range(1500):  # most of them before it in the order of ids
                await cluster.b.jobs.add("zeta", Once(cluster.at(10_000)))
            await cluster.start("a")
            await cluster.clock.advance(70)
            assert (await cluster.row("zeta")).retired_at is not None

        cluster.run(main)


class TestWhatIsForgotten:
    def test_is_what_is_old(self) -> None:
        cluster = Cluster(names="ab", retention=Retention(timedelta(minutes=30)))
        cluster.task("grid", Every("10m", fixed_rate=True))

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(7500)
            runs = await cluster.runs("grid")
            assert [run.due for run in runs] == [cluster.at(600 * step) for step in range(10, 13)]

        cluster.run(main)

    def test_is_what_is_too_much_of_one_job(self) -> None:
        cluster = Cluster(names="ab", retention=Retention(runs=5))
        cluster.task("grid", Every("1m", fixed_rate=True))
        cluster.task("other", Every("20m", fixed_rate=True))

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(3700)
            assert len(await cluster.runs("grid")) <= 7
            assert len(await cluster.runs("other")) == 4

        cluster.run(main)

    def test_are_jobs_that_are_over_with_what_ran_of_them(self) -> None:
        cluster = Cluster(names="a", retention=Retention(timedelta(minutes=30)))
        cluster.job_type("digest")

        async def main() -> None:
            await cluster.start()
            over = await cluster.a.jobs.add("digest", Once(cluster.at(5)))
            waits = await cluster.a.jobs.add("digest", Once(cluster.at(50_000)))
            recent = await cluster.a.jobs.add("digest", Once(cluster.at(3000)))
            await cluster.clock.advance(3700)
            kept = {row.id for row in await cluster.a.jobs.list()}
            assert over.id not in kept
            assert {waits.id, recent.id} <= kept
            assert not await cluster.a.jobs.runs(over.id)

        cluster.run(main)

    def test_is_looked_for_again_soon_if_the_store_did_not_answer(self) -> None:
        cluster = Cluster(names="a", retention=Retention(timedelta(minutes=30)))

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(3500)
            cluster.a.reach.delay["prune"] = 61.0
            await cluster.clock.advance(300)
            cluster.a.reach.mend()
            asked = cluster.a.reach.calls.count("prune")
            await cluster.clock.advance(300)
            assert cluster.a.reach.calls.count("prune") > asked

        cluster.run(main)

    def test_is_never_what_goes_on(self) -> None:
        cluster = Cluster(names="a", retention=Retention(timedelta(seconds=1), 1))
        cluster.task("long", Every("10h", fixed_rate=True), 4000.0)

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(3900)
            assert [run.status for run in await cluster.runs("long")] == [RunStatus.RUNNING]

        cluster.run(main)


class TestARetention:
    @pytest.mark.parametrize(
        "kept", [{"age": timedelta(0)}, {"age": -timedelta(days=1)}, {"runs": 0}, {"runs": -1}]
    )
    def test_that_keeps_nothing_is_refused(self, kept: Any) -> None:
        with pytest.raises(InvalidTask, match="keeps runs for a while"):
            Retention(**kept)
