"""What the SQL store keeps its rows in: tables, defaults and indexes, by versions that follow each other.

An operator's plain lines work:

```sql
UPDATE scheduled_jobs SET next_run_at = now() WHERE id = '…';              -- PostgreSQL
UPDATE scheduled_jobs SET next_run_at = datetime('now') WHERE id = '…';    -- SQLite
INSERT INTO scheduled_jobs (job_type, interval_minutes) VALUES ('tidy', 30);
```

Tables of these names that an application has kept itself are adopted: see `sql_adopt`.

In SQLite an instant is text in UTC. Whatever form of it SQLite's date functions understand may be written
to `next_run_at`; the database itself brings it into the one that sorts, and refuses what is none.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from bgtasks.errors import UnsuitableServer
from bgtasks.stores.tasks.sql_adopt import Adoption
from bgtasks.stores.tasks.sql_sound import AS_DASHED, DASHED, POSTGRESQL, SORTED, SQLITE

__all__ = ["MIGRATIONS", "Migration", "is_of_now", "migrate"]


class Migration(NamedTuple):
    """Statements that bring a database from the version before to the next.

    Attributes:
        both: For either kind of database, with `{words}` for what they call differently.
        sqlite: What only SQLite needs.
        postgresql: What only PostgreSQL needs.
    """

    both: tuple[str, ...]
    sqlite: tuple[str, ...] = ()
    postgresql: tuple[str, ...] = ()


_WORDS = {
    "postgresql": {
        "uuid": "UUID",
        "text": 'TEXT COLLATE "C"',  # ordered as Python orders it, in any locale
        "instant": "TIMESTAMPTZ",
        "new_id": "gen_random_uuid()",
        "now": "clock_timestamp()",
        "enabled": "enabled",
        "sound_job": "CHECK (TRUE)",
    },
    "sqlite": {
        "uuid": "TEXT",
        "text": "TEXT",
        "instant": "TEXT",
        "new_id": (
            "(lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || substr(hex(randomblob(2)), 2)"
            " || '-a' || substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6))))"
        ),
        "now": "(strftime('%Y-%m-%d %H:%M:%f000', 'now'))",
        "enabled": "enabled = 1",
        # SQLite keeps anything anywhere; what cannot be read back would stop every node.
        "sound_job": (
            "CHECK (length(replace(id, '-', '')) = 32 AND replace(id, '-', '') NOT GLOB '*[^0-9A-Fa-f]*'),"
            " CHECK (typeof(interval_minutes) <> 'text'),"
            " CHECK (next_run_at IS NULL OR julianday(next_run_at) IS NOT NULL),"
            + ",".join(
                f" CHECK ({each} IS NULL OR ({each} GLOB '????-??-??*' AND julianday({each}) IS NOT NULL))"
                for each in ("last_run_at", "anchor", "retired_at")
            )
        ),
    },
}

_AS_SORTED = "strftime('%Y-%m-%d %H:%M:%f000', new.next_run_at)"

MIGRATIONS: tuple[Migration, ...] = (
    Migration(
        both=(
            """CREATE TABLE scheduled_jobs (
                id {uuid} NOT NULL PRIMARY KEY DEFAULT {new_id},
                job_type {text} NOT NULL,
                bot_id {text} NOT NULL DEFAULT '*',
                enabled BOOLEAN NOT NULL DEFAULT TRUE CHECK (enabled IN (TRUE, FALSE)),
                interval_minutes DOUBLE PRECISION,
                trigger TEXT,
                last_run_at {instant},
                next_run_at {instant} DEFAULT {now},
                config_json TEXT NOT NULL DEFAULT '{{}}',
                key {text},
                reason TEXT NOT NULL DEFAULT '',
                anchor {instant},
                token BIGINT NOT NULL DEFAULT 0,
                failures INTEGER NOT NULL DEFAULT 0,
                retired_at {instant},
                declared BOOLEAN NOT NULL DEFAULT FALSE CHECK (declared IN (TRUE, FALSE)),
                version BIGINT NOT NULL DEFAULT 1,
                created_at {instant} NOT NULL DEFAULT {now},
                updated_at {instant} NOT NULL DEFAULT {now},
                UNIQUE (job_type, bot_id, key),
                {sound_job}
            )""",
            "CREATE INDEX scheduled_jobs_due ON scheduled_jobs (job_type, next_run_at, id) WHERE {enabled}",
            "CREATE INDEX scheduled_jobs_of_type ON scheduled_jobs (job_type, id)",
            """CREATE TABLE job_runs (
                id {text} NOT NULL PRIMARY KEY,
                job_id {uuid} NOT NULL,
                bot_id {text} NOT NULL DEFAULT '*',
                status {text} NOT NULL CHECK (status IN
                    ('pending', 'running', 'success', 'failed', 'skipped', 'lost', 'timed_out')),
                started_at {instant},
                finished_at {instant},
                duration_ms BIGINT,
                result_json TEXT,
                error_message TEXT,
                job_type {text} NOT NULL,
                due {instant} NOT NULL,
                attempt INTEGER NOT NULL DEFAULT 1,
                attempts INTEGER NOT NULL DEFAULT 3,
                session {text},
                node_id TEXT,
                token BIGINT NOT NULL DEFAULT 0,
                unwanted BOOLEAN NOT NULL DEFAULT FALSE,
                created_at {instant} NOT NULL DEFAULT {now}
            )""",
            "CREATE INDEX job_runs_of_job ON job_runs (job_id, created_at, id)",
            "CREATE INDEX job_runs_of_type ON job_runs (job_type, created_at, id)",
            "CREATE INDEX job_runs_by_status ON job_runs (status, created_at, id)",
            "CREATE INDEX job_runs_by_time ON job_runs (created_at, id)",
            "CREATE INDEX job_runs_open ON job_runs (job_id) WHERE status IN ('pending', 'running')",
            """CREATE TABLE bgtasks_sessions (
                id {text} NOT NULL PRIMARY KEY,
                node_id TEXT NOT NULL,
                wired TEXT NOT NULL,
                known TEXT NOT NULL,
                snapshot_json TEXT NOT NULL,
                joined_at {instant} NOT NULL,
                expires_at {instant} NOT NULL
            )""",
        ),
        sqlite=(
            f"""CREATE TRIGGER scheduled_jobs_added AFTER INSERT ON scheduled_jobs
                WHEN new.id NOT GLOB '{DASHED}' OR new.id <> lower(new.id)
                    OR new.next_run_at NOT GLOB '{SORTED}'
                BEGIN UPDATE scheduled_jobs SET id = {AS_DASHED}, next_run_at = {_AS_SORTED}
                    WHERE rowid = new.rowid; END""",
            f"""CREATE TRIGGER scheduled_jobs_due_changed AFTER UPDATE OF next_run_at ON scheduled_jobs
                WHEN new.next_run_at NOT GLOB '{SORTED}'
                BEGIN UPDATE scheduled_jobs SET next_run_at = {_AS_SORTED} WHERE rowid = new.rowid; END""",
        ),
    ),
    Migration(
        both=(
            "CREATE INDEX scheduled_jobs_of_bot ON scheduled_jobs (bot_id, id)",
            """CREATE INDEX scheduled_jobs_over ON scheduled_jobs (id)
                WHERE next_run_at IS NULL AND trigger IS NOT NULL""",
            "CREATE INDEX job_runs_going ON job_runs (session) WHERE status = 'running'",
            """CREATE TABLE bgtasks_commands (
                id {text} NOT NULL PRIMARY KEY,
                kind TEXT NOT NULL,
                node_id TEXT NOT NULL DEFAULT '*',
                subject TEXT NOT NULL DEFAULT '',
                arguments_json TEXT NOT NULL DEFAULT '{{}}',
                asked_by TEXT NOT NULL DEFAULT '',
                created_at {instant} NOT NULL,
                expires_at {instant} NOT NULL
            )""",
            "CREATE INDEX bgtasks_commands_by_time ON bgtasks_commands (created_at, id)",
            "CREATE INDEX bgtasks_commands_by_end ON bgtasks_commands (expires_at)",
            """CREATE TABLE bgtasks_command_answers (
                command {text} NOT NULL,
                session {text} NOT NULL,
                node_id TEXT NOT NULL,
                at {instant} NOT NULL,
                done BOOLEAN NOT NULL,
                text TEXT NOT NULL,
                PRIMARY KEY (command, session)
            )""",
        ),
        sqlite=SQLITE,
        postgresql=POSTGRESQL,
    ),
)
"""The first makes version 1 of nothing, the next 2 of that. One that was released is never changed."""

_OURS = (
    *("scheduled_jobs", "job_runs", "bgtasks_sessions"),
    *("bgtasks_commands", "bgtasks_command_answers"),
)

_HAVE = {
    "postgresql": (
        "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
        " UNION ALL SELECT indexname FROM pg_indexes WHERE schemaname = current_schema()"
    ),
    "sqlite": "SELECT name FROM sqlite_master WHERE type IN ('table', 'index')",
}

_INDEXES = re.compile(r"CREATE INDEX (\w+)")

_LOCK = "SELECT pg_advisory_xact_lock(7091857233641)"
"""One process at a time migrates a PostgreSQL database; any number that nobody else uses."""


async def is_of_now(connection: AsyncConnection) -> bool:
    """Whether the database is of the last version, so that there is nothing to be done."""
    have = await _have(connection)
    return "bgtasks_schema" in have and await _version(connection) == len(MIGRATIONS)


async def migrate(connection: AsyncConnection, name: str) -> str | None:
    """Bring the database to the last version, within the transaction that has begun.

    Args:
        connection: In a transaction that may write.
        name: What the database is called in messages.

    Returns:
        What was adopted, in a sentence, if anything.

    Raises:
        UnsuitableServer: A newer version wrote it, or somebody else did.
    """
    if connection.dialect.name == "postgresql":
        await connection.exec_driver_sql(_LOCK)
    have = await _have(connection)
    if "bgtasks_schema" not in have:
        return await _begin(connection, have, name)
    version = await _version(connection)
    if version > len(MIGRATIONS):
        raise UnsuitableServer(
            f"store: {name} was written by a newer bgtasks (version {version} of its tables; this one knows "
            f"{len(MIGRATIONS)}): upgrade bgtasks here, or give it a database of its own"
        )
    await _bring(connection, version)
    return None


async def _begin(connection: AsyncConnection, have: set[str], name: str) -> str | None:
    """Make our tables, from those of an application if there are such."""
    made = [index for each in MIGRATIONS for line in each.both for index in _INDEXES.findall(line)]
    adoption = None
    if any(table in have for table in _OURS):
        adoption = await Adoption.of(connection, have, (*_OURS, *made), name)
        await adoption.put_aside()
    await connection.exec_driver_sql("CREATE TABLE bgtasks_schema (version INTEGER NOT NULL)")
    await connection.exec_driver_sql("INSERT INTO bgtasks_schema (version) VALUES (0)")
    await _bring(connection, 0)
    return None if adoption is None else await adoption.copy()


async def _bring(connection: AsyncConnection, version: int) -> None:
    """Make the last version of this one."""
    kind = connection.dialect.name
    for migration in MIGRATIONS[version:]:
        for statement in migration.both:
            await connection.exec_driver_sql(statement.format(**_WORDS[kind]))
        for statement in migration.sqlite if kind == "sqlite" else migration.postgresql:
            await connection.exec_driver_sql(statement)
    last = text("UPDATE bgtasks_schema SET version = :version")
    await connection.execute(last, {"version": len(MIGRATIONS)})


async def _have(connection: AsyncConnection) -> set[str]:
    """The names of tables and indexes."""
    return set((await connection.exec_driver_sql(_HAVE[connection.dialect.name])).scalars())


async def _version(connection: AsyncConnection) -> int:
    """The version of what is there; 0 of nothing."""
    found = (await connection.exec_driver_sql("SELECT max(version) FROM bgtasks_schema")).scalar_one()
    return int(found or 0)
