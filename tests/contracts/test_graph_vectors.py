"""Vectors on a real FalkorDB: one model, one dimension, and none that is of a text of before."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import pytest

from bgtasks.errors import ConfigurationError, ResourceUnavailable
from bgtasks.graph import KnowledgeGraph, ensure_schema, vector_index
from bgtasks.graph import vectors as vectors_module
from bgtasks.graph.apply import Node
from bgtasks.graph.vector_index import prepare
from bgtasks.graph.vectors import (
    Unembedded,
    drop_message_vectors,
    nearest_entities,
    rebuild_vectors,
    similar_messages,
    store_message_vectors,
    store_vectors,
    waiting,
)

pytestmark = pytest.mark.real

type Connect = Callable[..., Awaitable[KnowledgeGraph]]

ADA, BOB = Node("person", "Ada", 1, about="keeps bees"), Node("person", "Bob", 1)
RIGHT, UP, LEFT = [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]


@pytest.fixture
async def known(graph: KnowledgeGraph) -> KnowledgeGraph:
    await graph.upsert([ADA, BOB])
    return graph


async def embed(graph: KnowledgeGraph, ada: Sequence[float] = RIGHT, bob: Sequence[float] = UP) -> None:
    rows = [(each.id, each.text, ada if each.id == ADA.id else bob) for each in await waiting(graph)]
    await store_vectors(graph, "model", rows)


async def vectors(graph: KnowledgeGraph) -> int:
    [[count]] = await graph.query("MATCH (v:Vec)-[:VOF]->(e:Entity) WHERE e.vec = v.id RETURN count(v)")
    [[every]] = await graph.query("MATCH (v:Vec) RETURN count(v)")
    assert count == every
    return int(count)


class TestEntities:
    async def test_an_entity_waits_until_its_vector_is_kept(self, known: KnowledgeGraph) -> None:
        assert sorted(await waiting(known), key=lambda each: each.id) == [
            Unembedded("person:ada", "Ada: keeps bees"),
            Unembedded("person:bob", "Bob"),
        ]
        assert len(await waiting(known, 1)) == 1
        assert await waiting(known, 0) == await waiting(known, -1) == []

        await embed(known)

        assert await waiting(known) == []
        assert await nearest_entities(known, [0.9, 0.1], 5) == ["person:ada", "person:bob"]

    async def test_keeping_it_again_changes_nothing(self, known: KnowledgeGraph) -> None:
        rows = [(each.id, each.text, RIGHT) for each in await waiting(known)]
        for _ in range(3):
            await store_vectors(known, "model", rows)

        assert await vectors(known) == 2

    async def test_a_text_that_changed_is_embedded_anew_and_the_vector_of_before_goes(
        self, known: KnowledgeGraph
    ) -> None:
        await embed(known)
        await known.upsert([Node("person", "Ada", 2, about="keeps goats")])
        assert await waiting(known) == [Unembedded("person:ada", "Ada: keeps goats")]

        await embed(known, ada=LEFT)

        assert await waiting(known) == []
        assert await vectors(known) == 2
        assert await nearest_entities(known, LEFT, 1) == ["person:ada"]

    async def test_a_vector_of_a_text_that_changed_meanwhile_is_not_kept(self, known: KnowledgeGraph) -> None:
        asked = await waiting(known)
        await known.upsert([Node("person", "Ada", 2, about="keeps goats")])

        await store_vectors(known, "model", [(each.id, each.text, RIGHT) for each in asked])

        assert await waiting(known) == [Unembedded("person:ada", "Ada: keeps goats")]

    async def test_one_of_an_entity_that_is_gone_is_not_kept(self, known: KnowledgeGraph) -> None:
        await store_vectors(known, "model", [("person:nobody", "Nobody", RIGHT)])

        assert await vectors(known) == 0

    async def test_one_without_direction_ends_the_waiting_and_is_in_no_index(
        self, known: KnowledgeGraph
    ) -> None:
        await embed(known, ada=[0.0, 0.0], bob=[float("nan"), 1.0])

        assert await waiting(known) == []
        assert await nearest_entities(known, RIGHT, 5) == []

    async def test_many_are_kept_in_several_queries(
        self, graph: KnowledgeGraph, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(vectors_module, "NUMBERS", 20)
        await graph.upsert([Node("person", f"n{number}", 1) for number in range(55)])

        await embed(graph)

        assert await vectors(graph) == 55


class TestOneModel:
    async def test_another_dimension_is_an_error_that_names_both_and_the_cure(
        self, known: KnowledgeGraph
    ) -> None:
        await embed(known)

        with pytest.raises(
            ConfigurationError,
            match=r"of model with 2 numbers, and these of model with 3; .* rebuild_vectors\(\)",
        ):
            await store_vectors(known, "model", [(BOB.id, "Bob", [1.0, 2.0, 3.0])])
        with pytest.raises(ConfigurationError, match="with 2 numbers, and these of model with 1"):
            await store_message_vectors(known, "model", [("lab", "1", [1.0])])

    async def test_another_model_is_an_error_even_of_the_same_dimension(self, known: KnowledgeGraph) -> None:
        await embed(known)

        with pytest.raises(ConfigurationError, match="of model with 2 numbers, and these of other with 2"):
            await store_vectors(known, "other", [(BOB.id, "Bob", RIGHT)])

    @pytest.mark.parametrize(
        ("vectors", "message"),
        [([[1.0], RIGHT], "1 and 2 numbers in one batch"), ([[]], "of 0"), ([[1.0] * 4097], "1 to 4096")],
    )
    async def test_vectors_that_no_index_takes_are_refused(
        self, known: KnowledgeGraph, vectors: list[list[float]], message: str
    ) -> None:
        with pytest.raises(ConfigurationError, match=message):
            await store_vectors(known, "model", [(BOB.id, "Bob", vector) for vector in vectors])

    async def test_of_two_models_that_begin_at_once_one_is_kept_and_the_other_told(
        self, graphs: Connect
    ) -> None:
        connected = [await graphs() for _ in range(6)]
        await connected[0].upsert([ADA, BOB])

        told = await asyncio.gather(
            *(
                store_vectors(each, f"model {n % 2}", [(BOB.id, "Bob", [1.0] * (2 + n % 2))])
                for n, each in enumerate(connected)
            ),
            return_exceptions=True,
        )

        assert [type(each) for each in told if each is not None] == [ConfigurationError] * 3
        assert await vectors(connected[0]) == 1

    async def test_a_crash_before_the_index_was_made_is_mended_by_the_next(
        self, known: KnowledgeGraph
    ) -> None:
        class Crashing:
            async def query(
                self, cypher: str, params: Mapping[str, Any] | None = None
            ) -> Sequence[Sequence[Any]]:
                if "VECTOR INDEX" in cypher:
                    raise asyncio.CancelledError
                return await known.query(cypher, params)

        with pytest.raises(asyncio.CancelledError):
            await store_vectors(Crashing(), "model", [(ADA.id, "Ada: keeps bees", RIGHT)])
        assert await nearest_entities(known, RIGHT, 1) == []

        await embed(known)

        assert await nearest_entities(known, RIGHT, 1) == ["person:ada"]

    async def test_nothing_to_keep_asks_nothing(self, known: KnowledgeGraph) -> None:
        await store_vectors(known, "model", [])
        await store_message_vectors(known, "model", [])

        assert await known.query("MATCH (s:Schema) RETURN s.dim") == [[None]]


class TestRebuilding:
    async def test_everything_waits_again_and_another_model_may_come(self, known: KnowledgeGraph) -> None:
        await embed(known)
        await store_message_vectors(known, "model", [("lab", "1", RIGHT)])

        await rebuild_vectors(known)

        assert await vectors(known) == 0
        assert await similar_messages(known, RIGHT) == []
        await store_vectors(
            known, "other", [(each.id, each.text, [1.0, 2.0, 3.0]) for each in await waiting(known)]
        )
        assert await nearest_entities(known, [1.0, 2.0, 3.0], 9) == ["person:ada", "person:bob"]

    async def test_interrupted_it_keeps_no_vector_until_it_is_repeated(self, known: KnowledgeGraph) -> None:
        class Crashing:
            async def query(
                self, cypher: str, params: Mapping[str, Any] | None = None
            ) -> Sequence[Sequence[Any]]:
                if "DETACH DELETE" in cypher:
                    raise asyncio.CancelledError
                return await known.query(cypher, params)

        await embed(known)
        with pytest.raises(asyncio.CancelledError):
            await rebuild_vectors(Crashing())

        with pytest.raises(ConfigurationError, match="being rebuilt"):
            await store_vectors(known, "model", [(BOB.id, "Bob", RIGHT)])
        assert await nearest_entities(known, RIGHT, 1) == []

        await rebuild_vectors(known)
        await embed(known)
        assert await nearest_entities(known, RIGHT, 1) == ["person:ada"]

    @pytest.mark.parametrize("claimed_meanwhile", [True, False])
    async def test_a_worker_that_began_before_keeps_nothing_of_the_old_model(
        self, known: KnowledgeGraph, claimed_meanwhile: bool
    ) -> None:
        class Rebuilding:
            """Forgets all vectors between what a worker asks first and what it writes."""

            done, claimed = False, claimed_meanwhile

            async def query(
                self, cypher: str, params: Mapping[str, Any] | None = None
            ) -> Sequence[Sequence[Any]]:
                if "vecf32" in cypher and not self.done:
                    self.done = True
                    await rebuild_vectors(known)
                    if self.claimed:
                        await prepare(known, "new", [[1.0, 2.0, 3.0]])
                return await known.query(cypher, params)

        await embed(known)
        with pytest.raises(ResourceUnavailable, match="not kept: try again"):
            await store_vectors(Rebuilding(), "model", [(BOB.id, "Bob", RIGHT)])
        await rebuild_vectors(known)
        with pytest.raises(ResourceUnavailable, match="not kept: try again"):
            await store_message_vectors(Rebuilding(), "model", [("lab", "1", RIGHT)])

        assert await vectors(known) == 0
        assert len(await waiting(known)) == 2
        assert await known.query("MATCH (m:MessageVec) RETURN m.id") == []

    async def test_one_that_makes_the_index_meanwhile_leaves_none_of_the_old_dimension(
        self, known: KnowledgeGraph
    ) -> None:
        class Indexing:
            """A rebuild during which a worker, which asked before, makes its index."""

            async def query(
                self, cypher: str, params: Mapping[str, Any] | None = None
            ) -> Sequence[Sequence[Any]]:
                if "max(id(e))" in cypher:
                    await vector_index._index(known, 2)
                return await known.query(cypher, params)

        await rebuild_vectors(Indexing())

        await store_vectors(known, "new", [(BOB.id, "Bob", [1.0, 2.0, 3.0])])
        assert await nearest_entities(known, [1.0, 2.0, 3.0], 9) == ["person:bob"]

    async def test_messages_are_queued_to_be_embedded_again(
        self, known: KnowledgeGraph, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(vector_index, "_MESSAGES", vector_index._MESSAGES.replace("1000", "3"))
        rows = [(f"lab{number % 2}", str(number), RIGHT) for number in range(8)]
        await store_message_vectors(known, "model", rows)
        queued: list[tuple[str, str]] = []

        async def put(channel: str, ids: Sequence[str]) -> None:
            if len(queued) > 3:
                raise asyncio.CancelledError
            queued.extend((channel, each) for each in ids)

        with pytest.raises(asyncio.CancelledError):
            await rebuild_vectors(known, queue=put)
        again: list[tuple[str, str]] = []

        async def put_again(channel: str, ids: Sequence[str]) -> None:
            again.extend((channel, each) for each in ids)

        await rebuild_vectors(known, queue=put_again)

        assert set(queued + again) == {(channel, mid) for channel, mid, _ in rows}
        assert len(set(again)) == len(again) < 8
        assert await known.query("MATCH (m:MessageVec) RETURN m.id") == []

    async def test_a_graph_without_vectors_may_be_rebuilt(self, graph: KnowledgeGraph) -> None:
        await ensure_schema(graph)
        await rebuild_vectors(graph)
        await rebuild_vectors(graph)

        await store_message_vectors(graph, "model", [("lab", "1", RIGHT)])


class TestMessages:
    async def test_channels_and_ids_with_slashes_are_told_apart(self, known: KnowledgeGraph) -> None:
        await store_message_vectors(known, "model", [("guild/general", "7", RIGHT)])
        await store_message_vectors(known, "model", [("guild", "general/7", UP)])

        assert [(each.channel, each.id) for each in await similar_messages(known, RIGHT)] == [
            ("guild/general", "7"),
            ("guild", "general/7"),
        ]

        await drop_message_vectors(known, "guild", ["general/7"])

        assert [each.channel for each in await similar_messages(known, RIGHT)] == ["guild/general"]

    async def test_the_nearest_come_first_with_their_cosine(self, known: KnowledgeGraph) -> None:
        rows = [("lab", "1", RIGHT), ("lab", "2/x", UP), ("a/b", "3", LEFT), ("lab", "4", [0.0, 0.0])]
        await store_message_vectors(known, "model", rows)

        found = await similar_messages(known, [2.0, 0.0], 9)

        assert [(each.channel, each.id) for each in found] == [("lab", "1"), ("lab", "2/x"), ("a/b", "3")]
        assert [each.similarity for each in found] == pytest.approx([1.0, 0.0, -1.0], abs=1e-6)
        assert len(await similar_messages(known, RIGHT, 1)) == 1
        assert await similar_messages(known, RIGHT, 0) == []

    async def test_a_message_that_was_edited_has_its_new_vector_only(self, known: KnowledgeGraph) -> None:
        await store_message_vectors(known, "model", [("lab", "1", RIGHT)])
        await store_message_vectors(known, "model", [("lab", "1", UP)])

        assert [each.similarity for each in await similar_messages(known, UP, 9)] == pytest.approx([1.0])

    async def test_one_that_was_deleted_has_none(self, known: KnowledgeGraph) -> None:
        await store_message_vectors(known, "model", [("lab", "1", RIGHT), ("lab", "2", RIGHT)])

        await drop_message_vectors(known, "lab", ["1", "never"])

        assert [each.id for each in await similar_messages(known, RIGHT)] == ["2"]
