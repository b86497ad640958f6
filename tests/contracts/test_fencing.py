"""Fenced writes, on every Redis and on FalkorDB: a server refuses each token older than one it has seen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from random import Random
from typing import Any

import fakeredis
import pytest
import redis.asyncio
from tests.support.recording import Recorder
from tests.support.servers import Clients, bundled_redis, explained, free_port, redis_server
from tests.support.waiting import until

from bgtasks import Registry, background_worker, build_supervisor
from bgtasks.contracts import Granted
from bgtasks.errors import Fenced, ResourceUnavailable
from bgtasks.events import TermGained
from bgtasks.fencing import FencedGraph, FencedRedis, raise_guards
from bgtasks.fencing.graph import _ADMIT
from bgtasks.graph import KnowledgeGraph, ensure_schema
from bgtasks.memory import decay
from bgtasks.stores.lease_memory import MemoryLeaseStore
from bgtasks.stores.lease_redis import RedisLeaseStore
from bgtasks.supervisor import TaskSupervisor, WorkerContext

pytestmark = pytest.mark.real

type Graphs = Callable[..., Awaitable[KnowledgeGraph]]

LEASE = "sg:leader:supervisor"
T = 1_763_670_000_123_456
"""A token as leases make them: microseconds since 1970."""

ATTEMPTS = 1_000

full = pytest.mark.full
FAKE = (pytest.param("fakeredis", marks=full), "fakeredis, decoding")
REAL = (
    "redis 8",
    pytest.param("redis 8, decoding", marks=full),
    pytest.param("redis 7", marks=full),
    "redis 7, decoding",
    pytest.param("redis 6", marks=full),
)
"""Each kind of server and each kind of client once; the other pairs take as long again."""


@asynccontextmanager
async def emptied(request: pytest.FixtureRequest) -> AsyncIterator[Clients]:
    """The Redis of this name, without anything in it."""
    name, _, mode = str(request.param).partition(", ")
    url = None if name == "fakeredis" else request.getfixturevalue(f"{name.replace(' ', '')}_url")
    made = Clients(decode=bool(mode), url=url, fake=None if url else fakeredis.FakeServer())
    async with made.stack:
        await made.new().flushall()
        yield made


@pytest.fixture(params=[*FAKE, *REAL])
async def clients(request: pytest.FixtureRequest) -> AsyncIterator[Clients]:
    """An empty Redis."""
    async with emptied(request) as made:
        yield made


@pytest.fixture(params=REAL)
async def real(request: pytest.FixtureRequest) -> AsyncIterator[Clients]:
    """An empty Redis that is a process."""
    async with emptied(request) as made:
        yield made


@pytest.fixture
def plain(clients: Clients) -> Any:
    """A client as anyone has it, which decodes."""
    return clients.new(decode_responses=True)


@pytest.fixture
def fenced(clients: Clients) -> FencedRedis:
    return FencedRedis(clients.new(), LEASE)


@pytest.fixture
def fenced_graph(graph: KnowledgeGraph) -> FencedGraph:
    return FencedGraph(graph, LEASE)


async def refused(write: Awaitable[Any]) -> Fenced:
    """The refusal that the write must end in."""
    with pytest.raises(Fenced) as caught:
        await write
    return caught.value


async def is_admitted(write: Awaitable[Any]) -> bool:
    try:
        await write
    except Fenced:
        return False
    return True


def shuffled(count: int) -> list[int]:
    """So many tokens one microsecond apart, in any order."""
    tokens = [T + number for number in range(count)]
    Random(4).shuffle(tokens)
    return tokens


# -- Redis: which tokens are admitted ------------------------------------------------------------


async def test_a_write_is_carried_out_answered_and_its_token_remembered_to_the_last_digit(
    fenced: FencedRedis, plain: Any
) -> None:
    assert await fenced.write(T, "HSET", "balance", "ada", 7, "kim", 8) == 2

    assert await plain.hgetall("balance") == {"ada": "7", "kim": "8"}
    assert await plain.get(fenced.key) == str(T)
    assert await plain.ttl(fenced.key) == -1


async def test_the_same_token_is_admitted_again_and_a_larger_one_from_then_on(
    fenced: FencedRedis, plain: Any
) -> None:
    for token in (T, T, T + 1, T + 1, T + 1_000_000):
        await fenced.write(token, "SET", "at", token)

    assert await plain.get("at") == await plain.get(fenced.key) == str(T + 1_000_000)


async def test_a_token_older_by_a_microsecond_is_refused_and_nothing_is_written(
    fenced: FencedRedis, plain: Any
) -> None:
    await fenced.write(T, "SET", "at", "new")

    refusal = await refused(fenced.write(T - 1, "SET", "at", "old"))

    assert (refusal.token, refusal.seen, refusal.source) == (T - 1, T, LEASE)
    assert str(T - 1) in str(refusal)
    assert f"it has seen {T}. Nothing was written" in str(refusal)
    assert await plain.get("at") == "new"
    assert await plain.get(fenced.key) == str(T)


async def test_of_a_thousand_attempts_with_older_tokens_none_is_accepted(
    fenced: FencedRedis, plain: Any
) -> None:
    await fenced.write(T, "SADD", "accepted", T)
    older = Random(4)

    for _ in range(ATTEMPTS // 2):
        for token in (T - 1, older.randrange(1, T)):
            await refused(fenced.write(token, "SADD", "accepted", token))
            await refused(fenced.eval(token, "redis.call('SADD', 'accepted', ARGV[1])", args=[token]))

    assert await plain.smembers("accepted") == {str(T)}


async def test_of_many_tokens_at_once_the_accepted_never_decrease(clients: Clients, plain: Any) -> None:
    writers = [FencedRedis(clients.new(), LEASE) for _ in range(8)]

    async def work(number: int, tokens: list[int]) -> int:
        note = "redis.call('RPUSH', KEYS[1], ARGV[1])"
        writes = [writers[number].eval(token, note, ["log"], [token]) for token in tokens]
        return sum([await is_admitted(each) for each in writes])

    tokens = shuffled(400)
    admitted = await asyncio.gather(*(work(number, tokens[number::8]) for number in range(8)))
    log = [int(each) for each in await plain.lrange("log", 0, -1)]

    assert log == sorted(log)
    assert len(log) == sum(admitted)
    assert log[-1] == T + 399


async def test_nothing_to_do_is_no_refusal(fenced: FencedRedis) -> None:
    assert await fenced.write(T, "DEL", "nothing there") == 0
    assert await fenced.eval(T, "return redis.call('GET', KEYS[1])", ["nothing there"]) is None


async def test_tokens_of_different_sources_and_namespaces_are_not_compared(
    clients: Clients, plain: Any
) -> None:
    await FencedRedis(clients.new(), LEASE).write(T, "SET", "a", 1)
    await FencedRedis(clients.new(), "claim:kg_decay_task").write(T - 9, "SET", "b", 2)
    await FencedRedis(clients.new(), LEASE, "other").write(T - 9, "SET", "c", 3)

    assert await plain.mget("a", "b", "c") == ["1", "2", "3"]
    assert set(await plain.keys("*fence*")) == {
        "bgtasks:fence:{sg:leader:supervisor}",
        "bgtasks:fence:{claim:kg_decay_task}",
        "other:fence:{sg:leader:supervisor}",
    }


async def test_clients_that_decode_and_clients_that_do_not_share_a_guard(clients: Clients) -> None:
    one, other = (
        FencedRedis(clients.new(decode_responses=decodes), LEASE)
        for decodes in (clients.decode, not clients.decode)
    )
    await one.write(T, "SET", "a", 1)

    assert (await refused(other.write(T - 1, "SET", "a", 2))).seen == T


async def test_a_guard_that_is_no_number_admits_nobody(fenced: FencedRedis, plain: Any) -> None:
    await plain.set(fenced.key, "spoiled")

    with pytest.raises(redis.ResponseError):
        await fenced.write(T, "SET", "a", 1)
    with pytest.raises(redis.ResponseError):
        await fenced.guard(T)

    assert not await plain.exists("a")


# -- Redis: the guard ----------------------------------------------------------------------------


async def test_raising_the_guard_refuses_what_is_older_before_anything_was_written(
    fenced: FencedRedis,
) -> None:
    assert await fenced.guard(T) == 0
    assert await fenced.guard(T) == T

    assert (await refused(fenced.write(T - 1, "SET", "a", 1))).seen == T
    assert await fenced.write(T, "SET", "a", 1)


async def test_a_larger_token_that_the_guard_holds_is_told_and_stays(fenced: FencedRedis, plain: Any) -> None:
    await fenced.guard(T + 1)

    assert await fenced.guard(T) == T + 1
    assert await plain.get(fenced.key) == str(T + 1)


# -- Redis: scripts ------------------------------------------------------------------------------


async def test_a_script_finds_its_keys_and_arguments_as_if_it_stood_alone(
    fenced: FencedRedis, clients: Clients
) -> None:
    script = "return {#KEYS, #ARGV, KEYS[1], ARGV[1], ARGV[2]} -- and a comment"

    answer = await fenced.eval(T, script, ["key"], ["one", 2])

    assert answer == [1, 2, *(each if clients.decode else each.encode() for each in ("key", "one", "2"))]
    assert await fenced.eval(T, "local nothing = 1") is None


async def test_a_script_looks_whether_it_was_run_before_and_so_counts_once(
    fenced: FencedRedis, plain: Any
) -> None:
    pay = """
    if redis.call('HSETNX', KEYS[1], ARGV[1], 1) == 0 then return 0 end
    redis.call('INCRBY', KEYS[2], ARGV[2])
    return 1
    """

    paid = [await fenced.eval(T, pay, ["paid", "balance"], ["invoice 7", 40]) for _ in range(3)]

    assert paid == [1, 0, 0]
    assert await plain.get("balance") == "40"


async def test_what_goes_wrong_in_a_command_or_a_script_is_raised(fenced: FencedRedis, plain: Any) -> None:
    await plain.set("text", "a")

    with pytest.raises(redis.ResponseError, match=r"WRONGTYPE|wrong kind of value"):
        await fenced.write(T, "HSET", "text", "field", 1)
    with pytest.raises(redis.ResponseError, match="not today"):
        await fenced.eval(T, "return redis.error_reply('not today')")
    with pytest.raises(redis.ResponseError):
        await fenced.eval(T, "this is no Lua")

    assert await plain.get("text") == "a"


async def test_an_error_names_the_line_of_the_script_itself(real: Clients) -> None:
    fenced = FencedRedis(real.new(), LEASE)

    with pytest.raises(redis.ResponseError, match="user_script:2:"):
        await fenced.eval(T, "local two = 2\nreturn two + nil")


async def test_a_script_cache_that_was_flushed_is_filled_again(fenced: FencedRedis, plain: Any) -> None:
    for token in (T, T + 1):
        await plain.script_flush()
        await fenced.guard(token)
        await plain.script_flush()
        await fenced.write(token, "SET", "at", token)

    assert (await refused(fenced.write(T, "SET", "at", "old"))).seen == T + 1
    assert await plain.get("at") == str(T + 1)


# -- Redis: the server and the way to it ---------------------------------------------------------


async def test_a_user_who_may_nothing_dangerous_can_write(real: Clients) -> None:
    admin: Any = real.new()
    await admin.execute_command("ACL", "SETUSER", "tame", "on", "nopass", "~*", "&*", "+@all", "-@dangerous")
    fenced = FencedRedis(real.new(username="tame", password="any"), LEASE)
    try:
        await fenced.guard(T)
        await fenced.write(T, "SET", "a", 1)
        await admin.script_flush()

        assert (await refused(fenced.write(T - 1, "SET", "a", 2))).seen == T
    finally:
        await admin.execute_command("ACL", "DELUSER", "tame")


class Forgetful:
    """A client that carries out each script, and loses the answer to every other one."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.sent = 0

    async def evalsha(self, *args: Any) -> Any:
        answer = await self.client.evalsha(*args)
        self.sent += 1
        if self.sent % 2:
            raise redis.ConnectionError("the answer was lost")
        return answer

    async def eval(self, *args: Any) -> Any:
        return await self.client.eval(*args)


