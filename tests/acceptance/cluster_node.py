"""A process that runs cluster tasks of one store, and writes each start into a ledger that all share.

    cluster_node.py STORE NAME TASKS EVERY TAKES LEDGER

Each line of the ledger is JSON: task, due instant, attempt, token, name and pid. It runs until SIGTERM.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

from bgtasks import Every, Registry, background_task, build_scheduler, current_claim, current_run
from bgtasks.service import stop_signal

__all__ = ["Line"]

type Line = tuple[str, str, int, int, str, int]


def main(store: str, name: str, tasks: int, every: float, takes: float, ledger: str) -> None:
    registry, file = Registry(), os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def declare(task: str) -> None:
        @background_task(Every(every, fixed_rate=True), scope="cluster", name=task, registry=registry)
        async def start() -> dict[str, int]:
            run, claim = current_run.get(), current_claim()
            assert run is not None
            assert claim is not None
            line: Line = (task, run.due.isoformat(), claim.attempt, claim.token, name, os.getpid())
            os.write(file, (json.dumps(line) + "\n").encode())
            await asyncio.sleep(takes)
            return {"lines": 1}

    for number in range(tasks):
        declare(f"task {number}")

    async def run() -> None:
        async with stop_signal() as asked, build_scheduler(registry=registry, store=store, node_id=name):
            await asked.wait()

    asyncio.run(run())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5]), sys.argv[6])
