"""People, places, messages and facts that nobody made up, the same in every run."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from bgtasks.graph.apply import Edge, Node
from bgtasks.graph.weight import HALF_LIFE
from bgtasks.memory.messages import Message

__all__ = ["DIMENSION", "NOW", "World", "messages", "vector"]

NOW = datetime(2026, 9, 1, tzinfo=UTC)
DIMENSION = 384
"""Numbers of a vector: those of a small embedding model."""

_KINDS = ("person", "place", "organisation", "work", "activity", "topic")
_PREDICATES = (
    "knows", "lives_in", "works_at", "likes", "went_to", "plays", "reads", "member_of", "plans", "owns",
)  # fmt: skip
_SYLLABLES = (
    "ba",
    "den",
    "fi",
    "go",
    "hal",
    "ju",
    "ka",
    "lor",
    "mi",
    "nes",
    "or",
    "pe",
    "ris",
    "su",
    "ta",
    "vel",
)
_RECENT = HALF_LIFE * 3
"""Facts are as old as that, at most, in milliseconds: the oldest have faded to an eighth."""


def _words(random_: random.Random, count: int) -> list[str]:
    return ["".join(random_.choices(_SYLLABLES, k=random_.randint(2, 4))) for _ in range(count)]


class World:
    """So many entities, of which the first are spoken of most, and facts between them.

    Args:
        entities: How many there are.
        seed: Another seed is another world.
    """

    def __init__(self, entities: int, seed: int = 1) -> None:
        self._random = random.Random(seed)
        self._vocabulary = _words(self._random, 4_000)
        self._known: set[tuple[int, int, int]] = set()
        self._now = round(NOW.timestamp() * 1000)
        first, last = _words(self._random, 600), _words(self._random, 900)
        self.names = [
            f"{first[number % 600].title()} {last[number * 7 % 900].title()} {number // 600}".removesuffix(
                " 0"
            )
            for number in range(entities)
        ]

    def said(self, count: int) -> str:
        """So many words; some of them come often, most seldom."""
        own = self._random
        return " ".join(
            self._vocabulary[int(len(self._vocabulary) * own.random() ** 2)] for _ in range(count)
        )

    def kind(self, number: int) -> str:
        """What the entity of that number is."""
        return _KINDS[number % len(_KINDS)]

    def node(self, number: int) -> Node:
        """The entity of that number, described in a few words."""
        return Node(self.kind(number), self.names[number], self._now, self.said(8), n=1)

    def named(self, number: int) -> Node:
        """The entity of that number, of which nothing new is said."""
        return Node(self.kind(number), self.names[number], self._now, n=1)

    def some(self, count: int) -> list[int]:
        """Numbers of so many different entities; half of the mentions fall on a quarter of them."""
        chosen: dict[int, None] = {}
        while len(chosen) < count:
            chosen[int(len(self.names) * self._random.random() ** 2)] = None
        return list(chosen)

    def batch(self, nodes: int, edges: int, *, described: bool = False) -> tuple[list[Node], list[Edge]]:
        """Facts that were not stated before, among so many entities."""
        numbers = self.some(nodes)
        make = self.node if described else self.named
        ids = [make(number) for number in numbers]
        found: list[Edge] = []
        while len(found) < edges:
            s, o = self._random.sample(range(nodes), 2)
            p = self._random.randrange(len(_PREDICATES))
            if (key := (numbers[s], p, numbers[o])) not in self._known:
                self._known.add(key)
                found.append(self._edge(ids[s], p, ids[o]))
        return ids, found

    def _edge(self, s: Node, p: int, o: Node) -> Edge:
        said = self._random.randint(1, 2)
        source = self._random.randrange(1_000_000)
        return Edge(
            s.id,
            _PREDICATES[p],
            o.id,
            w=0.5 if said == 1 else 0.75,
            t=self._now - int(_RECENT * self._random.random()),
            n=said,
            conf=0.9,
            fact=f"{s.name} {_PREDICATES[p].replace('_', ' ')} {o.name}.",
            src=tuple(f"channel-{source % 500}/m{source + each}" for each in range(said)),
        )


def messages(channel: str, first: int, count: int, *, each: int = 14) -> list[Message]:
    """Messages of a channel, from a number on: about ninety characters each, by one of nine people."""
    own = random.Random(f"{channel}/{first}")
    vocabulary = _VOCABULARY
    people = [f"Person {number}" for number in range(9)]
    return [
        Message(
            channel=channel,
            id=f"m{number}",
            author=people[own.randrange(9)],
            ts=NOW + timedelta(seconds=number),
            text=" ".join(own.choices(vocabulary, k=each)),
        )
        for number in range(first, first + count)
    ]


_VOCABULARY: Sequence[str] = _words(random.Random(2), 2_000)


def vector(number: int) -> list[float]:
    """A direction: that of one of two hundred subjects, and of its own."""
    subject, own = random.Random(f"s{number % 200}"), random.Random(number)
    return [round(subject.gauss(0, 1) + own.gauss(0, 0.7), 4) for _ in range(DIMENSION)]


def spread(numbers: int, over: int) -> Iterator[int]:
    """So many numbers below `over`, evenly apart."""
    return (number * over // numbers for number in range(numbers))