async def test_a_write_whose_answer_was_lost_is_sent_again_and_leaves_the_same_behind(
    clients: Clients, fenced: FencedRedis, plain: Any
) -> None:
    forgetful = Forgetful(clients.new())
    unsure = FencedRedis(forgetful, LEASE)
    await fenced.write(T, "HSET", "balance", "ada", 7)

    assert await unsure.guard(T) == T
    assert await unsure.guard(T + 1) == T + 1  # the answer was lost: it is told what its own call left
    assert await unsure.write(T + 1, "HSET", "balance", "ada", 8, "kim", 9) in (0, 1, 2)
    assert (await refused(unsure.write(T, "HSET", "balance", "ada", 7))).seen == T + 1

    assert await plain.hgetall("balance") == {"ada": "8", "kim": "9"}
    assert forgetful.sent >= 4


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    client: Any = redis.asyncio.Redis.from_url(f"redis://127.0.0.1:{free_port()}/0")
    try:
        with pytest.raises(ResourceUnavailable, match="redis is unavailable"):
            await FencedRedis(client, LEASE).write(T, "SET", "a", 1)
    finally:
        await client.aclose()


async def test_a_full_server_takes_no_new_token_and_admits_nothing_with_it() -> None:
    with redis_server(bundled_redis(), "--maxmemory", "3mb", "--maxmemory-policy", "noeviction") as url:
        client: Any = redis.asyncio.Redis.from_url(url)
        try:
            fenced = FencedRedis(client, LEASE)
            await fenced.write(T, "SET", "ours", "kept")
            await client.config_set("maxmemory", 1)

            with pytest.raises(redis.RedisError, match="maxmemory"):
                await fenced.write(T + 1, "DEL", "ours")
            assert await client.get("ours") == b"kept"
            assert await fenced.write(T, "DEL", "ours") == 1
        finally:
            await client.aclose()


