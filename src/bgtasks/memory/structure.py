"""What a conversation shows without any model: who speaks where, and who mentions whom.

Each message is evidence: its author speaks in its channel, and mentions the people it names. People are
known as authors of the channel, or by an @handle. The evidence of a batch is folded into one weight per
edge and applied in one atomic query together with the reader's cursor, by compare-and-set: a batch is
applied once, however often it is tried and by however many processes.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bgtasks.contracts import KnowledgeGraphLike
from bgtasks.errors import ResourceUnavailable
from bgtasks.graph.schema import ensure_schema, entity_id
from bgtasks.memory.decay import HALF_LIFE, THRESHOLD, Weight
from bgtasks.memory.messages import Message, MessageCache

__all__ = ["Woven", "weave"]

WINDOW = 500
"""Messages per query: some tens of milliseconds of the graph server's time."""

SPEAKS_IN, MENTIONS = "speaks_in", "mentions"
_STRENGTH = {SPEAKS_IN: 0.1, MENTIONS: 0.2}
_HANDLE = re.compile(r"(?<![\w@])@(\w[\w.-]*\w|\w)")

# The cursor is handed on through every WITH: an aggregate without it would give a row, and so go on, even
# where the compare-and-set left none. Neither list is ever empty (every message has an author who speaks
# in its channel): UNWIND [] would drop the row and with it the rest of the query.
_APPLY = """
MERGE (c:Cursor {id: $cursor}) ON CREATE SET c.pos = ''
WITH c WHERE c.pos = $expected SET c.pos = $position
WITH c UNWIND $nodes AS x
MERGE (e:Entity {id: x.id})
  ON CREATE SET e.name = x.name, e.kind = x.kind, e.created = x.seen, e.seen = x.seen
SET e.seen = CASE WHEN x.seen > e.seen THEN x.seen ELSE e.seen END,
    e.name = CASE WHEN x.signed THEN x.name ELSE e.name END
WITH c, count(*) AS nodes UNWIND $edges AS y
MATCH (s:Entity {id: y.s}), (o:Entity {id: y.o})
MERGE (s)-[r:REL {p: y.p}]->(o) ON CREATE SET r.w = 0.0, r.t = y.t, r.n = 0
WITH c, r, y, CASE WHEN y.t > r.t THEN y.t ELSE r.t END AS t
WITH c, r, y, t,
  1 - (1 - r.w * 2.0 ^ ((r.t - t) / $half_life)) * (1 - y.w * 2.0 ^ ((y.t - t) / $half_life)) AS w
SET r.w = w, r.t = t, r.n = r.n + y.n, r.dies_at = t + $half_life * log(w / $threshold) / log(2)
RETURN c.pos, count(r)
"""


_SPEAKERS = "MATCH (s:Entity)-[:REL {p: $p}]->(c:Entity {id: $channel}) RETURN s.name"


@dataclass(frozen=True, slots=True)
class Woven:
    """What one call of `weave` applied: messages, and the entities and edges they touched."""

    messages: int = 0
    entities: int = 0
    edges: int = 0

    def __add__(self, other: Woven) -> Woven:
        return Woven(self.messages + other.messages, self.entities + other.entities, self.edges + other.edges)


async def weave(
    cache: MessageCache, graph: KnowledgeGraphLike, channel: str, *, half_life: float = HALF_LIFE
) -> Woven:
    """Bring the structural graph of `channel` up to date with its messages.

    Reads on from the graph's own cursor, so a crash anywhere is mended by the next call.

    Args:
        cache: Where the messages are.
        graph: Where the edges go.
        channel: The channel to read.
        half_life: Milliseconds in which an edge's weight halves.

    Raises:
        ResourceUnavailable: Redis or the graph does not answer; whole windows may have been applied.
    """
    await ensure_schema(graph)
    cursor_id = f"structure:{channel}"
    total = Woven()
    authors = await _speakers(graph, channel)
    position = await _position(graph, cursor_id)
    while window := await cache.since(channel, _entry(position), WINDOW):
        authors |= {message.author for message in window}
        # In a thread: looking for thousands of names in hundreds of messages takes a while.
        nodes, edges = await asyncio.to_thread(_evidence, channel, window, authors, half_life)
        reached = _padded(window[-1].cursor)
        rows = await graph.query(
            _APPLY,
            {
                "cursor": cursor_id,
                "expected": position,
                "position": reached,
                "nodes": nodes,
                "edges": edges,
                "half_life": half_life,
                "threshold": THRESHOLD,
            },
        )
        if rows:
            position = reached
            total += Woven(len(window), len(nodes), len(edges))
            continue
        expected, position = position, await _position(graph, cursor_id)
        if position == expected:
            raise ResourceUnavailable("kg_manager", "a window of messages was not applied")
    return total


