"""The shape of the graph: its indexes and constraints, its version, and how a name becomes an identity.

```
(:Entity {id, name, key, kind, sum, n, created, seen, vec})   id is kind:key, key the normalised name
(:Alias {id, of})                    kind:key of a way to write the name -> the id of the entity it means
(:Vec {id, of, v})-[:VOF]->(:Entity)      the vector of an entity's text; never changed, only replaced
(:MessageVec {id, channel, mid, v})       the vector of a message; id is ["channel", "mid"]
(:Entity)-[:REL {p, fact, w, t, dies_at, n, conf, valid_from, src}]->(:Entity)
(:Cursor {id, pos})                       how far a reader of messages has come
(:Schema {id: 'schema', version, constrained, p, dim, model, indexed})
```

There is one type of edge; its identity is (subject, `p`, object). `w` is its weight at the instant `t`,
`dies_at` when it will have faded to the threshold, `n` counts the evidence, and `src` names the latest
messages it comes from, as channel/id: for people to read, since either may hold a slash. `vec` is the id of
the entity's vector, or '-' while that is to be made: an empty text is not found by an index (measured,
FalkorDB 4.22). Instants are milliseconds since 1970. A name may hold a colon, and a kind holds none.

Of the `Schema` node, `dim` and `model` are those of all vectors, and `indexed` says whether these have their
index; `p` is empty: by it the server knows of a property that is called so.

Without the index on `id` every MERGE scans the label; with the one on `dies_at` decay touches nothing but
what it deletes. There is none on `w` and `conf`: what is written often is not indexed. The index of vectors
is made with the first vector, whose dimension it needs.
"""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Awaitable, Callable
from weakref import WeakKeyDictionary

from bgtasks.contracts import KnowledgeGraphLike
from bgtasks.errors import ResourceUnavailable, UnsuitableServer
from bgtasks.graph.clean import clean_text

__all__ = ["KINDS", "UNEMBEDDED", "VERSION", "ensure_schema", "entity_id", "forget", "key_of", "settled"]

VERSION = 1
"""The version of the shape above."""

UNEMBEDDED = "-"
"""What `vec` of an entity says while its vector is to be made."""

KINDS = (
    "person", "organisation", "place", "animal", "object", "work", "event", "activity", "topic", "other",
    "channel",
)  # fmt: skip
"""The kinds that are written here. A host may write others; a name alone is looked for among these."""

INDEXES = (
    "CREATE INDEX FOR (e:Entity) ON (e.id)",
    "CREATE INDEX FOR (e:Entity) ON (e.key)",
    "CREATE INDEX FOR (e:Entity) ON (e.vec)",
    "CREATE INDEX FOR (a:Alias) ON (a.id)",
    "CREATE INDEX FOR (a:Alias) ON (a.of)",
    "CREATE INDEX FOR (v:Vec) ON (v.id)",
    "CREATE INDEX FOR (v:Vec) ON (v.of)",
    "CREATE INDEX FOR (m:MessageVec) ON (m.id)",
    "CREATE INDEX FOR (c:Cursor) ON (c.id)",
    "CREATE INDEX FOR (s:Schema) ON (s.id)",
    "CREATE INDEX FOR ()-[r:REL]-() ON (r.dies_at)",
    "CREATE FULLTEXT INDEX FOR (e:Entity) ON (e.name, e.sum)",
)
UNIQUE = ("Entity", "Alias", "Vec", "MessageVec", "Cursor", "Schema")
"""Labels whose `id` no two nodes share."""

SETTLE = 60.0
"""Seconds that indexes and constraints may take to be built over what is there."""

RECHECK = 60.0
"""Seconds for which a graph that was found ready is taken to be so: it may be deleted under us."""

_VERSION = "MATCH (s:Schema {id: 'schema'}) RETURN s.version, s.constrained"

# The server plans a query before it is its turn to write, and takes a property that nothing has had by then
# for one that nothing will have: two first MERGEs at once would make two edges. So `p` is made known here.
_DONE = """
MERGE (s:Schema {id: 'schema'})
SET s.version = $version, s.constrained = coalesce(s.constrained, false) OR $constrained, s.p = ''
"""

_ready: WeakKeyDictionary[object, float] = WeakKeyDictionary()
"""Graphs that were found ready, and until when that is believed, by the event loop's clock."""


