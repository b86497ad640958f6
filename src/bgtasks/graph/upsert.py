"""Writing what a host knows itself, in queries small enough that the server goes on answering others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from bgtasks.contracts import KnowledgeGraphLike
from bgtasks.errors import InvalidMessage
from bgtasks.graph.apply import Edge, Node, check, write
from bgtasks.graph.schema import ensure_schema

__all__ = ["upsert"]

BATCH = 300
"""Nodes, and twice the edges, in one query: with the ends of the edges never more than `LARGEST`."""


async def upsert(graph: KnowledgeGraphLike, entities: Iterable[Node], relations: Iterable[Edge] = ()) -> None:
    """Add entities and relations, or to what is known of them.

    Each query is atomic, all of them are not. Written again, the evidence counts again: weights rise.

    Args:
        entities: Among them both ends of every relation. Several of one identity are all evidence for it.
        relations: There is one of a predicate between two entities.

    Raises:
        InvalidMessage: A relation ends at none of the entities, a kind holds a colon, a weight or confidence
            is not from 0 to 1, or a number is none or needs more than 64 bits; nothing was written.
        ResourceUnavailable: The graph does not answer; some may have been written.
    """
    nodes, edges = list(entities), list(relations)
    known = set[str]()
    for node in nodes:
        if ":" in node.kind:  # two entities could have one id then
            raise InvalidMessage(f"{node.kind!r} is no kind: in an id a colon ends it, so it holds none")
        known.add(node.id)
    for edge in edges:
        for end in (edge.s, edge.o):
            if end not in known:
                raise InvalidMessage(f"{edge.s} {edge.p} {edge.o}: {end} is not among the entities")
    check(nodes, edges)
    nodes.sort(key=lambda node: node.seen)  # as one query folds them, so that the latest is written last
    await ensure_schema(graph)
    for some, their_edges in _batches(nodes, edges):
        await write(graph, some, their_edges)


def _batches(nodes: Sequence[Node], edges: Sequence[Edge]) -> Iterator[tuple[Sequence[Node], list[Edge]]]:
    """The entities, then the relations in batches with their ends, which are not counted a second time."""
    for start in range(0, len(nodes), BATCH):
        yield nodes[start : start + BATCH], []
    latest = {node.id: node for node in nodes}
    for start in range(0, len(edges), BATCH // 2):
        batch = list(edges[start : start + BATCH // 2])
        ends = dict.fromkeys(end for edge in batch for end in (edge.s, edge.o))
        yield [replace(latest[end], n=0) for end in ends], batch