# -- the graph: which tokens are admitted --------------------------------------------------------


async def guards(graph: KnowledgeGraph) -> list[list[Any]]:
    return await graph.query("MATCH (f:__Fence) RETURN f.source, f.token ORDER BY f.source")


async def names(graph: KnowledgeGraph) -> list[str]:
    return [name for (name,) in await graph.query("MATCH (e:Entity) RETURN e.name ORDER BY e.name")]


async def test_a_query_is_carried_out_answered_and_its_token_remembered_to_the_last_digit(
    graph: KnowledgeGraph, fenced_graph: FencedGraph
) -> None:
    create = "UNWIND $names AS name CREATE (e:Entity {name: name}) RETURN e.name, size(e.name)"

    assert await fenced_graph.write(T, create, {"names": ["Ada", "Kim"]}) == [["Ada", 3], ["Kim", 3]]

    assert await names(graph) == ["Ada", "Kim"]
    assert await guards(graph) == [[LEASE, T]]


async def test_the_same_token_and_larger_ones_are_admitted(
    graph: KnowledgeGraph, fenced_graph: FencedGraph
) -> None:
    for token in (T, T, T + 1, T + 1_000_000):
        assert await fenced_graph.write(token, "CREATE (:Entity {name: 'a'}) RETURN 1") == [[1]]

    assert len(await names(graph)) == 4
    assert await guards(graph) == [[LEASE, T + 1_000_000]]


