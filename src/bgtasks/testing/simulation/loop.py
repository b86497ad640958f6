"""An asyncio event loop in which several nodes live at one virtual time, and each may be frozen or killed.

What a `VirtualLoop` has besides virtual time (sockets, signals, threads) it has not, so that an hour of a
cluster costs a second. A node is what a process would be: whatever runs in a context that has `NODE` set is
that node's, its callbacks and timers, and all of them stand still together. The order of what is ready at one
instant is drawn from a seed.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import threading
from asyncio import events
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar
from random import Random
from typing import Any, cast

__all__ = ["NODE", "Node", "SimulationLoop"]


class Node:
    """What a process would be: a clock, and callbacks that can be held or dropped all at once.

    Attributes:
        rate: How many seconds its clock counts in a true one.
        frozen: By how many causes it stands still; above zero none of its callbacks runs.
        frozen_for: True seconds for which it stood still, or blocked itself, so far.
        cost: True seconds that each of its callbacks takes.
        dead: It was killed: nothing of it will ever run.
    """

    __slots__ = (
        "_behind", "_held", "_local", "_since", "cost", "dead", "frozen", "frozen_at", "frozen_for", "name",
        "rate",
    )  # fmt: skip

    def __init__(self, name: str, rate: float = 1.0, offset: float = 0.0) -> None:
        self.name = name
        self.rate = rate
        self.cost = 0.0
        self.frozen = 0
        self.frozen_at = 0.0
        self.frozen_for = 0.0
        self.dead = False
        self._held: list[_Handle] = []
        self._since = 0.0
        self._local = offset
        self._behind = 0.0  # by how much the clock of its timers lags, since a suspend stops that one

    def local(self, true: float) -> float:
        """What its steady clock says at a true instant."""
        return self._local + (true - self._since) * self.rate

    def set_rate(self, true: float, rate: float) -> None:
        """From now on its clock runs so fast."""
        self._local, self._since, self.rate = self.local(true), true, rate


NODE: ContextVar[Node | None] = ContextVar("bgtasks_simulated_node", default=None)
"""The node that the calling code is part of; None for the world around the nodes."""


class SimulationLoop(asyncio.BaseEventLoop):
    """An event loop for simulated nodes.

    Args:
        random: Draws the order of what is ready at once; None for asyncio's own order.

    Attributes:
        now: The true time in seconds. Nodes see `time()`, which is their own.
        complaints: What asyncio had to say of exceptions that nobody looked after.
    """

    def __init__(self, random: Random | None = None) -> None:
        super().__init__()
        self.now = 0.0
        self.complaints: list[str] = []
        self.node: Node | None = None
        self._draw = None if random is None else random.random
        self._queue: list[_Handle] = []
        self._timers: list[tuple[float, float, int, _Handle]] = []
        self._count = 0
        self._blocked = 0.0

    # -- the face of an event loop -----------------------------------------------------------------

    def time(self) -> float:
        """Seconds of the calling node's own clock; of true time for the world."""
        node = self.node
        return self.now if node is None else node.local(self.now) - node._behind

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> _Handle:
        """As in any event loop."""
        if context is None:
            context = contextvars.copy_context()
        node = context.get(NODE)
        handle = _Handle(callback, args, context, node)
        if node is None or not node.dead:
            self._queue.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> _Handle:
        """As in any event loop: by the clock of the node in the context."""
        if context is None:
            context = contextvars.copy_context()
        node = context.get(NODE)
        if node is not None:
            delay /= node.rate
        return self._set(self.now + delay, _Handle(callback, args, context, node))

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> _Handle:
        """As in any event loop: by the clock of the node in the context."""
        if context is None:
            context = contextvars.copy_context()
        node = context.get(NODE)
        if node is not None:
            when = self.now + (when + node._behind - node.local(self.now)) / node.rate
        return self._set(when, _Handle(callback, args, context, node))

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Note what asyncio complains of, unless it is of a node that was killed."""
        task = context.get("task") or context.get("future")
        node = task.get_context().get(NODE) if isinstance(task, asyncio.Task) else self.node
        if node is None or not node.dead:
            self.complaints.append(f"{context.get('message')}: {context.get('exception')!r} {task!r}")

    # -- the world ---------------------------------------------------------------------------------

    def at(self, when: float, callback: Callable[..., object], *args: Any) -> _Handle:
        """Call back at a true instant, as part of the world."""
        return self._set(when, _Handle(callback, args, _WORLD, None))

    def after(self, delay: float, callback: Callable[..., object], *args: Any) -> _Handle:
        """Call back after so many true seconds, as part of the world."""
        return self._set(self.now + delay, _Handle(callback, args, _WORLD, None))

    def spawn[T](self, node: Node, call: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Begin a coroutine on a node."""
        context = Context()
        context.run(NODE.set, node)
        return asyncio.Task(call, loop=self, name=name, context=context)

    def run(self, until: float) -> None:
        """Let true time pass until then."""
        stop = self.at(until, _nothing)
        self._begin()
        try:
            self._turn(stop)
        finally:
            self._end()

    def close(self) -> None:
        """Drop all there is, without a word."""
        for task in asyncio.all_tasks(self):
            _dispose(task)
        self._queue.clear()
        self._timers.clear()
        super().close()

    # -- nodes -------------------------------------------------------------------------------------

    def freeze(self, node: Node) -> None:
        """Hold all that the node would do, as SIGSTOP does."""
        if not node.frozen:
            node.frozen_at = self.now
        node.frozen += 1

    def thaw(self, node: Node) -> None:
        """Let it go on, with all that has become due meanwhile."""
        if node.dead:
            return
        node.frozen -= 1
        if not node.frozen:
            node.frozen_for += self.now - node.frozen_at
            held, node._held = node._held, []
            self._queue.extend(held)

    def suspend(self, node: Node, seconds: float) -> None:
        """Hold it for so long, and let the clock of its timers stand still: its steady clock does not."""
        self.freeze(node)
        node._behind += seconds * node.rate
        self._timers[:] = [
            (due + seconds, tie, count, handle) if handle.node is node else (due, tie, count, handle)
            for due, tie, count, handle in self._timers
        ]
        heapq.heapify(self._timers)
        self.after(seconds, self.thaw, node)

    @property
    def is_ahead(self) -> bool:
        """Whether the calling node has blocked itself, and is ahead of the others."""
        return self._blocked > 0

    def block(self, seconds: float) -> None:
        """Let true time pass for the calling node, within what it does at the moment."""
        self._blocked += seconds
        self.now += seconds

    def kill(self, node: Node) -> None:
        """End the node at once, as SIGKILL does: nothing of it runs any more, and nobody hears of it."""
        node.dead = True
        caller, self.node = self.node, node
        try:
            for _ in range(3):  # what a coroutine awaits while it is closed is a task more
                for task in asyncio.all_tasks(self):
                    if task.get_context().get(NODE) is node:
                        _dispose(task)
        finally:
            self.node = caller
        node._held.clear()  # not before: a task that has not begun may be known to nobody else

    # -- turning -----------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._thread_id = threading.get_ident()
        events._set_running_loop(self)

    def _end(self) -> None:
        self._thread_id = cast(Any, None)
        events._set_running_loop(None)

    def _turn(self, stop: _Handle) -> None:
        timers, draw = self._timers, self._draw
        while True:
            queue = self._queue
            while queue:
                if draw is None or len(queue) == 1:
                    handle = queue.pop(0)
                else:
                    chosen = int(draw() * len(queue))
                    handle = queue[chosen]
                    queue[chosen] = queue[-1]
                    queue.pop()
                if not handle._cancelled:
                    self._perform(handle)
            due, _, _, handle = heapq.heappop(timers)
            if handle is stop:
                self.now = max(self.now, due)
                return
            if handle._cancelled:
                continue
            self.now = max(self.now, due)
            queue.append(handle)
            while timers and timers[0][0] <= self.now:
                if timers[0][3] is stop:
                    break
                handle = heapq.heappop(timers)[3]
                if not handle._cancelled:
                    queue.append(handle)

    def _perform(self, handle: _Handle) -> None:
        node = handle.node
        if node is None:
            self.node = None
            handle.run(self)
            return
        if node.frozen:
            node._held.append(handle)
            return
        if node.dead:
            return
        self.node = node
        handle.run(self)
        self.node = None
        if self._blocked or node.cost:
            self._busy(node)

    def _busy(self, node: Node) -> None:
        """The callback took its time: the node goes on after that, the others did meanwhile."""
        blocked, self._blocked = self._blocked, 0.0
        self.now -= blocked
        self.freeze(node)
        self.after(blocked + node.cost, self.thaw, node)

    def _set(self, due: float, handle: _Handle) -> _Handle:
        node = handle.node
        if node is None or not node.dead:
            self._count += 1
            tie = 0.0 if self._draw is None else self._draw()
            heapq.heappush(self._timers, (due, tie, self._count, handle))
        return handle


