"""`apply` and `write` on a real FalkorDB: a batch is written whole or not at all, and once."""

from __future__ import annotations

import asyncio
import math
import random
import re
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
import redis.asyncio
from tests.support.servers import explained

from bgtasks.errors import InvalidMessage, ResourceUnavailable
from bgtasks.graph import KnowledgeGraph, ensure_schema
from bgtasks.graph.apply import LARGEST, SOURCES, Edge, Node, apply, position_of, write
from bgtasks.graph.schema import UNEMBEDDED, settled
from bgtasks.graph.weight import HALF_LIFE, THRESHOLD, Weight
from bgtasks.memory.decay import prune

pytestmark = pytest.mark.real

type Connect = Callable[..., Awaitable[KnowledgeGraph]]
type Triple = tuple[str, str, str]

DAY = 86_400_000
ADA, BOB, LAB = "person:ada", "person:bob", "channel:lab"


def person(name: str, seen: int = 2000, **more: Any) -> Node:
    return Node("person", name, seen, **more)


def knows(s: str = ADA, o: str = BOB, *, w: float = 0.1, t: int = 2000, **more: Any) -> Edge:
    return Edge(s, "knows", o, w, t, **more)


NODES = (person("Ada", signed=True), Node("channel", "lab", 2000))
EDGES = (Edge(ADA, "speaks_in", LAB, 0.1, 2000),)
PAIR = (person("Ada"), person("Bob"))


class Watched:
    """A graph that notes what it is asked."""

    def __init__(self, graph: KnowledgeGraph) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self._graph = graph

    async def query(self, cypher: str, params: Mapping[str, Any] | None = None) -> Sequence[Sequence[Any]]:
        self.asked.append((cypher, dict(params or {})))
        return await self._graph.query(cypher, params)


@pytest.fixture
async def graph(graphs: Connect) -> KnowledgeGraph:
    """A graph with nothing but its schema."""
    made = await graphs()
    await ensure_schema(made)
    return made


async def entities(graph: KnowledgeGraph) -> dict[str, dict[str, Any]]:
    rows = await graph.query("MATCH (e:Entity) RETURN e.id, properties(e)")
    return {str(identity): dict(found) for identity, found in rows}


async def edges(graph: KnowledgeGraph) -> dict[Triple, dict[str, Any]]:
    """By the ids of both ends; there is one of each."""
    rows = await graph.query("MATCH (s)-[r:REL]->(o) RETURN s.id, r.p, o.id, properties(r)")
    found = {(str(s), str(p), str(o)): dict(properties) for s, p, o, properties in rows}
    assert len(found) == len(rows)
    return found


async def edge(graph: KnowledgeGraph, s: str = ADA, o: str = BOB) -> dict[str, Any]:
    return (await edges(graph))[s, "knows", o]


async def everything(graph: KnowledgeGraph) -> list[str]:
    nodes = await graph.query("MATCH (n) RETURN labels(n), properties(n)")
    relations = await graph.query("MATCH (s)-[r]->(o) RETURN s.id, type(r), o.id, properties(r)")
    return sorted(repr(row) for row in [*nodes, *relations])


async def merge(graph: KnowledgeGraph, keep: str, drop: str) -> None:
    """Let every name of `drop` mean `keep`."""
    await graph.query("MATCH (a:Alias {of: $drop}) SET a.of = $keep", {"keep": keep, "drop": drop})
    await graph.query("MERGE (a:Alias {id: $drop}) SET a.of = $keep", {"keep": keep, "drop": drop})
    await graph.query("MATCH (e:Entity {id: $drop}) DETACH DELETE e", {"drop": drop})


# -- what is written -----------------------------------------------------------------------------


