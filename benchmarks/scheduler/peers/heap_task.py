"""The minimum by hand: one heap, one timer, an asyncio task for each fire.

No ids, names, events or limits.
"""

from __future__ import annotations

import asyncio
import heapq

from benchmarks.scheduler.peers import Func

__all__ = ["HeapTask", "make"]


class HeapTask:
    about = "asyncio, one heap and one timer, a task per fire"

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._origin = self._loop.time()
        self._heap: list[tuple[float, int, float, Func]] = []
        self._running: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, name: str, func: Func, interval: float, phase: float) -> None:
        self._heap.append((self._origin + phase, len(self._heap), interval, func))

    async def start(self) -> float:
        heapq.heapify(self._heap)
        self._timer = self._loop.call_at(self._heap[0][0], self._tick)
        return self._origin

    def _tick(self) -> None:
        heap, now = self._heap, self._loop.time()
        while heap[0][0] <= now:
            due, number, interval, func = heap[0]
            following = due + interval
            if following <= now:
                following += ((now - following) // interval + 1) * interval
            heapq.heapreplace(heap, (following, number, interval, func))
            task = self._loop.create_task(func())
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        self._timer = self._loop.call_at(heap[0][0], self._tick)

    def settle(self) -> dict[str, float]:
        return {}

    async def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


make = HeapTask
