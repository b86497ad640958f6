"""What PostgreSQL and SQLite say differently: how a transaction begins, time, lists, and what is due."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib import import_module
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import ColumnElement, Integer, Select, Text, any_, func, literal, literal_column, select, true
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL

from bgtasks.stores.tasks.sql_tables import INSTANT, JOB_COLUMNS, OPEN, RUN_COLUMNS, jobs, runs

__all__ = ["Dialect", "Postgresql", "Sqlite"]

BUSY = 1.0
"""Seconds that a connection waits for SQLite's one writer before the call asks anew: no cancelled call
keeps its thread for longer."""


class Dialect(Protocol):
    """A kind of database."""

    prepare: str
    """Said once, before there is any table."""
    begin: str
    """Begins a transaction that may write."""
    insert: Any
    """The constructor of an INSERT that may say what to do on a conflict."""
    errors: tuple[type[Exception], ...]
    """What its driver raises where SQLAlchemy does not wrap it."""

    def options(self, url: URL, timeout: float) -> dict[str, Any]:
        """How an engine is made for it."""

    def probe(self, url: URL) -> None:
        """Raise what opening it would, in a thread, where the driver would leave something behind."""

    def clock(self, later: float = 0.0) -> ColumnElement[datetime]:
        """Its time, or that so many seconds later."""

    def among(self, column: ColumnElement[Any], values: Sequence[Any]) -> ColumnElement[bool]:
        """Whether the column is one of these: one parameter, however many there are."""

    def due(self, types: Sequence[str], horizon: float, limit: int) -> Select[Any]:
        """Enabled jobs of these types that are due so many seconds from now, the earliest first.

        Asked type by type, each from its index, so that it takes as long however many others there are.
        """

    def open_runs(self, of: Sequence[UUID]) -> Select[Any]:
        """Runs of these jobs that are wanted or in progress: rows of `RUN_COLUMNS`."""


class Postgresql:
    """PostgreSQL, through asyncpg."""

    prepare = ""
    begin = "BEGIN ISOLATION LEVEL READ COMMITTED"  # whatever the server's own default is
    insert: Any = staticmethod(postgresql.insert)

    def __init__(self) -> None:
        asyncpg: Any = import_module("asyncpg")
        self.errors: tuple[type[Exception], ...] = (
            asyncpg.PostgresError,
            asyncpg.InterfaceError,
            asyncpg.InternalClientError,
        )

        class Abrupt(asyncpg.Connection):  # type: ignore[misc]  # asyncpg has no types
            """Closed without the goodbye that a network which is down would never carry."""

            async def close(self, *, timeout: float | None = None) -> None:
                self.terminate()

        self._connection_class = Abrupt

    def options(self, url: URL, timeout: float) -> dict[str, Any]:
        """Few connections; the server ends what takes too long, and a transaction that its client left."""
        limit = str(max(1, round(timeout * 1000)))
        settings = {
            "statement_timeout": limit,
            "idle_in_transaction_session_timeout": limit,
            # A plan that was made while there were few runs would be kept when there are many.
            "plan_cache_mode": "force_custom_plan",
            "application_name": "bgtasks",
        }
        arguments = {
            "timeout": timeout,
            "command_timeout": timeout,
            "server_settings": settings,
            "connection_class": self._connection_class,
        }
        return {"pool_size": 4, "max_overflow": 0, "connect_args": arguments}

    def probe(self, url: URL) -> None:
        """See `Dialect`."""

    def clock(self, later: float = 0.0) -> ColumnElement[datetime]:
        """See `Dialect`."""
        now: ColumnElement[datetime] = func.clock_timestamp(type_=INSTANT)
        return now + literal(timedelta(seconds=later)) if later else now

    def among(self, column: ColumnElement[Any], values: Sequence[Any]) -> ColumnElement[bool]:
        """See `Dialect`."""
        return column == any_(literal(list(values), postgresql.ARRAY(column.type)))

    def due(self, types: Sequence[str], horizon: float, limit: int) -> Select[Any]:
        """See `Dialect`."""
        each = (
            func.unnest(literal(list(types), postgresql.ARRAY(Text())))
            .table_valued("job_type")
            .render_derived()
        )
        until = select(self.clock(horizon)).scalar_subquery()  # once, or no index could be searched by it
        first = _first_due(each.c.job_type, until, limit, jobs.alias()).lateral()
        found = select(*first.c).select_from(each.join(first, true()))
        return found.order_by(first.c.next_run_at, first.c.id).limit(limit)

    def open_runs(self, of: Sequence[UUID]) -> Select[Any]:
        """See `Dialect`."""
        return select(*RUN_COLUMNS).where(self.among(runs.c.job_id, of), OPEN)


class Sqlite:
    """SQLite, through aiosqlite: one writer at a time, of all processes. Its time is the machine's."""

    # Kept in the file: who reads does not wait for who writes.
    prepare = "PRAGMA journal_mode = WAL"
    # A transaction that began by reading and then writes may find that another has written meanwhile.
    begin = "BEGIN IMMEDIATE"
    insert: Any = staticmethod(sqlite.insert)
    errors: tuple[type[Exception], ...] = (sqlite3.Error,)

    def __init__(self) -> None:
        aiosqlite: Any = import_module("aiosqlite")

        class Abrupt(aiosqlite.Connection):  # type: ignore[misc]  # aiosqlite has no base that is known here
            """Closed at once: a statement that nobody waits for would hold the lock for as long as it runs.

            Told to stop a second time, its thread may be gone, and who told it would wait for ever.
            """

            told = False

            async def close(self) -> None:
                self._interrupt()
                await super().close()

            def stop(self) -> Any:
                if self.told:
                    return None
                self.told = True
                self._interrupt()
                return super().stop()

            def _interrupt(self) -> None:
                with suppress(sqlite3.Error):  # it was closed in its thread just now
                    if self._connection is not None:
                        self._connection.interrupt()

        self._connection_class = Abrupt

    def options(self, url: URL, timeout: float) -> dict[str, Any]:
        """One connection: calls stand in line here, rather than wait in threads for each other's locks."""
        arguments = {"timeout": min(timeout, BUSY), "async_creator_fn": self._connect}
        return {"pool_size": 1, "max_overflow": 0, "connect_args": arguments}

    def _connect(self, *arguments: Any, **options: Any) -> Any:
        """As `aiosqlite.connect`, but for the class; and no lock that is held keeps a process alive."""
        opens = partial(sqlite3.connect, *arguments, **options)
        made: Any = self._connection_class(opens, iter_chunk_size=64)
        made._thread.daemon = True
        return made

    def probe(self, url: URL) -> None:
        """See `Dialect`. aiosqlite's thread outlives a file that cannot be opened, and then speaks to a loop
        that may be closed."""
        if "uri" not in url.query:
            sqlite3.connect(str(url.database)).close()

    def clock(self, later: float = 0.0) -> ColumnElement[datetime]:
        """See `Dialect`. SQLite itself would give milliseconds."""
        return literal(datetime.now(UTC) + timedelta(seconds=later), INSTANT)

    def among(self, column: ColumnElement[Any], values: Sequence[Any]) -> ColumnElement[bool]:
        """See `Dialect`."""
        return column.in_(select(_each(values).c.value))

    def due(self, types: Sequence[str], horizon: float, limit: int) -> Select[Any]:
        """See `Dialect`."""
        each, inner = _each(types), jobs.alias()
        first = _first_due(each.c.value, self.clock(horizon), limit, inner).with_only_columns(inner.c.id)
        found = select(*JOB_COLUMNS).select_from(each.join(jobs, jobs.c.id.in_(first.correlate(each))))
        return found.order_by(jobs.c.next_run_at, jobs.c.id).limit(limit)

    def open_runs(self, of: Sequence[UUID]) -> Select[Any]:
        """See `Dialect`. Asked job by job: SQLite would look through those of all jobs for a list of them."""
        each, held = _each(of), runs.alias("held")
        theirs = select(held.c.id).where(
            held.c.job_id == each.c.value, literal_column("held.status IN ('pending', 'running')")
        )
        found = select(*RUN_COLUMNS)
        return found.select_from(each.join(runs, runs.c.id.in_(theirs.correlate(each))))


def _first_due(
    job_type: ColumnElement[str], until: ColumnElement[datetime], limit: int, table: Any
) -> Select[Any]:
    return (
        select(*(table.c[column.name] for column in JOB_COLUMNS))
        .where(table.c.job_type == job_type, table.c.enabled, table.c.next_run_at <= until)
        .order_by(table.c.next_run_at, table.c.id)
        .limit(literal(limit, Integer))
    )


def _each(values: Sequence[Any]) -> Any:
    return func.json_each(literal(json.dumps([str(value) for value in values]))).table_valued("value")