async def test_apply_writes_and_moves_the_cursor_in_one_step(graph: KnowledgeGraph) -> None:
    assert await position_of(graph, "c") == ""

    assert await apply(graph, "c", "", "1", NODES, EDGES)

    assert await position_of(graph, "c") == "1"
    assert await position_of(graph, "another") == ""
    fresh = {"sum": "", "vec": UNEMBEDDED, "n": 0, "created": 2000, "seen": 2000}
    assert await entities(graph) == {
        ADA: {"id": ADA, "name": "Ada", "key": "ada", "kind": "person", **fresh},
        LAB: {"id": LAB, "name": "lab", "key": "lab", "kind": "channel", **fresh},
    }
    assert await edges(graph) == {
        (ADA, "speaks_in", LAB): {
            "p": "speaks_in",
            "w": pytest.approx(0.1),
            "t": 2000,
            "n": 1,
            "conf": 1.0,
            "src": [],
            "dies_at": pytest.approx(2000 + HALF_LIFE),
        }
    }
    assert sorted(await graph.query("MATCH (a:Alias) RETURN a.id, a.of")) == [[LAB, LAB], [ADA, ADA]]


async def test_apply_keeps_the_latest_instant_and_the_name_that_was_signed(graph: KnowledgeGraph) -> None:
    await apply(graph, "c", "", "1", NODES, EDGES)

    other = [person("ADA", 1000), Node("channel", "lab", 5000)]
    await apply(graph, "c", "1", "2", other, EDGES)

    rows = await graph.query("MATCH (e:Entity) RETURN e.name, e.created, e.seen")
    assert sorted(rows) == [["Ada", 2000, 2000], ["lab", 2000, 5000]]


@pytest.mark.parametrize(
    ("nodes", "relations"), [([], []), (PAIR, []), (PAIR, [knows()])], ids=["neither", "nodes", "both"]
)
async def test_the_cursor_moves_whatever_there_is_to_write(
    graph: KnowledgeGraph, nodes: Sequence[Node], relations: Sequence[Edge]
) -> None:
    assert await apply(graph, "c", "", "1", nodes, relations)
    assert await apply(graph, "c", "1", "2", nodes, relations)
    assert not await apply(graph, "c", "1", "3", nodes, relations)

    assert await position_of(graph, "c") == "2"
    assert len(await entities(graph)) == len(nodes)
    assert [found["n"] for found in (await edges(graph)).values()] == [2 for _ in relations]


async def test_write_counts_each_time_and_moves_no_cursor(graph: KnowledgeGraph) -> None:
    for _ in range(2):
        await write(graph, [person("Ada", n=2), person("Bob")], [knows(n=3)])

    assert (await entities(graph))[ADA]["n"] == 4
    found = await edge(graph)
    assert (found["n"], found["w"]) == (6, pytest.approx(1 - 0.9 * 0.9))
    assert await graph.query("MATCH (c:Cursor) RETURN count(c)") == [[0]]


async def test_write_of_nothing_asks_nothing(graph: KnowledgeGraph) -> None:
    watched = Watched(graph)

    await write(watched, [], [])

    assert watched.asked == []


@pytest.mark.parametrize("half_life", [DAY, float(DAY)], ids=["integer", "float"])
async def test_weights_join_as_in_weight_whatever_order_the_evidence_comes_in(
    graph: KnowledgeGraph, half_life: float
) -> None:
    weight = Weight(0.0, 0)
    for day, strength in [(0, 0.3), (3, 0.2), (1, 0.9), (3, 1.0), (9, 0.1)]:
        await write(graph, PAIR, [knows(w=strength, t=day * DAY)], half_life=half_life)
        weight = weight.joined(Weight(strength, day * DAY), half_life)

        found = await edge(graph)
        assert (found["w"], found["t"]) == (pytest.approx(weight.w), weight.t)
        dies_at = weight.t + half_life * math.log2(weight.w / THRESHOLD)
        assert found["dies_at"] == pytest.approx(dies_at)


async def test_an_edge_without_any_weight_dies_at_once(graph: KnowledgeGraph) -> None:
    await write(graph, PAIR, [knows(w=0.0, t=2000)])  # by the formula, at an instant that no index finds

    assert (await edge(graph))["dies_at"] == 2000
    assert await prune(graph, datetime.fromtimestamp(3, UTC)) == 1


async def test_texts_that_cannot_be_stored_do_not_stop_a_batch(graph: KnowledgeGraph) -> None:
    nodes = [person("Nul\x00l", about="a\x00b"), person("Cut\ud83d"), person("q\"u'o\\`te {}$x")]
    first, second, third = (node.id for node in nodes)
    relations = [knows(first, second, fact="\x00'\"\n\ud83d", src=("c/\x001",)), knows(second, third)]

    assert await apply(graph, "c\x00", "", "1", nodes, relations)
    assert not await apply(graph, "c\x00", "", "1", nodes, relations)

    assert {found["name"] for found in (await entities(graph)).values()} == {
        *("Null", "Cut?", "q\"u'o\\`te {}$x")
    }
    assert (await edge(graph, first, second))["fact"] == "'\"\n?"


