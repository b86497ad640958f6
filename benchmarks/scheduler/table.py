"""The table, as text: a block for each case, a line for each peer, the median and (lowest..highest)."""

from __future__ import annotations

from benchmarks.scheduler.cases import Case
from benchmarks.scheduler.figures import FIGURES, written
from benchmarks.scheduler.ratios import ratios
from benchmarks.scheduler.results import Results

__all__ = ["BASELINE", "print_block", "print_head", "print_ratios"]

BASELINE = "heap-task"
WIDTH = 26


def print_head(results: Results) -> None:
    """Versions and settings, before anything is measured."""
    print(
        f"medians of at most {results.rounds} rounds (lowest..highest); the last column is against {BASELINE}"
    )
    for peer, about in results.peers.items():
        print(f"  {peer:<12} {about}")


def print_block(results: Results, case: Case) -> None:
    """One case."""
    figures = FIGURES[case.kind]
    print(f"\n{case.title}  [{case.group}]")
    print(" " * 14 + "".join(f"{figure.heading:>{WIDTH}}" for figure in figures))
    baseline = results.median(case.key, BASELINE, figures[0].key)
    for peer in case.peers:
        line = f"  {peer:<12}"
        for figure in figures:
            spread = results.spread(case.key, peer, figure.key)
            if spread is not None:
                extremes = f"({written(spread.low)}..{written(spread.high)})" if results.rounds > 1 else ""
                line += f"{written(spread.median):>9} {extremes:>{WIDTH - 10}}"
        median = results.median(case.key, peer, figures[0].key)
        if baseline and median is not None and peer != BASELINE:
            line += f"{median / baseline:>9.2f} ×"
        if (why := results.ended.get(case.key, {}).get(peer)) is not None:
            line += f"  {why}"
        print(line)
    spread = results.spread(case.key, "bgtasks", "grid_spread_ms")
    if spread is not None and spread.high >= 1:
        print(f"  grids of bgtasks jobs lie up to {written(spread.median)} ms apart from what was asked")


def print_ratios(results: Results) -> None:
    """The ratios that matter, with the target beside each."""
    found = ratios(results)
    if found:
        print("\nagainst the targets (printed, not enforced)")
    for ratio in found:
        print(
            f"  {ratio.what:<76} {ratio.value:>8}   target {ratio.aim:<8}{'' if ratio.reached else ' MISSED'}"
        )
