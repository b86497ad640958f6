"""One measurement: `python -m benchmarks.scheduler.measure '{"kind": ..., "peer": ..., ...}'`.

Prints one line of JSON and leaves at once, without taking the peer down.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import sys
import time
from array import array
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

from benchmarks.scheduler.jobs import Counted, Timed, lateness, nothing
from benchmarks.scheduler.memory import peak, reset_peak
from benchmarks.scheduler.peers import Peer, make

__all__ = ["main"]

WARM_UP = 1.0
WINDOW = 4.0
IDLE_WINDOW = 10.0
"""Longer than the longest sleep of any peer."""

TICK = 0.01


async def about(peer: Peer) -> dict[str, Any]:
    """Versions and settings."""
    return {"about": f"{peer.about}; Python {platform.python_version()}"}


async def set_up(peer: Peer, jobs: int) -> dict[str, float]:
    """Time until all jobs are added and started, and the memory that took at its peak."""
    names = [f"job-{number}" for number in range(jobs)]
    reset_peak()
    before, began = peak(), time.perf_counter()
    await _hourly(peer, names)
    taken = time.perf_counter() - began
    return {"set_up_ms": taken * 1000, "megabytes": (peak() - before) / 1e6}


async def fire(peer: Peer, jobs: int, burst: bool, waits: bool) -> dict[str, float]:
    """CPU per fire and lateness, over a window that begins and ends half an interval after the burst."""
    loop = asyncio.get_running_loop()
    notes: array[float] = array("d")
    timed = {f"job-{number}": Timed(notes, loop.time, 1.0) for number in range(jobs)}
    phases = {name: 0.0 if burst else number / jobs for number, name in enumerate(timed)}
    for name, job in timed.items():
        peer.add(name, job.run_and_wait if waits else job.run, 1.0, phases[name])
    origin = await peer.start()
    for name, job in timed.items():
        job.set_grid(origin + phases[name])
    now = loop.time() - origin
    await asyncio.sleep(int(now + WARM_UP) + 1.5 - now)
    chosen = peer.settle()
    for name, first in chosen.items():
        timed[name].set_grid(first)
    del notes[:]
    cpu, began = time.process_time(), loop.time()
    await asyncio.sleep(WINDOW)
    cpu, seconds, fires = time.process_time() - cpu, loop.time() - began, len(notes)
    shifts = [(first - origin - phases[name]) % 1.0 for name, first in chosen.items()] or [0.0]
    return {
        "us_per_fire": cpu / fires * 1e6,
        "p50_ms": lateness(notes, 0.5),
        "p99_ms": lateness(notes, 0.99),
        "percent_fired": fires / (seconds * jobs) * 100,
        "grid_spread_ms": (max(shifts) - min(shifts)) * 1000,
    }


async def flood(peer: Peer, jobs: int, interval: float) -> dict[str, float]:
    """How many fires a second there are at most, and what becomes of others in the same loop."""
    loop = asyncio.get_running_loop()
    counted = Counted()
    for number in range(jobs):
        peer.add(f"job-{number}", counted.run, interval, interval * number / jobs)
    await peer.start()
    await asyncio.sleep(WARM_UP)
    peer.settle()
    fires, began, worst = counted.fires, loop.time(), 0.0
    while (ticked := loop.time()) < began + WINDOW:
        await asyncio.sleep(TICK)
        worst = max(worst, loop.time() - ticked - TICK)
    rate = (counted.fires - fires) / (loop.time() - began)
    stopping = time.perf_counter()
    await peer.stop()
    stopped = time.perf_counter() - stopping
    return {"fires_per_s": rate, "ticker_ms": worst * 1000, "stop_ms": stopped * 1000}


async def idle(peer: Peer, jobs: int) -> dict[str, float]:
    """CPU while nothing is due."""
    await _hourly(peer, [f"job-{number}" for number in range(jobs)])
    await asyncio.sleep(WARM_UP)
    cpu, began = time.process_time(), time.perf_counter()
    await asyncio.sleep(IDLE_WINDOW)
    return {"cpu_ms_per_s": (time.process_time() - cpu) / (time.perf_counter() - began) * 1000}


async def stop(peer: Peer, jobs: int) -> dict[str, float]:
    """How long a stop takes when nothing runs."""
    await _hourly(peer, [f"job-{number}" for number in range(jobs)])
    await asyncio.sleep(WARM_UP)
    began = time.perf_counter()
    await peer.stop()
    return {"stop_ms": (time.perf_counter() - began) * 1000}


async def _hourly(peer: Peer, names: list[str]) -> None:
    for number, name in enumerate(names):
        peer.add(name, nothing, 3600.0, 600 + 3000 * number / len(names))
    await peer.start()
    await asyncio.sleep(0)  # once around the loop, for what a start leaves to it


KINDS: dict[str, Callable[..., Awaitable[dict[str, Any]]]] = {
    "about": about,
    "set_up": set_up,
    "fire": fire,
    "flood": flood,
    "idle": idle,
    "stop": stop,
}


def main() -> None:
    """Measure what the argument says."""
    asked = json.loads(sys.argv[1])
    kind, peer = asked.pop("kind"), asked.pop("peer")
    if kind == "month":
        from benchmarks.scheduler.simulate import simulate  # imports bgtasks, which is to be in no other peer

        _leave(simulate())
    asyncio.run(_measure(kind, peer, asked))


async def _measure(kind: str, peer: str, settings: dict[str, Any]) -> None:
    _leave(await KINDS[kind](make(peer), **settings))


def _leave(result: dict[str, Any]) -> NoReturn:
    print(json.dumps(result), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
