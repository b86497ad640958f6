"""What was learned goes into the graph in one atomic query, together with how far its reader has come.

The cursor is compared and set in the query that writes: whoever finds it elsewhere than expected writes
nothing. A batch is therefore applied once, however often it is tried and by however many processes. Names
are resolved in the same query, by aliases that say which entity they stand for by now: nothing is decided on
what was read before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bgtasks.contracts import KnowledgeGraphLike
from bgtasks.errors import InvalidMessage
from bgtasks.graph.clean import clean, clean_id
from bgtasks.graph.schema import UNEMBEDDED, entity_id, key_of
from bgtasks.graph.weight import HALF_LIFE, THRESHOLD

__all__ = ["LARGEST", "SOURCES", "Edge", "Node", "apply", "check", "position_of", "write"]

LARGEST = 500
"""Nodes and edges in one query at most: the server answers nobody else for some fifty milliseconds."""

SOURCES = 8
"""Messages that an edge remembers as those it comes from: the latest."""


@dataclass(frozen=True, slots=True)
class Node:
    """An entity, as some messages show it.

    Attributes:
        seen: When the latest of them was written, in ms since 1970.
        about: What they say of it, in a line; empty leaves what is known.
        n: How many of them there are.
        signed: The name is written as its bearer writes it, and replaces one that others wrote.
    """

    kind: str
    name: str
    seen: int
    about: str = ""
    n: int = 0
    signed: bool = False

    @property
    def id(self) -> str:
        """The alias by which it is found, and its id if nobody had that before."""
        return entity_id(self.kind, self.name)


@dataclass(frozen=True, slots=True)
class Edge:
    """A relation between two entities, as some messages show it; there is one of `p` between two entities.

    Attributes:
        s: The id of the node it starts at, which is among the nodes of the same call.
        o: The id of the one it ends at, likewise; never the same.
        w: How strong the evidence is, from 0 to 1, at the instant `t` in ms since 1970.
        n: How many messages there are.
        conf: How sure the reader is, from 0 to 1.
        fact: The relation as a sentence.
        valid_from: Since when it holds, in ms since 1970.
        src: The messages, as `channel/id`, the latest last.
    """

    s: str
    p: str
    o: str
    w: float
    t: int
    n: int = 1
    conf: float = 1.0
    fact: str = ""
    valid_from: int | None = None
    src: tuple[str, ...] = ()


# The cursor is handed on through every WITH: an aggregate without it would give a row, and so go on, even
# where the compare-and-set left none.
_CURSOR = """
MERGE (c:Cursor {id: $cursor}) ON CREATE SET c.pos = ''
WITH c WHERE c.pos = $expected SET c.pos = $position
"""
# Two names of one batch may stand for one entity by now. Their rows are gathered, the earliest first, before
# anything is folded: what WITH works out for a row does not see what the query sets for the row before it.
# A name or a description that has changed is embedded anew: its `vec` says so.
_NODES = """
WITH c UNWIND $nodes AS x
MERGE (a:Alias {id: x.id}) ON CREATE SET a.of = x.id
WITH c, a.of AS id, x ORDER BY x.seen
WITH c, id, collect(x) AS xs
MERGE (e:Entity {id: id})
  ON CREATE SET e.name = xs[0].name, e.key = xs[0].key, e.kind = xs[0].kind, e.created = xs[0].seen,
                e.seen = xs[0].seen, e.n = 0, e.sum = '', e.vec = $unembedded
WITH c, e, xs, last(xs).seen AS seen,
  coalesce(last([x IN xs WHERE x.signed | x.name]), e.name) AS name,
  coalesce(last([x IN xs WHERE x.about <> '' | x.about]), e.sum, '') AS about
SET e.vec = CASE WHEN name = e.name AND about = e.sum THEN coalesce(e.vec, $unembedded) ELSE $unembedded END,
    e.name = name, e.sum = about, e.n = reduce(n = coalesce(e.n, 0), x IN xs | n + x.n),
    e.seen = CASE WHEN seen > e.seen THEN seen ELSE e.seen END
