"""`python -m tests.simulation.claims --hours 20 --seed 1`: simulate, and end with one line."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from tests.simulation.__main__ import SAY_EVERY_S, say
from tests.simulation.claims.runner import SPAN_H, Total, run
from tests.simulation.runner import cores, prepare


def main() -> int:
    """The command; its exit code says whether an invariant was violated."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.claims")
    parser.add_argument("--hours", type=float, default=20.0, help="virtual hours of a cluster")
    parser.add_argument("--span", type=float, default=SPAN_H, help="hours of each seed")
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--jobs", type=int, default=cores(), help="processes; by default one for each core")
    parser.add_argument("--store", choices=("memory", "redis"), help="for all seeds; by default drawn")
    parser.add_argument("--loses", action="store_true", help="the server may lose its last second, and leap")
    parser.add_argument("--resume", type=Path, help="a file that keeps what is done")
    parser.add_argument("--histogram", action="store_true", help="show how often each fault was met")
    parser.add_argument("--stop", action="store_true", help="end at the first violation")
    chosen = parser.parse_args()
    prepare()
    total, began = Total(), time.monotonic()
    said = began
    for outcome in run(
        *(chosen.hours, chosen.seed, chosen.jobs, chosen.resume, chosen.store),
        loses=chosen.loses,
        span=chosen.span,
    ):
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
