"""`virtual_redis`: a fake Redis whose time is a virtual clock's, and nobody else's afterwards."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import fakeredis
import pytest
from tests.support.processes import run_python

from bgtasks import Once, build_scheduler
from bgtasks.errors import BgTasksError, MissingExtra
from bgtasks.prompts import PromptStore
from bgtasks.testing import VirtualClock, run_virtual, virtual_redis, virtual_time

START = datetime(2026, 1, 1, tzinfo=UTC)


@virtual_time
async def test_a_key_lives_as_long_as_it_should_in_virtual_time(
    virtual_clock: VirtualClock, virtual_redis: Any
) -> None:
    await virtual_redis.set("short", "1", ex=86_400)
    await virtual_redis.set("long", "1", ex=30 * 86_400)

    await virtual_clock.advance(86_400 - 1)
    assert await virtual_redis.ttl("short") == 1
    await virtual_clock.advance(2)

    assert await virtual_redis.get("short") is None
    assert await virtual_redis.ttl("long") == 29 * 86_400 - 1


@virtual_time
async def test_its_time_is_the_wall_clock_s(virtual_clock: VirtualClock, virtual_redis: Any) -> None:
    virtual_clock.stall(0.25)
    assert await virtual_redis.time() == (int(START.timestamp()), 250_000)
    virtual_clock.step_wall("1h")
    assert await virtual_redis.time() == (int(START.timestamp()) + 3600, 250_000)

    in_script = await virtual_redis.eval("return redis.call('TIME')", 0)
    assert [int(part) for part in in_script] == [int(START.timestamp()) + 3600, 250_000]


@virtual_time
async def test_a_step_of_the_wall_clock_ends_keys_as_in_a_real_redis(
    virtual_clock: VirtualClock, virtual_redis: Any
) -> None:
    await virtual_redis.set("lease", "me", px=15_000)

    virtual_clock.step_wall(-3600)
    assert await virtual_redis.pttl("lease") == 3_615_000
    virtual_clock.step_wall("1h")
    virtual_clock.step_wall("20s")

    assert await virtual_redis.get("lease") is None


@virtual_time
async def test_stream_ids_are_of_the_virtual_time(virtual_clock: VirtualClock, virtual_redis: Any) -> None:
    await virtual_clock.advance("30d")

    entry = await virtual_redis.xadd("stream", {"a": 1})

    assert entry == f"{int((START + timedelta(days=30)).timestamp() * 1000)}-0".encode()


@virtual_time
async def test_a_command_that_blocks_waits_in_virtual_time(
    virtual_clock: VirtualClock, virtual_redis: Any
) -> None:
    assert await virtual_redis.blpop("list", timeout=3600) is None
    assert virtual_clock.monotonic() == 3600
    assert not await virtual_redis.xread({"stream": "0"}, block=60_000)
    assert virtual_clock.monotonic() == 3660

    waiting = asyncio.create_task(virtual_redis.blpop("list", timeout=3600))
    await virtual_clock.advance(10)
    await virtual_redis.rpush("list", "now")

    assert await waiting == (b"list", b"now")
    assert virtual_clock.monotonic() == 3670


@virtual_time
async def test_waiting_for_a_published_message_is_virtual_too(
    virtual_clock: VirtualClock, virtual_redis: Any
) -> None:
    async with virtual_redis.pubsub(ignore_subscribe_messages=True) as subscription:
        await subscription.subscribe("channel")
        assert await subscription.get_message(timeout=1) is None  # the subscription
        began = virtual_clock.monotonic()
        assert await subscription.get_message(timeout=600) is None
        assert virtual_clock.monotonic() == began + 600
        asyncio.get_running_loop().call_later(5, lambda: sending.append(asyncio.create_task(send())))
        sending: list[asyncio.Task[int]] = []

        async def send() -> int:
            return cast(int, await virtual_redis.publish("channel", "hello"))

        message = await subscription.get_message(timeout=600)
        assert message is not None
        assert message["data"] == b"hello"
        assert virtual_clock.monotonic() == began + 605


def test_a_command_that_waits_for_ever_for_nothing_is_a_deadlock() -> None:
    async def main(clock: VirtualClock) -> None:
        with virtual_redis(clock) as redis:
            await redis.blpop("list")

    with pytest.raises(BgTasksError, match="deadlock"):
        run_virtual(main)


@virtual_time
async def test_a_reminder_is_put_on_the_stream_when_it_is_due(
    virtual_clock: VirtualClock, virtual_redis: Any
) -> None:
    due = virtual_clock.now() + timedelta(hours=2, seconds=30)
    await PromptStore(virtual_redis).add("Is the tent dry?", Once(due), now=virtual_clock.now())

    async with build_scheduler(redis=virtual_redis, clock=virtual_clock, only=["scheduled_prompt_tick"]):
        await virtual_clock.advance("2h")
        assert await virtual_redis.xlen("bgtasks:prompts:due") == 0
        await virtual_clock.advance("1m")

    [(entry, fields)] = await virtual_redis.xrange("bgtasks:prompts:due")
    assert fields[b"text"] == b"Is the tent dry?"
    assert entry.startswith(str(int((START + timedelta(hours=2, minutes=1)).timestamp() * 1000)).encode())


# -- several, and afterwards ---------------------------------------------------------------------


@virtual_time
async def test_several_clients_on_one_clock_have_data_of_their_own_unless_they_share(
    virtual_clock: VirtualClock,
) -> None:
    server = fakeredis.FakeServer()
    with (
        virtual_redis(virtual_clock) as alone,
        virtual_redis(virtual_clock, server=server, decode_responses=True) as one,
        virtual_redis(virtual_clock, server=server) as other,
    ):
        await one.set("key", "value")

        assert await one.get("key") == "value"
        assert await other.get("key") == b"value"
        assert await alone.get("key") is None


def test_two_clocks_at_once_are_an_error() -> None:
    with (
        virtual_redis(VirtualClock()),
        pytest.raises(BgTasksError, match="open on another VirtualClock: close it first"),
    ):
        virtual_redis(VirtualClock()).__enter__()
    with virtual_redis(VirtualClock()):
        pass


def test_fakeredis_has_its_own_time_back_afterwards() -> None:
    def time_of_modules() -> dict[str, Any]:
        return {
            name: vars(module)["time"]
            for name, module in sys.modules.items()
            if name.partition(".")[0] == "fakeredis" and "time" in vars(module)
        }

    before = time_of_modules()
    clock = VirtualClock()
    with virtual_redis(clock):
        with pytest.raises(KeyError), virtual_redis(clock):
            raise KeyError
        assert all(found is not time for name, found in time_of_modules().items() if before[name] is time)

    assert time_of_modules() == before
    assert time in before.values()


def test_a_fakeredis_that_takes_its_time_from_elsewhere_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "fakeredis" and vars(module).get("time") is time:
            monkeypatch.setitem(vars(module), "time", object())

    with pytest.raises(BgTasksError, match=r"fakeredis 2\.[\d.]+ does not take its time from"):
        virtual_redis(VirtualClock()).__enter__()


def test_without_fakeredis_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fakeredis", None)

    with pytest.raises(MissingExtra, match=r"bgtasks\[testing\]"):
        virtual_redis(VirtualClock()).__enter__()


def test_importing_needs_neither_fakeredis_nor_pytest() -> None:
    code = "import bgtasks.testing, sys; print({'fakeredis', 'pytest', 'redis', 'lupa'} & set(sys.modules))"

    assert run_python("-c", code).stdout == "set()\n"


def test_the_version_may_be_chosen() -> None:
    async def main(clock: VirtualClock) -> Any:
        with virtual_redis(clock, version=(6,)) as redis:
            return await cast(Awaitable[Any], redis.ping())

    assert run_virtual(main) is True
