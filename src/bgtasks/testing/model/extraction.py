"""The entities and facts of a conversation, by rules: the answer to a request for extraction."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from typing import Any

from bgtasks.testing.model.conversation import Conversation, Line
from bgtasks.testing.model.names import resolve
from bgtasks.testing.model.rules import read
from bgtasks.testing.model.sentences import LONGEST_TEXT
from bgtasks.testing.model.stated import Stated, worded

__all__ = ["Fact", "extract", "facts_of", "read_all"]


@dataclass(slots=True)
class Fact:
    """A relation, and the numbers of the messages that state it."""

    stated: Stated
    messages: list[int] = field(default_factory=list)


def read_all(lines: Iterable[Line], known: Collection[str] = ()) -> list[tuple[int, Stated]]:
    """What each of these messages states, with its number; people by their longest known name.

    Args:
        lines: The messages, in order.
        known: Names of people that may be meant; the authors are.
    """
    listed = list(lines)
    people = frozenset((*known, *(line.author for line in listed)))
    found: list[tuple[int, Stated]] = []
    for line in listed:
        for stated in _read(line.author, line.text[:LONGEST_TEXT], line.when, people):
            found.append((line.number, _named(stated, line.author, people)))
    animals = {stated.object for _, stated in found if stated.predicate == "has_pet"}
    return [(number, _as_animals(stated, animals)) for number, stated in found]


@lru_cache(maxsize=1024)  # each turn of the agentic pass asks for the same again
def _read(author: str, text: str, when: datetime | None, people: frozenset[str]) -> tuple[Stated, ...]:
    return tuple(read(author, text, when, known=people))


def facts_of(conversation: Conversation) -> list[Fact]:
    """The relations of a conversation, each once, with all messages that state it."""
    facts: dict[tuple[str, str, str], Fact] = {}
    for number, stated in read_all(conversation.lines, conversation.people):
        key = (stated.subject.lower(), stated.predicate, stated.object.lower())
        fact = facts.setdefault(key, Fact(stated))
        if number not in fact.messages:
            fact.messages.append(number)
    return list(facts.values())


def extract(conversation: Conversation) -> dict[str, Any]:
    """The answer in the form of our extraction: `entities` and `facts`."""
    facts = facts_of(conversation)
    return {
        "entities": entities_of(facts),
        "facts": [
            {
                "subject": fact.stated.subject,
                "predicate": fact.stated.predicate,
                "object": fact.stated.object,
                "fact": fact.stated.sentence,
                "messages": fact.messages,
                "since": fact.stated.since,
                "confidence": fact.stated.confidence,
            }
            for fact in facts
        ],
    }


def entities_of(facts: Sequence[Fact]) -> list[dict[str, str]]:
    """What the facts are about, each name once, with what it is if that was stated."""
    kinds: dict[str, str] = {}
    abouts: dict[str, str] = {}
    for fact in facts:
        stated = fact.stated
        kinds.setdefault(stated.subject, stated.subject_kind)
        kinds.setdefault(stated.object, stated.object_kind)
        if stated.predicate == "is_a":
            abouts.setdefault(stated.subject, stated.object)
    return [{"name": name, "kind": kind, "about": abouts.get(name, "")} for name, kind in kinds.items()]


def _named(stated: Stated, author: str, people: Collection[str]) -> Stated:
    subject = stated.subject
    if stated.subject_kind == "person" and "'s " not in subject:
        # Who writes "Maria" and is a Maria means the other one, if there are two.
        others = people if subject == author else [name for name in people if name != author]
        subject = resolve(subject, others)
    object_ = stated.object
    if stated.object_kind == "person" and "'s " not in object_ and object_[:1].isupper():
        others = [name for name in people if name != author]
        if stated.predicate == "married_to":  # not just anybody of that first name
            others = [name for name in others if name.split()[-1:] == subject.split()[-1:]]
        object_ = resolve(object_, others)
    if (subject, object_) == (stated.subject, stated.object):
        return stated
    said = worded(subject, stated.predicate, object_)
    return replace(stated, subject=subject, object=object_, sentence=said)


def _as_animals(stated: Stated, animals: Collection[str]) -> Stated:
    if stated.subject in animals:
        stated = replace(stated, subject_kind="animal")
    return replace(stated, object_kind="animal") if stated.object in animals else stated
