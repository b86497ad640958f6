"""`ensure_schema` on any graph: what is there already is fine, any other error is not. And names."""

from __future__ import annotations

import asyncio

import pytest

from bgtasks.errors import ResourceUnavailable
from bgtasks.graph import ensure_schema
from bgtasks.graph import schema as schema_module
from bgtasks.graph.schema import INDEXES, entity_id, key_of
from bgtasks.testing import ScriptedGraph, virtual_time


class TestEnsuring:
    async def test_every_index_is_asked_for_even_if_one_exists(self) -> None:
        graph = ScriptedGraph()
        graph.on("INDEX FOR .e:Entity", RuntimeError("Attribute 'id' is already indexed"))

        await ensure_schema(graph)

        asked = [cypher for cypher, _ in graph.queries]
        assert [cypher for cypher in asked if "INDEX FOR" in cypher] == list(INDEXES)
        assert "SET s.version" in asked[-1]

    @pytest.mark.parametrize(
        "error", [ResourceUnavailable("kg_manager", "gone"), RuntimeError("out of memory")]
    )
    async def test_any_other_error_is_raised_and_the_next_call_asks_again(self, error: Exception) -> None:
        graph = ScriptedGraph()
        graph.on("Cursor", error)

        for _ in range(2):
            with pytest.raises(type(error)) as caught:
                await ensure_schema(graph)
            assert caught.value is error

    async def test_a_graph_that_can_be_no_key_is_asked_each_time(self) -> None:
        class Odd(ScriptedGraph):
            __hash__ = None  # type: ignore[assignment]

        graph = Odd()
        graph.on("RETURN s.version", [[1, False]])

        for _ in range(3):
            await ensure_schema(graph)
        schema_module.forget(graph)

        assert len(graph.queries) == 3

    @virtual_time
    async def test_a_graph_that_was_found_ready_is_asked_again_after_a_minute(self) -> None:
        graph = ScriptedGraph()
        graph.on("RETURN s.version", [[1, True]])

        for _ in range(13):
            await ensure_schema(graph)
            await asyncio.sleep(10)

        assert len(graph.queries) == 3

    @virtual_time
    async def test_indexes_that_are_never_built_are_an_outage_and_not_an_endless_wait(self) -> None:
        graph = ScriptedGraph()
        graph.on("db.indexes", [["[Indexing] 1/2: UNDER CONSTRUCTION"]])

        with pytest.raises(ResourceUnavailable, match="still being built after 60 s"):
            await ensure_schema(graph)


class TestNames:
    @pytest.mark.parametrize(
        ("kind", "name", "identity"),
        [
            ("person", "Ada", "person:ada"),
            ("person", "  Walter \n Pettifer ", "person:walter pettifer"),
            ("person", "STRASSE", "person:strasse"),
            ("person", "Straße", "person:strasse"),
            ("person", "Ａｄａ　ﬁ", "person:ada fi"),
            ("person", "Zoe\u0308", "person:zoë"),
            ("person", "ΐ", "person:ΐ"),
            ("person", "a\x00da", "person:ada"),
            ("person", "x\ud800", "person:x?"),
            ("person", "a\x01da", "person:a\ufffdda"),
            ("person", "a\x0bda\x1f", "person:a da"),
            ("per\x01son", "Ada", "per\ufffdson:ada"),
            ("channel", "Ada", "channel:ada"),
        ],
    )
    def test_the_identity_is_the_kind_and_the_name_case_spacing_and_width_aside(
        self, kind: str, name: str, identity: str
    ) -> None:
        assert entity_id(kind, name) == identity

    @pytest.mark.parametrize("name", ["İstanbul", "ΐ", "ǰ", "ﬃ", "Ⅷ", "ϒ\u0301", "①", "ª"])
    def test_a_key_is_its_own_key(self, name: str) -> None:
        assert key_of(key_of(name)) == key_of(name)
