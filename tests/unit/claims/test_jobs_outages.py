"""The store is away, or its answers are lost, while jobs are added, changed and run."""

from __future__ import annotations

import warnings
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from random import Random
from typing import Any

import pytest
from tests.support.task_cluster import CALLS, Cluster

from bgtasks import BgTasksError, Cron, Every, Jobs, Once, Registry, build_scheduler
from bgtasks.errors import ResourceUnavailable
from bgtasks.records import RunStatus
from bgtasks.testing import VirtualClock, run_virtual

HEARD = [call for call in CALLS if call != "leave"]


@pytest.fixture
def cluster() -> Cluster:
    """Two nodes that can run digests."""
    cluster = Cluster(names="ab")
    cluster.job_type("digest", 1.0, catch_up="all")
    return cluster


async def busy(cluster: Cluster) -> None:
    """Ten jobs: at a fixed rate, plain, and once."""
    await cluster.store.open()
    jobs = Jobs(cluster.store, now=cluster.clock.now)
    for number in range(3):
        await jobs.add("digest", Every("10s", fixed_rate=True), key=f"grid{number}")
        await jobs.add("digest", "10s", key=f"plain{number}")
    for number in range(4):
        await jobs.add("digest", Once(cluster.at(20 + 5 * number)), key=f"once{number}")


def check(cluster: Cluster, seconds: float) -> None:
    """Nothing ran twice, and nothing was lost."""
    dues: dict[str, list[float]] = {}
    for start in cluster.ledger:
        assert start.job is not None
        assert start.job.key is not None
        if start.attempt == 1:
            dues.setdefault(start.job.key, []).append((start.due - cluster.begun).total_seconds())
    for number in range(3):
        grid = dues[f"grid{number}"]
        assert grid == [10.0 * step for step in range(len(grid))]
        assert len(grid) >= seconds // 10 - 1
        plain = dues[f"plain{number}"]
        assert len(plain) == len(set(plain))
    for number in range(4):
        assert dues[f"once{number}"] == [20.0 + 5 * number]
    assert not cluster.met


class TestInTheMiddleOfACall:
    @pytest.mark.parametrize("call", HEARD)
    def test_that_is_applied_and_not_answered(self, cluster: Cluster, call: str) -> None:
        async def main() -> None:
            await busy(cluster)
            await cluster.start()
            for _ in range(4):
                await cluster.clock.advance(20)
                for node in cluster.nodes.values():
                    node.reach.deaf[call] = 2
            await cluster.clock.advance(100)

        cluster.run(main)
        check(cluster, 180)

    @pytest.mark.parametrize("call", HEARD)
    def test_that_is_slow_there_or_back(self, cluster: Cluster, call: str) -> None:
        async def main() -> None:
            await busy(cluster)
            await cluster.start()
            for there in (True, False, True, False):
                await cluster.clock.advance(15)
                for node in cluster.nodes.values():
                    (node.reach.delay if there else node.reach.slow)[call] = 2.5
                await cluster.clock.advance(8)
                for node in cluster.nodes.values():
                    node.reach.mend()
            await cluster.clock.advance(100)

        cluster.run(main)
        check(cluster, 190)

    @pytest.mark.parametrize("seed", range(4))
    def test_of_any_kind_while_jobs_are_changed(self, seed: int) -> None:
        random, history = Random(seed), dict[str, list[datetime]]()
        cluster = Cluster(names="abc")
        cluster.job_type("digest", 2.0, catch_up="all")

        async def main() -> None:
            await busy(cluster)
            await cluster.start()
            jobs = Jobs(cluster.store, now=cluster.clock.now)
            known = await jobs.list()
            for _ in range(40):
                await cluster.clock.advance(random.uniform(1, 8))
                node = random.choice(list(cluster.nodes.values()))
                node.reach.mend()
                where: Any = random.choice([node.reach.deaf, node.reach.slow, node.reach.delay])
                where[random.choice(HEARD)] = 2
                if random.random() < 0.2:
                    await cluster.kill(node.name)
                    await cluster.start(node.name)
                row = random.choice(known)
                await jobs.update(row.id, config=random.random())
            for node in cluster.nodes.values():
                node.reach.mend()
            await cluster.clock.advance(100)
            late = cluster.at(cluster.now - 15)
            assert not [row for row in await jobs.list() if row.next_run_at and row.next_run_at < late]
            assert not await jobs.runs(statuses=[RunStatus.PENDING])
            for row in known:
                runs = await jobs.runs(row.id, limit=1000)
                history[row.key or ""] = [run.due for run in reversed(runs) if run.attempt == 1]

        cluster.run(main)
        assert not cluster.met
        for number in range(3):  # beside the run of a node that died, a tick is skipped
            grid = history[f"grid{number}"]
            assert grid == [cluster.at(10 * step) for step in range(len(grid))]
            assert len(grid) > 20
        assert all(history[f"once{number}"] == [cluster.at(20 + 5 * number)] for number in range(4))
        starts = [(start.job and start.job.key, start.due, start.attempt) for start in cluster.ledger]
        assert len(starts) == len(set(starts))


