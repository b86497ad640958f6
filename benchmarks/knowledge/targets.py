"""What was aimed at, beside what came out. Printed, not enforced."""

from __future__ import annotations

import statistics
from typing import NamedTuple

from benchmarks.knowledge.cases import OURS
from benchmarks.knowledge.size import STEPS
from benchmarks.scheduler.figures import written
from benchmarks.scheduler.results import Results

__all__ = ["FLAT", "STALL_MS", "Target", "targets"]

STALL_MS = 60.0
"""Milliseconds for which the server may answer nobody else while a batch is applied."""

FLAT = 1.25
"""The second half may take so many times what the first took, for each of it."""

APPLIED = {
    "apply-small": ("graph.apply", "30 nodes and 40 edges"),
    "apply-large": ("graph.apply", "200 nodes and 300 edges"),
    "apply-nodes": ("graph.apply", "500 nodes"),
    "engine-large": (OURS, "batches of forty messages in the large graph"),
}
FLATS = (
    ("channels", "ingest_us", "time to take a message in"),
    ("channels", "read_us", "time to read one by cursor"),
    ("channels", "cpu_us", "CPU of both sides for a message"),
    ("channels", "more", "bytes a message"),
    ("facts", "server_us", "server's CPU for a fact"),
)


class Target(NamedTuple):
    """What was measured, how it came out, what was aimed at, and whether that was reached."""

    what: str
    value: str
    aim: str
    reached: bool


def targets(results: Results) -> list[Target]:
    """Those that this run has the figures for. Of stalls the worst round counts."""
    found = []
    for case, (who, what) in APPLIED.items():
        if (spread := results.spread(case, who, "worst_ms")) is not None:
            says = f"slowest ping in ms while applying, {what}"
            found.append(Target(says, written(spread.high), f"<= {STALL_MS:g}", spread.high <= STALL_MS))
    for table, figure, what in FLATS:
        steps = [results.median(f"{table}-{step}", OURS, figure) for step in range(1, STEPS + 1)]
        measured = [step for step in steps if step is not None]
        if len(measured) == STEPS:
            half = STEPS // 2
            times = statistics.median(measured[half:]) / statistics.median(measured[:half])
            says = f"{what}, second half / first half"
            found.append(Target(says, written(times), f"<= {FLAT:g}", times <= FLAT))
    return found
