"""Shows that the simulation finds bugs: each patch in `mutants/` puts one into a copy of the shipped files.

`python -m tests.simulation.mutate` applies each to a copy of the package and simulates until an invariant is
violated. A control run of the same seeds on an unchanged copy must be clean, and a patch that does not apply
any more is a failure.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.simulation.runner import cores

import bgtasks

__all__ = ["MUTANTS", "Verdict", "apply", "control", "hunt", "mutants"]

MUTANTS = Path(__file__).parent / "mutants"
ROOT = Path(__file__).parents[2]
PACKAGE = Path(bgtasks.__file__).parent
SEEDS = 80
"""Seeds within which each mutant must be found."""


@dataclass(slots=True)
class Verdict:
    """What came of one mutant: after how many seeds it was found, and by what; zero if it was not."""

    name: str
    seeds: int
    how: str


def mutants() -> list[Path]:
    """The patches, each named after its bug."""
    return sorted(MUTANTS.glob("*.patch"))


def apply(patch: Path, package: Path) -> None:
    """Apply a patch of one hunk to a copy of the package.

    Raises:
        ValueError: It has not one hunk, or what it changes is not there, exactly once.
    """
    text = patch.read_text(encoding="utf-8")
    name = re.search(r"^--- a/src/bgtasks/(\S+)$", text, re.MULTILINE)
    hunks = re.split(r"^@@ .*@@.*\n", text, flags=re.MULTILINE)
    if name is None or len(hunks) != 2:
        raise ValueError(f"{patch.name}: one file and one hunk")
    lines = hunks[1].splitlines(keepends=True)
    before = "".join(line[1:] for line in lines if line[0] in " -")
    after = "".join(line[1:] for line in lines if line[0] in " +")
    target = package / name[1]
    source = target.read_text(encoding="utf-8")
    if source.count(before) != 1:
        raise ValueError(
            f"{patch.name}: what it changes is in {name[1]} {source.count(before)} times, not once"
        )
    target.write_text(source.replace(before, after), encoding="utf-8")


@contextmanager
def copied() -> Iterator[Path]:
    """A copy of the package, alone on a path."""
    with tempfile.TemporaryDirectory(prefix="bgt-mutant-") as folder:
        package = Path(folder) / "bgtasks"
        shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
        yield package


def simulate(package: Path, seed: int, seeds: int) -> tuple[int, str]:
    """After how many seeds an invariant was violated, and how; zero if none was."""
    command = [sys.executable, "-m", "tests.simulation", "--stop", "--jobs", "1"]
    command += ["--hours", str(seeds), "--seed", str(seed)]
    path = os.pathsep.join((str(package.parent), str(ROOT)))
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1800, check=False
    )
    found = re.search(r"^violated: (.*?)   again: .*SEED=(\d+)", done.stdout, re.MULTILINE)
    if found is not None:
        return int(found[2]) - seed + 1, found[1]
    if done.returncode:
        return 1, f"it does not run: {done.stderr.strip().splitlines()[-1:]}"
    return 0, ""


def hunt(patch: Path, seed: int = 1, seeds: int = SEEDS) -> Verdict:
    """Look for one mutant."""
    with copied() as package:
        apply(patch, package)
        return Verdict(patch.stem, *simulate(package, seed, seeds))


def control(seed: int = 1, seeds: int = SEEDS) -> Verdict:
    """The same seeds with nothing changed."""
    with copied() as package:
        return Verdict("control", *simulate(package, seed, seeds))


def main() -> int:
    """The command; its exit code says whether all was as it must be."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutate")
    parser.add_argument("names", nargs="*", help="mutants; by default all, and the control run")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--jobs", type=int, default=cores())
    chosen = parser.parse_args()
    patches = [each for each in mutants() if not chosen.names or each.stem in chosen.names]
    missed, most = 0, 0
    with ThreadPoolExecutor(chosen.jobs) as pool:
        for verdict in pool.map(lambda each: hunt(each, chosen.seed, chosen.seeds), patches):
            missed, most = missed + (not verdict.seeds), max(most, verdict.seeds)
            seeds = f"{verdict.seeds:>3} seeds" if verdict.seeds else "NOT FOUND"
            sys.stdout.write(f"{seeds:>9}  {verdict.name:<48} {verdict.how[:90]}\n")
            sys.stdout.flush()
    alarm = ""
    if not chosen.names and (verdict := control(chosen.seed, most)).seeds:
        alarm = f"; the control run was not clean: {verdict.how}"
    sys.stdout.write(f"{len(patches) - missed} of {len(patches)} mutants found, within {most} seeds{alarm}\n")
    return 1 if missed or alarm or not patches else 0


if __name__ == "__main__":
    sys.exit(main())
