"""APScheduler 3, as its documentation has it for asyncio. It runs in an environment of its own.

Its two log lines per fire, at INFO, are switched off, since bgtasks writes none there; it checks levels all
the same.
"""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime
from importlib.metadata import version

from apscheduler.schedulers.asyncio import AsyncIOScheduler  # type: ignore[import-not-found]
from apscheduler.triggers.interval import IntervalTrigger  # type: ignore[import-not-found]

from benchmarks.scheduler.peers import Func

__all__ = ["make"]


class APScheduler:
    about = (
        f"APScheduler {version('apscheduler')}, AsyncIOScheduler, MemoryJobStore, AsyncIOExecutor, "
        "coalesce=True, max_instances=1, misfire_grace_time=None, its log at WARNING"
    )

    def __init__(self) -> None:
        logging.basicConfig(level=logging.INFO)
        logging.getLogger("apscheduler").setLevel(logging.WARNING)
        self._origin = asyncio.get_running_loop().time()
        self._wall = time.time()
        defaults = {"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        self._scheduler = AsyncIOScheduler(timezone=UTC, job_defaults=defaults)

    def add(self, name: str, func: Func, interval: float, phase: float) -> None:
        first = datetime.fromtimestamp(self._wall + phase, UTC)
        self._scheduler.add_job(func, IntervalTrigger(seconds=interval, start_date=first), id=name, name=name)

    async def start(self) -> float:
        self._scheduler.start()
        return self._origin

    def settle(self) -> dict[str, float]:
        return {}

    async def stop(self) -> None:
        self._scheduler.shutdown()
        while self._scheduler.running:  # noqa: ASYNC110 - nothing else tells
            await asyncio.sleep(0)


make = APScheduler
