"""The table, as text: a block for each case, a line for each peer."""

from __future__ import annotations

from benchmarks.leadership.cases import Case
from benchmarks.leadership.peers import PEERS
from benchmarks.leadership.targets import targets
from benchmarks.scheduler.figures import written
from benchmarks.scheduler.results import Results

__all__ = ["print_block", "print_head", "print_targets"]

WIDTH = 20


def print_head(results: Results) -> None:
    """Versions and settings, before anything is measured."""
    print(f"{results.on}; all that was seen in at most {results.rounds} rounds, (lowest..highest)")
    for peer, about in results.peers.items():
        print(f"  {peer:<12} {about}")


def print_block(results: Results, case: Case) -> None:
    """One case."""
    print(f"\n{case.title}  [{case.key}]")
    print(" " * 14 + "".join(f"{figure.heading:>{WIDTH}}" for figure in case.figures))
    for peer in PEERS:
        line = f"  {peer:<12}"
        for figure in case.figures:
            if (value := figure.value(results, case.key, peer)) is not None:
                line += f"{written(value):>{WIDTH}}"
        seen = len(results.taken[case.key][peer])
        spread = results.spread(case.key, peer, case.figures[0].key)
        if spread is not None:
            line += f"   ({written(spread.low)}..{written(spread.high)}) of {seen}"
        if (why := results.ended[case.key].get(peer)) is not None:
            line += f"  {why}"
        print(line)


def print_targets(results: Results) -> None:
    """What was aimed at."""
    found = targets(results)
    if found:
        print("\nagainst the targets (printed, not enforced)")
    for target in found:
        missed = "" if target.reached else " MISSED"
        print(f"  {target.what:<76} {target.value:>8}   target {target.aim:<8}{missed}")
