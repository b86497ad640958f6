"""What a fire of a cluster task costs: `python -m benchmarks.claims.stored '{"url": ..., "jobs": ...}'`.

The measurement is that of `benchmarks.scheduler`: the CPU of the process over a window, for each fire. A
database in the process, its threads included, is in it; a server is not.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import Callable

from benchmarks.claims.grid import Grid
from benchmarks.scheduler.measure import fire
from benchmarks.scheduler.peers import Func
from bgtasks import BackgroundScheduler, Registry, background_task, build_scheduler
from bgtasks.events import Event, RunStarted

__all__ = ["main"]


class Stored:
    """The scheduler as a peer of that benchmark, with a store or without one.

    Args:
        url: The store's; None for a scheduler of this process alone.
    """

    about = ""

    def __init__(self, url: str | None) -> None:
        logging.basicConfig(level=logging.INFO)
        self._url = url
        self._registry = Registry()
        self._scheduler: BackgroundScheduler | None = None
        self._unsubscribe: Callable[[], None] = lambda: None
        self._loop = asyncio.get_running_loop()
        self._names: list[str] = []
        self._grid: dict[str, float] = {}

    def add(self, name: str, func: Func, interval: float, phase: float) -> None:
        @background_task(
            Grid(interval, phase), scope="cluster", timeout=30, name=name, registry=self._registry
        )
        async def run() -> None:  # a method cannot be decorated
            await func()

        self._names.append(name)

    async def start(self) -> float:
        self._scheduler = build_scheduler(registry=self._registry, store=self._url)
        self._unsubscribe = self._scheduler.bus.subscribe(self._note)
        await self._scheduler.start()
        # Each is made known to the store before it is due.
        while len(self._grid) < len(self._names):  # noqa: ASYNC110 - nothing else tells
            await asyncio.sleep(0.05)
        return self._loop.time() - time.time() % 1.0

    def _note(self, event: Event) -> None:
        if isinstance(event, RunStarted) and event.task not in self._grid:
            self._grid[event.task] = event.due.timestamp() - time.time() + self._loop.time()

    def settle(self) -> dict[str, float]:
        self._unsubscribe()
        return self._grid

    async def stop(self) -> None:
        assert self._scheduler is not None
        await self._scheduler.stop()


async def _main(url: str | None, jobs: int, burst: bool) -> None:
    figures = await fire(Stored(url), jobs, burst, waits=False)
    print(json.dumps(figures), flush=True)
    os._exit(0)


def main() -> None:
    """Measure."""
    asyncio.run(_main(**json.loads(sys.argv[1])))


if __name__ == "__main__":
    main()
