"""Claims what others claim too: `python -m benchmarks.claims.contender '{"url": ..., ...}'`."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from itertools import batched
from typing import Any
from uuid import UUID, uuid5

from benchmarks.claims.crew import serve
from bgtasks.contracts import TaskStore
from bgtasks.errors import ResourceUnavailable
from bgtasks.records import Claimed, Ending, JobRow, RunStatus, SessionRow, Tick
from bgtasks.stores import task_store

__all__ = ["Contender", "a_job", "main"]

TYPE = "tidy"
SINCE = datetime(2020, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
NAMES = UUID("0b0f2a52-2f0c-4a55-8d4e-5a4f0a1d9c11")
LIVES = 900.0
"""Seconds of a session that does not beat."""

BATCH = 500
"""Claims in one call, as a scheduler makes them."""


def a_job(number: int) -> JobRow:
    """A job that has been due every hour since 2020."""
    return JobRow(id=uuid5(NAMES, str(number)), job_type=TYPE, trigger="every hour", next_run_at=SINCE)


class Contender:
    """One session that claims each job, tick after tick.

    Attributes:
        unanswered: Calls that got no answer in their time, and were made again.
    """

    def __init__(self, store: TaskStore, name: str) -> None:
        self.unanswered = 0
        self._store = store
        self._name = name
        self._runs = 0
        self._claimed: list[Claimed] = []

    async def join(self) -> None:
        """Begin the session."""
        await self._store.join(SessionRow(id=self._name, node_id=self._name, wired=(TYPE,)), LIVES)

    async def claim(self, ids: list[UUID], tick: int, batch: int, at: float) -> dict[str, Any]:
        """At an instant of the machine's monotonic clock begin to claim one tick of each job.

        Returns how many were had, the seconds that each call took, and the instant of the last answer.
        """
        due = SINCE + tick * HOUR
        await asyncio.sleep(max(0.0, at - time.monotonic()))
        calls, before = [], len(self._claimed)
        for some in batched(ids, batch):
            ticks = [Tick(job, due, due + HOUR, self._new_id(), due) for job in some]
            began = time.monotonic()
            answers = await self._ask(self._store.claim, self._name, ticks)
            calls.append(time.monotonic() - began)
            self._claimed += [answer for answer in answers if isinstance(answer, Claimed)]
        return {"claimed": len(self._claimed) - before, "calls": calls, "until": time.monotonic()}

    async def finish(self, batch: int, at: float) -> dict[str, Any]:
        """At an instant begin to say that all runs have ended well; how many, and when that was answered."""
        await asyncio.sleep(max(0.0, at - time.monotonic()))
        endings = [Ending(run.run_id, run.token, RunStatus.SUCCESS, 5, "{}") for run in self._claimed]
        for some in batched(endings, batch):
            await self._ask(self._store.finish, some)
        self._claimed.clear()
        return {"ended": len(endings), "until": time.monotonic()}

    def _new_id(self) -> str:
        self._runs += 1
        return f"{self._name}-{self._runs}"

    async def _ask[**P, T](self, call: Callable[P, Awaitable[T]], *of: P.args, **more: P.kwargs) -> T:
        while True:
            try:
                return await call(*of, **more)
            except ResourceUnavailable:
                self.unanswered += 1


async def _main(url: str, names: list[str], jobs: int) -> None:
    store = task_store(url)
    await store.open()
    if url.startswith("memory"):
        for number in range(jobs):
            await store.add(a_job(number))
    contenders = [Contender(store, name) for name in names]
    for contender in contenders:
        await contender.join()
    ids = [a_job(number).id for number in range(jobs)]

    async def answer(do: str, first: int, last: int, tick: int, batch: int, at: float) -> dict[str, Any]:
        if do == "claim":
            each = [contender.claim(ids[first:last], tick, batch, at) for contender in contenders]
        else:
            each = [contender.finish(batch, at) for contender in contenders]
        said = await asyncio.gather(*each)
        return {"each": said, "unanswered": sum(contender.unanswered for contender in contenders)}

    await serve(answer)


def main() -> None:
    """Contend."""
    asyncio.run(_main(**json.loads(sys.argv[1])))


if __name__ == "__main__":
    main()
