"""Every query text of `bgtasks.graph`, as FalkorDB runs it: its rows, and that it scans no label for them.

The engine changes under us. Each text stands in the table below with what it is given and what it answers on
one small graph; a new query without a line there fails.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from unittest.mock import ANY

import pytest
from tests.support.servers import explained

import bgtasks.graph
from bgtasks.graph import KnowledgeGraph, ensure_schema
from bgtasks.graph.weight import HALF_LIFE

pytestmark = pytest.mark.real

MS = 1_788_246_000_000
ELSEWHERE = {"apply"}
"""Modules whose texts are parts of queries: tests/contracts/test_graph_apply.py has them."""

SMALL = """
CREATE (ada:Entity {id: 'person:ada', name: 'Ada', key: 'ada', kind: 'person', sum: 'keeps bees', n: 5,
                    vec: '-', created: 1, seen: 2}),
       (bob:Entity {id: 'person:bob', name: 'Bob', key: 'bob', kind: 'person', sum: '', n: 2, vec: ''}),
       (kit:Entity {id: 'person:paris', name: 'Paris', key: 'paris', kind: 'person', sum: '', n: 1,
                    vec: 'v|1'}),
       (paris:Entity {id: 'place:paris', name: 'Paris', key: 'paris', kind: 'place', sum: 'where bees are',
                      n: 3, vec: 'v|2'}),
       (:Alias {id: 'person:ada', of: 'person:ada'}), (:Alias {id: 'person:countess', of: 'person:ada'}),
       (:Alias {id: 'place:paris', of: 'place:paris'}), (:Cursor {id: 'c', pos: '1'}),
       (ada)-[:REL {p: 'knows', fact: 'Ada knows Bob.', w: 0.8, t: $t, dies_at: $t + 1000, n: 4, conf: 0.9,
                    src: ['lab/1']}]->(bob),
       (ada)-[:REL {p: 'lives_in', w: 0.8, t: $t - 5184000000, dies_at: $t + 1000, n: 1}]->(paris),
       (bob)-[:REL {p: 'knows', w: 0.5, t: $t + 99, n: 1}]->(ada),
       (bob)-[:REL {p: 'visited', w: 0.06, t: $t, dies_at: $t - 1, n: 1}]->(paris)
"""
_INDEX = "CREATE VECTOR INDEX FOR (v:{}) ON (v.v) OPTIONS {{dimension: 2, similarityFunction: 'cosine'}}"
_VEC = "MATCH (e:Entity {{id: '{}'}}) CREATE (:Vec {{id: '{}', of: e.id, v: vecf32({})}})-[:VOF]->(e)"
_MESSAGES = """
CREATE (:MessageVec {id: 'lab/1', channel: 'lab', mid: '1', v: vecf32([0.0, 1.0])}),
       (:MessageVec {id: 'lab/2', channel: 'lab', mid: '2', v: vecf32([1.0, 1.0])})