# -- facts, sources, confidence ------------------------------------------------------------------


async def test_sources_are_the_latest_eight_each_once_in_their_order(graph: KnowledgeGraph) -> None:
    async def written(*numbers: int) -> list[int]:
        await write(graph, PAIR, [knows(src=tuple(f"lab/{number}" for number in numbers))])
        return [int(str(source).removeprefix("lab/")) for source in (await edge(graph))["src"]]

    assert await written() == []
    assert await written(1, 2, 3, 4, 5) == [1, 2, 3, 4, 5]
    assert await written(3) == [1, 2, 4, 5, 3]
    assert await written() == [1, 2, 4, 5, 3]
    assert await written(6, 7, 8, 9, 4) == [2, 5, 3, 6, 7, 8, 9, 4]
    assert await written(5, 5, 6, 5) == [2, 3, 7, 8, 9, 4, 6, 5]
    assert await written(*range(20, 40)) == list(range(40 - SOURCES, 40))


async def test_a_fact_is_replaced_by_one_that_is_no_older_and_by_none_otherwise(
    graph: KnowledgeGraph,
) -> None:
    async def written(fact: str, t: int) -> Any:
        await write(graph, PAIR, [knows(fact=fact, t=t)])
        return (await edge(graph)).get("fact")

    assert await written("", 5000) is None
    assert await written("old, and the first", 4000) == "old, and the first"
    assert await written("", 6000) == "old, and the first"
    assert await written("older", 5999) == "old, and the first"
    assert await written("as old", 6000) == "as old"
    assert await written("newer", 6001) == "newer"


async def test_a_relation_holds_since_it_was_first_said_to(graph: KnowledgeGraph) -> None:
    async def written(valid_from: int | None) -> Any:
        await write(graph, PAIR, [knows(valid_from=valid_from)])
        return (await edge(graph)).get("valid_from")

    assert [await written(each) for each in (None, 700, None, 900, 100)] == [None, 700, 700, 700, 700]


async def test_confidence_is_the_highest_there_was(graph: KnowledgeGraph) -> None:
    async def written(conf: float) -> Any:
        await write(graph, PAIR, [knows(conf=conf)])
        return (await edge(graph))["conf"]

    assert [await written(each) for each in (0.5, 0.2, 0.9, 0.0, 1.0)] == [0.5, 0.5, 0.9, 0.9, 1.0]


async def test_a_description_stays_until_another_one_comes(graph: KnowledgeGraph) -> None:
    async def written(about: str) -> Any:
        await write(graph, [person("Ada", about=about)], [])
        return (await entities(graph))[ADA]["sum"]

    said = ["", "a chemist", "", "a retired chemist"]
    assert [await written(each) for each in said] == ["", "a chemist", "a chemist", "a retired chemist"]


@pytest.mark.parametrize(
    ("node", "kept"),
    [
        (person("Ada"), True),
        (person("Ada", 9000, n=3), True),
        (person("Ada", about="a chemist"), True),
        (person("Ada", signed=True), True),
        (person("ADA"), True),
        (person("ADA", signed=True), False),
        (person("Ada", about="a poet"), False),
    ],
    ids=repr,
)
async def test_a_vector_is_to_be_made_anew_when_name_or_description_change_and_only_then(
    graph: KnowledgeGraph, node: Node, kept: bool
) -> None:
    await write(graph, [person("Ada", about="a chemist")], [])
    assert (await entities(graph))[ADA]["vec"] == UNEMBEDDED
    await graph.query("MATCH (e:Entity) SET e.vec = 'made'")

    await write(graph, [node], [])

    assert (await entities(graph))[ADA]["vec"] == ("made" if kept else UNEMBEDDED)


# -- names that mean another entity by now -------------------------------------------------------

KATE, KASIA = "person:kate", "person:kasia"
TWO_NAMES = (person("Kasia"), person("Kate"), person("Bob"))


