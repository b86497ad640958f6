"""The tasks of extraction: what they need, when they pass, and what they tell."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.memory.extraction.stand_ins import T0, CountingGraph, said

from bgtasks import Registry
from bgtasks.errors import (
    BadAnswer,
    ConfigurationError,
    OverBudget,
    ResourceUnavailable,
    UnsuitableServer,
)
from bgtasks.llm.types import ToolCall, Turn, Usage
from bgtasks.memory.dead import DeadLetters
from bgtasks.memory.extraction import Progress
from bgtasks.memory.extraction.reply import Extraction
from bgtasks.memory.extraction.rounds import STOP
from bgtasks.memory.messages import MessageCache
from bgtasks.outcomes import Deferred, Skipped
from bgtasks.settings import Settings
from bgtasks.spec import TaskSpec
from bgtasks.tasks import agentic_kg_bulk_incremental_task, auto_kg_extraction, limbic_anchoring_task
from bgtasks.testing import FakeBotRunner, ScriptedChat, VirtualClock, virtual_redis, virtual_time
from bgtasks.triggers import as_trigger

NOTHING = Extraction(entities=[], facts=[])
FINISH = Turn("", (ToolCall("1", "finish", "{}"),), Usage(10, 10))


def configured(**given: Any) -> Settings:
    """Settings of this test's own, whatever the environment says."""
    return Settings(**{"_env_file": None, "namespace": "test", **given})


class Chat:
    """A client that finds nothing, or raises; after so many calls it is over budget."""

    def __init__(self, *, budget: int = 10**9, error: Exception | None = None) -> None:
        self.budget = budget
        self.error = error
        self.models: list[str | None] = []

    def _asked(self, model: str | None) -> None:
        if len(self.models) >= self.budget:
            raise OverBudget("the cap of today is reached")
        self.models.append(model)
        if self.error is not None:
            raise self.error

    async def structured(
        self, messages: Any, answer: Any, *, override_model: str | None, **_: Any
    ) -> Extraction:
        self._asked(override_model)
        return NOTHING

    async def turn(self, messages: Any, *, tools: Any, override_model: str | None, **_: Any) -> Turn:
        self._asked(override_model)
        return FINISH

    async def chat(self, messages: Sequence[Mapping[str, Any]], **_: Any) -> str:
        raise AssertionError("there is a method for answers by schema")


class Failing(Chat):
    """A client that fails at each call that has this in it."""

    def __init__(self, text: str, failure: Exception) -> None:
        super().__init__()
        self.text = text
        self.failure = failure

    async def structured(self, messages: Any, *args: Any, **more: Any) -> Extraction:
        if self.text in repr(messages):
            raise self.failure
        return await super().structured(messages, *args, **more)

    async def turn(self, messages: Any, **more: Any) -> Turn:
        if self.text in repr(messages):
            raise self.failure
        return await super().turn(messages, **more)


@dataclass
class Place:
    """What the tasks are given."""

    redis: Any
    cache: MessageCache
    config: Settings
    graph: CountingGraph = field(default_factory=CountingGraph)
    chat: Any = field(default_factory=Chat)
    clock: VirtualClock = field(default_factory=lambda: VirtualClock(T0))

    async def speak(self, channel: str, *numbers: int) -> None:
        await self.cache.ingest(channel, [said(number, channel=channel) for number in numbers])

    async def auto(self) -> Any:
        return await auto_kg_extraction(
            self.redis, self.graph, self.chat, config=self.config, clock=self.clock
        )

    async def bulk(self) -> Any:
        return await agentic_kg_bulk_incremental_task(
            self.redis, self.graph, self.chat, config=self.config, clock=self.clock
        )


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    from fakeredis import FakeAsyncRedis

    async with FakeAsyncRedis() as redis:
        config = configured(kg_bulk_dir=tmp_path / "dumps", kg_extraction_model="some/model")
        yield Place(redis, MessageCache(redis, "test"), config)


async def told(place: Place, work: Any) -> tuple[Any, list[dict[str, Any]]]:
    """What a run came to, and the debug events it published."""
    async with place.redis.pubsub() as heard:
        await heard.subscribe("test:debug:kg_bulk_incremental")
        outcome = await work
        messages: list[dict[str, Any]] = []
        while (message := await heard.get_message()) is not None:
            if message["type"] == "message":
                messages.append(json.loads(message["data"])["data"])
        return outcome, messages


