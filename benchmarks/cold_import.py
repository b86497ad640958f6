"""What importing the face of bgtasks costs, beside `import asyncio`, as whole processes in turn.

All run on bytecode that the warm-up round wrote, as an installed package does.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time

ROUNDS = 41
FACE = "background_task, background_worker, BackgroundScheduler, build_scheduler, Every, Cron, Once"
BARE, ASYNCIO, OURS = "pass", "import asyncio", f"from bgtasks import {FACE}"


def main() -> None:
    """Print the median of each and the ratio, with and without the start of the interpreter."""
    seconds: dict[str, list[float]] = {BARE: [], ASYNCIO: [], OURS: []}
    with tempfile.TemporaryDirectory(prefix="bgtasks-bench-") as bytecode:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for _ in range(ROUNDS + 1):
            for code, taken in seconds.items():
                taken.append(_run(code, environment))
    medians = {code: statistics.median(taken[1:]) * 1000 for code, taken in seconds.items()}
    for code, label in ((BARE, "interpreter"), (ASYNCIO, "import asyncio"), (OURS, "bgtasks")):
        low, high = min(seconds[code][1:]) * 1000, max(seconds[code][1:]) * 1000
        print(f"{label:<16} median {medians[code]:6.1f} ms   min {low:6.1f}   max {high:6.1f}")
    whole = medians[OURS] / medians[ASYNCIO]
    alone = (medians[OURS] - medians[BARE]) / (medians[ASYNCIO] - medians[BARE])
    print(
        f"ratio to import asyncio: {whole:.2f} as processes, {alone:.2f} without the interpreter's own start"
    )


def _run(code: str, environment: dict[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    return time.perf_counter() - began
