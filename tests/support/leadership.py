"""Several supervisors around one lease, on virtual time, with a line to it that a test can spoil."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from random import Random
from types import TracebackType
from typing import Any, NamedTuple, Self

from bgtasks.contracts import Granted, Held, LeaseStore, Renewal
from bgtasks.errors import ResourceUnavailable
from bgtasks.events import Event
from bgtasks.lease import LeaseTimes
from bgtasks.stores.lease_memory import MemoryLeaseStore
from bgtasks.stores.lease_redis import RedisLeaseStore
from bgtasks.supervisor import TaskSupervisor, WorkerContext
from bgtasks.testing import VirtualClock

__all__ = [
    "KEY",
    "TIMES",
    "Call",
    "Cluster",
    "Fault",
    "Leases",
    "Line",
    "Node",
    "Span",
    "hangs",
    "ignores_cancellation",
    "in_memory",
    "in_redis",
    "loses_the_answer",
    "raises",
    "refuses",
]

KEY = "sg:leader:supervisor"
TIMES = LeaseTimes()

type Leases = Callable[[VirtualClock], Callable[[], LeaseStore]]
"""Makes what makes the store of each node, all of one lease."""

type Apply = Callable[[], Awaitable[Any]]
type Fault = Callable[[Line, Apply], Awaitable[Any]]
"""What becomes of a call: given what would carry it out, and the line, which tells when it is mended."""


def in_memory(clock: VirtualClock) -> Callable[[], LeaseStore]:
    """All nodes share one object."""
    store = MemoryLeaseStore(KEY, clock)
    return lambda: store


def in_redis(client: Any) -> Leases:
    """Each node has connections of its own to one server."""
    return lambda clock: lambda: RedisLeaseStore(client, KEY)


# -- faults --------------------------------------------------------------------------------------


async def refuses(line: Line, apply: Apply) -> Any:
    """The server is not there."""
    raise ResourceUnavailable("redis", "connection refused")


async def hangs(line: Line, apply: Apply) -> Any:
    """Nothing is applied, and no answer comes."""
    await line.mended.wait()
    raise ResourceUnavailable("redis", "connection reset")


async def loses_the_answer(line: Line, apply: Apply) -> Any:
    """It is applied, and no answer comes."""
    await apply()
    await line.mended.wait()
    raise ResourceUnavailable("redis", "connection reset")


async def ignores_cancellation(line: Line, apply: Apply) -> Any:
    """It is applied at once, and the answer comes when the line is mended, whoever cancels it."""
    answer = await apply()
    while not line.mended.is_set():
        with contextlib.suppress(asyncio.CancelledError):
            await line.mended.wait()
    return answer


def raises(error: BaseException) -> Fault:
    """It fails in a way that nobody foresaw."""

    async def fault(line: Line, apply: Apply) -> Any:
        raise error.with_traceback(None)  # which grows by what each call adds to it

    return fault


# -- the line of one node to the store -----------------------------------------------------------


class Call(NamedTuple):
    """One call of the store, and when it was made."""

    what: str
    at: float
    working: int


class Line:
    """A `LeaseStore` in front of another one.

    Attributes:
        fault: What becomes of every call, or of those that `only` names; None carries them out.
        calls: Those made so far.
    """

    def __init__(self, store: LeaseStore, clock: VirtualClock, working: Callable[[], int]) -> None:
        self.key = store.key
        self.calls: list[Call] = []
        self.fault: Fault | None = None
        self.only: frozenset[str] = frozenset()
        self.mended = asyncio.Event()
        self._store = store
        self._clock = clock
        self._working = working

    def spoil(self, fault: Fault, *only: str) -> None:
        """From now on calls fare so: those named, or all."""
        self.mended = asyncio.Event()
        self.fault, self.only = fault, frozenset(only)

    def mend(self) -> None:
        """From now on all is well; what hung ends."""
        self.fault = None
        self.mended.set()

    def times(self, what: str) -> list[float]:
        """When a call was made."""
        return [call.at for call in self.calls if call.what == what]

    async def acquire(self, owner: str, lease: float, lost: float) -> Granted | Held:
        """See `LeaseStore`."""
        answer: Granted | Held = await self._call("acquire", lambda: self._store.acquire(owner, lease, lost))
        return answer

    async def renew(self, owner: str, lease: float, not_after: float, quarantined: bool) -> Renewal:
        """See `LeaseStore`."""
        answer: Renewal = await self._call(
            "renew", lambda: self._store.renew(owner, lease, not_after, quarantined)
        )
        return answer

    async def release(self, owner: str, quarantined: bool) -> bool:
        """See `LeaseStore`."""
        answer: bool = await self._call("release", lambda: self._store.release(owner, quarantined))
        return answer

    async def look(self) -> Held | None:
        """See `LeaseStore`."""
        answer: Held | None = await self._call("look", self._store.look)
        return answer

    async def mint(self, owner: str, above: int) -> int:
        """See `LeaseStore`."""
        answer: int = await self._call("mint", lambda: self._store.mint(owner, above))
        return answer

    async def ask_to_resign(self, owner: str) -> None:
        """See `LeaseStore`."""
        await self._call("ask_to_resign", lambda: self._store.ask_to_resign(owner))

    async def released(self) -> None:
        """See `LeaseStore`."""
        await self._call("released", self._store.released)

    async def aclose(self) -> None:
        """See `LeaseStore`."""
        await self._call("aclose", self._store.aclose)

    async def _call(self, what: str, apply: Apply) -> Any:
        self.calls.append(Call(what, self._clock.monotonic(), self._working()))
        fault = self.fault if not self.only or what in self.only else None
        return await (apply() if fault is None else fault(self, apply))


# -- nodes ---------------------------------------------------------------------------------------


@dataclass(eq=False)
class Span:
    """A worker at work: from when to when, under which token."""

    node: str
    worker: str
    token: int
    began: float
    ended: float | None = None


class Node:
    """A supervisor, its line to the store, and what it said when."""

    def __init__(self, cluster: Cluster, name: str, line: Line, **options: Any) -> None:
        self.cluster = cluster
        self.name = name
        self.line = line
        self.told: list[tuple[float, Event]] = []
        options = {"random": Random(name), "store": line, **options}
        self.supervisor = TaskSupervisor(None, options.pop("node_id", name), clock=cluster.clock, **options)
        self.supervisor.bus.subscribe(lambda event: self.told.append((cluster.clock.monotonic(), event)))

    def work(self, name: str = "work", **options: Any) -> None:
        """Register a worker that works until it is cancelled."""

        async def worker(ctx: WorkerContext) -> None:
            with self.at_work(ctx, name):
                await asyncio.Event().wait()

        self.supervisor.register_task(name, worker, **options)

    @contextlib.contextmanager
    def at_work(self, ctx: WorkerContext, name: str = "work") -> Iterator[Span]:
        """Note that a worker works; two nodes at work at one time are noted as well."""
        cluster = self.cluster
        span = Span(self.name, name, ctx.token, cluster.clock.monotonic())
        cluster.overlaps += [
            (other, span) for other in cluster.spans if other.ended is None and other.node != self.name
        ]
        cluster.spans.append(span)
        try:
            yield span
        finally:
            span.ended = cluster.clock.monotonic()

    def of[E: Event](self, kind: type[E]) -> list[E]:
        """The events of one kind."""
        return [event for _, event in self.told if isinstance(event, kind)]

    def when(self, kind: type[Any]) -> list[float]:
        """When the events of one kind were."""
        return [at for at, event in self.told if isinstance(event, kind)]

    @property
    def spans(self) -> list[Span]:
        """When its workers worked."""
        return [span for span in self.cluster.spans if span.node == self.name]

    def working(self) -> int:
        """How many of its workers work at this moment."""
        return sum(span.ended is None for span in self.spans)

    def leads(self) -> bool:
        """What it says itself."""
        return self.supervisor.is_leader

    @property
    def state(self) -> str:
        """The state it shows."""
        return self.supervisor.snapshot().state


class Cluster:
    """Nodes that stand for one lease; all are shut down when the block ends.

    Attributes:
        overlaps: Pairs of workers that were at work at one time on two nodes. The block fails if there are
            any, unless `may_overlap`.
    """

    def __init__(self, clock: VirtualClock, leases: Leases = in_memory) -> None:
        self.clock = clock
        self.spans: list[Span] = []
        self.overlaps: list[tuple[Span, Span]] = []
        self.may_overlap = False
        self.nodes: dict[str, Node] = {}
        self.new_store = leases(clock)

    def node(self, name: str = "a", *, worker: bool = True, **options: Any) -> Node:
        """A node that is not started yet, with one worker called `work`."""
        line = Line(self.new_store(), self.clock, lambda: made.working())
        made = self.nodes[name] = Node(self, name, line, **options)
        if worker:
            made.work()
        return made

    async def start(self, *names: str, **options: Any) -> list[Node]:
        """Nodes of these names with one worker each, started in this order."""
        nodes = [self.node(name, **options) for name in names]
        for node in nodes:
            await node.supervisor.start()
            await self.clock.settle()
        return nodes

    @property
    def leaders(self) -> list[str]:
        """Who says that it leads."""
        return [node.name for node in self.nodes.values() if node.leads()]

    @property
    def at_work(self) -> list[str]:
        """On which nodes workers work."""
        return [node.name for node in self.nodes.values() if node.working()]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for node in self.nodes.values():
            node.line.mend()
        for node in self.nodes.values():
            await node.supervisor.shutdown()
        await self.clock.settle()
        if kind is None and not self.may_overlap:
            assert not self.overlaps
