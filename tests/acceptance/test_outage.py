"""A Redis that goes away and comes back, under a scheduler that goes on."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import redis.asyncio
from tests.support.recording import Recorder
from tests.support.redis_process import RedisProcess
from tests.support.waiting import until

from bgtasks import BackgroundScheduler, Every, Once, Registry, background_task, build_scheduler
from bgtasks.connect import open_redis
from bgtasks.events import ResourceLost, ResourceRegained
from bgtasks.outcomes import Done
from bgtasks.prompts import Prompt, PromptStore
from bgtasks.tasks import scheduled_prompt_cleanup, scheduled_prompt_tick

pytestmark = pytest.mark.real

PROMPTS = 100
LONGEST_GAP_S = 5.0
"""Between two beats of a task that is due every 50 ms; the machine may be busy, but a stall is longer."""


class Beats:
    """A task that needs no Redis, and when it ran."""

    def __init__(self, registry: Registry) -> None:
        self.at: list[float] = []

        @background_task("0.05s", registry=registry, name="heartbeat")
        async def heartbeat() -> None:
            self.at.append(time.monotonic())

    def longest_gap(self, since: float, until: float) -> float:
        within = [at for at in self.at if since <= at <= until]
        return max((after - before for before, after in pairwise([since, *within, until])), default=0.0)


def sooner(registry: Registry) -> None:
    """The built-in tasks that use Redis, due several times a second."""
    for func, trigger in ((scheduled_prompt_tick, "0.2s"), (scheduled_prompt_cleanup, "0.3s")):
        spec: Any = func.__bgtasks_spec__  # type: ignore[attr-defined]
        registry.add(replace(spec, trigger=Every(trigger)))


@asynccontextmanager
async def looking(server: RedisProcess) -> AsyncIterator[Any]:
    """A client of the test's own."""
    client = redis.asyncio.Redis.from_url(server.url, decode_responses=True)
    try:
        yield client
    finally:
        await client.aclose()


async def add_prompts(server: RedisProcess, *, over: float) -> list[Prompt]:
    """Prompts that are due one after the other within the next `over` seconds."""
    async with looking(server) as client:
        store = PromptStore(client)
        now = datetime.now(UTC)
        return [
            await store.add(
                f"number {i}", Once(now + timedelta(seconds=1 + over * (i + 1) / PROMPTS)), now=now
            )
            for i in range(PROMPTS)
        ]


def expect_each_once(runs: list[str], expected: list[str]) -> None:
    assert Counter(runs) - Counter(expected) == {}, "there are more than there should be"
    assert Counter(expected) - Counter(runs) == {}, "some are missing"


async def runs_on_stream(server: RedisProcess) -> list[str]:
    async with looking(server) as client:
        return [fields["run"] for _, fields in await client.xrange(PromptStore(client).stream)]


def expected_runs(prompts: list[Prompt]) -> list[str]:
    """One run per prompt and due instant, as the stream names them."""
    assert all(prompt.due is not None for prompt in prompts)
    return [
        f"{prompt.id}:{prompt.due.timestamp() * 1000:.0f}" for prompt in prompts if prompt.due is not None
    ]


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith("bgtasks") and record.levelno >= logging.WARNING
    ]


def well_ended(recorder: Recorder, task: str) -> int:
    return sum(isinstance(outcome, Done) for outcome in recorder.outcomes(task))


