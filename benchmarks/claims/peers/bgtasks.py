"""bgtasks as it ships: its log at INFO, events, a row for each run."""

from __future__ import annotations

import logging
from importlib.metadata import version

from benchmarks.claims.grid import Grid
from benchmarks.claims.peers import Place
from bgtasks import Registry, background_task, build_scheduler

__all__ = ["make"]


class BgTasks:
    about = f'bgtasks {version("bgtasks")}, scope="cluster", a trigger that is due on the grid'

    def __init__(self, place: Place) -> None:
        logging.basicConfig(level=logging.INFO)
        registry, trigger = Registry(), Grid(place.every)

        def declare(name: str) -> None:
            @background_task(trigger, scope="cluster", name=name, registry=registry)
            async def run() -> None:
                place.started()

        for number in range(place.jobs):
            declare(f"job-{number}")
        self._scheduler = build_scheduler(registry=registry, store=place.url)

    async def start(self) -> None:
        await self._scheduler.start()


make = BgTasks
