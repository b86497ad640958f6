"""Runs the parts one after the other; what is done is kept, and not done again.

A run that was interrupted goes on where it was, on the same day and machine: each part that had ended is
taken from build/bench. `BENCH_ROUNDS` says how many rounds there are at most, `BENCH_SCALE` how large all of
it is: 1, or less for a quick look. Results of the whole at full size are kept in build/bench/knowledge.json
and drawn; others in knowledge-some.json.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from benchmarks.apart import ROOT, interpreter
from benchmarks.knowledge.cases import LAST, PARTS, table_of
from benchmarks.knowledge.channels import channels
from benchmarks.knowledge.engine import engine
from benchmarks.knowledge.facts import facts
from benchmarks.knowledge.intake import intake
from benchmarks.knowledge.measure import Taken
from benchmarks.knowledge.servers import about as servers
from benchmarks.knowledge.size import Size
from benchmarks.knowledge.table import about, aims, table
from benchmarks.knowledge.writing import writing
from benchmarks.machine import described
from benchmarks.progress import progress
from benchmarks.scheduler.results import Results

__all__ = ["KEPT", "MEASURES", "PICTURE", "draw", "main"]

KEPT = ROOT / "build" / "bench"
PICTURE = ROOT / "docs" / "images" / "knowledge-speed.svg"

MEASURES: dict[str, Callable[[Size, int, Callable[[str], None]], Awaitable[Taken]]] = {
    "messages": intake,
    "channels": channels,
    "apply": writing,
    "engine": engine,
    "facts": facts,
}


def main(
    parts: Sequence[str] = (), *, scale: float | None = None, fresh: bool = False, kept: Path = KEPT
) -> None:
    """Measure these parts, or all; print each when it is done; keep and draw the results.

    Args:
        scale: How large; `BENCH_SCALE`, or 1, if not given.
        fresh: Forget what an interrupted run has measured.
        kept: The folder for the results.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # its servers would outlive this process
    size = Size(float(os.environ.get("BENCH_SCALE", "1")) if scale is None else scale)
    chosen = [part for part in PARTS if not parts or part in parts]
    asyncio.run(_measured(chosen, bool(parts), size, fresh, kept))


async def _measured(parts: list[str], some: bool, size: Size, fresh: bool, kept: Path) -> None:
    whole = not some and size.scale == 1
    path = kept / ("knowledge.json" if whole else "knowledge-some.json")
    unfinished = kept / f"knowledge-unfinished-{size.scale:g}.json"
    results = _begun(unfinished, size, fresh or some)
    print("\n".join(about(results)), flush=True)
    for part in parts:
        keys = [table_of(key) for key in PARTS[part]]
        if LAST[part] in results.taken:
            print(f"\n{part}: measured before")
        else:
            taken = await MEASURES[part](size, results.rounds, progress)
            progress("")
            results.taken.update(taken)
            results.write(path if some else unfinished)
        for which in keys:
            print(f"\n{which.title}  [{part}]\n\n" + "\n".join(table(results, which)), flush=True)
    if found := aims(results):
        print("\n" + "\n".join(found))
    results.write(path)
    if not some:
        unfinished.unlink(missing_ok=True)
    print(f"\nkept in {path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}", flush=True)
    if whole:
        draw(path, PICTURE)
        print(f"drawn in {PICTURE.relative_to(ROOT)}")


def draw(kept: Path, picture: Path) -> None:
    """Draw what is kept, by the interpreter that can."""
    command = [interpreter(), "-m", "benchmarks.knowledge.drawing", str(kept), str(picture)]
    subprocess.run(command, check=True, cwd=ROOT)


def _begun(unfinished: Path, size: Size, fresh: bool) -> Results:
    """What was measured before, today and here; else nothing yet."""
    rounds = int(os.environ.get("BENCH_ROUNDS", "3"))
    if unfinished.exists() and not fresh:
        before = Results.read(unfinished)
        if (before.on, before.rounds) == (described(), rounds):
            return before
    results = Results(described(), rounds, servers())
    results.peers["size"] = (
        f"{size.messages:,} messages over {size.channels:,} channels; {size.entities:,} entities, "
        f"{size.facts:,} facts, {size.vectors:,} vectors"
    )
    return results