class TestWhatTheyNeed:
    @pytest.mark.parametrize("task", [auto_kg_extraction, agentic_kg_bulk_incremental_task])
    def test_periodic_ones_every_four_hours_once_for_all_nodes(self, task: Any, registry: Registry) -> None:
        registry.add(task)

        [spec] = registry
        assert spec.scope == "cluster"
        assert spec.requires == ("redis", "kg_manager", "openrouter")
        assert spec.requires_chat_llm
        assert isinstance(spec, TaskSpec)
        assert spec.trigger == as_trigger("4h")

    def test_they_take_turns(self, registry: Registry) -> None:
        for task in (auto_kg_extraction, agentic_kg_bulk_incremental_task):
            registry.add(task)

        assert [each.initial_delay for each in registry if isinstance(each, TaskSpec)] == [0.0, 2 * 3600.0]

    def test_anchoring_at_the_leader_if_it_is_wanted(self, registry: Registry) -> None:
        registry.add(limbic_anchoring_task)

        [spec] = registry
        assert (spec.scope, spec.opt_in_config_flag) == ("leader", "ka_enabled")


class TestEveryFourHours:
    async def test_all_channels_are_read_by_the_model_of_the_setting(self, place: Place) -> None:
        for number in range(12):
            await place.speak(f"lab {number}", number)

        counts = await place.auto()

        assert counts == Progress(batches=12, messages=12).counts
        assert place.chat.models == ["some/model"] * 12
        assert await place.auto() == Progress().counts

    async def test_over_budget_it_is_deferred_with_what_was_read(self, place: Place) -> None:
        place.chat.budget = 2
        await place.speak("lab", *range(100))

        assert await place.auto() == Deferred("the cap of today is reached (80 messages were read before)")

        place.chat.budget = 9
        assert (await place.auto())["messages"] == 20

    async def test_over_budget_who_speaks_where_is_noted_all_the_same(self, place: Place) -> None:
        place.chat.budget = 0
        for channel in ("lab", "pub"):
            await place.speak(channel, 1)

        assert isinstance(await place.auto(), Deferred)

        assert set(place.graph.cursors) == {"structure:lab", "structure:pub"}

    async def test_a_wrong_key_fails_the_run_after_three_calls_and_sets_nothing_aside(
        self, place: Place
    ) -> None:
        place.chat.error = UnsuitableServer("the API key was refused")
        for number in range(9):
            await place.speak(f"lab {number}", number)

        for run in range(1, 6):
            with pytest.raises(UnsuitableServer):
                await place.auto()
            assert len(place.chat.models) == (STOP + 1) * run

        assert await DeadLetters(place.redis, "test").count() == 0
        place.chat.error = None
        assert (await place.auto())["messages"] == 9

    async def test_a_message_at_which_the_model_fails_stops_no_other_channel(self, place: Place) -> None:
        place.chat = Failing("Pineapple", ResourceUnavailable("openrouter", "it answered 500"))
        for number in range(9):
            await place.speak(f"lab {number}", number)
        await place.cache.ingest("pub", [said(50, channel="pub"), said(51, "Pineapple", channel="pub")])

        with pytest.raises(ResourceUnavailable, match="500"):
            await place.auto()
        read = {each for each in place.graph.cursors if each.startswith("knowledge:")}
        assert read == {f"knowledge:lab {number}" for number in range(9)}

        for number in range(3):  # the batch twice more, and its half
            await place.speak("lab 0", 100 + number)
            with pytest.raises(ResourceUnavailable):
                await place.auto()
        assert await place.auto() == Progress(batches=1, dead=1).counts

        [letter] = await DeadLetters(place.redis, "test").list()
        assert (letter.channel, letter.message_id) == ("pub", "m51")

    async def test_what_is_set_aside_is_counted(self, place: Place) -> None:
        place.chat.error = BadAnswer("no")
        await place.speak("lab", 1)

        assert await place.auto() == Progress(batches=1, dead=1).counts

    async def test_a_host_s_own_client_and_config_will_do(self, place: Place) -> None:
        chat = ScriptedChat('Sure: {"entities": [], "facts": []}')
        cache = MessageCache(place.redis)
        await cache.ingest("lab", [said(1, channel="lab")])

        for config in (None, SimpleNamespace()):
            counts = await auto_kg_extraction(place.redis, place.graph, chat, config)

            assert counts["messages"] == (1 if config is None else 0)
        assert len(chat.calls) == 1