async def go_through_an_outage(
    client: Any, server: RedisProcess, seconds: float, caplog: pytest.LogCaptureFixture
) -> None:
    registry = Registry()
    sooner(registry)
    beats = Beats(registry)
    prompts = await add_prompts(server, over=seconds + 3)
    scheduler: BackgroundScheduler = build_scheduler(client, registry=registry)
    recorder = Recorder(scheduler)
    with caplog.at_level(logging.INFO, logger="bgtasks"):
        async with scheduler:

            async def some_were_put() -> bool:
                return len(await runs_on_stream(server)) >= 3

            await until("the first prompts are on the stream", some_were_put)
            server.stop()
            away = time.monotonic()
            await until("the loss is noticed", lambda: scheduler.unavailable)
            assert set(scheduler.unavailable) == {"store"}  # which the same Redis is
            await until(
                f"{seconds:g} s of outage are over",
                lambda: time.monotonic() >= away + seconds,
                timeout_s=seconds + 30,
            )
            assert scheduler.running
            assert beats.longest_gap(away, time.monotonic()) < LONGEST_GAP_S
            beaten = len(beats.at)
            before = {task: well_ended(recorder, task) for task in ("scheduled_prompt_cleanup",)}
            server.start()

            async def all_were_put() -> bool:
                return len(await runs_on_stream(server)) >= PROMPTS

            await until("every prompt is on the stream", all_were_put)
            await until("the scheduler says that it is back", lambda: recorder.of(ResourceRegained))
            await until(
                "the other task works again too",
                lambda: all(well_ended(recorder, task) > count + 1 for task, count in before.items()),
            )
            await until("the heart beats on", lambda: len(beats.at) > beaten)
            assert scheduler.unavailable == {}
    runs = await runs_on_stream(server)
    expect_each_once(runs, expected_runs(prompts))
    lost, regained = recorder.of(ResourceLost), recorder.of(ResourceRegained)
    assert {event.resource for event in lost} <= {"the task store", "redis"}, lost
    assert [event.resource for event in lost] == [event.resource for event in regained]
    assert regained[-1].seconds > seconds - 2
    # A run of each task may have been under way when Redis went: it is lost with its session, and done again.
    cut_off = [
        each for each in warnings_of(caplog) if each.startswith("run lost with its node; offered again")
    ]
    assert len(cut_off) <= len({"scheduled_prompt_tick", "scheduled_prompt_cleanup"}), cut_off
    said = [each for each in warnings_of(caplog) if each not in cut_off]
    assert len(said) == 2 * len(lost), said
    assert said[0].startswith("resource lost; tasks that need it wait: resource='the task store'")
    assert any(line.startswith("resource is back: resource='the task store'") for line in said)


@pytest.mark.full
async def test_three_seconds_without_redis_lose_no_prompt_and_stop_nobody_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with RedisProcess(tcp=True, durable=True) as server:
        async with open_redis(server.url) as client:
            await go_through_an_outage(client, server, 3, caplog)


@pytest.mark.full
@pytest.mark.timeout(180)
async def test_thirty_seconds_without_redis_lose_no_prompt_and_stop_nobody_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with RedisProcess(tcp=True, durable=True) as server:
        async with open_redis(server.url) as client:
            await go_through_an_outage(client, server, 30, caplog)


async def test_a_scheduler_may_start_before_its_redis(caplog: pytest.LogCaptureFixture) -> None:
    registry = Registry()
    sooner(registry)
    beats = Beats(registry)
    server = RedisProcess(tcp=True, durable=True)
    try:
        async with open_redis(server.url) as client:
            scheduler = build_scheduler(client, registry=registry)
            recorder = Recorder(scheduler)
            began = time.monotonic()
            await scheduler.start()
            assert time.monotonic() - began < 2
            try:
                await until("the loss is noticed", lambda: scheduler.unavailable)
                await until("the other task runs all the same", lambda: len(beats.at) > 10)
                server.start()
                prompts = await add_prompts(server, over=1)

                async def all_were_put() -> bool:
                    return len(await runs_on_stream(server)) >= PROMPTS

                await until("every prompt is on the stream", all_were_put)
                await until("the scheduler says that it is back", lambda: recorder.of(ResourceRegained))
            finally:
                await scheduler.stop()
            expect_each_once(await runs_on_stream(server), expected_runs(prompts))
            assert len(recorder.of(ResourceLost)) == len(recorder.of(ResourceRegained)) == 1
            assert len(warnings_of(caplog)) == 2
    finally:
        server.remove()


@pytest.mark.parametrize(
    "make", [open_redis, redis.asyncio.Redis.from_url], ids=["our own client", "a host's client"]
)
async def test_connections_that_died_in_the_pool_are_no_loss(
    make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    registry = Registry()
    sooner(registry)
    with RedisProcess(tcp=True, durable=True) as server:
        async with make(server.url) as client:
            pool = client.connection_pool
            opened = [await pool.get_connection() for _ in range(3)]
            for each in opened:
                await pool.release(each)
            server.stop()
            server.start()
            scheduler = build_scheduler(client, registry=registry)
            recorder = Recorder(scheduler)
            async with scheduler:
                for task in ("scheduled_prompt_tick", "scheduled_prompt_cleanup"):
                    await until(f"{task} has run", partial(has_run, recorder, task))
            assert recorder.of(ResourceLost) == []
            assert warnings_of(caplog) == []


def has_run(recorder: Recorder, task: str) -> bool:
    return well_ended(recorder, task) >= 3
