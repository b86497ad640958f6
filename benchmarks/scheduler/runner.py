"""Runs every measurement in a process of its own, in rounds that go from peer to peer.

`BENCH_ROUNDS` says how many rounds; 5 take about forty minutes, 1 takes eight. Results are kept in
build/bench/scheduler.json (of some cases only: scheduler-some.json), and of all cases a picture is drawn.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.apart import ROOT, interpreter
from benchmarks.machine import described
from benchmarks.progress import progress
from benchmarks.scheduler.cases import CASES, Case
from benchmarks.scheduler.peers import PEERS
from benchmarks.scheduler.results import Results
from benchmarks.scheduler.table import print_block, print_head, print_ratios

__all__ = ["main"]

KEPT = ROOT / "build" / "bench"
PICTURE = ROOT / "docs" / "images" / "scheduler-speed.svg"


class NoFigures(Exception):
    """The process gave none; the text says why."""


def main(groups: Sequence[str] = ()) -> None:
    """Measure the cases of these groups, or all; print each when it is done; keep and draw the results."""
    cases = [case for case in CASES if not groups or case.group in groups]
    rounds = int(os.environ.get("BENCH_ROUNDS", "5"))
    theirs = interpreter()
    results = Results(described(), rounds)
    for peer in PEERS:
        results.peers[peer] = _measured(theirs, peer, "about", {}, 60)["about"]
    print_head(results)
    path = KEPT / ("scheduler-some.json" if groups else "scheduler.json")
    for number, case in enumerate(cases, 1):
        _rounds(results, case, f"case {number} of {len(cases)}", theirs)
        progress("")
        print_block(results, case)
        sys.stdout.flush()
        results.write(path)
    print_ratios(results)
    print(f"\nkept in {path.relative_to(ROOT)}", flush=True)
    if not groups:
        draw = [theirs, "-m", "benchmarks.scheduler.drawing", str(path), str(PICTURE)]
        subprocess.run(draw, check=True, cwd=ROOT)
        print(f"drawn in {PICTURE.relative_to(ROOT)}")


def _rounds(results: Results, case: Case, where: str, theirs: str) -> None:
    taken = results.taken[case.key] = {peer: [] for peer in case.peers}
    ended = results.ended[case.key] = {}
    rounds = min(results.rounds, case.rounds)
    for number in range(rounds):
        first = number % len(case.peers)  # each peer comes first in turn
        for peer in case.peers[first:] + case.peers[:first]:
            if peer in ended:
                continue
            progress(f"{where}, {case.key}, round {number + 1} of {rounds}, {peer}")
            try:
                taken[peer].append(_measured(theirs, peer, case.kind, case.settings, case.limit))
            except NoFigures as why:
                ended[peer] = str(why)


def _measured(theirs: str, peer: str, kind: str, settings: dict[str, object], limit: float) -> dict[str, Any]:
    asked = json.dumps({"kind": kind, "peer": peer, **settings})
    python = theirs if peer == "apscheduler" else sys.executable
    command = [python, "-m", "benchmarks.scheduler.measure", asked]
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=limit, check=False)
    except subprocess.TimeoutExpired as error:
        raise NoFigures(f"gave up after {limit:g} s") from error
    if done.returncode != 0:
        raise NoFigures(f"failed: {(done.stderr.strip() or 'it said nothing').splitlines()[-1]}")
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures
