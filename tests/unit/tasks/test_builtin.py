"""The built-in tasks in a scheduler, on virtual time: wired, gated and run as their table says."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fakeredis
import pytest
from tests.support.recording import Recorder

from bgtasks import BackgroundScheduler, Once, Registry, build_scheduler
from bgtasks.errors import InvalidSetting, ResourceUnavailable, UnknownTask
from bgtasks.events import ResourceLost, ResourceRegained, RunStarted
from bgtasks.outcomes import Deferred, Done, Failed
from bgtasks.prompts import PromptStore
from bgtasks.settings import Settings
from bgtasks.tasks import kg_decay_task, scheduled_prompt_cleanup, scheduled_prompt_tick
from bgtasks.testing import ScriptedGraph, VirtualClock, run_virtual

START = datetime.now(UTC).replace(microsecond=0)  # the stream's entries carry the real time
LLM_OFF = SimpleNamespace(background_scheduler_chat_llm_enabled=False)
TICK, CLEANUP, DECAY = "scheduled_prompt_tick", "scheduled_prompt_cleanup", "kg_decay_task"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting in the environment, and an empty directory to find `.env` in."""
    for name in [name for name in os.environ if name.upper().startswith("BGTASKS_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def builtin(registry: Registry) -> Registry:
    registry.add(scheduled_prompt_tick, scheduled_prompt_cleanup, kg_decay_task)
    return registry


@pytest.fixture
def graph() -> ScriptedGraph:
    graph = ScriptedGraph()
    graph.on("DELETE r", [[3]], [[0]])
    return graph


def virtually[T](main: Callable[[VirtualClock, Any], Coroutine[Any, Any, T]], **fake: Any) -> T:
    """Run `main(clock, redis)` on virtual time with a Redis that is none."""

    async def with_redis(clock: VirtualClock) -> T:
        client = fakeredis.FakeAsyncRedis(**fake)
        try:
            return await main(clock, client)
        finally:
            await client.aclose()

    return run_virtual(with_redis, VirtualClock(START))


def starts(scheduler: BackgroundScheduler, clock: VirtualClock) -> dict[str, list[float]]:
    """When each task was started, in virtual seconds since the beginning."""
    seen: dict[str, list[float]] = {}

    def note(event: Any) -> None:
        if isinstance(event, RunStarted):
            seen.setdefault(event.task, []).append(round(clock.monotonic(), 3))

    scheduler.bus.subscribe(note)
    return seen


# -- wired and gated -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "when", "needs"),
    [
        (TICK, "every 1m", ("redis",)),
        (CLEANUP, "every 2d", ("redis",)),
        (DECAY, "every 1d", ("kg_manager",)),
    ],
)
def test_each_task_is_declared_as_in_the_table(
    builtin: Registry, name: str, when: str, needs: tuple[str, ...]
) -> None:
    rows = {row.name: row for row in build_scheduler(registry=builtin).decisions}

    assert (rows[name].when, rows[name].needs, rows[name].scope) == (when, needs, "cluster")


def test_they_come_in_by_the_entry_point_as_anybodys_tasks_do(registry: Registry) -> None:
    registry.discover()

    assert {TICK, CLEANUP, DECAY} <= {spec.name for spec in registry}
    assert registry.broken == {}


def test_without_resources_none_is_wired_and_each_row_says_what_it_needs(builtin: Registry) -> None:
    reasons = {row.name: row.reason for row in build_scheduler(registry=builtin).decisions}

    assert reasons == {
        TICK: "needs redis: no Redis client was given",
        CLEANUP: "needs redis: no Redis client was given",
        DECAY: "needs kg_manager: no knowledge graph was given",
    }


def test_with_resources_all_are_wired_within_this_process(builtin: Registry, graph: ScriptedGraph) -> None:
    async def main(clock: VirtualClock, redis: Any) -> BackgroundScheduler:
        return build_scheduler(redis, graph, registry=builtin, clock=clock)

    decisions = virtually(main).decisions

    assert all(row.wired for row in decisions)
    assert {row.note for row in decisions} == {"cluster scope within this process only"}


@pytest.mark.parametrize(
    "config",
    [LLM_OFF, {"background_scheduler_chat_llm_enabled": "false"}, "settings"],
    ids=["object", "dict", "ours"],
)
def test_with_the_chat_llm_off_only_the_tick_is_not_wired(
    builtin: Registry, graph: ScriptedGraph, config: Any
) -> None:
    if config == "settings":
        config = Settings.load(background_scheduler_chat_llm_enabled=False)

    async def main(clock: VirtualClock, redis: Any) -> BackgroundScheduler:
        return build_scheduler(redis, graph, config=config, registry=builtin, clock=clock)

    reasons = {row.name: row.reason for row in virtually(main).decisions}

    assert reasons == {
        TICK: "calls the chat LLM: background_scheduler_chat_llm_enabled is false",
        CLEANUP: None,
        DECAY: None,
    }


@pytest.mark.parametrize(
    "config", [None, SimpleNamespace(), {}, "settings"], ids=["none", "object", "dict", "ours"]
)
def test_the_chat_llm_is_on_unless_config_says_otherwise(builtin: Registry, config: Any) -> None:
    if config == "settings":
        config = Settings.load()

    async def main(clock: VirtualClock, redis: Any) -> BackgroundScheduler:
        return build_scheduler(redis, config=config, registry=builtin, clock=clock)

    assert [row.name for row in virtually(main).decisions if row.wired] == [TICK, CLEANUP]


def test_decay_is_also_known_by_its_former_name(builtin: Registry, graph: ScriptedGraph) -> None:
    chosen = build_scheduler(kg_manager=graph, registry=builtin, only=["kg_decay"])
    dropped = build_scheduler(kg_manager=graph, registry=builtin, exclude=["kg_decay"])

    assert [row.name for row in chosen.decisions if row.wired] == [DECAY]
    assert {row.name: row.reason for row in dropped.decisions}[DECAY] == "excluded by name"
    with pytest.raises(UnknownTask, match='did you mean "kg_decay"'):
        build_scheduler(registry=builtin, only=["kg_deca"])


# -- run -----------------------------------------------------------------------------------------


def test_the_tick_runs_every_minute(builtin: Registry) -> None:
    async def main(clock: VirtualClock, redis: Any) -> dict[str, list[float]]:
        scheduler = build_scheduler(redis, registry=builtin, clock=clock, only=[TICK])
        seen = starts(scheduler, clock)
        async with scheduler:
            await asyncio.sleep(290)
        return seen

    assert virtually(main) == {TICK: pytest.approx([0, 60, 120, 180, 240], abs=0.1)}


def test_with_the_chat_llm_off_cleanup_and_decay_run_on_schedule_and_the_tick_does_not(
    builtin: Registry, graph: ScriptedGraph
) -> None:
    hour = 3600

    async def main(clock: VirtualClock, redis: Any) -> dict[str, list[float]]:
        scheduler = build_scheduler(redis, graph, config=LLM_OFF, registry=builtin, clock=clock)
        seen, recorder = starts(scheduler, clock), Recorder(scheduler)
        async with scheduler:
            await asyncio.sleep(100 * hour)
        outcomes = recorder.outcomes(CLEANUP) + recorder.outcomes(DECAY)
        assert all(isinstance(outcome, Done) for outcome in outcomes)
        return seen

    assert virtually(main) == {
        CLEANUP: pytest.approx([0, 48 * hour, 96 * hour], abs=1),
        DECAY: pytest.approx([0, 24 * hour, 48 * hour, 72 * hour, 96 * hour], abs=1),
    }


@pytest.mark.parametrize("decode", [False, True])
def test_a_prompt_is_on_the_stream_at_the_tick_after_it_is_due_and_cleaned_up_in_time(
    builtin: Registry, decode: bool
) -> None:
    async def main(clock: VirtualClock, redis: Any) -> None:
        store = PromptStore(redis)
        made = await store.add("Water it", Once(START + timedelta(seconds=90)), now=START)
        scheduler = build_scheduler(redis, registry=builtin, clock=clock, only=[TICK])
        recorder = Recorder(scheduler)
        async with scheduler:
            await asyncio.sleep(100)
            assert await redis.xlen(store.stream) == 0
            await asyncio.sleep(50)
            assert await redis.xlen(store.stream) == 1
            await asyncio.sleep(600)
            assert await redis.xlen(store.stream) == 1
        assert recorder.outcomes(TICK)[:4] == [
            Done({"moved": 0, "broken": 0}),
            Done({"moved": 0, "broken": 0}),
            Done({"moved": 1, "broken": 0}),
            Done({"moved": 0, "broken": 0}),
        ]
        scheduler = build_scheduler(redis, registry=builtin, clock=clock, only=[CLEANUP])
        recorder = Recorder(scheduler)
        async with scheduler:
            await asyncio.sleep(9 * 86_400)
        deleted = [
            outcome.result["deleted"] for outcome in recorder.outcomes(CLEANUP) if isinstance(outcome, Done)
        ]
        assert deleted == [0, 0, 0, 0, 2]  # after eight days: the prompt, and its entry
        assert await store.get(made.id) is None

    virtually(main, decode_responses=decode)


def test_decay_prunes_at_the_schedulers_time_and_returns_the_count(
    builtin: Registry, graph: ScriptedGraph
) -> None:
    async def main(clock: VirtualClock) -> list[Any]:
        scheduler = build_scheduler(kg_manager=graph, registry=builtin, clock=clock)
        recorder = Recorder(scheduler)
        async with scheduler:
            await asyncio.sleep(86_400 + 60)
        return list(recorder.outcomes(DECAY))

    outcomes = run_virtual(main, VirtualClock(START))

    assert outcomes == [Done({"deleted": 3}), Done({"deleted": 0})]
    asked = [params["now"] for cypher, params in graph.queries if "DELETE r" in cypher]
    ms = START.timestamp() * 1000
    assert asked == pytest.approx([ms, ms + 86_400_000], abs=1000)


def test_a_redis_that_went_away_defers_and_is_said_once_each_way(builtin: Registry) -> None:
    server = fakeredis.FakeServer()

    async def main(clock: VirtualClock, redis: Any) -> None:
        scheduler = build_scheduler(redis, registry=builtin, clock=clock)
        recorder = Recorder(scheduler)
        server.connected = False
        async with scheduler:
            await asyncio.sleep(200)
            assert {type(outcome) for outcome in recorder.outcomes(TICK)} == {Deferred}
            assert {type(outcome) for outcome in recorder.outcomes(CLEANUP)} == {Deferred}
            server.connected = True
            await asyncio.sleep(200)
        assert isinstance(recorder.outcomes(TICK)[-1], Done)
        assert isinstance(recorder.outcomes(CLEANUP)[-1], Done)
        assert [event.resource for event in recorder.of(ResourceLost)] == ["redis"]
        assert [event.resource for event in recorder.of(ResourceRegained)] == ["redis"]

    virtually(main, server=server)


def test_a_graph_that_went_away_defers(builtin: Registry) -> None:
    graph = ScriptedGraph()
    graph.on(".*", ResourceUnavailable("kg_manager", "connection refused"))

    async def main(clock: VirtualClock) -> list[Any]:
        scheduler = build_scheduler(kg_manager=graph, registry=builtin, clock=clock)
        recorder = Recorder(scheduler)
        async with scheduler:
            await asyncio.sleep(1)
        return list(recorder.outcomes(DECAY))

    [outcome, *_] = run_virtual(main)

    assert outcome == Deferred("kg_manager is unavailable: connection refused", "kg_manager")


@pytest.mark.parametrize("where", ["environment", "config"])
def test_the_namespace_is_that_of_the_settings(
    builtin: Registry, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    config = Settings.load(namespace="mybot") if where == "config" else None
    if where == "environment":
        monkeypatch.setenv("BGTASKS_NAMESPACE", "mybot")

    async def main(clock: VirtualClock, redis: Any) -> tuple[int, int]:
        for namespace in ("mybot", "bgtasks"):
            await PromptStore(redis, namespace).add("hi", Once(START + timedelta(seconds=1)), now=START)
        scheduler = build_scheduler(redis, config=config, registry=builtin, clock=clock, only=[TICK])
        async with scheduler:
            await asyncio.sleep(70)
        return await redis.xlen("mybot:prompts:due"), await redis.xlen("bgtasks:prompts:due")

    assert virtually(main) == (1, 0)


def test_a_setting_that_cannot_be_read_fails_the_run_and_names_it(
    builtin: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BGTASKS_NAMSPACE", "mybot")

    async def main(clock: VirtualClock, redis: Any) -> list[Any]:
        scheduler = build_scheduler(redis, registry=builtin, clock=clock, only=[TICK])
        recorder = Recorder(scheduler)
        async with scheduler:
            await asyncio.sleep(1)
        return list(recorder.outcomes(TICK))

    [outcome] = virtually(main)

    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, InvalidSetting)


async def test_each_can_be_called_by_hand(graph: ScriptedGraph) -> None:
    client = fakeredis.FakeAsyncRedis()

    assert await scheduled_prompt_tick(client) == {"moved": 0, "broken": 0}
    assert await scheduled_prompt_cleanup(client) == {"deleted": 0}
    assert await kg_decay_task(graph) == {"deleted": 3}
    await client.aclose()