"""
# The ids are taken out of the aliases first: matched on a property of another match, an entity is not looked
# up in its index but in a product of all entities (measured, FalkorDB 4.22: minutes instead of 50 ms). In a
# subquery that counts, edges give one row even if none of them is left: a row proves what was written.
_EDGES = """
WITH c, count(*) AS nodes CALL {
  UNWIND $edges AS y
  MATCH (f:Alias {id: y.s}) MATCH (g:Alias {id: y.o})
  WITH f.of AS sid, g.of AS oid, y ORDER BY y.t
  WITH sid, oid, y.p AS p, collect(y) AS ys WHERE sid <> oid
  MATCH (s:Entity {id: sid}) MATCH (o:Entity {id: oid})
  MERGE (s)-[r:REL {p: p}]->(o) ON CREATE SET r.w = 0.0, r.t = ys[0].t, r.n = 0, r.conf = 0.0
  WITH r, ys, CASE WHEN last(ys).t > r.t THEN last(ys).t ELSE r.t END AS t
  WITH r, ys, t,
    1 - reduce(lack = 1 - r.w * 2.0 ^ ((r.t - t) / $half_life),
               y IN ys | lack * (1 - y.w * 2.0 ^ ((y.t - t) / $half_life))) AS w,
    reduce(src = coalesce(r.src, []), y IN ys | [m IN src WHERE NOT m IN y.src] + y.src) AS src,
    last([y IN ys WHERE y.fact <> '' AND (r.fact IS NULL OR y.t >= r.t) | y.fact]) AS fact,
    head([y IN ys WHERE y.valid_from IS NOT NULL | y.valid_from]) AS valid_from
  SET r.w = w, r.t = t,
      r.dies_at = CASE WHEN w > 0 THEN t + $half_life * log(w / $threshold) / log(2) ELSE toFloat(t) END,
      r.n = reduce(n = r.n, y IN ys | n + y.n),
      r.conf = reduce(c = coalesce(r.conf, 0.0), y IN ys | CASE WHEN y.conf > c THEN y.conf ELSE c END),
      r.fact = coalesce(fact, r.fact),
      r.valid_from = coalesce(r.valid_from, valid_from),
      r.src = src[CASE WHEN size(src) > $sources THEN size(src) - $sources ELSE 0 END..]
  RETURN count(r) AS edges
}
"""
_POSITION = "MATCH (c:Cursor {id: $cursor}) RETURN c.pos"


async def position_of(graph: KnowledgeGraphLike, cursor: str) -> str:
    """Where a cursor stands: a padded stream id, or empty at the beginning."""
    rows = await graph.query(_POSITION, {"cursor": clean_id(cursor)})
    return str(rows[0][0]) if rows else ""


async def apply(
    graph: KnowledgeGraphLike,
    cursor: str,
    expected: str,
    position: str,
    nodes: Sequence[Node],
    edges: Sequence[Edge],
    *,
    half_life: float = HALF_LIFE,
) -> bool:
    """Write nodes and edges and move `cursor` from `expected` to `position`, all in one query or not at all.

    Returns:
        Whether it was written. If not, the cursor stood elsewhere than at `expected`.

    Raises:
        InvalidMessage: As for `check`, or there are more than `LARGEST` of both.
        ResourceUnavailable: The graph does not answer; it may have been written. Ask again with the same
            arguments: it is written once.
    """
    parts = _parts(nodes, edges)
    params = {
        **_params(nodes, edges, half_life),
        "cursor": clean_id(cursor),
        "expected": clean(expected),
        "position": clean(position),
    }
    rows = await graph.query(_CURSOR + parts + "WITH c, count(*) AS rows RETURN c.pos", params)
    return bool(rows)


async def write(
    graph: KnowledgeGraphLike,
    nodes: Sequence[Node],
    edges: Sequence[Edge],
    *,
    half_life: float = HALF_LIFE,
) -> None:
    """Write nodes and edges in one query, without a cursor: written again, the evidence counts again.

    Raises:
        InvalidMessage: As for `check`, or there are more than `LARGEST` of both.
        ResourceUnavailable: The graph does not answer; it may have been written.
    """
    if nodes or edges:
        text = "WITH 1 AS c" + _parts(nodes, edges) + "RETURN count(*)"
        await graph.query(text, _params(nodes, edges, half_life))


def check(nodes: Sequence[Node], edges: Sequence[Edge]) -> None:
    """Refuse what cannot be written, however many there are.

    Raises:
        InvalidMessage: An edge ends outside `nodes`, its weight or confidence is not from 0 to 1, or a number
            is none or needs more than 64 bits.
    """
    known = set[str]()
    for node in nodes:
        clean((node.seen, node.n))
        known.add(node.id)
    for edge in edges:
        if edge.s not in known or edge.o not in known:
            raise InvalidMessage(f"{edge.s} {edge.p} {edge.o}: both entities belong into the same write")
        if not (0 <= edge.w <= 1 and 0 <= edge.conf <= 1):
            raise InvalidMessage(f"{edge.s} {edge.p} {edge.o}: weight and confidence are from 0 to 1")
        clean((edge.t, edge.n, edge.valid_from))


def _parts(nodes: Sequence[Node], edges: Sequence[Edge]) -> str:
    """The parts that have something to do: UNWIND of an empty list would end the query."""
    if len(nodes) + len(edges) > LARGEST:
        raise InvalidMessage(f"{len(nodes) + len(edges)} nodes and edges in one write: {LARGEST} at most")
    check(nodes, edges)
    return (_NODES if nodes else "") + (_EDGES if edges else "")


def _params(nodes: Sequence[Node], edges: Sequence[Edge], half_life: float) -> Mapping[str, Any]:
    params = {
        "nodes": [
            {
                "id": each.id,
                "key": key_of(each.name),
                "name": each.name,
                "kind": each.kind,
                "seen": each.seen,
                "about": each.about,
                "n": each.n,
                "signed": each.signed,
            }
            for each in nodes
        ],
        "edges": [
            {
                "s": each.s,
                "p": each.p,
                "o": each.o,
                "w": each.w,
                "t": each.t,
                "n": each.n,
                "conf": each.conf,
                "fact": each.fact,
                "valid_from": each.valid_from,
                "src": _latest(each.src),
            }
            for each in edges
        ],
        "half_life": float(half_life),  # by an integer, the server would divide as integers
        "threshold": THRESHOLD,
        "unembedded": UNEMBEDDED,
        "sources": SOURCES,
    }
    # Here, since a graph of a host's own passes on what it is given.
    return {name: clean(value) for name, value in params.items()}


def _latest(sources: Sequence[str]) -> list[str]:
    """The last few of them, each once."""
    return list(dict.fromkeys(reversed(sources)))[:SOURCES][::-1]