async def ensure_schema(graph: KnowledgeGraphLike) -> None:
    """Bring the graph to the shape above: indexes, constraints, and what an older version wrote.

    Cheap when that is done: nothing is asked for a minute, and then one question. Safe to repeat, from
    several processes at once, and after a crash in between. Returns when all of it is in force.

    Args:
        graph: Any graph. Constraints are made by a command of FalkorDB, not by Cypher: a graph that has no
            method `constrain`, as ours has, gets the indexes only.

    Raises:
        UnsuitableServer: The graph is of a newer version than this program, or holds one id twice.
        ResourceUnavailable: The server does not answer, or takes longer than a minute to build an index.
    """
    now = asyncio.get_running_loop().time()
    if _believed(graph, now):
        return
    constrain = getattr(graph, "constrain", None)
    version, constrained = await _found(graph)
    if version < VERSION or (constrain is not None and not constrained):
        await _make(graph, constrain)
        if version < VERSION:
            from bgtasks.graph.migrations import migrate  # it needs entity_id

            await migrate(graph, version)
        await graph.query(_DONE, {"version": VERSION, "constrained": constrain is not None})
    _believe(graph, now + RECHECK)


def forget(graph: KnowledgeGraphLike) -> None:
    """Ask the graph again at the next `ensure_schema`: it was deleted, say."""
    try:
        _ready.pop(graph, None)
    except TypeError:  # it cannot be a key, so it was never one
        return


def entity_id(kind: str, name: str) -> str:
    """The identity of an entity at birth: its kind and its name, case, spacing and width aside."""
    return f"{clean_text(kind)}:{key_of(name)}"


def key_of(name: str) -> str:
    """The name as it is compared: compatibility forms, case and spacing make no difference."""
    folded = unicodedata.normalize("NFKC", clean_text(name)).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


async def settled(graph: KnowledgeGraphLike) -> None:
    """Return when every index and constraint of the graph is in force.

    Raises:
        UnsuitableServer: A constraint cannot be: one id is there twice.
        ResourceUnavailable: It takes longer than a minute, or the server does not answer.
    """
    pause = 0.001
    try:
        async with asyncio.timeout(SETTLE):
            while not (await _indexed(graph) and await _constrained(graph)):
                await asyncio.sleep(pause)
                pause = min(2 * pause, 0.2)
    except TimeoutError as error:
        raise ResourceUnavailable(
            "kg_manager", f"its indexes are still being built after {SETTLE:g} s; they go on, so try again"
        ) from error


async def _found(graph: KnowledgeGraphLike) -> tuple[int, bool]:
    """The version the graph is of, 0 without one; whether it has its constraints."""
    rows = await graph.query(_VERSION)
    if not rows:
        return 0, False
    version, constrained = int(rows[0][0] or 0), bool(rows[0][1])
    if version > VERSION:
        raise UnsuitableServer(
            f"the graph is of version {version}, and this bgtasks knows {VERSION} at most: a newer one has "
            f"written it. Nothing was touched; run that version here too, or name another graph "
            f"(BGTASKS_GRAPH_NAME)"
        )
    return version, constrained


async def _make(graph: KnowledgeGraphLike, constrain: Callable[[str, str], Awaitable[None]] | None) -> None:
    """Create the indexes and constraints that are missing, and wait until they are in force."""
    for statement in INDEXES:
        try:
            await graph.query(statement)
        except Exception as error:
            # Any KnowledgeGraphLike may raise its own class; FalkorDB has no IF NOT EXISTS.
            if "already indexed" not in str(error):
                raise
    if constrain is not None:
        for label in UNIQUE:
            await constrain(label, "id")
    await settled(graph)


async def _indexed(graph: KnowledgeGraphLike) -> bool:
    rows = await graph.query("CALL db.indexes() YIELD status RETURN status")
    return all(status == "OPERATIONAL" for (status,) in rows)


async def _constrained(graph: KnowledgeGraphLike) -> bool:
    rows = await graph.query("CALL db.constraints() YIELD label, status RETURN label, status")
    for label, status in rows:
        if status == "FAILED" and label in UNIQUE:
            raise UnsuitableServer(
                f"the graph holds two {label} nodes of one id, which cannot be told apart: find them with "
                f"MATCH (x:{label}) WITH x.id AS id, count(*) AS n WHERE n > 1 RETURN id, and delete all but "
                f"one of each"
            )
    return all(status == "OPERATIONAL" for label, status in rows if label in UNIQUE)


def _believed(graph: KnowledgeGraphLike, now: float) -> bool:
    try:
        until = _ready.get(graph)
    except TypeError:  # it cannot be a key
        return False
    # By another event loop's clock the instant may be far ahead: then nothing is believed either.
    return until is not None and now < until <= now + RECHECK


def _believe(graph: KnowledgeGraphLike, until: float) -> None:
    try:
        _ready[graph] = until
    except TypeError:  # no weak references to it, or no hash: it is asked each time
        return
