"""A node of the cluster through all its restarts, and what its tasks do."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING, Any

from tests.simulation.claims.observer import Work
from tests.simulation.claims.reach import Reach, Way
from tests.simulation.claims.workload import Kind

from bgtasks.claims import current_claim
from bgtasks.errors import BgTasksError
from bgtasks.events import EventBus
from bgtasks.outcomes import Deferred
from bgtasks.run import current_run
from bgtasks.scheduler import BackgroundScheduler
from bgtasks.spec import Scope, TaskSpec
from bgtasks.telemetry.logs import LogListener
from bgtasks.testing.simulation import Node, NodeClock
from bgtasks.wiring import Decision, Wired

if TYPE_CHECKING:
    from tests.simulation.claims.cluster import Cluster

__all__ = ["Member"]

STOP_S = 8.0
"""Seconds that a stop may take."""

ANSWERED_S = 90.0
"""Seconds in which somebody who asks for a run hears of it, when nothing is broken."""

SET_S = 20.0
"""Seconds in which a node knows that the clock of the server was set, or has begun anew."""

BEAT_S = 12.0
"""Seconds for which a node goes by what a beat has told it of the server's time."""

GRAIN_S = 0.005
"""By how much a run may begin early though clocks go alike: instants are rounded on their way."""

EARLY_S = 0.6
"""By how much if a node's clock has just been slewed: clocks differ by 5 % of what a beat is good for."""


