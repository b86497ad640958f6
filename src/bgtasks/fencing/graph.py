"""`FencedGraph`: writes to a graph that carry a token, each compared with a guard node in the same query.

```
(:__Fence {source, token})   the largest token seen of a source
```

FalkorDB runs no script around a query, and a transaction around one stops the whole server; but a single
query is atomic, and those that write are carried out one after the other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from bgtasks.contracts import KnowledgeGraphLike
from bgtasks.errors import ConfigurationError, Fenced, ResourceUnavailable
from bgtasks.fencing.guards import checked_source, checked_token

__all__ = ["FencedGraph"]

RESERVED = "__fence"
"""What the names of our parameters begin with."""

# A token that is too small, or a guard that is not there, divides by zero, which fails the whole query. A
# filter alone would not do: an aggregate further down, or a part after UNION, makes rows out of none and goes
# on to write. Should there be two guards, each has to admit the token, and what follows still runs once.
_ADMIT = """
OPTIONAL MATCH (__guard:__Fence {source: $__fence_source})
WITH __guard, coalesce(__guard.token, $__fence_token + 1) AS __seen
WHERE __seen <= $__fence_token OR 1 / (__seen - __seen) = 0
SET __guard.token = $__fence_token
WITH DISTINCT true AS __admitted
"""
_REFUSED = "by zero"

# FalkorDB plans a query before it is its turn to write: a label or a property that does not exist by then is
# not looked for again, and MERGE makes a second node (measured, 4.22). The index brings all three into being
# before the first guard.
_INDEX = "CREATE INDEX FOR (guard:__Fence) ON (guard.source, guard.token)"
_RAISE = """
MERGE (guard:__Fence {source: $__fence_source})
WITH guard, coalesce(guard.token, 0) AS seen
SET guard.token = CASE WHEN seen < $__fence_token THEN $__fence_token ELSE seen END
RETURN max(seen)
"""

_SCHEMA = re.compile(r"\s*(CREATE|DROP)\s+(\w+\s+)?(INDEX|CONSTRAINT)\b", re.IGNORECASE)


class FencedGraph:
    """Writes to `graph`, refused there if a larger token of the same source was seen before.

    There is no way to write through it without a token. Reading needs none: use the graph itself.

    Args:
        graph: A graph whose queries are atomic, and whose server fails one that divides an integer by zero,
            as FalkorDB does.
        source: What the tokens come from: the key of a lease, or `claim:<task>`.

    Raises:
        ConfigurationError: The source is no text.

    Not promised: that the guard outlives a query that deletes every node, or the graph itself.
    """

    def __init__(self, graph: KnowledgeGraphLike, source: str) -> None:
        self.source = checked_source(source)
        self._graph = graph

    async def write(
        self, token: int, cypher: str, params: Mapping[str, Any] | None = None
    ) -> Sequence[Sequence[Any]]:
        """Run one query, if no larger token was seen; its rows, of which there may be none.

        Args:
            token: The fencing token of the term, or of the claim.
            cypher: Any query but one for an index. `RETURN *` shows a column more.
            params: Its parameters; none begins with `__fence`.

        Raises:
            Fenced: A larger token was seen. Nothing was written.
            ConfigurationError: The token is none, or the query cannot be fenced.
            ResourceUnavailable: The graph does not answer; it may have been written.
        """
        ours = self._params(checked_token(token))
        if reserved := [name for name in params or {} if name.startswith(RESERVED)]:
            raise ConfigurationError(f"${reserved[0]}: parameters that begin with {RESERVED} are the guard's")
        if not cypher.strip():
            raise ConfigurationError("there is no query to fence; to raise the guard, call guard(token)")
        if _SCHEMA.match(cypher):
            raise ConfigurationError(
                "an index is not made or dropped within a query, so it is never fenced: use query()"
            )
        params = {**(params or {}), **ours}
        raised = False
        while True:
            try:
                return await self._graph.query(_ADMIT + cypher, params)
            except Exception as error:
                if _REFUSED not in str(error).lower():  # any KnowledgeGraphLike may raise its own class
                    raise
                if (seen := await self.guard(token)) > token:
                    raise Fenced("kg_manager", self.source, token, seen) from error
                if raised:  # the query divides by zero itself
                    raise
                raised = True

    async def guard(self, token: int) -> int:
        """Raise the guard to `token`, unless it holds a larger one; what it held before, or 0.

        Once this is answered, no write with a smaller token than either will be carried out: one that was in
        progress has ended before.

        Raises:
            ConfigurationError: The token is none.
            ResourceUnavailable: The graph does not answer.
        """
        params = self._params(checked_token(token))
        try:
            await self._graph.query(_INDEX)
        except Exception as error:
            if "already indexed" not in str(error):
                raise
        rows = await self._graph.query(_RAISE, params)
        if not rows:
            raise ResourceUnavailable("kg_manager", "the guard was not raised")
        return int(rows[0][0])

    def _params(self, token: int) -> dict[str, Any]:
        return {"__fence_source": self.source, "__fence_token": token}