WRITES = {
    "a pattern": "CREATE (:Entity {name: 'old'})",
    "rows": "UNWIND [1, 2] AS n CREATE (e:Entity {name: 'old'}) RETURN e.name",
    "a merge": "MERGE (e:Entity {name: 'old'}) RETURN count(e)",
    "a change": "MATCH (e:Entity) SET e.name = 'old'",
    "a batch deleted": "MATCH (e:Entity) WITH e LIMIT 1 DELETE e RETURN count(e)",
    "after an aggregate": "MATCH (e:None) WITH count(e) AS c CREATE (:Entity {name: 'old'}) RETURN c",
    "after an optional match": "OPTIONAL MATCH (e:None) FOREACH (n IN [1] | CREATE (:Entity {name: 'old'}))",
    "in a part after UNION": "MATCH (e:None) RETURN 1 AS n UNION MERGE (:Entity {name: 'old'}) RETURN 2 AS n",
    "in a subquery": "CALL { CREATE (e:Entity {name: 'old'}) RETURN e } RETURN e.name",
    "after a procedure": "CALL db.labels() YIELD label CREATE (:Entity {name: 'old'})",
    "between comments": "// first\nCREATE (:Entity {name: 'old'}) // last",
    "with a semicolon": "CREATE (:Entity {name: 'old'});",
    "beginning with WITH": "WITH 'old' AS name CREATE (:Entity {name: name})",
}


