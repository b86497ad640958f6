"""Runs every measurement with a place of its own to keep jobs in, in rounds that go from one to the next.

`BENCH_ROUNDS` says how many rounds there are at most. Results are kept in build/bench/claims.json (of some
groups only: claims-some.json) and jobs.json, and of all of them pictures are drawn.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

from benchmarks.apart import ROOT, interpreter
from benchmarks.claims.cases import CLAIMS, JOBS, Case, Group
from benchmarks.claims.contend import contend
from benchmarks.claims.crew import Crew, NoFigures
from benchmarks.claims.measure import python_of, said, started, stored
from benchmarks.claims.peers import PEERS
from benchmarks.claims.rest import rest
from benchmarks.claims.servers import Servers
from benchmarks.claims.table import about, aims, promises, table
from benchmarks.claims.targets import targets
from benchmarks.machine import described
from benchmarks.progress import progress
from benchmarks.scheduler.results import Results

__all__ = ["jobs", "main"]

KEPT = ROOT / "build" / "bench"
PICTURES = ROOT / "docs" / "images"
PATIENCE = 240.0
"""Seconds that a hundred thousand jobs may take to be made."""

type Taken = list[dict[str, float]]

MEASURES: dict[str, Callable[..., Awaitable[Taken]]] = {
    "contention": contend,
    "stored": stored,
    "started": started,
    "resting": rest,
}


def main(groups: Sequence[str] = ()) -> None:
    """Measure these groups, or all; print each when it is done; keep and draw the results."""
    asyncio.run(_claims([group for group in CLAIMS if not groups or group.key in groups], bool(groups)))


def jobs(_: Sequence[str] = ()) -> None:
    """Measure what single calls take as jobs grow in number."""
    asyncio.run(_jobs())


async def _claims(groups: list[Group], some: bool) -> None:
    with Servers() as servers:
        results = Results(described(), int(os.environ.get("BENCH_ROUNDS", "3")), dict(servers.about))
        if any(group.key == "started" for group in groups):
            for peer in PEERS:
                results.peers[peer] = await said(python_of(peer), "benchmarks.claims.serving", {"peer": peer})
        print("\n".join(about(results)), flush=True)
        path = KEPT / ("claims-some.json" if some else "claims.json")
        for group in groups:
            for case in group.cases:
                results.taken[case.key] = {who: [] for who in group.who}
                results.ended[case.key] = {}
            await (_at_once if group.together else _rounds)(servers, results, group)
            progress("")
            _show(results, group)
            results.write(path)
    if any(group.key == "started" for group in groups):
        print("\n" + "\n".join(promises()))
    _close(results, path, None if some else "claims-speed.svg")


async def _rounds(servers: Servers, results: Results, group: Group) -> None:
    rounds = min(results.rounds, group.rounds)
    for number in range(rounds):
        for case in group.cases:
            first = number % len(group.who)  # each comes first in turn
            for who in group.who[first:] + group.who[:first]:
                if who not in results.ended[case.key]:
                    progress(f"{group.key}, {case.label}, round {number + 1} of {rounds}, {who}")
                    await _measure(servers, results, group, case, who)


async def _at_once(servers: Servers, results: Results, group: Group) -> None:
    progress(f"{group.key}, all at once, a good minute")
    step = group.cases[0].settings["every"] / len(group.who)
    async with asyncio.TaskGroup() as all_of_it:
        for case in group.cases:
            for number, who in enumerate(group.who):
                measuring = _measure(servers, results, group, case, who, after=number * step)
                all_of_it.create_task(measuring)


async def _measure(
    servers: Servers, results: Results, group: Group, case: Case, who: str, **more: Any
) -> None:
    try:
        taken = await MEASURES[group.key](servers, who, **case.settings, **more)
    except NoFigures as why:
        results.ended[case.key][who] = str(why)
    else:
        results.taken[case.key][who] += taken


async def _jobs() -> None:
    with Servers() as servers:
        results = Results(described(), 1, dict(servers.about))
        print("\n".join(about(results)), flush=True)
        async with AsyncExitStack() as stack:
            crews = {}
            for who in JOBS.who:
                asked = [{"url": stack.enter_context(servers.place(who))}]
                crew = Crew("benchmarks.claims.keeping", asked, patience=PATIENCE)
                crews[who] = await stack.enter_async_context(crew)
            for case in JOBS.cases:
                results.taken[case.key], results.ended[case.key] = {}, {}
                for who in list(crews):
                    progress(f"jobs, {case.label}, {who}")
                    try:
                        await crews[who].ask(do="grow", to=case.settings["size"])
                        [figures] = await crews[who].ask(do="measure", to=0)
                    except NoFigures as why:
                        results.ended[case.key][who] = str(why)
                        del crews[who]
                    else:
                        results.taken[case.key][who] = figures["taken"]
        progress("")
        _show(results, JOBS)
        path = KEPT / "jobs.json"
        results.write(path)
    _close(results, path, "durable-jobs.svg")


def _show(results: Results, group: Group) -> None:
    print(f"\n{group.title}  [{group.key}]\n\n" + "\n".join(table(results, group)), flush=True)


def _close(results: Results, path: Any, picture: str | None) -> None:
    if found := targets(results):
        print("\n" + "\n".join(aims(found)))
    print(f"\nkept in {path.relative_to(ROOT)}", flush=True)
    if picture is not None:
        draw = [interpreter(), "-m", "benchmarks.claims.drawing", str(path), str(PICTURES / picture)]
        subprocess.run(draw, check=True, cwd=ROOT)
        print(f"drawn in {(PICTURES / picture).relative_to(ROOT)}")
