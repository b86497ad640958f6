"""The decorators stamp and change nothing; the registry collects, and refuses what is ambiguous."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.support.processes import run_python

from bgtasks import Breaker, Cron, Every, Registry, Retry, background_task, background_worker
from bgtasks import registry as registry_module
from bgtasks.errors import DuplicateTask, InvalidTask, InvalidTrigger, UnknownTask
from bgtasks.policies import POLICY, CatchUp, Overlap, Policy
from bgtasks.spec import Scope, TaskSpec, WorkerSpec


async def nothing() -> None: ...


def defined_in(module: str, source: str, registry: Registry) -> ModuleType:
    """A module made from source, as an import (or a reload) of it would."""
    made = ModuleType(module)
    vars(made).update(background_task=background_task, background_worker=background_worker, registry=registry)
    exec(compile(source, f"/srv/{module}.py", "exec"), vars(made))
    return made


TIDY = """
@background_task({interval}, registry=registry)
async def tidy(): ...
"""


# -- the decorators ------------------------------------------------------------------------------


def test_the_decorator_returns_the_function_itself(registry: Registry) -> None:
    async def tidy() -> int:
        return 7

    stamped = background_task("4h", registry=registry)(tidy)

    assert stamped is tidy
    assert inspect.iscoroutinefunction(stamped)
    assert registry.resolve("tidy").func is tidy


def test_the_decorator_records_all_it_was_told(registry: Registry) -> None:
    @background_task(
        "4h",
        30,
        name="extract",
        requires_redis=True,
        requires_kg=True,
        requires_openrouter=True,
        requires_bot_runner=True,
        requires_chat_llm=True,
        requires_config=True,
        opt_in_config_flag="extract_enabled",
        requires=("discord", "bot_runner.kg_manager"),
        scope="cluster",
        jitter="1m",
        aliases=("auto_extract",),
        registry=registry,
    )
    async def task(redis: object, discord: object) -> None: ...

    assert registry.resolve("extract") == TaskSpec(
        name="extract",
        func=task,
        trigger=Every(14_400),
        initial_delay=30,
        jitter=60.0,
        requires=(
            *("redis", "kg_manager", "openrouter", "bot_runner", "config"),
            *("discord", "bot_runner.kg_manager"),
        ),
        requires_chat_llm=True,
        opt_in_config_flag="extract_enabled",
        scope=Scope.CLUSTER,
        aliases=("auto_extract",),
    )


def test_the_worker_decorator_records_all_it_was_told(registry: Registry) -> None:
    @background_worker(
        requires_redis=True, scope="leader", restart_delay="10s", group="graph", registry=registry
    )
    async def listen(redis: object) -> None: ...

    assert registry.resolve("listen") == WorkerSpec(
        name="listen",
        func=listen,
        requires=("redis",),
        scope=Scope.LEADER,
        restart_delay=10.0,
        group="graph",
    )


def test_the_interval_may_be_a_trigger(registry: Registry) -> None:
    daily = Cron("@daily", "Europe/Helsinki")

    background_task(daily, registry=registry)(nothing)

    spec = registry.resolve("nothing")
    assert isinstance(spec, TaskSpec)
    assert spec.trigger is daily


def test_without_a_registry_the_module_level_one_collects(monkeypatch: pytest.MonkeyPatch) -> None:
    default = Registry()
    monkeypatch.setattr(registry_module, "default_registry", default)

    background_task(60, name="recorded")(nothing)

    assert "recorded" in default


@pytest.mark.parametrize(
    "interval", [0, -1, float("nan"), float("inf"), "4 parsecs", "", True, None, object()]
)
def test_a_bad_interval_fails_at_the_decorator_and_records_nothing(registry: Registry, interval: Any) -> None:
    with pytest.raises(InvalidTrigger):
        background_task(interval, registry=registry)

    assert len(registry) == 0


@pytest.mark.parametrize("delay", [0, -1, "soon", None])
def test_a_bad_restart_delay_fails_at_the_decorator(registry: Registry, delay: Any) -> None:
    with pytest.raises(InvalidTrigger):
        background_worker(restart_delay=delay, registry=registry)


@pytest.mark.parametrize("decorate", [background_worker, lambda **options: background_task(60, **options)])
def test_a_need_given_as_a_bare_text_is_refused_with_the_tuple_it_should_be(
    registry: Registry, decorate: Callable[..., Any]
) -> None:
    with pytest.raises(InvalidTask) as refused:
        decorate(requires="discord", registry=registry)

    assert str(refused.value).startswith("requires is a tuple of names")
    assert "requires=(" in str(refused.value)


@pytest.mark.parametrize(
    ("decorate", "said"),
    [
        (lambda **o: background_task(60, scope="leader", **o), "use @background_worker"),
        (lambda **o: background_worker(scope="cluster", **o), 'a worker has scope "node"'),
        (lambda **o: background_worker(group="graph", **o), 'only a worker with scope="leader" has a group'),
        (
            lambda **o: background_task(60, scope="galaxy", **o),
            'scope is "node", "cluster" or, for a worker, "leader", not \'galaxy\'',
        ),
        (
            lambda **o: background_worker(scope="", **o),
            'scope is "node", "cluster" or, for a worker, "leader", not \'\'',
        ),
        (lambda **o: background_task(60, jitter=-1, **o), "jitter is seconds, zero or more, not -1"),
        (lambda **o: background_task(60, -1, **o), "initial_delay is seconds, zero or more, not -1"),
    ],
)
def test_a_task_that_could_never_run_is_refused_and_not_recorded(
    registry: Registry, decorate: Callable[..., Any], said: str
) -> None:
    with pytest.raises(InvalidTask) as refused:
        decorate(registry=registry)(nothing)

    assert said in str(refused.value)
    assert len(registry) == 0


def test_a_plain_function_is_refused_and_not_recorded(registry: Registry) -> None:
    def tidy() -> None: ...

    with pytest.raises(InvalidTask, match='"tidy" must be a coroutine function: write "async def"'):
        background_task(60, registry=registry)(tidy)  # type: ignore[type-var]

    assert len(registry) == 0


def test_a_function_without_a_name_is_asked_for_one(registry: Registry) -> None:
    import functools

    partial = functools.partial(nothing)

    with pytest.raises(InvalidTask, match='has no name of its own; give it one: name="my_task"'):
        background_task(60, registry=registry)(partial)
    background_task(60, name="named", registry=registry)(partial)

    assert registry.resolve("named").func is partial


def test_a_function_that_cannot_be_stamped_is_not_half_recorded(registry: Registry) -> None:
    class Host:
        async def tidy(self) -> None: ...

    try:
        background_task(60, registry=registry)(Host().tidy)
    except InvalidTask:
        recorded = 0
    else:
        recorded = 1

    assert len(registry) == recorded


def test_the_decorator_records_the_policies(registry: Registry) -> None:
    @background_task(
        Every("1m", fixed_rate=True),
        overlap="queue",
        catch_up="all",
        timeout="30s",
        retry=Retry(4, "2s"),
        breaker=Breaker(3, "10m"),
        group="llm",
        registry=registry,
    )
    async def extract() -> None: ...

    spec = registry.resolve("extract")
    assert isinstance(spec, TaskSpec)
    assert spec.policy == Policy(
        Overlap.QUEUE, CatchUp.ALL, 30.0, Retry(4, 2.0, 60.0), Breaker(3, 600.0), "llm"
    )


def test_tasks_that_say_the_same_share_their_policies(registry: Registry) -> None:
    for name in ("one", "two"):
        background_task(60, name=name, timeout=5, retry=Retry(), registry=registry)(nothing)
    background_task(60, name="plain", registry=registry)(nothing)

    one, two, plain = (spec for spec in registry if isinstance(spec, TaskSpec))
    assert one.policy is two.policy
    assert plain.policy == POLICY != one.policy


BAD_POLICIES: list[tuple[dict[str, Any], str]] = [
    ({"overlap": "never"}, 'overlap is one of "skip", "queue", "cancel", "allow", not \'never\''),
    ({"catch_up": 1}, 'catch_up is one of "one", "none", "all", not 1'),
    ({"timeout": 0}, 'timeout is seconds above zero or a string such as "30s", not 0'),
    ({"retry": 3}, r"retry is a Retry\(…\) or None, not 3"),
    ({"breaker": 5}, r"breaker is a Breaker\(…\) or None, not 5"),
    ({"group": ""}, "group is a name, such as group=\"llm\", not ''"),
]


@pytest.mark.parametrize(("options", "said"), BAD_POLICIES, ids=lambda value: str(value)[:20])
def test_a_policy_that_cannot_be_meant_is_an_error_at_import_and_records_nothing(
    registry: Registry, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidTask, match=f'"nothing": {said}'):
        background_task(60, registry=registry, **options)(nothing)

    assert len(registry) == 0


LATER: list[dict[str, Any]] = [{"timeout": 5}, {"retry": Retry()}, {"overlap": "skip"}, {"catch_up": "one"}]


@pytest.mark.parametrize("policy", LATER, ids=lambda policy: next(iter(policy)))
def test_a_worker_which_never_ends_has_no_policies(policy: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{next(iter(policy))}'"):
        background_worker(**policy)


def test_a_store_is_no_parameter_yet() -> None:
    store: dict[str, Any] = {"store": None}

    with pytest.raises(TypeError, match="unexpected keyword argument 'store'"):
        background_task(60, **store)


# -- one name, one function ----------------------------------------------------------------------


def test_a_registry_keeps_the_order_of_recording(registry: Registry) -> None:
    for name in ("zebra", "apple", "mango"):
        background_task(60, name=name, aliases=(f"old_{name}",), registry=registry)(nothing)

    assert [spec.name for spec in registry] == ["zebra", "apple", "mango"]
    assert len(registry) == 3
    assert "apple" in registry
    assert "old_apple" in registry
    assert "pear" not in registry


def test_a_reload_of_its_module_replaces_a_task(registry: Registry) -> None:
    first = defined_in("host.tasks", TIDY.format(interval=60), registry)
    second = defined_in("host.tasks", TIDY.format(interval=90), registry)

    [spec] = registry
    assert isinstance(spec, TaskSpec)
    assert spec.trigger == Every(90)
    assert spec.func is second.tidy is not first.tidy


def test_a_different_function_under_a_taken_name_is_refused(registry: Registry) -> None:
    first = defined_in("host.tasks", TIDY.format(interval=60), registry)

    with pytest.raises(DuplicateTask) as refused:
        defined_in("plugin", TIDY.format(interval=60), registry)

    assert str(refused.value).startswith(
        'the name "tidy" is taken by host.tasks.tidy; give plugin.tidy a name'
    )
    assert registry.resolve("tidy").func is first.tidy


def test_a_name_taken_by_an_alias_is_refused_both_ways(registry: Registry) -> None:
    async def old() -> None: ...
    async def new() -> None: ...

    background_task(60, aliases=("kg_decay",), registry=registry)(old)

    with pytest.raises(DuplicateTask, match='the name "kg_decay" is taken by'):
        background_task(60, name="kg_decay", registry=registry)(new)
    with pytest.raises(DuplicateTask, match='the name "old" is taken by'):
        background_task(60, aliases=("old",), registry=registry)(new)
    assert [spec.name for spec in registry] == ["old"]


def test_when_one_of_several_is_refused_none_is_added(registry: Registry) -> None:
    async def first() -> None: ...
    async def second() -> None: ...
    async def third() -> None: ...

    elsewhere = Registry()
    background_task(60, registry=elsewhere)(first)
    background_task(60, name="taken", registry=elsewhere)(second)
    background_task(60, name="taken", registry=registry)(third)

    with pytest.raises(DuplicateTask):
        registry.add(first, second)

    assert [spec.name for spec in registry] == ["taken"]


def test_two_functions_of_one_name_in_one_call_are_refused(registry: Registry) -> None:
    async def first() -> None: ...
    async def second() -> None: ...

    background_task(60, name="same", registry=Registry())(first)
    background_task(60, name="same", registry=Registry())(second)

    with pytest.raises(DuplicateTask):
        registry.add(first, second)

    assert len(registry) == 0


def test_a_function_that_no_decorator_has_stamped_is_refused(registry: Registry) -> None:
    async def bare() -> None: ...

    with pytest.raises(InvalidTask, match="bare carries no spec: decorate it with @background_task"):
        registry.add(bare)


def test_decorated_functions_and_specs_can_be_put_into_a_registry_of_ones_own(registry: Registry) -> None:
    async def tidy() -> None: ...

    background_task(60, registry=Registry())(tidy)

    registry.add(tidy, WorkerSpec(name="listen", func=nothing))

    assert [spec.name for spec in registry] == ["tidy", "listen"]


TWIN = """
import sys
from bgtasks import Registry, background_task
from bgtasks.registry import default_registry

