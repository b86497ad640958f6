"""The decorators that stamp, and the registry that collects.

`@background_task` and `@background_worker` return the function unchanged, do no I/O, and record a spec in
a registry: the module-level one unless told otherwise.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any

from bgtasks.errors import DuplicateTask, InvalidTask, UnknownTask
from bgtasks.policies import Breaker, Retry, policy
from bgtasks.spec import (
    FromConfig,
    Scope,
    Spec,
    TaskFunction,
    TaskSpec,
    WorkerSpec,
    as_restart,
    delay,
    place,
)
from bgtasks.triggers import Interval, Trigger, as_trigger, parse

__all__ = ["Registry", "background_task", "background_worker", "default_registry"]

ENTRY_POINTS = "bgtasks.tasks"
_STAMP = "__bgtasks_spec__"


class Registry:
    """An ordered collection of specs with unique names.

    A registry of one's own holds only what was put in. The module-level one, `default_registry`, is
    filled by the decorators and, on `discover()`, by the entry points of group `bgtasks.tasks`, which
    is how the built-in tasks come in too.
    """

    def __init__(self) -> None:
        self._specs: dict[str, Spec] = {}
        self._broken: dict[str, str] = {}

    def __iter__(self) -> Iterator[Spec]:
        return iter(tuple(self._specs.values()))

    def __len__(self) -> int:
        return len(self._specs)

    def __contains__(self, name: object) -> bool:
        return name in self._names()

    @property
    def broken(self) -> dict[str, str]:
        """Entry points that could not be imported: name to reason."""
        return dict(self._broken)

    def add(self, *functions: TaskFunction | Spec) -> None:
        """Put in decorated functions, or specs.

        The same function again (module and qualified name, as after a reload or when the main script is
        also imported by its module name) replaces its older self. So does, as in Python itself, a second
        function of one name in one module.

        Raises:
            DuplicateTask: A different function has one of the names. Nothing is added then.
            InvalidTask: A function that no decorator has stamped.
        """
        added: dict[str, Spec] = {}
        for each in functions:
            spec = each if isinstance(each, Spec) else getattr(each, _STAMP, None)
            if not isinstance(spec, Spec):
                raise InvalidTask(f"{place(each)} carries no spec: decorate it with @background_task")
            taken = {**self._names(), **_names_of(added.values())}
            for name in (spec.name, *spec.aliases):
                holder = taken.get(name)
                if holder is not None and not _same_function(holder.func, spec.func):
                    raise DuplicateTask(name, place(holder.func), place(spec.func))
            added[spec.name] = spec
        self._specs.update(added)

    def resolve(self, name: str) -> Spec:
        """The spec called `name`, by its name or an alias.

        Raises:
            UnknownTask: No task has that name; the message offers the nearest one.
        """
        names = self._names()
        if name not in names:
            raise UnknownTask(name, names)
        return names[name]

    def discover(self) -> None:
        """Import the entry points of group `bgtasks.tasks` and put in what their modules hold.

        An entry point that cannot be imported ends up in `broken` with its reason, and the others go on.
        Importing also records the tasks in the module-level registry, as any import of them does.

        Raises:
            DuplicateTask: Two entry points bring different functions of one name.
        """
        from importlib.metadata import entry_points  # slow to import, needed here only

        for point in entry_points(group=ENTRY_POINTS):
            try:
                loaded = point.load()
            except Exception as error:  # noqa: BLE001 - someone else's module; recorded as a row
                self._broken[point.name] = f"could not be imported: {type(error).__name__}: {error}"
            else:
                self._broken.pop(point.name, None)
                held = vars(loaded).values() if isinstance(loaded, ModuleType) else (loaded,)
                self.add(*(each for each in held if isinstance(getattr(each, _STAMP, None), Spec)))

    def _names(self) -> dict[str, Spec]:
        return _names_of(self._specs.values())


default_registry = Registry()
"""Where the decorators record, unless they are given a registry."""


def background_task[F: TaskFunction](
    interval: Interval | Trigger,
    initial_delay: Interval = 0.0,
    *,
    name: str | None = None,
    requires_redis: bool = False,
    requires_kg: bool = False,
    requires_openrouter: bool = False,
    requires_bot_runner: bool = False,
    requires_chat_llm: bool = False,
    requires_config: bool = False,
    opt_in_config_flag: str | None = None,
    requires: Iterable[str] = (),
    scope: str = "node",
    overlap: str = "skip",
    catch_up: str = "one",
    timeout: Interval | None = None,
    retry: Retry | None = None,
    breaker: Breaker | None = None,
    group: str | None = None,
    jitter: Interval = 0.0,
    interval_from: FromConfig | None = None,
    aliases: Iterable[str] = (),
    registry: Registry | None = None,
) -> Callable[[F], F]:
    """Record a coroutine function as a periodic task.

    Resources are injected by parameter name: `redis`, `kg_manager`, `openrouter`, `bot_runner`,
    `config`, `clock` (the scheduler's), and the names in `requires`. A parameter without a default is
    needed even if no flag says so.

    Args:
        interval: Seconds, a timedelta, a string such as `"4h"`, or a trigger. A plain interval is measured
            from the end of the previous run.
        initial_delay: How long after the scheduler's start the first run may be due: seconds, or `"30s"`.
        name: The task's name; the function's own by default.
        requires_redis: Runs only where a Redis client was given; likewise `requires_kg`,
            `requires_openrouter`, `requires_bot_runner`, `requires_config`.
        requires_chat_llm: Runs only while `config.background_scheduler_chat_llm_enabled` is not false.
        opt_in_config_flag: Runs only if this attribute of config is true.
        requires: Further needs, each a name given in `resources=`, or a path such as
            `"bot_runner.kg_manager"`.
        scope: `"node"` runs on every node, `"cluster"` starts each tick on one node.
        overlap: What becomes of a tick that finds the previous run still going: `"skip"` it, `"queue"` one
            behind it, `"cancel"` the previous run, or `"allow"` both. A plain interval, measured from the end
            of a run, has no such tick: there it is for `run_now` alone.
        catch_up: What becomes of ticks that were not noticed in time, because the process was stalled or
            suspended or the clock was set: `"one"` run for all, `"none"`, or `"all"` one after the other.
        timeout: Seconds, or `"30s"`, after which an attempt is cancelled; None for no limit.
        retry: `Retry(attempts, backoff)` tries a failed run again.
        breaker: `Breaker(after, cool_down)` pauses a task that keeps failing.
        group: Tasks of one group share a limit, given as `group_limits` to the scheduler.
        jitter: Moves each due instant by a random time between zero and this, in seconds or as `"30s"`.
        interval_from: Takes the interval from config, as in `minutes("lint_interval_minutes")`;
            `interval` serves where config lacks it.
        aliases: Further names by which `only` and `exclude` find the task.
        registry: Where to record it; the module-level registry by default.

    Raises:
        InvalidTrigger: The interval is not above zero, not finite or not readable.
        InvalidTask: Not a coroutine function, or a parameter that nothing can fill.
        DuplicateTask: A different function has this name.

    Not promised: that it runs. `build_scheduler` decides that and keeps its reason in `decisions`.
    """
    trigger = as_trigger(interval)
    source: object = interval_from
    if source is not None and not isinstance(source, FromConfig):
        raise InvalidTask(f'interval_from names its unit too, as in minutes("lint_minutes"), not {source!r}')
    needs = _needs(
        requires, requires_redis, requires_kg, requires_openrouter, requires_bot_runner, requires_config
    )

    def stamp(func: F) -> F:
        known_as = name or _name(func)
        return _record(
            func,
            registry,
            TaskSpec(
                name=known_as,
                func=func,
                trigger=trigger,
                initial_delay=delay(known_as, "initial_delay", initial_delay),
                jitter=delay(known_as, "jitter", jitter),
                interval_from=interval_from,
                policy=policy(known_as, overlap, catch_up, timeout, retry, breaker, group),
                requires=needs,
                requires_chat_llm=requires_chat_llm,
                opt_in_config_flag=opt_in_config_flag,
                scope=_scope(scope),
                aliases=_listed("aliases", aliases),
            ),
        )

    return stamp


def background_worker[F: TaskFunction](
    *,
    name: str | None = None,
    requires_redis: bool = False,
    requires_kg: bool = False,
    requires_openrouter: bool = False,
    requires_bot_runner: bool = False,
    requires_chat_llm: bool = False,
    requires_config: bool = False,
    opt_in_config_flag: str | None = None,
    requires: Iterable[str] = (),
    scope: str = "node",
    restart_delay: Interval = 5.0,
    group: str | None = None,
    restart: str = "always",
    heartbeat: Interval | None = None,
    aliases: Iterable[str] = (),
    registry: Registry | None = None,
) -> Callable[[F], F]:
    """Record a coroutine function as a long-lived worker, started again when it ends.

    Arguments not named here mean what they mean for `background_task`.

    Args:
        scope: `"node"` keeps one on every node under the `BackgroundScheduler`; `"leader"` keeps one on the
            elected leader alone, under the `TaskSupervisor`. Such a worker may take a `WorkerContext` as
            its parameter `ctx`.
        restart_delay: Seconds, or a string such as `"10s"`, between its end and its next start. For a
            leader's worker the longest first pause, which doubles from crash to crash.
        group: The leader group (scope `"leader"` only, as all below); None is the default group.
        restart: `"always"`, `"on_error"` or `"never"`: when it is started again after it ended.
        heartbeat: It promises to call `ctx.heartbeat()` at least so often, and is restarted if it does not.

    Raises:
        InvalidTrigger: The delay is not above zero, not finite or not readable.
        InvalidTask: Not a coroutine function, or a parameter that nothing can fill.
        DuplicateTask: A different function has this name.
    """
    restart_after = parse(restart_delay)
    needs = _needs(
        requires, requires_redis, requires_kg, requires_openrouter, requires_bot_runner, requires_config
    )

    def stamp(func: F) -> F:
        return _record(
            func,
            registry,
            WorkerSpec(
                name=name or _name(func),
                func=func,
                restart_delay=restart_after,
                group=group,
                restart=as_restart(restart),
                heartbeat=None if heartbeat is None else parse(heartbeat, "heartbeat"),
                requires=needs,
                requires_chat_llm=requires_chat_llm,
                opt_in_config_flag=opt_in_config_flag,
                scope=_scope(scope),
                aliases=_listed("aliases", aliases),
            ),
        )

    return stamp


def _record[F: TaskFunction](func: F, registry: Registry | None, spec: Spec) -> F:
    try:
        setattr(func, _STAMP, spec)
    except AttributeError as error:
        raise InvalidTask(f"{place(func)} cannot be decorated: wrap it in an async def") from error
    (default_registry if registry is None else registry).add(spec)
    return func


def _needs(
    requires: Iterable[str], redis: bool, kg: bool, openrouter: bool, bot_runner: bool, config: bool
) -> tuple[str, ...]:
    flags = {
        "redis": redis,
        "kg_manager": kg,
        "openrouter": openrouter,
        "bot_runner": bot_runner,
        "config": config,
    }
    return (*(name for name, needed in flags.items() if needed), *_listed("requires", requires))


def _listed(argument: str, names: Any) -> tuple[str, ...]:
    """The names, unless someone left out the comma."""
    if isinstance(names, str):
        raise InvalidTask(f'{argument} is a tuple of names: {argument}=("{names}",)')
    if isinstance(names, Iterable):
        listed = tuple(names)
        if all(isinstance(name, str) for name in listed):
            return listed
    raise InvalidTask(f'{argument} is a tuple of names, not {names!r}: {argument}=("name",)')


def _scope(scope: str) -> Scope:
    try:
        return Scope(scope)
    except ValueError:
        raise InvalidTask(f'scope is "node", "cluster" or, for a worker, "leader", not {scope!r}') from None


def _names_of(specs: Any) -> dict[str, Spec]:
    return {name: spec for spec in specs for name in (spec.name, *spec.aliases)}


def _name(func: Any) -> str:
    name = getattr(func, "__name__", None)
    if name is None:
        raise InvalidTask(f'{func!r} has no name of its own; give it one: name="my_task"')
    return str(name)


def _module(func: Any) -> str | None:
    """The module's importable name, also for a function of the script that was started."""
    module = getattr(func, "__module__", None)
    if module == "__main__":
        started = getattr(sys.modules.get("__main__"), "__spec__", None)
        return str(started.name) if started is not None else "__main__"
    return None if module is None else str(module)


def _same_function(one: Any, other: Any) -> bool:
    if one is other:
        return True
    names = (getattr(one, "__qualname__", None), getattr(other, "__qualname__", None))
    if names[0] is None or names[0] != names[1]:
        return False
    files = [getattr(getattr(each, "__code__", None), "co_filename", None) for each in (one, other)]
    # A script run by its path has no importable name: its file tells that it is the same module.
    twin = "__main__" in (one.__module__, other.__module__) and files[0] == files[1] is not None
    return twin or _module(one) == _module(other)
