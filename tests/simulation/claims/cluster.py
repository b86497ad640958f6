"""A cluster: real schedulers on simulated nodes that share one store, and its life from a seed."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from datetime import datetime, timedelta
from random import Random
from typing import Any

from tests.simulation.claims.history import History
from tests.simulation.claims.member import Member
from tests.simulation.claims.observer import Observer
from tests.simulation.claims.reach import Server
from tests.simulation.claims.redis_model import ModelRedis, model_store
from tests.simulation.claims.workload import drawn

from bgtasks.claims.declared import job_id
from bgtasks.stores.tasks.memory import MemoryTaskStore
from bgtasks.testing.simulation import SimulationLoop
from bgtasks.testing.simulation.clock import EPOCH

__all__ = ["CALM_S", "Cluster"]

ROUND_S = 240.0
"""True seconds of faults before peace."""

CALM_S = 100.0
"""True seconds of peace: sessions expire, what is late is caught up with, runs in progress end."""


GRAIN_S = 1e-6
"""True seconds in which the world may look around."""


class Wall:
    """The clock of the server, which is the store's time."""

    def __init__(self, loop: SimulationLoop, rate: float) -> None:
        self.rate = rate
        self._loop = loop
        self._offset = 0.0

    def elapsed(self) -> float:
        """Seconds since the simulation began, as it says."""
        return self._offset + self._loop.now * self.rate

    def now(self) -> datetime:
        """As a `Clock`."""
        return EPOCH + timedelta(seconds=self.elapsed())

    def monotonic(self) -> float:
        """As a `Clock`; no store asks for it."""
        return self.elapsed()

    def step(self, seconds: float) -> None:
        """It is set."""
        self._offset += seconds


