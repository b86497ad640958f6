"""The index of vectors: made with the first vector, for the one model and dimension that a graph has.

The two are written down in the `Schema` node: vectors of two models cannot be compared, and one of another
dimension would be left out of the index without a word.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence

from bgtasks.contracts import KnowledgeGraphLike
from bgtasks.errors import ConfigurationError
from bgtasks.graph.schema import settled

__all__ = ["askable", "direction", "prepare", "rebuild_vectors"]

MOST = 4096
"""The largest dimension that FalkorDB indexes."""

BATCH = 1_000
"""Nodes that one query of a rebuild touches."""

LABELS = ("Vec", "MessageVec")

_FOUND = "MATCH (s:Schema {id: 'schema'}) RETURN s.dim, s.model, s.indexed"
_CLAIM = """
MERGE (s:Schema {id: 'schema'})
SET s.dim = coalesce(s.dim, $dim), s.model = coalesce(s.model, $model)
RETURN s.dim, s.model, s.indexed
"""
_INDEXED = "MATCH (s:Schema {id: 'schema'}) WHERE s.dim = $dim SET s.indexed = true"

_MESSAGES = f"MATCH (m:MessageVec) RETURN id(m), m.channel, m.mid LIMIT {BATCH}"
_FORGET = "UNWIND $numbers AS number MATCH (m:MessageVec) WHERE id(m) = number DELETE m"

_REBUILDING = "MERGE (s:Schema {id: 'schema'}) SET s.dim = 0, s.indexed = false"
_REBUILT = "MATCH (s:Schema {id: 'schema'}) SET s.dim = null, s.model = null, s.indexed = false"
_LAST = "MATCH (e:Entity) RETURN max(id(e))"
_UNSET = "MATCH (e:Entity) WHERE id(e) >= $first AND id(e) < $end AND e.vec <> '-' SET e.vec = '-'"


async def prepare(graph: KnowledgeGraphLike, model: str, vectors: Sequence[Sequence[float]]) -> int:
    """See that vectors of this model and dimension can be kept; the dimension.

    Raises:
        ConfigurationError: The graph's are of another model or dimension, or these are of several.
    """
    dims = sorted({len(vector) for vector in vectors})
    dim = dims[0]
    if len(dims) > 1:
        raise ConfigurationError(
            f"{model} gave vectors of {' and '.join(map(str, dims))} numbers in one batch"
        )
    if not 1 <= dim <= MOST:
        raise ConfigurationError(f"{model} gives vectors of {dim} numbers: the graph takes 1 to {MOST}")
    rows = await graph.query(_FOUND)
    if not rows or rows[0][0] is None:
        rows = await graph.query(_CLAIM, {"dim": dim, "model": model})
    kept_dim, kept_model, indexed = rows[0]
    if kept_dim == 0:
        raise ConfigurationError(
            "the graph's vectors are being rebuilt: wait, or call rebuild_vectors() again"
        )
    if kept_dim != dim or kept_model != model:
        raise ConfigurationError(
            f"the graph's vectors are of {kept_model} with {kept_dim} numbers, and these of {model} with "
            f"{dim}; go back to that model, or call rebuild_vectors() to forget them and embed anew"
        )
    if not indexed:
        await _index(graph, dim)
    return dim


async def askable(graph: KnowledgeGraphLike, vector: Sequence[float]) -> list[float] | None:
    """The vector as it can be looked for; None where there is no index, or the vector has no direction.

    Raises:
        ConfigurationError: It has another dimension than the graph's.
    """
    rows = await graph.query(_FOUND)
    if not rows or not rows[0][2]:
        return None
    dim, model, _ = rows[0]
    if len(vector) != dim:
        raise ConfigurationError(
            f"the graph's vectors are of {model} with {dim} numbers, and this one has {len(vector)}; embed "
            f"with that model, or call rebuild_vectors() to embed everything again"
        )
    return direction(vector)


def direction(vector: Sequence[float]) -> list[float] | None:
    """The numbers as floats; None if they are all zero, or not numbers."""
    numbers = [float(number) for number in vector]
    return numbers if any(numbers) and all(map(math.isfinite, numbers)) else None


async def rebuild_vectors(
    graph: KnowledgeGraphLike, *, queue: Callable[[str, Sequence[str]], Awaitable[None]] | None = None
) -> None:
    """Forget every vector, and the model and dimension they were of: entities wait to be embedded again.

    A worker that stores vectors meanwhile keeps none of the old model. Interrupted, it is to be repeated;
    until then no vector is kept.

    Args:
        queue: Called with a channel and ids of its messages, before their vectors go; `EmbeddingQueue.put`
            has them embedded again. Without it, messages have no vectors until they are edited or queued.

    Raises:
        ResourceUnavailable: The graph or the queue does not answer; repeat it. A message may be queued twice.
    """
    await graph.query(_REBUILDING)
    await _drop_indexes(graph)
    if queue is not None:
        await _queue_messages(graph, queue)
    for label in LABELS:
        delete = f"MATCH (v:{label}) WITH v LIMIT {BATCH} DETACH DELETE v RETURN count(v)"
        while (rows := await graph.query(delete)) and rows[0][0]:
            pass
    rows = await graph.query(_LAST)
    last = -1 if not rows or rows[0][0] is None else int(rows[0][0])
    for first in range(0, last + 1, BATCH):
        await graph.query(_UNSET, {"first": first, "end": first + BATCH})
    await _drop_indexes(graph)  # again: a worker that began before may have made them meanwhile
    await graph.query(_REBUILT)


async def _drop_indexes(graph: KnowledgeGraphLike) -> None:
    for label in LABELS:
        try:
            await graph.query(f"DROP VECTOR INDEX FOR (v:{label}) ON (v.v)")
        except Exception as error:
            if "no such index" not in str(error):  # any KnowledgeGraphLike may raise its own class
                raise


async def _queue_messages(
    graph: KnowledgeGraphLike, queue: Callable[[str, Sequence[str]], Awaitable[None]]
) -> None:
    while rows := await graph.query(_MESSAGES):
        by_channel: dict[str, list[str]] = {}
        for _, channel, mid in rows:
            by_channel.setdefault(str(channel), []).append(str(mid))
        for channel, ids in by_channel.items():
            await queue(channel, ids)
        await graph.query(_FORGET, {"numbers": [row[0] for row in rows]})


async def _index(graph: KnowledgeGraphLike, dim: int) -> None:
    for label in LABELS:
        try:
            await graph.query(
                f"CREATE VECTOR INDEX FOR (v:{label}) ON (v.v) "
                f"OPTIONS {{dimension: {dim}, similarityFunction: 'cosine', efRuntime: 64}}"
            )
        except Exception as error:
            if "already indexed" not in str(error):  # any KnowledgeGraphLike may raise its own class
                raise
    await settled(graph)
    await graph.query(_INDEXED, {"dim": dim})
