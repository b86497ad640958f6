"""`build_scheduler` fills a scheduler with what can run here, and says why the rest cannot."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from random import Random
from typing import TYPE_CHECKING, Any

from bgtasks.clock import Clock, SystemClock
from bgtasks.contracts import TaskStore
from bgtasks.events import EventBus
from bgtasks.outcomes import Skipped
from bgtasks.registry import Registry, default_registry
from bgtasks.runner import Unavailable
from bgtasks.scheduler import BackgroundScheduler
from bgtasks.spec import Scope
from bgtasks.triggers import Interval
from bgtasks.wiring import Decision, Wiring, further, select

if TYPE_CHECKING:
    from bgtasks.claims import Retention

__all__ = ["build_scheduler"]


def build_scheduler(
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
    store: TaskStore | str | None = None,
    node_id: str = "",
    retention: Retention | None = None,
    clock: Clock | None = None,
    bus: EventBus | None = None,
    random: Random | None = None,
    stop_timeout: Interval = 10.0,
    max_concurrent: int | None = None,
    group_limits: Mapping[str, int] | None = None,
    stall_after: Interval | None = 1.0,
) -> BackgroundScheduler:
    """A scheduler with every task and node worker that can run with these resources and this config.

    What is not wired keeps a row with its reason in `scheduler.decisions`. Does no network I/O.

    Args:
        redis: An asyncio Redis client, for tasks that take `redis`.
        kg_manager: A knowledge graph (`KnowledgeGraphLike`).
        openrouter: A chat model (`ChatClient`).
        bot_runner: The host's bot (`BotRunner`).
        config: Any object with attributes, or a mapping; opt-in flags it lacks are off.
        only: Names or aliases; nothing else is wired.
        exclude: Names or aliases that are not wired.
        registry: The specs to consider; by default the module-level registry after `discover()`, that is
            the built-in tasks, those of entry points, and the program's own.
        resources: Further resources by name, for tasks that say `requires=("name",)`.
        store: See `BackgroundScheduler`, as `node_id` and `retention`; or a URL: `memory://`, `redis://…`,
            `sqlite:///path`, `postgresql://…`. Without one it is kept in the given `redis`, unless there is a
            `clock` of its own, which a server does not follow.
        clock: See `BackgroundScheduler`, as `bus`, `random`, `stop_timeout`, `max_concurrent`, `group_limits`
            and `stall_after`.

    Raises:
        UnknownTask: A name in `only` or `exclude` that no task has, with the nearest one.
        ConfigurationError: `resources` repeats a resource that has an argument of its own, or the store's URL
            cannot be read.
        MissingExtra: The store needs an extra that is not installed.
        InvalidSetting: A strict config (our own `Settings`) does not know a flag that a task names.
    """
    if registry is None:
        registry = default_registry
        registry.discover()
    real = clock is None or isinstance(clock, SystemClock)
    clock = clock or SystemClock()
    given = {"redis": redis, "kg_manager": kg_manager, "openrouter": openrouter, "bot_runner": bot_runner}
    if store is None and redis is not None and real:  # the time of a store in Redis is the server's
        store = _in_redis(redis, config)
    elif isinstance(store, str):
        store = _opened(store, config, clock)
    wiring = Wiring({"clock": clock, **given, **further(resources)}, config, claims=store is not None)
    scheduler = BackgroundScheduler(
        clock=clock,
        bus=bus,
        random=random,
        stop_timeout=stop_timeout,
        max_concurrent=max_concurrent,
        group_limits=group_limits,
        stall_after=stall_after,
        unavailable=_redis_outages() if redis or kg_manager else None,
        store=store,
        node_id=node_id,
        retention=retention,
    )
    left_out = select(registry, only, exclude)
    for spec in registry:
        reason = left_out.get(spec.name)
        if reason is None and spec.scope is Scope.LEADER:
            reason = 'scope is "leader": it runs under a TaskSupervisor, on the elected leader only'
        verdict = wiring.judge(spec) if reason is None else Skipped(reason)
        scheduler.adopt(spec, verdict, wiring.decide(spec, verdict))
    for name, reason in registry.broken.items():
        scheduler.keep(Decision(name=name, reason=reason, kind="entry point"))
    return scheduler


def _in_redis(redis: Any, config: Any) -> TaskStore | None:
    """A store in the server of a client of redis-py; what else a host calls `redis` only it knows."""
    from bgtasks.stores import task_store  # composition: a client becomes a store

    library = sys.modules.get("redis.asyncio")  # if it is not loaded, this is no client of it
    if library is None or not isinstance(redis, library.Redis):
        return None
    return task_store(redis, namespace=_namespace(config))


def _opened(url: str, config: Any, clock: Clock) -> TaskStore:
    from bgtasks.stores import task_store  # composition: a URL becomes a store

    return task_store(url, namespace=_namespace(config), clock=clock)


def _namespace(config: Any) -> str:
    return str(getattr(config, "namespace", "bgtasks"))


def _redis_outages() -> Unavailable:
    from bgtasks.connect import unavailable  # composition: a client of redis-py may be at work

    return unavailable