class _Handle:
    """What `call_soon` and the like return: cheaper than asyncio's, and a node's."""

    __slots__ = ("_args", "_callback", "_cancelled", "_context", "node")

    def __init__(
        self, callback: Callable[..., object], args: tuple[Any, ...], context: Context, node: Node | None
    ) -> None:
        self._callback = callback
        self._args = args
        self._context = context
        self._cancelled = False
        self.node = node

    def cancel(self) -> None:
        self._cancelled = True
        self._args = ()

    def cancelled(self) -> bool:
        return self._cancelled

    def run(self, loop: SimulationLoop) -> None:
        try:
            self._context.run(self._callback, *self._args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            loop.call_exception_handler({"message": "a callback failed", "exception": error})
            if loop.node is None:  # the world itself is at fault
                raise


_WORLD = Context()


def _nothing() -> None:
    """The end of a stretch of time."""


def _dispose(task: asyncio.Task[Any]) -> None:
    """Close a task's coroutine as if its process had gone, without the complaints of asyncio."""
    cast(Any, task)._log_destroy_pending = False
    task.set_name("of a killed node")
    coroutine = task.get_coro()
    for _ in range(20):
        try:
            cast(Any, coroutine).close()
        except (RuntimeError, ValueError):  # it awaits while it is being closed, or is running
            continue
        except BaseException:  # noqa: BLE001 - what it raises at its end, nobody is there to hear
            return
        return
