"""The judge: a spec, the resources and the config make either keyword arguments or a reason.

This is the only place that decides whether a task can run here. Tasks do not test flags in their
bodies, and the scheduler does not look at resources.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from bgtasks.contracts import Absent, StrictConfig
from bgtasks.errors import ConfigurationError, InvalidSetting, InvalidTrigger, nearest
from bgtasks.outcomes import Skipped
from bgtasks.registry import Registry
from bgtasks.spec import RESOURCES, JobSpec, Scope, Spec, TaskSpec, WorkerSpec, parameters
from bgtasks.triggers import Every, Trigger, spoken

__all__ = ["CHAT_LLM_FLAG", "Decision", "Decisions", "Wired", "Wiring", "further", "select"]

CHAT_LLM_FLAG = "background_scheduler_chat_llm_enabled"

_ABSENT = {
    "redis": "no Redis client was given",
    "kg_manager": "no knowledge graph was given",
    "openrouter": "no LLM client was given",
    "bot_runner": "no bot runner was given",
    "config": "no config was given",
}
_FALSE_WORDS = {"", "0", "false", "no", "off", "none"}


class Wired(NamedTuple):
    """It can run here: with these keyword arguments, on this trigger. `note` limits the promise.

    What runs jobs that are added at run time has no trigger of its own.
    """

    kwargs: Mapping[str, Any]
    trigger: Trigger | None
    note: str | None = None


class Decision(NamedTuple):
    """One row of the answer to "why is this not running?".

    Attributes:
        name: The task or worker.
        reason: Why it is not wired; None when it is.
        kind: `"task"`, `"worker"`, `"job"` for what runs jobs that are added at run time, or
            `"entry point"` for one that could not be imported.
        when: Its trigger in words.
        scope: Where it runs.
        needs: The names it requires.
        note: What a wired task does not promise here, if anything.
    """

    name: str
    reason: str | None = None
    kind: str = "task"
    when: str = ""
    scope: str = "node"
    needs: tuple[str, ...] = ()
    note: str | None = None

    @property
    def wired(self) -> bool:
        """Whether it runs here."""
        return self.reason is None


class Decisions:
    """The rows of a scheduler, one for each task and worker that is known to it."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], Decision] = {}

    def __iter__(self) -> Iterator[Decision]:
        return iter(tuple(self._rows.values()))

    def keep(self, row: Decision) -> None:
        """Keep a row, unless there is one for it."""
        self._rows.setdefault((row.kind, row.name), row)

    def knows(self, name: str) -> bool:
        """Whether a task or worker of this name has a row."""
        return ("task", name) in self._rows or ("worker", name) in self._rows

    def rescheduled(self, name: str, when: str) -> None:
        """A task has another trigger."""
        if (row := self._rows.get(("task", name))) is not None:
            self._rows["task", name] = row._replace(when=when)

    def drop(self, name: str) -> None:
        """A task or worker is no more."""
        for kind in ("task", "worker"):
            self._rows.pop((kind, name), None)


