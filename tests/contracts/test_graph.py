"""`KnowledgeGraph` and the schema, on a real FalkorDB."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import uuid4

import pytest
import redis.asyncio
from blockbuster import blockbuster_ctx
from tests.support.servers import bundled_redis, free_port, listening, redis_server

from bgtasks.contracts import KnowledgeGraphLike
from bgtasks.embedded import places
from bgtasks.errors import (
    ConfigurationError,
    InvalidMessage,
    MissingExtra,
    ResourceUnavailable,
    UnsuitableServer,
)
from bgtasks.graph import KnowledgeGraph
from bgtasks.graph.schema import INDEXES, settled

pytestmark = pytest.mark.real

type Connect = Callable[..., Awaitable[KnowledgeGraph]]


# -- what a query carries ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        *(0, 1, -1, 2**62, -(2**62), 0.0, -0.5, 0.1, 1e-7, 1.5e-300, 1e22, 1.7e308, 1_788_246_737_000.0),
        *(
            True,
            False,
            None,
            "",
            " ",
            "Ada",
            "Ääkkösiä 日本語",
            "🦡\u200d🌱",
            "two\nlines\r\n\ttabbed",
            "\u2028\ufeff",
        ),
        *(
            "it's",
            'she said "hi"',
            "back\\slash",
            "\\",
            "\\n",
            "\\u0041",
            "`tick`",
            "$name",
            "{}",
            "-- //",
            "a;b",
            "'\"`\\",
        ),
        *([], [1, 2, 3], [1.5, "two", True], [[1], ["a", []]], ["Ä", "🦡", 'q"q']),
        "x" * 100_000,
    ],
    ids=lambda value: repr(value)[:30].encode("ascii", "backslashreplace").decode(),
)
async def test_a_value_comes_back_as_it_went_in(graph: KnowledgeGraph, value: Any) -> None:
    [[echoed]] = await graph.query("RETURN $value", {"value": value})
    await graph.query("CREATE (:Thing {v: $value})", {"value": value})
    [[stored]] = await graph.query("MATCH (t:Thing) RETURN t.v")

    assert (echoed, type(echoed)) == (value, type(value))
    assert (stored, type(stored)) == (value, type(value))


async def test_mappings_and_lists_of_them_are_parameters(graph: KnowledgeGraph) -> None:
    rows = await graph.query(
        "UNWIND $rows AS r RETURN r.name, r.w, r.tags",
        {
            "rows": [
                MappingProxyType({"name": "Ää", "w": 0.5, "tags": ["a"]}),
                {"name": None, "w": 1, "tags": ()},
            ]
        },
    )

    assert rows == [["Ää", 0.5, ["a"]], [None, 1, []]]


async def test_characters_that_cannot_be_stored_are_removed_or_replaced(graph: KnowledgeGraph) -> None:
    awkward = {"text": "a\x00b \ud83d c", "list": ["\x00", "\udfff", None], "map": {"key": "\ud800"}}

    [row] = await graph.query("RETURN $text, $list, $map", awkward)

    assert row == ["ab ? c", ["", "?", None], {"key": "?"}]


@pytest.mark.parametrize("key", ["k\x00", "k\ud800", "k k", "Ää", "@type", "1"])
async def test_the_keys_of_a_mapping_are_cleaned_as_its_values_are(graph: KnowledgeGraph, key: str) -> None:
    [[found]] = await graph.query("RETURN $map", {"map": {key: 1}})

    assert list(found.values()) == [1]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
async def test_a_number_that_is_none_is_refused_wherever_it_is(graph: KnowledgeGraph, bad: float) -> None:
    for params in ({"v": bad}, {"v": [1.0, bad]}, {"v": {"w": [bad]}}):
        with pytest.raises(InvalidMessage, match="a number must be finite"):
            await graph.query("RETURN $v", params)


async def test_a_query_without_parameters_and_without_rows(graph: KnowledgeGraph) -> None:
    assert await graph.query("MATCH (n:Nothing) RETURN n") == []
    assert await graph.query("CREATE (:Thing)") == []
    assert await graph.query("RETURN 1, 'two'") == [[1, "two"]]


async def test_a_query_that_fails_writes_nothing(graph: KnowledgeGraph) -> None:
    with pytest.raises(Exception, match=r"(?i)null"):
        await graph.query("CREATE (:Kept) WITH 1 AS one UNWIND [1, null] AS id MERGE (:Thing {id: id})")

    assert await graph.query("MATCH (n) RETURN count(n)") == [[0]]


async def test_an_error_of_the_query_reaches_its_author(graph: KnowledgeGraph) -> None:
    with pytest.raises(Exception, match=r"(?i)invalid|expected"):
        await graph.query("MATCH oops")


async def test_many_queries_at_once_share_the_connections(graph: KnowledgeGraph) -> None:
    answers = await asyncio.gather(*(graph.query("RETURN $n", {"n": n}) for n in range(50)))

    assert answers == [[[n]] for n in range(50)]


async def test_a_cancelled_query_does_not_give_its_answer_to_the_next(graph: KnowledgeGraph) -> None:
    for steps in range(12):
        task = asyncio.create_task(graph.query("RETURN 'cancelled'"))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

        answers = await asyncio.gather(*(graph.query("RETURN $n", {"n": n}) for n in range(4)))

        assert answers == [[[n]] for n in range(4)]


async def test_graphs_do_not_see_each_other_and_deleting_one_leaves_the_other(graphs: Connect) -> None:
    one, other = await graphs(), await graphs("another graph: ☕ 'quoted'")
    await one.query("CREATE (:Thing)")
    await other.query("CREATE (:Thing), (:Thing)")

    await one.delete()

    assert await other.query("MATCH (n) RETURN count(n)") == [[2]]
    assert await one.query("MATCH (n) RETURN count(n)") == [[0]]


async def test_deleting_a_graph_that_does_not_exist_does_nothing(graphs: Connect) -> None:
    graph = await graphs("never written")

    await graph.delete()
    await graph.delete()


async def test_it_is_a_knowledge_graph_as_tasks_know_it_and_a_context_manager(graph_url: str) -> None:
    async with await KnowledgeGraph.connect(graph_url, "context") as graph:
        assert isinstance(graph, KnowledgeGraphLike)
        assert graph.name == "context"
        assert await graph.query("RETURN 1") == [[1]]
        await graph.delete()


# -- connecting ----------------------------------------------------------------------------------


async def test_making_one_does_no_io_and_the_first_query_connects(falkordb: str) -> None:
    late = Path(tempfile.mkdtemp(prefix="bgt-")) / "late.sock"
    graph = KnowledgeGraph(f"unix://{late}", f"test-{uuid4().hex}")
    try:
        with pytest.raises(ResourceUnavailable):
            await graph.query("RETURN 1")
        late.symlink_to(falkordb.removeprefix("unix://"))
        assert await asyncio.gather(*(graph.query("RETURN 1") for _ in range(5))) == [[[1]]] * 5
    finally:
        await graph.aclose()
        shutil.rmtree(late.parent)


async def test_closed_it_connects_again_when_it_is_asked_and_closing_twice_is_fine(
    graph: KnowledgeGraph,
) -> None:
    for _ in range(2):
        assert await graph.query("RETURN 1") == [[1]]
        await graph.aclose()
        await graph.aclose()


async def test_a_broken_connection_is_said_once_and_then_replaced(falkordb: str) -> None:
    graph = KnowledgeGraph(falkordb, f"test-{uuid4().hex}", max_connections=1)
    admin: Any = redis.asyncio.Redis.from_url(falkordb)
    try:
        [[number]] = await graph.query("RETURN 1")
        await admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        broken = 0
        for _ in range(3):
            try:
                [[number]] = await graph.query("RETURN 2")
            except ResourceUnavailable:
                broken += 1
    finally:
        await graph.aclose()
        await admin.aclose()

    assert number == 2
    assert broken <= 1


async def test_an_unreachable_server_is_unavailable() -> None:
    for url in (f"redis://127.0.0.1:{free_port()}/0", "unix:///tmp/bgt-no-such-socket"):
        with pytest.raises(ResourceUnavailable, match="kg_manager is unavailable"):
            await KnowledgeGraph.connect(url)


@pytest.mark.parametrize("url", ["", "falkor", "http://host/", "redis://host:port/0", "localhost:6379"])
async def test_an_url_that_cannot_be_read_is_an_error_of_configuration(url: str) -> None:
    with pytest.raises(ConfigurationError, match="the URL of FalkorDB cannot be read"):
        await KnowledgeGraph.connect(url)


async def test_something_else_at_the_port_is_said(graph_url: str) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    async with listening(talk) as port:
        with pytest.raises(UnsuitableServer, match="not Redis"):
            await KnowledgeGraph.connect(f"redis://127.0.0.1:{port}")


async def test_a_server_in_cluster_mode_is_refused_with_the_cure() -> None:
    cluster = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    said = pytest.raises(UnsuitableServer, match=r"in cluster mode.*BGTASKS_FALKORDB_URL")
    with redis_server(bundled_redis(), *cluster) as url, said:
        await KnowledgeGraph.connect(url)


async def test_a_redis_without_falkordb_is_found_out_by_the_first_query() -> None:
    with redis_server(bundled_redis()) as url:
        async with await KnowledgeGraph.connect(url) as graph:
            with pytest.raises(UnsuitableServer, match="lacks a command"):
                await graph.query("RETURN 1")


async def test_a_missing_package_is_one_error_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in sys.modules if each == "falkordb" or each.startswith("falkordb.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "falkordb", None)

    with pytest.raises(MissingExtra, match=r"pip install 'bgtasks\[memory\]'"):
        await KnowledgeGraph.connect("redis://127.0.0.1:1")


async def test_connecting_does_not_block_the_event_loop(graph_url: str) -> None:
    with blockbuster_ctx("bgtasks"):  # queries are left out: redis-py itself reads a file per connection
        graph = await KnowledgeGraph.connect(graph_url, "blocks nobody")

    assert await graph.query("RETURN 1") == [[1]]
    await graph.delete()
    await graph.aclose()


async def test_connecting_to_a_server_that_says_nothing_leaves_the_loop_free_and_ends() -> None:
    heard = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        heard.set()
        await reader.read()  # until the other side gives up

    async with listening(talk) as port:
        connecting = asyncio.create_task(KnowledgeGraph.connect(f"redis://127.0.0.1:{port}"))
        await heard.wait()  # the loop serves others while connect waits
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting


async def test_an_integer_of_more_than_64_bits_is_refused(graph: KnowledgeGraph) -> None:
    for number in (2**63, -(2**63) - 1):
        with pytest.raises(InvalidMessage, match="64 bits"):
            await graph.query("RETURN $n", {"n": number})


# -- a server that cuts queries off --------------------------------------------------------------


async def test_a_server_that_cuts_queries_off_is_said_at_the_first_connection_and_when_it_does(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with redis_server(bundled_redis(), "--loadmodule", str(places.binaries()[1]), "TIMEOUT", "20") as url:
        async with await KnowledgeGraph.connect(url, "slow") as graph:
            assert [record.levelname for record in caplog.records] == ["WARNING"]
            assert "cuts queries off early (TIMEOUT=20 ms)" in caplog.text
            assert "GRAPH.CONFIG SET TIMEOUT 0" in caplog.text
            with pytest.raises(UnsuitableServer, match=r"GRAPH\.CONFIG SET TIMEOUT 0"):
                await graph.query("UNWIND range(1, 3000) AS i UNWIND range(1, 3000) AS j RETURN max(i * j)")
    assert len(caplog.records) == 1


async def test_a_server_without_limits_is_no_warning(
    graph: KnowledgeGraph, caplog: pytest.LogCaptureFixture
) -> None:
    await graph.query("RETURN 1")

    assert not caplog.records


# -- indexes that exist --------------------------------------------------------------------------


@pytest.mark.parametrize("statement", INDEXES)
async def test_falkordb_says_already_indexed_of_an_index_that_exists(
    graph: KnowledgeGraph, statement: str
) -> None:
    await graph.query(statement)

    with pytest.raises(Exception, match="already indexed"):
        await graph.query(statement)


async def test_a_constraint_that_exists_is_no_error(graph: KnowledgeGraph) -> None:
    await graph.query("CREATE INDEX FOR (e:Entity) ON (e.id)")

    for _ in range(2):
        await graph.constrain("Entity", "id")
        await settled(graph)
    with pytest.raises(Exception, match="unique constraint"):
        await graph.query("CREATE (:Entity {id: 'one'}), (:Entity {id: 'one'})")
