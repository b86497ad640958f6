"""The stand-ins answer what a test wrote down and remember what they were asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from bgtasks import BotRunner, ChatClient, KnowledgeGraphLike
from bgtasks.testing import FakeBotRunner, ScriptedChat, ScriptedGraph, run_virtual


def test_a_graph_answers_by_pattern_and_remembers() -> None:
    graph = ScriptedGraph()
    graph.on(r"MATCH \(p:Person\)", [["Ada"], ["Grace"]])
    graph.on("DELETE", [[3]])

    async def main(clock: object) -> list[object]:
        return [
            await graph.query("MATCH (p:Person) RETURN p.name"),
            await graph.query("MATCH (n)\nWHERE n.age > $age\nDELETE n", {"age": 9}),
            await graph.query("RETURN 1"),
        ]

    assert run_virtual(main) == [[["Ada"], ["Grace"]], [[3]], []]
    assert graph.queries == [
        ("MATCH (p:Person) RETURN p.name", {}),
        ("MATCH (n)\nWHERE n.age > $age\nDELETE n", {"age": 9}),
        ("RETURN 1", {}),
    ]


def test_several_answers_come_in_turn_and_the_last_one_stays() -> None:
    graph = ScriptedGraph()
    graph.on("count", [[1]], [[2]])

    async def main(clock: object) -> list[object]:
        return [await graph.query("RETURN count(n)") for _ in range(4)]

    assert run_virtual(main) == [[[1]], [[2]], [[2]], [[2]]]


def test_an_answer_may_be_an_exception_or_a_function_of_the_parameters() -> None:
    graph = ScriptedGraph()

    def double(params: Mapping[str, Any]) -> list[list[int]]:
        return [[2 * params["n"]]]

    graph.on("double", double)
    graph.on("broken", ConnectionError("no graph"), [["back"]])

    async def main(clock: object) -> None:
        assert await graph.query("RETURN double($n)", {"n": 21}) == [[42]]
        with pytest.raises(ConnectionError, match="no graph"):
            await graph.query("broken")
        assert await graph.query("broken") == [["back"]]

    run_virtual(main)


def test_the_first_pattern_that_matches_answers_over_several_lines() -> None:
    graph = ScriptedGraph()
    graph.on("MATCH.*RETURN", [["first"]])
    graph.on("MATCH", [["second"]])

    async def main(clock: object) -> list[object]:
        return [await graph.query("MATCH (n)\nRETURN n"), await graph.query("MATCH (n) DELETE n")]

    assert run_virtual(main) == [[["first"]], [["second"]]]


def test_a_chat_gives_its_answers_in_turn_and_remembers_what_it_was_asked() -> None:
    chat = ScriptedChat("one", ConnectionError("busy"), "two")
    ask = [{"role": "user", "content": "hello"}]

    async def main(clock: object) -> list[str]:
        first = await chat.chat(ask)
        with pytest.raises(ConnectionError, match="busy"):
            await chat.chat(ask, override_model="small")
        return [first, await chat.chat(ask, temperature=0), await chat.chat(ask)]

    assert run_virtual(main) == ["one", "two", "two"]
    assert chat.calls == [
        {"messages": ask, "override_model": None},
        {"messages": ask, "override_model": "small"},
        {"messages": ask, "override_model": None, "temperature": 0},
        {"messages": ask, "override_model": None},
    ]


def test_a_chat_without_a_script_says_nothing() -> None:
    chat = ScriptedChat()

    assert run_virtual(lambda clock: chat.chat([])) == ""


def test_the_stand_ins_are_what_the_contracts_ask_for() -> None:
    graph: KnowledgeGraphLike = ScriptedGraph()
    chat: ChatClient = ScriptedChat()

    assert isinstance(graph, KnowledgeGraphLike)
    assert isinstance(chat, ChatClient)
    assert isinstance(FakeBotRunner(), BotRunner)
    assert FakeBotRunner(kg_manager=graph).kg_manager is graph
    assert FakeBotRunner().adapters is not FakeBotRunner().adapters
