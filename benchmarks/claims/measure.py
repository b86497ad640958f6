"""Measurements that are one process each."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any

from benchmarks.apart import ROOT, interpreter
from benchmarks.claims.crew import NoFigures
from benchmarks.claims.peers import SYSTEMS
from benchmarks.claims.servers import Servers

__all__ = ["ALONE", "python_of", "said", "started", "stored"]

ALONE = "no store"
LIMIT = 90.0
"""Seconds after which a process is given up."""

_APART = {"APScheduler": "claims", "docket": "claims", "arq": "claims-arq"}
"""Whose requirements each peer is installed with."""


def python_of(peer: str) -> str:
    """The interpreter that a peer is installed for."""
    return interpreter(_APART[peer]) if peer in _APART else sys.executable


async def said(python: str, module: str, asked: dict[str, Any]) -> str:
    """What a process prints.

    Raises:
        NoFigures: Nothing, in its time.
    """
    command = [python, "-m", module, json.dumps(asked)]
    try:
        done = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, cwd=ROOT, timeout=LIMIT, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise NoFigures(f"gave up after {LIMIT:g} s") from error
    if done.returncode != 0:
        raise NoFigures(f"failed: {(done.stderr.strip() or 'it said nothing').splitlines()[-1]}")
    return done.stdout.strip()


async def stored(servers: Servers, backend: str, jobs: int) -> list[dict[str, float]]:
    """The CPU of a fire of a cluster task, so many of which are due each second, evenly apart."""
    with servers.place("memory" if backend == ALONE else backend) as url:
        asked = {"url": None if backend == ALONE else url, "jobs": jobs, "burst": False}
        return [json.loads(await said(sys.executable, "benchmarks.claims.stored", asked))]


async def started(servers: Servers, system: str, jobs: int, every: int, ticks: int) -> list[dict[str, float]]:
    """How soon all jobs have started that are due at once, tick after tick; and the CPU of each start.

    The rate counts from the instant at which they are due until the last of them has started.
    """
    peer, backend = SYSTEMS[system]
    with servers.place(backend) as url:
        asked = {"peer": peer, "url": url, "jobs": jobs, "every": every, "ticks": ticks}
        figures = json.loads(await said(python_of(peer), "benchmarks.claims.serving", asked))
    taken: list[dict[str, float]] = []
    for tick in figures["taken"]:
        taken.append({"percent": tick["started"] / jobs * 100})
        if tick["started"] == jobs:  # of others it is not known when the last would have begun
            taken[-1]["started_per_s"] = jobs / tick["last_s"]
            taken[-1] |= {"p50_ms": tick["p50_s"] * 1000, "last_ms": tick["last_s"] * 1000}
    if not any("last_ms" in tick for tick in taken):
        raise NoFigures("did not start all before they were due again")
    return [*taken, {"cpu_us": figures["cpu_us"]}]
