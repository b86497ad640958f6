"""The decorators that stamp: what is run, when it is due, and what it needs.

They return the function unchanged, do no I/O, and record a spec in a registry: the module-level one unless
told otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from bgtasks.errors import InvalidTask
from bgtasks.policies import Breaker, Retry, policy
from bgtasks.registry import Registry, record
from bgtasks.spec import (
    FromConfig,
    JobSpec,
    Scope,
    TaskFunction,
    TaskSpec,
    WorkerSpec,
    as_restart,
    delay,
)
from bgtasks.triggers import Interval, Trigger, as_trigger, parse

__all__ = ["background_job", "background_task", "background_worker"]


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
        return record(
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
        return record(
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


def background_job[F: TaskFunction](
    job_type: str | None = None,
    *,
    requires_redis: bool = False,
    requires_kg: bool = False,
    requires_openrouter: bool = False,
    requires_bot_runner: bool = False,
    requires_chat_llm: bool = False,
    requires_config: bool = False,
    opt_in_config_flag: str | None = None,
    requires: Iterable[str] = (),
    overlap: str = "skip",
    catch_up: str = "one",
    timeout: Interval | None = None,
    retry: Retry | None = None,
    breaker: Breaker | None = None,
    group: str | None = None,
    aliases: Iterable[str] = (),
    registry: Registry | None = None,
) -> Callable[[F], F]:
    """Record a coroutine function as what runs the jobs of a type, which are added while the program runs.

    `scheduler.jobs.add(job_type, trigger, config=...)` adds one; the store keeps it. The function may take a
    `ScheduledJob` as its parameter `job`: its bot, key and config. Arguments not named here mean what they
    mean for `background_task`; they hold for each job by itself.

    Args:
        job_type: What jobs call it; the function's own name by default.

    Raises:
        InvalidTask: Not a coroutine function, or a parameter that nothing can fill.
        DuplicateTask: A different function has this name.
    """
    needs = _needs(
        requires, requires_redis, requires_kg, requires_openrouter, requires_bot_runner, requires_config
    )

    def stamp(func: F) -> F:
        known_as = job_type or _name(func)
        return record(
            func,
            registry,
            JobSpec(
                name=known_as,
                func=func,
                policy=policy(known_as, overlap, catch_up, timeout, retry, breaker, group),
                requires=needs,
                requires_chat_llm=requires_chat_llm,
                opt_in_config_flag=opt_in_config_flag,
                scope=Scope.CLUSTER,
                aliases=_listed("aliases", aliases),
            ),
        )

    return stamp


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


def _name(func: Any) -> str:
    name = getattr(func, "__name__", None)
    if name is None:
        raise InvalidTask(f'{func!r} has no name of its own; give it one: name="my_task"')
    return str(name)
