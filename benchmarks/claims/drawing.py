"""The pictures: `python -m benchmarks.claims.drawing <results.json> <picture.svg>`, of claims or of jobs.

Run by the interpreter that has matplotlib; nothing of bgtasks is imported.
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.claims.cases import CLAIMS, JOBS, SIZES
from benchmarks.claims.peers import SYSTEMS
from benchmarks.drawing import Bar, Sheet, bars, lines
from benchmarks.scheduler.figures import written
from benchmarks.scheduler.results import Results

__all__ = ["draw"]

CONTENDERS = (1, 4, 16)
DRAWN = {
    "beat_ms": "A beat that finds 100 due (ms)",
    "claim_ms": "Claim of these 100 (ms)",
    "page_ms": "A page of 500 (ms)",
    "bot_ms": "The 100 jobs of one bot (ms)",
    "add_ms": "Adding one (ms)",
    "page_add_ms": "Adding 500 at once (ms)",
}


def draw(results: Results, picture: Path) -> None:
    """The picture of whichever run these are the results of."""
    if any(case.key in results.taken for case in JOBS.cases):
        _jobs(results, picture)
    else:
        _claims(results, picture)


def _claims(results: Results, picture: Path) -> None:
    sheet = Sheet(3, 2, 8.2)
    for panel, server in zip(sheet.panels, ("Redis", "PostgreSQL", "SQLite"), strict=False):
        of_it = [system for system, (_, on) in SYSTEMS.items() if on == server]
        rows = [_bar(results, "started-500", system, "started_per_s", SYSTEMS[system][0]) for system in of_it]
        bars(panel, f"Jobs started a second, {server}", rows)
    contention, stored = CLAIMS[0], CLAIMS[1]
    raced = {
        backend: [results.median(f"contention-{of}", backend, "claims_per_s") for of in CONTENDERS]
        for backend in reversed(contention.who)
    }
    lines(sheet.panels[3], "Claims a second, by processes", CONTENDERS, raced)
    fires = [_bar(results, stored.cases[0].key, who, "us_per_fire", who) for who in stored.who]
    bars(sheet.panels[4], "CPU of a fire, 500 a second (µs)", fires)
    rows = [
        _bar(results, f"resting-{how.replace(' ', '-')}", who, "sent", f"{who}, {how}")
        for how in ("at once", "apart")
        for who in CLAIMS[3].who
    ]
    bars(sheet.panels[5], "Sent to the store for each tick", rows)
    below = "Medians. Started a second: from the instant at which 500 jobs are due until all have begun; "
    below += "bgtasks claims them 0.1 s ahead."
    sheet.save(
        picture, "What it costs to start a tick once", below, f"{results.on}; servers on the same machine."
    )


def _bar(results: Results, case: str, who: str, figure: str, name: str) -> Bar:
    spread, ours = results.spread(case, who, figure), who not in SYSTEMS or name == "bgtasks"
    if spread is None:
        return Bar(name, None, results.ended.get(case, {}).get(who, "not measured"), ours)
    return Bar(name, (spread.median, spread.low, spread.high), written(spread.median), ours)


def _jobs(results: Results, picture: Path) -> None:
    sheet = Sheet(2, 3, 5.6)
    for panel, (figure, title) in zip(sheet.panels, DRAWN.items(), strict=True):
        series = {
            backend: [results.median(f"jobs-{size}", backend, figure) for size in SIZES]
            for backend in reversed(JOBS.who)
        }
        lines(panel, title, SIZES, series)
    below = "What one call takes among 1,000, 10,000 and 100,000 jobs; flat is the aim. Medians."
    sheet.save(picture, "A hundred thousand jobs", below, f"{results.on}; servers on the same machine.")


if __name__ == "__main__":
    draw(Results.read(Path(sys.argv[1])), Path(sys.argv[2]))
