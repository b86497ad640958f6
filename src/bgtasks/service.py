"""A process around a scheduler: it runs until a signal asks it to stop, and stops in order."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bgtasks.scheduler import BackgroundScheduler

__all__ = ["serve", "stop_signal"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@asynccontextmanager
async def stop_signal() -> AsyncIterator[asyncio.Event]:
    """An event that SIGINT and SIGTERM set, while the block lasts; then the handlers are as before.

    A second signal does what it does by default: it ends a process whose stop takes too long.
    """
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    before = {each: signal.getsignal(each) for each in _SIGNALS}

    def ask() -> None:
        asked.set()
        for each in _SIGNALS:
            loop.remove_signal_handler(each)

    for each in _SIGNALS:
        loop.add_signal_handler(each, ask)
    try:
        yield asked
    finally:
        for each, handler in before.items():
            loop.remove_signal_handler(each)
            if handler is not None:  # None: one that was not installed from Python
                signal.signal(each, handler)


async def serve(scheduler: BackgroundScheduler) -> tuple[str, ...]:
    """Run `scheduler` until SIGINT or SIGTERM, then stop it; the names of runs that would not end.

    While one of those goes on, `asyncio.run` does not return: it waits for every task. A process that is to
    end all the same closes what it has open and calls `os._exit`.
    """
    async with stop_signal() as asked, scheduler:
        await asked.wait()
    return scheduler.unfinished
