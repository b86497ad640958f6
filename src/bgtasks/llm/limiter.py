"""How many calls to one model may be under way: fewer when it says that there are too many.

Additive increase and multiplicative decrease, as TCP does it: halved by a 429, one more after a number of
successes, never above a hard cap. Whoever waits is served in the order of coming.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from bgtasks.clock import Clock

__all__ = ["Limiter"]

SUCCESSES = 10
"""Calls that have to succeed in a row before there is a slot more."""


class Limiter:
    """Slots for calls to one model, in one event loop.

    Args:
        most: Slots at most, which is what there are at first.
        clock: What a pause is measured by.
        sleep: Waits for so many seconds.

    Attributes:
        limit: Slots there are now.
        busy: Slots that are taken.
    """

    def __init__(self, most: int, clock: Clock, sleep: Callable[[float], Awaitable[object]]) -> None:
        self.limit = self._most = most
        self.busy = 0
        self._clock = clock
        self._sleep = sleep
        self._line: deque[asyncio.Future[None]] = deque()
        self._until = 0.0
        self._good = 0
        self._halvings = 0

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[int]:
        """A slot, once there is one and no pause; its value is for `refused`."""
        await self._take()
        try:
            while (left := self._until - self._clock.monotonic()) > 0:
                await self._sleep(left)
            yield self._halvings
        finally:
            self._give_back()

    def succeeded(self) -> None:
        """A call was served."""
        self._good += 1
        if self._good >= SUCCESSES and self.limit < self._most:
            self.limit += 1
            self._good = 0
            self._let_in()

    def refused(self, slot: int, pause: float) -> None:
        """There were too many calls when that one was made; nobody is to call for `pause` seconds.

        Those that were under way together halve the slots once, not once each.
        """
        self._good = 0
        self._until = max(self._until, self._clock.monotonic() + pause)
        if slot == self._halvings:
            self._halvings += 1
            self.limit = max(1, self.limit // 2)

    # -- the line --------------------------------------------------------------------------------

    async def _take(self) -> None:
        if self.busy < self.limit and not self._line:
            self.busy += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give_back()  # it was its turn just when it gave up
            else:
                with suppress(ValueError):  # it may be out of the line already
                    self._line.remove(turn)
            raise

    def _give_back(self) -> None:
        self.busy -= 1
        self._let_in()

    def _let_in(self) -> None:
        while self._line and self.busy < self.limit:
            turn = self._line.popleft()
            if not turn.done():
                self.busy += 1
                turn.set_result(None)
