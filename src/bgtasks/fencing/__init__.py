"""Writes that a deposed leader cannot make: each carries a fencing token, and the server compares it.

A check before a write is advice that ages: a process may be frozen between the two for any length of
time.
So the server itself remembers the largest token it was shown, one for each source of tokens, and refuses
a write that carries a smaller one, in the same atomic step (the sequencers of Burrows, "The Chubby lock
service", 2006). A source is what tokens come from: the key of a lease, or `claim:<task>`.

```python
ledger = FencedRedis(redis, lease_key)
graph = FencedGraph(kg_manager, lease_key)
supervisor.before_work(raise_guards(ledger, graph))   # so that older terms are refused from the start

async def worker(ctx):
    await ledger.write(ctx.token, "HSET", "balance", "ada", 7)
    await graph.write(ctx.token, "MATCH (e:Entity {id: $id}) DELETE e", {"id": "person:ada"})
```

Not promised: any order between writes of one token; protection from writes that carry none; memory of a
guard that the server itself has lost (a flush, an eviction, a fail-over to a replica that lagged behind).
"""

from __future__ import annotations

from bgtasks.fencing.graph import FencedGraph
from bgtasks.fencing.guards import Guard, Mints, raise_guards
from bgtasks.fencing.redis import FencedRedis

__all__ = ["FencedGraph", "FencedRedis", "Guard", "Mints", "raise_guards"]
