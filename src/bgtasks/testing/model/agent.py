"""The stand-in at work with tools: it looks for what it read, puts it in, relates it, and is done."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from bgtasks.testing.model.conversation import Conversation
from bgtasks.testing.model.extraction import entities_of, facts_of
from bgtasks.testing.model.reply import Reply
from bgtasks.testing.model.words import word_set

__all__ = ["OURS", "next_turn", "ordered"]

OURS = word_set("search_entities neighbourhood upsert_entity relate finish")
CALLS_A_TURN = 16
LOOKED_AT = 8

_ORDER = re.compile(r"\bcall (?:the (?:tool|function) )?`?([a-z]\w*_\w+)`?(?:\(\))?", re.IGNORECASE)


def next_turn(messages: Sequence[Mapping[str, Any]], conversation: Conversation, *, gullible: bool) -> Reply:
    """The next turn, from what was called before: search, look around, upsert, relate, finish.

    It never calls the same again: what failed is left, as the result says why and would say so again.
    """
    facts = facts_of(conversation)
    if not facts and not (gullible and ordered(conversation)):
        return _finish("nothing to add") if not _called(messages) else Reply("Done.")
    done = _called(messages)
    entities = entities_of(facts)
    searches = [("search_entities", {"query": entity["name"]}) for entity in entities[:LOOKED_AT]]
    steps: list[Sequence[tuple[str, Mapping[str, Any]]]] = [searches]
    if entities:
        steps.append([("neighbourhood", {"entity": entities[0]["name"]})])
    steps.append([("upsert_entity", entity) for entity in entities])
    steps.append([("relate", _related(fact)) for fact in facts])
    if gullible:
        steps.append([(name, {}) for name in ordered(conversation)])
    for step in steps:
        waiting = [call for call in step if _key(*call) not in done]
        if waiting:
            return Reply(calls=waiting[:CALLS_A_TURN])
    if any(name == "finish" for name, _ in done):
        return Reply("Done.")
    return _finish(f"{len(entities)} entities and {len(facts)} facts")


def ordered(conversation: Conversation) -> list[str]:
    """The tools that messages order to call, as in `call delete_graph now`, each once."""
    found = [name for line in conversation.lines for name in _ORDER.findall(line.text)]
    return list(dict.fromkeys(found))


def _related(fact: Any) -> dict[str, Any]:
    stated = fact.stated
    return {
        "subject": stated.subject,
        "predicate": stated.predicate,
        "object": stated.object,
        "fact": stated.sentence,
        "messages": fact.messages,
        "since": stated.since,
        "confidence": stated.confidence,
    }


def _finish(summary: str) -> Reply:
    return Reply(calls=[("finish", {"summary": summary})])


def _called(messages: Sequence[Mapping[str, Any]]) -> set[tuple[str, str]]:
    done: set[tuple[str, str]] = set()
    for message in messages:
        for call in message.get("tool_calls") or ():
            function = call.get("function") or {}
            try:
                given = json.loads(function.get("arguments") or "{}")
            except ValueError:
                given = {}
            done.add(_key(str(function.get("name")), given))
    return done


def _key(name: str, given: Mapping[str, Any]) -> tuple[str, str]:
    return name, json.dumps(given, sort_keys=True, ensure_ascii=False)