@pytest.fixture
async def merged(graph: KnowledgeGraph) -> KnowledgeGraph:
    """Kate was found to be Kasia."""
    assert await apply(graph, "c", "", "1", TWO_NAMES, [knows(KASIA)])
    await merge(graph, KASIA, KATE)
    return graph


async def test_what_is_said_under_the_other_name_goes_to_the_one_that_stays(merged: KnowledgeGraph) -> None:
    nodes = [person("Kate", 9000, n=2, about="a teacher"), person("Bob")]
    relations = [knows(KATE, BOB), knows(BOB, KATE)]

    assert await apply(merged, "c", "1", "2", nodes, relations)

    found = await entities(merged)
    assert found.keys() == {KASIA, BOB}
    kept = found[KASIA]
    assert (kept["name"], kept["key"], kept["kind"]) == ("Kasia", "kasia", "person")
    assert (kept["sum"], kept["n"], kept["created"], kept["seen"]) == ("a teacher", 2, 2000, 9000)
    assert {triple: each["n"] for triple, each in (await edges(merged)).items()} == {
        (KASIA, "knows", BOB): 2,
        (BOB, "knows", KASIA): 1,
    }
    assert await merged.query("MATCH (a:Alias) RETURN count(a)") == [[3]]


async def test_an_edge_between_two_names_of_one_entity_is_dropped_and_the_rest_is_written(
    merged: KnowledgeGraph,
) -> None:
    assert await apply(merged, "c", "1", "2", TWO_NAMES, [knows(KATE, KASIA), knows(KASIA, KATE)])
    assert await position_of(merged, "c") == "2"
    assert (await edges(merged)).keys() == {(KASIA, "knows", BOB)}

    assert await apply(merged, "c", "2", "3", TWO_NAMES, [knows(KATE, KASIA), knows(KATE, BOB)])
    assert await position_of(merged, "c") == "3"
    assert {triple: each["n"] for triple, each in (await edges(merged)).items()} == {(KASIA, "knows", BOB): 2}


async def test_edges_that_have_become_one_are_all_counted(merged: KnowledgeGraph) -> None:
    relations = [
        knows(KATE, t=4000, w=0.5, n=2, conf=0.7, fact="later", valid_from=800, src=("lab/4",)),
        knows(KASIA, t=3000, w=0.25, n=3, conf=0.9, fact="earlier", valid_from=700, src=("lab/3", "lab/2")),
    ]
    await apply(merged, "c", "1", "2", TWO_NAMES, relations)

    found = await edge(merged, KASIA)
    assert found["w"] == pytest.approx(1 - 0.9 * 0.75 * 0.5)
    assert found["dies_at"] == pytest.approx(4000 + HALF_LIFE * math.log2(found["w"] / THRESHOLD))
    assert (found["t"], found["n"], found["conf"]) == (4000, 6, 1.0)
    assert (found["fact"], found["valid_from"]) == ("later", 700)
    assert found["src"] == ["lab/3", "lab/2", "lab/4"]


@pytest.mark.parametrize("turned", [False, True])
async def test_nodes_that_have_become_one_are_all_counted(merged: KnowledgeGraph, turned: bool) -> None:
    nodes = [person("KASIA", 4000, n=2, about="a teacher", signed=True), person("Kate", 5000, n=3)]

    await apply(merged, "c", "1", "2", nodes[::-1] if turned else nodes, [])

    found = (await entities(merged))[KASIA]
    assert (found["name"], found["sum"]) == ("KASIA", "a teacher")
    assert (found["n"], found["created"], found["seen"]) == (5, 2000, 5000)


async def test_the_same_name_twice_in_a_batch_is_one_entity(graph: KnowledgeGraph) -> None:
    await apply(graph, "c", "", "1", [person("Ada", 3000, n=1), person(" ada ", 1000, n=1), *PAIR], [knows()])

    found = await entities(graph)
    assert found.keys() == {ADA, BOB}
    assert (found[ADA]["n"], found[ADA]["created"], found[ADA]["seen"]) == (2, 1000, 3000)


async def test_the_key_is_the_name_whatever_its_kind_is_called(graph: KnowledgeGraph) -> None:
    await write(graph, [Node("a:b", "C: d", 2000)], [])

    assert (await entities(graph))["a:b:c: d"]["key"] == "c: d"


