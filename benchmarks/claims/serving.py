"""A process that runs the jobs of one peer: `python -m benchmarks.claims.serving '{"peer": ..., ...}'`.

It says how late the runs of some ticks began, after the first whole one, and leaves. Given a peer alone, it
says what that is. It is run by the peer's own interpreter: nothing of bgtasks is imported for another.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import sys
import time
from array import array

from benchmarks.claims.peers import Place, make

__all__ = ["main"]

EARLY = 0.1
"""Seconds by which a run may come before its instant, by this clock: clocks differ."""

WARM_UPS = 4
"""Ticks after which it is measured, whether or not one of them was whole by then."""

REST = 0.4
"""Seconds that are left between the start of a peer and the first tick."""


async def _main(peer: str, url: str, jobs: int, every: int, ticks: int) -> None:
    notes = array("d")
    serving = make(peer, Place(url, jobs, every, lambda: notes.append(time.time())))
    await serving.start()
    first = (time.time() + REST) // every * every + every
    for _ in range(WARM_UPS):
        await asyncio.sleep(first + every - EARLY - time.time())
        whole = _tick(notes, first, every, jobs)["started"] == jobs
        first += every
        if whole:
            break
    del notes[:]
    cpu = time.process_time()
    await asyncio.sleep(first + ticks * every - EARLY - time.time())
    cpu = time.process_time() - cpu
    taken = [_tick(notes, first + number * every, every, jobs) for number in range(ticks)]
    said = {"taken": taken, "cpu_us": cpu / max(1, len(notes)) * 1e6}
    print(json.dumps(said), flush=True)
    os._exit(0)


def _tick(notes: array[float], due: float, every: int, jobs: int) -> dict[str, float]:
    late = sorted(at - due for at in notes if due - EARLY <= at < due + every - EARLY)
    return {
        "started": len(late),
        "p50_s": late[len(late) // 2] if late else 0.0,
        "last_s": late[-1] if late else 0.0,
    }


def main() -> None:
    """Run the jobs, or say what would."""
    asked = json.loads(sys.argv[1])
    if asked.keys() == {"peer"}:
        place = Place("sqlite:///about.db", 1, 1, lambda: None)
        asyncio.run(_about(asked["peer"], place))
    else:
        asyncio.run(_main(**asked))


async def _about(peer: str, place: Place) -> None:
    print(f"{make(peer, place).about}; Python {platform.python_version()}", flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
