"""The store is away, or its answers are lost: what is cluster's waits, and nothing runs twice."""

from __future__ import annotations

import asyncio
from random import Random

import pytest
from tests.support.task_cluster import Cluster, Node

from bgtasks import Cancelled, Every, Skipped
from bgtasks.claims import current_claim
from bgtasks.errors import ClaimLost
from bgtasks.events import ResourceLost, ResourceRegained, RunFinished, RunLost
from bgtasks.records import RunStatus


@pytest.fixture
def cluster() -> Cluster:
    return Cluster(names="ab")


def each_tick_once(cluster: Cluster, task: str) -> bool:
    dues = cluster.dues(task)
    return len(dues) == len(set(dues))


class TestWhileTheStoreIsAway:
    @pytest.mark.parametrize("hangs", [False, True])
    def test_cluster_tasks_wait_and_others_go_on(self, cluster: Cluster, hangs: bool) -> None:
        cluster.task("shared", Every("5s", fixed_rate=True))
        cluster.task("own", Every("5s", fixed_rate=True), scope="node", on="a")

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(21)
            for node in (cluster.a, cluster.b):
                node.reach.hangs, node.reach.down = hangs, True
            await cluster.clock.advance(60)
            for node in (cluster.a, cluster.b):
                node.reach.mend()
            await cluster.clock.advance(30)

        cluster.run(main)
        assert cluster.times("own") == [5.0 * step for step in range(23)]
        shared = cluster.times("shared")
        assert not [at for at in shared if 21 < at < 81]
        assert [at for at in shared if at < 21] == [0.0, 5.0, 10.0, 15.0, 20.0]
        assert len([at for at in shared if at > 81]) >= 5
        assert each_tick_once(cluster, "shared")

    def test_that_is_said_once_and_its_return_too(self, cluster: Cluster) -> None:
        cluster.task("shared", Every("5s", fixed_rate=True))

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(21)
            cluster.a.reach.cut()
            await cluster.clock.advance(120)
            cluster.a.reach.mend()
            await cluster.clock.advance(30)
            (lost,) = cluster.events(ResourceLost)
            (regained,) = cluster.events(ResourceRegained)
            assert lost.resource == regained.resource == "the task store"
            assert regained.seconds > 100

        cluster.run(main)
        assert cluster.times("shared") == [5.0 * step for step in range(35)]

    def test_a_scheduler_starts_and_stops(self, cluster: Cluster) -> None:
        cluster.task("shared", Every("5s", fixed_rate=True))

        async def main() -> None:
            cluster.a.reach.hangs = True
            await cluster.start("a")
            await cluster.clock.advance(20)
            assert cluster.times("shared") == []
            await cluster.stop("a")
            cluster.a.reach.mend()
            await cluster.start("a")
            await cluster.clock.advance(11)

        cluster.run(main)
        assert len(cluster.times("shared")) == 3

    def test_a_run_that_ends_in_a_short_outage_is_written_down_after_it(self, cluster: Cluster) -> None:
        cluster.task("shared", Every("1h", fixed_rate=True), 5.0)

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(4)
            cluster.a.reach.cut()
            await cluster.clock.advance(5)
            cluster.a.reach.mend()
            await cluster.clock.advance(5)
            assert [run.status for run in await cluster.runs("shared")] == [RunStatus.SUCCESS]

        cluster.run(main)
        assert cluster.times("shared") == [0.0]

    def test_a_store_that_takes_long_to_be_made_ready_is_waited_for(self, cluster: Cluster) -> None:
        cluster.task("shared", Every("5s", fixed_rate=True))
        cluster.a.reach.delay["open"] = 40.0

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(50)

        cluster.run(main)
        assert cluster.a.reach.calls.count("open") == 1
        assert cluster.times("shared")


class TestANodeThatBeatsAndHearsNoAnswerToItsClaims:
    def test_leaves_what_it_may_have_claimed_to_others(self, cluster: Cluster) -> None:
        cluster.task("shared", Every("5s", fixed_rate=True))

        async def main() -> None:
            cluster.a.reach.slow["claim"] = 2.5
            await cluster.start()
            await cluster.clock.advance(300)

        cluster.run(main)
        starts = cluster.starts("shared")
        assert len([start for start in starts if start.node == "b"]) > 5
        assert each_tick_once(cluster, "shared")


