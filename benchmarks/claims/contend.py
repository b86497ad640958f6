"""Claims a second, and how long one takes, while several processes want the same ticks."""

from __future__ import annotations

import time

from benchmarks.claims.contender import BATCH, a_job
from benchmarks.claims.crew import Crew
from benchmarks.claims.servers import Servers
from bgtasks.stores import task_store

__all__ = ["contend"]

SOON = 0.05
"""Seconds from the word to the instant at which all begin."""


async def contend(
    servers: Servers, backend: str, contenders: int, jobs: int, singly: int, ticks: int
) -> list[dict[str, float]]:
    """All claim each tick of all jobs, 500 a call; then of some jobs, one a call.

    Args:
        jobs: How many are due at once.
        singly: How many of these are claimed one by one.
        ticks: How many ticks of each kind.
    """
    with servers.place(backend) as url:
        if backend != "memory":  # whose process makes them itself
            store = task_store(url)
            await store.open()
            for number in range(jobs):
                await store.add(a_job(number))
            await store.aclose()
        names = [f"contender-{number}" for number in range(contenders)]
        each = [names] if backend == "memory" else [[name] for name in names]
        asked = [{"url": url, "names": some, "jobs": jobs} for some in each]
        async with Crew("benchmarks.claims.contender", asked) as crew:
            figures = await _raced(crew, (0, jobs), range(ticks), BATCH)
            one_by_one = await _raced(crew, (0, singly), range(ticks, 2 * ticks), 1)
    return [figures | {f"single_{key}": value for key, value in one_by_one.items()}]


async def _raced(crew: Crew, which: tuple[int, int], ticks: range, batch: int) -> dict[str, float]:
    claimed = ended = unanswered = 0
    claiming = ending = 0.0
    calls: list[float] = []
    for tick in ticks:
        for do in ("claim", "finish"):
            at = time.monotonic() + SOON
            words = {"do": do, "first": which[0], "last": which[1], "tick": tick, "batch": batch, "at": at}
            said = await crew.ask(**words)
            each = [one for process in said for one in process["each"]]
            if do == "claim":
                claimed += sum(one["claimed"] for one in each)
                claiming += max(one["until"] for one in each) - at
                calls += [seconds for one in each for seconds in one["calls"]]
            else:
                ended += sum(one["ended"] for one in each)
                ending += max(one["until"] for one in each) - at
            unanswered = sum(process["unanswered"] for process in said)
    wanted = (which[1] - which[0]) * len(ticks)
    if claimed != wanted or ended != wanted:
        raise AssertionError(f"{wanted} ticks were claimed {claimed} times, and {ended} runs ended")
    calls.sort()
    return {
        "claims_per_s": claimed / claiming,
        "p50_ms": calls[len(calls) // 2] * 1000,
        "p99_ms": calls[min(len(calls) - 1, int(len(calls) * 0.99))] * 1000,
        "ends_per_s": ended / ending,
        "unanswered": float(unanswered),
    }
