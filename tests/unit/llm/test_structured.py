"""Answers that fit a schema: read from what models write, asked for once more, and of any endpoint."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field
from tests.unit.llm.stage import HELLO, Pet, stage, user

from bgtasks.errors import BadAnswer, OverBudget, UnsuitableServer
from bgtasks.llm.budget import Limits
from bgtasks.llm.structured import Misfit, again, name_of, read, strict_schema
from bgtasks.testing.model import Fault, ModelServer, Reply

BO = Pet(name="Bo", legs=4)
JSON = '{"name": "Bo", "legs": 4}'


class Owner(BaseModel):
    """It has a title, which is a property and not what JSON schemas mean by it."""

    title: str = "Ms"
    kind: Literal["person"] | None = None
    pets: list[Pet] = Field(default_factory=list, title="What it owns")


class TestReading:
    @pytest.mark.parametrize(
        "text",
        [
            JSON,
            f"  {JSON}\n",
            f"```json\n{JSON}\n```",
            f"Here it is:\n```\n{JSON}\n```\nAnything else?",
            f"Here it is: {JSON}. Anything else?",
            f'<think>Is it {{"name": "Jo"}}?</think>{JSON}',
            f'Is it {{"name": "Jo", "legs": 2}}?</think>{JSON}',
            f"Here {{as you asked}}: {JSON}",
            f"{JSON}\n\nNote: {{x}}",
            f"```{JSON}```",
            f"```json\n{JSON}",
        ],
    )
    def test_finds_the_json(self, text: str) -> None:
        assert read(Pet, text) == BO

    @pytest.mark.parametrize(
        "text",
        [
            "",
            " ",
            "Bo has four legs.",
            "{",
            '{"name": "Bo", "le',
            "[]",
            "null",
            '{"name": "Bo", "legs": NaN}',
        ],
    )
    def test_takes_nothing_else(self, text: str) -> None:
        with pytest.raises(Misfit):
            read(Pet, text)

    def test_takes_what_it_holds_for_what_it_is(self) -> None:
        assert read(Pet, '{"name": "a </think> tag", "legs": 0}').name == "a </think> tag"

    def test_takes_no_part_of_an_answer_that_breaks_off(self) -> None:
        with pytest.raises(Misfit):
            read(Owner, '{"title": "Dr", "pets": [{"name": "Bo", "legs": 4}, {"name": "Jo", "le')

    @pytest.mark.parametrize("text", ["[" * 100_000, "{" * 100_000, '{"a":' * 100_000, "`" * 100_000])
    def test_is_not_brought_down(self, text: str) -> None:
        with pytest.raises(Misfit):
            read(Pet, text)

    def test_tells_the_model_more_than_it_tells_anybody_else(self) -> None:
        with pytest.raises(Misfit) as caught:
            read(Pet, '{"name": "marked", "legs": "marked"}')
        assert "legs" in caught.value.told
        assert caught.value.why == "it does not fit the schema (1 x int_parsing)"

    def test_a_second_try_shows_the_first(self) -> None:
        first, shown, asked = again(HELLO, "nonsense", Misfit("no", "because"))
        assert (first, shown) == (HELLO[0], {"role": "assistant", "content": "nonsense"})
        assert "because" in asked["content"]
        assert len(again(HELLO, " ", Misfit("no"))) == 2


class TestTheSchema:
    def test_is_strict_in_all_its_parts(self) -> None:
        schema = strict_schema(Owner)
        assert schema["required"] == ["title", "kind", "pets"]
        assert schema["additionalProperties"] is False
        assert schema["$defs"]["Pet"]["additionalProperties"] is False
        assert schema["properties"]["title"] == {"type": "string"}
        assert "default" not in json.dumps(schema)

    def test_tells_bounds_in_words_since_some_endpoints_refuse_them(self) -> None:
        class Herd(BaseModel):
            legs: int = Field(ge=0, le=400, description="All of them.")
            names: list[str] = Field(max_length=9)
            pattern: str = ""

        properties = strict_schema(Herd)["properties"]
        assert properties["legs"] == {
            "type": "integer",
            "description": "All of them. (maximum: 400, minimum: 0)",
        }
        assert properties["names"]["description"] == "maxItems: 9"
        assert "maxItems" not in properties["names"]
        assert properties["pattern"] == {"type": "string"}

    def test_has_a_name(self) -> None:
        class TwoWords(BaseModel):
            pass

        assert (name_of(Pet), name_of(TwoWords)) == ("pet", "two_words")


class TestOfAnEndpoint:
    async def test_that_takes_schemas(self) -> None:
        async with stage(ModelServer(answer=lambda _: JSON)) as s:
            assert await s.chat.structured(HELLO, Pet) == BO
            (body,) = s.model.requests
            assert body["messages"] == HELLO
            assert body["response_format"]["json_schema"]["name"] == "pet"
            assert body["response_format"]["json_schema"]["strict"] is True

    async def test_that_takes_none_but_knows_json(self) -> None:
        async with stage(ModelServer(answer=lambda _: JSON, json_schema=False)) as s:
            for _ in range(2):
                assert await s.chat.structured(HELLO, Pet) == BO
            assert s.statuses == [400, 200, 200]
            assert s.model.requests[-1]["response_format"] == {"type": "json_object"}
            system, _ = s.model.requests[-1]["messages"]
            assert "JSON schema" in system["content"]
            assert (await s.spent()).calls == 2

    async def test_that_knows_neither(self) -> None:
        def answer(body: dict[str, Any]) -> Any:
            refused = Reply("response_format is not supported", status=400)
            return refused if "response_format" in body else f"```json\n{JSON}\n```"

        async with stage(ModelServer(answer=answer)) as s:
            for _ in range(2):
                assert await s.chat.structured(user("Bo?"), Pet) == BO
            assert s.statuses == [400, 400, 200, 200]
            assert not s.slept

    @pytest.mark.parametrize("kind", ["not json", "schema", "empty"])
    async def test_that_errs_once(self, kind: Any) -> None:
        server = ModelServer(answer=lambda _: JSON)
        server.faults.at(1, kind)
        async with stage(server) as s:
            assert await s.chat.structured(HELLO, Pet) == BO
            assert s.statuses == [200, 200]
            shown = [each["content"] for each in s.model.requests[1]["messages"]]
            assert "JSON schema" in shown[0]
            assert len(shown) == (3 if kind == "empty" else 4)
            assert (await s.spent()).calls == 2

    @pytest.mark.parametrize(
        ("kind", "why"),
        [
            ("not json", "no JSON"),
            ("schema", r"schema \(2 x missing\)"),
            ("empty", "empty"),
        ],
    )
    async def test_that_errs_twice(self, kind: Any, why: str) -> None:
        server = ModelServer(answer=lambda _: JSON)
        server.faults.at(1, kind)
        server.faults.at(2, kind)
        async with stage(server) as s:
            with pytest.raises(BadAnswer, match=why):
                await s.chat.structured(HELLO, Pet, max_tokens=64)
            assert len(s.model.calls) == 2

    async def test_whose_answer_is_cut_off_is_not_asked_again(self) -> None:
        server = ModelServer(answer=lambda _: JSON)
        server.faults.at(1, "runaway")
        async with stage(server) as s:
            with pytest.raises(BadAnswer, match="cut off at max_tokens=64"):
                await s.chat.structured(HELLO, Pet, max_tokens=64)
            assert len(s.model.calls) == 1

    async def test_that_ignores_schemas_without_a_word(self) -> None:
        def answer(body: dict[str, Any]) -> str:
            return JSON if "JSON schema" in str(body["messages"]) else "Sure! **Bo** has four legs."

        async with stage(ModelServer(answer=answer)) as s:
            for _ in range(2):
                assert await s.chat.structured(user("Bo?"), Pet) == BO
            assert len(s.model.calls) == 3
            assert s.model.requests[2]["response_format"] == {"type": "json_object"}

    async def test_that_errs_in_what_no_schema_tells_is_told_it_all_the_same(self) -> None:
        class Short(BaseModel):
            name: str = Field(max_length=3)

        left = ['{"name": "Walter"}', '{"name": "Bo"}', '{"name": "Bo"}']
        async with stage(ModelServer(answer=lambda _: left.pop(0))) as s:
            for _ in range(2):
                assert (await s.chat.structured(user("Who?"), Short)).name == "Bo"
            assert s.model.requests[2]["response_format"]["type"] == "json_schema"

    async def test_that_refuses_the_form_in_words_nobody_knows(self) -> None:
        def answer(body: dict[str, Any]) -> Any:
            form = body.get("response_format", {}).get("type")
            return Reply("output_config: what is this?", status=400) if form == "json_schema" else JSON

        async with stage(ModelServer(answer=answer)) as s:
            for _ in range(2):
                assert await s.chat.structured(user("Bo?"), Pet) == BO
            assert s.statuses == [400, 200, 200]

    async def test_that_refuses_whatever_the_form_is_asked_in_the_best_one_again(self) -> None:
        odd = Reply("Provider returned error", status=400)
        async with stage(ModelServer(answer=lambda _: odd)) as s:
            for _ in range(2):
                with pytest.raises(UnsuitableServer, match="Provider returned error"):
                    await s.chat.structured(user("Bo?"), Pet)
            forms = [body["response_format"]["type"] for body in s.model.requests]
            assert forms == ["json_schema", "json_object", "json_schema"]

    async def test_whose_second_try_is_above_the_budget(self) -> None:
        said = Reply("nonsense", usage={"prompt_tokens": 900, "completion_tokens": 50})
        async with stage(ModelServer(answer=lambda _: said), limits=Limits(day_tokens=1000)) as s:
            with pytest.raises(OverBudget):
                await s.chat.structured(HELLO, Pet, max_tokens=100)
            assert len(s.model.calls) == 1

    async def test_that_is_away_between_the_tries(self) -> None:
        left: list[Any] = ["nonsense", Fault("503"), JSON]
        async with stage(ModelServer(answer=lambda _: left.pop(0))) as s:
            assert await s.chat.structured(HELLO, Pet) == BO
