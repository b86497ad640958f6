"""Tasks, jobs and a leader's worker for the nodes of tests of the command line."""

from __future__ import annotations

import asyncio
import os

from bgtasks import Every, ScheduledJob, WorkerContext, background_job, background_task, background_worker


@background_task(Every("2s", fixed_rate=True), scope="cluster")
async def digest() -> dict[str, int]:
    """Goes well."""
    return {"digests": 1}


@background_task("1h", initial_delay="1h", scope="cluster")
async def sow() -> dict[str, int]:
    """Promises counts and returns none."""
    return None  # type: ignore[return-value]  # it does not keep the promise


@background_task("1h", initial_delay="1h", scope="cluster")
async def weed() -> None:
    """Fails."""
    raise RuntimeError("there are\nno [bold]weeds[/] left")


@background_task("1h", initial_delay="1h")
async def water() -> dict[str, int]:
    """Each node's own."""
    return {"watered": 1}


@background_task("1h", initial_delay="1h")
async def drown() -> None:
    """Each node's own, and fails."""
    raise RuntimeError("too much water")


@background_task("2h", requires=("discord",))
async def greet(discord: object) -> None:
    """Runs on no node."""


@background_job()
async def remind(job: ScheduledJob) -> dict[str, str]:
    """Says what it was told."""
    return {"said": str(job.config.get("text", "?"))}


if os.environ.get("HAS_SPADE"):

    @background_job()
    async def dig() -> None:
        """Takes longer than its node lives."""
        await asyncio.sleep(3600)


@background_worker(scope="leader")
async def anchor(ctx: WorkerContext) -> None:
    """Runs where it leads."""
    await ctx.stopping.wait()
