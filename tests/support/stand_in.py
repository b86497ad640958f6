"""A stand-in for a model in a thread of its own, for tests of processes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.waiting import PATIENCE_S

from bgtasks.testing.model import ModelServer

__all__ = ["stand_in"]


@contextmanager
def stand_in(**given: Any) -> Iterator[ModelServer]:
    """One that answers while the block lasts; arguments as for `ModelServer`."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="a stand-in for a model")
    thread.start()
    server = ModelServer(**given)
    try:
        asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result(PATIENCE_S)
        try:
            yield server
        finally:
            asyncio.run_coroutine_threadsafe(server.close(), loop).result(PATIENCE_S)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE_S)
        loop.close()
