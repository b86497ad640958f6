"""Runs each system over a folder of conversations.

Results are kept in build/bench/memory.json after each system. A later call over the same messages goes on
with the systems that are missing there.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.apart import ROOT
from benchmarks.claims.crew import NoFigures
from benchmarks.machine import described
from benchmarks.memory.conversation import Line, fingerprint, read_folder
from benchmarks.memory.crash import crash
from benchmarks.memory.measure import measure
from benchmarks.memory.relations import Relation, relations
from benchmarks.memory.results import Results
from benchmarks.memory.run import about
from benchmarks.memory.table import markdown
from benchmarks.progress import progress
from bgtasks.testing.model.rules import read

__all__ = ["KEPT", "main"]

KEPT = ROOT / "build" / "bench" / "memory.json"


def main(
    folder: Path,
    systems: Sequence[str],
    *,
    messages: int | None = None,
    crash_messages: int = 200,
    fresh: bool = False,
) -> None:
    """Measure these systems; print and keep what comes of it.

    Args:
        messages: The first so many, else all.
        crash_messages: So many of them while the system is killed; 0: it is not.
        fresh: Forget what was measured before.

    Raises:
        ValueError: There are no messages, a line is not one, or nothing is seen in them.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what it has started would outlive it
    lines = read_folder(folder, messages)
    said = relations(lines, read)
    if not said:
        raise ValueError("the stand-in's rules see no relation in these messages")
    channels, keys = {line.channel for line in lines}, {each.key for each in said}
    results = Results(described(), len(lines), len(channels), fingerprint(lines, keys), len(keys))
    if not fresh:
        results.goes_on_from(KEPT)
        if taken_over := [name for name in systems if "figures" in results.systems.get(name, {})]:
            print(f"measured before, --fresh does it again: {', '.join(taken_over)}")
    some = lines[:crash_messages]
    known = {(line.channel, line.id) for line in some}
    of_some = [each for each in said if (each.line.channel, each.line.id) in known]
    for name in systems:
        kept = results.systems.setdefault(name, {})
        kept.pop("ended", None)
        try:
            asyncio.run(_measure(kept, name, lines, said))
            results.write(KEPT)
            if some and not kept["figures"]["against"]:
                asyncio.run(_kill(kept, name, some, of_some))
        except NoFigures as why:
            kept["ended"] = str(why)
        results.write(KEPT)
        progress("")
    print(f"\n{markdown(results)}")
    print(f"\nkept in {KEPT.relative_to(ROOT)}", flush=True)


async def _measure(kept: dict[str, Any], name: str, lines: list[Line], said: list[Relation]) -> None:
    if "figures" not in kept:
        kept["about"] = await about(name)
        kept["figures"] = await measure(name, lines, said, lambda what: progress(f"{name}: {what}"))


async def _kill(kept: dict[str, Any], name: str, lines: list[Line], said: list[Relation]) -> None:
    if kept.get("crash", {}).get("messages") != len(lines):
        kept["crash"] = await crash(name, lines, said, lambda what: progress(f"{name}: {what}"))
