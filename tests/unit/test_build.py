"""`build_scheduler` runs what can run here and keeps a row, with its reason, for everything else."""

from __future__ import annotations

import asyncio
import importlib.metadata
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fakeredis import FakeAsyncRedis, FakeRedis
from tests.support.recording import Recorder
from tests.support.waiting import until

from bgtasks import (
    BackgroundScheduler,
    Deferred,
    Done,
    Every,
    Registry,
    Retry,
    ScheduledJob,
    TimedOut,
    background_job,
    background_task,
    background_worker,
    build,
    build_scheduler,
    current_claim,
)
from bgtasks import registry as registry_module
from bgtasks.clock import SystemClock
from bgtasks.errors import (
    BgTasksError,
    ConfigurationError,
    DuplicateTask,
    InvalidSetting,
    InvalidTrigger,
    UnknownTask,
)
from bgtasks.spec import RESOURCES
from bgtasks.stores import task_store
from bgtasks.testing import ScriptedChat, ScriptedGraph, VirtualClock, run_virtual


@pytest.fixture
def five(registry: Registry) -> Registry:
    """A registry with a task of each sort."""

    @background_task(60, registry=registry)
    async def tick(redis: object) -> None: ...

    @background_task("24h", aliases=("kg_decay",), registry=registry)
    async def kg_decay_task(kg_manager: object) -> None: ...

    @background_worker(restart_delay="10s", registry=registry)
    async def journal() -> None: ...

    @background_worker(scope="leader", registry=registry)
    async def heartbeat() -> None: ...

    @background_task("6h", opt_in_config_flag="ingest_enabled", registry=registry)
    async def ingest() -> None: ...

    return registry


def reasons(scheduler: BackgroundScheduler) -> dict[str, str | None]:
    return {row.name: row.reason for row in scheduler.decisions}


def test_every_task_has_a_row_in_the_order_of_recording(five: Registry) -> None:
    scheduler = build_scheduler("a redis", registry=five)

    assert list(reasons(scheduler).items()) == [
        ("tick", None),
        ("kg_decay_task", "needs kg_manager: no knowledge graph was given"),
        ("journal", None),
        ("heartbeat", 'scope is "leader": it runs under a TaskSupervisor, on the elected leader only'),
        ("ingest", "off: ingest_enabled must be true, and no config was given"),
    ]
    assert [row.name for row in scheduler.decisions if row.wired] == ["tick", "journal"]


def test_resources_are_given_in_the_documented_order(registry: Registry) -> None:
    seen: dict[str, object] = {}

    @background_task(60, registry=registry)
    async def look(
        redis: object, kg_manager: object, openrouter: object, bot_runner: object, config: object
    ) -> None:
        seen.update(locals())

    async def main(clock: VirtualClock) -> None:
        config = SimpleNamespace()
        scheduler = build_scheduler("r", "k", "o", "b", config=config, registry=registry, clock=clock)
        recorder = Recorder(scheduler)
        async with scheduler:
            await asyncio.sleep(1)
        assert recorder.outcomes("look") == [Done()]
        assert seen["config"] is config

    run_virtual(main)

    assert {name: seen[name] for name in ("redis", "kg_manager", "openrouter", "bot_runner")} == {
        "redis": "r",
        "kg_manager": "k",
        "openrouter": "o",
        "bot_runner": "b",
    }


def test_a_host_with_a_graph_and_a_model_runs_its_own_task(registry: Registry) -> None:
    @background_task(60, registry=registry)
    async def summarize(kg_manager: ScriptedGraph, openrouter: ScriptedChat) -> dict[str, str]:
        rows = await kg_manager.query("MATCH (n) RETURN n.name")
        return {"said": await openrouter.chat([{"role": "user", "content": str(rows)}])}

    async def main(clock: VirtualClock) -> list[Any]:
        graph, chat = ScriptedGraph(), ScriptedChat("two people")
        graph.on("MATCH", [["Ada"], ["Grace"]])
        scheduler = build_scheduler(None, graph, chat, registry=registry, clock=clock)
        recorder = Recorder(scheduler)
        async with scheduler:
            await asyncio.sleep(1)
        return list(recorder.outcomes("summarize"))

    assert run_virtual(main) == [Done({"said": "two people"})]


