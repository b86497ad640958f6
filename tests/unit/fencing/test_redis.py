"""`FencedRedis` as it is called: what it takes, what it refuses, and what cures that."""

from __future__ import annotations

import inspect
from typing import Any

import fakeredis
import pytest
import redis.asyncio
from redis.asyncio.cluster import RedisCluster

from bgtasks.errors import ConfigurationError, Fenced, UnsuitableServer
from bgtasks.fencing import FencedRedis
from bgtasks.fencing.redis import MOST, REPEATABLE

LEASE = "sg:leader:supervisor"


@pytest.fixture
def client() -> Any:
    return fakeredis.FakeAsyncRedis(decode_responses=True)


@pytest.fixture
def fenced(client: Any) -> FencedRedis:
    return FencedRedis(client, LEASE)


@pytest.mark.parametrize("token", [None, True, 0, -3, "7", 2**53])
async def test_without_a_token_nothing_is_sent(fenced: FencedRedis, client: Any, token: Any) -> None:
    for call in (fenced.write(token, "SET", "a", 1), fenced.eval(token, "return 1"), fenced.guard(token)):
        with pytest.raises(ConfigurationError, match="a fencing token is a whole number"):
            await call

    assert await client.keys("*") == []


def test_there_is_no_way_to_write_without_a_token() -> None:
    public = [each for name, each in vars(FencedRedis).items() if not name.startswith("_")]

    assert [next(iter(list(inspect.signature(each).parameters)[1:])) for each in public] == ["token"] * 3


@pytest.mark.parametrize(
    "command", ["INCR", "incrby", "LPUSH", "XADD", "SPOP", "RENAME", "GET", "FLUSHALL", "EVAL", "MULTI", ""]
)
async def test_a_command_that_may_not_be_sent_twice_is_refused_with_the_way_that_may(
    fenced: FencedRedis, client: Any, command: str
) -> None:
    with pytest.raises(ConfigurationError, match=r"use eval\(\) .* to read, use the client itself"):
        await fenced.write(7, command, "a")

    assert await client.keys("*") == []


async def test_an_increment_in_zadd_is_refused_and_a_member_of_that_name_is_not(
    fenced: FencedRedis, client: Any
) -> None:
    with pytest.raises(ConfigurationError, match="takes no ZADD INCR"):
        await fenced.write(7, "zadd", "board", "XX", b"incr", 1, "ada")

    await fenced.write(7, "zadd", "board", "CH", 1, "INCR", 2, "incr")

    assert await client.zrange("board", 0, -1) == ["INCR", "incr"]


async def test_a_command_that_a_script_cannot_hold_is_refused(fenced: FencedRedis) -> None:
    with pytest.raises(ConfigurationError, match=f"at most {MOST} at a time"):
        await fenced.write(7, "DEL", *range(MOST + 1))

    assert await fenced.write(7, "DEL", *range(MOST)) == 0


async def test_a_script_that_names_flags_is_refused(fenced: FencedRedis) -> None:
    with pytest.raises(ConfigurationError, match="leave out its first line"):
        await fenced.eval(7, "#!lua flags=no-writes\nreturn 1")


EACH = {
    "DEL": ("k",),
    "EXPIRE": ("k", 60),
    "EXPIREAT": ("k", 4_000_000_000),
    "HDEL": ("hash", "f"),
    "HSET": ("hash", "f", 1),
    "LSET": ("list", 0, "x"),
    "MSET": ("k", 1, "l", 2),
    "PERSIST": ("k",),
    "PEXPIRE": ("k", 60_000),
    "PEXPIREAT": ("k", 4_000_000_000_000),
    "SADD": ("set", "m"),
    "SET": ("k", "v"),
    "SREM": ("set", "m"),
    "UNLINK": ("k",),
    "XACK": ("stream", "group", "1-1"),
    "XDEL": ("stream", "1-1"),
    "XTRIM": ("stream", "MAXLEN", 1),
    "ZADD": ("zset", 1, "m"),
    "ZREM": ("zset", "m"),
    "ZREMRANGEBYSCORE": ("zset", 0, 1),
}


@pytest.mark.parametrize("command", REPEATABLE)
async def test_a_command_carried_out_twice_leaves_the_same_behind(
    fenced: FencedRedis, client: Any, command: str
) -> None:
    async def everything() -> dict[str, Any]:
        reads = {"string": "get", "hash": "hgetall", "set": "smembers"}
        found: dict[str, Any] = {}
        for key in sorted(await client.keys("*")):
            kind = await client.type(key)
            if kind in reads:
                found[key] = await getattr(client, reads[kind])(key)
            elif kind == "stream":
                found[key] = await client.xrange(key)
            else:
                found[key] = await getattr(client, "lrange" if kind == "list" else "zrange")(key, 0, -1)
            found[f"{key} expires"] = await client.ttl(key) > 0
        return found

    await client.set("k", "v")
    await client.hset("hash", "f", 0)
    await client.rpush("list", "a", "b")
    await client.sadd("set", "n")
    await client.zadd("zset", {"m": 0.5, "n": 3})
    for number in (1, 2, 3):
        await client.xadd("stream", {"n": number}, id=f"{number}-1")
    await client.xgroup_create("stream", "group", id="0")

    await fenced.write(7, command.lower(), *EACH[command])
    once = await everything()
    await fenced.write(7, command, *EACH[command])

    assert await everything() == once


async def test_a_refusal_says_both_tokens_their_source_and_what_to_do(fenced: FencedRedis) -> None:
    await fenced.guard(9)

    with pytest.raises(Fenced) as caught:
        await fenced.write(7, "SET", "a", 1)

    assert str(caught.value) == (
        "redis refused a write with token 7 of sg:leader:supervisor: it has seen 9. Nothing was written; "
        "this node has been succeeded, so end the work and leave the rest to its successor"
    )


@pytest.mark.parametrize(
    ("source", "namespace", "key"),
    [
        ("sg:leader:supervisor", None, "bgtasks:fence:{sg:leader:supervisor}"),
        ("claim:kg_decay_task", "mine", "mine:fence:{claim:kg_decay_task}"),
        ("a{b}c", None, "bgtasks:fence:a{b}c"),
    ],
)
def test_the_guard_lies_in_the_namespace_in_the_slot_of_its_source(
    client: Any, source: str, namespace: str | None, key: str
) -> None:
    assert FencedRedis(client, source, namespace).key == key


def test_the_namespace_comes_from_the_environment(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BGTASKS_NAMESPACE", "ours")

    assert FencedRedis(client, LEASE).key == "ours:fence:{sg:leader:supervisor}"


def test_a_cluster_is_refused() -> None:
    with pytest.raises(UnsuitableServer, match="Redis Cluster is not supported"):
        FencedRedis(RedisCluster(host="127.0.0.1", port=1), LEASE)


def test_making_one_does_no_io() -> None:
    FencedRedis(redis.asyncio.Redis(port=1), LEASE)
