"""A node that ends in the middle of a run of a cluster task: another one takes the run over."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.task_cluster import Cluster

from bgtasks import Cancelled, Deferred, Every, Skipped
from bgtasks.events import RunLost
from bgtasks.records import RunStatus


class TestANodeThatDiesWithoutAWord:
    def test_has_its_run_taken_over(self, cluster: Cluster) -> None:
        cluster.task("slow", Every("1h", fixed_rate=True), 10.0)

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(5)
            (first,) = cluster.ledger
            await cluster.kill(first.node)
            await cluster.clock.advance(35)
            first, second = cluster.ledger
            assert second.node != first.node
            assert (second.due, second.attempt) == (first.due, 2)
            assert second.token > first.token
            assert 15 <= second.at < 20
            (lost,) = cluster.events(RunLost)
            assert (lost.task, lost.due, lost.node, lost.attempt) == ("slow", first.due, first.node, 1)
            assert lost.again
            runs = await cluster.runs("slow")
            assert [run.status for run in runs] == [RunStatus.LOST, RunStatus.SUCCESS]

        cluster.run(main)

    def test_is_followed_three_times_and_no_more(self) -> None:
        cluster = Cluster(names="abcd")
        cluster.task("deadly", Every("1h", fixed_rate=True), 1000.0)

        async def main() -> None:
            await cluster.start()
            for attempt in (1, 2, 3):
                await cluster.clock.advance(20)
                assert [start.attempt for start in cluster.ledger] == list(range(1, attempt + 1))
                await cluster.kill(cluster.ledger[-1].node)
            heard = next(node for node in cluster.nodes.values() if node.scheduler.running).heard
            await cluster.clock.advance(600)
            assert len(cluster.ledger) == 3
            assert [event.again for event in heard.of(RunLost)][-1:] == [False]
            runs = await cluster.runs("deadly")
            assert [run.status for run in runs] == [RunStatus.LOST] * 3

        cluster.run(main)

    def test_does_not_keep_a_plain_interval_from_its_next_run(self) -> None:
        cluster = Cluster(names="ab")
        cluster.task("plain", "60s", 10.0)

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(5)
            await cluster.kill(cluster.ledger[0].node)
            await cluster.clock.advance(195)

        cluster.run(main)
        first, second, third, *_ = cluster.times("plain")
        assert first == 0.0
        assert 15 <= second < 20
        assert third == pytest.approx(second + 70)

    def test_is_a_zombie_when_it_comes_back_and_is_not_heeded(self, cluster: Cluster) -> None:
        async def stubborn() -> str:
            for _ in range(2):
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    continue
            return "from the grave"

        cluster.task("slow", Every("1h", fixed_rate=True), stubborn)

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(1)
            node = cluster.nodes[cluster.ledger[0].node]
            node.reach.cut()
            await cluster.clock.advance(22)
            node.reach.mend()
            assert [start.attempt for start in cluster.ledger] == [1, 2]
            await cluster.clock.advance(200)
            lost, done = await cluster.runs("slow")
            assert (lost.status, lost.result_json) == (RunStatus.LOST, None)
            assert (done.status, done.attempt) == (RunStatus.SUCCESS, 2)

        cluster.run(main)


class TestACleanStop:
    def test_gives_a_run_back_at_once(self, cluster: Cluster) -> None:
        cluster.task("slow", Every("1h", fixed_rate=True), 10.0)

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(5)
            first = cluster.ledger[0]
            await cluster.stop(first.node)
            await cluster.clock.advance(15)
            _, second = cluster.ledger
            assert second.at - 5 <= 3
            assert (second.attempt, second.due) == (2, first.due)
            lost, done = await cluster.runs("slow")
            assert lost.status is RunStatus.LOST
            assert lost.error_message == "cancelled: the scheduler was stopped"
            assert done.status is RunStatus.SUCCESS
            assert len(await cluster.store.sessions()) == 2

        cluster.run(main)

    def test_lets_a_run_end_within_the_drain(self, cluster: Cluster) -> None:
        cluster.task("slow", Every("1h", fixed_rate=True), 10.0)

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(5)
            await cluster.nodes[cluster.ledger[0].node].stop(60)
            await cluster.clock.advance(30)
            assert [run.status for run in await cluster.runs("slow")] == [RunStatus.SUCCESS]
            assert cluster.now == 40

        cluster.run(main)

    def test_keeps_its_session_through_a_drain(self, cluster: Cluster) -> None:
        cluster.task("slow", Every("1h", fixed_rate=True), 100.0)

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(5)
            await cluster.nodes[cluster.ledger[0].node].stop(200)
            assert [run.status for run in await cluster.runs("slow")] == [RunStatus.SUCCESS]

        cluster.run(main)

    @pytest.mark.parametrize("drain", [0.0, 20.0])
    def test_begins_nothing_that_is_being_claimed(self, cluster: Cluster, drain: float) -> None:
        cluster.task("grid", Every("10s", fixed_rate=True), 5.0, on="a")
        cluster.a.reach.slow["claim"] = 1.0

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(10.5)
            await cluster.a.stop(drain)
            assert cluster.times("grid") == [1.0]
            assert cluster.a.scheduler.unfinished == ()
            given_back = await cluster.runs("grid", RunStatus.PENDING)
            assert [(run.due, run.attempt) for run in given_back] == [(cluster.at(10), 2)]

        cluster.run(main)

    def test_goes_on_if_whoever_asked_for_it_is_cancelled(self, cluster: Cluster) -> None:
        cluster.task("slow", Every("1h", fixed_rate=True), 10.0)

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(5)
            cluster.a.reach.slow["finish"] = 1.0
            stop = asyncio.create_task(cluster.a.stop())
            await asyncio.sleep(0.5)
            stop.cancel()
            await asyncio.wait((stop,))
            await cluster.clock.advance(5)
            assert not cluster.a.scheduler.running
            assert await cluster.store.sessions() == []
            assert [run.attempt for run in await cluster.runs("slow", RunStatus.PENDING)] == [2]

        cluster.run(main)

    def test_says_no_more_when_the_store_is_away_and_is_not_held_up_by_that(self, cluster: Cluster) -> None:
        cluster.task("slow", Every("1h", fixed_rate=True), 10.0)

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(5)
            cluster.a.reach.hangs = True
            await cluster.a.stop()
            assert cluster.now <= 15

        cluster.run(main)

    def test_answers_those_who_wait_for_a_run(self, cluster: Cluster) -> None:
        cluster.task("slow", Every("1h", fixed_rate=True), 10.0)
        cluster.a.reach.slow["accept"] = 1.5

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(15)
            asked = asyncio.create_task(cluster.a.scheduler.run_now("slow"))
            await asyncio.sleep(0.5)
            await cluster.a.stop()
            await asyncio.wait((asked,), timeout=5)
            assert asked.done()
            assert isinstance(asked.result(), Skipped | Cancelled)

        cluster.run(main)

    def test_leaves_nothing_pending_of_a_task_whose_server_is_away(self, cluster: Cluster) -> None:
        async def away() -> Deferred:
            return Deferred("no answer", "graph")

        cluster.task("asks", Every("1h", fixed_rate=True), away)
        cluster.play(5, "a")
        assert cluster.times("asks")[0] == 0.0
        assert len(cluster.times("asks")) > 1
