"""What a server that has seen a newer token accepts of an older one: nothing, however long the pause."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.chaos_crowd import SLEEP, STOP, Crowd, Pause, crowd, stage
from tests.acceptance.chaos_node import ATTEMPTS, JOURNAL
from tests.support.proxy import Proxy, proxy
from tests.support.redis_process import RedisProcess
from tests.support.waiting import until

from bgtasks.embedded import EmbeddedServer
from bgtasks.graph import KnowledgeGraph

pytestmark = [pytest.mark.real, pytest.mark.full, pytest.mark.timeout(240)]


@dataclass
class Outside:
    """A Redis and a graph that keep the order in which they admitted steps; no lease is kept in them."""

    redis: RedisProcess
    graph: KnowledgeGraph
    options: dict[str, Any]

    async def check(self) -> None:
        """Neither admitted an older token after a newer one, and both admitted two terms at least."""
        rows = await self.graph.query("MATCH (step:Step) RETURN step.token ORDER BY id(step)")
        for tokens in (journal(self.redis), [int(token) for (token,) in rows]):
            assert tokens == sorted(tokens)
            assert len(set(tokens)) >= 2


@pytest.fixture
async def outside(home: Path) -> AsyncIterator[Outside]:
    """Two servers that have seen no token yet."""
    async with AsyncExitStack() as stack:
        server = stack.enter_context(RedisProcess())
        embedded = await stack.enter_async_context(EmbeddedServer(home / "data"))
        graph = await KnowledgeGraph.connect(embedded.url, JOURNAL)
        stack.push_async_callback(graph.aclose)
        made = Outside(server, graph, {"fenced": server.url, "graph": (embedded.url, JOURNAL)})
        yield made
        await made.check()


def journal(server: RedisProcess) -> list[int]:
    """The tokens of the steps that a Redis admitted, in that order."""
    with server.client() as client:
        return [int(token) for token in client.lrange(JOURNAL, 0, -1)]


async def admitted(around: Crowd, *servers: str, above: int) -> None:
    """Wait until each of the servers has admitted a step of a newer term."""

    def steps() -> list[dict[str, Any]]:
        said = (step for name in around.names for step in around.said(name, "step"))
        return [step for step in said if step["token"] > above]

    def knows(server: str) -> bool:
        return any(f"{server} accepted" in step for step in steps())

    await until(f"{servers} know a newer token", lambda: all(map(knows, servers)))


async def storm(around: Crowd, leader: str, token: int, *servers: str) -> dict[str, dict[str, int]]:
    """Wait until it has made all its attempts; how each server answered."""
    await until(f"{leader} has tried", lambda: len(around.said(leader, "storm")) == len(servers), 120)
    said = {each.pop("server"): each for each in around.said(leader, "storm")}
    assert {each["token"] for each in said.values()} == {token}
    assert set(said) == set(servers)
    return said


@pytest.mark.parametrize("how", [STOP, SLEEP], ids=["SIGSTOP", "time.sleep"])
async def test_one_that_stood_still_within_a_step_is_refused_by_redis_and_by_the_graph(
    home: Path, outside: Outside, how: Pause
) -> None:
    async with stage(home, late=1, **outside.options) as on:
        leader, _ = await on.around.leader()
        token = await on.around.pause(leader, how)
        await admitted(on.around, "redis", "graph", above=token)
        on.around.go(leader, how)
        for answers in (await storm(on.around, leader, token, "redis", "graph")).values():
            assert "accepted" not in answers
            assert answers["refused"] == ATTEMPTS


# -- two primaries -------------------------------------------------------------------------------


AT_ONCE = ("--repl-diskless-sync-delay", "0")
"""A primary sends what it has without waiting for further replicas."""


@dataclass
class Split:
    """A primary that was cut off and still serves `a`, and the one that was promoted and serves `b`."""

    old: RedisProcess
    new: RedisProcess
    around: Crowd
    ways: dict[str, Proxy]
    token: int
    newer: int


@asynccontextmanager
async def split(home: Path, **options: Any) -> AsyncIterator[Split]:
    """A leader on either side of a split pair; they work at one time, which no lease can prevent."""
    async with AsyncExitStack() as stack:
        old, new = (stack.enter_context(RedisProcess(*AT_ONCE, tcp=True)) for _ in range(2))
        _follow(new, old)
        await until("the replica has everything", lambda: _replication(new).get("master_link_status") == "up")
        ways = {name: await stack.enter_async_context(proxy(old.url)) for name in ("a", "b")}
        around = await stack.enter_async_context(crowd(home, late=None))
        await around.start(ways["a"].url, "a", fresh=True, **options)
        await around.works()
        await around.start(ways["b"].url, "b", **options)
        _, token = await around.leader()
        with new.client() as client:
            client.replicaof("NO", "ONE")
        ways["b"].target = new.url
        ways["b"].cut()
        newer = (await around.works(above=token, besides="a")).token
        await until("both work at one time", lambda: around.late)
        assert not around.said("a", "TermLost")
        yield Split(old, new, around, ways, token, newer)


def _follow(replica: RedisProcess, primary: RedisProcess) -> None:
    with replica.client() as client:
        client.replicaof("127.0.0.1", primary.url.rpartition(":")[2].partition("/")[0])


def _replication(server: RedisProcess) -> dict[str, Any]:
    with server.client() as client:
        return dict(client.info("replication"))


async def test_with_two_primaries_servers_outside_the_pair_refuse_the_older_leader(
    home: Path, outside: Outside
) -> None:
    async with split(home, **outside.options) as on:
        await admitted(on.around, "redis", "graph", above=on.token)
        on.around.tell("a", signal.SIGHUP)
        for answers in (await storm(on.around, "a", on.token, "redis", "graph")).values():
            assert answers["led"] > 0  # it was told that it leads, each time
            assert "accepted" not in answers
            assert answers["refused"] == ATTEMPTS


async def test_what_the_cut_off_primary_itself_accepts_is_lost_when_it_is_demoted(home: Path) -> None:
    async with split(home, own=True) as on:

        def accepted_by(server: RedisProcess) -> int:
            return journal(server).count(on.token)

        kept = accepted_by(on.new)
        await until("the old primary has accepted more", lambda: accepted_by(on.old) > kept)
        assert on.newer not in journal(on.old)
        _follow(on.old, on.new)
        await on.around.ended("a", on.token)
        await until("it follows", lambda: _replication(on.old).get("master_link_status") == "up")
        assert accepted_by(on.old) == accepted_by(on.new) == kept
        on.ways["a"].target = on.new.url
        on.ways["a"].cut()
        await on.around.end("b")
        await on.around.works(above=on.newer, besides="b")
        tokens = journal(on.new)
        assert tokens == sorted(tokens)
