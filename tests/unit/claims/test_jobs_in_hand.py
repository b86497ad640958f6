"""Jobs that a process has in hand because they are due, and lets go of."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.task_cluster import Cluster

from bgtasks import Breaker, Deferred, Every, Once, ScheduledJob
from bgtasks.job import Job


@pytest.fixture
def alone() -> Cluster:
    """One node on a store, not started."""
    return Cluster(names="a")


def in_hand(cluster: Cluster) -> int:
    """How many jobs that were added at run time the schedulers have."""
    return sum(len(node.scheduler.snapshot()) for node in cluster.nodes.values())


class TestJobsInHand:
    def test_are_let_go_when_they_have_run(self, cluster: Cluster) -> None:
        cluster.job_type("digest", 1.0)

        async def main() -> None:
            await cluster.start()
            await cluster.a.jobs.add("digest", "1h")
            await cluster.a.jobs.add("digest", Once(cluster.at(2)))
            await cluster.clock.advance(2.5)
            assert in_hand(cluster)
            await cluster.clock.advance(10)
            assert not in_hand(cluster)

        cluster.run(main)
        assert len(cluster.ledger) == 2

    @pytest.mark.parametrize("by_hand", [False, True])
    def test_are_let_go_a_thousand_times(self, alone: Cluster, by_hand: bool) -> None:
        alone.job_type("digest")

        def held() -> int:
            gc.collect()
            return sum(isinstance(each, Job) for each in gc.get_objects())

        async def main() -> None:
            await alone.start()
            await alone.clock.advance(1)
            before = held()
            if by_hand:
                row = await alone.a.jobs.add("digest", Once(alone.at(2)))
                for _ in range(1000):
                    await alone.a.jobs.run_now(row.id)
                    await alone.clock.advance(1)
            else:
                for number in range(1000):
                    await alone.a.jobs.add("digest", Once(alone.at(2 + number)))
            await alone.clock.advance(1020)
            assert len(alone.ledger) >= 1000
            assert not in_hand(alone)
            assert held() - before <= 1
            desk: Any = alone.a.scheduler._desk
            offers = desk._offers
            for kept in (
                desk._jobs, desk.guests._jobs, desk.guests.broken, offers._open, offers._busy, offers._asked,
                offers._backoffs, offers.strangers, offers.withdrawals, desk._due._wanted, desk._tasks,
                desk._switches._wanted, desk._declarations._open, desk._endings._open, desk._in_hand._runs,
            ):  # fmt: skip
                assert not kept

        alone.run(main)

    def test_that_were_removed_while_their_server_did_not_answer_leave_nothing(self, alone: Cluster) -> None:
        async def defer(_: ScheduledJob) -> Deferred:
            return Deferred("no answer", resource="mailer")

        alone.job_type("digest", defer)

        async def main() -> None:
            await alone.start()
            row = await alone.a.jobs.add("digest", "1h")
            await alone.clock.advance(10)
            await alone.a.jobs.remove(row.id)
            await alone.clock.advance(600)
            desk: Any = alone.a.scheduler._desk
            assert not desk._offers._backoffs

        alone.run(main)

    def test_are_let_go_by_a_stop(self, alone: Cluster) -> None:
        alone.job_type("digest", 60.0)

        async def main() -> None:
            await alone.start()
            await alone.a.jobs.add("digest", "1h")
            await alone.clock.advance(5)
            await alone.stop()
            assert not in_hand(alone)
            await alone.start()
            await alone.clock.advance(5)
            assert [start.attempt for start in alone.ledger] == [1, 2]

        alone.run(main)

    @pytest.mark.parametrize("how", ["an open breaker", "a run that would not end"])
    def test_that_outlive_a_stop_are_not_taken_for_tasks(self, alone: Cluster, how: str) -> None:
        async def work(job: ScheduledJob) -> None:
            if how == "an open breaker":
                raise ValueError("no")
            for _ in range(4):
                try:
                    await asyncio.sleep(300)
                except asyncio.CancelledError:
                    continue

        alone.job_type("digest", work, breaker=Breaker(after=1, cool_down="1h"))

        async def main() -> None:
            await alone.start()
            row = await alone.a.jobs.add("digest", "10m")
            await alone.clock.advance(5)
            await alone.stop()
            await alone.start()
            await alone.clock.advance(30)
            assert [each.id for each in await alone.a.jobs.list()] == [row.id]
            await alone.clock.advance(1200)
            await alone.stop()

        alone.run(main)

    def test_of_a_node_that_loses_the_store_are_had_by_another(self, cluster: Cluster) -> None:
        cluster.job_type("digest", 30.0)

        async def main() -> None:
            await cluster.start("ab")
            await cluster.a.jobs.add("digest", Once(cluster.at(1)))
            await cluster.clock.advance(5)
            lost = cluster.nodes[cluster.ledger[0].node]
            lost.reach.cut()
            await cluster.clock.advance(60)
            assert not lost.scheduler.unfinished
            lost.reach.mend()
            await cluster.clock.advance(10)
            assert not in_hand(cluster)

        cluster.run(main)
        assert [start.attempt for start in cluster.ledger] == [1, 2]
        assert not cluster.met


class TestASchedulerThatIsAskedForAJobInHandByName:
    """They are shown in its snapshot, so somebody will."""

    @pytest.mark.parametrize(
        "ask",
        [
            "remove",
            "reschedule",
            "pause",
            "run_now",
        ],
    )
    def test_goes_on(self, alone: Cluster, ask: str) -> None:
        alone.job_type("digest", 8.0)

        async def main() -> None:
            await alone.start()
            await alone.clock.advance(1)
            row = await alone.a.jobs.add("digest", "1h", key="daily")
            other = await alone.a.jobs.add("digest", Every("10s", fixed_rate=True))
            await alone.clock.advance(2)
            (name,) = (each.name for each in alone.a.scheduler.snapshot() if "daily" in each.name)
            calls: dict[str, Callable[[], Any]] = {
                "remove": lambda: alone.a.scheduler.remove(name),
                "reschedule": lambda: alone.a.scheduler.reschedule(name, "30m"),
                "pause": lambda: alone.a.scheduler.pause(name),
                "run_now": lambda: alone.a.scheduler.run_now(name),
            }
            try:
                answer = calls[ask]()
                if answer is not None:
                    await answer
            except Exception:  # noqa: BLE001 - a refusal would do
                pass
            await alone.clock.advance(60)
            assert {each.id for each in await alone.a.jobs.list()} <= {row.id, other.id}
            assert len(await alone.a.jobs.runs(other.id)) >= 6

        alone.run(main)
