"""Faults that break no assumption: three processes, a real Redis, and no older token after a newer one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.acceptance.chaos_crowd import Stage, stage
from tests.acceptance.chaos_node import KEY, TIMES
from tests.support.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.full, pytest.mark.timeout(240)]

# -- faults --------------------------------------------------------------------------------------

type Fault = Callable[[Stage, str, int], Awaitable[None]]
"""What happens while this one leads under this token."""


async def kill_dash_nine(on: Stage, leader: str, token: int) -> None:
    killed = await on.around.kill(leader)
    await on.around.works(killed, above=token)
    await on.start(leader)


async def its_replies_are_lost(on: Stage, leader: str, token: int) -> None:
    on.ways[leader].mute = b""
    await on.around.works(above=token, besides=leader)
    assert on.ways[leader].lost
    on.ways[leader].mend()


async def its_requests_are_lost(on: Stage, leader: str, token: int) -> None:
    on.ways[leader].deaf = True
    await on.around.works(above=token, besides=leader)
    assert on.ways[leader].lost
    on.ways[leader].mend()


async def all_replies_are_lost(on: Stage, leader: str, token: int) -> None:
    for way in on.ways.values():
        way.mute = b""
    await on.around.ended(leader, token)
    for way in on.ways.values():
        way.mend()
    await on.around.works(above=token)


async def its_messages_are_late(on: Stage, leader: str, token: int) -> None:
    on.ways[leader].late = 1.5 * TIMES.attempt
    await on.around.works(above=token, besides=leader)
    on.ways[leader].mend()


async def connections_are_cut(on: Stage, leader: str, token: int) -> None:
    began, cut = time.monotonic(), 0
    while time.monotonic() < began + TIMES.lease or cut < 10:
        cut += sum(way.cut() for way in on.ways.values())
        await asyncio.sleep(TIMES.renew / 10)  # the fault, as often as this


async def client_kill(on: Stage, leader: str, token: int) -> None:
    began, killed = time.monotonic(), 0
    with on.server.client() as client:
        while time.monotonic() < began + TIMES.lease or killed < 10:
            for kind in ("normal", "pubsub"):
                killed += client.client_kill_filter(_type=kind, skipme=True)
            await asyncio.sleep(TIMES.renew / 10)  # the fault, as often as this


async def script_flush(on: Stage, leader: str, token: int) -> None:
    with on.server.client() as client:
        client.script_flush()
        await on.around.goes_on()
        assert client.info("memory")["number_of_cached_scripts"] > 0


async def client_pause(on: Stage, leader: str, token: int) -> None:
    """The server stands still, then does what it was asked meanwhile."""
    with on.server.client() as client:
        client.client_pause(round(1000 * 1.5 * TIMES.lease), all=True)
    await on.around.ended(leader, token)
    await on.around.works(above=token)


async def flushall(on: Stage, leader: str, token: int) -> None:
    with on.server.client() as client:
        client.flushall()
    await on.around.works(above=token)


async def restart(on: Stage, leader: str, token: int) -> None:
    await asyncio.to_thread(on.server.stop)
    await asyncio.to_thread(on.server.start)
    await on.around.goes_on()


def behind_its_back(fault: Callable[[Stage], Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """The leader does not hear of it, so that it works for as long as it may; the others do at once."""

    async def unheard(on: Stage, *_: object) -> None:
        watched = time.monotonic() + 1.2 * TIMES.quarantine  # else they would wait for that alone
        await on.around.works(watched)
        leader, token = await on.around.leader()
        on.ways[leader].deaf = True
        await fault(on)

        def another_works() -> bool:
            client.publish(f"{{{KEY}}}:events", "released")  # a hint that comes for nothing
            return any(line.token > token for line in on.around.lines)

        with on.server.client() as client:
            await until("another works", another_works)
        on.ways[leader].mend()

    unheard.__name__ = fault.__name__
    return unheard


@behind_its_back
async def flushall_unheard(on: Stage) -> None:
    with on.server.client() as client:
        client.flushall()


@behind_its_back
async def eviction_unheard(on: Stage) -> None:
    with on.server.client() as client:
        assert client.delete(KEY) == 1


@behind_its_back
async def restart_unheard(on: Stage) -> None:
    await asyncio.to_thread(on.server.stop)
    await asyncio.to_thread(on.server.start)


FAULTS: dict[str, tuple[Fault, ...]] = {
    "of one and of its way": (
        kill_dash_nine,
        its_replies_are_lost,
        its_requests_are_lost,
        all_replies_are_lost,
        its_messages_are_late,
    ),
    "of connections": (connections_are_cut, client_kill, script_flush, client_pause),
    "of what is kept": (flushall, restart, flushall_unheard, eviction_unheard, restart_unheard),
}


@pytest.mark.parametrize("group", FAULTS)
async def test_no_older_token_comes_after_a_newer_one_through_faults(home: Path, group: str) -> None:
    async with stage(home) as on:
        for fault in FAULTS[group]:
            await fault(on, *await on.around.leader())
            assert not on.around.late, fault


async def test_no_older_token_comes_after_a_newer_one_when_the_lease_outlives_a_restart(home: Path) -> None:
    async with stage(home, durable=True) as on:
        await restart(on, *await on.around.leader())
        await restart_unheard(on)
