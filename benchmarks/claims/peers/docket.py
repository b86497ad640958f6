"""docket: one worker, a `Cron` task for each job."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from importlib.metadata import version
from typing import Any

from docket import Docket, Worker  # type: ignore[import-not-found]
from docket.dependencies import Cron  # type: ignore[import-not-found]

from benchmarks.claims.peers import Place

__all__ = ["make"]

CONCURRENCY = 50
"""Beyond that it uses up the hundred connections that redis-py allows a client."""

CHECKED = timedelta(milliseconds=10)
RESOLUTION = timedelta(milliseconds=50)


class DocketPeer:
    about = (
        f"docket {version('pydocket')}, Cron, concurrency={CONCURRENCY} (its own is 10), "
        f"minimum_check_interval={CHECKED.microseconds // 1000} ms, "
        f"scheduling_resolution={RESOLUTION.microseconds // 1000} ms (its own are 250), its log at WARNING, "
        f"OpenTelemetry without an SDK; redis-py {version('redis')}"
    )

    def __init__(self, place: Place) -> None:
        logging.basicConfig(level=logging.WARNING)
        self._docket = Docket(name="bench", url=place.url)
        self._place = place
        self._working: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self._docket.__aenter__()
        for number in range(self._place.jobs):
            self._docket.register(self._job(f"job-{number}"))
        worker = Worker(
            self._docket,
            concurrency=CONCURRENCY,
            minimum_check_interval=CHECKED,
            scheduling_resolution=RESOLUTION,
        )
        await worker.__aenter__()
        self._working = asyncio.create_task(worker.run_forever())

    def _job(self, name: str) -> Any:
        due = Cron(f"*/{self._place.every} * * * * *")

        async def run(cron: Cron = due) -> None:
            self._place.started()

        run.__name__ = name
        return run


make = DocketPeer
