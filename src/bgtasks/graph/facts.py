"""What is read out of the graph: entities, and the facts between them with their weight at an instant."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bgtasks.contracts import KnowledgeGraphLike
from bgtasks.graph.weight import HALF_LIFE

__all__ = ["ALIVE", "FACT", "WEIGHT", "Entity", "Fact", "fact", "milliseconds", "strongest"]


@dataclass(frozen=True, slots=True)
class Entity:
    """Something that was spoken of.

    Attributes:
        id: Kind and normalised name at birth; it stays when the name changes.
        summary: What is known of it in a line; may be empty.
    """

    id: str
    name: str
    kind: str
    summary: str = ""


@dataclass(frozen=True, slots=True)
class Fact:
    """One relation between two entities.

    Attributes:
        sentence: The relation as a sentence; may be empty.
        weight: From 0 to 1, faded to the instant that was asked for.
        confidence: How sure its reader was, from 0 to 1.
        evidence: How many messages say so.
        seen: When the latest of them was written, in ms since 1970.
        since: Since when it holds, in ms since 1970, if that was said.
        sources: The latest messages it comes from, as channel/id, the latest last.
    """

    subject: Entity
    predicate: str
    object: Entity
    sentence: str = ""
    weight: float = 1.0
    confidence: float = 1.0
    evidence: int = 1
    seen: int = 0
    since: int | None = None
    sources: tuple[str, ...] = ()


# An instant ahead of now does not raise the weight, as in `Weight.at`. No comparison with `dies_at` alone:
# the server would then begin at its index, with every edge of the graph, and not at the entity.
WEIGHT = "CASE WHEN r.t > $now THEN r.w ELSE r.w * 2.0 ^ ((r.t - $now) / $half_life) END"
ALIVE = "coalesce(r.dies_at, $now + 1) > $now"
FACT = """
s.id, s.name, s.kind, s.sum, r.p, o.id, o.name, o.kind, o.sum,
r.fact, w, r.conf, r.n, r.t, r.valid_from, r.src
"""

_STRONGEST = f"""
MATCH (s:Entity)-[r:REL]->(o:Entity) WHERE {ALIVE} AND NOT r.p IN $without
WITH s, r, o, {WEIGHT} AS w ORDER BY w DESC, s.id, r.p, o.id LIMIT $limit
RETURN {FACT}
"""


async def strongest(
    graph: KnowledgeGraphLike,
    *,
    now: datetime,
    limit: int = 60,
    without: Collection[str] = (),
    half_life: float = HALF_LIFE,
) -> list[Fact]:
    """The facts of the whole graph that weigh most at `now`, the heaviest first.

    Looks at every fact: about a second of a reader's time per million.

    Args:
        without: Predicates that are left out.
        half_life: Milliseconds in which a weight halves.

    Raises:
        ResourceUnavailable: The graph does not answer.
    """
    params = {
        "now": milliseconds(now),
        "limit": max(0, limit),
        "without": list(without),
        "half_life": float(half_life),
    }
    return [fact(row) for row in await graph.query(_STRONGEST, params)]


def milliseconds(instant: datetime) -> float:
    """The instant in milliseconds since 1970."""
    return instant.timestamp() * 1000.0


def fact(row: Sequence[Any]) -> Fact:
    """A row of the columns `FACT`."""
    sid, sname, skind, ssum, p, oid, oname, okind, osum, said, w, conf, n, t, since, src = row
    return Fact(
        subject=Entity(str(sid), str(sname or sid), str(skind or ""), str(ssum or "")),
        predicate=str(p),
        object=Entity(str(oid), str(oname or oid), str(okind or ""), str(osum or "")),
        sentence=str(said or ""),
        weight=float(w or 0.0),
        confidence=1.0 if conf is None else float(conf),
        evidence=int(n or 0),
        seen=int(t or 0),
        since=None if since is None else int(since),
        sources=tuple(str(each) for each in src or ()),
    )
