"""What bgtasks asks of a host's objects: nothing has to inherit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bgtasks import Absent, BotRunner, ChatClient, KnowledgeGraphLike
from bgtasks.contracts import StrictConfig


def test_an_absent_resource_is_false_and_knows_why() -> None:
    absent = Absent("the graph module could not be loaded")

    assert not absent
    assert absent.reason == "the graph module could not be loaded"
    assert repr(absent) == "Absent('the graph module could not be loaded')"


def test_an_object_with_the_methods_serves() -> None:
    class Graph:
        async def query(
            self, cypher: str, params: Mapping[str, Any] | None = None
        ) -> Sequence[Sequence[Any]]:
            return []

    class Chat:
        async def chat(
            self, messages: Sequence[Mapping[str, Any]], *, override_model: str | None = None, **options: Any
        ) -> str:
            return ""

    graph: KnowledgeGraphLike = Graph()
    chat: ChatClient = Chat()

    assert isinstance(graph, KnowledgeGraphLike)
    assert isinstance(chat, ChatClient)
    assert not isinstance(object(), KnowledgeGraphLike | ChatClient | BotRunner)


def test_a_config_is_strict_only_if_it_has_the_attribute() -> None:
    class Strict:
        strict_names = True

    assert isinstance(Strict(), StrictConfig)
    assert not isinstance(object(), StrictConfig)
