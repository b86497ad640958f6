"""The simulated month, run: how many fires there are, and what they take in real time and CPU."""

from __future__ import annotations

import asyncio
import logging
import time

from benchmarks.scheduler import month
from benchmarks.scheduler.jobs import Counted
from bgtasks import BackgroundScheduler
from bgtasks.testing import VirtualClock, run_virtual

__all__ = ["simulate"]


def simulate() -> dict[str, float]:
    """Run the month once, from the construction of the scheduler to the end of its stop."""
    logging.basicConfig(level=logging.INFO)
    counted, jobs = Counted(), month.jobs()

    async def main(clock: VirtualClock) -> None:
        scheduler = BackgroundScheduler(clock=clock)
        for name, trigger in jobs:
            scheduler.register(name, counted.run, trigger)
        async with scheduler:
            await asyncio.sleep(month.LENGTH.total_seconds())

    wall, cpu = time.perf_counter(), time.process_time()
    run_virtual(main, VirtualClock(month.START))
    return {
        "fires": counted.fires,
        "wall_s": time.perf_counter() - wall,
        "cpu_s": time.process_time() - cpu,
    }
