"""What lies between nodes and a simulated Redis: messages that are late, lost, doubled, or out of order.

`SimulatedClient` stands where redis-py's client does, as far as `RedisLeaseStore` uses it, and raises what
that one raises.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

from redis import exceptions as redis_errors
from redis.commands.core import AsyncScript

from bgtasks.testing.simulation.loop import NODE, Node, SimulationLoop
from bgtasks.testing.simulation.server import SimulatedRedis

__all__ = ["Network", "Path", "SimulatedClient"]

SOCKET_TIMEOUT = 0.5


@dataclass(slots=True, eq=False)
class Path:
    """How messages fare between one node and the server it sees.

    Attributes:
        server: Which one it sees.
        cut_out: Nothing reaches the server.
        cut_in: Nothing comes back.
        loss: The share of messages that are lost, each way.
        latency: Seconds one way: from, to.
        drag: Seconds by which answers are later still.
        late: The share of messages that come late, by up to `lateness` seconds.
        doubled: The share of requests that arrive twice, the second time late.
        deaf: What is published does not arrive.
        generation: Counts up whenever connections are broken.
    """

    server: SimulatedRedis
    cut_out: bool = False
    cut_in: bool = False
    loss: float = 0.0
    latency: tuple[float, float] = (0.0001, 0.001)
    drag: float = 0.0
    late: float = 0.0
    lateness: float = 10.0
    doubled: float = 0.0
    deaf: bool = False
    generation: int = 0


@dataclass(slots=True, eq=False)
class Network:
    """All messages there are.

    Attributes:
        down: Servers at which nobody listens.
        hung: Servers that read nothing at the moment, and what waits for them.
        epoch: Counts up when all messages on their way are dropped.
        sent: Called with node and the message's words, before it is sent.
        applied: Called with server, node, the message's words and the answer.
    """

    loop: SimulationLoop
    random: Random
    paths: dict[str, Path] = field(default_factory=dict)
    down: set[int] = field(default_factory=set)
    hung: dict[int, list[Callable[[], None]]] = field(default_factory=dict)
    subscribers: dict[SimulatedPubSub, None] = field(default_factory=dict)
    epoch: int = 0
    messages: int = 0
    lost: int = 0
    sent: Callable[[Node, tuple[Any, ...]], object] | None = None
    applied: Callable[[SimulatedRedis, Node, tuple[Any, ...], Any], object] | None = None

    def path(self, node: Node) -> Path:
        """Where a node's messages go."""
        return self.paths[node.name]

    def delay(self, path: Path) -> float:
        """How long the next message takes."""
        least, most = path.latency
        delay = least + (most - least) * self.random.random()
        if path.late and self.random.random() < path.late:
            delay += path.lateness * self.random.random()
        return delay

    def drops(self, path: Path) -> bool:
        """Whether the next message is lost."""
        if path.loss and self.random.random() < path.loss:
            self.lost += 1
            return True
        return False

    def deliver(self, delay: float, callback: Callable[[], None]) -> None:
        """Do that after a while, unless messages are dropped before."""
        self.messages += 1
        self.loop.after(delay, self._arrive, self.epoch, callback)

    def _arrive(self, epoch: int, callback: Callable[[], None]) -> None:
        if epoch == self.epoch:
            callback()

    def at_server(self, server: SimulatedRedis, callback: Callable[[], None]) -> None:
        """A message has reached a server."""
        waiting = self.hung.get(id(server))
        if waiting is None:
            callback()
        else:
            waiting.append(callback)

    def hang(self, server: SimulatedRedis) -> None:
        """The server reads nothing."""
        self.hung.setdefault(id(server), [])

    def unhang(self, server: SimulatedRedis) -> None:
        """It reads all that has come meanwhile."""
        for callback in self.hung.pop(id(server), []):
            callback()

    def listen_to(self, server: SimulatedRedis) -> None:
        """Carry what it publishes."""
        server.published = lambda channel, message: self._publish(server, channel, message)

    def _publish(self, server: SimulatedRedis, channel: str, message: str) -> None:
        for subscriber in list(self.subscribers):
            if subscriber.server is server and subscriber.channel == channel:
                path = self.path(subscriber.node)
                if not (path.cut_in or path.deaf or self.drops(path)):
                    self.deliver(self.delay(path), lambda to=subscriber: to.hear(message))  # type: ignore[misc]

    def disconnect(self, path: Path) -> None:
        """Break the connections of whoever uses this path."""
        path.generation += 1
        for subscriber in list(self.subscribers):
            if self.path(subscriber.node) is path:
                subscriber.break_off()


