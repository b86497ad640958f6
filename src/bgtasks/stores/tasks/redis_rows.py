"""Jobs, runs and sessions as they are written in Redis: texts in hashes, and back again.

Instants are whole microseconds since 1970. What is None has no field, or an empty one if it is a number or an
instant.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from itertools import batched
from typing import Any
from uuid import UUID

from bgtasks.records import (
    Answer,
    Claimed,
    Command,
    CommandRow,
    Ending,
    JobRow,
    Offer,
    Refusal,
    Refused,
    RunRow,
    RunStatus,
    SessionRow,
    Tick,
)

__all__ = [
    "COMMAND_FIELDS",
    "JOB_FIELDS",
    "OWN_JOB_FIELDS",
    "RUN_FIELDS",
    "Argument",
    "answered",
    "at",
    "command_row",
    "instant",
    "job_row",
    "microseconds",
    "offered",
    "optional",
    "run_row",
    "session_fields",
    "session_row",
    "written_command",
    "written_ending",
    "written_job",
    "written_run",
    "written_tick",
]

JOB_FIELDS = (
    "id", "job_type", "bot_id", "key", "enabled", "reason", "trigger", "interval_minutes", "anchor",
    "next_run_at", "last_run_at", "config_json", "token", "failures", "retired_at", "declared", "version",
)  # fmt: skip
"""The fields of a job's hash, in the order of its row."""

OWN_JOB_FIELDS = (
    "enabled", "reason", "trigger", "interval_minutes", "anchor", "next_run_at", "config_json", "retired_at",
    "declared",
)  # fmt: skip
"""Those that a change writes: the others stay as they began, or are what runs write."""

RUN_FIELDS = (
    "id", "job_id", "job_type", "bot_id", "status", "due", "attempt", "attempts", "session", "node_id",
    "token", "unwanted", "created_at", "started_at", "finished_at", "duration_ms", "result_json",
    "error_message",
)  # fmt: skip
"""The fields of a run's hash, in the order of its row."""

COMMAND_FIELDS = (
    "id", "kind", "node_id", "subject", "arguments_json", "asked_by", "created_at", "expires_at",
)  # fmt: skip
"""The fields of a command's hash, in the order of its row."""

ANSWER_PARTS = 5
"""Elements of the list of a command's answers for each."""