class TestARunWhoseClaimIsLost:
    @pytest.mark.parametrize("hangs", [False, True])
    def test_is_cancelled_before_another_takes_it(self, cluster: Cluster, hangs: bool) -> None:
        cluster.task("long", Every("1h", fixed_rate=True), 120.0)

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(5)
            node = cluster.nodes[cluster.ledger[0].node]
            node.reach.hangs, node.reach.down = hangs, True
            await cluster.clock.advance(30)
            assert node.heard.outcomes("long") == [Cancelled("the claim could not be renewed")]
            node.reach.mend()
            await cluster.clock.advance(150)
            runs = await cluster.runs("long")
            assert [run.status for run in runs] == [RunStatus.LOST, RunStatus.SUCCESS]
            assert len(cluster.events(RunLost)) == 1

        cluster.run(main)
        assert not cluster.met
        assert [start.attempt for start in cluster.ledger] == [1, 2]

    def test_is_told_so_when_it_asks(self, cluster: Cluster) -> None:
        seen: list[str] = []

        async def work() -> None:
            claim = current_claim()
            assert claim is not None
            try:
                await asyncio.sleep(120)
            except asyncio.CancelledError:
                try:
                    claim.check()
                except ClaimLost as lost:
                    seen.append(str(lost))
                assert claim.remaining() == 0.0
                raise

        cluster.task("long", Every("1h", fixed_rate=True), work)

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(5)
            cluster.a.reach.cut()
            await cluster.clock.advance(30)

        cluster.run(main)
        assert seen == ["the claim could not be renewed, or was given up"]

    def test_is_told_so_for_ever(self, cluster: Cluster) -> None:
        cluster.task("long", Every("5s", fixed_rate=True), 60.0, on="a", overlap="allow")

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(1)
            claim = cluster.claims[0]
            assert claim.check() == claim.token
            await cluster.store.leave(claim.session)
            await cluster.clock.advance(10)
            assert len(cluster.ledger) > 1
            with pytest.raises(ClaimLost):
                claim.check()

        cluster.run(main)

    def test_after_a_sleep_of_the_machine_is_cancelled_and_run_again(self, cluster: Cluster) -> None:
        cluster.task("long", Every("12h", fixed_rate=True), 60.0)

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(5)
            cluster.clock.stall("1h")
            await cluster.clock.advance(200)
            runs = await cluster.runs("long")
            assert [run.status for run in runs] == [RunStatus.LOST, RunStatus.SUCCESS]
            assert len(cluster.events(RunLost)) <= 1

        cluster.run(main)
        assert not cluster.met

    def test_is_said_to_be_lost_though_nobody_else_lives(self, cluster: Cluster) -> None:
        cluster.task("long", Every("1h", fixed_rate=True), 60.0)

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(5)
            cluster.a.reach.delay["finish"] = 1.0
            cluster.a.reach.cut()
            await cluster.clock.advance(30)
            cluster.a.reach.mend()
            await cluster.clock.advance(100)
            assert [run.attempt for run in await cluster.runs("long")] == [1, 2]

        cluster.run(main)


class TestAnAnswerThatIsLost:
    """What was asked was applied, and the node does not know."""

    @pytest.mark.parametrize("times", [1, 2, 5])
    @pytest.mark.parametrize("call", ["join", "beat", "add", "claim", "finish"])
    def test_does_no_harm(self, cluster: Cluster, call: str, times: int) -> None:
        cluster.task("grid", Every("10s", fixed_rate=True), 1.0, catch_up="all")
        for node in (cluster.a, cluster.b):
            node.reach.deaf[call] = times

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(181)
            runs = await cluster.runs("grid")
            assert {run.status for run in runs} <= {RunStatus.SUCCESS, RunStatus.RUNNING}

        cluster.run(main)
        assert not cluster.met
        assert each_tick_once(cluster, "grid")
        begun = cluster.dues("grid")[0]
        assert [(due - begun).total_seconds() for due in cluster.dues("grid")] == [
            10.0 * step for step in range(len(cluster.dues("grid")))
        ]
        assert len(cluster.ledger) >= 17

    @pytest.mark.parametrize("call", ["claim", "finish"])
    def test_does_not_stop_a_plain_interval(self, cluster: Cluster, call: str) -> None:
        cluster.task("plain", "10s", 1.0)
        for node in (cluster.a, cluster.b):
            node.reach.deaf[call] = 3
        cluster.play(200)
        assert len(cluster.times("plain")) >= 13
        assert not cluster.met

    @pytest.mark.parametrize("call", ["accept", "finish", "beat"])
    def test_does_not_have_a_lost_run_taken_over_twice(self, cluster: Cluster, call: str) -> None:
        cluster.task("long", Every("1h", fixed_rate=True), 20.0)

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(5)
            dead = cluster.ledger[0].node
            other = cluster.b if dead == "a" else cluster.a
            other.reach.deaf[call] = 2
            await cluster.kill(dead)
            await cluster.clock.advance(100)
            runs = await cluster.runs("long")
            assert [run.status for run in runs] == [RunStatus.LOST, RunStatus.SUCCESS]

        cluster.run(main)
        assert [start.attempt for start in cluster.ledger] == [1, 2]

    def test_to_an_offer_does_not_run_it_twice(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("1h", fixed_rate=True), 1.0)

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(5)
            cluster.a.reach.deaf["offer"] = 1
            outcome = await cluster.a.scheduler.run_now("grid")
            assert isinstance(outcome, Skipped)
            await cluster.clock.advance(60)

        cluster.run(main)
        assert len(cluster.ledger) <= 2

    @pytest.mark.parametrize("call", ["claim", "accept"])
    @pytest.mark.parametrize("seconds", [1.9, 2.1])
    def test_or_late_begins_nothing_that_another_may_have(
        self, cluster: Cluster, call: str, seconds: float
    ) -> None:
        """The session is lost while the claim is on its way back."""
        cluster.task("long", Every("20s", fixed_rate=True), 15.0)

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(8)
            await cluster.start("b")
            cluster.a.reach.slow[call] = seconds
            cluster.a.reach.delay["beat"] = 60.0
            await cluster.clock.advance(100)

        cluster.run(main)
        assert not cluster.met


