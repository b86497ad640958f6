"""`make bench`, or `python -m benchmarks [name ...]`; `scheduler [case ...]` measures some cases only."""

from __future__ import annotations

import sys

from benchmarks import cold_import, ingest
from benchmarks.machine import described
from benchmarks.scheduler import cases, runner

BENCHMARKS = {"cold_import": cold_import.main, "ingest": ingest.main, "scheduler": runner.main}


def main() -> None:
    """Say on what machine and when, then run the benchmarks that were named, or all."""
    known = [*BENCHMARKS, *cases.GROUPS]
    if unknown := [word for word in sys.argv[1:] if word not in known]:
        sys.exit(f"no benchmark is called {', '.join(unknown)}; there are: {', '.join(known)}")
    groups = [word for word in sys.argv[1:] if word in cases.GROUPS]
    chosen = [word for word in sys.argv[1:] if word in BENCHMARKS]
    if groups and "scheduler" not in chosen:
        chosen.append("scheduler")
    print(described())
    for name in chosen or list(BENCHMARKS):
        print(f"\n== {name}", flush=True)
        if name == "scheduler":
            runner.main(groups)
        else:
            BENCHMARKS[name]()


main()
