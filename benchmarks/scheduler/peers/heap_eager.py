"""The same heap with eager tasks: a job that never waits ends before the loop hears of it. The limit."""

from __future__ import annotations

import asyncio
import heapq

from benchmarks.scheduler.peers.heap_task import HeapTask

__all__ = ["make"]


class HeapEager(HeapTask):
    about = "asyncio, one heap and one timer, an eager task per fire"

    def _tick(self) -> None:
        heap, now = self._heap, self._loop.time()
        while heap[0][0] <= now:
            due, number, interval, func = heap[0]
            following = due + interval
            if following <= now:
                following += ((now - following) // interval + 1) * interval
            heapq.heapreplace(heap, (following, number, interval, func))
            task = asyncio.Task(func(), loop=self._loop, eager_start=True)
            if not task.done():
                self._running.add(task)
                task.add_done_callback(self._running.discard)
        self._timer = self._loop.call_at(heap[0][0], self._tick)


make = HeapEager
