"""How rows of an application's own tables become ours.

The columns are read for what they say, whatever their types: an id may be a UUID, its text or its bytes; an
instant without an offset is taken for UTC; a flag may be a number.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import isfinite
from typing import Any
from uuid import UUID, uuid5

from bgtasks.errors import InvalidTrigger
from bgtasks.records import EVERY_BOT, JobRow, RunRow, RunStatus
from bgtasks.stores.tasks.sql_sound import LONGEST_INTERVAL
from bgtasks.trigger_text import read_trigger
from bgtasks.triggers import Every

__all__ = ["Adopted", "Unreadable"]

IDS = UUID("0c7f2a53-2b0e-4a55-9d5c-6a1c6a0de6b4")
"""The namespace of ids that are made from what was no UUID."""

NO_JOB = UUID(int=0)

_INFINITE = (datetime.max, datetime.min)  # noqa: DTZ901 - as the driver gives them
_TRUE, _FALSE = ("1", "t", "true", "y", "yes", "on"), ("0", "f", "false", "n", "no", "off")


class Unreadable(ValueError):
    """A row that cannot be taken over, and why."""


@dataclass(slots=True, kw_only=True)
class Adopted:
    """Makes rows of ours, jobs first, and counts what it had to change.

    Attributes:
        at: The database's time.
        types: The type of each job so far.
        lost: Runs that were in progress: they have no session.
        unstarted: Runs that nobody had started: whether they are still wanted is not known.
        renamed: Jobs whose ids were no UUIDs.
        untimed: Jobs whose trigger says nothing to us, and that keep their interval.
    """

    at: datetime
    types: dict[UUID, str] = field(default_factory=dict)
    lost: int = 0
    unstarted: int = 0
    renamed: int = 0
    untimed: int = 0

    def job(self, row: Mapping[str, Any]) -> JobRow:
        """A row of `scheduled_jobs`.

        Raises:
            Unreadable: It has no id or type, or something that is not what its column is for.
        """
        id, key = _id(row["id"])
        if id in self.types:
            raise Unreadable("its id is that of another")
        job_type = _text(row["job_type"])
        if not job_type:
            raise Unreadable("it has no job_type")
        self.types[id] = job_type
        self.renamed += key is not None
        enabled, due = _flag(row["enabled"]), _instant(row["next_run_at"])
        reason = "" if enabled else "it was not enabled when bgtasks took it over"
        if due is None and row["next_run_at"] is not None:
            enabled, reason = False, "its next_run_at was infinite when bgtasks took it over"
        config = _text(row["config_json"])
        trigger, minutes = self._when(_text(row.get("trigger")), _minutes(row["interval_minutes"]))
        last = _instant(row["last_run_at"])
        return JobRow(
            id=id,
            job_type=job_type,
            bot_id=_text(row["bot_id"]) or EVERY_BOT,
            key=key,
            enabled=enabled,
            reason=reason,
            trigger=trigger,
            interval_minutes=minutes,
            next_run_at=due or self._due(trigger, minutes, last),
            last_run_at=last,
            config_json="{}" if config in (None, "", "null") else config,
        )

    def _when(self, trigger: str | None, minutes: float | None) -> tuple[str | None, float | None]:
        """Its trigger or its interval; a trigger, if it is one, is the more exact."""
        if not trigger:
            return None, _interval(minutes)
        try:
            read = read_trigger(trigger)
        except InvalidTrigger:
            if minutes is None:  # kept for its scheduler to tell of
                return trigger, None
            self.untimed += 1
            return None, _interval(minutes)
        if isinstance(read, Every) and not read.fixed_rate:
            return None, _interval(read.seconds / 60)
        return trigger, None

    def _due(self, trigger: str | None, minutes: float | None, last: datetime | None) -> datetime | None:
        """When a job is due of which that was not known: a run that may have been in progress is over."""
        try:
            if minutes is not None:
                return self.at if last is None else last + timedelta(minutes=minutes)
            return None if trigger is None else read_trigger(trigger).next_after(self.at)
        except InvalidTrigger:
            return self.at  # which its scheduler then tells of
        except OverflowError as error:
            raise Unreadable(f"interval_minutes is {minutes!r}") from error

    def run(self, row: Mapping[str, Any]) -> RunRow:
        """A row of `job_runs`.

        Raises:
            Unreadable: It has no id, or something that is not what its column is for.
        """
        if row["id"] is None:
            raise Unreadable("it has no id")
        job = NO_JOB if row["job_id"] is None else _id(row["job_id"])[0]
        began, ended = _instant(row["started_at"]), _instant(row["finished_at"])
        created = _instant(row.get("created_at")) or began or ended or self.at
        status, why = self._status(_text(row["status"]))
        duration = _number(row["duration_ms"], "duration_ms")
        return RunRow(
            id=_run_id(row["id"]),
            job_id=job,
            job_type=self.types.get(job) or _text(row.get("job_type")) or "unknown",
            bot_id=_text(row["bot_id"]) or EVERY_BOT,
            status=status,
            due=began or created,
            attempts=1,
            created_at=created,
            started_at=began,
            finished_at=ended or (self.at if why else None),
            duration_ms=None if duration is None else round(duration),
            result_json=_text(row["result_json"]),
            error_message=_text(row["error_message"]) or why,
        )

    def _status(self, said: str | None) -> tuple[RunStatus, str | None]:
        try:
            status = RunStatus((said or "").lower())
        except ValueError:
            raise Unreadable(f"status is {said!r}") from None
        if status is RunStatus.RUNNING:
            self.lost += 1
            return RunStatus.LOST, "it was in progress when bgtasks took it over"
        if status is RunStatus.PENDING:
            self.unstarted += 1
            return RunStatus.SKIPPED, "it had not been started when bgtasks took it over"
        return status, None


def _id(value: Any) -> tuple[UUID, str | None]:
    """A UUID, and what it was made from if that was none."""
    if value is None:
        raise Unreadable("it has no id")
    if isinstance(value, bytes) and len(value) == 16:
        return UUID(bytes=value), None
    said = (_text(value) or "").strip()
    try:
        return UUID(said), None
    except ValueError:
        return uuid5(IDS, said), said


def _run_id(value: Any) -> str:
    return str(UUID(bytes=value)) if isinstance(value, bytes) and len(value) == 16 else _text(value) or ""


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return json.dumps(value) if isinstance(value, dict | list) else str(value)


def _flag(value: Any) -> bool:
    """A flag that was never set is not set."""
    said = str(value).strip().lower()
    if value is None or said in _FALSE:
        return False
    if said in _TRUE:
        return True
    raise Unreadable(f"enabled is {value!r}")


def _minutes(value: Any) -> float | None:
    return _number(value, "interval_minutes")


def _interval(minutes: float | None) -> float | None:
    if minutes is not None and not 0 < minutes <= LONGEST_INTERVAL:
        raise Unreadable(f"interval_minutes is {minutes!r}, not more than 0 and at most {LONGEST_INTERVAL}")
    return minutes


def _number(value: Any, name: str) -> float | None:
    if value is None:
        return None
    try:
        read = float(value) if isinstance(value, int | float | Decimal | str) else None
    except ValueError:
        read = None
    if read is None or not isfinite(read):
        raise Unreadable(f"{name} is {value!r}")
    return read


def _instant(value: Any) -> datetime | None:
    """An instant; None if it is not known, or is PostgreSQL's `infinity` or `-infinity`."""
    if value is None or value in _INFINITE:
        return None
    try:
        read = datetime.fromisoformat(value.strip()) if isinstance(value, str) else value
    except ValueError:
        read = None
    if not isinstance(read, datetime):
        raise Unreadable(f"{value!r} is not an instant")
    try:
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except OverflowError:
        raise Unreadable(f"{value!r} is not an instant") from None
