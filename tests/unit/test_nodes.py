"""The processes that share a store, and what they are told."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from tests.support.task_cluster import Cluster

from bgtasks import Every
from bgtasks.errors import ResourceUnavailable, UnknownNode
from bgtasks.nodes import Node, Nodes
from bgtasks.records import SessionRow


@pytest.fixture
def cluster() -> Cluster:
    """Two nodes on one store, not started."""
    return Cluster(names="ab")


def obey(cluster: Cluster, seconds: float = 0.0) -> None:
    """Have each node turn what it is told to."""

    async def turn(subject: str, _: Mapping[str, Any]) -> str:
        await asyncio.sleep(seconds)
        return f"{subject} was turned"

    for node in cluster.nodes.values():
        node.scheduler.on_command("turn", turn)


class TestThoseAlive:
    def test_are_told_with_how_they_stand(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("1h", fixed_rate=True), on="a")

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(30)
            first, second = await Nodes(cluster.store).alive()
            assert (first.node_id, first.wired, first.known) == ("a", ("grid",), ("grid",))
            assert (second.node_id, second.wired) == ("b", ())
            assert first.joined_at == cluster.begun
            assert first.expires_at is not None
            assert timedelta(0) < first.expires_at - cluster.clock.now() <= timedelta(seconds=15)
            assert first.state["problems"] == []
            assert first.state["since"] == cluster.begun.isoformat()

        cluster.run(main)

    def test_are_nobody_in_a_store_that_nobody_uses(self, cluster: Cluster) -> None:
        async def main() -> None:
            assert await Nodes(cluster.store).alive() == []
            assert await Nodes(cluster.store).unresolved() == {}
            assert list(await Nodes(cluster.store).told()) == []

        cluster.run(main)

    def test_may_be_called_the_same(self, cluster: Cluster) -> None:
        twin = Cluster(cluster.clock, "a")
        twin.store = cluster.store
        twin.process("a")
        for each in (cluster, twin):
            obey(each)

        async def main() -> None:
            await cluster.start("a")
            await twin.start("a")
            await cluster.clock.advance(5)
            nodes = Nodes(cluster.store)
            assert [node.node_id for node in await nodes.alive()] == ["a", "a"]
            row = await nodes.answers(await nodes.tell("turn", "key", node_id="a"))
            assert len({answer.session for answer in row.answers}) == 2
            await twin.stop()

        cluster.run(main)

    def test_cannot_be_told_of_by_a_store_that_is_away(self, cluster: Cluster) -> None:
        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(1)
            cluster.a.reach.cut()
            nodes: Any = Nodes(cluster.a.reach)
            for call in (nodes.alive, nodes.unresolved, lambda: nodes.tell("turn"), nodes.told):
                with pytest.raises(ResourceUnavailable):
                    await call()

        cluster.run(main)


class TestWhatNobodyCanRun:
    def test_is_counted_by_type(self, cluster: Cluster) -> None:
        cluster.job_type("digest", on="b")

        async def main() -> None:
            await cluster.start()
            for job_type in ("digest", "letter", "letter"):
                await cluster.a.jobs.add(job_type, "1h")
            await cluster.clock.advance(1)
            nodes = Nodes(cluster.store)
            assert await nodes.unresolved() == {"letter": 2}
            await cluster.stop("b")
            assert await nodes.unresolved() == {"digest": 1, "letter": 2}
            assert await nodes.unresolved(await nodes.alive()) == {"digest": 1, "letter": 2}

        cluster.run(main)


class TestTelling:
    def test_a_node_that_is_not_alive_is_refused(self, cluster: Cluster) -> None:
        async def main() -> None:
            with pytest.raises(UnknownNode, match="no node is alive to be told"):
                await Nodes(cluster.store).tell("turn")
            await cluster.start()
            await cluster.clock.advance(1)
            with pytest.raises(UnknownNode, match='no node called "c" is alive to be told: alive: a, b'):
                await Nodes(cluster.store).tell("turn", node_id="c")

        cluster.run(main)

    def test_waits_for_the_answers_of_all_that_were_told(self, cluster: Cluster) -> None:
        obey(cluster, 5.0)

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(5)
            nodes, asked = Nodes(cluster.store), cluster.now
            row = await nodes.answers(await nodes.tell("turn", "key"), 60)
            assert len(row.answers) == 2
            assert 5 <= cluster.now - asked < 10

        cluster.run(main)

    def test_does_not_wait_for_a_node_that_came_later_nor_for_ever(self, cluster: Cluster) -> None:
        obey(cluster)

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(5)
            nodes = Nodes(cluster.store)
            command = await nodes.tell("turn", "key")
            await cluster.clock.advance(0.1)
            await cluster.start("b")
            asked = cluster.now
            assert len((await nodes.answers(command, 60)).answers) == 1
            assert cluster.now - asked < 5
            cluster.a.reach.cut()
            command = await nodes.tell("turn", "key", node_id="a")
            asked = cluster.now
            assert not (await nodes.answers(command, 4)).answers
            assert cluster.now - asked == pytest.approx(4, abs=0.5)

        cluster.run(main)

    def test_waits_for_those_alone_whose_answers_matter(self, cluster: Cluster) -> None:
        obey(cluster)

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(5)
            nodes = Nodes(cluster.store)
            matters = [node.id for node in await nodes.alive() if node.node_id == "a"]
            cluster.b.reach.cut()
            command, asked = await nodes.tell("turn", "key"), cluster.now
            row = await nodes.answers(command, 60, matters)
            assert [answer.node_id for answer in row.answers] == ["a"]
            assert cluster.now - asked < 5

        cluster.run(main)

    def test_does_not_wait_for_a_node_that_has_died(self, cluster: Cluster) -> None:
        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(5)
            cluster.b.reach.cut()
            nodes = Nodes(cluster.store)
            command, asked = await nodes.tell("turn", "key", node_id="b"), cluster.now
            row = await nodes.answers(command, 600)
            assert not row.answers
            assert cluster.now - asked < 20

        cluster.run(main)

    def test_is_kept_with_who_asked(self, cluster: Cluster) -> None:
        obey(cluster)

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(5)
            nodes = Nodes(cluster.store)
            for subject in ("one", "two"):
                await nodes.tell("turn", subject)
                await cluster.clock.advance(5)
            told = await nodes.told()
            assert [row.subject for row in told] == ["two", "one"]
            assert all("@" in row.asked_by and len(row.answers) == 1 for row in told)
            assert len(await nodes.told(limit=1)) == 1

        cluster.run(main)


class TestReadingASession:
    @pytest.mark.parametrize("text", ["", "{", "[1]", "null", '"text"'])
    def test_of_another_version_has_no_state(self, text: str) -> None:
        read = Node.of(SessionRow(id="1", node_id="a", snapshot_json=text))
        assert (read.node_id, read.state) == ("a", {})
