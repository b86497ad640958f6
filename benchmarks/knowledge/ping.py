"""A process that pings a server every millisecond: `python -m benchmarks.knowledge.ping '{"url": ...}'`.

Asked to begin it forgets what was; asked for what it saw it says how long answers took. It is a process of
its own, so that nothing counts but the server, and the machine that both share.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import redis

from benchmarks.claims.crew import Crew, serve

__all__ = ["Pings", "pings"]

EVERY = 0.001
"""Seconds from an answer to the next ping."""


class Pings:
    """What the process says of the server it pings."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew

    async def begin(self) -> None:
        """Forget what was."""
        await self._crew.ask(do="begin")

    async def seen(self) -> dict[str, float]:
        """How long the slowest answer took since, and 99 of a hundred at most, in milliseconds."""
        [said] = await self._crew.ask(do="seen")
        return {key: float(value) for key, value in said.items()}


@asynccontextmanager
async def pings(url: str) -> AsyncIterator[Pings]:
    """The server is pinged while the block lasts."""
    async with Crew("benchmarks.knowledge.ping", [{"url": url}]) as crew:
        yield Pings(crew)


class _Pinging:
    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url, socket_timeout=60)
        self._took: list[float] = []
        self._answered = threading.Condition()

    def forever(self) -> None:
        while True:
            began = time.perf_counter()
            self._client.ping()
            self._took.append(time.perf_counter() - began)
            with self._answered:
                self._answered.notify_all()
            time.sleep(EVERY)

    async def answer(self, do: str) -> dict[str, Any]:
        await asyncio.to_thread(self._next)  # the ping that is on its way may be the slowest of all
        if do == "begin":
            self._took = []
            return {}
        took = sorted(self._took) or [0.0]
        return {"worst_ms": took[-1] * 1000, "p99_ms": took[int(len(took) * 0.99)] * 1000}

    def _next(self) -> None:
        with self._answered:
            self._answered.wait()


def main() -> None:
    """Ping until stdin ends."""
    pinging = _Pinging(**json.loads(sys.argv[1]))
    threading.Thread(target=pinging.forever, daemon=True).start()
    asyncio.run(serve(pinging.answer))


if __name__ == "__main__":
    main()
