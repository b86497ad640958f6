"""One asyncio task for each job, which sleeps until the next grid instant."""

from __future__ import annotations

import asyncio

from benchmarks.scheduler.peers import Func

__all__ = ["make"]


class Sleep:
    about = "asyncio, one sleeping task per job"

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._origin = self._loop.time()
        self._tasks: list[asyncio.Task[None]] = []

    def add(self, name: str, func: Func, interval: float, phase: float) -> None:
        self._tasks.append(self._loop.create_task(self._repeat(func, interval, self._origin + phase)))

    async def _repeat(self, func: Func, interval: float, due: float) -> None:
        while True:
            await asyncio.sleep(due - self._loop.time())
            await func()
            due += interval
            behind = self._loop.time() - due
            if behind > 0:
                due += (behind // interval + 1) * interval

    async def start(self) -> float:
        await asyncio.sleep(0)  # each has reached its first sleep
        return self._origin

    def settle(self) -> dict[str, float]:
        return {}

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


make = Sleep
