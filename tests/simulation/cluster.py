"""A cluster: three real supervisors on simulated nodes before a simulated Redis, and its life from a seed."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

from redis.exceptions import RedisError
from tests.simulation.observer import Observer, Worker

from bgtasks.errors import BgTasksError
from bgtasks.events import EventBus, TermGained, TermLost, TermQuarantined
from bgtasks.fencing import raise_guards
from bgtasks.lease import LeaseTimes, Term
from bgtasks.stores import lease_redis
from bgtasks.stores.lease_redis import RedisLeaseStore
from bgtasks.supervisor import TaskSupervisor, WorkerContext
from bgtasks.telemetry.logs import LogListener
from bgtasks.testing.simulation import (
    Network,
    Node,
    NodeClock,
    Path,
    SimulatedClient,
    SimulatedRedis,
    SimulationLoop,
)
from bgtasks.testing.simulation.server import Data

ROUND_S = 540.0
"""True seconds of faults before peace."""

POLLS = 6
"""Attempts at most of a follower within two leases of peace."""

__all__ = ["KEY", "Cluster", "Member", "Profile"]

KEY = "sg:leader:supervisor"

TIMES: tuple[tuple[int, dict[str, float]], ...] = (
    (6, {}),
    (1, {"lease": 15.0, "renew": 4.0, "attempt": 1.0, "margin": 3.0}),
    (
        1,
        {
            "lease": 4.0,
            "renew": 0.6,
            "attempt": 0.3,
            "margin": 1.6,
            "stall": 0.8,
            "grace": 0.4,
            "kill": 0.4,
            "tenure": 0.3,
        },
    ),
)


class Profile:
    """What a seed decides about a cluster once: its times, its clocks, its ways.

    Attributes:
        times: The durations of the lease.
        permuted: What is ready at once runs in any order.
        skew: How far clocks run apart from true time, at most, as a share.
        tells_info: Users may call INFO.
        twins: Two nodes have one node id.
    """

    def __init__(self, random: Random) -> None:
        weights = [weight for weight, _ in TIMES]
        chosen = dict(random.choices([times for _, times in TIMES], weights)[0])
        self.lag = random.choice((0.0, 0.0, 1.0, 3.0))
        self.times = LeaseTimes(replica_lag=self.lag, **chosen)  # type: ignore[arg-type]
        self.permuted = random.random() < 0.7
        self.skew = random.choice((0.0, 0.001, 0.01, 0.02, 0.024))
        self.tells_info = random.random() < 0.93
        self.twins = random.random() < 0.2
        self.pace = random.choice((0.3, 0.5, 0.5, 1.0))


class Member:
    """A node of the cluster, through all its restarts."""

    def __init__(self, cluster: Cluster, index: int) -> None:
        self.name = f"n{index}"
        self.cluster = cluster
        self.life = 0
        self.node = Node(self.name)
        self.node.dead = True
        self.supervisor: TaskSupervisor | None = None
        self.crash = False
        self.block = 0.0
        self.stubborn_until = 0.0
        self.woke = float("-inf")  # when its last suspend ended
        self._owners: dict[int, str] = {}

    @property
    def up(self) -> bool:
        """Whether its process lives."""
        return not self.node.dead

    @property
    def leads(self) -> bool:
        """Whether it would say that it leads."""
        return self.supervisor is not None and self.supervisor.is_leader

    # -- its process -----------------------------------------------------------------------------

    def boot(self) -> None:
        """A new process."""
        if self.up:
            return
        cluster, profile = self.cluster, self.cluster.profile
        self.life += 1
        random = Random(f"{cluster.seed}:{self.name}:{self.life}")
        self.node = Node(self.name, 1 + profile.skew * random.uniform(-1, 1), offset=random.uniform(0, 1e6))
        self.node.set_rate(cluster.loop.now, self.node.rate)
        self.crash, self.block, self.stubborn_until = False, 0.0, 0.0
        self._owners = {}
        cluster.note(f"{self.name} boots")
        self._make(random)
        self._spawn(self._start, "start")

    def kill(self) -> None:
        """kill -9."""
        if not self.up:
            return
        cluster = self.cluster
        cluster.note(f"{self.name} is killed")
        cluster.loop.kill(self.node)
        for worker in [worker for worker in cluster.observer.alive if worker.member == self.name]:
            del cluster.observer.alive[worker]
        self.supervisor = None

    def stop(self) -> None:
        """SIGTERM: an orderly shutdown, and the process is gone."""
        if self.up:
            self._spawn(self._stop, "stop")

    def resign(self) -> None:
        """Hand over."""
        if self.up:
            self._spawn(self._resign, "resign")

    def ask_to_resign(self) -> None:
        """`bgtasks leader resign`, from this node, to whoever leads."""
        if self.up:
            self._spawn(self._ask, "ask")

    def _spawn(self, call: Callable[[], Any], what: str) -> None:
        self.cluster.loop.spawn(self.node, call(), f"{self.name}:{what}")

    def _make(self, random: Random) -> None:
        cluster, profile = self.cluster, self.cluster.profile
        client = SimulatedClient(cluster.network, self.node)
        store = RedisLeaseStore(client, KEY, profile.times.attempt, client=client)
        bus = EventBus()
        bus.subscribe(_Quiet())
        node = self.node
        bus.subscribe(lambda event: self._heard(node, event))
        twin = "n0" if profile.twins and self.name == "n1" else self.name
        supervisor = TaskSupervisor(
            node_id=twin,
            store=store,
            clock=NodeClock(cluster.loop, self.node),
            bus=bus,
            times=profile.times,
            random=random,
            new_id=lambda: f"{random.getrandbits(128):032x}",
            stop_timeout=8.0,
        )
        options = {"backoff": 0.2, "max_backoff": 2.0}
        supervisor.register_task("steady", self._steady, **options)  # type: ignore[arg-type]
        supervisor.register_task("blocking", self._blocking, **options)  # type: ignore[arg-type]
        supervisor.register_task("tardy", self._tardily, **options)  # type: ignore[arg-type]
        supervisor.register_task("remote", self._remote, **options)  # type: ignore[arg-type]
        supervisor.register_task("trusting", self._trusting, **options)  # type: ignore[arg-type]
        supervisor.before_work(self._prepare)
        self.store, self.supervisor = store, supervisor

    def _heard(self, node: Node, event: Any) -> None:
        if node.dead:
            return
        cluster, now = self.cluster, self.cluster.loop.now
        if isinstance(event, TermGained):
            self._owners[event.token] = event.owner
            cluster.observer.begun(now, self.name, event.owner, event.token, self.leads)
        elif isinstance(event, TermLost):
            owner = self._owners.get(event.token, f"{self.name} {event.token}, which did not work")
            cluster.observer.over(now, self.name, owner, event.reason)
        elif isinstance(event, TermQuarantined):
            cluster.observer.quarantined += 1
            cluster.note(f"{self.name} quarantined {event.token} for {event.seconds:g} s: {event.reason}")

    async def _start(self) -> None:
        assert self.supervisor is not None
        await self.supervisor.start()

    async def _stop(self) -> None:
        assert self.supervisor is not None
        self.cluster.note(f"{self.name} shuts down")
        await self.supervisor.shutdown()
        self.cluster.note(f"{self.name} is down")
        self.cluster.loop.after(0.0, self.kill)

    async def _resign(self) -> None:
        assert self.supervisor is not None
        self.cluster.note(f"{self.name} resigns")
        self.supervisor.resign()

    async def _ask(self) -> None:
        try:
            held = await self.store.look()
            if held is not None:
                await self.store.ask_to_resign(held.owner)
        except (BgTasksError, RedisError):
            return

    # -- its workers -----------------------------------------------------------------------------

    @asynccontextmanager
    async def _work(self, name: str, ctx: WorkerContext) -> AsyncIterator[Worker]:
        cluster, node = self.cluster, self.node
        worker = Worker(self.name, name, ctx._term.owner)
        cluster.observer.begins(cluster.loop.now, worker)
        try:
            yield worker
        finally:
            if not node.dead:
                cluster.observer.ends(cluster.loop.now, worker)

    async def _steady(self, ctx: WorkerContext) -> None:
        """Checks and acts at once; crashes when told to, and swallows cancellation when told to."""
        async with self._work("steady", ctx) as worker:
            try:
                while True:
                    if self.crash:
                        self.crash = False
                        raise ValueError("told to")
                    ctx.check()
                    self._effect(worker, self.node.frozen_for)
                    await asyncio.sleep(self.cluster.profile.pace)
            except asyncio.CancelledError:
                while self.cluster.loop.now < self.stubborn_until:
                    try:
                        await asyncio.sleep(1.0)
                    except asyncio.CancelledError:
                        continue
                raise

    async def _blocking(self, ctx: WorkerContext) -> None:
        """Checks, then blocks the event loop when told to, then acts."""
        async with self._work("blocking", ctx) as worker:
            while True:
                ctx.check()
                before, block = self.node.frozen_for, self.block
                if block:
                    self.block = 0.0
                    self.cluster.loop.block(block)
                self._effect(worker, self.node.frozen_for + block - before)
                await asyncio.sleep(self.cluster.profile.pace)

    async def _tardily(self, ctx: WorkerContext) -> None:
        """Acts a while after its check, and once more when it was cancelled: all within the margin."""
        async with self._work("tardy", ctx) as worker:
            pace, before = self.cluster.profile.pace, self.node.frozen_for
            try:
                while True:
                    ctx.check()
                    before = self.node.frozen_for
                    await asyncio.sleep(pace / 2)
                    self._effect(worker, self.node.frozen_for - before)
                    await asyncio.sleep(pace)
            except asyncio.CancelledError:
                await asyncio.sleep(self.cluster.profile.times.kill * 0.9)
                worker.name = "cleanup"
                self._effect(worker, self.node.frozen_for - before)
                raise

    async def _trusting(self, ctx: WorkerContext) -> None:
        """Never checks: it trusts that it is cancelled in time."""
        async with self._work("trusting", ctx) as worker:
            while True:
                before = self.node.frozen_for
                await asyncio.sleep(self.cluster.profile.pace)
                awake = self.cluster.loop.now - self.woke
                just = self.cluster.profile.times.lease > awake  # its timers do not know of the suspend
                self._effect(worker, float("inf") if just else self.node.frozen_for - before)

    async def _remote(self, ctx: WorkerContext) -> None:
        """Checks, and sends a fenced write that takes its time, now and then far too long."""
        cluster = self.cluster
        async with self._work("remote", ctx) as worker:
            while True:
                token = ctx.check()
                delay = 0.001 if cluster.random.random() < 0.9 else cluster.random.uniform(0, 30)
                cluster.loop.after(delay, cluster.write, worker.owner, token)
                cluster.observer.seen["remote"] = cluster.loop.now
                await asyncio.sleep(2 * cluster.profile.pace)

    def _effect(self, worker: Worker, frozen: float) -> None:
        """Happens at the instant that the node has reached, which others may reach later."""
        cluster = self.cluster
        if cluster.loop.is_ahead:
            cluster.loop.after(0.0, self._now, self.node, worker, frozen)
        else:
            self._now(self.node, worker, frozen)

    def _now(self, node: Node, worker: Worker, frozen: float) -> None:
        cluster = self.cluster
        cluster.look()
        cluster.observer.effect(cluster.loop.now, worker, cluster.leaders(), frozen)

    async def _prepare(self, term: Term) -> None:
        """Raise the guard of what the workers write to, with a token above all that it has seen."""
        await raise_guards(_Guard(self.cluster, self.name, term.owner))(term)


class _Guard:
    """The guard of what the workers write to, as one term raises it."""

    source = KEY

    def __init__(self, cluster: Cluster, member: str, owner: str) -> None:
        self._cluster, self._member, self._owner = cluster, member, owner

    async def guard(self, token: int) -> int:
        """Raise it; what it held before."""
        await self._way()
        held = self._cluster.observer.raised(self._cluster.loop.now, self._member, self._owner, token)
        await self._way()
        return held

    async def _way(self) -> None:
        answer: asyncio.Future[None] = self._cluster.loop.create_future()
        self._cluster.loop.after(0.0005, _settle, answer)
        await answer


def _settle(answer: asyncio.Future[None]) -> None:
    if not answer.done():
        answer.set_result(None)


class _Quiet(LogListener):
    """Keeps the supervisor from attaching its log."""

    def __call__(self, event: Any) -> None:
        """Says nothing."""

    def on(self, kind: Any) -> Callable[[Any], None]:
        """For no kind."""
        return self


class Cluster:
    """The world of one seed."""

    size = 3

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = Random(f"{seed}:world")
        self.profile = Profile(self.random)
        self.loop = SimulationLoop(Random(f"{seed}:order") if self.profile.permuted else None)
        self.observer = Observer(self.profile.times.stall)
        self.network = Network(self.loop, Random(f"{seed}:network"))
        self.network.sent = self._sent
        self.network.applied = self._applied
        self.faults: Counter[str] = Counter()
        self.undo: dict[int, Callable[[], object]] = {}
        self._undone = 0
        self._servers = 0
        self._names: dict[int, str] = {}
        self.primary = self.new_server(None)
        self.history: deque[tuple[float, Data]] = deque(maxlen=400)
        self.members = [Member(self, index) for index in range(self.size)]
        for member in self.members:
            self.network.paths[member.name] = Path(self.primary)
        self.scripts = _scripts()

    def note(self, text: str) -> None:
        """Into the trace and the digest."""
        self.observer.note(self.loop.now, text)

    def new_server(self, data: Data | None) -> SimulatedRedis:
        """Another server, with a clock of its own."""
        self._servers += 1
        server = SimulatedRedis(
            lambda: self.loop.now,
            f"{self.random.getrandbits(160):040x}",
            rate=1 + self.profile.skew * self.random.uniform(-1, 1),
            offset=self.random.uniform(-0.02, 0.02),
        )
        server.tells_info = self.profile.tells_info
        self._names[id(server)] = f"redis{self._servers}"
        self._kept = [*getattr(self, "_kept", ()), server]
        if data is not None:
            server.load(data)
        self.network.listen_to(server)
        return server

    def look(self) -> None:
        """Have the observer look at the terms in progress."""
        for member in self.members:
            term = member.supervisor and member.supervisor._elector.term
            if term:
                self.observer.stands(self.loop.now, member.name, term.owner, term.holds)

    def leaders(self) -> list[str]:
        """Who would say that it leads, at this instant."""
        return [member.name for member in self.members if member.leads]

    @property
    def leader(self) -> Member | None:
        """Who leads."""
        return next((member for member in self.members if member.leads), None)

    def write(self, owner: str, token: int) -> None:
        """A fenced write arrives."""
        self.observer.written(self.loop.now, owner, token)

    def past(self, ago: float) -> Data:
        """What the primary kept so many seconds ago."""
        found: Data = self.history[0][1] if self.history else ({}, {})
        for at, data in self.history:
            if at > self.loop.now - ago:
                break
            found = data
        return found

    def forget(self) -> None:
        """The server has lost what it knew of tokens."""
        self.observer.amnesia = True

    def remember(self) -> None:
        """The primary's data have changed."""
        self.history.append((self.loop.now, self.primary.save()))

    # -- its life ----------------------------------------------------------------------------------

    def lasting(self, seconds: float, undo: Callable[[], object]) -> None:
        """A fault lasts for so long, or until all is healed."""
        self._undone += 1
        key = self._undone
        self.undo[key] = undo
        self.loop.after(seconds, self._over, key)

    def later(self, seconds: float, go_on: Callable[[], object]) -> None:
        """A fault goes on after so long, unless all was healed before."""
        self.loop.after(seconds, self._go_on, self.network.epoch, go_on)

    def _go_on(self, epoch: int, go_on: Callable[[], object]) -> None:
        if epoch == self.network.epoch:
            go_on()

    def _over(self, key: int) -> None:
        undo = self.undo.pop(key, None)
        if undo is not None:
            undo()

    def heal(self) -> None:
        """Nothing is broken any more, and what is on its way is lost."""
        self.note("all is healed")
        while self.undo:
            self._over(next(iter(self.undo)))
        self.network.epoch += 1
        self.network.down.discard(id(self.primary))
        self.network.unhang(self.primary)
        self.primary.refuses = None
        self.primary.refusals.clear()
        for name in [member.name for member in self.members]:
            old = self.network.paths[name]
            self.network.disconnect(old)
            self.network.paths[name] = Path(self.primary, generation=old.generation + 1)
        for member in self.members:
            member.stubborn_until, member.block, member.crash, member.node.cost = 0.0, 0.0, False, 0.0
            member.boot()

    def live(self, hours: float, faults: Callable[[Cluster, bool], str]) -> None:
        """Rounds of faults, each followed by peace in which progress is demanded."""
        for member in self.members:
            member.boot()
        end = self.loop.now + hours * 3600
        while self.loop.now < end and not self.observer.violations:
            unsafe = self.random.random() < 0.12
            until = min(end, self.loop.now + ROUND_S)
            mean = self.random.choice((12.0, 20.0, 30.0, 60.0))
            while self.loop.now < until and not self.observer.violations:
                self.loop.run(self.loop.now + self.random.expovariate(1 / mean))
                name = faults(self, unsafe)
                self.faults[name] += 1
            if not self.observer.violations:
                self._peace()
            gc.collect()
        for complaint in self.loop.complaints:
            self.observer.violated("noise", self.loop.now, complaint)

    def _peace(self) -> None:
        times, observer = self.profile.times, self.observer
        self.heal()
        started = self.loop.now
        self.loop.run(started + times.lease * 1.1 + times.quarantine + 5.5)
        asked = observer.asked
        self.loop.run(self.loop.now + 2 * times.lease)
        if observer.asked - asked > POLLS * (self.size - 1):
            observer.violated("polling", self.loop.now, f"{observer.asked - asked} attempts in two leases")
        leader = self.leader
        if leader is None:
            observer.violated(
                "I6", self.loop.now, f"nobody leads {self.loop.now - started:g} s after the end"
            )
            return
        for name in ("steady", "blocking", "tardy", "trusting", "remote"):
            if observer.seen.get(name, 0.0) < self.loop.now - 3 * self.profile.pace - 0.5:
                observer.violated("I6", self.loop.now, f"{name} does not work on {leader.name}")
        assert leader.supervisor is not None
        observer.whole(str(leader.supervisor.snapshot().holder))
        self.random.choice((leader.stop, leader.resign))()
        # What sleeps goes on sleeping when all is healed.
        heirs = [each for each in self.members if each is not leader and each.woke < self.loop.now]
        self.loop.run(self.loop.now + times.grace + times.kill + 0.3)
        if heirs and (self.leader is None or self.leader is leader):
            observer.violated("I7", self.loop.now, f"{leader.name} has handed over, and nobody leads")

    def close(self) -> None:
        """The end of the world."""
        for member in self.members:
            member.kill()
        self.loop.close()

    def _sent(self, node: Node, words: tuple[Any, ...]) -> None:
        if not node.dead and self.scripts.get(words[1]) == "release":
            self.observer.releases_now(self.loop.now, node.name, str(words[7]))

    def _applied(self, server: SimulatedRedis, node: Node, words: tuple[Any, ...], said: Any) -> None:
        what = self.scripts.get(words[1], words[0])
        self.look()
        self.observer.applied(self.loop.now, self._names[id(server)], node.name, what, said)
        if what == "acquire" and isinstance(said, list):
            self.observer.acquired(self.loop.now, str(words[7]), said, server is self.primary)
        if server is self.primary and what != "look":
            self.remember()


def _scripts() -> dict[str, str]:
    """Names of the shipped scripts by their digests."""
    import hashlib

    return {
        hashlib.sha1(
            (lease_redis._COMMON + getattr(lease_redis, f"_{name}")).encode()
        ).hexdigest(): name.lower()
        for name in ("ACQUIRE", "RENEW", "RELEASE", "LOOK", "MINT", "RESIGN")
    }
