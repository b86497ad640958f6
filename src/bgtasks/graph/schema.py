"""The shape of the graph, and the indexes it cannot do without.

```
(:Entity {id, name, kind, created, seen})      id is kind:key, key the normalised name
(:Entity)-[:REL {p, w, t, n, dies_at}]->(:Entity)   one edge type; p says which relation
(:Cursor {id, pos})                            how far a reader of messages has come
```

`w` is the edge's weight at the instant `t`; `dies_at` is when it will have decayed to the threshold;
`n` counts the evidence. Instants are milliseconds since 1970. Without the index on `id` every MERGE scans
the label; with the one on `dies_at` decay touches nothing but what it deletes.
"""

from __future__ import annotations

from bgtasks.contracts import KnowledgeGraphLike

__all__ = ["ensure_schema", "entity_id"]

_INDEXES = (
    "CREATE INDEX FOR (e:Entity) ON (e.id)",
    "CREATE INDEX FOR (c:Cursor) ON (c.id)",
    "CREATE INDEX FOR ()-[r:REL]-() ON (r.dies_at)",
)


async def ensure_schema(graph: KnowledgeGraphLike) -> None:
    """Create the indexes that are missing. Safe to repeat, and from several processes at once."""
    for statement in _INDEXES:
        try:
            await graph.query(statement)
        except Exception as error:
            # Any KnowledgeGraphLike may raise its own class; FalkorDB has no IF NOT EXISTS.
            if "already indexed" not in str(error):
                raise


def entity_id(kind: str, name: str) -> str:
    """The identity of an entity at birth: its kind and its name, case and spacing aside."""
    return f"{kind}:{' '.join(name.split()).casefold()}"
