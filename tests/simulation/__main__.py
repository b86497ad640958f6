"""`python -m tests.simulation --hours 150 --seed 1`: simulate, and end with one line."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TextIO

from tests.simulation.runner import Total, cores, prepare, run

SAY_EVERY_S = 10.0


def say(line: str, to: TextIO | None = None) -> None:
    """Write a line."""
    (to or sys.stdout).write(f"{line}\n")
    (to or sys.stdout).flush()


def main() -> int:
    """The command; its exit code says whether an invariant was violated."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--hours", type=float, default=150.0, help="virtual hours of a cluster, one a seed")
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--jobs", type=int, default=cores(), help="processes; by default one for each core")
    parser.add_argument("--resume", type=Path, help="a file that keeps what is done")
    parser.add_argument("--histogram", action="store_true", help="show how often each fault was met")
    parser.add_argument("--stop", action="store_true", help="end at the first violation")
    chosen = parser.parse_args()
    prepare()
    total, began = Total(), time.monotonic()
    said = began
    for outcome in run(chosen.hours, chosen.seed, chosen.jobs, chosen.resume):
        total.add(outcome)
        if outcome.violations:
            say(f"{outcome.violations[0]}\n  again: {outcome.reproduce}\n{outcome.tail}", sys.stderr)
            if chosen.stop:
                break
        if time.monotonic() - said > SAY_EVERY_S:
            said = time.monotonic()
            say(f"  … {total.line()}", sys.stderr)
    for failed in total.failed:
        say(f"violated: {failed.violations[0]}   again: {failed.reproduce}")
    if chosen.histogram:
        say(total.histogram())
    speed = total.hours / max(total.seconds, 1e-9)
    say(f"{total.line()}; {time.monotonic() - began:.0f} s, {speed:.2f} cluster-hours/s and core")
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
