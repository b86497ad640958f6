"""Eight schedulers in one event loop over one store, in real time: each tick is started once."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path

import pytest
from tests.acceptance.cluster_node import Plan
from tests.acceptance.test_cluster_record import Record
from tests.support.waiting import until

from bgtasks import Every, Registry, background_task, build_scheduler, current_claim, current_run
from bgtasks.contracts import TaskStore
from bgtasks.records import RunQuery
from bgtasks.stores import task_store
from bgtasks.stores.tasks.memory import MemoryTaskStore

SCHEDULERS = 8
TASKS = 20
EVERY = 0.5
TICKS = 4


@pytest.fixture(params=["memory", pytest.param("sqlite", marks=pytest.mark.full)])
def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], TaskStore]:
    """What one more scheduler has of the store: the same object, or one of its own over the same file."""
    only = MemoryTaskStore()
    url = f"sqlite:///{tmp_path / 'tasks.db'}"
    return lambda: only if request.param == "memory" else task_store(url)


async def test_eight_schedulers_in_one_loop_start_each_tick_once(new_store: Callable[[], TaskStore]) -> None:
    begun = list[tuple[str, datetime, int, int, str]]()

    def registry_of(node: str) -> Registry:
        registry = Registry()

        def declare(task: str) -> None:
            @background_task(Every(EVERY, fixed_rate=True), scope="cluster", name=task, registry=registry)
            async def work() -> None:
                run, claim = current_run.get(), current_claim()
                assert run is not None
                assert claim is not None
                begun.append((task, run.due, claim.attempt, claim.check(), node))

        for number in range(TASKS):
            declare(f"task {number}")
        return registry

    def each_had_its_ticks() -> bool:
        had = Counter(task for task, *_ in begun)
        return len(had) == TASKS and min(had.values()) >= TICKS

    async with AsyncExitStack() as stack:
        look = new_store()
        await look.open()
        stack.push_async_callback(look.aclose)
        for number in range(SCHEDULERS):
            node = f"node {number}"
            await stack.enter_async_context(
                build_scheduler(registry=registry_of(node), store=new_store(), node_id=node, stall_after=None)
            )
        await until(f"each task had {TICKS} ticks", each_had_its_ticks)
        rows = await look.runs(RunQuery(limit=10_000))

    assert [tick for tick, count in Counter(each[:2] for each in begun).items() if count > 1] == []
    assert {attempt for _, _, attempt, *_ in begun} == {1}
    plan = Plan(look.name, "", "", tasks=TASKS, every=EVERY, takes=0.0)
    assert Record(plan, [], rows).amiss() == []
    tokens = defaultdict[str, list[int]](list)
    for task, _, _, token, _ in begun:
        tokens[task].append(token)
    assert all(each == sorted(set(each)) for each in tokens.values())
