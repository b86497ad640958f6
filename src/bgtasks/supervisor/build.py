"""`build_supervisor` fills one supervisor per leader group with what can run here, and says why not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from random import Random
from typing import Any, Self

from bgtasks.clock import Clock, SystemClock
from bgtasks.events import EventBus
from bgtasks.lease import LeaseTimes
from bgtasks.outcomes import Skipped
from bgtasks.registry import Registry, default_registry
from bgtasks.spec import Scope, WorkerSpec
from bgtasks.supervisor.crew import Prepare
from bgtasks.supervisor.snapshot import SupervisorSnapshot
from bgtasks.supervisor.supervisor import TaskSupervisor, lease_key
from bgtasks.triggers import Interval
from bgtasks.wiring import Decision, Wired, Wiring, further, select

__all__ = ["Supervision", "build_supervisor"]

FENCED = frozenset({"redis", "kg_manager"})
"""Resources that can remember tokens."""


class Supervision:
    """The supervisors of a process, one per leader group, started and ended together.

    Attributes:
        supervisors: By group; None is the default group, which is always there.
        decisions: A row for each worker with `scope="leader"`, with the reason if it cannot run here.
    """

    def __init__(
        self, supervisors: Mapping[str | None, TaskSupervisor], decisions: Iterable[Decision]
    ) -> None:
        self.supervisors = dict(supervisors)
        self.decisions = list(decisions)

    @property
    def default(self) -> TaskSupervisor:
        """The supervisor of the default group."""
        return self.supervisors[None]

    async def start(self) -> None:
        """Let each supervisor that has workers stand for its group's lease. Returns at once."""
        for supervisor in self.supervisors.values():
            await supervisor.start()

    async def shutdown(self) -> tuple[str, ...]:
        """End all workers, then release the leases; the names of workers that would not end."""
        ended = await asyncio.gather(*(each.shutdown() for each in self.supervisors.values()))
        return tuple(name for names in ended for name in names)

    def snapshot(self) -> tuple[SupervisorSnapshot, ...]:
        """How each supervisor stands at this moment."""
        return tuple(each.snapshot() for each in self.supervisors.values())

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.shutdown()


def build_supervisor(
    redis: Any = None,
    kg_manager: Any = None,
    openrouter: Any = None,
    bot_runner: Any = None,
    *,
    config: Any = None,
    only: Iterable[str] | None = None,
    exclude: Iterable[str] = (),
    registry: Registry | None = None,
    resources: Mapping[str, Any] | None = None,
    node_id: str = "",
    times: LeaseTimes | None = None,
    stop_timeout: Interval = 10.0,
    fresh: bool = False,
    clock: Clock | None = None,
    bus: EventBus | None = None,
    random: Random | None = None,
) -> Supervision:
    """The supervisors for every leader worker that can run with these resources and this config.

    A node stands for a group only if it can run every worker of it that the config has not switched off: a
    leader that lacks one would make it vanish from the cluster. Workers with different needs belong in
    different groups. What does not run here keeps a row with its reason. Does no network I/O.

    Before the first worker of a term starts, the guards of what the group's workers take (`redis`,
    `kg_manager`) are raised to its token: `FencedRedis(redis, ctx.lease)` and `FencedGraph(kg_manager,
    ctx.lease)` then refuse every older term.

    Args:
        redis: An asyncio Redis client: for the leases, and for workers that take `redis`.
        kg_manager: See `build_scheduler`, as `openrouter`, `bot_runner`, `config`, `only`, `exclude`,
            `registry` and `resources`.
        node_id: See `TaskSupervisor`, as `times`, `stop_timeout`, `fresh`, `clock`, `bus` and `random`.

    Raises:
        UnknownTask: A name in `only` or `exclude` that no task has, with the nearest one.
        ConfigurationError: `resources` repeats a resource that has an argument of its own.
        InvalidSetting: A strict config (our own `Settings`) does not know a flag that a worker names.
        UnsuitableServer: `redis` is a client of Redis Cluster.
    """
    if registry is None:
        registry = default_registry
        registry.discover()
    clock, bus = clock or SystemClock(), bus or EventBus()
    given = {"redis": redis, "kg_manager": kg_manager, "openrouter": openrouter, "bot_runner": bot_runner}
    wiring = Wiring({"clock": clock, **given, **further(resources)}, config)
    left_out = select(registry, only, exclude)
    specs = [spec for spec in registry if isinstance(spec, WorkerSpec) and spec.scope is Scope.LEADER]
    verdicts = {
        spec.name: wiring.judge(spec) if spec.name not in left_out else Skipped(left_out[spec.name])
        for spec in specs
    }
    supervisors: dict[str | None, TaskSupervisor] = {}
    decisions = []
    for group in dict.fromkeys((None, *(spec.group for spec in specs))):
        members = [spec for spec in specs if spec.group == group]
        obstacle = _obstacle(members, verdicts, wiring)
        supervisor = supervisors[group] = TaskSupervisor(
            redis or None,
            node_id,
            group=group,
            times=times,
            stop_timeout=stop_timeout,
            fresh=fresh,
            clock=clock,
            bus=bus,
            random=random,
        )
        written: dict[str, Any] = {}
        for spec in members:
            verdict = verdicts[spec.name]
            if isinstance(verdict, Wired) and obstacle is not None:
                verdict = Skipped(f"this node does not stand for its group, since {obstacle}")
            if isinstance(verdict, Wired):
                supervisor.adopt(spec, verdict)
                written |= {name: verdict.kwargs[name] for name in FENCED & verdict.kwargs.keys()}
            decisions.append(wiring.decide(spec, verdict))
        if written:
            supervisor.before_work(_guards(lease_key(group), **written))
    return Supervision(supervisors, decisions)


def _guards(source: str, *, redis: Any = None, kg_manager: Any = None) -> Prepare:
    from bgtasks.fencing import FencedGraph, FencedRedis, raise_guards  # composition: resources get guards

    guards = [] if redis is None else [FencedRedis(redis, source)]
    return raise_guards(*guards, *([] if kg_manager is None else [FencedGraph(kg_manager, source)]))


def _obstacle(
    members: Iterable[WorkerSpec], verdicts: Mapping[str, Wired | Skipped], wiring: Wiring
) -> str | None:
    """Why this node must not lead a group: a worker of it that some other node may be able to run."""
    for spec in members:
        verdict = verdicts[spec.name]
        if isinstance(verdict, Skipped) and not wiring.switched_off(spec):
            return f'"{spec.name}" cannot run here: {verdict.reason}'
    return None
