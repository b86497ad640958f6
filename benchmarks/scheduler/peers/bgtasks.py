"""bgtasks as it ships: the log listener, events, a context and a time limit for each run."""

from __future__ import annotations

import asyncio
import logging
import time
from importlib.metadata import version

from benchmarks.scheduler.peers import Func
from bgtasks import BackgroundScheduler, Every
from bgtasks.events import Event, RunStarted

__all__ = ["make"]


class BgTasks:
    def __init__(self) -> None:
        logging.basicConfig(level=logging.INFO)
        self._loop = asyncio.get_running_loop()
        self._scheduler = BackgroundScheduler()
        self._triggers: dict[float, Every] = {}
        self.about = (
            f"bgtasks {version('bgtasks')}, structlog {version('structlog')}, Every(…, fixed_rate=True), "
            "log at INFO (a run that ends well writes nothing), timeout=30"
        )
        self._grid: dict[str, float] = {}
        self._unsubscribe = self._scheduler.bus.subscribe(self._note_grid)

    def add(self, name: str, func: Func, interval: float, phase: float) -> None:
        trigger = self._triggers.get(interval)
        if trigger is None:  # a trigger is a value: jobs may share one
            trigger = self._triggers[interval] = Every(interval, fixed_rate=True)
        self._scheduler.register(name, func, trigger, initial_delay=phase, timeout=30)

    async def start(self) -> float:
        origin = self._loop.time()
        await self._scheduler.start()
        return origin

    def _note_grid(self, event: Event) -> None:
        """A job's grid begins when the start came to it; the warm-up learns it from the events."""
        if isinstance(event, RunStarted) and event.task not in self._grid:
            self._grid[event.task] = event.due.timestamp() - time.time() + self._loop.time()

    def settle(self) -> dict[str, float]:
        self._unsubscribe()
        return self._grid

    async def stop(self) -> None:
        await self._scheduler.stop()


make = BgTasks