@pytest.mark.parametrize("cypher", WRITES.values(), ids=WRITES)
async def test_an_older_token_writes_nothing_whatever_the_query_is_like(
    graph: KnowledgeGraph, fenced_graph: FencedGraph, cypher: str
) -> None:
    await fenced_graph.write(T, "CREATE (:Entity {name: 'new'})")

    refusal = await refused(fenced_graph.write(T - 1, cypher))

    assert (refusal.token, refusal.seen, refusal.source) == (T - 1, T, LEASE)
    assert "kg_manager refused a write" in str(refusal)
    assert await names(graph) == ["new"]
    assert await guards(graph) == [[LEASE, T]]


@pytest.mark.parametrize("cypher", WRITES.values(), ids=WRITES)
async def test_the_same_query_with_the_newest_token_does_what_it_does_unfenced(
    graphs: Graphs, fenced_graph: FencedGraph, graph: KnowledgeGraph, cypher: str
) -> None:
    unfenced = await graphs(f"{graph.name}-unfenced")
    for each in (graph, unfenced):
        await each.query("CREATE (:Entity {name: 'new'}), (:__Fence {source: 'another', token: 1})")

    assert await fenced_graph.write(T, cypher) == await unfenced.query(cypher)
    assert set(await names(graph)) == set(await names(unfenced))


async def test_of_a_thousand_attempts_on_the_graph_with_older_tokens_none_is_accepted(
    graph: KnowledgeGraph, fenced_graph: FencedGraph
) -> None:
    await fenced_graph.write(T, "CREATE (:Entity {name: 'new'})")
    older = Random(4)
    tokens = [T - 1 if number % 2 else older.randrange(1, T) for number in range(ATTEMPTS)]
    writes = list(WRITES.values())

    async def attempt(numbers: range) -> None:
        for number in numbers:
            await refused(fenced_graph.write(tokens[number], writes[number % len(writes)]))

    await asyncio.gather(*(attempt(range(start, ATTEMPTS, 4)) for start in range(4)))

    assert await names(graph) == ["new"]
    assert await guards(graph) == [[LEASE, T]]


async def test_of_many_tokens_at_once_the_graph_accepts_none_after_a_larger_one(
    graphs: Graphs, graph: KnowledgeGraph
) -> None:
    await graph.query("CREATE (:Counter {n: 0})")
    writers = [FencedGraph(await graphs(), LEASE) for _ in range(4)]
    note = "MATCH (c:Counter) SET c.n = c.n + 1 CREATE (:Entry {n: c.n, token: $token})"

    async def work(number: int, tokens: list[int]) -> int:
        writes = [writers[number % 4].write(token, note, {"token": token}) for token in tokens]
        return sum([await is_admitted(each) for each in writes])

    tokens = shuffled(240)
    admitted = await asyncio.gather(*(work(number, tokens[number::12]) for number in range(12)))
    rows = await graph.query("MATCH (e:Entry) RETURN e.n, e.token ORDER BY e.n")

    assert [n for n, _ in rows] == list(range(1, sum(admitted) + 1))
    assert [token for _, token in rows] == sorted(token for _, token in rows)
    assert rows[-1][1] == T + 239


@pytest.mark.parametrize("turn", range(8))
async def test_where_nothing_was_ever_written_the_first_tokens_at_once_are_kept_apart(
    graphs: Graphs, graph: KnowledgeGraph, turn: int
) -> None:
    """FalkorDB plans a query before its turn to write comes, and then does not see a label that is newer."""
    writers = [FencedGraph(await graphs(), LEASE) for _ in range(8)]
    tokens = shuffled(32)
    note = "CREATE (e:Entry {token: $token}) RETURN id(e)"

    async def work(number: int) -> int:
        writes = [writers[number % 8].write(token, note, {"token": token}) for token in tokens[number::16]]
        return sum([await is_admitted(each) for each in writes])

    admitted = await asyncio.gather(*(work(number) for number in range(16)))
    written = [token for (token,) in await graph.query("MATCH (e:Entry) RETURN e.token ORDER BY id(e)")]

    assert written == sorted(written)
    assert len(written) == sum(admitted)
    assert await guards(graph) == [[LEASE, T + 31]]