@background_task(60)
async def tidy(): ...

if __name__ == "__main__":
    {import_self}
    print(len(default_registry), default_registry.resolve("tidy").func.__module__)
"""


@pytest.mark.parametrize(
    ("started", "import_self"),
    [
        (("app.py",), "import app"),
        (("-m", "app"), "import app"),
        (("-m", "package.app"), "import package.app"),
        (("-m", "package"), "import package.__main__ as again"),
        (("package/app.py",), "import package.app"),
    ],
    ids=["by path", "by name", "in a package", "a package", "in a package by path"],
)
def test_the_main_script_and_its_import_are_one_task(
    tmp_path: Path, started: tuple[str, ...], import_self: str
) -> None:
    (tmp_path / "package").mkdir()
    source = TWIN.format(import_self=f'sys.path.insert(0, "."); {import_self}')
    for name in ("app.py", "package/app.py", "package/__main__.py"):
        (tmp_path / name).write_text(source)
    (tmp_path / "package/__init__.py").write_text("")

    ended = run_python(*started, cwd=tmp_path)

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split()[0] == "1"


# -- finding -------------------------------------------------------------------------------------


def test_a_task_is_found_by_its_name_and_its_aliases(registry: Registry) -> None:
    background_task(60, name="kg_decay_task", aliases=("kg_decay", "decay"), registry=registry)(nothing)

    spec = registry.resolve("kg_decay_task")

    assert registry.resolve("kg_decay") is registry.resolve("decay") is spec


def test_an_unknown_name_is_answered_with_the_nearest_alias_or_name(registry: Registry) -> None:
    background_task(60, name="kg_decay_task", aliases=("limbic",), registry=registry)(nothing)

    with pytest.raises(UnknownTask, match=r'called "kg_decay_tsk": did you mean "kg_decay_task"\?'):
        registry.resolve("kg_decay_tsk")
    with pytest.raises(UnknownTask, match=r'did you mean "limbic"\?'):
        registry.resolve("limbik")


# -- entry points --------------------------------------------------------------------------------


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Writes modules and makes them entry points: `install(reminders="source of the module")`."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry_module, "default_registry", Registry())
    points: dict[str, EntryPoint] = {}

    def entry_points(*, group: str) -> tuple[EntryPoint, ...]:
        return tuple(points.values()) if group == "bgtasks.tasks" else ()

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)

    def put(attribute: str = "", **sources: str) -> None:
        for name, source in sources.items():
            module = f"bgtasks_plugin_{name}"
            (tmp_path / f"{module}.py").write_text(source)
            monkeypatch.delitem(sys.modules, module, raising=False)
            points[name] = EntryPoint(name, module + attribute, "bgtasks.tasks")

    return put


PLUGIN = """
from bgtasks import background_task

