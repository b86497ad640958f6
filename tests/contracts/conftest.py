"""The servers that the contracts are checked against."""

from tests.support.servers import (
    backend,
    falkordb,
    graph,
    graph_url,
    graphs,
    redis6_url,
    redis7_url,
    redis8_url,
)

__all__ = ["backend", "falkordb", "graph", "graph_url", "graphs", "redis6_url", "redis7_url", "redis8_url"]
