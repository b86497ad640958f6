"""Runs every measurement with a server and processes of its own, in rounds that go from peer to peer.

`BENCH_ROUNDS` says how many rounds; 5 take about eighteen minutes, 1 takes four. Results are kept in
build/bench/leadership.json (of some cases only: leadership-some.json), and of all cases a picture is drawn.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence
from random import Random

from benchmarks.apart import ROOT, interpreter
from benchmarks.leadership.cases import CASES, Case
from benchmarks.leadership.group import NoFigures
from benchmarks.leadership.measure import KINDS
from benchmarks.leadership.peers import PEERS
from benchmarks.leadership.server import version
from benchmarks.leadership.table import print_block, print_head, print_targets
from benchmarks.machine import described
from benchmarks.progress import progress
from benchmarks.scheduler.results import Results

__all__ = ["main"]

KEPT = ROOT / "build" / "bench"
PICTURE = ROOT / "docs" / "images" / "leadership-speed.svg"


def main(groups: Sequence[str] = ()) -> None:
    """Measure the cases of these names, or all; print each when it is done; keep and draw the results."""
    cases = [case for case in CASES if not groups or case.key in groups]
    theirs = interpreter("leadership")
    pythons = {peer: sys.executable if peer == "bgtasks" else theirs for peer in PEERS}
    results = Results(f"{described()}, {version()}", int(os.environ.get("BENCH_ROUNDS", "5")))
    for peer, python in pythons.items():
        results.peers[peer] = _about(python, peer)
    print_head(results)
    path = KEPT / ("leadership-some.json" if groups else "leadership.json")
    for number, case in enumerate(cases, 1):
        _rounds(results, case, f"case {number} of {len(cases)}", pythons)
        progress("")
        print_block(results, case)
        sys.stdout.flush()
        results.write(path)
    print_targets(results)
    print(f"\nkept in {path.relative_to(ROOT)}", flush=True)
    if not groups:
        draw = [interpreter(), "-m", "benchmarks.leadership.drawing", str(path), str(PICTURE)]
        subprocess.run(draw, check=True, cwd=ROOT)
        print(f"drawn in {PICTURE.relative_to(ROOT)}")


def _rounds(results: Results, case: Case, where: str, pythons: dict[str, str]) -> None:
    peers = list(pythons)
    taken = results.taken[case.key] = {peer: [] for peer in peers}
    ended = results.ended[case.key] = {}
    rounds = min(results.rounds, case.rounds)
    for number in range(rounds):
        first = number % len(peers)  # each peer comes first in turn
        for peer in peers[first:] + peers[:first]:
            if peer in ended:
                continue
            progress(f"{where}, {case.key}, round {number + 1} of {rounds}, {peer}")
            draws = Random(f"{case.key} {number}")  # the same for each peer
            try:
                taken[peer] += asyncio.run(KINDS[case.kind](pythons[peer], peer, draws, case.times))
            except NoFigures as why:
                ended[peer] = str(why)


def _about(python: str, peer: str) -> str:
    command = [python, "-m", "benchmarks.leadership.node", f'{{"peer": "{peer}"}}']
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout.strip()
