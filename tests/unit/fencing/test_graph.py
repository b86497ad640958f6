"""`FencedGraph` over any graph: what it sends, what an error of the graph means, what it refuses."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from bgtasks.contracts import KnowledgeGraphLike
from bgtasks.errors import ConfigurationError, Fenced, ResourceUnavailable
from bgtasks.fencing import FencedGraph
from bgtasks.testing import ScriptedGraph

LEASE = "sg:leader:supervisor"
CREATE = "CREATE (:Entity)"


class ByZero(Exception):
    """What a graph raises that is not ours."""

    def __init__(self) -> None:
        super().__init__("Division by zero")


@pytest.fixture
def graph() -> ScriptedGraph:
    return ScriptedGraph()


@pytest.fixture
def fenced(graph: ScriptedGraph) -> FencedGraph:
    return FencedGraph(graph, LEASE)


def sent(graph: ScriptedGraph) -> list[str]:
    """What each query was for."""
    kinds = {"CREATE INDEX": "index", "MERGE": "raise"}
    return [
        kinds.get(" ".join(each.split()[:2]), kinds.get(each.split()[0], "write"))
        for each, _ in graph.queries
    ]


async def test_a_write_is_one_query_with_the_users_own_at_its_end(
    graph: ScriptedGraph, fenced: FencedGraph
) -> None:
    graph.on("CREATE", [["row", 1]])

    assert await fenced.write(7, CREATE, {"name": "Ada"}) == [["row", 1]]

    [(cypher, params)] = graph.queries
    assert cypher.endswith(CREATE)
    assert params == {"name": "Ada", "__fence_source": LEASE, "__fence_token": 7}


async def test_an_error_by_zero_beside_a_larger_token_is_a_refusal(
    graph: ScriptedGraph, fenced: FencedGraph
) -> None:
    graph.on("OPTIONAL MATCH", ByZero())
    graph.on("MERGE", [[9]])

    with pytest.raises(Fenced) as caught:
        await fenced.write(7, CREATE)

    assert (caught.value.token, caught.value.seen) == (7, 9)
    assert isinstance(caught.value.__cause__, ByZero)


async def test_where_there_was_no_guard_it_is_made_and_the_query_sent_again(
    graph: ScriptedGraph, fenced: FencedGraph
) -> None:
    graph.on("OPTIONAL MATCH", ByZero(), [["row"]])
    graph.on("CREATE INDEX", [], Exception("Attribute 'source' is already indexed"))
    graph.on("MERGE", [[7]])

    assert await fenced.write(7, CREATE) == [["row"]]
    assert sent(graph) == ["write", "index", "raise", "write"]


async def test_refused_when_it_is_sent_again_it_is_refused(graph: ScriptedGraph, fenced: FencedGraph) -> None:
    graph.on("OPTIONAL MATCH", ByZero())
    graph.on("MERGE", [[7]], [[8]])

    with pytest.raises(Fenced, match="it has seen 8"):
        await fenced.write(7, CREATE)


async def test_a_query_that_divides_by_zero_itself_raises_what_the_graph_raised(
    graph: ScriptedGraph, fenced: FencedGraph
) -> None:
    graph.on("OPTIONAL MATCH", ByZero())
    graph.on("MERGE", [[7]])

    with pytest.raises(ByZero):
        await fenced.write(7, "RETURN 1 / 0")
    assert sent(graph).count("write") == 2


@pytest.mark.parametrize(
    "error", [ResourceUnavailable("kg_manager", "gone"), RuntimeError("syntax"), OSError()]
)
async def test_any_other_error_is_the_users_to_see_and_nothing_more_is_sent(
    graph: ScriptedGraph, fenced: FencedGraph, error: Exception
) -> None:
    graph.on("OPTIONAL MATCH", error)

    with pytest.raises(type(error)):
        await fenced.write(7, CREATE)
    assert sent(graph) == ["write"]


async def test_an_outage_while_a_refusal_is_looked_into_is_an_outage(
    graph: ScriptedGraph, fenced: FencedGraph
) -> None:
    graph.on("OPTIONAL MATCH", ByZero())
    graph.on("MERGE", ResourceUnavailable("kg_manager", "gone"))

    with pytest.raises(ResourceUnavailable):
        await fenced.write(7, CREATE)


async def test_an_index_that_cannot_be_made_leaves_no_guard(
    graph: ScriptedGraph, fenced: FencedGraph
) -> None:
    graph.on("CREATE INDEX", RuntimeError("no room"))

    with pytest.raises(RuntimeError, match="no room"):
        await fenced.guard(7)
    assert sent(graph) == ["index"]


async def test_a_guard_that_no_graph_answers_for_is_not_raised(fenced: FencedGraph) -> None:
    with pytest.raises(ResourceUnavailable, match="the guard was not raised"):
        await fenced.guard(7)


@pytest.mark.parametrize("token", [None, True, 0, -3, "7", 2**53])
async def test_without_a_token_nothing_is_sent(graph: ScriptedGraph, fenced: FencedGraph, token: Any) -> None:
    for call in (fenced.write(token, CREATE), fenced.guard(token)):
        with pytest.raises(ConfigurationError, match="a fencing token is a whole number"):
            await call

    assert graph.queries == []


@pytest.mark.parametrize(
    ("cypher", "params", "cure"),
    [
        ("", None, r"call guard\(token\)"),
        (" \n", None, r"call guard\(token\)"),
        (CREATE, {"__fence_token": 9}, "begin with __fence"),
        ("CREATE INDEX FOR (e:Entity) ON (e.id)", None, r"use query\(\)"),
        ("\n create vector index FOR (e:Vec) ON (e.v) OPTIONS {}", None, r"use query\(\)"),
        ("DROP INDEX ON :Entity(id)", None, r"use query\(\)"),
    ],
)
async def test_what_cannot_be_fenced_is_refused_with_its_cure(
    graph: ScriptedGraph, fenced: FencedGraph, cypher: str, params: dict[str, Any] | None, cure: str
) -> None:
    with pytest.raises(ConfigurationError, match=cure):
        await fenced.write(7, cypher, params)

    assert graph.queries == []


def test_there_is_no_way_to_write_without_a_token_nor_does_it_pass_for_a_graph(fenced: FencedGraph) -> None:
    public = [each for name, each in vars(FencedGraph).items() if not name.startswith("_")]

    assert [next(iter(list(inspect.signature(each).parameters)[1:])) for each in public] == ["token"] * 2
    assert not isinstance(fenced, KnowledgeGraphLike)