class TestAnyOrderOfOutages:
    @pytest.mark.parametrize("seed", range(6))
    def test_has_each_tick_started_once_or_taken_over(self, seed: int) -> None:
        random = Random(seed)
        cluster = Cluster(names="abc")
        cluster.task("grid", Every("7s", fixed_rate=True), 3.0)
        cluster.task("plain", "5s", 2.0)

        def trouble(node: Node) -> None:
            reach = node.reach
            reach.mend()
            kind = random.randrange(6)
            if kind == 0:
                reach.cut()
            elif kind == 1:
                reach.hangs = True
            elif kind == 2:
                reach.deaf[random.choice(["claim", "finish", "beat", "accept", "join"])] = 2
            elif kind == 3:
                reach.slow[random.choice(["claim", "finish", "beat", "accept"])] = random.uniform(0, 2.5)
            elif kind == 4:
                reach.delay[random.choice(["claim", "finish", "beat", "accept"])] = random.uniform(0, 2.5)

        async def main() -> None:
            await cluster.start()
            for _ in range(40):
                await cluster.clock.advance(random.uniform(1, 20))
                name = random.choice("abc")
                if random.random() < 0.2:
                    await cluster.kill(name)
                    await cluster.start(name)
                elif random.random() < 0.2:
                    await cluster.stop(name)
                    await cluster.start(name)
                else:
                    trouble(cluster.nodes[name])
            for node in cluster.nodes.values():
                node.reach.mend()
            await cluster.clock.advance(30)
            before = len(cluster.starts("grid")), len(cluster.starts("plain"))
            await cluster.clock.advance(70)
            assert len(cluster.starts("grid")) - before[0] >= 9
            assert len(cluster.starts("plain")) - before[1] >= 9

        cluster.run(main)
        assert not cluster.met
        for task in ("grid", "plain"):
            starts = [(start.due, start.attempt) for start in cluster.starts(task)]
            assert len(starts) == len(set(starts))
            tokens = [start.token for start in cluster.starts(task)]
            assert tokens == sorted(set(tokens))


class TestWhatIsSaidOfIt:
    def test_the_store_is_among_what_is_unavailable_and_its_tasks_wait_for_it(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("60s", fixed_rate=True))

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(10)
            assert cluster.a.scheduler.unavailable == {}
            cluster.a.reach.cut()
            await cluster.clock.advance(10)
            assert cluster.a.scheduler.unavailable == {"store": "store is unavailable: connection refused"}
            (stands,) = cluster.a.scheduler.snapshot()
            assert stands.waiting == "the task store, which does not answer"
            cluster.a.reach.mend()
            await cluster.clock.advance(10)
            assert cluster.a.scheduler.unavailable == {}
            (stands,) = cluster.a.scheduler.snapshot()
            assert stands.waiting is None

        cluster.run(main)


class TestASchedulerWithNothingToClaim:
    def test_is_seen_in_the_store_and_claims_nothing(self, cluster: Cluster) -> None:
        cluster.task("own", Every("5s", fixed_rate=True), scope="node")

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(11)
            assert [session.node_id for session in await cluster.store.sessions()] == ["a"]

        cluster.run(main)
        assert cluster.times("own") == [0.0, 5.0, 10.0]
        assert not {"claim", "accept", "finish", "add", "change"} & set(cluster.a.reach.calls)
        assert len(cluster.a.heard.of(RunFinished)) == 3


class TestAnAnswerThatIsLostNowAndThen:
    def test_ends_no_run(self, cluster: Cluster) -> None:
        cluster.task("long", Every("1d", fixed_rate=True), 4 * 3600.0, timeout="5h")

        async def main() -> None:
            await cluster.start("a")
            for _ in range(3):
                await cluster.clock.advance(3600)
                cluster.a.reach.deaf["describe"] = 1
            await cluster.clock.advance(2 * 3600)
            assert [run.status for run in await cluster.runs("long")] == [RunStatus.SUCCESS]

        cluster.run(main)


class TestAStoreThatIsSlow:
    def test_is_told_of_every_task_though_something_is_due_all_the_time(self) -> None:
        cluster = Cluster(names="a")
        names = [f"task {number}" for number in range(30)]
        for name in names:
            cluster.task(name, Every("0.1s", fixed_rate=True))
        for call in ("claim", "finish"):
            cluster.a.reach.delay[call] = 0.1
        cluster.play(10)
        assert {start.task for start in cluster.ledger} == set(names)
