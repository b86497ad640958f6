"""`make bench`, or `python -m benchmarks [name ...]`; the name of a case measures that case only."""

from __future__ import annotations

import sys

from benchmarks import cold_import, ingest
from benchmarks.claims import cases as claims_cases
from benchmarks.claims import runner as claims
from benchmarks.knowledge import cases as knowledge_cases
from benchmarks.knowledge import runner as knowledge
from benchmarks.leadership import cases as leadership_cases
from benchmarks.leadership import runner as leadership
from benchmarks.machine import described
from benchmarks.scheduler import cases as scheduler_cases
from benchmarks.scheduler import runner as scheduler

WHOLE = {"cold_import": cold_import.main, "ingest": ingest.main}
BY_CASE = {
    "scheduler": scheduler.main,
    "leadership": leadership.main,
    "claims": claims.main,
    "jobs": claims.jobs,
    "knowledge": knowledge.main,
}
CASES = {
    "scheduler": scheduler_cases.GROUPS,
    "leadership": leadership_cases.GROUPS,
    "claims": claims_cases.GROUPS,
    "jobs": (),
    "knowledge": tuple(knowledge_cases.PARTS),
}


def main() -> None:
    """Say on what machine and when, then run the benchmarks that were named, or all."""
    words = sys.argv[1:]
    known = [*WHOLE, *BY_CASE, *(case for cases in CASES.values() for case in cases)]
    if unknown := [word for word in words if word not in known]:
        sys.exit(f"no benchmark is called {', '.join(unknown)}; there are: {', '.join(known)}")
    print(described())
    for name, measure in WHOLE.items():
        if not words or name in words:
            print(f"\n== {name}", flush=True)
            measure()
    for name, measure_cases in BY_CASE.items():
        cases = [word for word in words if word in CASES[name]]
        if not words or name in words or cases:
            print(f"\n== {name}", flush=True)
            measure_cases(cases)


main()
