"""What was aimed at, beside what came out. Printed, not enforced."""

from __future__ import annotations

from typing import NamedTuple

from benchmarks.leadership.cases import CASES, Case
from benchmarks.leadership.peers import LEASE
from benchmarks.scheduler.figures import written
from benchmarks.scheduler.results import Results

__all__ = ["Target", "targets"]


class Target(NamedTuple):
    """What was measured, how it came out, what it may be at most, and whether that was reached."""

    what: str
    value: str
    aim: str
    reached: bool


_AIMS = (
    ("hand-over", "p99 ms", "hand-over, p99 in ms", 50.0),
    ("fail-over", "most ms", "fail-over, the slowest in ms", LEASE * 1000 + 150),
)


def targets(results: Results) -> list[Target]:
    """Those that this run has the figures for."""
    found = []
    for key, heading, what, limit in _AIMS:
        value = _value(results, next(case for case in CASES if case.key == key), heading)
        if value is not None:
            found.append(Target(f"{what}: bgtasks", written(value), f"<= {limit:,.0f}", value <= limit))
    return found


def _value(results: Results, case: Case, heading: str) -> float | None:
    figure = next(figure for figure in case.figures if figure.heading == heading)
    return figure.value(results, case.key, "bgtasks")
