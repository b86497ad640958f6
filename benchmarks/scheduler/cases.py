"""The cases: what is measured, of whom, and how long a process may take for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.scheduler.peers import PEERS

__all__ = ["CASES", "GROUPS", "Case"]


@dataclass(frozen=True, slots=True)
class Case:
    """One block of the table.

    Attributes:
        key: Its name among the results.
        group: What it is called on the command line.
        title: What is measured, for people.
        kind: The function of `measure` that does it.
        settings: The arguments of that function.
        limit: Seconds after which a process is given up.
        rounds: At most so many rounds.
    """

    key: str
    group: str
    title: str
    kind: str
    settings: dict[str, Any]
    peers: tuple[str, ...] = tuple(PEERS)
    limit: float = 60
    rounds: int = 99


def _set_up(jobs: int) -> Case:
    title = f"{jobs:,} hourly jobs set up and started; memory at its peak, above what the imports took"
    return Case(f"setup-{jobs}", "setup", title, "set_up", {"jobs": jobs}, limit=300)


def _fire(jobs: int, spread: str, *, waits: bool = False) -> Case:
    how = "all in one phase" if spread == "burst" else "staggered evenly"
    title = f"{jobs:,} jobs a second, {how}{', each of which awaits once' if waits else ''}"
    settings = {"jobs": jobs, "burst": spread == "burst", "waits": waits}
    return Case(f"fire-{jobs}-{spread}{'-waits' if waits else ''}", "fire", title, "fire", settings)


def _flood(interval: float, spoken: str) -> Case:
    title = f"1,000 jobs that ask for every {spoken}; the delay is that of an unrelated ticker of 10 ms"
    settings = {"jobs": 1000, "interval": interval}
    return Case(f"flood-{spoken.replace(' ', '')}", "flood", title, "flood", settings, limit=30)


CASES = (
    *(_set_up(jobs) for jobs in (100, 1_000, 10_000, 100_000)),
    _fire(1000, "staggered"),
    _fire(5000, "staggered"),
    _fire(1000, "burst"),
    _fire(5000, "burst"),
    _fire(5000, "staggered", waits=True),
    _fire(1000, "burst", waits=True),
    _flood(1e-3, "1 ms"),
    _flood(1e-6, "1 µs"),
    Case("idle", "idle", "10,000 hourly jobs, none due", "idle", {"jobs": 10_000}),
    Case("stop", "stop", "stop with 10,000 jobs, none running", "stop", {"jobs": 10_000}),
    Case(
        "month",
        "month",
        "a month of 59 jobs in virtual time, over a change of daylight saving",
        "month",
        {},
        peers=("bgtasks",),
        rounds=3,
    ),
)

GROUPS = tuple(dict.fromkeys(case.group for case in CASES))
