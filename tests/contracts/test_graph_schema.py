"""`ensure_schema` on a real FalkorDB: what is in force when it returns, whoever else is at it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import pytest

from bgtasks.errors import UnsuitableServer
from bgtasks.graph import KnowledgeGraph, ensure_schema
from bgtasks.graph.migrations import BATCH
from bgtasks.graph.schema import INDEXES, UNIQUE, VERSION, forget

pytestmark = pytest.mark.real

type Connect = Callable[..., Awaitable[KnowledgeGraph]]

INDEXED = {
    *(("Entity", name) for name in ("id", "key", "vec", "name", "sum")),
    *(("Alias", "id"), ("Alias", "of"), ("Vec", "id"), ("Vec", "of"), ("MessageVec", "id")),
    *(("Cursor", "id"), ("Schema", "id"), ("REL", "dies_at")),
}


class Counted:
    """Counts what goes to the graph, and is cancelled at the `at`-th query in which `text` stands."""

    def __init__(self, graph: KnowledgeGraph, text: str = "", at: int = -1) -> None:
        self.graph = graph
        self.text = text
        self.at = at
        self.asked = 0

    async def query(self, cypher: str, params: Mapping[str, Any] | None = None) -> Sequence[Sequence[Any]]:
        self.asked += self.text in cypher
        if self.asked == self.at:
            raise asyncio.CancelledError
        return await self.graph.query(cypher, params)

    async def constrain(self, label: str, name: str) -> None:
        await self.graph.constrain(label, name)


async def indexed(graph: KnowledgeGraph) -> set[tuple[str, str]]:
    rows = await graph.query("CALL db.indexes() YIELD label, properties RETURN label, properties")
    return {(label, name) for label, names in rows for name in names}


async def constrained(graph: KnowledgeGraph) -> dict[str, str]:
    rows = await graph.query("CALL db.constraints() YIELD label, status RETURN label, status")
    return dict(rows)


async def version(graph: KnowledgeGraph) -> list[list[Any]]:
    return await graph.query("MATCH (s:Schema) RETURN s.id, s.version")


async def older(graph: KnowledgeGraph, count: int) -> None:
    """A graph as the version without a number wrote it."""
    await graph.query("CREATE INDEX FOR (e:Entity) ON (e.id)")
    await graph.query(
        "UNWIND range(1, $count) AS i "
        "CREATE (:Entity {id: 'person:nº ' + i, name: 'Nº ' + i, kind: 'person', created: i, seen: i})",
        {"count": count},
    )


class TestWhatIsInForce:
    async def test_every_index_and_constraint_is_there_however_often_it_is_asked_for(
        self, graph: KnowledgeGraph
    ) -> None:
        for _ in range(3):
            await ensure_schema(graph)
            forget(graph)
            assert await indexed(graph) == INDEXED
            assert await constrained(graph) == dict.fromkeys(UNIQUE, "OPERATIONAL")
            assert await version(graph) == [["schema", VERSION]]

    async def test_processes_may_ensure_it_at_once(self, graphs: Connect) -> None:
        connected = [await graphs() for _ in range(8)]

        await asyncio.gather(*(ensure_schema(graph) for graph in connected))

        assert await indexed(connected[0]) == INDEXED
        assert await constrained(connected[0]) == dict.fromkeys(UNIQUE, "OPERATIONAL")
        assert await version(connected[0]) == [["schema", VERSION]]

    async def test_an_index_that_is_missing_is_made_beside_those_that_exist(
        self, graph: KnowledgeGraph
    ) -> None:
        await graph.query(INDEXES[3])

        await ensure_schema(graph)

        assert await indexed(graph) == INDEXED

    @pytest.mark.parametrize("label", UNIQUE)
    async def test_no_two_nodes_have_one_id(self, graph: KnowledgeGraph, label: str) -> None:
        await ensure_schema(graph)

        with pytest.raises(Exception, match="unique constraint violation"):
            await graph.query(f"CREATE (:{label} {{id: 'x'}}), (:{label} {{id: 'x'}})")

        assert await graph.query(f"MATCH (n:{label} {{id: 'x'}}) RETURN count(n)") == [[0]]

    async def test_two_nodes_of_one_id_that_are_there_are_named_and_once_one_is_gone_it_goes_on(
        self, graph: KnowledgeGraph
    ) -> None:
        await graph.query("CREATE (:Alias {id: 'x'}), (:Alias {id: 'x'})")

        with pytest.raises(UnsuitableServer, match=r"two Alias nodes of one id.*MATCH \(x:Alias\)"):
            await ensure_schema(graph)
        await graph.query("MATCH (a:Alias {id: 'x'}) WITH a LIMIT 1 DELETE a")
        await ensure_schema(graph)

        assert await constrained(graph) == dict.fromkeys(UNIQUE, "OPERATIONAL")

    async def test_a_graph_that_cannot_be_constrained_gets_the_rest_and_our_own_adds_it_later(
        self, graph: KnowledgeGraph
    ) -> None:
        class Host:
            async def query(
                self, cypher: str, params: Mapping[str, Any] | None = None
            ) -> Sequence[Sequence[Any]]:
                return await graph.query(cypher, params)

        await ensure_schema(Host())
        assert await indexed(graph) == INDEXED
        assert await constrained(graph) == {}

        await ensure_schema(graph)

        assert await constrained(graph) == dict.fromkeys(UNIQUE, "OPERATIONAL")

    async def test_first_writes_of_one_edge_at_once_make_one_edge(self, graphs: Connect) -> None:
        connected = [await graphs() for _ in range(8)]
        await ensure_schema(connected[0])
        await connected[0].query("CREATE (:Entity {id: 'a'}), (:Entity {id: 'b'})")

        await asyncio.gather(
            *(
                each.query(
                    "MATCH (a:Entity {id: 'a'}) MATCH (b:Entity {id: 'b'}) MERGE (a)-[:REL {p: 'p'}]->(b)"
                )
                for each in connected
            )
        )

        assert await connected[0].query("MATCH ()-[r:REL]->() RETURN count(r)") == [[1]]


class TestWhatItCosts:
    async def test_nothing_is_asked_of_a_graph_that_was_found_ready_a_moment_ago(
        self, graph: KnowledgeGraph
    ) -> None:
        counted = Counted(graph)
        await ensure_schema(counted)
        asked = counted.asked

        for _ in range(100):
            await ensure_schema(counted)

        assert counted.asked == asked

    async def test_another_process_asks_once(self, graph: KnowledgeGraph) -> None:
        await ensure_schema(graph)
        counted = Counted(graph)

        await ensure_schema(counted)

        assert counted.asked == 1

    async def test_a_graph_that_we_deleted_is_made_anew(self, graph: KnowledgeGraph) -> None:
        await ensure_schema(graph)
        await graph.delete()

        await ensure_schema(graph)

        assert await indexed(graph) == INDEXED

    async def test_a_graph_that_was_deleted_under_us_is_made_anew_within_a_minute(
        self, graphs: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ours, theirs = await graphs(), await graphs()
        monkeypatch.setattr("bgtasks.graph.schema.RECHECK", 0.0)
        await ensure_schema(ours)
        await theirs.delete()

        await ensure_schema(ours)

        assert await indexed(theirs) == INDEXED


class TestVersions:
    async def test_a_graph_of_a_newer_version_is_left_alone(self, graph: KnowledgeGraph) -> None:
        await graph.query("CREATE (:Schema {id: 'schema', version: 99})")

        with pytest.raises(
            UnsuitableServer, match=r"version 99, and this bgtasks knows 1 at most.*GRAPH_NAME"
        ):
            await ensure_schema(graph)

        assert await indexed(graph) == set()

    async def test_entities_of_before_are_found_by_alias_and_key_and_wait_for_their_vectors(
        self, graph: KnowledgeGraph
    ) -> None:
        await older(graph, 2 * BATCH + 1)

        await ensure_schema(graph)

        assert await graph.query("MATCH (e:Entity {vec: '-'}) RETURN count(e)") == [[2 * BATCH + 1]]
        assert await graph.query("MATCH (e:Entity {key: 'no 7'}) RETURN e.id, e.n, e.sum") == [
            ["person:nº 7", 1, ""]
        ]
        rows = await graph.query("MATCH (a:Alias {of: 'person:nº 7'}) RETURN a.id ORDER BY a.id")
        assert rows == [["person:no 7"], ["person:nº 7"]]

    @pytest.mark.parametrize(
        ("text", "at"),
        [
            ("s.version", 1),
            ("INDEX FOR (v:Vec)", 2),
            ("db.constraints", 1),
            ("max(id(e))", 1),
            ("id(e) >= $first", 1),
            ("UNWIND $rows", 1),
            ("id(e) >= $first", 2),
            ("UNWIND $rows", 2),
            ("SET s.version", 1),
        ],
    )
    async def test_a_migration_that_was_cut_short_is_done_again(
        self, graph: KnowledgeGraph, text: str, at: int
    ) -> None:
        await older(graph, BATCH + 9)
        with pytest.raises(asyncio.CancelledError):
            await ensure_schema(Counted(graph, text, at))
        assert await version(graph) == []

        await ensure_schema(graph)

        assert await graph.query("MATCH (a:Alias) RETURN count(a)") == [[2 * (BATCH + 9)]]
        assert await version(graph) == [["schema", VERSION]]

    async def test_what_has_no_id_of_text_is_passed_over_and_a_name_may_be_anything(
        self, graph: KnowledgeGraph
    ) -> None:
        await graph.query(
            "CREATE (:Entity {name: 'nobody', kind: 'person'}), (:Entity {id: 7, name: 'x', kind: 'other'}), "
            "(:Entity {id: 'year:1', name: 1984, kind: 'year'}), (:Entity {id: 'odd:1', name: 'O', kind: 3})"
        )

        await ensure_schema(graph)

        assert sorted(await graph.query("MATCH (a:Alias) RETURN a.id, a.of")) == [
            ["3:o", "odd:1"],
            ["odd:1", "odd:1"],
            ["year:1", "year:1"],
            ["year:1984", "year:1"],
        ]
        assert await graph.query("MATCH (e:Entity {key: '1984'}) RETURN e.id") == [["year:1"]]
        assert await version(graph) == [["schema", VERSION]]

    async def test_what_was_written_since_is_not_overwritten(self, graph: KnowledgeGraph) -> None:
        await older(graph, 1)
        await graph.query("MATCH (e:Entity) SET e.n = 7, e.vec = 'v', e.sum = 's', e.conf = 0.5, e.key = 'k'")
        await graph.query("CREATE (:Alias {id: 'person:no 1', of: 'person:merged'})")

        await ensure_schema(graph)

        assert await graph.query("MATCH (e:Entity) RETURN e.n, e.vec, e.sum, e.conf, e.key") == [
            [7, "v", "s", 0.5, "k"]
        ]
        assert await graph.query("MATCH (a:Alias {id: 'person:no 1'}) RETURN a.of") == [["person:merged"]]
