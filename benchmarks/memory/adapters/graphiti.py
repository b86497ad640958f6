"""The answers that graphiti-core asks for, recognised by the names of its schemas."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from benchmarks.memory.adapters import NotUnderstood, Offer, Read, Stated
from benchmarks.memory.adapters.prompts import said_by, schema_name, section, spoken

__all__ = ["Answers"]

SUMMARY = 1000
"""Characters of a summary at most, as the prompt says."""

type Answer = dict[str, Any]


class Answers:
    """Entities, facts and what becomes of doubles, of one message after the other."""

    def __init__(self, read: Read, offer: Offer) -> None:
        self._read = read
        self._offer = offer
        self._by_schema: dict[str, Callable[[str], Answer]] = {
            "ExtractedEntities": self._entities,
            "ExtractedEdges": self._edges,
            "CombinedExtraction": self._both,
            "NodeResolutions": _same_entities,
            "EdgeDuplicate": _same_facts,
            "EdgeTimestamps": _instant,
            "BatchEdgeTimestamps": _instants,
            "SummarizedEntities": _summaries,
        }

    def answer(self, request: Mapping[str, Any]) -> str | None:
        """JSON in the schema that is asked for."""
        name = schema_name(request)
        if (answer := self._by_schema.get(name)) is None:
            raise NotUnderstood(f"the schema {name!r}")
        return json.dumps(answer(said_by(request, "user")), ensure_ascii=False)

    def _entities(self, prompt: str) -> Answer:
        author, text = spoken(section(prompt, "CURRENT MESSAGE"))
        names = _names(author, [*self._read(author, text, None)])
        return {"extracted_entities": [_entity(name, episode_indices=[0]) for name in names]}

    def _edges(self, prompt: str) -> Answer:
        author, text = spoken(section(prompt, "CURRENT_MESSAGE"))
        when = section(prompt, "REFERENCE_TIME").partition("#")[0].strip()
        known = {entity["name"] for entity in json.loads(section(prompt, "ENTITIES"))}
        edges = []
        for stated in self._read(author, text, datetime.fromisoformat(when)):
            if {stated.subject, stated.object} <= known:
                self._offer(stated)
                # A fact with a time is not asked about again.
                edges.append(_fact(stated, valid_at=_iso(when), invalid_at=None))
        return {"edges": edges}

    def _both(self, prompt: str) -> Answer:
        author, text = spoken(section(prompt, "CURRENT MESSAGES"))
        seen = [*self._read(author, text, None)]
        for stated in seen:
            self._offer(stated)
        entities = [_entity(name) for name in _names(author, seen)]
        return {"extracted_entities": entities, "edges": [_fact(one) for one in seen]}


def _names(author: str, seen: list[Stated]) -> list[str]:
    return list(dict.fromkeys([author, *(name for one in seen for name in (one.subject, one.object))]))


def _entity(name: str, **more: Any) -> Answer:
    return {"name": name, "entity_type_id": 0, **more}


def _fact(stated: Stated, **more: Any) -> Answer:
    return {
        "source_entity_name": stated.subject,
        "target_entity_name": stated.object,
        "relation_type": stated.predicate.upper(),
        "fact": stated.sentence,
        "episode_indices": [0],
        **more,
    }


def _same_entities(prompt: str) -> Answer:
    existing = {_folded(each["name"]): each["candidate_id"] for each in _listed(prompt, "EXISTING ENTITIES")}
    resolved = [
        {
            "id": entity["id"],
            "name": entity["name"],
            "duplicate_candidate_id": existing.get(_folded(entity["name"]), -1),
        }
        for entity in _listed(prompt, "ENTITIES")
    ]
    return {"entity_resolutions": resolved}


def _same_facts(prompt: str) -> Answer:
    new = _folded(section(prompt, "NEW FACT"))
    existing = ast.literal_eval(section(prompt, "EXISTING FACTS"))  # written as Python writes a list
    same = [each["idx"] for each in existing if _folded(each["fact"]) == new]
    return {"duplicate_facts": same, "contradicted_facts": []}


def _instant(prompt: str) -> Answer:
    return {"valid_at": _iso(section(prompt, "REFERENCE TIME").strip()), "invalid_at": None}


def _instants(prompt: str) -> Answer:
    facts = _listed(prompt, "FACTS")
    return {"timestamps": [{"valid_at": _iso(each["reference_time"]), "invalid_at": None} for each in facts]}


def _summaries(prompt: str) -> Answer:
    """Each entity gets one, and a short one: it is asked for again as long as there is none."""
    summaries = []
    for entity in _listed(prompt, "ENTITIES"):
        name, so_far = entity["name"], str(entity["summary"] or "")
        short = so_far[:SUMMARY].rpartition("\n" if "\n" in so_far[:SUMMARY] else " ")[0]
        summaries.append({"name": name, "summary": short or f"{name} is spoken of."})
    return {"summaries": summaries}


def _listed(prompt: str, name: str) -> list[Answer]:
    listed: list[Answer] = json.loads(section(prompt, name))
    return listed


def _folded(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip().lower()


def _iso(when: str) -> str:
    return datetime.fromisoformat(when).isoformat()
