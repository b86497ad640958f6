"""Leadership where something is missing: a user who may do nothing dangerous, a Redis that comes later."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from tests.acceptance.chaos_crowd import crowd
from tests.acceptance.chaos_node import KEY
from tests.support.proxy import proxy
from tests.support.redis_process import RedisProcess
from tests.support.servers import debian_redis, redis_server
from tests.support.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.full, pytest.mark.timeout(240)]

WAITS = "elected; the workers wait, since those of another leader may still be at work"
RIGHTS = ("on", ">secret", "+@all", "-@dangerous", "~*", "&*")


@pytest.fixture
def limited() -> Iterator[redis.Redis]:
    """Debian's Redis, as its administrator has it, with a user `limited`."""
    with redis_server(debian_redis()) as url, redis.Redis.from_url(url, decode_responses=True) as admin:
        admin.execute_command("ACL", "SETUSER", "limited", *RIGHTS)
        yield admin


async def test_a_user_who_may_do_nothing_dangerous_runs_a_supervisor_from_end_to_end(
    home: Path, limited: redis.Redis
) -> None:
    url = f"unix://limited:secret@{limited.connection_pool.connection_kwargs['path']}"
    with redis.Redis.from_url(url) as client, pytest.raises(redis.exceptions.NoPermissionError):
        client.info()

    async with crowd(home) as around:
        await around.start(url, "a", fresh=True, fenced=url)
        await around.goes_on()
        _, token = await around.leader()
        assert limited.hget(f"{{{KEY}}}:last", "run_id") == ""
        await around.start(url, "b", fenced=url)
        await around.end("a")
        second = await around.works(above=token, besides="a")
        assert not around.said("b", "TermQuarantined")

        await around.start(url, "c", fenced=url)
        killed = await around.kill("b")
        third = await around.works(killed, above=second.token)
        assert around.who(third) == "c"
        await around.end("c")
        assert limited.get(KEY) is None
        said = [each["text"].partition(":")[0] for name in "abc" for each in around.said(name, "log")]
        assert set(said) <= {"this node leads", "this node leads no more", WAITS}


@pytest.fixture
def absent() -> Iterator[RedisProcess]:
    """A Redis that is not started yet."""
    server = RedisProcess()
    yield server
    server.remove()


TRIES = 8
"""Connections that a process asks for in vain: enough for it to repeat itself."""


@pytest.mark.parametrize("answers", [False, True], ids=["refused", "silent"])
async def test_a_redis_out_of_reach_at_start_is_said_once_and_used_when_it_comes(
    home: Path, absent: RedisProcess, answers: bool
) -> None:
    async with proxy(absent.url) as way, crowd(home) as around:
        if answers:
            way.deaf = True
            absent.start()
        await around.start(way.url, "a")
        await until("it has tried", lambda: way.tries >= TRIES)
        (said,) = around.said("a", "log")
        assert said["level"] == "WARNING"
        assert f"resource lost; tasks that need it wait: resource='lease {KEY}'" in said["text"]
        if answers:
            way.mend()
        else:
            absent.start()
        await around.works()
        after = [said["text"].partition(":")[0] for said in around.said("a", "log")[1:]]
        assert after == ["resource is back", WAITS, "this node leads"]
        await around.end("a")
