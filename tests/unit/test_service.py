"""A process around a scheduler takes over two signals, and gives them back."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable

import pytest
from services import agents_main, consolidation_main, inference_main

from bgtasks import BackgroundScheduler, Supervision, TaskSupervisor, tasks
from bgtasks.service import Service, serve, stop_signal
from bgtasks.spec import Spec


async def test_the_first_signal_asks_and_the_handlers_of_before_come_back() -> None:
    def mine(*_: object) -> None: ...

    before = signal.signal(signal.SIGTERM, mine)
    try:
        async with stop_signal() as asked:
            os.kill(os.getpid(), signal.SIGTERM)
            async with asyncio.timeout(10):
                await asked.wait()
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)


async def test_serving_ends_with_the_signal_and_names_nobody_when_all_ended() -> None:
    scheduler = BackgroundScheduler()
    running = asyncio.Event()

    async def work() -> None:
        running.set()
        await asyncio.sleep(3600)

    leading = asyncio.Event()

    async def lead() -> None:
        leading.set()
        await asyncio.sleep(3600)

    scheduler.register("work", work, 60)
    supervisor = TaskSupervisor()
    supervisor.register_task("lead", lead)
    service = Service(scheduler, Supervision({None: supervisor}, []))
    serving = asyncio.create_task(serve(service))
    async with asyncio.timeout(10):
        await running.wait()
        await leading.wait()
        os.kill(os.getpid(), signal.SIGTERM)
        assert await serving == ()
    assert not scheduler.running
    assert supervisor.snapshot().state == "stopped"


class TestTheServicesOfADeployment:
    """Every built-in task and worker is one service's, and only one's."""

    @pytest.mark.parametrize(
        ("mine", "names"),
        [
            (inference_main.mine, {"auto_kg_extraction", "agentic_kg_bulk_incremental_task"}),
            (consolidation_main.mine, {"kg_decay_task"}),
            (
                agents_main.mine,
                {
                    "embedding_worker",
                    "limbic_anchoring_task",
                    "scheduled_prompt_tick",
                    "scheduled_prompt_cleanup",
                },
            ),
        ],
        ids=["inference", "consolidation", "agents"],
    )
    def test_have_these(self, mine: Callable[[Spec], bool], names: set[str]) -> None:
        known = [getattr(tasks, name).__bgtasks_spec__ for name in tasks.__all__]
        assert {spec.name for spec in known if mine(spec)} == names