class Wiring:
    """Judges specs against one set of resources and one config.

    Args:
        resources: Name to object. None and `Absent(reason)` count as not given.
        config: Any object with attributes, a mapping, or None. A config that says `strict_names`
            (our own `Settings`) makes an unknown flag an error instead of "off".
        claims: Whether ticks of cluster tasks are claimed in a store.
    """

    def __init__(self, resources: Mapping[str, Any], config: Any = None, *, claims: bool = False) -> None:
        self._claims = claims
        self._resources = {"config": config, **resources}
        self._config = config
        self._warned: set[str] = set()

    def judge(self, spec: Spec) -> Wired | Skipped:
        """Whether `spec` can run here; every reason against it, joined, if not.

        Raises:
            InvalidSetting: A strict config does not know a flag the spec names.
        """
        reasons = [*self._missing(spec), *self._switched_off(spec)]
        if isinstance(spec, JobSpec) and not self._claims:
            reasons.append("jobs are kept in a store: give redis= or store=")
        trigger = None if isinstance(spec, JobSpec) else self._trigger(spec)
        if isinstance(trigger, str):
            reasons.append(trigger)
        if reasons or isinstance(trigger, str):
            return Skipped("; ".join(dict.fromkeys(reasons)))
        alone = spec.scope is Scope.CLUSTER and not self._claims
        note = "cluster scope within this process only" if alone else None
        return Wired(self._arguments(spec), trigger, note)

    def switched_off(self, spec: Spec) -> bool:
        """Whether the config says that it is not to run, here or on any node.

        Raises:
            InvalidSetting: As `judge`.
        """
        return any(True for _ in self._switched_off(spec))

    def decide(self, spec: Spec, verdict: Wired | Skipped) -> Decision:
        """The row that shows `verdict`."""
        wired = verdict if isinstance(verdict, Wired) else None
        if isinstance(spec, TaskSpec):
            kind, when = "task", str(wired.trigger if wired else spec.trigger)
        elif isinstance(spec, JobSpec):
            kind, when = "job", "as each job of this type says"
        else:
            assert isinstance(spec, WorkerSpec)
            kind, when = "worker", f"always, restarted after {spoken(spec.restart_delay)}"
        return Decision(
            name=spec.name,
            reason=None if isinstance(verdict, Wired) else verdict.reason,
            kind=kind,
            when=when,
            scope=spec.scope.value,
            needs=spec.requires,
            note=wired.note if wired else None,
        )

    def _missing(self, spec: Spec) -> Iterable[str]:
        by_parameter = (
            each.name
            for each in parameters(spec.func)
            if each.default is each.empty and each.name not in (*spec.requires, *spec.given)
        )
        missing = set()
        for need in (*spec.requires, *by_parameter):
            root, *path = need.split(".")
            held = self._resources.get(root)
            if held is None or isinstance(held, Absent):
                if path and root in missing:
                    continue  # it was said of the whole
                missing.add(root)
                yield f"needs {need}: {self._why_absent(root, held)}"
                continue
            owner = root
            for step in path:
                try:
                    held = getattr(held, step, None)
                except Exception as error:  # noqa: BLE001 - a property of the host's object
                    held = Absent(f"{type(error).__name__}: {error}")
                if held is None or isinstance(held, Absent):
                    yield f"{owner} has no {step}" + (f": {held.reason}" if held is not None else "")
                    break
                owner = f"{owner}.{step}"

    def _why_absent(self, root: str, held: Absent | None) -> str:
        if held is not None:
            return held.reason
        return _ABSENT.get(root, f'no resource "{root}" was given')

    def _switched_off(self, spec: Spec) -> Iterable[str]:
        if spec.opt_in_config_flag is not None:
            yield from self._opt_in(spec.opt_in_config_flag)
        if spec.requires_chat_llm and not _truthy(self._read(CHAT_LLM_FLAG, default=True)):
            yield f"calls the chat LLM: {CHAT_LLM_FLAG} is false"

    def _opt_in(self, flag: str) -> Iterable[str]:
        if self._config is None:
            yield f"off: {flag} must be true, and no config was given"
            return
        unknown = object()
        value = self._read(flag, default=unknown)
        if value is unknown:
            reason = f"off: config has no {flag}"
            if (near := nearest(flag, _names(self._config))) is not None:
                reason += f" (it has {near})"
            if flag not in self._warned:
                self._warned.add(flag)
                logging.getLogger("bgtasks").warning("%s; a task opts in with it", reason)
            yield reason
        elif not _truthy(value):
            yield f"off: {flag} is false"

    def _trigger(self, spec: Spec) -> Trigger | str:
        if isinstance(spec, WorkerSpec):
            return Every(spec.restart_delay)
        assert isinstance(spec, TaskSpec)
        source = spec.interval_from
        if source is None or (value := self._read(source.name, default=None)) is None:
            return spec.trigger
        try:
            if not isinstance(value, bool):
                grid = isinstance(spec.trigger, Every) and spec.trigger.fixed_rate
                return Every(float(value) * source.unit, fixed_rate=grid)
        except (InvalidTrigger, TypeError, ValueError, OverflowError):
            pass
        return f"off: {source.name} is {value!r}, which is no interval above zero"

    def _read(self, name: str, *, default: Any) -> Any:
        config = self._config
        if config is None:
            return default
        if isinstance(config, Mapping):
            return config.get(name, default)
        value = getattr(config, name, _MISSING)
        if value is not _MISSING:
            return value
        if isinstance(config, StrictConfig) and config.strict_names:
            near = nearest(name, _names(config))
            hint = f"did you mean {near}?" if near else "add it to the settings or pass a config that has it"
            raise InvalidSetting(f"the settings have no {name}: {hint}")
        return default

    def _arguments(self, spec: Spec) -> dict[str, Any]:
        arguments = {}
        for parameter in parameters(spec.func):
            held = self._resources.get(parameter.name)
            known = parameter.name in RESOURCES or parameter.name in spec.requires
            if known and held is not None and not isinstance(held, Absent):
                arguments[parameter.name] = held
        return arguments


def further(resources: Mapping[str, Any] | None) -> dict[str, Any]:
    """A host's resources beside those that have an argument of their own.

    Raises:
        ConfigurationError: One of them has.
    """
    extra = dict(resources or {})
    if clash := [name for name in RESOURCES if name in extra]:
        raise ConfigurationError(f"resources= repeats {', '.join(clash)}: give it by its own argument")
    return extra


def select(registry: Registry, only: Iterable[str] | None, exclude: Iterable[str]) -> dict[str, str]:
    """The specs left out by name, each with its reason; names and aliases both count.

    Raises:
        UnknownTask: A name that no task has, with the nearest one.
    """
    chosen = None if only is None else {_resolve(registry, name) for name in _listed("only", only)}
    dropped = {_resolve(registry, name) for name in _listed("exclude", exclude)}
    reasons = {}
    for spec in registry:
        if spec.name in dropped:
            reasons[spec.name] = "excluded by name"
        elif chosen is not None and spec.name not in chosen:
            reasons[spec.name] = "not among the tasks selected with only="
    return reasons


def _resolve(registry: Registry, name: str) -> str:
    return registry.resolve(name).name


def _listed(argument: str, names: Iterable[str]) -> Iterable[str]:
    if isinstance(names, str):
        raise InvalidSetting(f'{argument} is a tuple of names: {argument}=("{names}",)')
    return names


_MISSING = object()


def _names(config: Any) -> list[str]:
    names = config if isinstance(config, Mapping) else dir(config)
    return [name for name in names if isinstance(name, str) and not name.startswith("_")]


def _truthy(value: Any) -> bool:
    """A flag's truth; words for "no" count as false, since flags often come out of an environment."""
    if isinstance(value, str):
        return value.strip().lower() not in _FALSE_WORDS
    return bool(value)
