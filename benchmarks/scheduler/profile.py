"""Where the time of a fire goes: `python -m benchmarks.scheduler.profile [jobs a second]`.

cProfile makes small functions look dearer than they are, so read it for the order of things; the figures
of the table are taken without it.
"""

from __future__ import annotations

import asyncio
import cProfile
import pstats
import sys
from collections import defaultdict
from pathlib import Path

from benchmarks.scheduler.jobs import Counted
from benchmarks.scheduler.peers import make

__all__ = ["main"]

SECONDS = 4.0
SHOWN = 20


async def _profile(jobs: int) -> tuple[pstats.Stats, int]:
    peer, counted, profile = make("bgtasks"), Counted(), cProfile.Profile()
    for number in range(jobs):
        peer.add(f"job-{number}", counted.run, 1.0, number / jobs)
    await peer.start()
    await asyncio.sleep(1.5)
    peer.settle()
    before = counted.fires
    profile.enable()
    await asyncio.sleep(SECONDS)
    profile.disable()
    await peer.stop()
    return pstats.Stats(profile), counted.fires - before


def main() -> None:
    """Print microseconds a fire by module, and by function."""
    jobs = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    stats, fires = asyncio.run(_profile(jobs))
    rows: dict[tuple[str, int, str], tuple[int, int, float, float, object]] = vars(stats)["stats"]
    modules: defaultdict[str, float] = defaultdict(float)
    functions: list[tuple[float, float, str]] = []
    for (path, _, name), (_, calls, own, _, _) in rows.items():
        place = Path(path)
        module = f"{place.parent.name}/{place.stem}" if path.endswith(".py") else "built-in"
        if "poll" in name and "select.epoll" in name:
            continue  # waiting is not work
        modules[module] += own
        functions.append((own, calls / fires, f"{module} {name}"))
    total = sum(modules.values())
    print(f"{fires} fires, {total / fires * 1e6:.1f} µs each under cProfile, without waiting")
    for module, own in sorted(modules.items(), key=lambda row: -row[1])[:SHOWN]:
        print(f"{own / fires * 1e6:8.2f} µs {own / total:6.1%}  {module}")
    print("\nby function: µs a fire, calls a fire")
    for own, times, name in sorted(functions, reverse=True)[:SHOWN]:
        print(f"{own / fires * 1e6:8.2f} µs {times:6.2f}  {name}")


if __name__ == "__main__":
    main()
