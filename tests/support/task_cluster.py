"""Several schedulers on virtual time that share one store, and what may go wrong between them and it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any, NamedTuple

from tests.support.recording import Recorder

from bgtasks import (
    BackgroundScheduler,
    Registry,
    ResourceUnavailable,
    ScheduledJob,
    background_job,
    background_task,
    build_scheduler,
)
from bgtasks.claims import Claim, Jobs, current_claim
from bgtasks.claims.declared import job_id
from bgtasks.records import JobRow, RunQuery, RunRow, RunStatus
from bgtasks.run import current_run
from bgtasks.stores.tasks.memory import MemoryTaskStore
from bgtasks.testing import VirtualClock, run_virtual

__all__ = ["CALLS", "Cluster", "Node", "Reach", "Start"]

CALLS = (
    "open", "join", "beat", "describe", "leave", "sessions", "claim", "accept", "finish",
    "add", "change", "remove", "job", "jobs", "types", "offer", "withdraw",
    "answer", "run", "runs", "skip", "prune",
)  # fmt: skip
"""What a scheduler asks of a store."""

type Does = Callable[[], Awaitable[Any]]
type DoesJob = Callable[[ScheduledJob], Awaitable[Any]]


class Start(NamedTuple):
    """One start of a task, or of a job of a type.

    Attributes:
        at: When it began, in seconds since the beginning.
        job: What it was given, if it was added at run time.
    """

    task: str
    due: datetime
    node: str
    token: int
    attempt: int
    at: float
    job: ScheduledJob | None = None


class Reach:
    """A store as one node reaches it.

    Attributes:
        down: Calls fail at once.
        hangs: Calls are neither applied nor answered.
        deaf: Names of calls that are applied, and whose answer is lost; `times` of each.
        delay: Seconds that each call takes to reach the store.
        slow: Seconds that each answer takes on its way back.
        calls: The names of the calls that were made.
    """

    def __init__(self, store: MemoryTaskStore) -> None:
        self._store = store
        self.name = store.name
        self.down = self.hangs = False
        self.deaf: dict[str, int] = {}
        self.delay: dict[str, float] = {}
        self.slow: dict[str, float] = {}
        self.calls: list[str] = []

    def cut(self) -> None:
        """The node is cut off from now on."""
        self.down = True

    def mend(self) -> None:
        """All is well again."""
        self.down = self.hangs = False
        for each in (self.deaf, self.delay, self.slow):
            each.clear()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append(name)
            if self.hangs:
                await asyncio.Event().wait()
            if self.down:
                raise ResourceUnavailable("store", "connection refused")
            if name in self.delay:
                await asyncio.sleep(self.delay[name])
            answer = await method(*args, **kwargs)
            if self.deaf.get(name, 0):
                self.deaf[name] -= 1
                raise ResourceUnavailable("store", "the answer was lost")
            if name in self.slow:
                await asyncio.sleep(self.slow[name])
            return answer

        return call


@dataclass
class Node:
    """One process of the cluster."""

    name: str
    scheduler: BackgroundScheduler
    reach: Reach
    heard: Recorder

    @property
    def jobs(self) -> Jobs:
        return self.scheduler.jobs

    async def start(self) -> None:
        await self.scheduler.start()

    async def stop(self, drain: float = 0.0) -> None:
        await self.scheduler.stop(drain)


class Cluster:
    """Nodes that share one store, and one ledger of what was started.

    Attributes:
        ledger: Each start of a task, in order.
        going: How many runs of each task, or of each job by its id, are in progress.
        met: Tasks and jobs of which two runs were in progress at once.
    """

    def __init__(self, clock: VirtualClock | None = None, names: str = "abc", **options: Any) -> None:
        self.clock = clock or VirtualClock()
        self.begun = self.clock.now()
        self.store = MemoryTaskStore(self.clock)
        self.ledger: list[Start] = []
        self.going: dict[str, int] = {}
        self.met: list[str] = []
        self.claims: list[Claim] = []
        self._options = options
        self._own_options: dict[str, dict[str, Any]] = {}
        self._registries: dict[str, Registry] = {}
        self.nodes: dict[str, Node] = {}
        for name in names:
            self.add(name)

    def __getattr__(self, name: str) -> Node:
        try:
            return self.nodes[name]
        except KeyError:
            raise AttributeError(name) from None

    def add(self, name: str) -> Node:
        """One more node, or one anew after its process ended; with the tasks of `task` for it."""
        self._registries[name] = Registry()
        return self.process(name)

    def equip(self, name: str, **options: Any) -> Node:
        """A node whose scheduler is built with these arguments too, from now on."""
        self._own_options[name] = options
        return self.process(name)

    def process(self, name: str) -> Node:
        """A new process of a node: nothing is left of the old one but what it declares."""
        reach = Reach(self.store)
        scheduler = build_scheduler(
            registry=self._registries[name],
            store=reach,
            node_id=name,
            clock=self.clock,
            random=Random(name),
            **self._options | self._own_options.get(name, {}),
        )
        self.nodes[name] = Node(name, scheduler, reach, Recorder(scheduler))
        return self.nodes[name]

    def task(
        self, name: str, trigger: Any, does: Does | float | None = None, *, on: str = "", **options: Any
    ) -> None:
        """Declare a cluster task on all nodes, or on these; it takes so many seconds, or does that."""
        for node in on or list(self.nodes):
            registry = self._registries[node]
            registry_of = {"registry": registry, "scope": "cluster", "name": name, **options}
            background_task(trigger, **registry_of)(self._body(name, node, does))
            self.process(node)

    def job_type(
        self, job_type: str, does: DoesJob | float | None = None, *, on: str = "", **options: Any
    ) -> None:
        """Declare on all nodes, or on these, what runs the jobs of a type."""

        def body_on(node: str) -> Any:
            async def body(job: ScheduledJob) -> Any:
                return await self._begun(job_type, node, does, job)

            return body

        for node in on or list(self.nodes):
            background_job(job_type, registry=self._registries[node], **options)(body_on(node))
            self.process(node)

    def _body(self, name: str, node: str, does: Does | float | None) -> Any:
        async def body() -> Any:
            return await self._begun(name, node, does)

        return body

    async def _begun(self, name: str, node: str, does: Any, job: ScheduledJob | None = None) -> Any:
        run, claim = current_run.get(), current_claim()
        assert run is not None
        token, attempt = (0, 1) if claim is None else (claim.token, claim.attempt)
        if claim is not None:
            self.claims.append(claim)
        self.ledger.append(Start(name, run.due, node, token, attempt, self.now, job))
        whose = name if job is None else str(job.id)
        self.going[whose] = self.going.get(whose, 0) + 1
        if self.going[whose] > 1:
            self.met.append(whose)
        try:
            if callable(does):
                return await (does() if job is None else does(job))
            if does is not None:
                await asyncio.sleep(does)
        finally:
            self.going[whose] -= 1

    # -- what happens ----------------------------------------------------------------------------

    @property
    def now(self) -> float:
        """Seconds since the beginning."""
        return round(self.clock.monotonic(), 3)

    def at(self, seconds: float) -> datetime:
        """The wall instant so many seconds after the beginning."""
        return self.begun + timedelta(seconds=seconds)

    def run(self, main: Callable[[], Any]) -> None:
        """Run `main` on virtual time, and stop what is left of the nodes."""

        async def body(_: VirtualClock) -> None:
            try:
                await main()
            finally:
                for node in list(self.nodes.values()):
                    node.reach.mend()
                    await node.stop()

        run_virtual(body, self.clock)

    def play(self, seconds: float, on: str = "") -> None:
        """Start the nodes, let time pass, and stop them."""

        async def main() -> None:
            await self.start(on)
            await self.clock.advance(seconds)
            await self.stop(on)

        self.run(main)

    async def start(self, on: str = "") -> None:
        """Start these nodes, or all."""
        for name in on or list(self.nodes):
            await self.nodes[name].start()

    async def stop(self, on: str = "") -> None:
        """Stop these nodes, or all."""
        for name in on or list(self.nodes):
            await self.nodes[name].stop()

    async def kill(self, name: str) -> Node:
        """End a process without a word to the store; what takes its place is not started."""
        node = self.nodes[name]
        node.reach.cut()
        await node.stop()
        return self.process(name)

    # -- what is seen ----------------------------------------------------------------------------

    def starts(self, task: str) -> list[Start]:
        """The starts of one task."""
        return [start for start in self.ledger if start.task == task]

    def times(self, task: str) -> list[float]:
        """When each began, in seconds since the beginning."""
        return [start.at for start in self.starts(task)]

    def dues(self, task: str) -> list[datetime]:
        """The instant that each was for."""
        return [start.due for start in self.starts(task)]

    def events[E](self, kind: type[E]) -> list[E]:
        """The events of one kind, of all nodes as they are now."""
        return [event for node in self.nodes.values() for event in node.heard.of(kind)]

    async def runs(self, task: str, *statuses: RunStatus) -> list[RunRow]:
        """The runs of one task that are kept, the first to be made first."""
        found: Sequence[RunRow] = await self.store.runs(
            RunQuery(job_type=task, statuses=statuses, limit=10_000)
        )
        return list(reversed(found))

    async def row(self, task: str) -> JobRow:
        """The job of a task as it is kept."""
        row = await self.store.job(job_id(task))
        assert row is not None
        return row