@pytest.mark.parametrize("turn", range(8))
async def test_where_nothing_was_ever_written_guards_raised_at_once_end_at_the_largest_token(
    graphs: Graphs, graph: KnowledgeGraph, turn: int
) -> None:
    raisers = [FencedGraph(await graphs(), LEASE) for _ in range(8)]

    before = await asyncio.gather(
        *(raisers[number % 8].guard(token) for number, token in enumerate(shuffled(32)))
    )

    assert await guards(graph) == [[LEASE, T + 31]]
    assert before.count(0) == 1


async def test_nothing_to_do_in_the_graph_is_no_refusal(fenced_graph: FencedGraph) -> None:
    assert await fenced_graph.write(T, "MATCH (e:None) SET e.seen = 1 RETURN e") == []
    assert await fenced_graph.write(T, "MATCH (e:None) DELETE e RETURN count(e)") == [[0]]
    assert await fenced_graph.write(T, "UNWIND [] AS x CREATE (:Entity {name: x})") == []


async def test_a_query_that_divides_by_zero_itself_is_no_refusal(fenced_graph: FencedGraph) -> None:
    with pytest.raises(redis.ResponseError, match="Division by zero"):
        await fenced_graph.write(T, "CREATE (:Entity {name: 'a'}) RETURN 1 / 0")


async def test_a_query_that_fails_is_undone_whole_with_the_token_it_brought(
    graph: KnowledgeGraph, fenced_graph: FencedGraph
) -> None:
    await fenced_graph.guard(T)

    with pytest.raises(redis.ResponseError):
        await fenced_graph.write(T + 1, "CREATE (e:Entity {name: 'a'}) RETURN toUpper(size(e.name))")

    assert await names(graph) == []
    assert await guards(graph) == [[LEASE, T]]


async def test_sources_have_a_guard_each(graph: KnowledgeGraph, fenced_graph: FencedGraph) -> None:
    await fenced_graph.write(T, "CREATE (:Entity {name: 'a'})")
    await FencedGraph(graph, "claim:kg_decay_task").write(T - 9, "CREATE (:Entity {name: 'b'})")

    assert await names(graph) == ["a", "b"]
    assert await guards(graph) == [["claim:kg_decay_task", T - 9], [LEASE, T]]


async def test_a_guard_that_is_there_twice_refuses_by_its_larger_token_and_admits_once(
    graph: KnowledgeGraph, fenced_graph: FencedGraph
) -> None:
    await graph.query("UNWIND [1, $t, 3] AS t CREATE (:__Fence {source: $s, token: t})", {"s": LEASE, "t": T})

    assert (await refused(fenced_graph.write(T - 1, "CREATE (:Entity {name: 'old'})"))).seen == T
    assert await fenced_graph.guard(T - 1) == T
    await fenced_graph.write(T, "CREATE (:Entity {name: 'new'})")

    assert await names(graph) == ["new"]


async def test_a_guard_that_lost_its_token_takes_the_next(
    graph: KnowledgeGraph, fenced_graph: FencedGraph
) -> None:
    await graph.query("CREATE (:__Fence {source: $s})", {"s": LEASE})

    assert await fenced_graph.write(T, "CREATE (:Entity {name: 'a'}) RETURN 1") == [[1]]
    assert await guards(graph) == [[LEASE, T]]


async def test_a_fenced_query_still_finds_what_it_looks_for_by_an_index(graph: KnowledgeGraph) -> None:
    await ensure_schema(graph)
    params = {"now": 1.0, "batch": 10, "__fence_source": LEASE, "__fence_token": T}

    plan = await explained(graph, _ADMIT + decay._EXPIRED, params)

    assert "Edge By Index Scan" in plan
    assert "All Node Scan" not in plan


# -- the graph: the guard ------------------------------------------------------------------------