class SimulatedClient:
    """A client of one node, as far as `RedisLeaseStore` uses one."""

    def __init__(self, network: Network, node: Node) -> None:
        self.connection_pool = self
        self._network = network
        self._node = node
        self._generation = -1  # of the connections in the pool; none yet

    def get_encoder(self) -> Any:
        """As a connection pool has it, for `AsyncScript`."""
        return _Encoder

    def register_script(self, body: str) -> AsyncScript:
        """As redis-py's client."""
        return AsyncScript(self, body)  # type: ignore[arg-type]

    def pubsub(self, **_: Any) -> SimulatedPubSub:
        """As redis-py's client."""
        return SimulatedPubSub(self._network, self._node)

    async def evalsha(self, sha: str, count: int, *arguments: Any) -> Any:
        """As redis-py's client."""
        return await self._send(("EVALSHA", sha, count, *arguments))

    async def script_load(self, body: Any) -> str:
        """As redis-py's client."""
        return str(await self._send(("SCRIPT LOAD", body)))

    async def aclose(self) -> None:
        """As redis-py's client."""
        self._generation = -1

    async def _send(self, words: tuple[Any, ...]) -> Any:
        network, loop = self._network, self._network.loop
        path = network.path(self._node)
        if 0 <= self._generation != path.generation:
            self._generation = -1  # found dead when it is used; the next command makes another
            raise redis_errors.ConnectionError("Connection closed by server.")
        if self._generation < 0:
            await connect(network, path)
            self._generation = path.generation
        if network.sent is not None:
            network.sent(self._node, words)
        answer: asyncio.Future[Any] = loop.create_future()
        server = path.server
        if path.cut_out or network.drops(path):
            times_out(network, answer)
        else:
            network.deliver(network.delay(path), lambda: self._arrived(server, words, path, answer))
            if path.doubled and network.random.random() < path.doubled:
                late = network.random.random() * path.lateness
                network.deliver(late, lambda: self._arrived(server, words, path, None))
        return await answer

    def _arrived(
        self, server: SimulatedRedis, words: tuple[Any, ...], path: Path, answer: asyncio.Future[Any] | None
    ) -> None:
        network = self._network

        def serve() -> None:
            if id(server) in network.down:
                return
            said = perform(server, words)
            if network.applied is not None:
                network.applied(server, self._node, words, said)
            if answer is None or answer.done():
                return
            if path.cut_in or network.drops(path):
                times_out(network, answer)
            else:
                network.deliver(network.delay(path) + path.drag, lambda: settle(answer, said))

        network.at_server(server, serve)


class SimulatedPubSub:
    """A subscription, as far as `RedisLeaseStore` uses one."""

    def __init__(self, network: Network, node: Node) -> None:
        self.node = node
        self.channel = ""
        self.server: SimulatedRedis | None = None
        self._network = network
        self._heard: list[dict[str, str | int]] = []
        self._broken = self._closed = False
        self._waiting: asyncio.Future[None] | None = None

    async def subscribe(self, channel: str) -> None:
        """As redis-py's."""
        path = self._network.path(self.node)
        await connect(self._network, path)
        self.channel, self.server = channel, path.server
        made = path.generation
        if not (path.cut_out or self._network.drops(path)):
            self._network.deliver(self._network.delay(path), lambda: self._subscribed(made))

    async def get_message(self, timeout: float | None = 0.0) -> dict[str, str | int] | None:
        """As redis-py's, with a timeout above zero."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while not self._heard and not self._broken:
                    self._waiting = self._network.loop.create_future()
                    await self._waiting
        if self._heard:
            return self._heard.pop(0)
        if self._broken:
            raise redis_errors.ConnectionError("Connection closed by server.")
        return None

    def _subscribed(self, made: int) -> None:
        path = self._network.path(self.node)
        if path.generation != made:
            self.break_off()
            return
        if self._closed:
            return
        self._network.subscribers[self] = None
        if not (path.cut_in or path.deaf or self._network.drops(path)):
            self._network.deliver(self._network.delay(path), lambda: self._hear("subscribe", 1))

    async def aclose(self) -> None:
        """As redis-py's."""
        self._closed = True
        self._network.subscribers.pop(self, None)

    def hear(self, message: str) -> None:
        """A message arrives."""
        self._hear("message", message)

    def _hear(self, kind: str, data: str | int) -> None:
        self._heard.append({"type": kind, "channel": self.channel, "data": data})
        self._wake()

    def break_off(self) -> None:
        """The connection is gone."""
        self._network.subscribers.pop(self, None)
        self._broken = True
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


class _Encoder:
    @staticmethod
    def encode(value: str) -> bytes:
        return value.encode()


async def connect(network: Network, path: Path) -> None:
    """Make a connection: there and back."""
    made: asyncio.Future[Any] = network.loop.create_future()
    if path.cut_out or path.cut_in or network.drops(path):
        times_out(network, made)
    elif id(path.server) in network.down:
        refused = redis_errors.ConnectionError("Error 111 connecting to redis:6379. Connection refused.")
        network.deliver(network.delay(path), lambda: settle(made, refused))
    else:
        there_and_back = network.delay(path) + network.delay(path)
        server = path.server
        network.deliver(there_and_back, lambda: network.at_server(server, lambda: settle(made, None)))
    await made


def perform(server: SimulatedRedis, words: tuple[Any, ...]) -> Any:
    """What the server answers: a value, or an exception."""
    try:
        if words[0] == "EVALSHA":
            return server.evalsha(words[1], words[2], *words[3:])
        if server.refuses is not None:
            return server.refuses
        body = words[1]
        return server.script_load(body.decode() if isinstance(body, bytes) else str(body))
    except redis_errors.RedisError as error:
        return error


def settle(answer: Any, said: Any) -> None:
    """An answer has arrived, if somebody waits for it still."""
    if answer.done():
        return
    if isinstance(said, redis_errors.RedisError):
        answer.set_exception(type(said)(*said.args))
        answer._log_traceback = False  # whoever asked may have been killed
    else:
        answer.set_result(said)


def times_out(network: Network, answer: asyncio.Future[Any]) -> None:
    """Nothing will come: what redis-py makes of that, if nobody gives up before."""
    node = NODE.get()
    wait = SOCKET_TIMEOUT if node is None else SOCKET_TIMEOUT / node.rate
    error = redis_errors.TimeoutError("Timeout reading from redis:6379")
    network.loop.after(wait, settle, answer, error)
