"""`ensure_schema` on any graph: what is there already is fine, any other error is not."""

from __future__ import annotations

import pytest

from bgtasks.errors import ResourceUnavailable
from bgtasks.graph import ensure_schema
from bgtasks.testing import ScriptedGraph


async def test_every_index_is_asked_for_even_if_one_exists() -> None:
    graph = ScriptedGraph()
    graph.on("Entity", RuntimeError("Attribute 'id' is already indexed"))

    await ensure_schema(graph)

    assert [cypher for cypher, _ in graph.queries] == [
        "CREATE INDEX FOR (e:Entity) ON (e.id)",
        "CREATE INDEX FOR (c:Cursor) ON (c.id)",
        "CREATE INDEX FOR ()-[r:REL]-() ON (r.dies_at)",
    ]


@pytest.mark.parametrize("error", [ResourceUnavailable("kg_manager", "gone"), RuntimeError("out of memory")])
async def test_any_other_error_is_raised(error: Exception) -> None:
    graph = ScriptedGraph()
    graph.on("Cursor", error)

    with pytest.raises(type(error)) as caught:
        await ensure_schema(graph)

    assert caught.value is error
