"""APScheduler 3 with a job store, as its documentation has it for asyncio.

A scheduler's jobs are read when they are due, and each is written with its next instant after it was
submitted. Two schedulers on one store are not supported by it: each would start each job.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from importlib.metadata import version
from urllib.parse import urlsplit

from apscheduler.jobstores.redis import RedisJobStore  # type: ignore[import-not-found]
from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore  # type: ignore[import-not-found]
from apscheduler.schedulers.asyncio import AsyncIOScheduler  # type: ignore[import-not-found]
from apscheduler.triggers.interval import IntervalTrigger  # type: ignore[import-not-found]

from benchmarks.claims.peers import Place

__all__ = ["make"]

_places: list[Place] = []


async def run() -> None:
    """What is kept of a job is the name of this function."""
    _places[0].started()


class APScheduler:
    about = (
        f"APScheduler {version('apscheduler')}, AsyncIOScheduler, AsyncIOExecutor, IntervalTrigger, "
        f"coalesce=True, max_instances=1, misfire_grace_time=None, its log at WARNING; SQLAlchemy "
        f"{version('sqlalchemy')} with psycopg2 {version('psycopg2-binary')} or sqlite3, redis-py "
        f"{version('redis')}"
    )

    def __init__(self, place: Place) -> None:
        logging.basicConfig(level=logging.WARNING)
        _places.append(place)
        self._place = place
        url = urlsplit(place.url)
        if url.scheme == "redis":
            store = RedisJobStore(host=url.hostname, port=url.port)
        else:
            store = SQLAlchemyJobStore(url=place.url.replace("postgresql:", "postgresql+psycopg2:"))
        defaults = {"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        self._scheduler = AsyncIOScheduler(jobstores={"default": store}, timezone=UTC, job_defaults=defaults)

    async def start(self) -> None:
        trigger = IntervalTrigger(seconds=self._place.every, start_date=datetime(2020, 1, 1, tzinfo=UTC))
        for number in range(self._place.jobs):
            self._scheduler.add_job(run, trigger, id=f"job-{number}", replace_existing=True)
        self._scheduler.start()


make = APScheduler
