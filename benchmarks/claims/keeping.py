"""A process with many jobs in a store: `python -m benchmarks.claims.keeping '{"url": ...}'`.

Asked to grow it makes jobs until there are so many, past the SQL stores in one statement after another; asked
to measure it says what single calls take then.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import batched
from typing import Any
from uuid import UUID, uuid4

from benchmarks.claims.contender import HOUR, LIVES, SINCE
from benchmarks.claims.crew import serve
from bgtasks.contracts import TaskStore
from bgtasks.errors import ResourceUnavailable
from bgtasks.records import Claimed, Ending, JobRow, RunStatus, SessionRow, Tick
from bgtasks.stores import task_store

__all__ = ["main"]

DUE = 100
"""How many jobs are due, however many there are."""

OF_A_BOT = 100
"""How many jobs a bot has."""

PAGE = 500
SINGLY = 50
TIMES = 7
"""How often each call is made."""

HORIZON = 8.0
"""Seconds that a beat looks ahead, as a scheduler's does."""

FUTURE = datetime(2100, 1, 1, tzinfo=UTC)
SESSION = "keeping"
TYPE = "remind"


class Keeping:
    """The jobs of one store.

    Args:
        url: The store's.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._store: TaskStore = task_store(url)
        self._ids: list[UUID] = []
        self._ticks = 0
        self._unanswered = 0
        self._due: list[JobRow] = []

    async def open(self) -> None:
        """Begin, without a job."""
        await self._store.open()
        await self._store.join(SessionRow(id=SESSION, node_id=SESSION, wired=(TYPE,)), LIVES)

    def _job(self) -> JobRow:
        number, id = len(self._ids), uuid4()
        self._ids.append(id)
        return JobRow(
            id=id,
            job_type=TYPE,
            bot_id=f"bot-{number // OF_A_BOT}",
            key=f"job-{number}",
            trigger="every hour",
            next_run_at=FUTURE,
            config_json='{"text": "water the plants", "to": "somebody"}',
        )

    async def grow(self, to: int) -> dict[str, Any]:
        """Make jobs until there are so many, and have some be due that were made at all times."""
        missing = [self._job() for _ in range(to - len(self._ids))]
        if self._url.startswith(("memory", "redis")):
            for some in batched(missing, PAGE):
                await self._add_all(some)
        else:
            from benchmarks.claims.below import insert

            await insert(self._url, missing)
        for job in self._due:
            await self._move(job.id, FUTURE)
        due = SINCE + self._ticks * HOUR
        scattered = self._ids[:: len(self._ids) // DUE][:DUE]
        self._due = [await self._move(id, due) for id in scattered]
        return {"jobs": len(self._ids)}

    async def _move(self, id: UUID, due: datetime) -> JobRow:
        row = await self._store.job(id)
        assert row is not None
        moved = await self._store.change(replace(row, next_run_at=due))
        assert moved is not None
        return moved

    async def measure(self) -> dict[str, Any]:
        """What calls take at this size, one mapping for each time; what is added comes last."""
        taken: list[dict[str, float]] = []
        for _ in range(TIMES):
            taken.append({"beat_ms": await _ms(self._beat), **await self._claim()})
        taken += await self._pages()
        for bot in range(1, 1 + TIMES):
            taken.append({"bot_ms": await _ms(self._bot, bot)})
        singly = [await _ms(self._add, self._job()) for _ in range(SINGLY)]
        taken.append({"add_ms": statistics.median(singly)})
        for _ in range(3):
            jobs = [self._job() for _ in range(PAGE)]
            taken.append({"page_add_ms": await _ms(self._add_all, jobs)})
        return {"taken": taken, "unanswered": self._unanswered}

    async def _add_all(self, jobs: Sequence[JobRow]) -> None:
        await asyncio.gather(*map(self._add, jobs))

    async def _add(self, job: JobRow) -> None:
        while True:
            try:
                await self._store.add(job)
            except ResourceUnavailable:  # it stood in line for longer than a call may take
                self._unanswered += 1
            else:
                return

    async def _beat(self) -> None:
        beat = await self._store.beat(SESSION, LIVES, HORIZON)
        assert len(beat.due) == DUE, len(beat.due)

    async def _bot(self, bot: int) -> None:
        jobs = await self._store.jobs(bot_id=f"bot-{bot}", limit=OF_A_BOT)
        assert len(jobs) == OF_A_BOT, len(jobs)

    async def _claim(self) -> dict[str, float]:
        due = SINCE + self._ticks * HOUR
        ticks = [Tick(job.id, due, due + HOUR, f"{self._ticks}-{job.id}", due) for job in self._due]
        self._ticks += 1
        began = time.perf_counter()
        answers = await self._store.claim(SESSION, ticks)
        claimed = time.perf_counter() - began
        runs = [answer for answer in answers if isinstance(answer, Claimed)]
        assert len(runs) == DUE, len(runs)
        endings = [Ending(run.run_id, run.token, RunStatus.SUCCESS, 5, "{}") for run in runs]
        return {"claim_ms": claimed * 1000, "end_ms": await _ms(self._store.finish, endings)}

    async def _pages(self) -> list[dict[str, float]]:
        taken: list[dict[str, float]] = []
        after, seen = None, 0
        while True:
            began = time.perf_counter()
            page = await self._store.jobs(after=after, limit=PAGE)
            seconds = time.perf_counter() - began
            seen += len(page)
            if len(page) < PAGE:
                assert seen == len(self._ids), (seen, len(self._ids))
                return taken
            taken.append({"page_ms": seconds * 1000})
            after = page[-1].id


async def _ms[**P](call: Callable[P, Awaitable[object]], *of: P.args, **more: P.kwargs) -> float:
    began = time.perf_counter()
    await call(*of, **more)
    return (time.perf_counter() - began) * 1000


async def _main(url: str) -> None:
    keeping = Keeping(url)
    await keeping.open()

    async def answer(do: str, to: int) -> dict[str, Any]:
        return await (keeping.grow(to) if do == "grow" else keeping.measure())

    await serve(answer)


def main() -> None:
    """Keep jobs."""
    asyncio.run(_main(**json.loads(sys.argv[1])))


if __name__ == "__main__":
    main()
