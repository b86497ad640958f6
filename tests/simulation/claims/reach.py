"""What lies between the nodes and their one store: calls that are late, lost, doubled, applied and not heard.

A call is a message to the server and an answer back. The server applies it in one instant, wherever the
caller is by then: it may have given up, be frozen, or be dead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from dataclasses import dataclass, field
from random import Random
from typing import Any

from bgtasks.contracts import TaskStore
from bgtasks.errors import BgTasksError, ResourceUnavailable
from bgtasks.testing.simulation import Node, SimulationLoop

__all__ = ["Reach", "Server", "Way"]

TIMEOUT_S = 2.0
"""Seconds after which a store says that it got no answer."""


@dataclass(slots=True, eq=False)
class Way:
    """How the calls of one node fare.

    Attributes:
        cut_out: Nothing reaches the server.
        cut_in: Nothing comes back.
        loss: The share of messages that are lost, each way.
        latency: Seconds one way: from, to.
        drag: Seconds by which answers are later still.
        late: The share of requests that come late, by up to `lateness` seconds.
        doubled: The share of requests that arrive twice, the second time up to `lateness` later.
        next: What happens to the next call of a name: a function that is told of it on its arrival, once.
    """

    cut_out: bool = False
    cut_in: bool = False
    loss: float = 0.0
    latency: tuple[float, float] = (0.0003, 0.003)
    drag: float = 0.0
    late: float = 0.0
    doubled: float = 0.0
    lateness: float = 10.0
    next: dict[str, Callable[[], bool]] = field(default_factory=dict)

    def heal(self) -> None:
        """All is well again."""
        whole = Way()
        for name in self.__slots__:
            setattr(self, name, getattr(whole, name))


type Applied = Callable[[str, str, tuple[Any, ...], Any, Any], None]


class Server:
    """The store that all nodes share, and the instant at which each call is applied.

    Args:
        store: The reference, or one that runs scripts. No call of it may wait for anything.
        applied: Called with node, name of the call, its arguments, the answer, and the job as it was before,
            if it may be changed.

    Attributes:
        down: Nobody listens.
        hung: Calls that have arrived while it does nothing; None while it serves.
        epoch: Counts up when all that is on its way is lost.
    """

    def __init__(self, loop: SimulationLoop, random: Random, store: TaskStore, applied: Applied) -> None:
        self.loop = loop
        self.random = random
        self.store = store
        self.down = False
        self.hung: list[Callable[[], None]] | None = None
        self.epoch = 0
        self.calls = 0
        self._applied = applied

    def ask(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """What the store answers at this instant, to the world."""
        return self.now(getattr(self.store, name)(*args, **kwargs))

    def now[T](self, call: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine that waits for nothing."""
        task = asyncio.Task(call, loop=self.loop, name="at the store", context=Context(), eager_start=True)
        assert task.done(), "a store in a simulation must not wait"
        return task.result()

    def apply(self, node: str, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Carry out a call; its answer, or the error."""
        self.calls += 1
        said: Any
        before = self.ask("job", args[0].id) if name == "change" else None
        try:
            said = self.ask(name, *args, **kwargs)
        except BgTasksError as error:
            said = error
        self._applied(node, name, args, said, before)
        return said

    def arrives(self, carry_out: Callable[[], None]) -> None:
        """A call has come to the server."""
        if self.hung is None:
            carry_out()
        else:
            self.hung.append(carry_out)

    def goes_on(self) -> None:
        """It carries out all that has come meanwhile."""
        waiting, self.hung = self.hung or [], None
        for each in waiting:
            each()


class Reach:
    """The store as one process of one node reaches it."""

    def __init__(self, server: Server, node: Node, way: Way) -> None:
        self.name = server.store.name
        self._server = server
        self._node = node
        self._way = way

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any, **kwargs: Any) -> Any:
            return await self._call(name, args, kwargs)

        return call

    async def aclose(self) -> None:
        """As a store's."""

    async def _call(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        server, way, loop = self._server, self._way, self._server.loop
        answer: asyncio.Future[Any] = loop.create_future()
        patience = loop.call_later(
            TIMEOUT_S, settle, answer, ResourceUnavailable("store", "no answer in time")
        )
        if not way.cut_out and not self._drops():
            late = way.lateness * server.random.random() if server.random.random() < way.late else 0.0
            self._send(self._delay() + late, name, args, kwargs, answer)
            if server.random.random() < way.doubled:
                self._send(way.lateness * server.random.random(), name, args, kwargs, None)
        try:
            return await answer
        finally:
            patience.cancel()

    def _send(
        self,
        delay: float,
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        answer: asyncio.Future[Any] | None,
    ) -> None:
        server, epoch = self._server, self._server.epoch

        def arrived() -> None:
            if epoch != server.epoch:
                return
            if server.down:
                self._answer(answer, ResourceUnavailable("store", "connection refused"))
            else:
                server.arrives(carry_out)

        def carry_out() -> None:
            if epoch == server.epoch:
                self._answer(answer, server.apply(self._node.name, name, args, kwargs), name)

        server.loop.after(delay, arrived)

    def _answer(self, answer: asyncio.Future[Any] | None, said: Any, name: str = "") -> None:
        way, server, epoch = self._way, self._server, self._server.epoch
        if answer is None:
            return
        happens = way.next.pop(name, None)
        if (happens is not None and happens()) or way.cut_in or self._drops():
            return

        def heard() -> None:
            if epoch == server.epoch:
                settle(answer, said)

        server.loop.after(self._delay() + way.drag, heard)

    def _delay(self) -> float:
        least, most = self._way.latency
        return least + (most - least) * self._server.random.random()

    def _drops(self) -> bool:
        return self._way.loss > 0 and self._server.random.random() < self._way.loss


def settle(answer: asyncio.Future[Any], said: Any) -> None:
    """An answer has come, if somebody waits for it still."""
    if answer.done():
        return
    if isinstance(said, BgTasksError):
        answer.set_exception(said)
        answer._log_traceback = False  # whoever asked may be dead
    else:
        answer.set_result(said)
