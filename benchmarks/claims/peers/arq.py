"""arq: one worker, a `cron` job for each job."""

from __future__ import annotations

import asyncio
import logging
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

from arq import cron  # type: ignore[import-not-found]
from arq.connections import RedisSettings  # type: ignore[import-not-found]
from arq.worker import Worker  # type: ignore[import-not-found]

from benchmarks.claims.peers import Place

__all__ = ["make"]

POLL = 0.1


class Arq:
    about = (
        f"arq {version('arq')}, cron, max_jobs=500 (its own is 10), poll_delay={POLL} (its own is 0.5), "
        f"its log at WARNING; redis-py {version('redis')}"
    )

    def __init__(self, place: Place) -> None:
        logging.basicConfig(level=logging.WARNING)
        self._place = place
        self._working: asyncio.Task[None] | None = None

    async def start(self) -> None:
        async def run(ctx: dict[Any, Any]) -> None:
            self._place.started()

        seconds = set(range(0, 60, self._place.every))
        jobs = [
            cron(run, name=f"job-{number}", second=seconds, microsecond=0)
            for number in range(self._place.jobs)
        ]
        url = urlsplit(self._place.url)
        worker = Worker(
            cron_jobs=jobs,
            redis_settings=RedisSettings(host=url.hostname, port=url.port),
            max_jobs=self._place.jobs,
            poll_delay=POLL,
            handle_signals=False,
        )
        self._working = asyncio.create_task(worker.async_run())


make = Arq
