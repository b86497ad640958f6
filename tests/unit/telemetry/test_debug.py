"""A debug event reaches whoever listens, on the bus and in Redis, and disturbs nobody."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from typing import Any

import fakeredis
import pytest
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from tests.support.recording import Recorder
from tests.support.servers import free_port

from bgtasks import BackgroundScheduler, EventBus
from bgtasks.connect import open_redis
from bgtasks.events import DebugEvent
from bgtasks.telemetry import publish_debug_event
from bgtasks.telemetry.debug import LONGEST
from bgtasks.telemetry.logs import LogListener
from bgtasks.testing import VirtualClock, run_virtual


@pytest.fixture
async def redis() -> AsyncIterator[Any]:
    async with fakeredis.FakeAsyncRedis() as client:
        yield client


class Subscribed:
    """What was published."""

    def __init__(self, client: Any) -> None:
        self._heard = client.pubsub()

    async def __aenter__(self) -> Subscribed:
        await self._heard.psubscribe("*:debug:*")
        await self._heard.get_message(timeout=1)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._heard.aclose()

    async def next(self) -> tuple[str, dict[str, Any]]:
        message = await self._heard.get_message(timeout=5)
        assert message is not None, "nothing was published"
        assert len(message["data"]) <= LONGEST
        return message["channel"].decode(), json.loads(message["data"])


class TestOnTheBus:
    async def test_it_is_an_event(self) -> None:
        bus, heard = EventBus(), list[Any]()
        bus.subscribe(heard.append)
        await publish_debug_event("kg", {"phase": "begun"}, bus=bus)
        assert heard == [DebugEvent("kg", {"phase": "begun"})]

    async def test_without_a_bus_or_a_redis_nothing_happens(self) -> None:
        await publish_debug_event("kg", {"phase": "begun"})

    def test_a_run_finds_the_bus_of_its_scheduler(self) -> None:
        async def main(clock: VirtualClock) -> tuple[list[Any], list[Any]]:
            schedulers = [BackgroundScheduler(clock=clock, bus=EventBus()) for _ in range(2)]
            heard = [Recorder(scheduler) for scheduler in schedulers]
            for number, scheduler in enumerate(schedulers):

                async def say(number: int = number) -> None:
                    await publish_debug_event("tidy", {"from": number})

                scheduler.register("tidy", say, "1h")
                await scheduler.start()
            await clock.advance("1s")
            await publish_debug_event("tidy", {"from": "no run"})
            for scheduler in schedulers:
                await scheduler.stop()
            return heard[0].of(DebugEvent), heard[1].of(DebugEvent)

        assert run_virtual(main) == (
            [DebugEvent("tidy", {"from": 0})],
            [DebugEvent("tidy", {"from": 1})],
        )

    async def test_it_is_a_line_at_debug(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG, "bgtasks")
        bus = EventBus()
        bus.subscribe(LogListener())
        await publish_debug_event("kg", {"facts": 3, "long": "x" * 2000}, bus=bus)
        [line] = caplog.records
        assert line.levelno == logging.DEBUG
        assert line.getMessage().startswith("debug event: topic=kg data=")
        assert len(line.getMessage()) < 600


class TestInRedis:
    async def test_it_is_json_with_the_time(self, redis: Any) -> None:
        async with Subscribed(redis) as heard:
            before = datetime.now(UTC)
            await publish_debug_event("kg", {"at": before, "n": 1}, redis=redis, namespace="test")
            channel, said = await heard.next()
        assert channel == "test:debug:kg"
        assert before <= datetime.fromisoformat(said.pop("at")) <= datetime.now(UTC)
        data = {"at": str(before), "n": 1}
        assert said == {"topic": "kg", "task": None, "run_id": None, "data": data}

    async def test_it_names_the_run(self, redis: Any) -> None:
        async def say() -> None:
            await publish_debug_event("kg", {}, redis=redis)

        scheduler = BackgroundScheduler()
        scheduler.register("tidy", say, "1h")
        async with Subscribed(redis) as heard, scheduler:
            channel, said = await heard.next()
        assert channel == "bgtasks:debug:kg"
        assert said["task"] == "tidy"
        assert said["run_id"]

    @pytest.mark.parametrize("size", [LONGEST, 10 * LONGEST])
    async def test_data_that_are_too_long_are_left_out(self, redis: Any, size: int) -> None:
        async with Subscribed(redis) as heard:
            await publish_debug_event("kg", {"text": "x" * size}, redis=redis)
            _, said = await heard.next()
        assert said["data"] == {}
        assert said["left_out"] > size

    async def test_any_text_can_be_published(self, redis: Any) -> None:
        async with Subscribed(redis) as heard:
            await publish_debug_event("k\ud800", {"text": "\ud800\x00☕", "of": {("a",): 1}}, redis=redis)
            channel, said = await heard.next()
        assert channel == "bgtasks:debug:k?"
        assert said["data"] == {"text": "\ud800\x00☕", "of": {"('a',)": 1}}

    async def test_what_json_has_not_is_written_as_its_text(self, redis: Any) -> None:
        class Mute:
            def __str__(self) -> str:
                raise RuntimeError("not now")

        days: Any = {date(2026, 9, 1): 3, Mute(): [{None: 1, 2: ({UTC: 4},)}]}
        data = {"share": math.nan, "most": [math.inf, 1.5], "what": Mute(), "days": days}
        async with Subscribed(redis) as heard:
            await publish_debug_event("kg", data, redis=redis)
            _, said = await heard.next()
        what = "<Mute, which has no text: RuntimeError>"
        days = {"2026-09-01": 3, what: [{"null": 1, "2": [{"UTC": 4}]}]}
        assert said["data"] == {"share": "NaN", "most": ["Infinity", 1.5], "what": what, "days": days}

    @pytest.mark.parametrize("what", ["a circle", "depth", "depth and a key", "a long integer"])
    async def test_what_cannot_be_written_is_left_out(self, redis: Any, what: str) -> None:
        circle: dict[str, Any] = {}
        circle["again"] = circle
        deep: Any = []
        for _ in range(100_000):
            deep = [deep]
        data = {
            "a circle": circle,
            "depth": deep,
            "depth and a key": {(1,): deep},
            "a long integer": 10**5000,
        }
        async with Subscribed(redis) as heard:
            await publish_debug_event("kg", {"what": data[what]}, redis=redis)
            _, said = await heard.next()
        assert (said["topic"], said["data"]) == ("kg", {})

    async def test_a_redis_that_is_away_is_no_error(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG, "bgtasks")
        async with open_redis(f"redis://127.0.0.1:{free_port()}", retry=Retry(NoBackoff(), 0)) as client:
            await publish_debug_event("kg", {"phase": "begun"}, redis=client)
        [line] = caplog.records
        assert "a debug event of kg was not published: redis is unavailable" in line.getMessage()