class Cluster:
    """The world of one seed.

    Args:
        kind: Which store: `memory` or `redis`; None draws one.
        loses: The server may be started again without the last second of what was written.
    """

    def __init__(self, seed: int, kind: str | None = None, *, loses: bool = False) -> None:
        self.seed = seed
        self.random = Random(f"{seed}:claims")
        self.skew = self.random.choice((0.0, 0.001, 0.01, 0.024))
        permuted = self.random.random() < 0.7
        drawn_kind = self.random.choice(("memory", "redis"))
        self.kind = kind or drawn_kind
        self.loses = loses
        self.loop = SimulationLoop(Random(f"{seed}:order") if permuted else None)
        self.wall = Wall(self.loop, 1 + self.skew * self.random.uniform(-1, 1))
        self.observer = Observer(self.wall.elapsed)
        self.model: ModelRedis | None = None
        if self.kind == "memory":
            self.memory = MemoryTaskStore(self.wall)
            store: Any = self.memory
        else:
            self.model = ModelRedis(lambda: EPOCH.timestamp() + self.wall.elapsed())
            store = model_store(self.model)
        self.server = Server(self.loop, Random(f"{seed}:network"), store, self._applied)
        self.history = History(self.observer, self.server, self.wall.now)
        self.tasks = drawn(self.random)
        self.observer.jobs = {job_id(task.name): task for task in self.tasks}
        self.version = 0
        self.faults: Counter[str] = Counter()
        self.undo: dict[int, Callable[[], object]] = {}
        self._undone = self._rounds = 0
        self.calm_since: float | None = None
        self.set_at = self.set_forward_at = float("-inf")  # when the clock of the server was set last
        self.slewed_at = float("-inf")  # when that of a node was slewed last
        self.members = [Member(self, index) for index in range(self.random.randint(2, 5))]

    def note(self, text: str) -> None:
        """Into the trace and the digest."""
        self.observer.note(self.loop.now, text)

    def _applied(self, member: str, name: str, args: tuple[Any, ...], said: Any, before: Any) -> None:
        if name == "add" and not isinstance(said, Exception):
            self.history.added(said)
        elif name == "change" and not isinstance(said, Exception):
            self.history.changed(before, said)
        self.observer.applied(self.loop.now, member, name, args, said)
        if name == "beat":
            for each in self.members:
                if (session := each.trusts) is not None:
                    self.observer.has_margin(self.loop.now, each.name, session)

    # -- its life ----------------------------------------------------------------------------------

    def lasting(self, seconds: float, undo: Callable[[], object]) -> None:
        """A fault lasts for so long, or until all is healed."""
        self._undone += 1
        key = self._undone
        self.undo[key] = undo
        self.loop.after(seconds, self._over, key)

    def later(self, seconds: float, go_on: Callable[[], object]) -> None:
        """A fault goes on after so long, unless all was healed before."""
        rounds = self._rounds
        self.loop.after(seconds, lambda: go_on() if rounds == self._rounds else None)

    def _over(self, key: int) -> None:
        undo = self.undo.pop(key, None)
        if undo is not None:
            undo()

    def live(self, seconds: float, faults: Callable[[Cluster], str]) -> None:
        """Rounds of faults, each followed by peace in which progress is demanded; then a proper stop."""
        for member in self.members:
            self.loop.after(self.random.uniform(0, 5), member.boot)
        end = self.loop.now + seconds
        while self.loop.now < end and not self.observer.violations:
            self._breaks(min(end, self.loop.now + ROUND_S), faults)
            if not self.observer.violations:
                self._peace()
            gc.collect()
        if not self.observer.violations:
            self._end()
        for complaint in self.loop.complaints:
            self.observer.violated("noise", self.loop.now, complaint)
        if self.model is not None and self.model.lacking:
            self.observer.violated("model", self.loop.now, f"lacks {', '.join(self.model.lacking)}")

    def _breaks(self, until: float, faults: Callable[[Cluster], str]) -> None:
        self.calm_since = None
        mean = self.random.choice((4.0, 8.0, 16.0, 40.0))
        while self.loop.now < until and not self.observer.violations:
            self.loop.run(min(until, self.loop.now + self.random.expovariate(1 / mean)))
            self.faults[faults(self)] += 1

    def heal(self) -> None:
        """Nothing is broken any more, and what is on its way is lost."""
        self.note("all is healed")
        self._rounds += 1
        for member in self.members:
            member.way.heal()  # before what waited arrives
        while self.undo:
            self._over(next(iter(self.undo)))
        self.server.down = False
        self.server.epoch += 1
        self.server.goes_on()
        for member in self.members:
            member.heal()
        self.calm_since = self.loop.now

    def _peace(self) -> None:
        self._in_world(self.heal)
        # What was suspended goes on to sleep when all is healed.
        asleep = max([0.0, *(member.wakes - self.loop.now for member in self.members)])
        self.loop.run(self.loop.now + CALM_S + asleep)
        self.observer.lenient = ""
        self._in_world(self._look)

    def _in_world(self, does: Callable[[], None]) -> None:
        """Have the world do something while the loop turns."""
        self.loop.after(0.0, does)
        self.loop.run(self.loop.now + GRAIN_S)

    def _look(self) -> None:
        at, now = self.loop.now, self.wall.now()
        self.history.check(at, now)
        sessions = sorted(row.node_id for row in self.server.ask("sessions"))
        if sessions != sorted(member.name for member in self.members):
            self.observer.violated("C7", at, f"the sessions are {sessions}")
        for member in self.members:
            member.is_well()

    def _end(self) -> None:
        """All nodes stop properly."""
        for member in self.members:
            member.stop(then_boots=False)
        self.loop.run(self.loop.now + 30.0)
        self._in_world(self._look_back)

    def _look_back(self) -> None:
        at = self.loop.now
        for member in self.members:
            if member.up:
                self.observer.violated("C7", at, f"{member.name} does not stop")
        if left := self.server.ask("sessions"):
            self.observer.violated("C7", at, f"sessions are left: {left}")
        for run in self.observer.going:
            if not self.observer.lossy:
                self.observer.violated("C7", at, f"{run} is left in progress")

    def close(self) -> None:
        """The end of the world."""
        for member in self.members:
            member.kill()
        self.loop.close()

    # -- a server that loses what it has not written to its disk ---------------------------------------

    def snapshot(self) -> Any:
        """What the store has by now."""
        if self.model is not None:
            return self.model.kept()
        parts = vars(self.memory)
        return deepcopy({name: parts[name] for name in parts if name != "_clock"})

    def restore(self, kept: Any) -> None:
        """The store has that, and nothing later; what it has lost is known to the observer."""
        if self.model is not None:
            self.model.keeps(kept)
        else:
            vars(self.memory).update(kept)