async def test_a_new_name_that_was_made_known_beforehand_makes_no_entity_of_its_own(
    graph: KnowledgeGraph,
) -> None:
    await graph.query("MERGE (a:Alias {id: $id}) SET a.of = $of", {"id": KATE, "of": KASIA})

    await apply(graph, "c", "", "1", TWO_NAMES, [knows(KATE), knows(KASIA)])

    assert (await entities(graph)).keys() == {KASIA, BOB}
    assert (await edge(graph, KASIA))["n"] == 2


async def test_many_batches_with_names_merged_in_between_come_out_as_computed(graph: KnowledgeGraph) -> None:
    chance = random.Random(7)
    names = [f"N{number}" for number in range(8)]
    means = {person(name).id: person(name).id for name in names}
    weights: dict[Triple, tuple[Weight, int]] = {}
    seen: dict[str, int] = {}
    for turn in range(25):
        if turn % 8 == 7:
            keep, drop = chance.sample(sorted(set(means.values())), 2)
            means = {name: keep if of == drop else of for name, of in means.items()}
            weights = {triple: found for triple, found in weights.items() if drop not in triple}
            seen.pop(drop, None)
            await merge(graph, keep, drop)
        nodes = [person(name, n=1) for name in chance.sample(names, 5)]
        pairs = {(chance.choice(nodes).id, chance.choice(nodes).id) for _ in range(12)}
        batch = [knows(s, o, w=chance.random(), t=DAY * turn) for s, o in sorted(pairs) if s != o]

        assert await apply(graph, "c", str(turn or ""), str(turn + 1), nodes, batch)

        for node in nodes:
            seen[means[node.id]] = seen.get(means[node.id], 0) + 1
        for each in batch:
            triple = (means[each.s], each.p, means[each.o])
            if triple[0] != triple[2]:
                weight, count = weights.get(triple, (Weight(0.0, each.t), 0))
                weights[triple] = weight.joined(Weight(each.w, each.t)), count + 1

    assert {identity: found["n"] for identity, found in (await entities(graph)).items()} == seen
    written = await edges(graph)
    assert {triple: each["n"] for triple, each in written.items()} == {
        triple: count for triple, (_, count) in weights.items()
    }
    assert {triple: each["w"] for triple, each in written.items()} == pytest.approx(
        {triple: weight.w for triple, (weight, _) in weights.items()}
    )


# -- once, or not at all -------------------------------------------------------------------------


@pytest.mark.parametrize("expected", ["", "0", "2", "1 "])
async def test_apply_with_another_position_than_the_cursors_changes_nothing(
    graph: KnowledgeGraph, expected: str
) -> None:
    await apply(graph, "c", "", "1", NODES, EDGES)
    before = await everything(graph)

    for nodes, relations in ((NODES, EDGES), (PAIR, [knows()]), (PAIR, []), ([], [])):
        assert not await apply(graph, "c", expected, "9", nodes, relations)

    assert await position_of(graph, "c") == "1"
    assert await everything(graph) == before


async def test_apply_with_a_position_that_a_new_cursor_cannot_have_writes_no_knowledge(
    graph: KnowledgeGraph,
) -> None:
    assert not await apply(graph, "c", "5", "9", PAIR, [knows()])

    assert await position_of(graph, "c") == ""
    assert await graph.query("MATCH (n) WHERE NOT n:Schema AND NOT n:Cursor RETURN count(n)") == [[0]]


class Spoiling(Watched):
    """A graph whose last node has lost its id on the way."""

    async def query(self, cypher: str, params: Mapping[str, Any] | None = None) -> Sequence[Sequence[Any]]:
        spoilt = dict(params or {})
        spoilt["nodes"] = [*spoilt["nodes"], {**spoilt["nodes"][0], "id": None}]
        return await super().query(cypher, spoilt)


async def test_apply_that_fails_at_a_node_leaves_the_cursor_where_it_was(graph: KnowledgeGraph) -> None:
    await apply(graph, "c", "", "1", NODES, EDGES)
    before = await everything(graph)

    with pytest.raises(Exception, match=r"(?i)null"):
        await apply(Spoiling(graph), "c", "1", "2", PAIR, [knows()])

    assert await position_of(graph, "c") == "1"
    assert await everything(graph) == before


