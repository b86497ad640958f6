"""How much there is in the graph."""

from __future__ import annotations

from dataclasses import dataclass

from bgtasks.contracts import KnowledgeGraphLike

__all__ = ["Stats", "stats"]

_KINDS = "MATCH (e:Entity) RETURN coalesce(e.kind, ''), count(e)"
_PREDICATES = "MATCH ()-[r:REL]->() RETURN coalesce(r.p, ''), count(r)"
_VERSION = "MATCH (s:Schema {id: 'schema'}) RETURN coalesce(s.version, 0)"


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts, each of its own instant where others write meanwhile.

    Attributes:
        vectors: Of entities and of messages.
        by_kind: Entities, the most frequent kind first; likewise `by_predicate` for facts.
        schema_version: 0 for a graph that `ensure_schema` has not seen yet.
    """

    entities: int
    facts: int
    aliases: int
    vectors: int
    cursors: int
    by_kind: dict[str, int]
    by_predicate: dict[str, int]
    schema_version: int


async def stats(graph: KnowledgeGraphLike) -> Stats:
    """Count what is there; looks at every entity and fact, about a second per million.

    Raises:
        ResourceUnavailable: The graph does not answer.
    """
    by_kind = await _counted(graph, _KINDS)
    by_predicate = await _counted(graph, _PREDICATES)
    version = await graph.query(_VERSION)
    return Stats(
        entities=sum(by_kind.values()),
        facts=sum(by_predicate.values()),
        aliases=await _count(graph, "Alias"),
        vectors=await _count(graph, "Vec") + await _count(graph, "MessageVec"),
        cursors=await _count(graph, "Cursor"),
        by_kind=by_kind,
        by_predicate=by_predicate,
        schema_version=int(version[0][0]) if version else 0,
    )


async def _counted(graph: KnowledgeGraphLike, cypher: str) -> dict[str, int]:
    rows = [(str(name), int(count)) for name, count in await graph.query(cypher)]
    return dict(sorted(rows, key=lambda row: (-row[1], row[0])))


async def _count(graph: KnowledgeGraphLike, label: str) -> int:
    rows = await graph.query(f"MATCH (x:{label}) RETURN count(x)")
    return int(rows[0][0]) if rows else 0
