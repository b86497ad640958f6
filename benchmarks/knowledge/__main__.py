"""`python -m benchmarks.knowledge [part ...] [--scale 0.01]`: these measurements alone, in any size."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.knowledge.cases import PARTS
from benchmarks.knowledge.runner import KEPT, main


def _run() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.knowledge", description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all if none is named")
    parser.add_argument("--scale", type=float, default=1.0, help="a fraction of the full size")
    parser.add_argument("--fresh", action="store_true", help="forget what an interrupted run has measured")
    parser.add_argument("--keep", type=Path, default=KEPT, help="the folder for the results")
    said = parser.parse_args()
    if unknown := [part for part in said.parts if part not in PARTS]:
        parser.error(f"no part is called {', '.join(unknown)}; there are: {', '.join(PARTS)}")
    if not 0 < said.scale <= 10:
        parser.error("the scale is above 0 and at most 10")
    main(said.parts, scale=said.scale, fresh=said.fresh, kept=said.keep.resolve())


_run()
