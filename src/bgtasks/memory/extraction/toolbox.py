"""The tools of the agentic pass: two that look into the graph, two that note down, one that ends.

None of them writes: what is noted becomes an `Extraction`, and that is applied as any other is, in one query
with the cursor. There is no tool that deletes, whatever a message may ask for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from bgtasks.clock import Clock
from bgtasks.contracts import KnowledgeGraphLike
from bgtasks.graph.facts import Fact
from bgtasks.graph.search import neighbourhood, search
from bgtasks.llm.types import ToolCall
from bgtasks.memory.extraction.batch import Batch
from bgtasks.memory.extraction.reply import MOST, Extraction, FoundEntity, FoundFact

__all__ = ["TOOLS", "Toolbox"]

FOUND = 8
"""Entities, and facts, that one look into the graph shows."""


CALLS = 2 * MOST
"""Calls that are answered in one pass; `finish` is, even then."""

LOOKS = 40
"""Looks into the graph among them: what they show goes into every prompt from then on."""

_SHOWN = 150


class _Query(BaseModel):
    query: str = Field(description="words of a name or a description")


class _Entity(BaseModel):
    entity: str = Field(description="its name")


class _Finish(BaseModel):
    summary: str = Field("", description="what was noted, in a line")


_ARGUMENTS: dict[str, tuple[type[BaseModel], str]] = {
    "search_entities": (_Query, "Find entities that are known already."),
    "neighbourhood": (_Entity, "Show what is known around one entity."),
    "upsert_entity": (FoundEntity, "Note an entity that the messages name."),
    "relate": (FoundFact, "Note a fact that the messages state, with their numbers."),
    "finish": (_Finish, "End, once everything that the messages state is noted."),
}


def _tool(name: str) -> dict[str, Any]:
    arguments, description = _ARGUMENTS[name]
    parameters = arguments.model_json_schema()
    for each in (parameters, *parameters["properties"].values()):
        each.pop("title", None)
        each.pop("default", None)
    parameters.pop("description", None)
    return {
        "type": "function",
        "function": {"name": name, "description": description, "parameters": parameters},
    }


TOOLS: list[dict[str, Any]] = [_tool(name) for name in _ARGUMENTS]
"""The tools, as endpoints take them."""


class Toolbox:
    """Answers a model's calls during one pass over one batch.

    Attributes:
        finished: The model called `finish`.
        refused: Calls that could not be answered: no such tool, or arguments that make no sense.
    """

    def __init__(self, graph: KnowledgeGraphLike, batch: Batch, clock: Clock) -> None:
        self.finished = False
        self.refused = 0
        self._calls = self._looks = 0
        self._graph = graph
        self._batch = batch
        self._clock = clock
        self._entities: list[FoundEntity] = []
        self._facts: list[FoundFact] = []

    @property
    def noted(self) -> Extraction:
        """All that was noted so far."""
        return Extraction(entities=self._entities, facts=self._facts)

    async def answer(self, call: ToolCall) -> str:
        """What a call of a tool comes to, as JSON text for the model; for a bad one a sentence that says why.

        Raises:
            ResourceUnavailable: The graph does not answer.
        """
        self._calls += 1
        if self._calls > CALLS and call.name != "finish":
            return self._no(f"that was the {CALLS}th call, which is too many: finish")
        known = _ARGUMENTS.get(call.name)
        looks = call.name in ("search_entities", "neighbourhood")
        self._looks += looks
        if looks and self._looks > LOOKS:
            return self._no(f"that was the {LOOKS}th look, which is too many: note what the messages state")
        if known is None:
            return self._no(f"there is no tool {call.name[:60]!r}: there are {', '.join(_ARGUMENTS)}")
        try:
            given = known[0].model_validate_json(call.arguments or "{}")
        except ValidationError as error:
            said = "; ".join(
                f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()[:3]
            )
            return self._no(f"the arguments do not fit: {said}")
        return await self._do(given)

    async def _do(self, given: BaseModel) -> str:
        match given:
            case _Query():
                found = await search(self._graph, given.query, k=FOUND, now=self._clock.now())
                return _json(
                    {"found": [{"name": e.name, "kind": e.kind, "about": e.summary[:_SHOWN]} for e in found]}
                )
            case _Entity():
                around = await neighbourhood(self._graph, given.entity, limit=FOUND, now=self._clock.now())
                facts = [] if around is None else [_said(fact)[:_SHOWN] for fact in around.facts]
                return _json({"known": around is not None, "facts": facts})
            case FoundEntity():
                return self._note(self._entities, given)
            case FoundFact():
                last = len(self._batch.messages)
                if not given.messages or not all(1 <= number <= last for number in given.messages):
                    return self._no(f"messages are numbers from 1 to {last}")
                return self._note(self._facts, given)
            case _:
                self.finished = True
                return _json({"ok": True})

    def _note(self, notes: list[Any], note: FoundEntity | FoundFact) -> str:
        if len(notes) >= MOST:
            return self._no(f"{MOST} are noted already, which is too many: finish")
        if note not in notes:
            notes.append(note)
        return _json({"ok": True})

    def _no(self, why: str) -> str:
        self.refused += 1
        return _json({"error": why})


def _said(fact: Fact) -> str:
    return fact.sentence or f"{fact.subject.name} {fact.predicate} {fact.object.name}"


def _json(answer: Mapping[str, Any]) -> str:
    return json.dumps(answer, ensure_ascii=False)
