"""`KnowledgeGraph`: one FalkorDB graph, with bounds and plain errors."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, Self

from bgtasks.connect import URL_FORMS, calls
from bgtasks.errors import ConfigurationError, MissingExtra, UnsuitableServer
from bgtasks.graph.clean import clean
from bgtasks.graph.schema import forget
from bgtasks.graph.timeouts import CUT_OFF, short_timeouts, warning

if TYPE_CHECKING:
    from falkordb.asyncio import FalkorDB

    from bgtasks.graph.apply import Edge, Node
    from bgtasks.graph.search import Found, Neighbourhood
    from bgtasks.graph.stats import Stats

__all__ = ["KnowledgeGraph"]

CONNECT_TIMEOUT = 2.0
"""Seconds to connect, and again to hear a first answer."""

QUERY_TIMEOUT = 30.0
"""Seconds the client waits for one query. The server may finish a write after that: it is not undone."""


class KnowledgeGraph:
    """A FalkorDB graph. Making one does no I/O: it connects when it is first asked.

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
        self._failure: Exception | None = None

    @classmethod
    async def connect(cls, url: str, name: str = "bgtasks", *, max_connections: int = 8) -> Self:
        """Make one and connect it at once, to hear of trouble here; arguments as for the class.

        Raises:
            MissingExtra: The falkordb package is not installed.
            ResourceUnavailable: The server does not answer.
            UnsuitableServer: It is no Redis, is in cluster mode, or refuses the credentials.
            ConfigurationError: The URL cannot be read.
        """
        graph = cls(url, name, max_connections=max_connections)
        await graph._connected()
        return graph

    async def _connected(self) -> FalkorDB:
        before = self._failure
        async with self._connecting:
            if self._database is None:
                # Who waited for an attempt that failed makes none of their own: the waits would add up. One
                # that was cancelled is made anew by the next who waits.
                if self._failure is not None and self._failure is not before:
                    raise self._failure
                try:
                    self._database = await self._connect()
                except Exception as error:
                    self._failure = error
                    raise
                self._failure = None
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

        options = {
            "decode_responses": True,
            "socket_connect_timeout": CONNECT_TIMEOUT,
            "socket_timeout": CONNECT_TIMEOUT,
            "retry": SynchronousRetry(NoBackoff(), 0),
        }
        try:
            pool = BlockingConnectionPool.from_url(
                self._url, max_connections=self._max_connections, timeout=QUERY_TIMEOUT, **options
            )
        except (ValueError, AttributeError):
            raise ConfigurationError(f"the URL of FalkorDB cannot be read: {URL_FORMS}") from None
        async with calls("kg_manager", 2 * CONNECT_TIMEOUT):
            await asyncio.to_thread(_refuse_cluster, self._url, **options)
            # The constructor asks the server a question, synchronously, with the pool's own arguments.
            database = await asyncio.to_thread(FalkorDB, connection_pool=pool)
            if short := await asyncio.to_thread(short_timeouts, self._url, **options):
                logging.getLogger("bgtasks").warning("graph %s: %s", self.name, warning(short))
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
            UnsuitableServer: The server is no Redis, is in cluster mode, has no FalkorDB module, or is set to
                cut off queries that take as long as this one.
            InvalidMessage: A number among the parameters is NaN, infinite, or larger than 64 bits.
        """
        from redis.exceptions import ResponseError

        database = await self._connected()
        cleaned = {name: clean(value) for name, value in (params or {}).items()}
        async with calls("kg_manager", QUERY_TIMEOUT + 1):
            try:
                result = await database.select_graph(self.name).query(cypher, cleaned)
            except ResponseError as error:
                if CUT_OFF not in str(error):
                    raise
                raise UnsuitableServer(
                    f"kg_manager cut a query off ({error}): raise the server's TIMEOUT, TIMEOUT_DEFAULT and "
                    f"TIMEOUT_MAX, or set them to 0 (GRAPH.CONFIG SET TIMEOUT 0)"
                ) from error
        return list(result.result_set)

    async def upsert(self, entities: Iterable[Node], relations: Iterable[Edge] = ()) -> None:
        """Add entities and relations, or to what is known of them; see `graph.upsert`."""
        from bgtasks.graph.upsert import upsert

        await upsert(self, entities, relations)

    async def search(
        self, text: str, *, vector: Sequence[float] | None = None, k: int = 10, now: datetime | None = None
    ) -> list[Found]:
        """The entities that fit best, the best first; see `graph.search`. `now` is the present by default."""
        from bgtasks.graph.search import search

        return await search(self, text, vector=vector, k=k, now=now or datetime.now(UTC))

    async def neighbourhood(
        self, entity: str, *, depth: int = 1, limit: int = 50, now: datetime | None = None
    ) -> Neighbourhood | None:
        """What is known around an entity; see `graph.search`. `now` is the present by default."""
        from bgtasks.graph.search import neighbourhood

        return await neighbourhood(self, entity, depth=depth, limit=limit, now=now or datetime.now(UTC))

    async def stats(self) -> Stats:
        """How much there is; see `graph.stats`."""
        from bgtasks.graph.stats import stats

        return await stats(self)

    def export(
        self, format: Literal["json", "graphml"] = "json", *, cursors: bool = False
    ) -> AsyncIterator[str]:
        """The graph as text, in parts; see `graph.export`."""
        from bgtasks.graph.export import export

        return export(self, format, cursors=cursors)

    async def check(self) -> None:
        """Ask whether the server can keep graphs; makes none.

        Raises:
            MissingCommand: It has no FalkorDB module.
            ResourceUnavailable: It does not answer.
            UnsuitableServer: It is no Redis, is in cluster mode, or refuses us.
        """
        database = await self._connected()
        async with calls("kg_manager"):
            await database.list_graphs()

    async def constrain(self, label: str, name: str) -> None:
        """Let no two nodes with `label` have the same value of the property `name`, which is indexed.

        Returns before that is in force: the server looks through what is there (`schema.settled`).

        Raises:
            ResourceUnavailable: No answer in time.
        """
        from redis.exceptions import ResponseError

        database = await self._connected()
        async with calls("kg_manager"):
            try:
                await database.connection.execute_command(
                    "GRAPH.CONSTRAINT", "CREATE", self.name, "UNIQUE", "NODE", label, "PROPERTIES", 1, name
                )
            except ResponseError as error:
                if "already exists" not in str(error):
                    raise

    async def delete(self) -> None:
        """Delete the whole graph, if it exists."""
        forget(self)
        database = await self._connected()
        async with calls("kg_manager"):
            if self.name in await database.list_graphs():
                await database.select_graph(self.name).delete()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def _refuse_cluster(url: str, **options: Any) -> None:
    """Refuse a server in cluster mode, for which the falkordb package would replace our pool. Blocks.

    Raises:
        UnsuitableServer: It is in cluster mode.
        redis.exceptions.RedisError: No connection, or no answer.
    """
    from redis import Redis

    with Redis.from_url(url, **options) as client:
        server: Any = client.info("server")
    if server.get("redis_mode") == "cluster":
        raise UnsuitableServer(
            "kg_manager: the server runs in cluster mode, which is not supported: start it with "
            "cluster-enabled no, or set BGTASKS_FALKORDB_URL to a single server that has FalkorDB"
        )
