"""Vectors of entities and of messages: nodes of their own, never changed, in an index made with the first.

A scalar written to a node that has an indexed vector costs a hundred times as much, and a vector written over
another may be lost. So a vector hangs beside its entity, and a new text gets a new one.

All vectors of a graph are of one model and one dimension (`vector_index`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bgtasks.contracts import KnowledgeGraphLike
from bgtasks.errors import ResourceUnavailable
from bgtasks.graph.clean import clean, clean_text
from bgtasks.graph.schema import UNEMBEDDED
from bgtasks.graph.vector_index import askable, direction, prepare, rebuild_vectors

__all__ = [
    "Similar",
    "Unembedded",
    "drop_message_vectors",
    "nearest_entities",
    "rebuild_vectors",
    "similar_messages",
    "store_message_vectors",
    "store_vectors",
    "waiting",
]

NUMBERS = 10_000
"""Numbers in one query at most: in a large graph, some thirty milliseconds of the server's time."""

BATCH = 1_000
"""Vectors that one query drops."""

_TEXT = "CASE WHEN coalesce(e.sum, '') = '' THEN e.name ELSE e.name + ': ' + e.sum END"

_WAITING = f"MATCH (e:Entity {{vec: '{UNEMBEDDED}'}}) RETURN e.id, {_TEXT} LIMIT $limit"

# A row, unless the vectors are of another model or dimension by now: a rebuild may have begun since they were
# prepared for. An entity's only if the text is still the one that was embedded: else it goes on waiting. A
# direction is needed for an index by cosine: of a vector of zeros only the id is kept, so that the entity
# does not wait for ever.
_STORE = f"""
MATCH (s:Schema {{id: 'schema'}}) WHERE s.dim = $dim AND s.model = $model
CALL {{
  UNWIND $rows AS x
  MATCH (e:Entity {{id: x.of}}) WHERE {_TEXT} = x.text
  SET e.vec = x.id
  WITH e, x WHERE x.v IS NOT NULL
  MERGE (v:Vec {{id: x.id}}) ON CREATE SET v.of = x.of, v.v = vecf32(x.v)
  MERGE (v)-[:VOF]->(e)
  RETURN count(v) AS kept
}}
RETURN kept
"""
_STALE = """
UNWIND $rows AS x MATCH (v:Vec {of: x.of})
WITH v, x MATCH (e:Entity {id: x.of}) WHERE NOT e.vec IN ['-', v.id]
DETACH DELETE v
"""
_DROP_MESSAGES = "UNWIND $ids AS id MATCH (m:MessageVec {id: id}) DELETE m"
_STORE_MESSAGES = """
MATCH (s:Schema {id: 'schema'}) WHERE s.dim = $dim AND s.model = $model
CALL {
  UNWIND $rows AS x
  MERGE (m:MessageVec {id: x.id}) ON CREATE SET m.channel = x.channel, m.mid = x.mid, m.v = vecf32(x.v)
  RETURN count(m) AS kept
}
RETURN kept
"""

# A distance, so the smallest comes first.
_NEAREST = """
CALL db.idx.vector.queryNodes('Vec', 'v', $k, vecf32($v)) YIELD node, score
RETURN node.of ORDER BY score, node.of
"""
_SIMILAR = """
CALL db.idx.vector.queryNodes('MessageVec', 'v', $k, vecf32($v)) YIELD node, score
RETURN node.channel, node.mid, score ORDER BY score, node.id
"""