async def test_raising_the_guard_of_a_graph_refuses_what_is_older(
    graph: KnowledgeGraph, fenced_graph: FencedGraph
) -> None:
    assert await fenced_graph.guard(T) == 0
    assert await fenced_graph.guard(T - 1) == T
    assert await fenced_graph.guard(T + 1) == T

    assert (await refused(fenced_graph.write(T, "CREATE (:Entity {name: 'old'})"))).seen == T + 1
    assert await guards(graph) == [[LEASE, T + 1]]


async def test_once_the_guard_is_raised_no_older_write_is_still_in_progress(
    graphs: Graphs, graph: KnowledgeGraph
) -> None:
    older = [FencedGraph(await graphs(), LEASE) for _ in range(6)]
    newer = FencedGraph(await graphs(), LEASE)
    await older[0].guard(T)
    many = "UNWIND range(1, 20000) AS n CREATE (:Entry {n: n})"

    async def raised() -> Any:
        await newer.guard(T + 1)
        return await graph.query("MATCH (e:Entry) RETURN count(e)")

    [[[at_once]], *admitted] = await asyncio.gather(
        raised(), *(is_admitted(each.write(T, many)) for each in older * 2)
    )

    assert await graph.query("MATCH (e:Entry) RETURN count(e)") == [[at_once]]
    assert at_once == 20_000 * sum(admitted)


async def test_a_graph_that_is_not_there_is_unavailable() -> None:
    graph = KnowledgeGraph(f"redis://127.0.0.1:{free_port()}/0")
    try:
        with pytest.raises(ResourceUnavailable, match="kg_manager is unavailable"):
            await FencedGraph(graph, LEASE).write(T, "CREATE (:Entity)")
        with pytest.raises(ResourceUnavailable, match="kg_manager is unavailable"):
            await FencedGraph(graph, LEASE).guard(T)
    finally:
        await graph.aclose()


# -- a new leader --------------------------------------------------------------------------------


class Tenure:
    """A term, as far as guards need it, on a lease that is held."""

    def __init__(self, store: RedisLeaseStore, token: int) -> None:
        self.store = store
        self.token = token

    async def mint_above(self, seen: int) -> int:
        self.token = await self.store.mint("ada", seen)
        return self.token


async def leading(clients: Clients) -> Tenure:
    """A term of the lease in this Redis."""
    store = RedisLeaseStore(clients.new(), LEASE, 20.0, client=clients.new())
    granted = await store.acquire("ada", 600.0, 0.0)
    assert isinstance(granted, Granted)
    return Tenure(store, granted.token)


async def test_a_new_leader_raises_every_guard_before_it_works(
    clients: Clients, fenced: FencedRedis, fenced_graph: FencedGraph
) -> None:
    term = await leading(clients)
    granted = term.token

    await raise_guards(fenced, fenced_graph)(term)

    assert term.token == granted
    assert (await refused(fenced.write(term.token - 1, "SET", "a", 1))).seen == term.token
    assert (await refused(fenced_graph.write(term.token - 1, "CREATE (:A)"))).seen == term.token


async def test_where_the_lease_forgot_its_tokens_the_new_leader_takes_one_above_every_guard(
    clients: Clients, fenced: FencedRedis, fenced_graph: FencedGraph, graph: KnowledgeGraph, plain: Any
) -> None:
    ahead = 4_000_000_000_000_000  # as from a server whose clock ran far ahead
    await fenced.guard(ahead)
    await fenced_graph.guard(ahead + 5)
    term = await leading(clients)

    await raise_guards(fenced, fenced_graph)(term)

    assert term.token > ahead + 5
    assert await plain.get(fenced.key) == str(term.token)
    assert await guards(graph) == [[LEASE, term.token]]
    await fenced.write(term.token, "SET", "a", 1)
    assert (await refused(fenced_graph.write(ahead + 5, "CREATE (:A)"))).seen == term.token


async def test_a_token_that_another_term_had_before_is_left_for_a_new_one(
    clients: Clients, fenced: FencedRedis, fenced_graph: FencedGraph
) -> None:
    term = await leading(clients)
    granted = term.token
    await fenced_graph.guard(granted)  # as by a term of which the lease has lost all trace

    await raise_guards(fenced, fenced_graph)(term)

    assert term.token > granted
    assert (await refused(fenced_graph.write(granted, "CREATE (:A)"))).seen == term.token


