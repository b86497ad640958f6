"""The tables of the SQL store, as statements name them, and how their rows become values.

What they are in the database itself, with defaults and indexes, is in `sql_schema`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    DateTime,
    Double,
    Integer,
    MetaData,
    RowMapping,
    Table,
    Text,
    TypeDecorator,
    Uuid,
    literal_column,
)

from bgtasks.connect import encodable
from bgtasks.records import Answer, Command, JobRow, RunRow, RunStatus, SessionRow

__all__ = [
    "ANSWER_COLUMNS",
    "INSTANT",
    "JOB_COLUMNS",
    "OPEN",
    "OVER",
    "PENDING",
    "RUNNING",
    "RUN_COLUMNS",
    "Plain",
    "answers",
    "commands",
    "job_of",
    "job_values",
    "jobs",
    "run_of",
    "run_values",
    "runs",
    "session_of",
    "session_values",
    "sessions",
    "text_instant",
]


class Plain(TypeDecorator[str]):
    """Text without what PostgreSQL cannot keep: NUL and lone surrogates."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: object) -> str | None:
        """In their place, what says that a character is missing."""
        return None if value is None else encodable(value).replace("\0", "\ufffd")


class Names(TypeDecorator[tuple[str, ...]]):
    """Several names, as JSON."""

    impl = Plain
    cache_ok = True

    def process_bind_param(self, value: tuple[str, ...] | None, dialect: object) -> str | None:
        """As JSON."""
        return None if value is None else json.dumps(value)

    def process_result_value(self, value: str | None, dialect: object) -> tuple[str, ...] | None:
        """As names."""
        return None if value is None else tuple(json.loads(value))


class Instant(TypeDecorator[datetime]):
    """An instant in PostgreSQL.

    Its `infinity`, where an operator has written that, is read as the last instant that Python knows: what
    the driver makes of it has no zone, and cannot be compared with one that has.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: object) -> datetime | None:
        """As an aware instant."""
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


class TextInstant(TypeDecorator[datetime]):
    """An instant in SQLite: text in UTC, such as `2031-05-01 12:00:00.000000`, which sorts as time does.

    Read is whatever `datetime.fromisoformat` reads; without an offset it is taken for UTC.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: object) -> str | None:
        """As text, always of one length."""
        return None if value is None else text_instant(value)

    def process_result_value(self, value: str | None, dialect: object) -> datetime | None:
        """As an aware instant."""
        if value is None:
            return None
        read = datetime.fromisoformat(value)
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)


class TextId(TypeDecorator[UUID]):
    """A UUID in SQLite, as people write it: lower case, with dashes."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: UUID | None, dialect: object) -> str | None:
        """As text."""
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, dialect: object) -> UUID | None:
        """As a value."""
        return None if value is None else UUID(value)


def text_instant(value: datetime) -> str:
    """How an instant is written in SQLite."""
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


INSTANT = Instant().with_variant(TextInstant(), "sqlite")
ID = Uuid().with_variant(TextId(), "sqlite")

_tables = MetaData()

jobs = Table(
    "scheduled_jobs",
    _tables,
    Column("id", ID, primary_key=True),
    Column("job_type", Plain),
    Column("bot_id", Plain),
    Column("enabled", Boolean),
    Column("interval_minutes", Double),
    Column("trigger", Plain),
    Column("last_run_at", INSTANT),
    Column("next_run_at", INSTANT),
    Column("config_json", Plain),
    Column("key", Plain),
    Column("reason", Plain),
    Column("anchor", INSTANT),
    Column("token", BigInteger),
    Column("failures", Integer),
    Column("retired_at", INSTANT),
    Column("declared", Boolean),
    Column("version", BigInteger),
    Column("created_at", INSTANT),
    Column("updated_at", INSTANT),
)

runs = Table(
    "job_runs",
    _tables,
    Column("id", Plain, primary_key=True),
    Column("job_id", ID),
    Column("bot_id", Plain),
    Column("status", Plain),
    Column("started_at", INSTANT),
    Column("finished_at", INSTANT),
    Column("duration_ms", BigInteger),
    Column("result_json", Plain),
    Column("error_message", Plain),
    Column("job_type", Plain),
    Column("due", INSTANT),
    Column("attempt", Integer),
    Column("attempts", Integer),
    Column("session", Plain),
    Column("node_id", Plain),
    Column("token", BigInteger),
    Column("unwanted", Boolean),
    Column("created_at", INSTANT),
)

sessions = Table(
    "bgtasks_sessions",
    _tables,
    Column("id", Plain, primary_key=True),
    Column("node_id", Plain),
    Column("wired", Names),
    Column("known", Names),
    Column("snapshot_json", Plain),
    Column("joined_at", INSTANT),
    Column("expires_at", INSTANT),
)

commands = Table(
    "bgtasks_commands",
    _tables,
    *(Column(each.name, Plain, primary_key=each.name == "id") for each in fields(Command)),
    Column("created_at", INSTANT),
    Column("expires_at", INSTANT),
)

answers = Table(
    "bgtasks_command_answers",
    _tables,
    Column("command", Plain, primary_key=True),
    Column("session", Plain, primary_key=True),
    Column("node_id", Plain),
    Column("at", INSTANT),
    Column("done", Boolean),
    Column("text", Plain),
)

_JOB, _RUN, _SESSION = ([each.name for each in fields(row)] for row in (JobRow, RunRow, SessionRow))
_KEPT_OF_A_SESSION = ("joined_at", "expires_at")

JOB_COLUMNS: Sequence[Column[Any]] = [jobs.c[name] for name in _JOB]
"""What a `JobRow` is made of, in its order."""

# As the indexes say it: a parameter would not be recognised.
OPEN: ColumnElement[bool] = literal_column("job_runs.status IN ('pending', 'running')")
PENDING: ColumnElement[bool] = literal_column("job_runs.status = 'pending'")
RUNNING: ColumnElement[bool] = literal_column("job_runs.status = 'running'")
OVER: ColumnElement[bool] = literal_column("job_runs.status NOT IN ('pending', 'running')")

RUN_COLUMNS: Sequence[Column[Any]] = [runs.c[name] for name in _RUN]
"""What a `RunRow` is made of, in its order."""

ANSWER_COLUMNS: Sequence[Column[Any]] = [answers.c[name] for name in Answer._fields]
"""What an `Answer` is made of, in its order."""


def job_of(row: Sequence[Any]) -> JobRow:
    """The job in a row of `JOB_COLUMNS`."""
    return JobRow(**dict(zip(_JOB, row, strict=True)))


def job_values(job: JobRow) -> dict[str, Any]:
    """A job as its row."""
    return {name: getattr(job, name) for name in _JOB}


def run_of(row: Sequence[Any]) -> RunRow:
    """The run in a row of `RUN_COLUMNS`."""
    values: dict[str, Any] = dict(zip(_RUN, row, strict=True))
    return RunRow(**{**values, "status": RunStatus(values["status"])})


def run_values(run: RunRow) -> dict[str, Any]:
    """A run as its row."""
    return {name: getattr(run, name) for name in _RUN}


def session_of(row: RowMapping) -> SessionRow:
    """The session in a row."""
    return SessionRow(**{name: row[name] for name in _SESSION})


def session_values(session: SessionRow) -> dict[str, Any]:
    """What a session says of itself, as its row."""
    return {name: getattr(session, name) for name in _SESSION if name not in _KEPT_OF_A_SESSION}