async def test_apply_that_fails_at_an_edge_leaves_all_as_it_was(graph: KnowledgeGraph) -> None:
    await apply(graph, "c", "", "1", NODES, EDGES)
    before = await everything(graph)

    with pytest.raises(Exception, match="Type mismatch"):
        await apply(graph, "c", "1", "2", PAIR, [knows(), knows(BOB, ADA, t="noon")])  # type: ignore[arg-type]

    assert await everything(graph) == before


async def test_apply_that_breaks_a_constraint_leaves_all_as_it_was(graph: KnowledgeGraph) -> None:
    await graph.query("CREATE INDEX FOR (e:Entity) ON (e.name)")
    await graph.constrain("Entity", "name")
    await settled(graph)
    await apply(graph, "c", "", "1", NODES, EDGES)
    before = await everything(graph)

    with pytest.raises(Exception, match="unique constraint violation"):
        await apply(graph, "c", "1", "2", [*PAIR, Node("animal", "Bob", 2000)], [knows()])

    assert await everything(graph) == before


@pytest.mark.parametrize("bad", [{"w": math.nan}, {"w": math.inf}, {"w": 1.1}, {"conf": -0.1}])
async def test_a_weight_that_is_none_is_refused_before_anything_is_sent(
    graph: KnowledgeGraph, bad: dict[str, float]
) -> None:
    before = await everything(graph)

    with pytest.raises(InvalidMessage, match="weight and confidence are from 0 to 1"):
        await apply(graph, "c", "", "1", PAIR, [knows(), knows(BOB, ADA, **bad)])  # type: ignore[arg-type]

    assert await everything(graph) == before


async def test_an_edge_that_ends_outside_the_nodes_is_refused(graph: KnowledgeGraph) -> None:
    watched = Watched(graph)
    for nodes in ((), PAIR[:1], PAIR[1:]):
        with pytest.raises(InvalidMessage, match="both entities belong into the same write"):
            await apply(watched, "c", "", "1", nodes, [knows()])
        with pytest.raises(InvalidMessage, match="both entities belong into the same write"):
            await write(watched, nodes, [knows()])

    assert watched.asked == []


async def test_a_batch_that_is_too_large_is_refused(graph: KnowledgeGraph) -> None:
    watched = Watched(graph)
    nodes = [person(f"N{number}") for number in range(LARGEST)]

    with pytest.raises(InvalidMessage, match="501 nodes and edges in one write: 500 at most"):
        await apply(watched, "c", "", "1", nodes, [knows(nodes[0].id, nodes[1].id)])
    with pytest.raises(InvalidMessage, match="501 nodes and edges"):
        await write(watched, [*nodes, person("one too many")], [])

    assert watched.asked == []