class TestTheBulkPass:
    async def test_milestones_are_debug_events_in_order(self, place: Place) -> None:
        await place.speak("lab", 1, 2)

        counts, events = await told(place, place.bulk())

        assert counts == Progress(batches=1, messages=2).counts
        assert [each["milestone"] for each in events] == [
            "started",
            "batch",
            "applied",
            "channel",
            "finished",
        ]
        assert events[0] == {"milestone": "started", "channels": ["lab"]}
        assert events[-1] == {"milestone": "finished", **counts}
        assert "Hello" not in repr(events)
        assert place.chat.models == ["some/model"]

    async def test_what_it_worked_on_is_in_the_directory_of_the_setting(self, place: Place) -> None:
        for number in range(3):
            await place.speak("lab", number)
            await place.bulk()
            place.clock.stall("4h")

        dumps = sorted(each.name for each in place.config.kg_bulk_dir.iterdir())
        assert dumps == [f"20260901T{hour:02}0000.000000Z" for hour in (7, 11, 15)]

    async def test_so_many_are_kept_as_the_setting_says(self, place: Place) -> None:
        place.config = place.config.model_copy(update={"kg_bulk_keep": 1})

        for number in range(2):
            await place.speak("lab", number)
            await place.bulk()
            place.clock.stall("4h")

        assert [each.name for each in place.config.kg_bulk_dir.iterdir()] == ["20260901T110000.000000Z"]

    async def test_over_budget_it_is_deferred_with_what_was_read(self, place: Place) -> None:
        place.chat.budget = 1
        await place.speak("lab", *range(50))

        outcome, events = await told(place, place.bulk())

        assert outcome == Deferred("the cap of today is reached (40 messages were read before)")
        assert events[-1] == {
            "milestone": "over budget", "reason": "the cap of today is reached", "messages": 40
        }  # fmt: skip

    async def test_over_budget_who_speaks_where_is_noted_all_the_same(self, place: Place) -> None:
        place.chat.budget = 0
        for channel in ("lab", "pub"):
            await place.speak(channel, 1)

        assert isinstance(await place.bulk(), Deferred)

        assert set(place.graph.cursors) == {"structure:lab", "structure:pub"}

    async def test_a_wrong_key_fails_it(self, place: Place) -> None:
        place.chat.error = UnsuitableServer("the API key was refused")
        for channel in ("lab", "pub", "bar"):
            await place.speak(channel, 1)

        with pytest.raises(UnsuitableServer):
            await place.bulk()

        assert len(place.chat.models) == STOP + 1

    async def test_a_failure_is_its_last_milestone_with_what_was_read(self, place: Place) -> None:
        place.chat = Failing("Pineapple", UnsuitableServer("the key was refused"))
        await place.speak("lab", 1, 2)
        await place.cache.ingest("pub", [said(3, "Pineapple", channel="pub")])

        [error], events = await told(place, asyncio.gather(place.bulk(), return_exceptions=True))

        assert isinstance(error, UnsuitableServer)
        assert [each["milestone"] for each in events[-2:]] == ["channel", "failed"]
        assert events[-2]["channel"] == "lab"
        assert events[-1] == {"milestone": "failed", "reason": "the key was refused", "messages": 2}

    async def test_a_directory_that_cannot_be_written_says_so_before_a_call_is_made(
        self, place: Place
    ) -> None:
        place.config.kg_bulk_dir.write_text("")
        await place.speak("lab", 1)

        with pytest.raises(ConfigurationError, match=r"dumps cannot be written: .*set BGTASKS_KG_BULK_DIR"):
            await place.bulk()

        assert place.chat.models == []
        assert place.graph.sources == []


class TestTheBulkPassHasNothingToDo:
    async def skipped(self, place: Place) -> str:
        outcome, events = await told(place, place.bulk())
        assert isinstance(outcome, Skipped)
        assert events[-1] == {"milestone": "skipped", "reason": outcome.reason}
        assert not place.config.kg_bulk_dir.exists()
        return outcome.reason

    async def test_with_a_client_that_cannot_be_given_tools(self, place: Place) -> None:
        place.chat = ScriptedChat("Hello.")
        await place.speak("lab", 1)

        assert "unconfigured" in await self.skipped(place)

    async def test_without_a_channel(self, place: Place) -> None:
        assert await self.skipped(place) == "no channel is active"

    async def test_without_news(self, place: Place) -> None:
        await place.speak("lab", 1)
        await place.auto()

        assert await self.skipped(place) == "there is no news"

    async def test_when_another_reads_the_channel_there_may_be_news(self, place: Place) -> None:
        await place.speak("lab", 1)
        await place.redis.set("test:chan:lab:lease", "another's", px=30_000)

        assert await place.bulk() == Progress(busy=1).counts


class TestAnchoring:
    @virtual_time
    async def test_reads_a_channel_soon_after_it_fell_quiet(
        self, virtual_clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("bgtasks.tasks.extraction.SystemClock", lambda: virtual_clock)
        with virtual_redis(virtual_clock) as redis:
            chat, graph = Chat(), CountingGraph()
            runner: Any = FakeBotRunner(
                cfg=configured(kg_extraction_model="some/model"),
                redis=redis,
                kg_manager=graph,
                openrouter=chat,
            )
            await MessageCache(redis, "test").ingest("lab", [said(1, channel="lab")])
            work = asyncio.create_task(limbic_anchoring_task(runner), name="anchoring, in a test")
            try:
                await virtual_clock.advance(30)

                assert chat.models == ["some/model"]
            finally:
                work.cancel()
                await asyncio.wait({work})