def test_the_clock_of_the_scheduler_is_given_to_a_task_that_takes_one(registry: Registry) -> None:
    seen: list[object] = []

    @background_task(60, registry=registry)
    async def look(clock: object) -> None:
        seen.append(clock)

    async def main(clock: VirtualClock) -> None:
        async with build_scheduler(registry=registry, clock=clock):
            await asyncio.sleep(1)
        assert seen == [clock]

    run_virtual(main)


def test_a_task_that_takes_a_clock_is_wired_without_one_being_given(registry: Registry) -> None:
    @background_task(60, registry=registry)
    async def look(clock: object) -> None: ...

    assert reasons(build_scheduler(registry=registry)) == {"look": None}


# -- only and exclude ----------------------------------------------------------------------------


def test_what_only_does_not_name_keeps_a_row(five: Registry) -> None:
    scheduler = build_scheduler("a redis", registry=five, only=("tick", "kg_decay"))

    left_out = "not among the tasks selected with only="
    assert reasons(scheduler) == {
        "tick": None,
        "kg_decay_task": "needs kg_manager: no knowledge graph was given",
        "journal": left_out,
        "heartbeat": left_out,
        "ingest": left_out,
    }


def test_what_exclude_names_keeps_a_row(five: Registry) -> None:
    scheduler = build_scheduler("a redis", "a graph", registry=five, exclude=["kg_decay", "journal"])

    wired = {name for name, reason in reasons(scheduler).items() if reason is None}
    assert wired == {"tick"}
    assert reasons(scheduler)["kg_decay_task"] == reasons(scheduler)["journal"] == "excluded by name"


def test_exclude_wins_over_only(five: Registry) -> None:
    scheduler = build_scheduler("a redis", registry=five, only=["tick", "journal"], exclude=["tick"])

    assert [row.name for row in scheduler.decisions if row.wired] == ["journal"]
    assert reasons(scheduler)["tick"] == "excluded by name"


def test_only_nothing_wires_nothing(five: Registry) -> None:
    assert not any(row.wired for row in build_scheduler("a redis", registry=five, only=()).decisions)


def test_only_and_exclude_may_be_any_iterable(five: Registry) -> None:
    scheduler = build_scheduler(
        "a redis", registry=five, only=(name for name in ["tick", "journal"]), exclude=iter({"journal"})
    )

    assert [row.name for row in scheduler.decisions if row.wired] == ["tick"]


@pytest.mark.parametrize("argument", ["only", "exclude"])
def test_an_unknown_name_is_refused_with_the_nearest(five: Registry, argument: str) -> None:
    selection: dict[str, Any] = {argument: ("tick", "kg_dcay")}

    with pytest.raises(UnknownTask, match=r'called "kg_dcay": did you mean "kg_decay"\?'):
        build_scheduler(registry=five, **selection)


@pytest.mark.parametrize("argument", ["only", "exclude"])
def test_a_bare_text_is_refused_with_the_tuple_it_should_be(five: Registry, argument: str) -> None:
    selection: dict[str, Any] = {argument: "tick"}

    with pytest.raises(InvalidSetting) as refused:
        build_scheduler(registry=five, **selection)

    assert str(refused.value) == f'{argument} is a tuple of names: {argument}=("tick",)'


# -- resources and arguments ---------------------------------------------------------------------


def test_a_resource_of_ones_own_is_given_by_name(registry: Registry) -> None:
    @background_task(60, requires=("discord",), registry=registry)
    async def greet(discord: object) -> None: ...

    assert reasons(build_scheduler(registry=registry, resources={"discord": "a client"})) == {"greet": None}
    assert reasons(build_scheduler(registry=registry)) == {
        "greet": 'needs discord: no resource "discord" was given'
    }


@pytest.mark.parametrize("name", RESOURCES)
def test_a_resource_that_has_an_argument_of_its_own_is_not_given_twice(registry: Registry, name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"resources= repeats {name}: give it by its own argument"):
        build_scheduler(registry=registry, resources={name: "x", "discord": "y"})


