"""Shows that the simulation finds bugs: each of `mutants.py` is put into a copy of the shipped package.

`python -m tests.simulation.claims.mutate` simulates each copy until an invariant is violated. The same seeds
of an unchanged copy must be clean, and a mutant whose text is not there exactly once is a failure.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.simulation.claims.mutants import MUTANTS, Mutant
from tests.simulation.mutate import ROOT, Verdict, copied
from tests.simulation.runner import cores

__all__ = ["applied", "control", "hunt"]

SEEDS = 240
"""Seeds within which each mutant must be found."""

SPAN_H = 0.05
"""Virtual hours of each of them: one round of faults, and peace."""

FIRST = 101
"""The first of the seeds."""


def applied(mutant: Mutant, source: str) -> str:
    """The module with the bug in it.

    Raises:
        ValueError: What it changes is not there, exactly once.
    """
    count = source.count(mutant.old)
    if count != 1:
        raise ValueError(f"{mutant.name}: what it changes is in {mutant.module} {count} times, not once")
    return source.replace(mutant.old, mutant.new)


def simulate(package: Path, store: str, seed: int, seeds: int) -> tuple[int, str]:
    """After how many seeds an invariant was violated, and how; zero if none was."""
    command = [sys.executable, "-m", "tests.simulation.claims", "--stop", "--jobs", "1", "--store", store]
    command += ["--hours", f"{seeds * SPAN_H:g}", "--span", f"{SPAN_H:g}", "--seed", f"{seed}"]
    path = os.pathsep.join((str(package.parent), str(ROOT)))
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    found = re.search(r"^violated: (.*?)   again: .*SEED=(\d+)", done.stdout, re.MULTILINE)
    if found is not None:
        return int(found[2]) - seed + 1, found[1]
    if done.returncode:
        return 1, f"it does not run: {done.stderr.strip().splitlines()[-1:]}"
    return 0, ""


def hunt(mutant: Mutant, seed: int = FIRST, seeds: int = SEEDS) -> Verdict:
    """Look for one mutant."""
    with copied() as package:
        module = package / mutant.module
        module.write_text(applied(mutant, module.read_text(encoding="utf-8")), encoding="utf-8")
        return Verdict(mutant.name, *simulate(package, mutant.store, seed, seeds))


def control(store: str, seed: int = FIRST, seeds: int = SEEDS) -> Verdict:
    """The same seeds with nothing changed."""
    with copied() as package:
        return Verdict(f"control on {store}", *simulate(package, store, seed, seeds))


def main() -> int:
    """The command; its exit code says whether all was as it must be."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.claims.mutate")
    parser.add_argument("names", nargs="*", help="mutants; by default all, and the control runs")
    parser.add_argument("--seed", type=int, default=FIRST)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--jobs", type=int, default=cores())
    parser.add_argument("--every", type=int, default=1, help="one of so many mutants")
    chosen = parser.parse_args()
    wanted = [each for each in MUTANTS[:: chosen.every] if not chosen.names or each.name in chosen.names]
    found, most = 0, 0
    with ThreadPoolExecutor(chosen.jobs) as pool:
        for verdict in pool.map(lambda each: hunt(each, chosen.seed, chosen.seeds), wanted):
            found, most = found + bool(verdict.seeds), max(most, verdict.seeds)
            seeds = f"{verdict.seeds:>3} seeds" if verdict.seeds else "NOT FOUND"
            sys.stdout.write(f"{seeds:>9}  {verdict.name:<48} {verdict.how[:90]}\n")
            sys.stdout.flush()
        stores = () if chosen.names else ("memory", "redis")
        alarms = [
            each for each in pool.map(lambda store: control(store, chosen.seed, most), stores) if each.seeds
        ]
    for alarm in alarms:
        sys.stdout.write(f"not clean after {alarm.seeds} seeds: {alarm.name}: {alarm.how}\n")
    sys.stdout.write(f"{found} of {len(wanted)} mutants found, within {most} seeds\n")
    return 1 if found < len(wanted) or alarms or not wanted else 0


if __name__ == "__main__":
    sys.exit(main())
