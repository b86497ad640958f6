"""What the decorators record: frozen values that cannot be built wrong.

A spec says what a coroutine function is called, when it is due and what it needs. It holds no
resources and does no I/O; the wiring turns it into something that can run, or into a reason.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from bgtasks.errors import InvalidTask, InvalidTrigger
from bgtasks.policies import POLICY, Policy
from bgtasks.triggers import Interval, Trigger, parse, parse_delay

__all__ = [
    "RESOURCES",
    "FromConfig",
    "JobSpec",
    "Restart",
    "Scope",
    "Spec",
    "TaskFunction",
    "TaskSpec",
    "WorkerSpec",
    "as_restart",
    "check_call",
    "check_name",
    "days",
    "delay",
    "hours",
    "minutes",
    "parameters",
    "place",
    "promises_counts",
    "seconds",
]

type TaskFunction = Callable[..., Awaitable[Any]]

RESOURCES = ("redis", "kg_manager", "openrouter", "bot_runner", "config", "clock")
"""The resources a host may always give, by the parameter names that receive them; `clock` is always there."""


class Scope(StrEnum):
    """Where a task or worker runs."""

    NODE = "node"
    """On every node."""
    CLUSTER = "cluster"
    """Each tick on exactly one node."""
    LEADER = "leader"
    """On the elected leader only (workers)."""


class Restart(StrEnum):
    """When a leader's worker that has ended is started again."""

    ALWAYS = "always"
    """However it ended."""
    ON_ERROR = "on_error"
    """When it crashed; not when it returned."""
    NEVER = "never"
    """Not before the next term."""


class FromConfig(NamedTuple):
    """An interval that the host's config holds: attribute `name`, in units of `unit` seconds."""

    name: str
    unit: float


def seconds(name: str) -> FromConfig:
    """The config attribute `name` as an interval in seconds."""
    return FromConfig(name, 1.0)


def minutes(name: str) -> FromConfig:
    """The config attribute `name` as an interval in minutes."""
    return FromConfig(name, 60.0)


def hours(name: str) -> FromConfig:
    """The config attribute `name` as an interval in hours."""
    return FromConfig(name, 3600.0)


