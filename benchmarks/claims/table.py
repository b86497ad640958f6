"""The tables, in Markdown: on the terminal and on the page the same."""

from __future__ import annotations

from benchmarks.claims.cases import Case, Group
from benchmarks.claims.peers import PEERS, SYSTEMS
from benchmarks.claims.targets import Target
from benchmarks.scheduler.figures import written
from benchmarks.scheduler.results import Results

__all__ = ["about", "aims", "promises", "table"]


def about(results: Results) -> list[str]:
    """Where and when, versions and settings."""
    return [
        f"Medians, taken on {results.on}:",
        "",
        *(f"- **{name}**: {said}" for name, said in results.peers.items()),
    ]


def table(results: Results, group: Group) -> list[str]:
    """A line for each of whom a case of the group was measured: medians."""
    whom = "with" if group.key == "started" else "store"
    headings = " | ".join(figure.heading for figure in group.figures)
    lines = [f"| {group.varied} | {whom} | {headings} |", f"|---|---|{'---:|' * len(group.figures)}"]
    for case in group.cases:
        if case.key in results.taken:
            lines += [_line(results, group, case, who) for who in group.who]
    return lines


def _line(results: Results, group: Group, case: Case, who: str) -> str:
    cells = []
    for figure in group.figures:
        median = results.median(case.key, who, figure.key)
        cells.append("" if median is None else written(median))
    if (why := results.ended.get(case.key, {}).get(who)) is not None:
        cells[0] = f"{cells[0]} {why}".strip()
    return f"| {case.label} | {who} | {' | '.join(cells)} |"


def promises() -> list[str]:
    """What each peer does beside being quick."""
    lines = [
        "| | several processes | a tick is started once by | a run whose process was killed | kept of runs |"
    ]
    lines.append("|---|---|---|---|---|")
    for peer, said in PEERS.items():
        if any(peer == each for each, _ in SYSTEMS.values()):
            lines.append(f"| {peer} | {said.shared} | {said.claim} | {said.killed} | {said.kept} |")
    return lines


def aims(found: list[Target]) -> list[str]:
    """What was aimed at; of what is to be flat, what is not."""
    lines = ["| against what was aimed at | came out | aim |", "|---|---:|---:|"]
    for target in found:
        missed = "" if target.reached else " **missed**"
        lines.append(f"| {target.what} | {target.value}{missed} | {target.aim} |")
    return lines
