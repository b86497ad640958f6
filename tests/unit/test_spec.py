"""What the decorators record cannot be built wrong."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from bgtasks import Every, days, hours, minutes, seconds
from bgtasks.errors import InvalidTask, InvalidTrigger
from bgtasks.policies import POLICY
from bgtasks.spec import RESOURCES, FromConfig, Scope, TaskSpec, WorkerSpec, parameters, promises_counts


async def nothing() -> None: ...


def task(func: Any = nothing, name: str = "tidy", **fields: Any) -> TaskSpec:
    return TaskSpec(name=name, func=func, trigger=Every(60), **fields)


def worker(func: Any = nothing, name: str = "listen", **fields: Any) -> WorkerSpec:
    return WorkerSpec(name=name, func=func, **fields)


def test_a_plain_task_needs_nothing_and_runs_on_every_node() -> None:
    spec = task()

    assert (spec.requires, spec.requires_chat_llm, spec.opt_in_config_flag) == ((), False, None)
    assert (spec.scope, spec.initial_delay, spec.jitter, spec.interval_from) == (Scope.NODE, 0.0, 0.0, None)
    assert spec.policy is POLICY


def test_a_spec_does_not_change() -> None:
    spec = task()

    with pytest.raises(FrozenInstanceError):
        spec.name = "other"  # type: ignore[misc]


@pytest.mark.parametrize("name", ["", None, 7])
@pytest.mark.parametrize("kind", [task, worker])
def test_a_spec_without_a_name_is_refused(kind: Any, name: Any) -> None:
    with pytest.raises(InvalidTask, match=f'a task needs a name,.* not {name!r}: name="my_task"'):
        kind(name=name)


def plain() -> None: ...


class Callable:
    async def __call__(self) -> None: ...


NOT_ASYNC = {
    "a plain function": plain,
    "a lambda": lambda: nothing(),
    "a builtin": len,
    "an object": Callable(),
    "None": None,
    "a text": "nothing",
}


@pytest.mark.parametrize("func", NOT_ASYNC.values(), ids=NOT_ASYNC)
@pytest.mark.parametrize("kind", [task, worker])
def test_what_is_no_coroutine_function_is_refused_with_the_cure(kind: Any, func: Any) -> None:
    with pytest.raises(InvalidTask, match='must be a coroutine function: write "async def"'):
        kind(func)


@pytest.mark.parametrize("kind", [task, worker])
def test_a_parameter_that_nothing_can_fill_is_refused_with_both_cures(kind: Any) -> None:
    async def needs(redis: object, discord: object) -> None: ...

    with pytest.raises(InvalidTask) as refused:
        kind(needs, name="greet")

    assert str(refused.value) == (
        '"greet": nothing fills the parameter "discord"; known are '
        f"{', '.join(RESOURCES)}. "
        'For a resource of your own say requires=("discord",), or give the parameter a default'
    )


def test_a_resource_of_ones_own_fills_a_parameter_and_a_path_into_one_does_not() -> None:
    async def needs(discord: object) -> None: ...

    assert task(needs, requires=("discord",)).requires == ("discord",)
    with pytest.raises(InvalidTask, match='nothing fills the parameter "discord"'):
        task(needs, requires=("discord.guild",))


@pytest.mark.parametrize("name", RESOURCES)
def test_each_host_resource_fills_the_parameter_of_its_name(name: str) -> None:
    scope: dict[str, Any] = {}
    exec(f"async def needs({name}): ...", scope)

    assert task(scope["needs"]).name == "tidy"


def test_defaults_and_star_arguments_need_nothing() -> None:
    async def relaxed(*args: object, limit: int = 10, config: object = None, **kwargs: object) -> None: ...

    spec = task(relaxed)

    assert [each.name for each in parameters(spec.func)] == ["limit", "config"]


def test_a_keyword_only_parameter_is_filled_too() -> None:
    async def strict(*, redis: object) -> None: ...

    assert task(strict).func is strict


def test_a_partial_of_a_coroutine_function_is_taken() -> None:
    async def needs(redis: object, channel: str) -> None: ...

    spec = task(functools.partial(needs, channel="lobby"))

    assert spec.name == "tidy"


@pytest.mark.parametrize("kind", [task, worker])
def test_a_positional_only_parameter_is_refused_with_the_cure(kind: Any) -> None:
    async def needs(redis: object, /) -> None: ...

    with pytest.raises(InvalidTask, match='the parameter "redis" cannot be positional-only: remove the "/"'):
        kind(needs)


@pytest.mark.parametrize("value", [-1, -0.001, float("nan"), float("inf")])
@pytest.mark.parametrize("label", ["initial_delay", "jitter"])
def test_a_delay_out_of_range_is_refused(label: str, value: float) -> None:
    fields: dict[str, Any] = {label: value}

    with pytest.raises(InvalidTask, match=f'"tidy": {label} is seconds, zero or more, not {value!r}'):
        task(**fields)


def test_a_periodic_task_cannot_have_the_scope_of_the_leader() -> None:
    with pytest.raises(InvalidTask) as refused:
        task(scope=Scope.LEADER)

    assert str(refused.value) == (
        '"tidy": a periodic task has scope "node" or "cluster"; scope="leader" is for long-lived workers: '
        "use @background_worker"
    )


def test_a_worker_cannot_have_the_scope_of_the_cluster() -> None:
    with pytest.raises(InvalidTask, match=r'a worker has scope "node" \(one on every node\) or "leader"'):
        worker(scope=Scope.CLUSTER)


def test_only_a_leader_worker_has_a_group() -> None:
    assert worker(scope=Scope.LEADER, group="graph").group == "graph"
    with pytest.raises(InvalidTask, match='only a worker with scope="leader" has a group'):
        worker(group="graph")


@pytest.mark.parametrize("delay", [0, -1, float("nan")])
def test_a_worker_that_would_be_restarted_without_a_pause_is_refused(delay: float) -> None:
    with pytest.raises(InvalidTrigger, match="must be above zero"):
        worker(restart_delay=delay)


@pytest.mark.parametrize(
    ("unit", "size"),
    [(seconds, 1.0), (minutes, 60.0), (hours, 3600.0), (days, 86_400.0)],
    ids=["seconds", "minutes", "hours", "days"],
)
def test_an_interval_from_config_says_its_unit(unit: Any, size: float) -> None:
    assert unit("lint_interval") == FromConfig("lint_interval", size)


async def _counts() -> dict[str, int]:
    return {}


async def _mapping() -> Mapping[str, int]:
    return {}


async def _nothing() -> None: ...


async def _maybe() -> dict[str, int] | None: ...


async def nothing_said():  # type: ignore[no-untyped-def]
    return {}


@pytest.mark.parametrize(
    ("func", "promised"),
    [(_counts, True), (_mapping, True), (_nothing, False), (nothing_said, False), (_maybe, False)],
)
def test_an_annotation_promises_counts(func: Any, promised: bool) -> None:
    assert promises_counts(func) is promised
