"""What a conversation shows without any model: who speaks where, and who mentions whom.

Each message is evidence: its author speaks in its channel, and mentions the people it names. People are
known as authors of the channel, or by an @handle. The evidence of a batch is folded into one weight per
edge and applied together with the reader's cursor, once (see `bgtasks.graph.apply`).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from bgtasks.contracts import KnowledgeGraphLike
from bgtasks.errors import ResourceUnavailable
from bgtasks.graph.apply import LARGEST, Edge, Node, apply, position_of
from bgtasks.graph.schema import ensure_schema, entity_id
from bgtasks.graph.weight import HALF_LIFE, Weight
from bgtasks.memory.cursors import cursor_key, padded, unpadded
from bgtasks.memory.messages import Message, MessageCache

__all__ = ["Woven", "told_at", "weave"]

READER = "structure"
"""What the cursors of this reader are called."""

WINDOW = 500
"""Entries per query: some tens of milliseconds of the graph server's time."""

MENTIONED = 100
"""People that one message is taken to mention, at most."""

LONGEST = 8_000
"""Characters of one message in which names are looked for."""

SPEAKS_IN, MENTIONS = "speaks_in", "mentions"
_STRENGTH = {SPEAKS_IN: 0.1, MENTIONS: 0.2}
_HANDLE = re.compile(r"(?<![\w@])@(\w[\w.-]*\w|\w)")

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
    cursor = f"{READER}:{channel}"
    total = Woven()
    authors = await _speakers(graph, channel)
    position = await position_of(graph, cursor)
    while window := await cache.since(channel, unpadded(position), WINDOW):
        while True:
            said = [message for message in window if _is_news(message, position)]
            speaking = authors | {message.author for message in said}
            # In a thread: looking for thousands of names in hundreds of messages takes a while.
            nodes, edges = await asyncio.to_thread(_evidence, channel, said, speaking, half_life)
            if len(nodes) + len(edges) <= LARGEST:
                break
            window = window[: len(window) // 2]
        authors = speaking
        last = window[-1].cursor
        assert last is not None, "what was read from the cache has its place there"
        if await apply(graph, cursor, position, padded(last), nodes, edges, half_life=half_life):
            position = padded(last)
            total += Woven(len(said), len(nodes), len(edges))
            await cache.report(channel, READER, last)
            continue
        expected, position = position, await position_of(graph, cursor)
        if position == expected:
            raise ResourceUnavailable("kg_manager", "a window of messages was not applied")
    return total


def told_at(message: Message) -> int:
    """When a message counts as said, in ms since 1970: when it says so, but no later than it came.

    A wrong clock may say any year: evidence of a day to come would keep its edge from fading until then.
    """
    if message.cursor is None:
        return message.ms
    return min(message.ms, cursor_key(message.cursor)[0])


def _is_news(message: Message, position: str) -> bool:
    """Whether it is said, and was not counted before: what is edited or put again keeps its first place.

    One that was edited before any window came to it, and that the window of its first place is past, is taken
    for counted: of an unread backlog longer than a window, an edit may cost the message its count.
    """
    if message.op == "del":
        return False
    return message.op == "new" or cursor_key(message.first) > cursor_key(unpadded(position))


async def _speakers(graph: KnowledgeGraphLike, channel: str) -> set[str]:
    """Who is known to speak in the channel, from earlier windows."""
    rows = await graph.query(_SPEAKERS, {"channel": entity_id("channel", channel), "p": SPEAKS_IN})
    return {str(name) for (name,) in rows}


def _evidence(
    channel: str, messages: Sequence[Message], authors: set[str], half_life: float
) -> tuple[list[Node], list[Edge]]:
    """The entities and edges that `messages` show, one each."""
    place = entity_id("channel", channel)
    nodes: dict[str, Node] = {}
    weights: dict[tuple[str, str, str], tuple[Weight, int]] = {}
    known = {author.casefold(): author for author in sorted(authors)}
    names = _name_pattern(known.values())

    def see(kind: str, name: str, ms: int, *, signed: bool = False) -> str:
        """Note the entity; a name that its bearer signs with replaces one that others wrote."""
        fresh = Node(kind, name, ms, signed=signed)
        node = nodes.get(fresh.id, fresh)
        kept = fresh if signed else node
        nodes[fresh.id] = replace(kept, seen=max(node.seen, ms), signed=node.signed or signed)
        return fresh.id

    for message in messages:
        told = told_at(message)
        see("channel", channel, told)
        speaker = see("person", message.author, told, signed=True)
        links = [(speaker, SPEAKS_IN, place)]
        for name in sorted(_mentioned(message, names, known)):
            links.append((speaker, MENTIONS, see("person", name, told)))
        for link in links:
            strength = Weight(_STRENGTH[link[1]], told)
            weight, count = weights.get(link, (Weight(0.0, told), 0))
            weights[link] = (weight.joined(strength, half_life), count + 1)
    edges = [
        Edge(s, p, o, weight.w, int(weight.t), count)
        for (s, p, o), (weight, count) in weights.items()
        if s != o
    ]
    return list(nodes.values()), edges


def _mentioned(message: Message, names: re.Pattern[str] | None, known: Mapping[str, str]) -> set[str]:
    """Whom the message names, each once; `known` is the authors by their names in lower case."""
    text = message.text[:LONGEST]
    written = [*_HANDLE.findall(text), *(names.findall(text) if names else ())]
    by_key = {name.casefold(): known.get(name.casefold(), name) for name in written}
    by_key.pop(message.author.casefold(), None)
    return set(sorted(by_key.values())[:MENTIONED])


def _name_pattern(authors: Collection[str]) -> re.Pattern[str] | None:
    """Matches any author's name as whole words, the longest first."""
    if not authors:
        return None
    longest_first = sorted(authors, key=lambda name: (-len(name), name))
    alternatives = "|".join(re.escape(name) for name in longest_first)
    # Not as part of a word, of a handle (matched by itself) or of an e-mail address.
    return re.compile(rf"(?<![\w@])(?<!\w\.)(?:{alternatives})(?![\w@]|[.-]\w)", re.IGNORECASE)