def test_an_argument_of_a_later_version_is_an_ordinary_type_error(registry: Registry) -> None:
    later: dict[str, Any] = {"executor": "taskiq"}

    with pytest.raises(TypeError, match="unexpected keyword argument 'executor'"):
        build_scheduler(registry=registry, **later)


def test_a_strict_config_that_lacks_a_flag_stops_the_building(registry: Registry) -> None:
    @background_task(60, opt_in_config_flag="ingest_enabled", registry=registry)
    async def ingest() -> None: ...

    with pytest.raises(InvalidSetting, match="the settings have no ingest_enabled"):
        build_scheduler(config=SimpleNamespace(strict_names=True), registry=registry)


def test_a_task_by_hand_joins_the_built_ones_under_a_name_of_its_own(five: Registry) -> None:
    scheduler = build_scheduler("a redis", registry=five)

    async def mine() -> None: ...

    scheduler.register("mine", mine, 60)
    with pytest.raises(DuplicateTask, match='the name "tick" is taken by'):
        scheduler.register("tick", mine, 60)

    assert [row.name for row in scheduler.decisions][-1] == "mine"


def test_building_starts_nothing_and_needs_no_event_loop(five: Registry) -> None:
    scheduler = build_scheduler("a redis", registry=five)

    assert not scheduler.running
    assert scheduler.bus.listeners == ()


# -- the module-level registry and its entry points ----------------------------------------------


@pytest.fixture
def default(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """An empty module-level registry, with no entry points installed."""
    fresh = Registry()
    monkeypatch.setattr(registry_module, "default_registry", fresh)
    monkeypatch.setattr(build, "default_registry", fresh)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda *, group: ())
    return fresh


def broken_entry_point(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint(name, "a_module_that_nobody_wrote", "bgtasks.tasks")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda *, group: (point,))


