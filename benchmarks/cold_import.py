"""What importing the face of bgtasks costs, beside `import asyncio` and APScheduler's asyncio scheduler.

Whole processes in turn, APScheduler's with the interpreter of its own environment. All run on
bytecode that the warm-up round wrote, as an installed package does.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks.apart import interpreter

ROUNDS = 41
FACE = "background_task, background_worker, BackgroundScheduler, build_scheduler, Every, Cron, Once"
BARE, ASYNCIO, OURS = "pass", "import asyncio", f"from bgtasks import {FACE}"
THEIRS = "from apscheduler.schedulers.asyncio import AsyncIOScheduler"


def main() -> None:
    """Print the median of each and the ratio, with and without the start of the interpreter."""
    seconds: dict[str, list[float]] = {BARE: [], ASYNCIO: [], OURS: [], THEIRS: []}
    theirs = interpreter()
    with tempfile.TemporaryDirectory(prefix="bgtasks-bench-") as bytecode:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for _ in range(ROUNDS + 1):
            for code, taken in seconds.items():
                taken.append(_run(theirs if code == THEIRS else sys.executable, code, environment))
    medians = {code: statistics.median(taken[1:]) * 1000 for code, taken in seconds.items()}
    labels = {BARE: "interpreter", ASYNCIO: "import asyncio", OURS: "bgtasks", THEIRS: "apscheduler"}
    for code, label in labels.items():
        low, high = min(seconds[code][1:]) * 1000, max(seconds[code][1:]) * 1000
        print(f"{label:<16} median {medians[code]:6.1f} ms   min {low:6.1f}   max {high:6.1f}")
    for code in (OURS, THEIRS):
        whole = medians[code] / medians[ASYNCIO]
        alone = (medians[code] - medians[BARE]) / (medians[ASYNCIO] - medians[BARE])
        print(
            f"{labels[code]} to import asyncio: {whole:.2f} as processes, "
            f"{alone:.2f} without the interpreter's own start"
        )


def _run(python: str, code: str, environment: dict[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run([python, "-c", code], check=True, env=environment)
    return time.perf_counter() - began
