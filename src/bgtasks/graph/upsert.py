"""Writing what a host knows itself, in queries small enough that the server goes on answering others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from bgtasks.contracts import KnowledgeGraphLike
from bgtasks.errors import InvalidMessage
from bgtasks.graph.apply import Edge, Node, write
from bgtasks.graph.schema import ensure_schema

__all__ = ["upsert"]

BATCH = 400
"""Nodes, and edges with their ends, in one query: some twenty milliseconds of the server's time."""


async def upsert(graph: KnowledgeGraphLike, entities: Iterable[Node], relations: Iterable[Edge] = ()) -> None:
    """Add entities and relations, or to what is known of them.

    Each query is atomic, all of them are not. Written again, the evidence counts again: weights rise.

    Args:
        entities: Among them both ends of every relation.
        relations: There is one of a predicate between two entities.

    Raises:
        InvalidMessage: A relation ends at none of the entities; nothing was written.
        ResourceUnavailable: The graph does not answer; some may have been written.
    """
    nodes = {node.id: node for node in entities}
    edges = list(relations)
    for edge in edges:
        for end in (edge.s, edge.o):
            if end not in nodes:
                raise InvalidMessage(f"{edge.s} {edge.p} {edge.o}: {end} is not among the entities")
    await ensure_schema(graph)
    for some, their_edges in _batches(nodes, edges):
        await write(graph, some, their_edges)


def _batches(nodes: dict[str, Node], edges: Sequence[Edge]) -> Iterator[tuple[list[Node], list[Edge]]]:
    """The entities, then the relations in batches with their ends, which are not counted a second time."""
    every = list(nodes.values())
    for start in range(0, len(every), BATCH):
        yield every[start : start + BATCH], []
    for start in range(0, len(edges), BATCH // 2):
        batch = edges[start : start + BATCH // 2]
        ends = dict.fromkeys(end for edge in batch for end in (edge.s, edge.o))
        yield [replace(nodes[end], n=0) for end in ends], list(batch)