@dataclass(frozen=True, slots=True)
class Unembedded:
    """An entity whose vector is to be made, of `text`."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Similar:
    """A message whose vector is near: `similarity` is the cosine, at most 1."""

    channel: str
    id: str
    similarity: float


async def waiting(graph: KnowledgeGraphLike, limit: int = 100) -> list[Unembedded]:
    """Entities whose vector is to be made, in no particular order, each with the text to embed."""
    rows = await graph.query(_WAITING, {"limit": max(0, limit)})
    return [Unembedded(str(identity), str(text)) for identity, text in rows]


async def store_vectors(
    graph: KnowledgeGraphLike, model: str, rows: Sequence[tuple[str, str, Sequence[float]]]
) -> None:
    """Keep the vectors of entities. Safe to repeat.

    Args:
        model: What made them.
        rows: Entity id, the text that was embedded, its vector. Where the entity's text has changed since,
            or the entity is gone, the vector is not kept: it goes on waiting.

    Raises:
        ConfigurationError: The graph's vectors are of another model or dimension, or the vectors here are of
            several; it says both, and the cure.
        ResourceUnavailable: The graph does not answer; some may have been kept.
    """
    if not rows:
        return
    dim = await prepare(graph, model, [vector for _, _, vector in rows])
    size = max(1, NUMBERS // dim)
    for start in range(0, len(rows), size):
        batch = [
            {"of": of, "text": text, "id": _vec_id(of, model, text), "v": direction(vector)}
            for of, text, vector in rows[start : start + size]
        ]
        await _keep(graph, _STORE, model, dim, batch)
        await graph.query(_STALE, {"rows": [{"of": row["of"]} for row in batch]})


async def store_message_vectors(
    graph: KnowledgeGraphLike, model: str, rows: Sequence[tuple[str, str, Sequence[float]]]
) -> None:
    """Keep the vectors of messages, in place of those they had. Safe to repeat.

    Args:
        model: What made them.
        rows: Channel, message id, vector. One of zeros is left out.

    Raises:
        ConfigurationError: As for `store_vectors`.
        ResourceUnavailable: The graph does not answer; some may be kept, and some to be replaced be gone.
    """
    if not rows:
        return
    dim = await prepare(graph, model, [vector for _, _, vector in rows])
    size = max(1, NUMBERS // dim)
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        await _drop(graph, [_message_id(channel, mid) for channel, mid, _ in part])
        batch = [
            {"id": _message_id(channel, mid), "channel": channel, "mid": mid, "v": numbers}
            for channel, mid, vector in part
            if (numbers := direction(vector)) is not None
        ]
        if batch:
            await _keep(graph, _STORE_MESSAGES, model, dim, batch)


async def drop_message_vectors(graph: KnowledgeGraphLike, channel: str, ids: Sequence[str]) -> None:
    """Forget the vectors of messages, such as those that were deleted."""
    for start in range(0, len(ids), BATCH):
        await _drop(graph, [_message_id(channel, mid) for mid in ids[start : start + BATCH]])


async def nearest_entities(graph: KnowledgeGraphLike, vector: Sequence[float], k: int) -> list[str]:
    """Ids of the `k` entities whose vectors are nearest, the nearest first; none where there are no vectors.

    Raises:
        ConfigurationError: The vector has another dimension than the graph's.
    """
    asked = await askable(graph, vector)
    if asked is None:
        return []
    rows = await graph.query(_NEAREST, {"k": k, "v": asked})
    return list(dict.fromkeys(str(of) for (of,) in rows))


async def similar_messages(graph: KnowledgeGraphLike, vector: Sequence[float], k: int = 10) -> list[Similar]:
    """The `k` messages whose vectors are nearest, the nearest first; none where there are no vectors.

    Raises:
        ConfigurationError: The vector has another dimension than the graph's.
    """
    asked = await askable(graph, vector) if k > 0 else None
    if asked is None:
        return []
    rows = await graph.query(_SIMILAR, {"k": k, "v": asked})
    return [Similar(str(channel), str(mid), 1.0 - float(distance)) for channel, mid, distance in rows]


async def _keep(
    graph: KnowledgeGraphLike, cypher: str, model: str, dim: int, rows: Sequence[dict[str, Any]]
) -> None:
    """Write vectors that were prepared for, unless a rebuild has begun since."""
    if not await graph.query(cypher, {"rows": clean(rows), "model": model, "dim": dim}):
        raise ResourceUnavailable(
            "kg_manager", "its vectors were forgotten while these were made, which are not kept: try again"
        )


async def _drop(graph: KnowledgeGraphLike, ids: Sequence[str]) -> None:
    await graph.query(_DROP_MESSAGES, {"ids": list(ids)})


def _vec_id(of: str, model: str, text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return f"{of}|{model}|{digest}"


def _message_id(channel: str, mid: str) -> str:
    return json.dumps([clean_text(channel), clean_text(mid)], ensure_ascii=False)