class Member:
    """A node of the cluster, through all its restarts.

    Attributes:
        version: Which code it has.
        stubborn_until: Until when its tasks swallow their cancellation.
        wakes: When the machine wakes that sleeps at present.
    """

    def __init__(self, cluster: Cluster, index: int) -> None:
        self.name = f"n{index}"
        self.cluster = cluster
        self.life = 0
        self.node = Node(self.name)
        self.node.dead = True
        self.way = Way()
        self.version = 0
        self.stubborn_until = self.wakes = float("-inf")
        self.block = 0.0
        self.scheduler: BackgroundScheduler | None = None
        self.clock: NodeClock | None = None
        self.asks: dict[int, tuple[str, float]] = {}
        self._stopping = False
        self._asked = 0

    @property
    def up(self) -> bool:
        """Whether its process lives."""
        return not self.node.dead

    @property
    def trusts(self) -> str | None:
        """The session that its process trusts at this moment."""
        desk = None if self.scheduler is None else self.scheduler._desk
        return desk.session.id if desk is not None and desk.session.holds else None

    # -- its process -----------------------------------------------------------------------------

    def boot(self) -> None:
        """A new process, of the code that is deployed."""
        if self.up:
            return
        cluster = self.cluster
        self.life += 1
        self.version = cluster.version
        random = Random(f"{cluster.seed}:{self.name}:{self.life}")
        rate = 1 + cluster.skew * random.uniform(-1, 1)
        self.node = Node(self.name, rate, offset=random.uniform(0, 1e6))
        self.node.set_rate(cluster.loop.now, rate)
        self._stopping = False
        cluster.note(f"{self.name} boots with version {self.version}")
        self._make(random)
        self._spawn(self._start(), "start")

    def kill(self) -> None:
        """kill -9."""
        if not self.up:
            return
        self.cluster.note(f"{self.name} is gone")
        scheduler, self.scheduler = self.scheduler, None
        if scheduler is not None and (end := scheduler._lifecycle._end) is not None:
            scheduler._lifecycle._end = None
            with suppress(StopIteration):  # else its generator would go on at its collection
                end.aclose().send(None)
        self.cluster.loop.kill(self.node)
        self.cluster.observer.dies(self.node)
        self.asks.clear()

    def stop(self, drain: float = 0.0, *, then_boots: bool = True, after: float = 0.0) -> None:
        """SIGTERM: an orderly stop, and the process is gone; and a new one."""
        if self.up and not self._stopping:
            self._stopping = True
            self._spawn(self._stop(drain, then_boots, after), "stop")

    def heal(self) -> None:
        """All is well again."""
        self.way.heal()
        self.stubborn_until, self.block, self.node.cost = float("-inf"), 0.0, 0.0
        self.boot()

    def run_now(self, kind: Kind) -> None:
        """Somebody asks this node for a run."""
        if self.up and not self._stopping:
            self._spawn(self._ask(kind), "ask")

    def _spawn(self, call: Any, what: str) -> None:
        self.cluster.loop.spawn(self.node, call, f"{self.name}:{what}")

    def _make(self, random: Random) -> None:
        cluster = self.cluster
        bus = EventBus()
        bus.subscribe(_Quiet())
        self.clock = NodeClock(cluster.loop, self.node, wall=random.uniform(-2, 2))
        prefix, count = f"{self.name}.{self.life}", iter(range(1, 1_000_000))
        scheduler = BackgroundScheduler(
            clock=self.clock,
            bus=bus,
            random=random,
            stop_timeout=STOP_S,
            stall_after=None,
            new_run_id=lambda: f"{prefix}-{next(count)}",
            store=Reach(cluster.server, self.node, self.way),
            node_id=self.name,
        )
        for kind in cluster.tasks:
            spec = TaskSpec(
                name=kind.name,
                func=self._body(kind, self.node),
                trigger=kind.trigger(self.version),
                initial_delay=kind.initial_delay,
                policy=kind.policy,
                scope=Scope.CLUSTER,
            )
            scheduler.adopt(spec, Wired({}, spec.trigger), Decision(kind.name))
        self.scheduler = scheduler

    async def _start(self) -> None:
        assert self.scheduler is not None
        await self.scheduler.start()

    async def _stop(self, drain: float, then_boots: bool, after: float) -> None:
        assert self.scheduler is not None
        node, cluster = self.node, self.cluster
        cluster.note(f"{self.name} stops")
        await self.scheduler.stop(drain)
        cluster.note(f"{self.name} has stopped")
        me = asyncio.current_task()
        await asyncio.sleep(2.5)  # calls that were left behind give up
        left = [
            task.get_name()
            for task in asyncio.all_tasks()
            if task is not me and _of(task, node) and not task.get_name().startswith(f"{self.name}:")
        ]
        if left and not any(work.node is node for work in cluster.observer.works):
            cluster.observer.violated("noise", cluster.loop.now, f"{self.name} leaves {sorted(left)}")
        cluster.loop.after(0.0, self._gone, node, then_boots, after)

    def _gone(self, node: Node, then_boots: bool, after: float) -> None:
        if self.node is node:
            self.kill()
            if then_boots:
                self.cluster.lasting(after, self.boot)

    async def _ask(self, kind: Kind) -> None:
        assert self.scheduler is not None
        cluster, node = self.cluster, self.node
        self._asked += 1
        number = self._asked
        self.asks[number] = (kind.name, cluster.loop.now)
        cluster.note(f"{self.name} is asked for {kind.name}")
        try:
            outcome = await self.scheduler.run_now(kind.name)
        except BgTasksError as error:
            outcome = error  # type: ignore[assignment]
        if not node.dead:
            self.asks.pop(number, None)
            cluster.note(f"{self.name} answers {kind.name}: {outcome}")

    def is_well(self) -> None:
        """In peace: nobody waits, nothing goes on that is not its own, and it says that it is healthy."""
        cluster = self.cluster
        at, observer = cluster.loop.now, cluster.observer
        assert self.scheduler is not None
        for name, since in self.asks.values():
            if at - since > ANSWERED_S:
                observer.violated("C7", at, f"{self.name} was asked for {name} {at - since:g} s ago")
        for work in observer.works:
            if work.member == self.name and not work.trusted:
                observer.violated("C8", at, f"{self.name} goes on with {work.run_id}, which is not its own")
        if not (health := self.scheduler.health()).ok:
            observer.violated("C7", at, f"{self.name} says: {health.problems}")

    # -- its tasks -------------------------------------------------------------------------------

    def _body(self, kind: Kind, node: Node) -> Any:
        async def body() -> Any:
            claim, run = current_claim(), current_run.get()
            assert claim is not None
            assert run is not None
            work = Work(self.name, node, kind, claim, run.due)
            self._begins(work)
            how = "cancelled"
            try:
                result = await self._does(work)
            except ValueError:
                how = "failed"
                raise
            else:
                how = "deferred" if isinstance(result, Deferred) else "well"
                return result
            finally:
                if not node.dead:
                    self.cluster.observer.ends(self.cluster.loop.now, work, how)

        body.__qualname__ = kind.name
        return body

    def _begins(self, work: Work) -> None:
        cluster = self.cluster
        at = cluster.loop.now
        early = (work.due - cluster.wall.now()).total_seconds()
        # One by hand is for the moment at which it was asked for, as whoever asked had it.
        by_hand = work.run_id in cluster.observer.offered
        drift = max(0.0, self.node.rate / cluster.wall.rate - 1) * BEAT_S + GRAIN_S
        may = EARLY_S if at - cluster.slewed_at < SET_S else drift
        if early > may and at - cluster.set_at > SET_S and not by_hand:
            cluster.observer.violated("C9", at, f"{work.run_id} begins {early:g} s before it is due")
        cluster.observer.begins(at, work)

    async def _does(self, work: Work) -> Any:
        cluster, kind = self.cluster, work.kind
        random = Random(f"{cluster.seed}:{work.run_id}")
        least, most = kind.takes
        left = random.uniform(least, most)
        pace = random.choice((0.2, 0.5, 1.0))
        chance = random.random()
        try:
            while left > 0:
                pause = min(left, pace)
                await asyncio.sleep(pause)
                left -= pause
                self._acts(work)
        except asyncio.CancelledError:
            while cluster.loop.now < self.stubborn_until and not work.node.dead:
                work.stubborn = True
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(0.5)
                    self._acts(work)
            raise
        if chance < kind.fails:
            raise ValueError("told to")
        if chance < kind.fails + kind.defers:
            return Deferred("it is away", resource="kg_manager")
        return {"acted": True}

    def _acts(self, work: Work) -> None:
        cluster = self.cluster
        cluster.observer.step(cluster.loop.now, work)
        if self.block:
            seconds, self.block = self.block, 0.0
            cluster.observer.stands_still(self.name, cluster.loop.now + seconds)
            cluster.loop.block(seconds)


def _of(task: asyncio.Task[Any], node: Node) -> bool:
    from bgtasks.testing.simulation import NODE

    return task.get_context().get(NODE) is node


class _Quiet(LogListener):
    """Keeps the scheduler from attaching its log."""

    def __call__(self, event: Any) -> None:
        """Says nothing."""

    def on(self, kind: Any) -> Any:
        """For no kind."""
        return self