def test_without_a_registry_the_programs_own_tasks_and_those_of_entry_points_are_built(
    default: Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    @background_task(60)
    async def mine() -> None: ...

    (tmp_path / "bgtasks_plugin_for_build.py").write_text(
        "from bgtasks import background_task\n@background_task(60)\nasync def theirs(): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    point = EntryPoint("plugin", "bgtasks_plugin_for_build", "bgtasks.tasks")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda *, group: (point,))

    scheduler = build_scheduler()

    assert reasons(scheduler) == {"mine": None, "theirs": None}


def test_a_registry_of_ones_own_holds_only_what_was_put_in(
    default: Registry, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    @background_task(60)
    async def elsewhere() -> None: ...

    broken_entry_point("plugin", monkeypatch)

    assert build_scheduler(registry=registry).decisions == ()


def test_an_entry_point_that_does_not_import_is_the_last_row(
    default: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    @background_task(60)
    async def mine() -> None: ...

    broken_entry_point("plugin", monkeypatch)

    mine_row, broken = build_scheduler().decisions

    assert mine_row.wired
    assert (broken.name, broken.kind) == ("plugin", "entry point")
    assert broken.reason == (
        "could not be imported: ModuleNotFoundError: No module named 'a_module_that_nobody_wrote'"
    )


def test_a_broken_entry_point_does_not_hide_a_task_of_its_name(
    default: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    @background_task(60)
    async def plugin() -> None: ...

    broken_entry_point("plugin", monkeypatch)

    scheduler = build_scheduler()

    assert ("plugin", "task", True) in [(row.name, row.kind, row.wired) for row in scheduler.decisions]


def test_a_task_with_the_name_of_a_broken_entry_point_can_be_selected(
    default: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    @background_task(60)
    async def plugin() -> None: ...

    broken_entry_point("plugin", monkeypatch)

    scheduler = build_scheduler(exclude=("plugin",))

    assert "excluded by name" in [row.reason for row in scheduler.decisions]


def test_the_outcomes_a_task_may_return_are_taken_as_they_are(registry: Registry) -> None:
    @background_task(60, registry=registry)
    async def wait_a_bit() -> Deferred:
        return Deferred("the model is busy")

    async def main(clock: VirtualClock) -> list[Any]:
        scheduler = build_scheduler(registry=registry, clock=clock)
        recorder = Recorder(scheduler)
        async with scheduler:
            await asyncio.sleep(1)
        return list(recorder.outcomes("wait_a_bit"))

    assert run_virtual(main) == [Deferred("the model is busy")]


def test_an_error_of_redis_itself_is_an_outage_for_any_task_that_was_given_redis(registry: Registry) -> None:
    from redis.exceptions import ConnectionError as RedisGone
    from redis.exceptions import ResponseError

    @background_task("4h", registry=registry)
    async def sweep(redis: Any) -> None:
        raise RedisGone("connection refused")

    @background_task("4h", registry=registry)
    async def typo(redis: Any) -> None:
        raise ResponseError("wrong number of arguments")

    @background_task("4h", registry=registry)
    async def unrelated() -> None:
        raise RedisGone("some other server")

    async def main(clock: VirtualClock) -> tuple[Recorder, dict[str, str]]:
        scheduler = build_scheduler(object(), registry=registry, clock=clock)
        heard = Recorder(scheduler)
        async with scheduler:
            await asyncio.sleep(5)
            return heard, scheduler.unavailable

    heard, lost = run_virtual(main)

    assert len(heard.outcomes("sweep")) > 1  # tried again long before four hours are over
    assert all(isinstance(each, Deferred) and each.resource == "redis" for each in heard.outcomes("sweep"))
    assert list(lost) == ["redis"]
    assert [type(each).__name__ for each in heard.outcomes("typo")] == ["Failed"]
    assert [type(each).__name__ for each in heard.outcomes("unrelated")] == ["Failed"]


# -- policies and limits -------------------------------------------------------------------------


def test_what_a_task_declares_holds_in_the_built_scheduler(registry: Registry) -> None:
    attempts: list[float] = []
    clock = VirtualClock()

    @background_task(
        Every("1h", fixed_rate=True), timeout="5s", retry=Retry(2, "1s"), overlap="queue", registry=registry
    )
    async def hang() -> None:
        attempts.append(clock.monotonic())
        await asyncio.sleep(3600)

    scheduler = build_scheduler(registry=registry, clock=clock)
    heard = Recorder(scheduler)

    async def main(clock: VirtualClock) -> None:
        async with scheduler:
            await clock.advance("1m")

    run_virtual(main, clock)

    assert heard.outcomes("hang") == [TimedOut(5.0)]
    assert len(attempts) == 2
    assert 5.5 <= attempts[1] <= 6


def test_limits_are_passed_on(registry: Registry) -> None:
    busy, most = 0, 0

    async def work() -> None:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await asyncio.sleep(1)
        busy -= 1

    for number in range(6):
        background_task(3600, name=f"t{number}", group="llm" if number % 2 else None, registry=registry)(work)

    async def main(clock: VirtualClock) -> None:
        async with build_scheduler(registry=registry, clock=clock, max_concurrent=3, group_limits={"llm": 1}):
            await clock.advance(10)

    run_virtual(main)

    assert most == 3


@pytest.mark.parametrize("limits", [{"max_concurrent": 0}, {"group_limits": {"llm": 0}}], ids=str)
def test_a_limit_below_one_is_refused(registry: Registry, limits: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="is a number of runs, 1 or more, not 0"):
        build_scheduler(registry=registry, **limits)


@pytest.mark.parametrize("after", [0, -1, float("nan")])
def test_a_stall_that_would_be_always_is_refused(registry: Registry, after: float) -> None:
    with pytest.raises(InvalidTrigger):
        build_scheduler(registry=registry, stall_after=after)


async def names(client: Any) -> list[str]:
    """The keys in a Redis."""
    return [key if isinstance(key, str) else key.decode() for key in await client.keys()]


class TestWhereClaimsAreKept:
    """Without a store of its own, a scheduler keeps them in the Redis that it was given."""

    @pytest.fixture
    def clustered(self, registry: Registry) -> Registry:
        """A cluster task that says which tokens it had, and a type of job."""

        @background_task("1h", scope="cluster", registry=registry)
        async def shared() -> int:
            claim = current_claim()
            return 0 if claim is None else claim.token

        @background_job("digest", registry=registry)
        async def digest(job: ScheduledJob) -> None: ...

        return registry

    @staticmethod
    def notes(scheduler: BackgroundScheduler) -> dict[str, str | None]:
        return {row.name: row.note or row.reason for row in scheduler.decisions}

    async def test_is_that_redis(self, clustered: Registry) -> None:
        client = FakeAsyncRedis()
        scheduler = build_scheduler(client, registry=clustered, node_id="a")
        assert self.notes(scheduler) == {"shared": None, "digest": None}
        heard = Recorder(scheduler)
        async with scheduler:
            await until("a run of the shared task", lambda: heard.outcomes("shared"))
            row = await scheduler.jobs.add("digest", "1h", key="daily")
            (done,) = heard.outcomes("shared")
            assert isinstance(done, Done)
            assert done.result > 0
        store = task_store(client)
        assert {each.job_type for each in await store.jobs()} == {"shared", "digest"}
        assert await store.job(row.id) is not None
        assert all(key.startswith("bgtasks:tasks:") for key in await names(client))
        assert await client.ping()  # it is the host's, and stays open
        await client.aclose()

    @pytest.mark.parametrize("decode", [False, True])
    async def test_is_that_redis_however_its_answers_are_read(
        self, clustered: Registry, decode: bool
    ) -> None:
        client = FakeAsyncRedis(decode_responses=decode)
        config = SimpleNamespace(namespace="mine")
        scheduler = build_scheduler(client, config=config, registry=clustered)
        heard = Recorder(scheduler)
        async with scheduler:
            await until("a run of the shared task", lambda: heard.outcomes("shared"))
        assert all(key.startswith("mine:tasks:") for key in await names(client))
        await client.aclose()

    @pytest.mark.parametrize("clock", [None, SystemClock()])
    def test_is_that_redis_only_in_real_time(self, clustered: Registry, clock: SystemClock | None) -> None:
        scheduler = build_scheduler(FakeAsyncRedis(), registry=clustered, clock=clock)
        assert self.notes(scheduler) == {"shared": None, "digest": None}
        assert scheduler.jobs is not None

    def test_is_this_process_on_a_clock_of_its_own(self, clustered: Registry) -> None:
        scheduler = build_scheduler(FakeAsyncRedis(), registry=clustered, clock=VirtualClock())
        self.in_process(scheduler)

    @pytest.mark.parametrize("redis", ["a redis", SimpleNamespace(get=None), object(), None])
    def test_is_this_process_with_a_hosts_own_object(self, clustered: Registry, redis: Any) -> None:
        self.in_process(build_scheduler(redis, registry=clustered))

    @pytest.mark.parametrize(
        "redis", [FakeRedis(), SimpleNamespace(connection_pool=None)], ids=["blocking", "wrapped"]
    )
    def test_is_this_process_with_what_only_looks_like_a_client(
        self, clustered: Registry, redis: Any
    ) -> None:
        self.in_process(build_scheduler(redis, registry=clustered))

    def in_process(self, scheduler: BackgroundScheduler) -> None:
        assert self.notes(scheduler) == {
            "shared": "cluster scope within this process only",
            "digest": "jobs are kept in a store: give redis= or store=",
        }
        with pytest.raises(BgTasksError, match="jobs are kept in a store"):
            _ = scheduler.jobs

    def test_is_the_store_that_was_given_whatever_the_redis(self, clustered: Registry) -> None:
        clock = VirtualClock()
        store = task_store("memory://", clock=clock)

        async def main(_: VirtualClock) -> None:
            async with build_scheduler(FakeAsyncRedis(), registry=clustered, store=store, clock=clock):
                await clock.advance(5)
            assert [row.job_type for row in await store.jobs()] == ["shared"]

        run_virtual(main, clock)

    @pytest.mark.parametrize("url", ["", "redis", "mysql://host/db", "http://host"])
    def test_is_no_url_that_cannot_be_read(self, clustered: Registry, url: str) -> None:
        with pytest.raises(ConfigurationError, match="is no store"):
            build_scheduler(registry=clustered, store=url)

    def test_is_this_process_by_a_url(self, clustered: Registry) -> None:
        scheduler = build_scheduler(registry=clustered, store="memory://", clock=VirtualClock())
        assert self.notes(scheduler) == {"shared": None, "digest": None}