def days(name: str) -> FromConfig:
    """The config attribute `name` as an interval in days."""
    return FromConfig(name, 86_400.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What tasks and workers have in common.

    Attributes:
        name: Unique within a registry.
        func: The coroutine function itself.
        requires: Names that must be given for it to run. A dotted name reaches into a resource.
        requires_chat_llm: It calls the chat LLM, so the host's chat-LLM switch applies.
        opt_in_config_flag: A config attribute that must be true.
        scope: Where it runs.
        aliases: Further names under which it is found.

    Raises:
        InvalidTask: The function is no coroutine function, has a parameter that nothing can fill, or
            a value is out of range.
    """

    name: str
    func: TaskFunction
    requires: tuple[str, ...] = ()
    requires_chat_llm: bool = False
    opt_in_config_flag: str | None = None
    scope: Scope = Scope.NODE
    aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_name(self.name)
        if not inspect.iscoroutinefunction(self.func):
            raise InvalidTask(f'"{self.name}" must be a coroutine function: write "async def"')
        fillable = {*RESOURCES, *self.given, *(need for need in self.requires if "." not in need)}
        for parameter in parameters(self.func):
            if parameter.kind is parameter.POSITIONAL_ONLY:
                raise InvalidTask(
                    f'"{self.name}": resources are given by name, so the parameter '
                    f'"{parameter.name}" cannot be positional-only: remove the "/"'
                )
            if parameter.default is parameter.empty and parameter.name not in fillable:
                raise InvalidTask(
                    f'"{self.name}": nothing fills the parameter "{parameter.name}"; known are '
                    f"{', '.join(RESOURCES)}. For a resource of your own say "
                    f'requires=("{parameter.name}",), or give the parameter a default'
                )

    @property
    def given(self) -> tuple[str, ...]:
        """Parameters that are filled at each start, by whoever runs it."""
        return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec(Spec):
    """A periodic task: runs, ends, and is due again.

    Attributes:
        trigger: When it is due.
        initial_delay: Seconds after the start of the scheduler before the first run may be due.
        jitter: Each due instant is moved by a random 0 to `jitter` seconds; the schedule itself
            does not drift.
        interval_from: A config attribute that replaces the trigger's interval when it is there.
        policy: What happens on overlap, lateness, failure and when it takes too long.
    """

    trigger: Trigger
    initial_delay: float = 0.0
    jitter: float = 0.0
    interval_from: FromConfig | None = None
    policy: Policy = POLICY

    def __post_init__(self) -> None:
        super(TaskSpec, self).__post_init__()  # the zero-argument form is lost under slots=True
        delay(self.name, "initial_delay", self.initial_delay)
        delay(self.name, "jitter", self.jitter)
        if self.scope is Scope.LEADER:
            raise InvalidTask(
                f'"{self.name}": a periodic task has scope "node" or "cluster"; scope="leader" is for '
                f"long-lived workers: use @background_worker"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec(Spec):
    """What runs the jobs of a type: each start of one on exactly one node. Its name is the type.

    Attributes:
        policy: As for a task, for each job by itself.
    """

    policy: Policy = POLICY

    @property
    def given(self) -> tuple[str, ...]:
        """See `Spec`: it may take a `ScheduledJob` as `job`."""
        return ("job",)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSpec(Spec):
    """A long-lived worker: meant not to end, started again when it does.

    Attributes:
        restart_delay: Seconds between its end, for whatever reason, and its next start. For a leader's worker
            the longest first pause, which doubles from crash to crash.
        group: The leader group it belongs to; None is the default group.
        restart: When it is started again after it ended.
        heartbeat: Seconds within which it promises to call `ctx.heartbeat()` again; None for no promise.
    """

    restart_delay: float = 5.0
    group: str | None = None
    restart: Restart = Restart.ALWAYS
    heartbeat: float | None = None

    def __post_init__(self) -> None:
        super(WorkerSpec, self).__post_init__()
        parse(self.restart_delay)
        if self.scope is Scope.CLUSTER:
            raise InvalidTask(
                f'"{self.name}": a worker has scope "node" (one on every node) or "leader" '
                f"(one in the cluster)"
            )
        if self.scope is Scope.LEADER:
            if self.heartbeat is not None and self.given[0] not in inspect.signature(self.func).parameters:
                raise InvalidTask(f'"{self.name}": heartbeat= needs a parameter "ctx" with ctx.heartbeat()')
            return
        if self.group is not None:
            raise InvalidTask(f'"{self.name}": only a worker with scope="leader" has a group')
        if self.restart is not Restart.ALWAYS or self.heartbeat is not None:
            raise InvalidTask(f'"{self.name}": restart and heartbeat are for workers with scope="leader"')

    @property
    def given(self) -> tuple[str, ...]:
        """See `Spec`: a leader's worker may take a `WorkerContext` as `ctx`."""
        return ("ctx",) if self.scope is Scope.LEADER else ()


def as_restart(value: str) -> Restart:
    """The policy that `value` names.

    Raises:
        InvalidTask: It names none.
    """
    try:
        return Restart(value)
    except ValueError:
        words = ", ".join(f'"{each}"' for each in Restart)
        raise InvalidTask(f"restart is one of {words}, not {value!r}") from None


def check_name(name: object) -> None:
    """Raise `InvalidTask` unless a task can be called `name`: one line of text, and not nothing."""
    if not isinstance(name, str) or not name or not name.isprintable():
        raise InvalidTask(f'a task needs a name, not {name!r}: name="my_task"')


def check_call(name: str, func: object, args: object, kwargs: object) -> None:
    """Raise `InvalidTask` unless `func` can be called with `args` and `kwargs`, as far as that shows."""
    if not callable(func):
        raise InvalidTask(f'"{name}": {func!r} cannot be called; give a coroutine function')
    if type(args) is not tuple and (isinstance(args, str) or not isinstance(args, Iterable)):
        raise InvalidTask(f'"{name}": args are a tuple of arguments, not {args!r}')
    if kwargs is not None and not isinstance(kwargs, Mapping):
        raise InvalidTask(f'"{name}": kwargs are a mapping of names to arguments, not {kwargs!r}')


def delay(task: str, label: str, value: Interval) -> float:
    """The seconds of a task's delay, zero allowed.

    Raises:
        InvalidTask: It is no duration, below zero, not finite, or above a century.
    """
    try:
        return parse_delay(value)
    except InvalidTrigger as error:
        raise InvalidTask(
            f'"{task}": {label} is seconds, zero or more, not {value!r} (or a string such as "30s")'
        ) from error


def place(func: Any) -> str:
    """Where a function was written, for error messages: its module and qualified name."""
    return f"{getattr(func, '__module__', '?')}.{getattr(func, '__qualname__', repr(func))}"


def promises_counts(func: TaskFunction) -> bool:
    """Whether its annotation says that it returns a mapping, as of names to counts, and not maybe None."""
    said = getattr(func, "__annotations__", {}).get("return")
    text = said if isinstance(said, str) else getattr(said, "__name__", "")
    root = text.partition("[")[0].rpartition(".")[2]
    return root in ("dict", "Dict", "Mapping", "Counter") and "None" not in text


def parameters(func: TaskFunction) -> list[inspect.Parameter]:
    """The parameters that can be filled by name; `*args` and `**kwargs` are left out."""
    return [
        parameter
        for parameter in inspect.signature(func).parameters.values()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
