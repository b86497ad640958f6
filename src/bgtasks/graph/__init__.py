"""The knowledge graph: a FalkorDB client, and the schema that everything here writes."""

from bgtasks.graph.client import KnowledgeGraph
from bgtasks.graph.schema import ensure_schema
from bgtasks.graph.vector_index import rebuild_vectors

__all__ = ["KnowledgeGraph", "ensure_schema", "rebuild_vectors"]
