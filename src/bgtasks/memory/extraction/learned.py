"""From what a model answered to what is written: names made one, sources checked, evidence folded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import reduce

from bgtasks.graph.apply import Edge, Node
from bgtasks.graph.schema import key_of
from bgtasks.graph.weight import HALF_LIFE, Weight
from bgtasks.memory.extraction.batch import Batch
from bgtasks.memory.extraction.names import is_pronoun, name_of, owner_of, predicate_of
from bgtasks.memory.extraction.reply import Extraction, FoundEntity, FoundFact
from bgtasks.memory.structure import told_at

__all__ = ["SOFT", "Learned", "learn"]

STRENGTH = 0.5
"""What one message weighs that states something with full confidence."""

SOFT = frozenset(("object", "work", "event", "activity", "topic", "other"))
"""Kinds that models take for one another: a book is a work to one and an object to the next."""

_LONGEST_TEXT = 500


@dataclass(frozen=True, slots=True)
class Learned:
    """What a batch comes to.

    Attributes:
        dropped: Entities without a usable name, and facts without one, without a source among the messages,
            of something with itself, or that are not believed at all.
    """

    nodes: tuple[Node, ...] = ()
    edges: tuple[Edge, ...] = ()
    dropped: int = 0


def learn(
    batch: Batch, found: Extraction, known: Iterable[tuple[str, str]], *, half_life: float = HALF_LIFE
) -> Learned:
    """The nodes and edges that `found` states about `batch`, one each.

    The ends of a fact are entities of the answer. One that is not among them is brought along: as the person
    of that name who speaks in the batch, as what `known` says it is, else as something of kind `other`.

    Args:
        batch: What was read.
        found: What was found in it.
        known: Names and kinds of entities in the graph.
        half_life: Milliseconds in which an edge's weight halves.
    """
    told = [told_at(message) for message in batch.messages]
    named = _Named(batch, found.entities, known, max(told, default=0))
    nodes: dict[str, Node] = {}

    def note(node: Node) -> str:
        before = nodes.get(node.id)
        nodes[node.id] = node if before is None else replace(before, about=before.about or node.about)
        return node.id

    for node in named.declared:
        note(node)
    dropped = len(found.entities) - len(named.declared)
    evidence: dict[tuple[str, str, str], _Evidence] = {}
    stating: dict[str, set[int]] = {}
    for fact in found.facts:
        numbers = {number for number in fact.messages if 1 <= number <= len(batch.messages)}
        p, ends = predicate_of(fact.predicate), named.ends(fact, numbers)
        if ends is None or p is None or not numbers or not fact.confidence:
            dropped += 1
            continue
        s, o = map(note, ends)
        evidence.setdefault((s, p, o), _Evidence(batch, told)).add(fact, numbers)
        for end in (s, o):
            stating.setdefault(end, set()).update(numbers)
    for each, messages in stating.items():
        seen = max(told[number - 1] for number in messages)
        nodes[each] = replace(nodes[each], n=len(messages), seen=seen)
    edges = tuple(each.edge(*key, half_life) for key, each in evidence.items())
    return Learned(tuple(nodes.values()), edges, dropped)


class _Named:
    """Who and what is meant by the names in one answer.

    Attributes:
        declared: The entities of the answer that have a usable name, in order.
    """

    def __init__(
        self, batch: Batch, entities: Sequence[FoundEntity], known: Iterable[tuple[str, str]], latest: int
    ) -> None:
        self._authors = [_key(message.author) for message in batch.messages]
        self._names = _Names(batch, entities, known)
        self._latest = latest
        self._by_spelling: dict[str, list[Node]] = {}
        self._by_key: dict[str, list[Node]] = {}
        self.declared: list[Node] = []
        named = [(each, name) for each in entities if (name := self._names.of(each.name)) is not None]
        kinds = self._names.kinds([(name, each.kind) for each, name in named])
        for (entity, name), kind in zip(named, kinds, strict=True):
            spelt = _line(entity.name)
            if kind != "person" and self._names.speaker(name) == name and _key(spelt) == _key(name):
                name = spelt  # not as the person writes it who speaks under that name
            node = self._node(name, kind, entity.about)
            self.declared.append(node)
            self._by_spelling.setdefault(spelt, []).append(node)
            self._by_key.setdefault(_key(name), []).append(node)

    def ends(self, fact: FoundFact, numbers: Iterable[int]) -> tuple[Node, Node] | None:
        """Subject and object of a fact that these messages state; None if one has no name, or both are one.

        Who says something of a subject called as they are speaks of themselves: of Jordan's "I like tea"
        the subject is no country.
        """
        subject, object_ = self._meant(fact.subject), self._meant(fact.object)
        if not subject or not object_:
            return None
        s = subject[0]
        if any(self._authors[number - 1] == _key(s.name) for number in numbers):
            s = self._node(s.name, "person")
        o = next((each for each in object_ if each.id != s.id), None)
        return None if o is None else (s, o)

    def _meant(self, written: str) -> list[Node]:
        """The entities that may be meant, the likeliest first; none if it is no name."""
        name = self._names.of(written)
        if name is None:
            return []
        declared = self._by_spelling.get(_line(written)) or self._by_key.get(_key(name))
        return declared or [self._node(name, *self._names.kinds([(name, "other")]))]

    def _node(self, name: str, kind: str, about: str = "") -> Node:
        speaker = self._names.speaker(name) if kind == "person" else None
        return Node(kind, speaker or name, self._latest, _short(about), signed=speaker is not None)


class _Names:
    """One name and one kind for one thing: as the one who speaks, or what is known, is called and is."""

    def __init__(
        self, batch: Batch, entities: Iterable[FoundEntity], known: Iterable[tuple[str, str]]
    ) -> None:
        said = (*batch.context, *batch.messages)
        self._speakers = {_key(message.author): message.author for message in said}
        self._known: dict[str, str] = {}
        self._kinds: dict[str, set[str]] = {}
        for name, kind in known:
            self._known.setdefault(_key(name), name)
            self._kinds.setdefault(_key(name), set()).add(kind)
        # A person is not called Ada's; a shop may be.
        things = (name_of(each.name) for each in entities if each.kind != "person")
        self._whole = {_key(name) for name in things if name is not None}

    def of(self, written: str) -> str | None:
        """The name that is meant, as it is known, else tidied; None for what is none.

        A possessive is somebody's only if that somebody is known, and what is written is not.
        """
        tidied = name_of(written)
        tried = [_line(written), tidied]
        if tidied is not None and _key(tidied) not in self._whole and (owner := owner_of(written)):
            tried += [owner, name_of(owner)]
        for each in tried:
            key = _key(each or "")
            if key in self._speakers:
                return self._speakers[key]
            if each is not None and key in self._known and not is_pronoun(each):
                return self._known[key]
        return tidied

    def speaker(self, name: str) -> str | None:
        """The name as the one writes it who speaks under it; None if nobody does."""
        return self._speakers.get(_key(name))

    def kinds(self, declared: Sequence[tuple[str, str]]) -> list[str]:
        """What each of the names is that an answer declares, given what it says it is.

        What is known goes before what is said, and what was said first before the next, where both are
        `SOFT`. Other kinds stay as they are said: Java is a place too. `other` says nothing.
        """
        kinds = [(_key(name), self._kind(name, said)) for name, said in declared]
        told: dict[str, list[str]] = {}
        for key, kind in kinds:
            before = told.setdefault(key, [])
            if kind not in ("other", *before) and len(self._kinds.get(key, ())) < 2:
                before.append(kind)
        return [_settled(kind, told[key]) for key, kind in kinds]

    def _kind(self, name: str, said: str) -> str:
        if said in ("person", "other") and self.speaker(name) is not None:
            return "person"
        known = self._kinds.get(_key(name), set())
        return _settled(said, list(known)) if len(known) == 1 else said


def _settled(said: str, others: Sequence[str]) -> str:
    """The kind of something that was called so, and by others, earlier or better, as in `others`."""
    soft = [kind for kind in others if kind in SOFT]
    if said in SOFT and soft:
        return soft[0]
    return others[0] if said == "other" and len(others) == 1 else said


def _key(name: str) -> str:
    """What names are compared by: as entities are, and whatever apostrophe is written."""
    return key_of(name).replace("’", "'")


def _line(text: str) -> str:
    return " ".join(text.replace("\x00", " ").split())


class _Evidence:
    """What messages of a batch say for one relation. A message counts once, however often it is named."""

    def __init__(self, batch: Batch, at: Sequence[int]) -> None:
        self._batch = batch
        self._at = at
        self._sure: dict[int, float] = {}
        self._told = -1
        self._fact = ""
        self._since: int | None = None

    def add(self, fact: FoundFact, numbers: Iterable[int]) -> None:
        for number in numbers:
            self._sure[number] = max(fact.confidence, self._sure.get(number, 0.0))
        told = max(self._at[number - 1] for number in numbers)
        if (sentence := _short(fact.fact)) and told >= self._told:
            self._told, self._fact = told, sentence
        if self._since is None:
            self._since = _day(fact.since)

    def edge(self, s: str, p: str, o: str, half_life: float) -> Edge:
        numbers = sorted(self._sure)
        weights = [Weight(STRENGTH * self._sure[number], self._at[number - 1]) for number in numbers]
        weight = reduce(lambda one, other: one.joined(other, half_life), weights)
        return Edge(
            s,
            p,
            o,
            w=weight.w,
            t=int(weight.t),
            n=len(numbers),
            conf=max(self._sure.values()),
            fact=self._fact,
            valid_from=self._since,
            src=tuple(self._batch.sources[number - 1] for number in numbers),
        )


def _short(text: str) -> str:
    line = _line(text)
    return line if len(line) <= _LONGEST_TEXT else f"{line[: _LONGEST_TEXT - 1]}…"


def _day(written: str | None) -> int | None:
    """The beginning of a day in ms since 1970; None for what is no day."""
    try:
        day = date.fromisoformat((written or "").strip()[:10])
        return round(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
    except ValueError:
        return None
