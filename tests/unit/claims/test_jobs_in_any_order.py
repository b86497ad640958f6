"""Jobs are added, changed, paused, run by hand and removed in any order and trouble; then all is well."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from random import Random
from typing import Any
from uuid import UUID

import pytest
from tests.support.task_cluster import CALLS, Cluster, Node

from bgtasks import Every, Once, ScheduledJob
from bgtasks.errors import ResourceUnavailable, UnknownJob
from bgtasks.records import RunQuery, RunStatus

IN_PROGRESS = (RunStatus.PENDING, RunStatus.RUNNING)


class Bustle:
    """A hundred things that happen to three nodes, drawn from a seed.

    Attributes:
        removed: Jobs that were removed, and when.
        complaints: What asyncio has to say of exceptions that nobody caught.
    """

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.overlap = self.random.choice(["skip", "queue", "cancel", "allow"])
        self.cluster = Cluster(names="abc")
        catch_up = self.random.choice(["one", "none", "all"])
        self.cluster.job_type("digest", self._work, overlap=self.overlap, catch_up=catch_up)
        self.cluster.job_type("other", self._work, on="a")
        self.known: list[UUID] = []
        self.removed: dict[UUID, float] = {}
        self.complaints: list[Any] = []

    async def _work(self, job: ScheduledJob) -> None:
        await asyncio.sleep(job.config)
        if self.random.random() < 0.1:
            raise ValueError("no")

    async def play(self) -> None:
        """All of it, and half a minute of calm."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self.complaints.append(context))
        await self.cluster.start()
        for turn in range(100):
            await self.cluster.clock.advance(self.random.uniform(0.05, 4))
            node = self.random.choice(list(self.cluster.nodes.values()))
            act = self.random.choice([self._add, self._add, self._change, self._change, self._trouble])
            with suppress(ResourceUnavailable, UnknownJob):
                await act(node, turn)
        for node in self.cluster.nodes.values():
            node.reach.mend()
        await self.cluster.clock.advance(40)

    async def _add(self, node: Node, turn: int) -> None:
        now, random = self.cluster.clock.now(), self.random
        once = Once(now + timedelta(seconds=random.uniform(-5, 20)))
        grid = Every(random.choice(["5s", "12s"]), fixed_rate=True)
        trigger: Any = random.choice(["3s", "10s", grid, once])
        row = await node.jobs.add(
            random.choice(["digest", "digest", "other"]),
            trigger,
            key=random.choice([None, f"key{turn}"]),
            config=random.choice([0, 1, 8, 20]),
        )
        self.known.append(row.id)

    async def _change(self, node: Node, turn: int) -> None:
        if not self.known:
            return
        job, random, jobs = self.random.choice(self.known), self.random, node.jobs
        soon = self.cluster.clock.now() + timedelta(seconds=random.uniform(-3, 10))
        trigger: Any = random.choice(["7s", Every("9s", fixed_rate=True), Once(soon)])
        changes: list[Callable[[], Awaitable[Any]]] = [
            lambda: jobs.update(job, config=random.choice([0, 1, 5])),
            lambda: jobs.update(job, trigger=trigger),
            lambda: jobs.update(job, next_run_at=soon),
            lambda: jobs.pause(job),
            lambda: jobs.resume(job),
            lambda: jobs.run_now(job),
            lambda: self._remove(node, job),
        ]
        await random.choice(changes)()

    async def _remove(self, node: Node, job: UUID) -> None:
        self.known.remove(job)  # it may be gone though no answer came
        await node.jobs.remove(job)
        self.removed[job] = self.cluster.now

    async def _trouble(self, node: Node, turn: int) -> None:
        node.reach.mend()
        kind = self.random.randrange(8)
        if kind == 0:
            node.reach.cut()
        elif kind == 1:
            node.reach.hangs = True
        elif kind == 2:
            await self.cluster.kill(node.name)
            await self.cluster.start(node.name)
        elif kind == 3:
            await node.stop()
            await node.start()
        elif kind < 7:
            which: Any = (node.reach.deaf, node.reach.slow, node.reach.delay)[kind - 4]
            which[self.random.choice(CALLS)] = 2

    async def check_what_is_kept(self) -> None:
        """No job is forgotten, nor one made that nobody added, and each waits for what it should."""
        store, now = self.cluster.store, self.cluster.clock.now()
        rows = await store.jobs(limit=1000)
        assert not [row for row in rows if row.declared]
        assert set(self.known) <= {row.id for row in rows}
        for row in rows:
            going = await store.runs(RunQuery(row.id, statuses=IN_PROGRESS))
            if row.enabled and not going:
                assert row.next_run_at is not None or row.interval_minutes is None
                assert row.next_run_at is None or now - row.next_run_at < timedelta(seconds=8)

    async def check_what_is_left(self) -> None:
        """When all jobs are removed, nothing is."""
        for row in await self.cluster.store.jobs(limit=1000):
            self.removed.setdefault(row.id, self.cluster.now)
            await self.cluster.store.remove(row.id)
        await self.cluster.clock.advance(60)
        assert not await self.cluster.store.runs(RunQuery(statuses=IN_PROGRESS))
        for node in self.cluster.nodes.values():
            assert not node.scheduler.snapshot()
            assert not node.scheduler.unavailable

    def check_what_was_run(self) -> None:
        """Nothing twice, nothing beside itself, nothing long after it was removed."""
        starts = [(start.job and start.job.id, start.token) for start in self.cluster.ledger]
        assert len(starts) == len(set(starts))
        assert not self.cluster.met or self.overlap == "allow"
        for start in self.cluster.ledger:
            assert start.job is not None
            assert start.at <= self.removed.get(start.job.id, start.at) + 25


@pytest.mark.parametrize(
    "seed", [*range(4), *(pytest.param(n, marks=pytest.mark.full) for n in range(4, 40))]
)
def test_all_is_well_after(seed: int) -> None:
    bustle = Bustle(seed)

    async def main() -> None:
        await bustle.play()
        await bustle.check_what_is_kept()
        await bustle.check_what_is_left()

    bustle.cluster.run(main)
    bustle.check_what_was_run()
    gc.collect()
    assert not bustle.complaints
