"""A process that runs cluster tasks of one store, and writes each step of them into a ledger that all share.

    cluster_node.py PLAN

The plan is a `Plan` as JSON. Each line of the ledger is a `Line` as JSON. The first step of a run, its
`begin`, those that follow and its `end` are each written right after `claim.check()`. It runs until SIGTERM.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from dataclasses import dataclass
from typing import NamedTuple

from bgtasks import Every, Registry, background_task, build_scheduler, current_claim, current_run
from bgtasks.claims.session import Session
from bgtasks.lease import LeaseTimes
from bgtasks.service import stop_signal

__all__ = ["NODE_EVERY", "SHORT", "Line", "Plan"]

SHORT = LeaseTimes(lease=6.0, renew=0.75, attempt=0.75, margin=2.0)
"""A session that a test can wait to expire."""

NODE_EVERY = 0.5
"""Seconds between two runs of the task that each node has for itself."""


@dataclass(frozen=True)
class Plan:
    """What one process is to do.

    Attributes:
        tasks: How many cluster tasks there are, each at a fixed rate of `every` seconds.
        takes: Seconds that a run takes.
        steps: In how many steps, besides the first.
        short: Its session lives for as long as `SHORT` says; else as users have it.
    """

    store: str
    name: str
    ledger: str
    tasks: int
    every: float
    takes: float
    steps: int = 1
    short: bool = False


class Line(NamedTuple):
    """One step of a run, or a run of the node's own task, of which it has only the name and the instant.

    Attributes:
        what: "begin", "step" or "end"; "node" for the node's own task.
        run: The run's id in the store.
        name: Which process.
        at: When, in seconds since 1970.
    """

    what: str
    task: str
    due: str
    attempt: int
    token: int
    run: str
    name: str
    at: float


def main(plan: Plan) -> None:
    """Stand until told to end."""
    registry, ledger = Registry(), os.open(plan.ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(what: str, task: str) -> None:
        run, claim = current_run.get(), current_claim()
        assert run is not None
        attempt, token = (0, 0) if claim is None else (claim.attempt, claim.check())
        line = Line(what, task, run.due.isoformat(), attempt, token, run.run_id, plan.name, time.time())
        os.write(ledger, (json.dumps(line) + "\n").encode())

    def declare(task: str) -> None:
        @background_task(Every(plan.every, fixed_rate=True), scope="cluster", name=task, registry=registry)
        async def work() -> dict[str, int]:
            write("begin", task)
            for _ in range(plan.steps - 1):
                await asyncio.sleep(plan.takes / plan.steps)
                write("step", task)
            await asyncio.sleep(plan.takes / plan.steps)
            write("end", task)
            return {"steps": plan.steps}

    for number in range(plan.tasks):
        declare(f"task {number}")

    @background_task(Every(NODE_EVERY), scope="node", name="its own", registry=registry)
    async def own() -> None:
        write("node", "its own")

    async def run() -> None:
        scheduler = build_scheduler(registry=registry, store=plan.store, node_id=plan.name)
        async with stop_signal() as asked, scheduler:
            await asked.wait()

    if plan.short:
        assert Session.__init__.__kwdefaults__
        Session.__init__.__kwdefaults__["times"] = SHORT  # users have no way, and no need, to say it
    asyncio.run(run())


if __name__ == "__main__":
    main(Plan(**json.loads(sys.argv[1])))
