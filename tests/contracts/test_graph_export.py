"""The canonical text of a graph, from a real FalkorDB: the same for the same graph, and whole."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import redis.asyncio

from bgtasks.errors import ConfigurationError
from bgtasks.graph import KnowledgeGraph, ensure_schema
from bgtasks.graph import export as export_module
from bgtasks.graph.apply import Edge, Node
from bgtasks.graph.export import export_to
from bgtasks.graph.vectors import store_vectors, waiting

pytestmark = pytest.mark.real

type Connect = Callable[..., Awaitable[KnowledgeGraph]]

NODES = [
    Node("person", "Ada", 10, about='said "<hi>" & left\n\uffff', n=2),
    Node("person", "Zoë", 20),
    Node("place", "日本 🦡", 30),
    Node("person", "bob", 40),
]
EDGES = [
    Edge(
        NODES[0].id, "knows", NODES[3].id, 0.1, 50, fact="Ada knows <Bob>.", src=("a/1", "a/2"), valid_from=7
    ),
    Edge(NODES[3].id, "knows", NODES[0].id, 0.3, 50),
    Edge(NODES[0].id, "is_in", NODES[2].id, 1 / 3, 50, conf=0.7),
]
MARKUP = "{http://graphml.graphdrawing.org/xmlns}"


async def text(graph: KnowledgeGraph, format: Any = "json", *, cursors: bool = False) -> str:
    return "".join([part async for part in graph.export(format, cursors=cursors)])


class TestJson:
    async def test_all_there_is_but_vectors_in_order(self, graph: KnowledgeGraph) -> None:
        await graph.upsert(NODES, EDGES)
        await graph.query("CREATE (:Cursor {id: 'x', pos: '1'})")

        read = json.loads(await text(graph))

        assert (read["format"], read["version"], read["end"]) == ("bgtasks graph", 1, True)
        assert [each["id"] for each in read["entities"]] == [
            "person:ada",
            "person:bob",
            "person:zoë",
            "place:日本 🦡",
        ]
        assert read["entities"][0] == {
            "id": "person:ada",
            "name": "Ada",
            "key": "ada",
            "kind": "person",
            "sum": NODES[0].about,
            "n": 2,
            "created": 10,
            "seen": 10,
        }
        assert [(each["s"], each["p"], each["o"]) for each in read["facts"]] == [
            ("person:ada", "is_in", "place:日本 🦡"),
            ("person:ada", "knows", "person:bob"),
            ("person:bob", "knows", "person:ada"),
        ]
        assert read["facts"][1]["src"] == ["a/1", "a/2"]
        assert read["facts"][1]["valid_from"] == 7
        assert {each["id"]: each["of"] for each in read["aliases"]} == {node.id: node.id for node in NODES}
        assert "cursors" not in read
        assert json.loads(await text(graph, cursors=True))["cursors"] == [{"id": "x", "pos": "1"}]

    async def test_an_empty_graph(self, graph: KnowledgeGraph) -> None:
        assert json.loads(await text(graph)) == {
            "format": "bgtasks graph",
            "version": 1,
            "entities": [],
            "aliases": [],
            "facts": [],
            "end": True,
        }

    async def test_graphs_that_hold_the_same_give_the_same_bytes(self, graphs: Connect) -> None:
        one, other = await graphs(), await graphs("the same in another order")
        await one.upsert(NODES, EDGES)
        for each in reversed(NODES):
            await other.upsert([each])
        for edge in reversed(EDGES):
            await other.upsert([Node(n.kind, n.name, n.seen) for n in NODES], [edge])
        await store_vectors(other, "model", [(each.id, each.text, [1.0]) for each in await waiting(other)])

        for format in ("json", "graphml"):
            assert await text(one, format) == await text(other, format)

    async def test_what_another_program_wrote_without_id_or_predicate_stops_nothing(
        self, graph: KnowledgeGraph
    ) -> None:
        await graph.query(
            "CREATE (a:Entity {id: 'a'}), (b:Entity {id: 'b'}), (c:Entity {name: 'c'}), (d:Entity {id: 4}), "
            "(a)-[:REL {w: 0.5}]->(b), (a)-[:REL {p: 'p'}]->(b), (a)-[:REL {p: 'q'}]->(c), "
            "(a)-[:REL {p: 'q'}]->(d), (c)-[:REL {p: 'q'}]->(b), (a)-[:REL {p: 9}]->(b)"
        )

        read = json.loads(await text(graph))
        root = ElementTree.fromstring(await text(graph, "graphml"))

        assert [each["id"] for each in read["entities"]] == ["a", "b"]
        assert read["facts"] == [
            {"s": "a", "o": "b", "w": 0.5},
            {"s": "a", "p": 9, "o": "b"},
            {"s": "a", "p": "p", "o": "b"},
        ]
        assert len(list(root.iter(f"{MARKUP}edge"))) == 3

    async def test_numbers_have_one_form_however_they_were_written(self, graphs: Connect) -> None:
        one, other = await graphs(), await graphs("other numbers")
        query = "CREATE (a:Entity {id: 'a', seen: $seen}), (a)-[:REL {p: 'p', w: $w, t: $seen}]->(a)"
        await one.query(query, {"seen": 1_788_246_000_000, "w": 1})
        await other.query(query, {"seen": 1_788_246_000_000.0, "w": 1.0})

        assert await text(one) == await text(other)
        assert '"w": 1.0, "t": 1788246000000' in await text(one)

    async def test_pages_leave_nothing_out_and_repeat_nothing(
        self, graph: KnowledgeGraph, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        nodes = [Node("person", f"n{number}", 1) for number in range(157)]
        edges = [Edge(nodes[0].id, "p", node.id, 0.5, 1) for node in nodes[1:]]
        edges += [Edge(node.id, "q", nodes[0].id, 0.5, 1) for node in nodes[1:]]
        await graph.upsert(nodes, edges)
        whole = await text(graph)

        monkeypatch.setattr(export_module, "NUMBERS", 10)
        monkeypatch.setattr(export_module, "PAGE", 3)

        assert await text(graph) == whole
        read = json.loads(whole)
        assert len({each["id"] for each in read["entities"]}) == len(read["entities"]) == 157
        assert len({(each["s"], each["p"], each["o"]) for each in read["facts"]}) == len(read["facts"]) == 312

    @pytest.mark.parametrize("size", [1, 2, 3, 100])
    async def test_names_outside_ascii_are_in_it_once_and_in_order(
        self, graph: KnowledgeGraph, monkeypatch: pytest.MonkeyPatch, size: int
    ) -> None:
        monkeypatch.setattr(export_module, "NUMBERS", size)
        monkeypatch.setattr(export_module, "PAGE", size)
        names = [
            "Ada",
            "Zoe",
            "Éva",
            "Østen",
            "Łukasz",
            "日本",
            "नमस्ते",
            "🦡",
            "\ufb03",
            "\ue000",
            "~",
            "x" * 300,
        ]
        nodes = [Node("person", name, 1) for name in names]
        await graph.upsert(nodes, [Edge(each.id, "p", nodes[0].id, 0.5, 1) for each in nodes[1:]])

        read = json.loads(await text(graph))

        ids = [each["id"] for each in read["entities"]]
        assert ids == sorted(node.id for node in nodes)
        assert [each["id"] for each in read["aliases"]] == ids
        assert [each["s"] for each in read["facts"]] == [each for each in ids if each != nodes[0].id]

    async def test_a_server_that_cuts_answers_short_cuts_nothing_out(
        self, graph: KnowledgeGraph, graph_url: str
    ) -> None:
        nodes = [Node("person", f"n{number}", 1) for number in range(30)]
        edges = [Edge(a.id, "p", b.id, 0.5, 1) for a in nodes for b in nodes[:7] if a is not b]
        await graph.upsert(nodes, edges)
        whole = await text(graph)
        client: Any = redis.asyncio.Redis.from_url(graph_url, decode_responses=True)
        _, before = await client.execute_command("GRAPH.CONFIG", "GET", "RESULTSET_SIZE")

        await client.execute_command("GRAPH.CONFIG", "SET", "RESULTSET_SIZE", 20)
        try:
            cut = await text(graph)
        finally:
            await client.execute_command("GRAPH.CONFIG", "SET", "RESULTSET_SIZE", before)
            await client.aclose()

        assert cut == whole
        assert len(json.loads(cut)["facts"]) == len(edges)

    @pytest.mark.full
    async def test_a_hundred_thousand_entities_take_seconds(self, graph: KnowledgeGraph) -> None:
        await ensure_schema(graph)
        await graph.query(
            "UNWIND range(1, 100000) AS i CREATE (:Entity {id: 'person:é' + toString(i), name: 'é', n: 1})"
        )
        async with asyncio.timeout(20):
            read = json.loads(await text(graph))

        assert len({each["id"] for each in read["entities"]}) == len(read["entities"]) == 100_000


class TestGraphml:
    async def test_it_is_what_the_schema_of_graphml_says(self, graph: KnowledgeGraph) -> None:
        await graph.upsert(NODES, EDGES)

        root = ElementTree.fromstring(await text(graph, "graphml"))

        assert root.tag == f"{MARKUP}graphml"
        assert [child.tag for child in root] == [f"{MARKUP}key"] * (len(root) - 1) + [f"{MARKUP}graph"]
        keys = {key.attrib["id"]: key.attrib for key in root.iter(f"{MARKUP}key")}
        assert all(key["attr.type"] in {"string", "long", "double"} for key in keys.values())
        drawn = root[-1]
        assert drawn.attrib["edgedefault"] == "directed"
        ids = {node.attrib["id"] for node in drawn.iter(f"{MARKUP}node")}
        assert ids == {node.id for node in NODES}
        edges = list(drawn.iter(f"{MARKUP}edge"))
        assert len(edges) == len(EDGES)
        assert all(edge.attrib["source"] in ids and edge.attrib["target"] in ids for edge in edges)
        for element in drawn:
            named = [data.attrib["key"] for data in element]
            assert len(set(named)) == len(named)
            assert all(f"{MARKUP}{keys[name]['for']}" == element.tag for name in named)

    async def test_what_xml_cannot_hold_is_replaced_and_the_rest_is_kept(self, graph: KnowledgeGraph) -> None:
        await graph.upsert(NODES, EDGES)

        root = ElementTree.fromstring(await text(graph, "graphml"))
        told = {data.text for data in root.iter(f"{MARKUP}data")}

        assert 'said "<hi>" & left\n\ufffd' in told
        assert "Ada knows <Bob>." in told
        assert "a/1 a/2" in told

    async def test_ids_that_differ_in_what_xml_cannot_hold_still_differ(self, graph: KnowledgeGraph) -> None:
        ids = ["a\uffff", "a\ufffe", "a\ufffd", "a\ufffdFFFE", "a\ufffdFFFD", "a\t", "a\n"]
        for each in ids:
            await graph.query(
                "CREATE (s:Entity {id: $id, name: $id})-[:REL {p: 'is', w: 1.0}]->(s)", {"id": each}
            )

        root = ElementTree.fromstring(await text(graph, "graphml"))

        drawn = [node.attrib["id"] for node in root.iter(f"{MARKUP}node")]
        assert len(set(drawn)) == len(drawn) == len(ids)
        assert [edge.attrib["source"] for edge in root.iter(f"{MARKUP}edge")] == drawn
        assert [edge.attrib["target"] for edge in root.iter(f"{MARKUP}edge")] == drawn


class TestFiles:
    async def test_a_file_is_written_whole(self, graph: KnowledgeGraph, tmp_path: Path) -> None:
        await graph.upsert(NODES, EDGES)
        path = tmp_path / "graph.json"
        path.write_text("before")

        assert await export_to(graph, path) == path

        assert path.read_text() == await text(graph)
        assert [each.name for each in tmp_path.iterdir()] == ["graph.json"]

    async def test_one_that_could_not_be_is_left_as_it_was(
        self, graph: KnowledgeGraph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Failing:
            asked = 0

            async def query(self, *args: Any) -> Any:
                self.asked += 1
                if self.asked > 2:
                    raise asyncio.CancelledError
                return await graph.query(*args)

        await graph.upsert(NODES, EDGES)
        path = tmp_path / "graph.json"
        path.write_text("before")

        with pytest.raises(asyncio.CancelledError):
            await export_to(Failing(), path)

        assert path.read_text() == "before"
        assert [each.name for each in tmp_path.iterdir()] == ["graph.json"]

    async def test_a_format_that_is_none_is_refused(self, graph: KnowledgeGraph) -> None:
        with pytest.raises(ConfigurationError, match="json or graphml"):
            await text(graph, "gexf")
