"""A node with little to do: `python -m benchmarks.claims.resting '{"url": ..., "name": ..., ...}'`.

Asked, it says how many runs it has begun, and how many statements and transactions its database was sent.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections import Counter
from typing import Any

from benchmarks.claims.crew import serve
from benchmarks.claims.grid import Grid
from bgtasks import Registry, background_task, build_scheduler

__all__ = ["main"]


def _declare(registry: Registry, counted: Counter[str], name: str, trigger: Grid) -> None:
    @background_task(trigger, scope="cluster", name=name, registry=registry)
    async def run() -> None:
        counted["runs"] += 1


def _listen(counted: Counter[str]) -> None:
    """Count what any engine in this process is told."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine
    from sqlalchemy.pool import Pool

    def stated(*_: Any) -> None:
        counted["statements"] += 1

    def checked_out(*_: Any) -> None:
        counted["transactions"] += 1

    event.listen(Engine, "before_cursor_execute", stated)
    event.listen(Pool, "checkout", checked_out)


async def _main(url: str, name: str, tasks: int, every: int, after: float, apart: bool) -> None:
    logging.basicConfig(level=logging.INFO)
    counted: Counter[str] = Counter()
    if not url.startswith("redis"):
        _listen(counted)
    registry = Registry()
    for number in range(tasks):
        later = every * number / tasks if apart else 0.0
        _declare(registry, counted, f"task-{number}", Grid(every, after + later))
    scheduler = build_scheduler(registry=registry, store=url, node_id=name)
    await scheduler.start()

    async def answer() -> dict[str, Any]:
        return dict(counted)

    await serve(answer)


def main() -> None:
    """Rest."""
    asyncio.run(_main(**json.loads(sys.argv[1])))


if __name__ == "__main__":
    main()
