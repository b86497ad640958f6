"""What a process says of itself in the store."""

from __future__ import annotations

import asyncio
import gc
import json
from typing import Any

import pytest
from tests.support.task_cluster import Cluster

from bgtasks import Every, Once
from bgtasks.nodes import Node, Nodes


@pytest.fixture
def alone() -> Cluster:
    """One node on a store, not started."""
    return Cluster(names="a")


async def node(cluster: Cluster, name: str = "a") -> Node:
    (found,) = [each for each in await Nodes(cluster.store).alive() if each.node_id == name]
    return found


class TestASession:
    def test_says_what_is_wired_and_what_is_known(self, alone: Cluster) -> None:
        alone.task("grid", Every("1h", fixed_rate=True))
        alone.task("own", Every("1h", fixed_rate=True), scope="node")
        alone.task("mail", Every("1h", fixed_rate=True), requires=("mailer",))
        alone.job_type("digest")
        alone.job_type("letter", requires=("mailer",))

        async def main() -> None:
            await alone.start()
            await alone.clock.advance(1)
            said = await node(alone)
            assert set(said.wired) == {"grid", "digest"}
            assert set(said.known) == {"grid", "own", "mail", "digest", "letter"}
            assert said.state["not_wired"] == dict.fromkeys(
                ("mail", "letter"), 'needs mailer: no resource "mailer" was given'
            )

        alone.run(main)

    def test_does_not_say_that_jobs_in_hand_are_wired(self, alone: Cluster) -> None:
        alone.job_type("digest", 60.0)

        async def main() -> None:
            await alone.start()
            await alone.a.jobs.add("digest", Once(alone.at(2)), key="daily")
            await alone.clock.advance(20)
            said = await node(alone)
            assert said.wired == said.known == ("digest",)
            (job,) = said.state["jobs"]
            assert (job["name"], job["kind"], job["scope"]) == ("digest[daily]", "job", "cluster")

        alone.run(main)

    def test_is_described_anew_every_nine_seconds_or_so(self, alone: Cluster) -> None:
        async def main() -> None:
            await alone.start()
            await alone.clock.advance(100)
            assert 8 <= alone.a.reach.calls.count("describe") <= 12

        alone.run(main)

    def test_lives_no_longer_for_being_described(self, alone: Cluster) -> None:
        async def main() -> None:
            await alone.start()
            await alone.clock.advance(5)
            before = await node(alone)
            alone.a.reach.hangs = True
            await alone.clock.advance(20)
            assert not await Nodes(alone.store).alive()
            alone.a.reach.mend()
            await alone.clock.advance(5)
            after = await node(alone)
            assert after.id != before.id
            assert after.wired == before.wired

        alone.run(main)

    def test_says_soon_that_a_task_was_removed(self, alone: Cluster) -> None:
        alone.task("grid", Every("1h", fixed_rate=True))
        alone.task("other", Every("1h", fixed_rate=True))

        async def main() -> None:
            await alone.start()
            await alone.clock.advance(10)
            await alone.a.scheduler.remove("grid")
            await alone.clock.advance(4)
            assert (await node(alone)).wired == ("other",)

        alone.run(main)

    @pytest.mark.parametrize("call", ["describe", "join"])
    def test_is_described_though_answers_are_lost(self, alone: Cluster, call: str) -> None:
        alone.task("grid", Every("1h", fixed_rate=True))
        alone.a.reach.deaf[call] = 3

        async def main() -> None:
            await alone.start()
            await alone.clock.advance(30)
            assert [each.wired for each in await Nodes(alone.store).alive()] == [("grid",)] * (
                1 if call == "describe" else len(await Nodes(alone.store).alive())
            )

        alone.run(main)

    def test_without_a_name_is_called_by_its_host_and_process(self) -> None:
        cluster = Cluster(names="")
        cluster.add("")

        async def main() -> None:
            await cluster.start("")
            await cluster.nodes[""].start()
            await cluster.clock.advance(1)
            (said,) = await Nodes(cluster.store).alive()
            assert said.node_id == f"{said.state['host']}-{said.state['pid']}"

        cluster.run(main)

    def test_goes_with_the_node(self, cluster: Cluster) -> None:
        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(1)
            assert [each.node_id for each in await Nodes(cluster.store).alive()] == ["a", "b", "c"]
            await cluster.stop("a")
            assert [each.node_id for each in await Nodes(cluster.store).alive()] == ["b", "c"]
            await cluster.kill("b")
            await cluster.clock.advance(20)
            assert [each.node_id for each in await Nodes(cluster.store).alive()] == ["c"]

        cluster.run(main)


class TestWhatAProgramAdds:
    def test_is_published(self, alone: Cluster) -> None:
        async def main() -> None:
            alone.a.scheduler.describe("queue", lambda: {"length": 3, "at": alone.begun})
            await alone.start()
            await alone.clock.advance(1)
            said = await node(alone)
            assert said.state["queue"] == {"length": 3, "at": str(alone.begun)}
            alone.a.scheduler.describe("queue", lambda: {"length": 4})
            await alone.clock.advance(15)
            assert (await node(alone)).state["queue"] == {"length": 4}

        alone.run(main)

    @pytest.mark.parametrize("when", ["before the start", "later"])
    @pytest.mark.parametrize("what", ["raises", "keys", "circle", "nan"])
    def test_and_cannot_be_said_does_not_stop_the_node(self, alone: Cluster, what: str, when: str) -> None:
        alone.task("grid", Every("5s", fixed_rate=True))

        def section() -> dict[Any, Any]:
            if what == "raises":
                raise OSError("no queue")
            if what == "keys":
                return {("a", "b"): 1}
            if what == "nan":
                return {"mean": float("nan")}
            circle: dict[str, Any] = {}
            circle["self"] = circle
            return circle

        complaints: list[Any] = []

        async def main() -> None:
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _, context: complaints.append(context))
            if when == "before the start":
                alone.a.scheduler.describe("queue", section)
            await alone.start()
            await alone.clock.advance(1)
            alone.a.scheduler.describe("queue", section)
            await alone.clock.advance(60)
            said = await node(alone)
            assert said.wired == ("grid",)
            (row,) = await alone.store.sessions()
            json.loads(row.snapshot_json, parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))

        alone.run(main)
        gc.collect()
        assert not complaints
        assert alone.times("grid") == [5.0 * step for step in range(13)]

    @pytest.mark.parametrize("name", ["known", "jobs", "pid"])
    def test_does_not_take_the_place_of_what_is_said_anyway(self, alone: Cluster, name: str) -> None:
        alone.task("grid", Every("5s", fixed_rate=True))

        async def main() -> None:
            await alone.start()
            alone.a.scheduler.describe(name, lambda: {"length": 3})
            await alone.clock.advance(30)
            said = await node(alone)
            assert said.known == ("grid",)
            assert [job["name"] for job in said.state["jobs"]] == ["grid"]
            assert isinstance(said.state["pid"], int)

        alone.run(main)