async def _speakers(graph: KnowledgeGraphLike, channel: str) -> set[str]:
    """Who is known to speak in the channel, from earlier windows."""
    rows = await graph.query(_SPEAKERS, {"channel": entity_id("channel", channel), "p": SPEAKS_IN})
    return {str(name) for (name,) in rows}


async def _position(graph: KnowledgeGraphLike, cursor: str) -> str:
    rows = await graph.query("MATCH (c:Cursor {id: $cursor}) RETURN c.pos", {"cursor": cursor})
    return str(rows[0][0]) if rows else ""


def _entry(position: str) -> str | None:
    """The stream id that a padded cursor stands for."""
    ms, _, sequence = position.partition("-")
    return f"{int(ms)}-{int(sequence)}" if ms else None


def _padded(cursor: str | None) -> str:
    """A stream id as text that sorts as the id does: the graph compares strings."""
    ms, _, sequence = (cursor or "0-0").partition("-")
    return f"{int(ms):020d}-{int(sequence or 0):010d}"


def _evidence(
    channel: str, messages: Sequence[Message], authors: set[str], half_life: float
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The entities and edges that `messages` show, one entry each, as query parameters."""
    place = entity_id("channel", channel)
    nodes: dict[str, dict[str, Any]] = {}
    weights: dict[tuple[str, str, str], tuple[Weight, int]] = {}
    known = {author.casefold(): author for author in sorted(authors)}
    names = _name_pattern(known.values())

    def see(kind: str, name: str, ms: int, *, signed: bool = False) -> str:
        """Note the entity; a name that its bearer signs with replaces one that others wrote."""
        identity = entity_id(kind, name)
        fresh = {"id": identity, "name": name, "kind": kind, "seen": ms, "signed": False}
        node = nodes.setdefault(identity, fresh)
        node["seen"] = max(node["seen"], ms)
        if signed:
            node["name"], node["signed"] = name, True
        return identity

    for message in messages:
        see("channel", channel, message.ms)
        speaker = see("person", message.author, message.ms, signed=True)
        links = [(speaker, SPEAKS_IN, place)]
        for name in sorted(_mentioned(message, names, known)):
            links.append((speaker, MENTIONS, see("person", name, message.ms)))
        for link in links:
            strength = Weight(_STRENGTH[link[1]], message.ms)
            weight, count = weights.get(link, (Weight(0.0, message.ms), 0))
            weights[link] = (weight.joined(strength, half_life), count + 1)
    edges = [
        {"s": s, "p": p, "o": o, "w": weight.w, "t": weight.t, "n": count}
        for (s, p, o), (weight, count) in weights.items()
    ]
    return list(nodes.values()), edges


def _mentioned(message: Message, names: re.Pattern[str] | None, known: Mapping[str, str]) -> set[str]:
    """Whom the message names, each once; `known` is the authors by their names in lower case."""
    written = [*_HANDLE.findall(message.text), *(names.findall(message.text) if names else ())]
    by_key = {name.casefold(): known.get(name.casefold(), name) for name in written}
    by_key.pop(message.author.casefold(), None)
    return set(by_key.values())


def _name_pattern(authors: Collection[str]) -> re.Pattern[str] | None:
    """Matches any author's name as whole words, the longest first."""
    if not authors:
        return None
    longest_first = sorted(authors, key=lambda name: (-len(name), name))
    alternatives = "|".join(re.escape(name) for name in longest_first)
    # Not as part of a word, of a handle (matched by itself) or of an e-mail address.
    return re.compile(rf"(?<![\w@])(?<!\w\.)(?:{alternatives})(?![\w@]|[.-]\w)", re.IGNORECASE)
