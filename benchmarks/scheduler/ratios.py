"""The ratios that matter, each beside what was aimed at. Printed, not enforced."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import NamedTuple

from benchmarks.scheduler.results import Results

__all__ = ["Ratio", "ratios"]

_AIMS: dict[str, Callable[[float, float], bool]] = {"<=": operator.le, ">=": operator.ge, "<": operator.lt}


class Ratio(NamedTuple):
    """What is compared, how it came out, what was aimed at, and whether that was reached."""

    what: str
    value: str
    aim: str
    reached: bool


class _Rule(NamedTuple):
    what: str
    case: str
    figure: str
    over: str
    under: str
    aim: str
    limit: float
    minus: bool = False


_RULES = (
    _Rule(
        "CPU per fire, 5,000 a second staggered",
        "fire-5000-staggered", "us_per_fire", "bgtasks", "apscheduler", "<=", 0.5,
    ),
    _Rule(
        "CPU per fire, 5,000 a second staggered",
        "fire-5000-staggered", "us_per_fire", "bgtasks", "heap-task", "<=", 2,
    ),
    _Rule("CPU per fire, burst of 1,000", "fire-1000-burst", "us_per_fire", "bgtasks", "heap-task", "<=", 2),
    _Rule(
        "lateness p99 in ms, 5,000 a second staggered",
        "fire-5000-staggered", "p99_ms", "bgtasks", "heap-task", "<=", 5, minus=True,
    ),
    _Rule(
        "lateness p99 in ms, burst of 1,000",
        "fire-1000-burst", "p99_ms", "bgtasks", "heap-task", "<=", 5, minus=True,
    ),
    _Rule("set-up of 100,000 jobs, time", "setup-100000", "set_up_ms", "apscheduler", "bgtasks", ">=", 5),
    _Rule("set-up of 100,000 jobs, memory", "setup-100000", "megabytes", "bgtasks", "apscheduler", "<", 1),
)  # fmt: skip


def ratios(results: Results) -> list[Ratio]:
    """Those that this run has the figures for, from medians."""
    found = []
    for rule in _RULES:
        over = results.median(rule.case, rule.over, rule.figure)
        under = results.median(rule.case, rule.under, rule.figure)
        if over is None or under is None:
            continue
        value = over - under if rule.minus else over / under
        what = f"{rule.what}: {rule.over} {'-' if rule.minus else '/'} {rule.under}"
        aim = f"{rule.aim} {rule.limit:g}"
        found.append(Ratio(what, f"{value:.2f}", aim, _AIMS[rule.aim](value, rule.limit)))
    if (seconds := results.median("month", "bgtasks", "wall_s")) is not None:
        found.append(Ratio("a simulated month, seconds", f"{seconds:.2f}", "<= 6", seconds <= 6))
    return found
