"""Takes over the tables of an application that kept its jobs and runs itself, under the names of ours.

All of it is one transaction: the old tables are put aside under other names, ours are made, and the rows are
copied. Whatever cannot be taken over is told before any of that is to be seen by anyone. The old tables stay
as they are, for the operator to drop.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Table, func, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from bgtasks.errors import UnsuitableServer
from bgtasks.stores.tasks.sql_adopt_rows import Adopted, Unreadable
from bgtasks.stores.tasks.sql_tables import job_values, jobs, run_values, runs

__all__ = ["ASIDE", "Adoption"]

ASIDE = "_before_bgtasks"
"""What the old tables are called from then on, after their names."""

REQUIRED = {
    "scheduled_jobs": (
        *("id", "job_type", "bot_id", "enabled", "interval_minutes"),
        *("last_run_at", "next_run_at", "config_json"),
    ),
    "job_runs": (
        *("id", "job_id", "bot_id", "status", "started_at", "finished_at"),
        *("duration_ms", "result_json", "error_message"),
    ),
}
"""The columns without which a table is something else."""

_ALSO = {"scheduled_jobs": ("trigger",), "job_runs": ("job_type", "created_at")}
"""Those that are read where they are."""

_AT_ONCE = 500
"""Rows that are read at once: a process's other tasks go on in between."""

_JSON = ("config_json", "result_json")

_NAMED = 5
"""Rows that one error names at most."""

_INSERT: Mapping[str, Any] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}


class Adoption:
    """An application's tables, which are to become ours.

    Args:
        connection: In the transaction of the migration.
        columns: Of each table that is there, the names as they are written.
        name: What the database is called in messages.
    """

    def __init__(self, connection: AsyncConnection, columns: Mapping[str, Sequence[str]], name: str) -> None:
        self._connection = connection
        self._columns = columns
        self._name = name

    @classmethod
    async def of(
        cls, connection: AsyncConnection, have: set[str], wanted: Iterable[str], name: str
    ) -> Adoption:
        """The tables that are there.

        Args:
            have: The names of tables and indexes that are there.
            wanted: Those that we are about to make.

        Raises:
            UnsuitableServer: They are not what can be adopted, or stand in the way.
        """
        columns = dict[str, Sequence[str]]()
        for table in REQUIRED:
            if table in have:
                columns[table] = await _columns_of(connection, table)
        for table, names in columns.items():
            known = [each.lower() for each in names]
            if missing := [each for each in REQUIRED[table] if each not in known]:
                raise UnsuitableServer(
                    f"store: {name} has a table {table} that bgtasks did not make, and cannot adopt without "
                    f"the columns {', '.join(missing)}: add them, rename the table, or give bgtasks a "
                    f"database of its own"
                )
        aside = [f"{table}{ASIDE}" for table in columns]
        in_the_way = [each for each in (*aside, *wanted) if each in have and each not in columns]
        if "scheduled_jobs" not in columns and "job_runs" in columns:
            in_the_way.append("job_runs")
        if in_the_way:
            raise UnsuitableServer(
                f"store: {name} has a table or an index {in_the_way[0]} that bgtasks did not make: rename "
                f"it, or give bgtasks a database of its own"
            )
        return cls(connection, columns, name)

    async def put_aside(self) -> None:
        """Give the old tables other names."""
        for table in self._columns:
            await self._connection.exec_driver_sql(f"ALTER TABLE {table} RENAME TO {table}{ASIDE}")

    async def copy(self) -> str:
        """Copy the rows into our tables; what was adopted, in a sentence.

        Raises:
            UnsuitableServer: Rows cannot be taken over, and which.
        """
        made, counts, problems = Adopted(at=await self._now()), list[int](), list[str]()
        readers: tuple[tuple[Table, Callable[[Mapping[str, Any]], dict[str, Any]]], ...] = (
            (jobs, lambda row: job_values(made.job(row))),
            (runs, lambda row: run_values(made.run(row))),
        )
        for table, read in readers:
            counts.append(await self._copy(table, read, problems))
        if problems:
            raise UnsuitableServer(
                f"store: {self._name} has tables that bgtasks would adopt, but for some rows: "
                f"{'; '.join(problems[:_NAMED])}"
                f"{f'; and {len(problems) - _NAMED} more' if len(problems) > _NAMED else ''}. Nothing was "
                f"changed: correct or delete them, rename the tables, or give bgtasks a database of its own"
            )
        return self._said(made, *counts)

    async def _copy(
        self, table: Table, read: Callable[[Mapping[str, Any]], dict[str, Any]], problems: list[str]
    ) -> int:
        count = 0
        put = _INSERT[self._connection.dialect.name](table).on_conflict_do_nothing()
        async with aclosing(self._rows(table.name)) as found:
            async for rows in found:
                kept = list[dict[str, Any]]()
                for row in rows:
                    try:
                        kept.append(read(row))
                    except Unreadable as error:
                        problems.append(f"{table.name} {row['id']}: {error}")
                if kept and not problems:
                    await self._connection.execute(put, kept)
                count += len(kept)
        if count and not problems:
            there = select(func.count()).select_from(table)
            if twice := count - (await self._connection.execute(there)).scalar_one():
                problems.append(f"{table.name}: {twice} have the id of another")
        return count

    async def _now(self) -> datetime:
        """The database's time."""
        if self._connection.dialect.name != "postgresql":
            return datetime.now(UTC)
        at: datetime = (await self._connection.execute(select(func.clock_timestamp()))).scalar_one()
        return at

    async def _rows(self, table: str) -> AsyncGenerator[list[Mapping[str, Any]]]:
        """What was in a table, by the names of columns that we know."""
        known = (*REQUIRED[table], *_ALSO[table])
        names = {each.lower(): each for each in self._columns.get(table, ()) if each.lower() in known}
        if not names:
            return
        # JSON as it was written: read and written again, it would not be quite the same.
        columns = ", ".join(
            f'CAST("{each}" AS TEXT)' if name in _JSON else f'"{each}"' for name, each in names.items()
        )
        asked = text(f"SELECT {columns} FROM {table}{ASIDE}").execution_options(yield_per=_AT_ONCE)
        async with self._connection.stream(asked) as found:
            async for rows in found.partitions():
                yield [dict(zip(names, row, strict=True)) for row in rows]

    def _said(self, made: Adopted, of_jobs: int, of_runs: int) -> str:
        known = {table: (*REQUIRED[table], *_ALSO[table]) for table in REQUIRED}
        left = [
            f"{table}.{each}"
            for table, names in self._columns.items()
            for each in names
            if each.lower() not in known[table]
        ]
        notes = {
            "{} that were in progress are lost": made.lost,
            "{} that nobody had started are skipped": made.unstarted,
            "{} jobs have new ids, as theirs were no UUIDs, and the old ones as their keys": made.renamed,
            "{} jobs keep to their interval, as their trigger says nothing to bgtasks": made.untimed,
        }
        told = [note.format(count) for note, count in notes.items() if count]
        if left:
            told.append(f"not taken over: {', '.join(left)}")
        return (
            f"store: adopted {of_jobs} jobs and {of_runs} runs of an application's own tables in {self._name}"
            f"{''.join(f'; {each}' for each in told)}; the old tables are kept, to be dropped by you: "
            f"{', '.join(f'{table}{ASIDE}' for table in self._columns)}"
        )


async def _columns_of(connection: AsyncConnection, table: str) -> list[str]:
    return list((await connection.exec_driver_sql(f"SELECT * FROM {table} LIMIT 0")).keys())
