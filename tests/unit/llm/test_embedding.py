"""Vectors: in batches, in order, of one dimension."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest
from tests.unit.llm.stage import Stage, stage

from bgtasks.errors import BadAnswer, OverBudget
from bgtasks.llm.budget import Limits
from bgtasks.llm.embeddings import batches, prepared, vectors
from bgtasks.testing.model import ModelServer, Reply, vector


async def embedded(s: Stage, texts: list[str]) -> list[list[float]]:
    return await s.chat.embed(texts, task="tidy")


class TestOfAnEndpoint:
    async def test_come_in_the_order_of_the_texts_whatever_the_batches(self) -> None:
        texts = [f"text {number}" for number in range(200)]
        async with stage() as s:
            found = await embedded(s, texts)
            assert [len(body["input"]) for body in s.model.requests] == [32] * 6 + [8]
            assert found[0] == pytest.approx(vector("text 0"), abs=1e-6)
            assert found[199] == pytest.approx(vector("text 199"), abs=1e-6)
            assert {row.task for row in await s.budget.spent() if row.calls} == {"tidy", ""}

    async def test_of_nothing_need_no_call(self) -> None:
        async with stage() as s:
            assert await embedded(s, []) == []
            assert not s.model.calls

    async def test_are_put_in_order_by_their_numbers(self) -> None:
        data = [{"index": 1, "embedding": [1, 0]}, {"index": 0, "embedding": [0.0, 1.0]}]
        async with stage(ModelServer(answer=lambda _: {"data": data})) as s:
            assert await embedded(s, ["a", "b"]) == [[0.0, 1.0], [1.0, 0.0]]

    @pytest.mark.parametrize("kind", ["schema", "empty"])
    async def test_that_do_not_belong_together_are_refused(self, kind: Any) -> None:
        server = ModelServer()
        server.faults.at(1, kind)
        async with stage(server) as s:
            with pytest.raises(BadAnswer, match="numbers" if kind == "schema" else "one vector for each"):
                await embedded(s, ["a", "b"])
            assert (await s.spent()).calls == 1

    async def test_of_other_dimensions_in_the_next_batch_are_refused(self) -> None:
        def answer(body: dict[str, Any]) -> dict[str, Any]:
            size = 2 if len(body["input"]) > 1 else 3
            return {"data": [{"index": n, "embedding": [0.5] * size} for n, _ in enumerate(body["input"])]}

        async with stage(ModelServer(answer=answer)) as s:
            with pytest.raises(BadAnswer, match="of 2 and of 3 numbers"):
                await embedded(s, ["x"] * 97)

    async def test_of_a_text_the_server_has_no_room_for_are_not_asked_for_again(self) -> None:
        said = "input is too large to process. increase the physical batch size"
        async with stage(ModelServer(answer=lambda _: Reply(said, status=500))) as s:
            with pytest.raises(BadAnswer, match="too long"):
                await embedded(s, ["x"])
            assert s.statuses == [500]

    async def test_are_asked_for_as_numbers_where_there_is_nothing_else(self) -> None:
        def answer(body: dict[str, Any]) -> Any:
            return (
                Reply("unknown encoding_format", status=400) if body["encoding_format"] != "float" else None
            )

        async with stage(ModelServer(answer=answer)) as s:
            assert len(await embedded(s, ["a"])) == 1
            assert s.statuses == [400, 200]

    async def test_are_within_the_budget(self) -> None:
        async with stage(limits=Limits(day_tokens=50)) as s:
            with pytest.raises(OverBudget):
                await embedded(s, ["word " * 50])
            assert not s.model.calls


class TestReading:
    def test_numbers_and_base64_are_the_same(self) -> None:
        packed = base64.b64encode(struct.pack("<2f", 0.5, -1.0)).decode()
        body = {"data": [{"index": 0, "embedding": packed}, {"index": 1, "embedding": [0.5, -1]}]}
        assert vectors(body, 2) == [[0.5, -1.0], [0.5, -1.0]]

    @pytest.mark.parametrize(
        "embedding", [None, [], "", "?", "AAAA=", [1, "x"], [float("nan")], [1e999], {"a": 1}, [10**400]]
    )
    def test_what_is_no_vector(self, embedding: Any) -> None:
        assert vectors({"data": [{"index": 0, "embedding": embedding}]}, 1) == "a vector cannot be read"

    @pytest.mark.parametrize(
        "data",
        [
            None,
            [],
            [1],
            [{"index": 1, "embedding": [1.0]}],
            [{"index": "0", "embedding": [1.0]}],
        ],
    )
    def test_what_are_no_vectors(self, data: Any) -> None:
        assert isinstance(vectors({"data": data}, 1), str)


class TestWhatIsSent:
    def test_is_neither_empty_nor_endless(self) -> None:
        assert prepared(" \n") == " "
        assert len(prepared("x" * 1_000_000)) == 8_000
        assert prepared("\ud800") == "?"

    def test_is_not_too_much_at_once(self) -> None:
        sizes = [len(batch) for batch in batches(["x" * 8_000] * 50)]
        assert sizes == [22, 22, 6]