@background_task(60)
async def {name}(): ...

async def helper(): ...
"""


def test_discovery_puts_in_what_the_modules_hold(registry: Registry, install: Callable[..., None]) -> None:
    install(one=PLUGIN.format(name="remind"), two=PLUGIN.format(name="tidy"))

    registry.discover()

    assert [spec.name for spec in registry] == ["remind", "tidy"]
    assert registry.broken == {}


def test_discovery_twice_finds_the_same(registry: Registry, install: Callable[..., None]) -> None:
    install(one=PLUGIN.format(name="remind"))

    registry.discover()
    registry.discover()

    assert [spec.name for spec in registry] == ["remind"]


def test_an_entry_point_may_name_one_function(registry: Registry, install: Callable[..., None]) -> None:
    install(":remind", one=PLUGIN.format(name="remind") + PLUGIN.format(name="tidy"))

    registry.discover()

    assert [spec.name for spec in registry] == ["remind"]


def test_an_entry_point_that_does_not_import_is_kept_with_its_reason_and_the_others_go_on(
    registry: Registry, install: Callable[..., None]
) -> None:
    install(
        gone="import a_module_that_nobody_wrote",
        broken="raise RuntimeError('no licence')",
        good=PLUGIN.format(name="remind"),
    )

    registry.discover()

    assert [spec.name for spec in registry] == ["remind"]
    assert registry.broken == {
        "gone": "could not be imported: ModuleNotFoundError: No module named 'a_module_that_nobody_wrote'",
        "broken": "could not be imported: RuntimeError: no licence",
    }


def test_an_entry_point_that_imports_later_is_broken_no_more(
    registry: Registry, install: Callable[..., None]
) -> None:
    install(plugin="raise RuntimeError('not yet')")
    registry.discover()
    install(":remind", plugin=PLUGIN.format(name="remind"))
    importlib.invalidate_caches()

    registry.discover()

    assert registry.broken == {}
    assert "remind" in registry


def test_two_entry_points_with_different_functions_of_one_name_are_refused(
    registry: Registry, install: Callable[..., None]
) -> None:
    source = (
        PLUGIN.format(name="tidy")
        .replace("(60)", "(60, registry=Registry())")
        .replace("import background_task", "import Registry, background_task")
    )
    install(one=source, two=source)

    with pytest.raises(DuplicateTask, match=r'the name "tidy" is taken by bgtasks_plugin_one\.tidy'):
        registry.discover()
