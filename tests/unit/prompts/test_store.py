"""`PromptStore` where no server is needed: a cluster, a server that went away, sensible defaults."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import fakeredis
import pytest
from redis.asyncio.cluster import RedisCluster

from bgtasks import Cron, Once
from bgtasks.errors import ResourceUnavailable, UnsuitableServer
from bgtasks.prompts import PromptStore
from bgtasks.prompts.store import KEPT

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


async def test_a_client_of_a_cluster_is_refused() -> None:
    cluster = RedisCluster(host="127.0.0.1", port=1)
    try:
        with pytest.raises(UnsuitableServer, match="Redis Cluster is not supported"):
            PromptStore(cluster)  # type: ignore[arg-type]
    finally:
        await cluster.aclose()


async def test_every_call_says_that_a_server_is_unavailable() -> None:
    server = fakeredis.FakeServer()
    client = fakeredis.FakeAsyncRedis(server=server)
    store = PromptStore(client)
    server.connected = False

    for call in (
        store.add("hello", Once(NOW + timedelta(1)), now=NOW),
        store.add("hello", Cron("@daily"), now=NOW),
        store.cancel("x", now=NOW),
        store.get("x"),
        store.all(),
        store.tick(NOW),
        store.cleanup(NOW),
    ):
        with pytest.raises(ResourceUnavailable, match="redis is unavailable"):
            await call
    await client.aclose()


def test_ended_prompts_are_kept_for_a_week() -> None:
    assert timedelta(days=7) == KEPT


async def test_the_keys_are_under_the_namespace() -> None:
    client = fakeredis.FakeAsyncRedis(decode_responses=True)
    store = PromptStore(client, "mybot")

    made = await store.add("hello", Once(NOW + timedelta(1)), now=NOW)
    await store.tick(NOW + timedelta(1))

    assert store.stream == "mybot:prompts:due"
    assert set(await client.keys()) == {
        f"mybot:prompts:item:{made.id}",
        "mybot:prompts:ended",
        "mybot:prompts:due",
    }
    await client.aclose()