@pytest.mark.parametrize(
    "takes", [(), ("redis",), ("kg_manager",), ("redis", "kg_manager")], ids=" and ".join
)
async def test_a_built_supervisor_raises_the_guards_of_what_its_workers_take(
    plain: Any, graph: KnowledgeGraph, registry: Registry, takes: tuple[str, ...]
) -> None:
    tokens: list[int] = []

    @background_worker(scope="leader", registry=registry)
    async def work(ctx: WorkerContext) -> None:
        assert ctx.lease == LEASE
        tokens.append(ctx.token)
        await ctx.stopping.wait()

    async def with_redis(ctx: WorkerContext, redis: Any) -> None:
        await work(ctx)

    async def with_graph(ctx: WorkerContext, kg_manager: Any) -> None:
        await work(ctx)

    for name in takes:
        background_worker(scope="leader", registry=registry)(with_redis if name == "redis" else with_graph)

    def all_run(times: int) -> bool:
        return len(tokens) == times * (1 + len(takes))

    for times in (1, 2):
        async with build_supervisor(plain, graph, registry=registry, fresh=True):
            await until("all run", partial(all_run, times))

    assert tokens == sorted(tokens)
    raised = await plain.get(FencedRedis(plain, LEASE).key)
    assert raised == (str(tokens[-1]) if "redis" in takes else None)
    assert await guards(graph) == ([[LEASE, tokens[-1]]] if "kg_manager" in takes else [])


async def test_without_a_redis_a_restarted_node_takes_a_token_above_what_the_graph_has_seen(
    graph: KnowledgeGraph, registry: Registry
) -> None:
    tokens: list[int] = []

    @background_worker(scope="leader", registry=registry)
    async def worker(ctx: WorkerContext, kg_manager: Any) -> None:
        await FencedGraph(kg_manager, ctx.lease).write(ctx.token, "CREATE (:Entity {name: 'a'})")
        tokens.append(ctx.token)
        await ctx.stopping.wait()

    def has_written(times: int) -> bool:
        return len(tokens) == times

    for times in (1, 2, 3):
        async with build_supervisor(kg_manager=graph, registry=registry):
            await until("it has written", partial(has_written, times))

    assert tokens == sorted(set(tokens))
    assert len(await names(graph)) == 3


@pytest.mark.parametrize("where", ["redis", "this process"])
async def test_supervisors_workers_write_where_an_older_term_no_longer_can(
    clients: Clients, fenced: FencedRedis, fenced_graph: FencedGraph, graph: KnowledgeGraph, where: str
) -> None:
    await fenced.guard(T)
    await fenced_graph.guard(4_000_000_000_000_000)
    tokens: list[int] = []

    async def worker(ctx: WorkerContext) -> None:
        await fenced.write(ctx.token, "SET", "at", ctx.token)
        await fenced_graph.write(ctx.token, "CREATE (:Entry {token: $token})", {"token": ctx.token})
        tokens.append(ctx.token)
        await ctx.stopping.wait()

    def has_written(terms: int) -> bool:
        return len(tokens) == terms

    for term in (1, 2):
        store = MemoryLeaseStore(LEASE) if where == "this process" else RedisLeaseStore(clients.new(), LEASE)
        supervisor = TaskSupervisor(store=store, fresh=True)
        gained = Recorder(supervisor.bus)
        supervisor.before_work(raise_guards(fenced, fenced_graph))
        supervisor.register_task("worker", worker, restart="never")
        async with supervisor:
            await until("the worker of the term has written", partial(has_written, term))
            assert supervisor.token == gained.of(TermGained)[0].token == tokens[-1]

    assert 4_000_000_000_000_000 < tokens[0] < tokens[1]
    assert (await refused(fenced.write(tokens[0], "SET", "at", "old"))).seen == tokens[1]
    assert (await refused(fenced_graph.write(tokens[0], "CREATE (:Entry)"))).seen == tokens[1]
    assert await guards(graph) == [[LEASE, tokens[1]]]
