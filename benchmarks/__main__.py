"""`make bench`, or `python -m benchmarks [name ...]` for some of them."""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime

from benchmarks import cold_import, ingest

BENCHMARKS = {"cold_import": cold_import.main, "ingest": ingest.main}


def main() -> None:
    """Say on what machine and when, then run the benchmarks that were named, or all."""
    chosen = sys.argv[1:] or list(BENCHMARKS)
    if unknown := [name for name in chosen if name not in BENCHMARKS]:
        sys.exit(f"no benchmark is called {', '.join(unknown)}; there are: {', '.join(BENCHMARKS)}")
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}"
    )
    for name in chosen:
        print(f"\n== {name}")
        BENCHMARKS[name]()


main()
