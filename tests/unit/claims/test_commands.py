"""What nodes are told from outside: carried out once by each, and answered."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest
from tests.support.task_cluster import Cluster, Node

from bgtasks import Every
from bgtasks.nodes import Nodes
from bgtasks.records import Answer, Command, CommandRow


class Orders:
    """What a node has carried out, in order."""

    def __init__(self, cluster: Cluster, seconds: float = 0.0) -> None:
        self.done: list[tuple[str, str, Mapping[str, Any], float]] = []
        self._cluster = cluster
        self._seconds = seconds
        for node in cluster.nodes.values():
            node.scheduler.on_command("turn", self.on(node))

    def on(self, node: Node) -> Any:
        async def turn(subject: str, arguments: Mapping[str, Any]) -> str:
            self.done.append((node.name, subject, arguments, self._cluster.now))
            if self._seconds:
                await asyncio.sleep(self._seconds)
            return f"{subject} was turned"

        return turn

    @property
    def nodes(self) -> list[str]:
        return [name for name, *_ in self.done]


async def answers(cluster: Cluster, command: CommandRow) -> tuple[Answer, ...]:
    (row,) = await cluster.store.commands(id=command.id)
    return row.answers


@pytest.fixture
def cluster() -> Cluster:
    """Two nodes on one store, not started."""
    return Cluster(names="ab")


class TestACommand:
    def test_is_carried_out_once_by_the_node_that_is_meant_and_answered(self, cluster: Cluster) -> None:
        orders = Orders(cluster)

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(5)
            command = await Nodes(cluster.store).tell("turn", "key", node_id="b", arguments={"by": 90})
            await cluster.clock.advance(60)
            (answer,) = await answers(cluster, command)
            assert (answer.node_id, answer.done, answer.text) == ("b", True, "key was turned")

        cluster.run(main)
        ((node, subject, arguments, at),) = orders.done
        assert (node, subject, arguments) == ("b", "key", {"by": 90})
        assert at <= 5 + 3

    def test_to_all_is_carried_out_once_by_each(self, cluster: Cluster) -> None:
        orders = Orders(cluster)

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(5)
            command = await Nodes(cluster.store).tell("turn", "key")
            await cluster.clock.advance(60)
            assert {answer.node_id for answer in await answers(cluster, command)} == {"a", "b"}

        cluster.run(main)
        assert sorted(orders.nodes) == ["a", "b"]

    def test_that_takes_longer_than_many_beats_is_carried_out_once(self, cluster: Cluster) -> None:
        orders = Orders(cluster, 40.0)

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(5)
            command = await Nodes(cluster.store).tell("turn", "key", node_id="a", within=60)
            await cluster.clock.advance(35)
            assert not await answers(cluster, command)
            await cluster.clock.advance(60)
            assert len(await answers(cluster, command)) == 1

        cluster.run(main)
        assert orders.nodes == ["a"]

    @pytest.mark.parametrize("times", [1, 4])
    def test_whose_answer_is_lost_on_its_way_is_carried_out_once(self, cluster: Cluster, times: int) -> None:
        orders = Orders(cluster)

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(5)
            cluster.a.reach.deaf["answer"] = times
            command = await Nodes(cluster.store).tell("turn", "key", node_id="a")
            await cluster.clock.advance(60)
            assert len(await answers(cluster, command)) == 1

        cluster.run(main)
        assert orders.nodes == ["a"]

    def test_that_nobody_heard_in_time_is_carried_out_by_nobody(self, cluster: Cluster) -> None:
        orders = Orders(cluster)

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(5)
            cluster.a.reach.cut()
            command = await Nodes(cluster.store).tell("turn", "key", node_id="a", within=5)
            await cluster.clock.advance(7)
            cluster.a.reach.mend()
            await cluster.clock.advance(60)
            assert not await answers(cluster, command)

        cluster.run(main)
        assert not orders.done

    def test_is_not_repeated_by_the_session_after_the_one_that_was_told(self, cluster: Cluster) -> None:
        orders = Orders(cluster, 5.0)

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(5)
            command = await Nodes(cluster.store).tell("turn", "key", node_id="a", within=600)
            await cluster.clock.advance(4)
            assert orders.nodes == ["a"]
            cluster.a.reach.cut()
            await cluster.clock.advance(30)
            cluster.a.reach.mend()
            await cluster.clock.advance(60)
            assert not await answers(cluster, command)

        cluster.run(main)
        assert orders.nodes == ["a"]

    def test_is_not_carried_out_by_a_process_that_takes_the_nodes_place(self, cluster: Cluster) -> None:
        orders = Orders(cluster, 60.0)

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(5)
            command = await Nodes(cluster.store).tell("turn", "key", node_id="a", within=600)
            await cluster.clock.advance(4)
            node = await cluster.kill("a")
            node.scheduler.on_command("turn", orders.on(node))
            await cluster.start("a")
            await cluster.clock.advance(100)
            assert not await answers(cluster, command)
            row = await asyncio.wait_for(Nodes(cluster.store).answers(command, 5), 30)
            assert not row.answers

        cluster.run(main)
        assert orders.nodes == ["a"]

    def test_sent_twice_is_one(self, cluster: Cluster) -> None:
        orders = Orders(cluster)

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(5)
            first = await Nodes(cluster.store).tell("turn", "key", node_id="a", id="mine")
            await cluster.clock.advance(10)
            again = await Nodes(cluster.store).tell("turn", "other", node_id="a", id="mine")
            assert (again.subject, again.created_at) == ("key", first.created_at)
            await cluster.clock.advance(20)

        cluster.run(main)
        assert len(orders.done) == 1

    def test_by_the_hundred_is_carried_out_each(self, cluster: Cluster) -> None:
        orders = Orders(cluster)

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(5)
            for number in range(100):
                await Nodes(cluster.store).tell("turn", str(number), node_id="a")
            await cluster.clock.advance(20)
            assert all(row.answers for row in await cluster.store.commands(limit=1000))

        cluster.run(main)
        assert sorted(int(subject) for _, subject, *_ in orders.done) == list(range(100))


class TestACommandThatCannotBeCarriedOut:
    def answer_of(self, cluster: Cluster, kind: str, handler: Any = None, **command: Any) -> Answer:
        given: list[Answer] = []

        async def main() -> None:
            await cluster.start("a")
            if handler is not None:
                cluster.a.scheduler.on_command(kind, handler)
            await cluster.clock.advance(5)
            row = await cluster.store.command(Command(**{"id": "1", "kind": kind, **command}), 15)
            await cluster.clock.advance(30)
            given.extend(await answers(cluster, row))
            assert cluster.a.reach.calls.count("answer") == 1

        cluster.run(main)
        return given[0]

    def test_because_nobody_knows_it(self, cluster: Cluster) -> None:
        answer = self.answer_of(cluster, "dance")
        assert not answer.done
        assert answer.text == 'this node knows no command "dance": it knows pause, resume, run_now'

    def test_because_its_handler_raised(self, cluster: Cluster) -> None:
        async def turn(*_: Any) -> str:
            raise OSError("stuck")

        assert self.answer_of(cluster, "turn", turn)[3:] == (False, "OSError: stuck")

    def test_because_a_handler_that_is_no_coroutine_raised(self, cluster: Cluster) -> None:
        def turn(*_: Any) -> str:
            raise OSError("stuck")

        assert self.answer_of(cluster, "turn", turn)[3:] == (False, "OSError: stuck")

    @pytest.mark.parametrize("arguments", ["{", "[1]", "nothing", '"text"', "7"])
    def test_because_its_arguments_are_none(self, cluster: Cluster, arguments: str) -> None:
        cluster.task("grid", Every("1h", fixed_rate=True))
        answer = self.answer_of(cluster, "pause", subject="grid", arguments_json=arguments)
        assert not answer.done
        assert answer.text

    @pytest.mark.parametrize("kind", ["pause", "resume", "run_now"])
    def test_because_there_is_no_such_task(self, cluster: Cluster, kind: str) -> None:
        cluster.task("grid", Every("1h", fixed_rate=True))
        answer = self.answer_of(cluster, kind, subject="gird")
        assert not answer.done
        assert "gird" in answer.text
        assert "grid" in answer.text

    @pytest.mark.parametrize("arguments", ["", "{}"])
    def test_unlike_one_without_arguments(self, cluster: Cluster, arguments: str) -> None:
        cluster.task("grid", Every("1h", fixed_rate=True))
        assert self.answer_of(cluster, "pause", subject="grid", arguments_json=arguments)[3:] == (
            True,
            "paused",
        )


class TestWhatAHandlerReturns:
    @pytest.mark.parametrize("is_coroutine", [False, True])
    @pytest.mark.parametrize("value", [None, 7, {"a": 1}, b"bytes"])
    def test_that_is_no_text_is_answered_all_the_same(
        self, cluster: Cluster, value: Any, is_coroutine: bool
    ) -> None:
        """To a real store nothing else can be said, and what it refuses would be said for ever."""

        def turn(*_: Any) -> Any:
            return value

        async def turn_slowly(*_: Any) -> Any:
            return value

        async def main() -> None:
            await cluster.start("a")
            cluster.a.scheduler.on_command("turn", turn_slowly if is_coroutine else turn)
            await cluster.clock.advance(5)
            command = await Nodes(cluster.store).tell("turn")
            await cluster.clock.advance(20)
            (answer,) = await answers(cluster, command)
            assert answer.done
            assert isinstance(answer.text, str)

        cluster.run(main)

    def test_that_is_endless_is_cut(self, cluster: Cluster) -> None:
        async def main() -> None:
            await cluster.start("a")
            cluster.a.scheduler.on_command("turn", lambda *_: "x" * 10_000_000)
            await cluster.clock.advance(5)
            command = await Nodes(cluster.store).tell("turn")
            await cluster.clock.advance(20)
            (answer,) = await answers(cluster, command)
            assert len(answer.text) < 100_000

        cluster.run(main)


class TestWhatEveryNodeObeys:
    def test_runs_a_task_now_on_that_node(self, cluster: Cluster) -> None:
        cluster.task("own", Every("1h", fixed_rate=True), scope="node", initial_delay="1h")

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(5)
            command = await Nodes(cluster.store).tell("run_now", "own", node_id="b")
            await cluster.clock.advance(10)
            (answer,) = await answers(cluster, command)
            assert (answer.done, answer.text) == (True, "Done")

        cluster.run(main)
        assert [start.node for start in cluster.ledger] == ["b"]

    def test_pauses_and_resumes_a_task_of_that_node(self, cluster: Cluster) -> None:
        cluster.task("own", Every("5s", fixed_rate=True), scope="node")

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(1)
            nodes = Nodes(cluster.store)
            await nodes.tell("pause", "own", node_id="b", arguments={"reason": "too loud"})
            await cluster.clock.advance(4)
            (own,) = cluster.b.scheduler.snapshot()
            assert own.paused == "too loud"
            await cluster.clock.advance(20)
            assert len([start for start in cluster.ledger if start.node == "b"]) == 1
            await nodes.tell("resume", "own", node_id="b")
            await cluster.clock.advance(20)
            assert len([start for start in cluster.ledger if start.node == "b"]) > 3

        cluster.run(main)

    def test_says_how_a_run_ended(self, cluster: Cluster) -> None:
        async def fail() -> None:
            raise ValueError("no")

        cluster.task("own", Every("1h", fixed_rate=True), fail, scope="node", initial_delay="1h")

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(5)
            command = await Nodes(cluster.store).tell("run_now", "own")
            await cluster.clock.advance(10)
            (answer,) = await answers(cluster, command)
            assert answer.text == "Failed: ValueError: no"

        cluster.run(main)


class TestANodeThatStops:
    def test_while_it_obeys_leaves_nothing_behind(self, cluster: Cluster) -> None:
        orders = Orders(cluster, 60.0)

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(5)
            command = await Nodes(cluster.store).tell("turn", "key", node_id="a")
            await cluster.clock.advance(4)
            assert orders.nodes == ["a"]
            await cluster.stop("a")
            (answer,) = await answers(cluster, command)
            assert not answer.done
            assert "cancelled" in answer.text
            await cluster.clock.advance(10)

        cluster.run(main)

    def test_says_how_its_runs_ended_and_leaves_though_a_command_does_not_end(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("1h", fixed_rate=True), 30.0)

        async def stubborn(subject: str, arguments: Mapping[str, Any]) -> None:
            until = cluster.now + 20
            while cluster.now < until:
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(1)

        cluster.a.scheduler.on_command("turn", stubborn)

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(5)
            await Nodes(cluster.store).tell("turn", "key", node_id="a")
            await cluster.clock.advance(4)
            cluster.a.reach.delay["finish"] = cluster.a.reach.delay["leave"] = 0.1
            await cluster.stop("a")
            (run, *_) = await cluster.runs("grid")
            assert run.status == "lost"
            assert "the scheduler was stopped" in str(run.error_message)
            assert not await cluster.store.sessions()
            await cluster.clock.advance(30)

        cluster.run(main)

    def test_lets_its_runs_end_and_answers_meanwhile(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("1h", fixed_rate=True), 30.0)
        orders = Orders(cluster)

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(5)
            stopping = asyncio.create_task(cluster.a.stop(60.0))
            await cluster.clock.advance(1)
            command = await Nodes(cluster.store).tell("turn", "key", node_id="a")
            await cluster.clock.advance(10)
            assert orders.nodes == ["a"]
            assert len(await answers(cluster, command)) == 1
            await stopping

        cluster.run(main)

    def test_with_an_answer_to_give_does_not_give_it_after_its_next_start(self, cluster: Cluster) -> None:
        Orders(cluster)

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(5)
            cluster.a.reach.delay["answer"] = 10.0
            command = await Nodes(cluster.store).tell("turn", "key", node_id="a")
            await cluster.clock.advance(4)
            (told,) = [row.id for row in await cluster.store.sessions() if row.node_id == "a"]
            await cluster.stop("a")
            cluster.a.reach.mend()
            await cluster.start("a")
            await cluster.clock.advance(20)
            assert {answer.session for answer in await answers(cluster, command)} <= {told}

        cluster.run(main)

    def test_because_it_was_told_to_does_so(self, cluster: Cluster) -> None:
        async def main() -> None:
            await cluster.start("a")
            halting: list[asyncio.Task[None]] = []

            def halt(*_: Any) -> str:
                halting.append(asyncio.create_task(cluster.a.stop()))
                return "halting"

            cluster.a.scheduler.on_command("halt", halt)
            await cluster.clock.advance(5)
            command = await Nodes(cluster.store).tell("halt")
            await cluster.clock.advance(10)
            assert not cluster.a.scheduler.running
            (answer,) = await answers(cluster, command)
            assert answer.text == "halting"

        cluster.run(main)