"""
VECTORS = (
    _INDEX.format("Vec"),
    _INDEX.format("MessageVec"),
    "MATCH (s:Schema {id: 'schema'}) SET s.dim = 2, s.model = 'm', s.indexed = true",
    _VEC.format("place:paris", "v|2", [0.0, 1.0]),
    _VEC.format("place:paris", "v|0", [1.0, 1.0]),
    _VEC.format("person:paris", "v|1", [1.0, 0.0]),
    _MESSAGES,
)

NOW: dict[str, Any] = {"now": float(MS), "half_life": HALF_LIFE}
ADA = ["person:ada", "Ada", "person", "keeps bees"]
BOB = ["person:bob", "Bob", "person", ""]
KIT = ["person:paris", "Paris", "person", ""]
PARIS = ["place:paris", "Paris", "place", "where bees are"]
KNOWS = [*ADA, "knows", *BOB, "Ada knows Bob.", 0.8, 0.9, 4, MS, None, ["lab/1"]]
LIVES = [*ADA, "lives_in", *PARIS, None, 0.4, None, 1, MS - 5_184_000_000, None, None]
KNOWN = [*BOB, "knows", *ADA, None, 0.5, None, 1, MS + 99, None, None]

ID = "person:ada"
LAST = [[pytest.approx(8, abs=7)]]  # the server numbers nodes as it likes


class Bag(list[Any]):
    """Equal to a list of the same in any order."""

    __hash__ = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, list) and sorted(self, key=repr) == sorted(other, key=repr)


@dataclass(frozen=True)
class Asked:
    """What a query is given, what it answers, and whether it must look at all nodes of a label.

    Where it writes: a question asked afterwards, and the answer to that.
    """

    params: dict[str, Any]
    rows: list[list[Any]]
    scans: bool = False
    after: str = ""
    then: list[list[Any]] | None = None


def vec(of: str, text: str, id: str, v: list[float] | None) -> dict[str, Any]:
    return {"rows": [{"of": of, "text": text, "id": id, "v": v}], "dim": 2, "model": "m"}


ASKED = {
    "export._LAST": Asked({}, [[pytest.approx(20, abs=19)]], scans=True),
    "export._IDS": Asked({"first": 0, "end": 99}, [[Bag([[ID], ["person:bob"], [KIT[0]], [PARIS[0]]])]]),
    "export._ALIASES": Asked(
        {"first": 0, "end": 99},
        [[Bag([[ID, ID], ["person:countess", ID], ["place:paris", "place:paris"]])]],
    ),
    "export._CURSORS": Asked({"first": 0, "end": 99}, [[[["c", "1"]]]]),
    "export._ENTITIES": Asked({"ids": [ID]}, [[[[ID, "Ada", "ada", "person", "keeps bees", 5, 1, 2]]]]),
    "export._FACTS": Asked(
        {"ids": ["person:bob", "nobody"]},
        [
            [
                Bag(
                    [
                        ["person:bob", "knows", ID, None, 0.5, MS + 99, None, 1, None, None, None],
                        ["person:bob", "visited", "place:paris", None, 0.06, MS, MS - 1, 1, None, None, None],
                    ]
                )
            ]
        ],
    ),
    "facts._STRONGEST": Asked({**NOW, "limit": 2, "without": ["sells"]}, [KNOWS, KNOWN], scans=True),
    "migrations._LAST": Asked({}, LAST, scans=True),
    "migrations._PAGE": Asked(
        {"first": 0, "end": 99}, [*(each[:1] + each[2:0:-1] for each in (ADA, BOB, KIT, PARIS))]
    ),
    "migrations._ALIASES": Asked(
        {"rows": [{"id": "person:bob", "key": "other", "aliases": ["person:bob", "person:bobby"]}]},
        [[2]],
        after="MATCH (a:Alias {of: 'person:bob'}) MATCH (e:Entity {id: 'person:bob'}) "
        "RETURN a.id, e.key, e.conf, e.n ORDER BY a.id",
        then=[["person:bob", "bob", None, 2], ["person:bobby", "bob", None, 2]],
    ),
    "schema._VERSION": Asked({}, [[1, True]]),
    "schema._DONE": Asked(
        {"version": 7, "constrained": False},
        [],
        after="MATCH (s:Schema) RETURN s.version, s.constrained",
        then=[[7, True]],
    ),
    "search._FULL_TEXT": Asked({"words": "bees|ada", "limit": 9}, [[ID, ANY], ["place:paris", ANY]]),
    "search._NAMED": Asked(
        {"ids": ["person:countess", "place:paris"], "key": "paris", "id": "person:bob"},
        [[*ADA, 5], [*BOB, 2], [*KIT, 1], [*PARIS, 3]],
    ),
    "search._WEIGHED": Asked(
        {**NOW, "ids": [ID, "person:paris", "place:paris"]},
        [[*ADA, 0.8], [*KIT, None], [*PARIS, 0.4]],
    ),
    "search._AROUND": Asked({**NOW, "ids": [ID, "place:paris"], "limit": 9}, [KNOWS, LIVES]),
    "search._TOWARDS": Asked({**NOW, "ids": [ID, "place:paris"], "limit": 9}, [KNOWN, LIVES]),
    "stats._KINDS": Asked({}, [["person", 3], ["place", 1]], scans=True),
    "stats._PREDICATES": Asked({}, [["knows", 2], ["lives_in", 1], ["visited", 1]], scans=True),
    "stats._VERSION": Asked({}, [[1]]),
    "vector_index._FOUND": Asked({}, [[2, "m", True]]),
    "vector_index._CLAIM": Asked({"dim": 9, "model": "late"}, [[2, "m", True]]),
    "vector_index._MESSAGES": Asked({}, [[ANY, "lab", "1"], [ANY, "lab", "2"]], scans=True),
    "vector_index._FORGET": Asked(
        {"numbers": list(range(99))}, [], after="MATCH (m:MessageVec) RETURN count(m)", then=[[0]]
    ),
    "vector_index._INDEXED": Asked({"dim": 2}, [], after="MATCH (s:Schema) RETURN s.indexed", then=[[True]]),
    "vector_index._REBUILDING": Asked(
        {}, [], after="MATCH (s:Schema) RETURN s.dim, s.indexed", then=[[0, False]]
    ),
    "vector_index._REBUILT": Asked(
        {}, [], after="MATCH (s:Schema) RETURN s.dim, s.model, s.version", then=[[None, None, 1]]
    ),
    "vector_index._LAST": Asked({}, LAST, scans=True),
    "vector_index._UNSET": Asked(
        {"first": 0, "end": 99},
        [],
        after="MATCH (e:Entity) RETURN e.id, e.vec ORDER BY e.id",
        then=[[ID, "-"], ["person:bob", "-"], ["person:paris", "-"], ["place:paris", "-"]],
    ),
    "vectors._WAITING": Asked({"limit": 9}, [[ID, "Ada: keeps bees"]]),
    "vectors._STORE": Asked(
        vec(ID, "Ada: keeps bees", "v|3", [0.6, 0.8]),
        [[1]],
        after="MATCH (v:Vec)-[:VOF]->(e:Entity {vec: 'v|3'}) RETURN v.id, v.of, e.id",
        then=[["v|3", ID, ID]],
    ),
    "vectors._STALE": Asked(
        {"rows": [{"of": "place:paris"}, {"of": ID}]},
        [],
        after="MATCH (v:Vec) RETURN v.id ORDER BY v.id",
        then=[["v|1"], ["v|2"]],
    ),
    "vectors._DROP_MESSAGES": Asked(
        {"ids": ["lab/2", "lab/3"]}, [], after="MATCH (m:MessageVec) RETURN m.id", then=[["lab/1"]]
    ),
    "vectors._STORE_MESSAGES": Asked(
        {"rows": [{"id": "lab/4", "channel": "lab", "mid": "4", "v": [1.0, 0.0]}], "dim": 2, "model": "m"},
        [[1]],
        after="CALL db.idx.vector.queryNodes('MessageVec', 'v', 1, vecf32([1,0])) YIELD node RETURN node.mid",
        then=[["4"]],
    ),
    "vectors._NEAREST": Asked(
        {"k": 3, "v": [0.0, 2.0]}, [["place:paris"], ["place:paris"], ["person:paris"]]
    ),
    "vectors._SIMILAR": Asked(
        {"k": 2, "v": [1.0, 1.0]},
        [["lab", "2", pytest.approx(0, abs=1e-6)], ["lab", "1", pytest.approx(0.2929, abs=1e-4)]],
    ),
}
ORDERED = {
    "facts._STRONGEST",
    "search._AROUND",
    "search._FULL_TEXT",
    "search._TOWARDS",
    "vectors._NEAREST",
    "vectors._SIMILAR",
}


def texts() -> Iterator[tuple[str, str]]:
    for found in pkgutil.iter_modules(bgtasks.graph.__path__):
        if found.name in ELSEWHERE:
            continue
        module = importlib.import_module(f"bgtasks.graph.{found.name}")
        for name, value in vars(module).items():
            if (
                name.startswith("_")
                and isinstance(value, str)
                and re.search(r"\b(MATCH|CALL|MERGE)\b", value)
            ):
                yield f"{found.name}.{name}", value


TEXTS = {name: text for name, text in texts() if not name.split(".")[1].startswith("__")}


@pytest.fixture
async def small(graph: KnowledgeGraph) -> KnowledgeGraph:
    await ensure_schema(graph)
    await graph.query(
        "CREATE (:Entity {id: 'gone'})"
    )  # the server's numbers begin at 1 then, and one is free
    await graph.query(SMALL, {"t": MS})
    await graph.query("MATCH (e:Entity {id: 'gone'}) DELETE e")
    for statement in VECTORS:
        await graph.query(statement)
    return graph


def test_every_query_has_its_line_in_the_table() -> None:
    assert TEXTS.keys() == ASKED.keys()


@pytest.mark.parametrize("name", sorted(ASKED))
async def test_the_query_answers_and_writes_what_it_is_meant_to(small: KnowledgeGraph, name: str) -> None:
    asked = ASKED[name]

    plan = await explained(small, TEXTS[name], asked.params)
    rows = await small.query(TEXTS[name], asked.params)

    assert (rows if name in ORDERED else sorted(rows, key=repr)) == [approximate(row) for row in asked.rows]
    if asked.after:
        assert await small.query(asked.after) == asked.then
    scans = "Node By Label Scan" in plan or "All Node Scan" in plan or "Edge By Index Scan" in plan
    assert scans <= asked.scans, plan


def approximate(row: list[Any]) -> list[Any]:
    return [pytest.approx(each) if isinstance(each, float) else each for each in row]


async def test_a_vector_of_an_older_text_is_not_kept(small: KnowledgeGraph) -> None:
    await small.query(TEXTS["vectors._STORE"], vec(ID, "Ada", "v|9", [1.0, 0.0]))

    assert await small.query("MATCH (e:Entity {id: 'person:ada'}) RETURN e.vec") == [["-"]]
    assert await small.query("MATCH (v:Vec {id: 'v|9'}) RETURN v.id") == []


async def test_a_vector_without_direction_ends_the_waiting(small: KnowledgeGraph) -> None:
    await small.query(TEXTS["vectors._STORE"], vec(ID, "Ada: keeps bees", "v|9", None))

    assert await small.query("MATCH (e:Entity {id: 'person:ada'}) RETURN e.vec") == [["v|9"]]
    assert await small.query("MATCH (v:Vec {id: 'v|9'}) RETURN v.id") == []


@pytest.mark.parametrize("other", [{"dim": 3}, {"model": "another"}])
async def test_vectors_that_the_graph_is_no_longer_for_are_not_kept(
    small: KnowledgeGraph, other: dict[str, Any]
) -> None:
    message = {"id": "lab/4", "channel": "lab", "mid": "4", "v": [1.0, 0.0]}
    entity = vec(ID, "Ada: keeps bees", "v|9", [1.0, 0.0])

    assert await small.query(TEXTS["vectors._STORE"], {**entity, **other}) == []
    assert await small.query(TEXTS["vectors._STORE_MESSAGES"], {**entity, "rows": [message], **other}) == []

    assert await small.query("MATCH (v:Vec {id: 'v|9'}) RETURN v.id") == []
    assert await small.query("MATCH (m:MessageVec {id: 'lab/4'}) RETURN m.id") == []
    assert await small.query("MATCH (e:Entity {id: 'person:ada'}) RETURN e.vec") == [["-"]]


async def test_an_index_does_not_find_an_empty_text(small: KnowledgeGraph) -> None:
    """Why `vec` says '-' and not ''."""
    assert await small.query("MATCH (e:Entity {vec: ''}) RETURN e.id") == []
    assert await small.query("MATCH (e:Entity) WHERE e.vec + '' = '' RETURN e.id") == [["person:bob"]]
