"""Starting and stopping, in whatever order and from wherever they are asked for.

`start` and `stop` may be called at once, again, from inside a run, from a caller that is cancelled, and
after the event loop was closed under a running scheduler. The last call decides what holds in the end.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from bgtasks.clock import Clock, read
from bgtasks.dispatcher import Dispatcher
from bgtasks.errors import BgTasksError
from bgtasks.events import EventBus, SchedulerStopped
from bgtasks.stall import StallWatch

if TYPE_CHECKING:
    from bgtasks.claims import Desk

__all__ = ["Lifecycle"]

LEAST = 0.5
"""Seconds that saying goodbye to a store may take, whatever the stop took."""


class Lifecycle:
    """Opens and closes a dispatcher in the event loop it is started in.

    A stop is a written sequence: admit nothing more, let runs end for a while, cancel them, cancel again
    those that swallowed it, name those that would not end.
    """

    def __init__(
        self,
        bus: EventBus,
        clock: Clock,
        dispatcher: Dispatcher,
        watch: StallWatch | None,
        desk: Desk | None = None,
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._dispatcher = dispatcher
        self._watch = watch
        self._desk = desk
        self.loop: asyncio.AbstractEventLoop | None = None
        self._context = contextvars.Context()
        self._stopping: asyncio.Task[None] | None = None
        self._hurry: asyncio.Future[None] | None = None
        self._intention = 0
        self._end: AsyncGenerator[None] | None = None

    @property
    def running(self) -> bool:
        """Whether it is started and not yet told to stop."""
        return self.loop is not None and self._stopping is None and not self.loop.is_closed()

    async def start(self, stop_timeout: float) -> bool:
        """Open the dispatcher; False if it is open, or if a later call decided otherwise.

        If the host ends the event loop as `asyncio.run` does, without a stop, it is stopped then.

        Raises:
            BgTasksError: It is open in another event loop that is still open.
        """
        loop = asyncio.get_running_loop()
        if self.loop is not None and self.loop is not loop:
            if not self.loop.is_closed():
                raise BgTasksError("this scheduler runs in another event loop: stop it there first")
            self._forget_loop()
        self._intention += 1
        intention = self._intention
        await self._stopped()
        if self.loop is not None or self._intention != intention:
            return False
        from bgtasks.telemetry import attach_default  # composition: loads structlog, at start only

        attach_default(self._bus)
        self.loop = loop
        self._context = contextvars.copy_context()
        try:
            self._dispatcher.open(loop, self._context, read(self._clock))
        except BaseException:  # a listener, or a trigger of the host's, interrupted
            self.loop = None
            self._close()
            raise
        if self._watch is not None:
            self._watch.start(loop, self._context)
        if self._desk is not None:
            self._desk.open(loop, self._context)
        self._end = self._loop_ends(stop_timeout)
        with suppress(StopIteration):  # its first step: from now on asyncio knows of it
            self._end.asend(None).send(None)
        return True

    async def _loop_ends(self, timeout: float) -> AsyncGenerator[None]:
        """Stop when the host ends its event loop: asyncio cancels all tasks, then closes such generators.

        Without it the timer would go on in between, and what it began would be destroyed with the loop.
        """
        try:
            yield
        finally:
            if self._end is not None:
                self._end = None
                await self.stop(0.0, timeout)

    async def stop(self, drain: float, timeout: float) -> None:
        """Close the dispatcher and see its runs end.

        Raises:
            BgTasksError: It is open in another event loop that is still open.
        """
        self._intention += 1
        if self.loop is None:
            return
        if self.loop is not asyncio.get_running_loop():
            if not self.loop.is_closed():
                raise BgTasksError("this scheduler runs in another event loop: stop it there")
            self._forget_loop()
            return
        if self._stopping is None:
            self._hurry = self.loop.create_future()
            self._context.copy().run(self._close)  # now: a tick of this very turn would still begin a run
            # In the scheduler's context, since a run may be what calls this; and not through the host's task
            # factory, since an eager one may end it before it is known here.
            self._stopping = asyncio.Task(
                self._stop(drain, timeout, asyncio.current_task()),
                loop=self.loop,
                name="bgtasks:stop",
                context=self._context.copy(),
            )
            self._stopping.add_done_callback(self._stop_ended, context=self._context.copy())
        if not drain and self._hurry is not None and not self._hurry.done():
            self._hurry.set_result(None)
        await self._stopped()

    async def _stopped(self) -> None:
        """Wait for the end of a stop in progress, which goes on if whoever waits is cancelled."""
        stopping = self._stopping
        if stopping is not None:
            await asyncio.wait((stopping,))
            if not stopping.cancelled():  # by a host that cancels whatever it finds
                stopping.result()

    async def _stop(self, drain: float, timeout: float, caller: asyncio.Task[Any] | None) -> None:
        began = self._clock.monotonic()
        try:
            await self._drain(drain, caller)
            for _ in range(2):  # a run that swallowed the first request gets a second one
                self._dispatcher.cancel_all()
                if pending := self._dispatcher.in_progress():
                    await asyncio.wait(pending, timeout=timeout / 2)
            await self._take_leave(timeout - (self._clock.monotonic() - began))
        finally:
            self.loop = self._stopping = None
        self._dispatcher.outages.clear()
        self._bus.emit(SchedulerStopped(self._dispatcher.unfinished, self._clock.monotonic() - began))

    async def _take_leave(self, seconds: float) -> None:
        """Tell a store how the last runs ended."""
        if self._desk is not None:
            await self._desk.close(max(LEAST, seconds))

    def _stop_ended(self, task: asyncio.Task[None]) -> None:
        """If a host that ends its event loop cancelled the stop, there is no time to wait for anything."""
        if task.cancelled() and (self._stopping is task or self.loop is None):  # else it was started again
            self.loop = self._stopping = None
            self._close()
            self._dispatcher.cancel_all()
            if self._desk is not None:
                self._desk.forget()

    def _close(self) -> None:
        end, self._end = self._end, None
        if end is not None:
            with suppress(StopIteration):
                end.aclose().send(None)
        self._dispatcher.close()
        if self._watch is not None:
            self._watch.stop()

    async def _drain(self, seconds: float, caller: asyncio.Task[Any] | None) -> None:
        """Wait until the runs of tasks have ended, for so long, or until somebody is in a hurry.

        A run that asks for the stop waits for it, so it is not waited for.
        """
        assert self._hurry is not None
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while not self._hurry.done():
            pending = [task for task in self._dispatcher.in_progress(workers=False) if task is not caller]
            left = until - loop.time()
            if not pending or left <= 0:
                return
            waited: list[asyncio.Future[Any]] = [*pending, self._hurry]
            await asyncio.wait(waited, timeout=left, return_when=asyncio.FIRST_COMPLETED)

    def _forget_loop(self) -> None:
        """Let go of an event loop that was closed under a running scheduler."""
        self.loop = self._stopping = None
        self._close()
        self._dispatcher.forget()
        if self._desk is not None:
            self._desk.forget()
