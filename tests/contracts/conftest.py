"""The servers that the contracts are checked against, and the places where task stores keep things."""

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
from tests.support.sql_databases import database, postgresql, sqlite
from tests.support.task_stores import place, postgresql_url, sqlite_tables, store, stores

__all__ = [
    "backend",
    "database",
    "falkordb",
    "graph",
    "graph_url",
    "graphs",
    "place",
    "postgresql",
    "postgresql_url",
    "redis6_url",
    "redis7_url",
    "redis8_url",
    "sqlite",
    "sqlite_tables",
    "store",
    "stores",
]
