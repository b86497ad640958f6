"""The tools of the agentic pass, one by one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.unit.memory.extraction.stand_ins import batch_of, fact, said

from bgtasks.errors import ResourceUnavailable
from bgtasks.llm.types import ToolCall
from bgtasks.memory.extraction.reply import KINDS, MOST, FoundFact
from bgtasks.memory.extraction.toolbox import CALLS, TOOLS, Toolbox
from bgtasks.testing import ScriptedGraph, VirtualClock

TEA = {"name": "tea", "kind": "object", "about": "hot"}
LIKES = fact("Ada", "likes", "tea").model_dump()


def toolbox(graph: ScriptedGraph | None = None) -> Toolbox:
    return Toolbox(graph or ScriptedGraph(), batch_of(said(1), said(2)), VirtualClock())


async def call(tools: Toolbox, name: str, arguments: Any) -> dict[str, Any]:
    given = arguments if isinstance(arguments, str) else json.dumps(arguments)
    answer: dict[str, Any] = json.loads(await tools.answer(ToolCall("1", name, given)))
    return answer


class TestWhatThereIs:
    def test_nothing_deletes_or_asks_the_graph_freely(self) -> None:
        names = [tool["function"]["name"] for tool in TOOLS]

        assert names == ["search_entities", "neighbourhood", "upsert_entity", "relate", "finish"]

    def test_each_says_what_it_takes(self) -> None:
        by_name = {tool["function"]["name"]: tool["function"]["parameters"] for tool in TOOLS}

        assert set(by_name["relate"]["properties"]) == set(FoundFact.model_fields)
        assert by_name["relate"]["required"] == ["subject", "predicate", "object", "fact", "messages"]
        assert list(by_name["upsert_entity"]["properties"]) == ["name", "kind", "about"]
        assert json.dumps(by_name["upsert_entity"]).count('"organisation"') == 1
        assert "default" not in json.dumps(TOOLS)
        assert '"title"' not in json.dumps(TOOLS)
        assert set(KINDS) < set(json.dumps(TOOLS).split('"'))


class TestNotes:
    async def test_are_an_answer_like_any(self) -> None:
        tools = toolbox()

        assert await call(tools, "upsert_entity", TEA) == {"ok": True}
        assert await call(tools, "relate", LIKES) == {"ok": True}

        assert [entity.model_dump() for entity in tools.noted.entities] == [TEA]
        assert [each.model_dump() for each in tools.noted.facts] == [LIKES]
        assert not tools.finished

    async def test_the_same_twice_is_noted_once(self) -> None:
        tools = toolbox()

        for _ in range(2):
            assert await call(tools, "upsert_entity", TEA) == {"ok": True}
            assert await call(tools, "relate", LIKES) == {"ok": True}

        assert (len(tools.noted.entities), len(tools.noted.facts)) == (1, 1)

    async def test_nothing_is_written(self) -> None:
        graph = ScriptedGraph()
        tools = toolbox(graph)

        await call(tools, "upsert_entity", TEA)
        await call(tools, "relate", LIKES)
        await call(tools, "finish", {})

        assert graph.queries == []

    @pytest.mark.parametrize("numbers", [[], [0], [3], [1, 3], [-1]])
    async def test_a_fact_names_messages_that_there_are(self, numbers: list[int]) -> None:
        tools = toolbox()

        assert await call(tools, "relate", {**LIKES, "messages": numbers}) == {
            "error": "messages are numbers from 1 to 2"
        }
        assert tools.noted.facts == []
        assert tools.refused == 1

    async def test_finish_ends_it(self) -> None:
        for arguments in ({}, "", {"summary": "tea"}):
            tools = toolbox()

            assert await call(tools, "finish", arguments) == {"ok": True}
            assert tools.finished


class TestWhatIsRefused:
    @pytest.mark.parametrize("name", ["delete_graph", "", "GRAPH.DELETE", "x" * 9_000, "query", "Finish"])
    async def test_a_tool_that_there_is_not(self, name: str) -> None:
        graph = ScriptedGraph()
        tools = toolbox(graph)

        answer = await call(tools, name, {"confirm": True})

        assert answer["error"].startswith("there is no tool ")
        assert answer["error"].endswith(
            "there are search_entities, neighbourhood, upsert_entity, relate, finish"
        )
        assert len(answer["error"]) < 200
        assert (graph.queries, tools.refused, tools.finished) == ([], 1, False)

    @pytest.mark.parametrize("name", ["search_entities", "neighbourhood", "upsert_entity", "relate"])
    @pytest.mark.parametrize(
        "arguments",
        ["", "{", "null", "[]", "7", '{"name": "Wal', '{"x": 1}', '{"name": "\\ud800"}', "\ud800"],
    )
    async def test_arguments_that_do_not_fit(self, name: str, arguments: str) -> None:
        tools = toolbox()

        answer = await call(tools, name, arguments)

        assert answer["error"].startswith("the arguments do not fit: ")
        assert tools.refused == 1

    @pytest.mark.parametrize(
        "change", [{"kind": "ship"}, {"kind": None}, {"name": None}, {"name": ["tea"]}, {"about": 7}]
    )
    async def test_an_entity_that_does_not_fit_says_where(self, change: dict[str, Any]) -> None:
        answer = await call(toolbox(), "upsert_entity", {**TEA, **change})

        [name] = change
        assert f" {name}: " in answer["error"]

    @pytest.mark.parametrize(
        "change", [{"messages": "1"}, {"confidence": 2}, {"subject": 1}, {"since": 2026}]
    )
    async def test_nor_a_fact(self, change: dict[str, Any]) -> None:
        answer = await call(toolbox(), "relate", {**LIKES, **change})

        [name] = change
        assert f" {name}" in answer["error"]

    async def test_more_notes_than_anyone_needs(self) -> None:
        tools = toolbox()

        for number in range(MOST):
            assert await call(tools, "upsert_entity", {**TEA, "name": f"tea {number}"}) == {"ok": True}

        assert "error" in await call(tools, "upsert_entity", {**TEA, "name": "one more"})
        assert len(tools.noted.entities) == MOST

    async def test_more_calls_than_anyone_needs_but_not_the_end(self) -> None:
        tools = toolbox()

        for _ in range(CALLS):
            assert "too many" not in (await call(tools, "nothing", {}))["error"]

        assert "too many" in (await call(tools, "relate", LIKES))["error"]
        assert await call(tools, "finish", {}) == {"ok": True}


class TestLooks:
    async def test_what_is_not_known_is_found_empty(self) -> None:
        assert await call(toolbox(), "search_entities", {"query": "tea"}) == {"found": []}
        assert await call(toolbox(), "search_entities", {"query": "… \x00 @{}|"}) == {"found": []}
        assert await call(toolbox(), "neighbourhood", {"entity": "tea"}) == {"known": False, "facts": []}

    async def test_a_graph_that_is_away_is_no_answer(self) -> None:
        graph = ScriptedGraph()
        graph.on("", ResourceUnavailable("kg_manager", "gone"))

        with pytest.raises(ResourceUnavailable):
            await call(toolbox(graph), "search_entities", {"query": "tea"})