type Argument = str | int
"""Of a script."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
NO_JOB = UUID(int=0)


def microseconds(when: datetime | None) -> str:
    """An instant as it is written; empty if there is none."""
    return "" if when is None else str((when - EPOCH) // MICROSECOND)


def instant(written: str | None) -> datetime | None:
    """The instant that was written, if one was."""
    return at(written) if written else None


def at(written: str) -> datetime:
    """The instant that was written."""
    return EPOCH + timedelta(microseconds=int(written))


def optional(value: str | None) -> str:
    """A text, or none, as one argument of a script."""
    return "" if value is None else f"={value}"


def written_job(job: JobRow, names: Iterable[str] = JOB_FIELDS) -> list[str]:
    """The fields of these names with their values, one after the other."""
    return _written(job, names)


def written_run(run: RunRow) -> list[str]:
    """All its fields with their values, one after the other."""
    return _written(run, RUN_FIELDS)


def written_command(command: Command) -> list[str]:
    """The fields that its sender chose with their values, one after the other."""
    return _written(command, [each.name for each in fields(Command)])


def _written(row: JobRow | RunRow | Command, names: Iterable[str]) -> list[str]:
    pairs: list[str] = []
    for name in names:
        value = getattr(row, name)
        if isinstance(value, datetime):
            value = microseconds(value)
        elif isinstance(value, bool):
            value = int(value)
        if value is not None:
            pairs += (name, str(value))
    return pairs


def written_tick(tick: Tick) -> Sequence[str]:
    """A tick as a script takes it."""
    return (
        str(tick.job_id),
        microseconds(tick.due),
        microseconds(tick.following),
        tick.run_id,
        microseconds(tick.runs_for),
        tick.missed,
        tick.overlap,
        str(tick.attempts),
        str(int(tick.patient)),
    )


def written_ending(ending: Ending) -> Sequence[str]:
    """An ending as a script takes it: numbers as text too, of which it would lose digits."""
    return (
        ending.run_id,
        str(ending.token),
        ending.status,
        str(ending.duration_ms),
        str(int(ending.again)),
        optional(ending.result_json),
        optional(ending.error_message),
    )


def job_row(values: Sequence[Any]) -> JobRow:
    """A job from the values of `JOB_FIELDS`."""
    (id_, job_type, bot_id, key, enabled, reason, trigger, minutes, anchor, due, last, config, token,
     failures, retired, declared, version) = values  # fmt: skip
    return JobRow(
        id=UUID(id_),
        job_type=job_type,
        bot_id=bot_id,
        key=key,
        enabled=enabled == "1",
        reason=reason,
        trigger=trigger,
        interval_minutes=float(minutes) if minutes else None,
        anchor=instant(anchor),
        next_run_at=instant(due),
        last_run_at=instant(last),
        config_json=config,
        token=int(token),
        failures=int(failures),
        retired_at=instant(retired),
        declared=declared == "1",
        version=int(version),
    )


def run_row(values: Sequence[Any]) -> RunRow:
    """A run from the values of `RUN_FIELDS`."""
    (id_, job_id, job_type, bot_id, status, due, attempt, attempts, session, node_id, token, unwanted,
     created, started, finished, took, result, error) = values  # fmt: skip
    return RunRow(
        id=id_,
        job_id=UUID(job_id),
        job_type=job_type,
        bot_id=bot_id,
        status=RunStatus(status),
        due=at(due),
        attempt=int(attempt),
        attempts=int(attempts),
        session=session,
        node_id=node_id,
        token=int(token or 0),
        unwanted=unwanted == "1",
        created_at=at(created),
        started_at=instant(started),
        finished_at=instant(finished),
        duration_ms=int(took) if took else None,
        result_json=result,
        error_message=error,
    )


def offered(values: Sequence[str]) -> Offer:
    """An offer from the id, job, instant, attempt and attempts of its run."""
    run_id, job_id, due, attempt, attempts = values
    return Offer(run_id, UUID(job_id), at(due), int(attempt), int(attempts))


def answered(values: Sequence[str]) -> Claimed | Refused:
    """What a script said to a claim.

    Either "claimed" with the run's id, job, instant, attempt, token and config; or why not, with the job,
    when it is due by now, and the run that was written down.
    """
    if values[0] == "claimed":
        _, run_id, job_id, due, attempt, token, config = values
        return Claimed(run_id, UUID(job_id), at(due), int(attempt), int(token), config)
    why, job_id, due, run_id = values
    return Refused(UUID(job_id) if job_id else NO_JOB, Refusal(why), instant(due), run_id or None)


def session_fields(session: SessionRow) -> list[str]:
    """The fields of a session with their values, one after the other."""
    return [
        "node_id", session.node_id,
        "wired", _names(session.wired),
        "known", _names(session.known),
        "snapshot_json", session.snapshot_json,
    ]  # fmt: skip


def _names(types: Sequence[str]) -> str:
    # Lua's reader takes no escaped lone surrogate; as they are they become "?" on their way, as everywhere.
    return json.dumps(types, ensure_ascii=False)


def session_row(values: Sequence[Any]) -> SessionRow:
    """A session from its id, when it expires, and the values of its fields."""
    session_id, expires_at, joined_at, node_id, wired, known, snapshot = values
    return SessionRow(
        id=session_id,
        node_id=node_id,
        wired=tuple(json.loads(wired)),
        known=tuple(json.loads(known)),
        snapshot_json=snapshot,
        joined_at=instant(joined_at),
        expires_at=instant(expires_at),
    )


def command_row(values: Sequence[Any]) -> CommandRow:
    """A command from the values of `COMMAND_FIELDS` and its answers, all in one list."""
    id_, kind, node_id, subject, arguments, asked_by, created, expires, answers = values
    return CommandRow(
        id=id_,
        kind=kind,
        node_id=node_id,
        subject=subject,
        arguments_json=arguments,
        asked_by=asked_by,
        created_at=at(created),
        expires_at=at(expires),
        answers=tuple(
            Answer(session, node, at(when), done == "1", text)
            for session, node, when, done, text in batched(answers, ANSWER_PARTS)
        ),
    )
