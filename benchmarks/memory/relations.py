"""What the rules see in the messages, and how much of it is in a system's store.

A relation is found in a graph if there is a fact between two entities with its subject's and its object's
name, in that direction; among memories that are texts if its sentence is one of them. Case, blanks and an
article before a name do not count. What a system's fact is called, what it says and when it holds is not
compared.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from benchmarks.memory.adapters import Stated
from benchmarks.memory.conversation import Line
from benchmarks.memory.peers import Contents

__all__ = ["Extra", "Relation", "Store", "key_of", "relations"]


@dataclass(frozen=True, slots=True)
class Relation:
    """One, with the message that says it."""

    line: Line
    key: tuple[str, str, str]
    sentence: str


@dataclass(frozen=True, slots=True)
class Extra:
    """What is in a store more often than once."""

    facts: int
    entities: int
    texts: int
    raw: int

    def above(self, other: Extra) -> Extra:
        """What is more than in the other."""
        return Extra(
            self.facts - other.facts,
            self.entities - other.entities,
            self.texts - other.texts,
            self.raw - other.raw,
        )


def key_of(stated: Stated) -> tuple[str, str, str]:
    """What makes two relations the same one."""
    return (_name(stated.subject), stated.predicate, _name(stated.object))


def relations(
    lines: Iterable[Line], read: Callable[[str, str, datetime | None], Sequence[Stated]]
) -> list[Relation]:
    """All, in the order of the messages; one that is said twice comes twice."""
    return [
        Relation(line, key_of(stated), _folded(stated.sentence))
        for line in lines
        for stated in read(line.author, line.text, line.at)
    ]


class Store:
    """What was read back."""

    def __init__(self, contents: Contents) -> None:
        self._pairs = {(_name(subject), _name(object)) for subject, object, _ in contents.facts}
        self._texts = {_folded(text) for text in contents.texts}
        self.extra = Extra(
            _more([tuple(map(_folded, fact)) for fact in contents.facts]),
            _more([(part, _folded(name)) for part, name in contents.entities]),
            _more([_folded(text) for text in contents.texts]),
            _more([(part, text) for part, text in contents.raw]),
        )
        self.counts = {
            "facts": len(contents.facts),
            "entities": len(contents.entities),
            "texts": len(contents.texts),
        }

    def has(self, relation: Relation) -> bool:
        """Whether it is there."""
        subject, _, object = relation.key
        return (subject, object) in self._pairs or relation.sentence in self._texts

    def found(self, wanted: Iterable[Relation]) -> set[tuple[str, str, str]]:
        """Those of them that are there, each once."""
        return {relation.key for relation in wanted if self.has(relation)}

    def messages(self, wanted: Iterable[Relation]) -> int:
        """How many messages have everything in the store that they say."""
        told: dict[tuple[str, str], bool] = {}
        for relation in wanted:
            where = (relation.line.channel, relation.line.id)
            told[where] = told.get(where, True) and self.has(relation)
        return sum(told.values())


def _more(of: Sequence[Hashable]) -> int:
    return sum(count - 1 for count in Counter(of).values())


def _name(text: str) -> str:
    return re.sub(r"^(?:an?|the) ", "", _folded(text))


def _folded(text: str) -> str:
    return re.sub(r"\s+", " ", str(text)).strip().lower()
