"""The tables, in Markdown: on the terminal and on the page the same."""

from __future__ import annotations

from benchmarks.knowledge.cases import OURS, TABLES, Case, Table
from benchmarks.knowledge.targets import targets
from benchmarks.scheduler.figures import written
from benchmarks.scheduler.results import Results

__all__ = ["about", "aims", "markdown", "table"]

WHOLE = ("at", "count", "removed")
"""Figures that are numbers of things."""


def about(results: Results) -> list[str]:
    """Where and when, versions and sizes."""
    said = [f"- **{name}**: {what}" for name, what in results.peers.items()]
    return [f"Medians, taken on {results.on}:", "", *said]


def table(results: Results, which: Table) -> list[str]:
    """A line for each of whom a case was measured."""
    firsts = [which.varied] if which.varied or len(which.cases) > 1 else []
    firsts += ["with"] if len(which.who) > 1 else []
    headings = [*firsts, *(figure.heading for figure in which.figures)]
    lines = [f"| {' | '.join(headings)} |", f"|{'---|' * len(firsts)}{'---:|' * len(which.figures)}"]
    for case in which.cases:
        for who in which.who:
            if results.taken.get(case.key, {}).get(who):
                lines.append(_line(results, which, case, who))
    return lines


def _line(results: Results, which: Table, case: Case, who: str) -> str:
    cells = []
    if which.varied or len(which.cases) > 1:
        cells.append(case.label or _cell(results, case, who, "at"))
    if len(which.who) > 1:
        cells.append(who)
    cells += [_cell(results, case, who, figure.key) for figure in which.figures]
    return f"| {' | '.join(cells)} |"


def _cell(results: Results, case: Case, who: str, figure: str) -> str:
    median = results.median(case.key, who, figure)
    if median is None:
        return ""
    return f"{median:,.0f}" if figure in WHOLE else written(median)


def aims(results: Results) -> list[str]:
    """What was aimed at, beside what came out; empty if nothing of it was measured."""
    found = targets(results)
    lines = ["| against what was aimed at | came out | aim |", "|---|---:|---:|"] if found else []
    for target in found:
        missed = "" if target.reached else " **missed**"
        lines.append(f"| {target.what} | {target.value}{missed} | {target.aim} |")
    return lines


def markdown(results: Results) -> str:
    """All of it."""
    lines = about(results)
    for which in TABLES:
        if any(results.taken.get(case.key, {}) for case in which.cases):
            lines += ["", f"**{which.title[0].upper()}{which.title[1:]}:**", "", *table(results, which)]
    if (million := results.median("facts", OURS, "bytes")) is not None:
        lines += ["", f"A million facts take {million:,.0f} MB beside the entities they are between."]
    return "\n".join([*lines, "", *aims(results)]).rstrip()
