"""A node that does not hear what it is told: what it says of itself, and what it costs the others."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.acceptance.chaos_crowd import crowd
from tests.acceptance.chaos_node import KEY
from tests.support.proxy import proxy
from tests.support.redis_process import RedisProcess
from tests.support.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.full, pytest.mark.timeout(240)]

ROUNDS = 4
LISTS = b"*"
"""How the answers of our scripts begin on the wire; those of a handshake do not."""


async def test_one_that_was_only_cut_off_is_not_said_to_have_stood_still(home: Path) -> None:
    with RedisProcess() as server:
        async with proxy(server.url) as way, crowd(home) as around:
            await around.start(way.url, "a", fresh=True)
            for _ in range(ROUNDS):
                _, token = await around.leader()
                way.deaf = True
                await around.ended("a", token)
                way.mend()
                await around.works(above=token)
            assert [
                each for each in around.said("a", "log") if "the event loop stands still" in each["text"]
            ] == []


async def test_one_that_hears_no_grant_does_not_keep_the_lease_from_the_others(home: Path) -> None:
    """It shakes hands, asks for the lease, gets it, and never hears of it."""
    with RedisProcess() as server, server.client() as client:
        async with proxy(server.url) as way, crowd(home) as around:
            way.mute = LISTS
            await around.start(way.url, "a", default_times=True)
            await until("a was given the lease", lambda: str(client.get(KEY)).startswith("a:"))
            await around.start(server.url, "b", default_times=True)
            await around.works(besides="a")
            assert way.mute == LISTS