class TestACallByAProgram:
    @pytest.mark.parametrize(
        "call", ["add", "get", "list", "update", "pause", "resume", "remove", "run_now", "run", "runs"]
    )
    @pytest.mark.parametrize("trouble", ["down", "hangs"])
    def test_fails_in_time_while_the_store_is_away(self, cluster: Cluster, call: str, trouble: str) -> None:
        async def main() -> None:
            await cluster.start()
            row = await cluster.a.jobs.add("digest", "1h", initial_delay="1h")
            jobs = cluster.a.jobs
            calls: dict[str, Callable[[], Awaitable[Any]]] = {
                "add": lambda: jobs.add("digest", "1h"),
                "get": lambda: jobs.get(row.id),
                "list": lambda: jobs.list(),
                "update": lambda: jobs.update(row.id, config=1),
                "pause": lambda: jobs.pause(row.id),
                "resume": lambda: jobs.resume(row.id),
                "remove": lambda: jobs.remove(row.id),
                "run_now": lambda: jobs.run_now(row.id),
                "run": lambda: jobs.run("run"),
                "runs": lambda: jobs.runs(row.id),
            }
            setattr(cluster.a.reach, trouble, True)
            asked = cluster.now
            with pytest.raises(ResourceUnavailable):
                await calls[call]()
            assert cluster.now - asked <= 2
            cluster.a.reach.mend()
            assert await cluster.b.jobs.get(row.id) == row
            assert len(await cluster.b.jobs.list()) == 1

        cluster.run(main)
        assert not cluster.ledger

    def test_that_was_applied_and_is_made_again_with_a_key_adds_one(self, cluster: Cluster) -> None:
        async def main() -> None:
            await cluster.start()
            cluster.a.reach.deaf["add"] = 1
            with pytest.raises(ResourceUnavailable):
                await cluster.a.jobs.add("digest", Once(cluster.at(5)), key="one")
            await cluster.a.jobs.add("digest", Once(cluster.at(5)), key="one")
            await cluster.clock.advance(20)

        cluster.run(main)
        assert len(cluster.ledger) == 1

    @pytest.mark.parametrize("call", ["update", "pause", "resume"])
    def test_that_was_applied_and_is_made_again_is_as_if_made_once(self, cluster: Cluster, call: str) -> None:
        async def main() -> None:
            await cluster.start()
            row = await cluster.a.jobs.add("digest", "1h", initial_delay="1h")
            if call == "resume":
                await cluster.a.jobs.pause(row.id)
            calls: dict[str, Callable[[], Awaitable[Any]]] = {
                "update": lambda: cluster.a.jobs.update(row.id, config="new"),
                "pause": lambda: cluster.a.jobs.pause(row.id, "why"),
                "resume": lambda: cluster.a.jobs.resume(row.id),
            }
            cluster.a.reach.deaf["change"] = 1
            with pytest.raises(ResourceUnavailable):
                await calls[call]()
            first = await cluster.b.jobs.get(row.id)
            again = await calls[call]()
            assert (again.config_json, again.enabled, again.reason) == (
                first.config_json,
                first.enabled,
                first.reason,
            )

        cluster.run(main)


class TestBeforeAStartAndAfterAStop:
    def test_jobs_are_added_and_run_then(self, cluster: Cluster) -> None:
        async def main() -> None:
            row = await cluster.a.jobs.add("digest", "10s", config=1)
            assert await cluster.a.jobs.get(row.id) == row
            await cluster.start("a")
            await cluster.clock.advance(5)
            await cluster.stop("a")
            assert len(await cluster.a.jobs.runs(row.id)) == 1
            other = await cluster.a.jobs.add("digest", Once(cluster.at(10)), config=2)
            await cluster.clock.advance(100)
            await cluster.start("b")
            await cluster.clock.advance(5)
            assert (await cluster.b.jobs.get(other.id)).last_run_at is not None

        cluster.run(main)
        assert sorted(start.job.config for start in cluster.ledger if start.job) == [1, 1, 2]

    @pytest.mark.parametrize(
        ("trigger", "delay", "first"),
        [
            ("1h", "30s", timedelta(seconds=30)),
            (Every("1h", fixed_rate=True), "30s", timedelta(seconds=30)),
            (Every("1h", fixed_rate=True), 0, timedelta(0)),
            (Cron("0 9 * * *"), 0, timedelta(hours=9)),
        ],
    )
    def test_the_first_instant_is_reckoned_from_now(
        self, cluster: Cluster, trigger: Any, delay: Any, first: timedelta
    ) -> None:
        async def main() -> None:
            row = await cluster.a.jobs.add("digest", trigger, initial_delay=delay)
            assert row.next_run_at == cluster.begun + first

        cluster.run(main)

    def test_a_resumption_knows_what_passed(self, cluster: Cluster) -> None:
        async def main() -> None:
            row = await cluster.b.jobs.add("digest", Every("10s", fixed_rate=True))
            await cluster.b.jobs.update(row.id, next_run_at=cluster.at(10))
            await cluster.clock.advance(5)
            await cluster.a.jobs.pause(row.id)
            await cluster.clock.advance(30)
            assert (await cluster.a.jobs.resume(row.id)).next_run_at == cluster.at(40)

        cluster.run(main)

    def test_a_call_fails_while_the_store_is_away_and_leaves_nothing_behind(self, cluster: Cluster) -> None:
        async def main() -> None:
            cluster.a.reach.cut()
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                with pytest.raises(ResourceUnavailable):
                    await cluster.a.jobs.list()

        cluster.run(main)

    def test_right_after_a_start_a_job_waits_until_the_store_is_ready(self, cluster: Cluster) -> None:
        order: list[str] = []

        async def main() -> None:
            cluster.a.reach.delay["open"] = 1.0
            await cluster.start("a")
            await cluster.a.jobs.add("digest", "1h")
            order.extend(cluster.a.reach.calls)

        cluster.run(main)
        assert order.index("open") < order.index("add")
        assert "join" in order or order == ["open", "add"]

    def test_without_a_store_there_are_none(self) -> None:
        async def main(clock: VirtualClock) -> None:
            scheduler = build_scheduler(registry=Registry(), clock=clock)
            with pytest.raises(BgTasksError, match="kept in a store: give the scheduler redis= or store="):
                _ = scheduler.jobs

        run_virtual(main)
