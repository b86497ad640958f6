"""bgtasks as it ships, with one worker that ends when it is asked to."""

from __future__ import annotations

import asyncio
from importlib.metadata import version

from redis.asyncio import Redis

from benchmarks.leadership.peers import LEASE, Place
from bgtasks.lease import LeaseTimes
from bgtasks.supervisor import TaskSupervisor, WorkerContext

__all__ = ["make"]


class Supervisor:
    def __init__(self, place: Place) -> None:
        times = LeaseTimes()
        assert times.lease == LEASE
        self.about = (
            f"bgtasks {version('bgtasks')}, TaskSupervisor, default times: lease {times.lease:g} s, "
            f"renewed every {times.renew:g} s; redis-py {version('redis')}"
        )
        self._note = place.note
        client = Redis.from_url(place.url, client_name=place.name)
        # `fresh`, as is true: else the first leader of all would wait for one that it cannot know of.
        self._supervisor = TaskSupervisor(client, place.name, key=place.key, times=times, fresh=True)
        self._supervisor.register_task("work", self._work)

    async def _work(self, ctx: WorkerContext) -> None:
        self._note("leads")
        await ctx.stopping.wait()

    async def start(self) -> None:
        await self._supervisor.start()

    async def stop(self) -> None:
        if still := await asyncio.wait_for(self._supervisor.shutdown(), 20):
            raise RuntimeError(f"{still} did not end")


make = Supervisor
