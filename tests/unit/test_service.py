"""A process around a scheduler takes over two signals, and gives them back."""

from __future__ import annotations

import asyncio
import os
import signal

from bgtasks import BackgroundScheduler, Supervision, TaskSupervisor
from bgtasks.service import Service, serve, stop_signal


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