async def test_the_largest_batch_is_one_query(graph: KnowledgeGraph) -> None:
    watched = Watched(graph)

    assert await apply(watched, "c", "", "1", *largest())

    assert len(watched.asked) == 1
    assert await graph.query("MATCH (e:Entity) RETURN count(e)") == [[LARGEST // 2]]
    assert await graph.query("MATCH ()-[r:REL]->() RETURN count(r)") == [[LARGEST // 2]]


def largest(first: int = 0) -> tuple[list[Node], list[Edge]]:
    half = LARGEST // 2
    nodes = [person(f"Person number {first + number}", n=1) for number in range(half)]
    ids = [node.id for node in nodes]
    fact = "One of them knows another one, as both of them say."
    return nodes, [
        knows(ids[number], ids[(7 * number + 1) % half], fact=fact, src=(f"lab/{number}",))
        for number in range(half)
    ]


async def test_apply_by_many_at_once_happens_once(graphs: Connect) -> None:
    connected = [await graphs() for _ in range(5)]
    await ensure_schema(connected[0])
    for turn in range(5):
        before, after = str(turn or ""), str(turn + 1)

        applied = await asyncio.gather(
            *(apply(each, "c", before, after, PAIR, [knows()]) for each in connected)
        )

        assert sorted(applied) == [False, False, False, False, True]
    assert (await edge(connected[0]))["n"] == 5
    assert await connected[0].query("MATCH (c:Cursor) RETURN count(c)") == [[1]]


async def test_readers_with_cursors_of_their_own_do_not_lose_each_others_evidence(graphs: Connect) -> None:
    connected = [await graphs() for _ in range(5)]
    await ensure_schema(connected[0])
    nodes = [person("Ada", n=1), person("Bob", n=1)]

    applied = await asyncio.gather(
        *(apply(each, f"c{n}", "", "1", nodes, [knows()]) for n, each in enumerate(connected))
    )

    assert applied == [True] * 5
    assert (await edge(connected[0]))["n"] == 5
    assert (await entities(connected[0]))[ADA]["n"] == 5


async def test_an_answer_that_was_lost_is_asked_for_again_and_counts_once(graph: KnowledgeGraph) -> None:
    class Deaf(Watched):
        async def query(
            self, cypher: str, params: Mapping[str, Any] | None = None
        ) -> Sequence[Sequence[Any]]:
            await super().query(cypher, params)
            raise ResourceUnavailable("kg_manager", "the connection was lost")

    with pytest.raises(ResourceUnavailable):
        await apply(Deaf(graph), "c", "", "1", PAIR, [knows()])

    assert not await apply(graph, "c", "", "1", PAIR, [knows()])
    assert (await position_of(graph, "c"), (await edge(graph))["n"]) == ("1", 1)


# -- a graph of the former schema ----------------------------------------------------------------


@pytest.mark.parametrize("migrated", [True, False])
async def test_a_graph_from_before_there_were_aliases_is_added_to(graphs: Connect, migrated: bool) -> None:
    graph = await graphs()
    for index in ("(e:Entity) ON (e.id)", "(c:Cursor) ON (c.id)", "()-[r:REL]-() ON (r.dies_at)"):
        await graph.query(f"CREATE INDEX FOR {index}")
    await graph.query(
        "CREATE (a:Entity {id: 'person:ada', name: 'Ada', kind: 'person', created: 1000, seen: 1000}), "
        "(b:Entity {id: 'person:bob', name: 'Bob', kind: 'person', created: 1000, seen: 1000}), "
        "(a)-[:REL {p: 'knows', w: 0.1, t: 2000, n: 4, dies_at: 5000.0}]->(b), "
        "(:Cursor {id: 'c', pos: '1'})"
    )
    if migrated:
        await ensure_schema(graph)

    said = knows(t=2000, conf=0.4, fact="Ada knows Bob.", valid_from=5, src=("lab/1",))
    assert await apply(graph, "c", "1", "2", [person("Ada", n=1, about="a chemist"), PAIR[1]], [said])

    found = await entities(graph)
    assert found.keys() == {ADA, BOB}
    assert (found[ADA]["sum"], found[ADA]["vec"], found[ADA]["created"]) == ("a chemist", UNEMBEDDED, 1000)
    relation = await edge(graph)
    assert (relation["w"], relation["t"], relation["n"]) == (pytest.approx(0.19), 2000, 5)
    assert (relation["conf"], relation["fact"]) == (0.4, "Ada knows Bob.")
    assert (relation["valid_from"], relation["src"]) == (5, ["lab/1"])


async def test_an_entity_whose_id_was_made_by_the_former_rule_stays_the_one(graphs: Connect) -> None:
    graph = await graphs()
    await graph.query(
        "CREATE (:Entity {id: 'person:ann  lee', name: 'Ann  Lee', kind: 'person', created: 1, seen: 1})"
    )
    await ensure_schema(graph)

    await write(graph, [person("Ann Lee"), person("Bob")], [knows("person:ann lee")])

    assert (await edges(graph)).keys() == {("person:ann  lee", "knows", BOB)}


# -- how FalkorDB runs it ------------------------------------------------------------------------


async def queries(graph: KnowledgeGraph) -> list[tuple[str, dict[str, Any]]]:
    """The query of `apply` with everything, with nodes only, with nothing; of `write`; of `position_of`."""
    watched = Watched(graph)
    await apply(watched, "c", "", "1", PAIR, [knows()])
    await apply(watched, "c", "1", "2", PAIR, [])
    await apply(watched, "c", "2", "3", [], [])
    await write(watched, PAIR, [knows()])
    await position_of(watched, "c")
    return watched.asked


async def test_everything_is_found_by_its_index(graph: KnowledgeGraph) -> None:
    for cypher, params in await queries(graph):
        plan = await explained(graph, cypher, params)

        scans = re.findall(r".*Scan.*", plan)
        assert len(scans) == len(re.findall(r"\{id:", cypher)) - len(re.findall(r"\{id: 'schema'", cypher))
        assert all("Node By Index Scan" in scan for scan in scans), plan
        for product in products(plan):
            # Of two nodes that are found by their ids, one each.
            assert len(product) == 2, plan
            assert all("Node By Index Scan" in factor for factor in product), plan


def products(plan: str) -> list[list[str]]:
    """What each Cartesian Product of the plan multiplies."""
    lines = plan.splitlines()
    depths = [len(line) - len(line.lstrip()) for line in lines]
    found = []
    for at, line in enumerate(lines):
        if "Cartesian Product" in line:
            below = range(at + 1, len(lines))
            end = next((each for each in below if depths[each] <= depths[at]), len(lines))
            found.append([lines[each] for each in range(at + 1, end) if depths[each] == depths[at + 1]])
    return found


async def test_nothing_is_looked_at_but_what_is_written(graph: KnowledgeGraph) -> None:
    """Whatever else the graph holds: no operation gives more rows than the batch has."""
    await write(graph, *largest())
    asked = await queries(graph)
    async with redis.asyncio.Redis.from_url(graph._url, decode_responses=True) as client:
        for cypher, params in asked:
            # Where the cursor stands by now, or the query would end there.
            params = {**params, "expected": await position_of(graph, "c")}
            header = "".join(f"{name}={_literal(value)} " for name, value in params.items())
            profile = await client.execute_command(  # type: ignore[no-untyped-call]
                "GRAPH.PROFILE", graph.name, f"CYPHER {header}{cypher}"
            )

            produced = [int(count) for count in re.findall(r"Records produced: (\d+)", "\n".join(profile))]
            assert max(produced) == (2 if "$nodes" in cypher else 1), profile


def _literal(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_literal(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_literal(item) for item in value) + "]"
    return "null" if value is None else repr(value).lower() if isinstance(value, bool) else repr(value)


@pytest.mark.full
async def test_how_long_others_wait_while_the_largest_batch_is_applied(
    graph: KnowledgeGraph, graphs: Connect, graph_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for first in range(0, 20_000, LARGEST // 2):
        await write(graph, *largest(first))
    lone = await graphs("another")
    await lone.query("CREATE (:Entity {id: 'x'})")
    commands = {
        "PING": ("PING",),
        "read of another graph": ("GRAPH.QUERY", "another", "MATCH (e:Entity) RETURN e.id"),
        "read of this graph": ("GRAPH.QUERY", graph.name, "MATCH (e:Entity {id: 'x'}) RETURN e.id"),
    }
    waits: dict[str, float] = dict.fromkeys(commands, 0.0)
    ended = threading.Event()

    def ask(name: str) -> None:
        with redis.Redis.from_url(graph_url) as client:
            while not ended.is_set():
                began = time.perf_counter()
                client.execute_command(*commands[name])
                waits[name] = max(waits[name], time.perf_counter() - began)

    took: dict[str, float] = {}
    asking = [threading.Thread(target=ask, args=(name,), name=name) for name in commands]
    for thread in asking:
        thread.start()
    try:
        for name, first in (("new", 20_000), ("known", 0)):
            began = time.perf_counter()
            assert await apply(graph, name, "", "1", *largest(first))
            took[name] = time.perf_counter() - began
    finally:
        ended.set()
        for thread in asking:
            await asyncio.to_thread(thread.join)

    with capsys.disabled():
        print(  # noqa: T201 - the figures are what the test is for
            f"\n{LARGEST:,} nodes and edges beside 40,000: "
            + ", ".join(f"{name} {1000 * s:.0f} ms" for name, s in took.items())
            + "; longest wait "
            + ", ".join(f"{name} {1000 * s:.0f} ms" for name, s in waits.items())
        )
    assert await graph.query("MATCH ()-[r:REL]->() WHERE r.n = 2 RETURN count(r)") == [[LARGEST // 2]]
