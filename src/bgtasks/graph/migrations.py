"""Graphs of older versions are brought to the present shape: in batches, each atomic and safe to repeat.

The version is written only after the last batch, so a crash in between leaves a graph that is migrated again
from the start: what is done already stays as it is. No older program may write meanwhile; what it writes
would have no alias.
"""

from __future__ import annotations

from typing import Any

from bgtasks.contracts import KnowledgeGraphLike
from bgtasks.graph.schema import entity_id, key_of

__all__ = ["migrate"]

BATCH = 500
"""Entities in one query: some ten milliseconds of the server's time."""

_LAST = "MATCH (e:Entity) RETURN max(id(e))"

# By ranges of the server's own numbers, which are never in use twice: a page costs what is in it.
_PAGE = """
MATCH (e:Entity) WHERE id(e) >= $first AND id(e) < $end AND e.name IS NOT NULL AND e.kind IS NOT NULL
RETURN e.id, e.kind, e.name
"""

_ALIASES = """
UNWIND $rows AS x
MATCH (e:Entity {id: x.id})
SET e.key = coalesce(e.key, x.key), e.sum = coalesce(e.sum, ''),
    e.n = coalesce(e.n, 1), e.vec = coalesce(e.vec, '-')
WITH e, x UNWIND x.aliases AS alias
MERGE (a:Alias {id: alias}) ON CREATE SET a.of = e.id
RETURN count(a)
"""


async def migrate(graph: KnowledgeGraphLike, version: int) -> None:
    """Bring a graph of `version` to the present one; 0 is one without a version, or an empty one.

    Raises:
        ResourceUnavailable: The server does not answer; batches may have been applied.
    """
    if version < 1:
        await _aliases(graph)


async def _aliases(graph: KnowledgeGraphLike) -> None:
    """0 -> 1: every entity is found by an alias, and has the properties that came with it."""
    rows = await graph.query(_LAST)
    last = rows[0][0] if rows else None
    if last is None:
        return
    for first in range(0, int(last) + 1, BATCH):
        page = await graph.query(_PAGE, {"first": first, "end": first + BATCH})
        if page:
            # Another program may have written one without an id, or with one that is no text.
            known = [_row(*row) for row in page if isinstance(row[0], str)]
            await graph.query(_ALIASES, {"rows": known})


def _row(identity: str, kind: Any, name: Any) -> dict[str, Any]:
    # The identity was made by an older rule: the alias of the present rule leads to it.
    aliases = sorted({identity, entity_id(str(kind), str(name))})
    return {"id": identity, "key": key_of(str(name)), "aliases": aliases}
