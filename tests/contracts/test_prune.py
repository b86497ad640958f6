"""`prune` on a real FalkorDB: exactly what has died goes, and nobody waits long for it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
import redis
from tests.support.servers import explained
from tests.support.waiting import PATIENCE_S

from bgtasks import Done, Failed, build_scheduler
from bgtasks.errors import Fenced
from bgtasks.events import RunFinished
from bgtasks.fencing import FencedGraph
from bgtasks.graph import KnowledgeGraph, ensure_schema
from bgtasks.memory import decay
from bgtasks.memory.decay import prune
from bgtasks.stores.tasks.memory import MemoryTaskStore

pytestmark = pytest.mark.real

NOW = datetime(2026, 9, 1, tzinfo=UTC)
MS = NOW.timestamp() * 1000
WORST_STALL_S = 0.25


async def populate(graph: KnowledgeGraph, dies_at: Sequence[float | None], *, nodes: int = 50) -> None:
    """One edge for each instant, among so many entities."""
    await ensure_schema(graph)
    await graph.query("UNWIND range(0, $last) AS i CREATE (:Entity {id: 'e' + i})", {"last": nodes - 1})
    for start in range(0, len(dies_at), 5_000):
        rows = [
            {"s": f"e{n % nodes}", "o": f"e{(n * 7 + 1) % nodes}", "n": n, "d": dies}
            for n, dies in enumerate(dies_at[start : start + 5_000], start)
        ]
        await graph.query(
            "UNWIND $rows AS x MATCH (s:Entity {id: x.s}), (o:Entity {id: x.o}) "
            "CREATE (s)-[r:REL {p: 'knows', n: x.n}]->(o) SET r.dies_at = x.d",
            {"rows": rows},
        )


async def left(graph: KnowledgeGraph) -> list[int]:
    return sorted(n for (n,) in await graph.query("MATCH ()-[r:REL]->() RETURN r.n"))


async def test_exactly_the_edges_whose_time_has_come_are_deleted(graph: KnowledgeGraph) -> None:
    await populate(graph, [MS - 1e12, MS - 1, MS - 0.5, MS, MS + 0.5, MS + 1, MS + 1e12, None])

    assert await prune(graph, NOW) == 3
    assert await left(graph) == [3, 4, 5, 6, 7]
    assert await graph.query("MATCH (e:Entity) RETURN count(e)") == [[50]]


async def decayed(graph: KnowledgeGraph) -> RunFinished:
    """How the built-in task ends, under a claim."""
    scheduler = build_scheduler(kg_manager=graph, only=["kg_decay_task"], store=MemoryTaskStore())
    heard: asyncio.Future[RunFinished] = asyncio.get_running_loop().create_future()
    scheduler.bus.subscribe(lambda event: heard.set_result(event) if type(event) is RunFinished else None)
    async with scheduler, asyncio.timeout(PATIENCE_S):
        return await heard


async def test_under_a_claim_a_run_that_was_outbid_deletes_nothing(graph: KnowledgeGraph) -> None:
    await populate(graph, [MS - 1, MS + 1e12])
    assert (await decayed(graph)).outcome == Done({"deleted": 1})
    await graph.query("MATCH ()-[r:REL]->() SET r.dies_at = 0")
    await FencedGraph(graph, "claim:kg_decay_task").guard(2**52)

    outbid = (await decayed(graph)).outcome

    assert isinstance(outbid, Failed)
    assert isinstance(outbid.error, Fenced)
    assert await left(graph) == [1]


async def test_pruning_again_deletes_nothing(graph: KnowledgeGraph) -> None:
    await populate(graph, [MS - 1, MS + 1])

    assert await prune(graph, NOW) == 1
    assert await prune(graph, NOW) == 0


async def test_an_empty_graph_has_nothing_to_prune(graph: KnowledgeGraph) -> None:
    assert await prune(graph, NOW) == 0


async def test_relations_of_other_kinds_are_left_alone(graph: KnowledgeGraph) -> None:
    await graph.query("CREATE (:Entity {id: 'a'})-[:OTHER {dies_at: 1}]->(:Entity {id: 'b'})")

    assert await prune(graph, NOW) == 0
    assert await graph.query("MATCH ()-[r:OTHER]->() RETURN count(r)") == [[1]]


async def test_thousands_are_deleted_in_batches(graph: KnowledgeGraph) -> None:
    await populate(graph, [MS - 1 if n % 8 else MS + 1 for n in range(6_400)])

    assert await prune(graph, NOW) == 5_600
    assert await left(graph) == list(range(0, 6_400, 8))


async def test_several_may_prune_at_once(graph: KnowledgeGraph) -> None:
    await populate(graph, [MS - 1 if n % 2 else MS + 1 for n in range(3_000)])

    deleted = await asyncio.gather(*(prune(graph, NOW) for _ in range(4)))

    assert sum(deleted) == 1_500
    assert await left(graph) == list(range(0, 3_000, 2))


@pytest.mark.parametrize("at", [0, 1, 2, 3])
async def test_a_prune_cancelled_between_its_queries_loses_nothing(graph: KnowledgeGraph, at: int) -> None:
    await populate(graph, [MS - 1 if n % 2 else MS + 1 for n in range(2_000)])

    class Cancelled:
        """Cancelled at its `at`-th batch; at 0, when asked for the schema."""

        batches = 0

        async def query(
            self, cypher: str, params: Mapping[str, Any] | None = None
        ) -> Sequence[Sequence[Any]]:
            self.batches += cypher == decay._EXPIRED
            if self.batches == at:
                raise asyncio.CancelledError
            return await graph.query(cypher, params)

    with pytest.raises(asyncio.CancelledError):
        await prune(Cancelled(), NOW)
    gone = 2_000 - len(await left(graph))

    assert await prune(graph, NOW) == 1_000 - gone
    assert await left(graph) == list(range(0, 2_000, 2))


@pytest.mark.parametrize("steps", [1, 4, 8, 12, 16, 20, 30])
async def test_a_prune_cancelled_while_a_query_runs_loses_nothing(graph: KnowledgeGraph, steps: int) -> None:
    await populate(graph, [MS - 1 if n % 2 else MS + 1 for n in range(1_000)])
    task = asyncio.create_task(prune(graph, NOW))
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])

    await prune(graph, NOW)

    assert await left(graph) == list(range(0, 1_000, 2))


async def test_the_query_counts_what_it_deleted_and_no_more_than_its_batch(graph: KnowledgeGraph) -> None:
    await populate(graph, [MS - 1] * 10 + [MS + 1] * 5)

    counted = [await graph.query(decay._EXPIRED, {"now": MS, "batch": 4}) for _ in range(4)]

    assert counted == [[[4]], [[4]], [[2]], [[0]]]
    assert await left(graph) == [10, 11, 12, 13, 14]


async def test_the_query_finds_what_has_died_by_the_index(graph: KnowledgeGraph) -> None:
    await populate(graph, [MS - 1, MS + 1])

    plan = await explained(graph, decay._EXPIRED, {"now": MS, "batch": 100})

    assert "Edge By Index Scan" in plan
    assert "All Node Scan" not in plan


@pytest.mark.full
@pytest.mark.timeout(300)
async def test_nobody_waits_long_while_a_tenth_of_200_000_edges_is_pruned(
    graph: KnowledgeGraph, graph_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await populate(graph, [MS - 1 if n % 10 == 0 else MS + 1 for n in range(200_000)], nodes=5_000)
    ended, ready = threading.Event(), threading.Event()
    stalls: list[float] = []

    def ping() -> None:
        with redis.Redis.from_url(graph_url) as client:
            client.ping()
            ready.set()
            while not ended.is_set():
                began = time.perf_counter()
                client.ping()
                stalls.append(time.perf_counter() - began)

    pinging = threading.Thread(target=ping, name="ping")
    pinging.start()
    try:
        await asyncio.to_thread(ready.wait, 30)
        began = time.perf_counter()
        deleted = await prune(graph, NOW)
        took = time.perf_counter() - began
    finally:
        ended.set()
        await asyncio.to_thread(pinging.join)

    with capsys.disabled():
        print(  # noqa: T201 - the figure is what the test is for
            f"\npruned {deleted:,} of 200,000 edges in {took:.2f} s; "
            f"worst of {len(stalls):,} PINGs {max(stalls) * 1000:.0f} ms"
        )
    assert deleted == 20_000
    assert await graph.query("MATCH ()-[r:REL]->() RETURN count(r)") == [[180_000]]
    assert max(stalls) < WORST_STALL_S
