"""The agentic pass over one batch: turns, tools, and where it ends."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from tests.unit.memory.extraction.stand_ins import batch_of, fact, said

from bgtasks.errors import BadAnswer, OverBudget
from bgtasks.llm.types import ToolCall, Turn, Usage
from bgtasks.memory.extraction.agentic import SYSTEM, Agentic
from bgtasks.memory.extraction.prompt import question
from bgtasks.memory.extraction.reply import FoundEntity
from bgtasks.memory.extraction.toolbox import TOOLS
from bgtasks.testing import ScriptedGraph

BATCH = batch_of(said(1, "I like tea."), said(2, "So do I.", "Grace"))
LIKES = fact("Ada", "likes", "tea", [1])
TEA = FoundEntity(name="tea", kind="object")
USAGE = Usage(900, 100)

type Step = Sequence[tuple[str, Any]] | BaseException


class Turns:
    """A client whose turns are written down, the last over and over; remembers what it was sent."""

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)
        self.talks: list[list[Mapping[str, Any]]] = []
        self.options: list[dict[str, Any]] = []

    async def turn(
        self, messages: Sequence[Mapping[str, Any]], *, tools: Sequence[Mapping[str, Any]], **options: Any
    ) -> Turn:
        self.talks.append(list(messages))
        self.options.append({"tools": tools, **options})
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        if isinstance(step, BaseException):
            raise step
        calls = tuple(
            ToolCall(f"call {number}", name, given if isinstance(given, str) else json.dumps(given))
            for number, (name, given) in enumerate(step)
        )
        return Turn("" if calls else "Well.", calls, USAGE)


LOOK: Step = [("search_entities", {"query": "tea"}), ("neighbourhood", {"entity": "Ada"})]
NOTE: Step = [("upsert_entity", TEA.model_dump()), ("relate", LIKES.model_dump())]
FINISH: Step = [("finish", {"summary": "done"})]
TALK: Step = []


class TestAPass:
    async def test_is_look_note_finish(self) -> None:
        client = Turns(LOOK, NOTE, FINISH)

        found = await Agentic(client, ScriptedGraph(), "some/model").read(BATCH, [("Ada", "person")])

        assert (found.entities, found.facts) == ([TEA], [LIKES])
        assert len(client.talks) == 3
        assert {option["override_model"] for option in client.options} == {"some/model"}
        assert {option["prompt_version"] for option in client.options} == {"agentic-1"}
        assert all(option["tools"] is TOOLS and option["max_tokens"] == 4_000 for option in client.options)

    async def test_the_model_is_shown_the_batch_and_what_each_call_came_to(self) -> None:
        client = Turns(LOOK, FINISH)

        await Agentic(client, ScriptedGraph()).read(BATCH, [])

        system, asked, turn, first, second = client.talks[-1]
        assert system == {"role": "system", "content": SYSTEM}
        assert asked == {"role": "user", "content": question(BATCH, [])}
        assert [each["function"]["name"] for each in turn["tool_calls"]] == [
            "search_entities",
            "neighbourhood",
        ]
        assert first == {"role": "tool", "tool_call_id": "call 0", "content": '{"found": []}'}
        assert second["tool_call_id"] == "call 1"

    async def test_what_is_noted_in_the_turn_that_ends_it_counts_in_any_order(self) -> None:
        client = Turns([*FINISH, *NOTE])  # type: ignore[misc]

        found = await Agentic(client, ScriptedGraph()).read(BATCH, [])

        assert (found.entities, found.facts) == ([TEA], [LIKES])

    async def test_who_finishes_at_once_found_nothing(self) -> None:
        found = await Agentic(Turns(FINISH), ScriptedGraph()).read(BATCH, [])

        assert (found.entities, found.facts) == ([], [])

    async def test_who_only_talks_is_asked_to_go_on(self) -> None:
        client = Turns(TALK, FINISH)

        await Agentic(client, ScriptedGraph()).read(BATCH, [])

        assert client.talks[-1][-2:] == [
            {"role": "assistant", "content": "Well."},
            {"role": "user", "content": "Go on with the tools, or call finish."},
        ]

    async def test_calls_that_make_no_sense_are_answered_and_it_goes_on(self) -> None:
        graph = ScriptedGraph()
        client = Turns([("delete_graph", {}), ("relate", '{"subj'), ("upsert_entity", "7")], NOTE, FINISH)

        found = await Agentic(client, graph).read(BATCH, [])

        answers = [each["content"] for each in client.talks[1] if each["role"] == "tool"]
        assert ["no tool" in answers[0], *("do not fit" in each for each in answers[1:])] == [True] * 3
        assert found.facts == [LIKES]
        assert graph.queries == []


class TestAPassWithoutAnEnd:
    @pytest.mark.parametrize("step", [LOOK, NOTE, TALK, [("delete_graph", {})]])
    async def test_has_so_many_turns_and_then_it_is_no_answer(self, step: Step) -> None:
        client = Turns(step)

        with pytest.raises(BadAnswer, match=r"finish within 5 turns and about \d+ tokens"):
            await Agentic(client, ScriptedGraph(), steps=5).read(BATCH, [])

        assert len(client.talks) == 5

    async def test_has_so_many_tokens(self) -> None:
        client = Turns(LOOK)

        with pytest.raises(BadAnswer, match=r"within 3 turns and about \d+ tokens"):
            await Agentic(client, ScriptedGraph(), tokens=6_000, max_tokens=500).read(BATCH, [])

        assert len(client.talks) == 3

    async def test_a_turn_that_would_take_too_many_is_not_begun(self) -> None:
        client = Turns(LOOK)

        with pytest.raises(BadAnswer, match="within 0 turns"):
            await Agentic(client, ScriptedGraph(), tokens=2_000).read(BATCH, [])

        assert client.talks == []

    async def test_of_a_single_message_is_taken_with_what_was_noted(self) -> None:
        alone = batch_of(said(1))

        assert (await Agentic(Turns(NOTE), ScriptedGraph()).read(alone, [])).facts == [LIKES]
        with pytest.raises(BadAnswer):
            await Agentic(Turns(LOOK), ScriptedGraph()).read(alone, [])

    @pytest.mark.parametrize("error", [OverBudget("no more"), BadAnswer("cut off")])
    async def test_that_the_client_ends_is_as_the_client_says(self, error: Exception) -> None:
        with pytest.raises(type(error)):
            await Agentic(Turns(NOTE, error), ScriptedGraph()).read(batch_of(said(1)), [])
