"""`KnowledgeGraph`: one FalkorDB graph behind `query`, with bounds and plain errors."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from bgtasks.connect import URL_FORMS, calls, encodable
from bgtasks.errors import ConfigurationError, InvalidMessage, MissingExtra

if TYPE_CHECKING:
    from falkordb.asyncio import FalkorDB

__all__ = ["KnowledgeGraph"]

CONNECT_TIMEOUT = 2.0
"""Seconds to connect, and again to hear a first answer."""

QUERY_TIMEOUT = 30.0
"""Seconds the client waits for one query. The server may finish a write after that: it is not undone."""


class KnowledgeGraph:
    """A FalkorDB graph behind `query`. Making one does no I/O: it connects when it is first asked.

    Args:
        url: `redis://`, `rediss://` or `unix://`.
        name: The graph's key in the server; one graph is one tenant.
        max_connections: Further queries wait for a free connection.

    Not promised: transactions over several queries. One query is atomic; decide and write in one.
    """

    def __init__(self, url: str, name: str = "bgtasks", *, max_connections: int = 8) -> None:
        self.name = name
        self._url = url
        self._max_connections = max_connections
        self._database: FalkorDB | None = None
        self._connecting = asyncio.Lock()

    @classmethod
    async def connect(cls, url: str, name: str = "bgtasks", *, max_connections: int = 8) -> Self:
        """Make one and connect it at once, to hear of trouble here; arguments as for the class.

        Raises:
            MissingExtra: The falkordb package is not installed.
            ResourceUnavailable: The server does not answer.
            UnsuitableServer: It is no Redis, or refuses the credentials.
            ConfigurationError: The URL cannot be read.
        """
        graph = cls(url, name, max_connections=max_connections)
        await graph._connected()
        return graph

    async def _connected(self) -> FalkorDB:
        async with self._connecting:
            if self._database is None:
                self._database = await self._connect()
            return self._database

    async def _connect(self) -> FalkorDB:
        try:
            from falkordb.asyncio import FalkorDB
        except ImportError as error:
            raise MissingExtra("the knowledge graph", "memory") from error
        from redis.asyncio import BlockingConnectionPool
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
        from redis.retry import Retry as SynchronousRetry

        try:
            pool = BlockingConnectionPool.from_url(
                self._url,
                decode_responses=True,
                max_connections=self._max_connections,
                timeout=QUERY_TIMEOUT,
                socket_connect_timeout=CONNECT_TIMEOUT,
                socket_timeout=CONNECT_TIMEOUT,
                retry=SynchronousRetry(NoBackoff(), 0),
            )
        except (ValueError, AttributeError):
            raise ConfigurationError(f"the URL of FalkorDB cannot be read: {URL_FORMS}") from None
        async with calls("kg_manager", 2 * CONNECT_TIMEOUT):
            # The constructor asks the server a question, synchronously, with the pool's own arguments.
            database = await asyncio.to_thread(FalkorDB, connection_pool=pool)
        # A query whose answer was lost may have been applied: redis-py must not send it again by itself.
        pool.connection_kwargs.update(retry=Retry(NoBackoff(), 0), socket_timeout=QUERY_TIMEOUT)
        return database

    async def aclose(self) -> None:
        """Close the connections. Asked again, it connects again."""
        database, self._database = self._database, None
        if database is not None:
            await database.connection.connection_pool.disconnect()

    async def query(self, cypher: str, params: Mapping[str, Any] | None = None) -> list[list[Any]]:
        """Run one query atomically and return its rows.

        Args:
            cypher: openCypher, with `$name` for parameters.
            params: Strings, numbers, booleans, None, and lists and mappings of them. Characters that
                FalkorDB cannot take are removed (NUL) or replaced (lone surrogates).

        Raises:
            ResourceUnavailable: No answer in time. A write may have been applied all the same.
            UnsuitableServer: The server is no Redis, or has no FalkorDB module.
            InvalidMessage: A parameter is NaN or infinite.
        """
        database = await self._connected()
        cleaned = {name: _clean(value) for name, value in (params or {}).items()}
        async with calls("kg_manager", QUERY_TIMEOUT + 1):
            result = await database.select_graph(self.name).query(cypher, cleaned)
        return list(result.result_set)

    async def check(self) -> None:
        """Ask whether the server can keep graphs; makes none.

        Raises:
            MissingCommand: It has no FalkorDB module.
            ResourceUnavailable: It does not answer.
            UnsuitableServer: It is no Redis, or refuses us.
        """
        database = await self._connected()
        async with calls("kg_manager"):
            await database.list_graphs()

    async def delete(self) -> None:
        """Delete the whole graph, if it exists."""
        database = await self._connected()
        async with calls("kg_manager"):
            if self.name in await database.list_graphs():
                await database.select_graph(self.name).delete()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def _clean(value: Any) -> Any:
    """The value as FalkorDB's parameter header can carry it."""
    if isinstance(value, str):
        return encodable(value.replace("\x00", ""))
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidMessage(f"{value} cannot be stored in the graph: a number must be finite")
    if isinstance(value, Mapping):
        return {_clean(str(key)): _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return value
