"""One database: a few connections, and each call one transaction within its time.

A transaction that did not end well takes its connection with it: whatever it was in the middle of, a lock or
a cancelled statement included, ends there, and none of it is met by the next call.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress

from sqlalchemy import exc
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from bgtasks.errors import ConfigurationError, MissingExtra, redact
from bgtasks.stores.tasks.sql_dialects import Dialect, Postgresql, Sqlite
from bgtasks.stores.tasks.sql_errors import may_be_tried_again, told
from bgtasks.stores.tasks.sql_schema import is_of_now, migrate

__all__ = ["PATIENCE", "Database"]

URL_FORMS = (
    "write postgresql://user:password@host:5432/name or sqlite:///path/to/file.db, with special characters "
    "%-encoded"
)

_KINDS: dict[str, tuple[str, Callable[[], Dialect]]] = {
    "postgres": ("postgresql+asyncpg", Postgresql),
    "postgresql": ("postgresql+asyncpg", Postgresql),
    "postgresql+asyncpg": ("postgresql+asyncpg", Postgresql),
    "sqlite": ("sqlite+aiosqlite", Sqlite),
    "sqlite+aiosqlite": ("sqlite+aiosqlite", Sqlite),
}

PATIENCE = 55.0
"""Seconds that making, migrating or adopting tables may take: a session waits a minute for its store."""

PAUSE = 0.02
"""Seconds before a call that others have crossed is tried again, about; twice as many each time."""

LONGEST_PAUSE = 1.0
"""Seconds that these grow to."""


class Database:
    """A PostgreSQL database, or a file of SQLite. Nothing is opened yet.

    Args:
        url: As people write it.
        timeout: Seconds that a call may take.
        patience: Seconds that a migration may take.

    Raises:
        ConfigurationError: The URL cannot be read, or names no such database.
        MissingExtra: The driver is not installed.
    """

    def __init__(self, url: str, timeout: float, patience: float = PATIENCE) -> None:
        read = _read(url)
        driver, kind = _KINDS[read.drivername]
        self.name = redact(read.render_as_string(hide_password=True))
        self._timeout = timeout
        self._patience = max(timeout, patience)
        read = read.set(drivername=driver)
        if "sslmode" in read.query:  # as libpq calls it
            ssl = read.query["sslmode"]
            read = read.difference_update_query(["sslmode"]).update_query_dict({"ssl": ssl})
        try:
            self.dialect: Dialect = kind()
        except ModuleNotFoundError as error:
            raise MissingExtra(f"a store in {driver.partition('+')[0]}", "sql") from error
        self._url = read
        self._engine = self._engine_of(timeout)

    def _engine_of(self, timeout: float) -> AsyncEngine:
        # Each transaction begins and ends where it can be read, in `_once`.
        return create_async_engine(
            self._url,
            isolation_level="AUTOCOMMIT",
            pool_pre_ping=True,
            pool_timeout=timeout,
            hide_parameters=True,  # what jobs are told is nobody else's to read
            **self.dialect.options(self._url, timeout),
        )

    async def open(self) -> None:
        """Create what is missing, migrate what is old, adopt what an application has kept.

        Raises:
            UnsuitableServer: It was written by a newer version, or by somebody else.
        """
        with told(self.name, self._timeout, self.dialect.errors):
            async with asyncio.timeout(self._timeout):
                await asyncio.to_thread(self.dialect.probe, self._url)
        if prepare := self.dialect.prepare:
            await self.read(lambda connection: connection.exec_driver_sql(prepare))
        if not await self.read(is_of_now):  # which is answered soon, or there is an outage
            await self._migrate()

    async def _migrate(self) -> None:
        patient = self._engine_of(self._patience)

        async def work(connection: AsyncConnection) -> str | None:
            return await migrate(connection, self.name)

        try:
            adopted = await self._call(work, self.dialect.begin, patient, self._patience)
        finally:
            await self._dispose(patient)
        if adopted:
            logging.getLogger("bgtasks").info("%s", adopted)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._dispose(self._engine)

    async def _dispose(self, engine: AsyncEngine) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timeout):
                await engine.dispose()

    async def read[T](self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """What one statement answers."""
        return await self._call(work, "", self._engine, self._timeout)

    async def write[T](self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """What a transaction answers; it is all done anew if another one has crossed it."""
        return await self._call(work, self.dialect.begin, self._engine, self._timeout)

    async def _call[T](
        self, work: Callable[[AsyncConnection], Awaitable[T]], begin: str, engine: AsyncEngine, within: float
    ) -> T:
        pause = PAUSE
        with told(self.name, within, self.dialect.errors):
            async with asyncio.timeout(within):
                while True:
                    try:
                        return await _once(work, begin, engine)
                    except exc.DBAPIError as error:
                        if not may_be_tried_again(error):
                            raise
                    await asyncio.sleep(random.uniform(pause / 2, pause))
                    pause = min(2 * pause, LONGEST_PAUSE)


async def _once[T](work: Callable[[AsyncConnection], Awaitable[T]], begin: str, engine: AsyncEngine) -> T:
    async with engine.connect() as connection:
        try:
            if begin:
                await connection.exec_driver_sql(begin)
            answer = await work(connection)
            if begin:
                await connection.exec_driver_sql("COMMIT")
        except BaseException:
            await connection.invalidate()
            raise
        return answer


def _read(url: str) -> URL:
    try:
        read = make_url(url)
    except (exc.ArgumentError, ValueError):
        # Without the URL and the cause: wherever the mistake is, a password may be beside it.
        raise ConfigurationError(f"the URL of the store cannot be read: {URL_FORMS}") from None
    if read.drivername not in _KINDS:
        raise ConfigurationError(f'no store is called "{read.drivername}": {URL_FORMS}')
    if read.drivername.startswith("sqlite") and read.database in (None, "", ":memory:"):
        raise ConfigurationError(f"a SQLite database in memory is lost with its process: {URL_FORMS}")
    return read
