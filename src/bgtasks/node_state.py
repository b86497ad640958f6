"""How a process stands, as JSON: what it publishes of itself for whoever asks from outside."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Protocol

from bgtasks.clock import Clock
from bgtasks.health import Health, JobSnapshot
from bgtasks.outcomes import Outcome
from bgtasks.wiring import Decision

__all__ = ["NodeState", "said"]

type Section = Callable[[], Mapping[str, Any]]
"""What a part of a process has to say of itself."""


class Scheduler(Protocol):
    """What is asked of a scheduler."""

    @property
    def decisions(self) -> tuple[Decision, ...]: ...

    @property
    def unavailable(self) -> dict[str, str]: ...

    def snapshot(self) -> tuple[JobSnapshot, ...]: ...

    def health(self) -> Health: ...


class NodeState:
    """Puts together how a process stands.

    Attributes:
        sections: What other parts of the process say of themselves, by their names.
    """

    def __init__(self, clock: Clock, scheduler: Scheduler) -> None:
        self.sections: dict[str, Section] = {}
        self._clock = clock
        self._scheduler = scheduler
        self._since = clock.now()

    def __call__(self) -> dict[str, Any]:
        """How it stands now."""
        health, rows = self._scheduler.health(), self._scheduler.decisions
        kept = {row.name: row for row in rows}
        return {
            **{name: _said(section) for name, section in self.sections.items()},
            "known": [row.name for row in rows],
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "python": sys.version.split()[0],
            "since": _text(self._since),
            "at": _text(self._clock.now()),
            "lag": round(health.lag, 3),
            "problems": list(health.problems),
            "unavailable": self._scheduler.unavailable,
            "jobs": [_job(job, kept.get(job.name)) for job in self._scheduler.snapshot()],
            "not_wired": {row.name: row.reason for row in rows if not row.wired},
        }


def _said(section: Section) -> Any:
    """What a section says; it is someone else's code, and must not keep the rest from being said."""
    try:
        return json.loads(json.dumps(section(), default=str, allow_nan=False))
    except Exception as error:  # noqa: BLE001
        return {"error": f"{type(error).__name__}: {error}"}


def _job(job: JobSnapshot, row: Decision | None) -> dict[str, Any]:
    row_of = {
        "name": job.name,
        "kind": "job" if row is None else row.kind,
        "scope": "cluster" if row is None else row.scope,
        "when": job.when,
        "next_run": _text(job.next_run),
        "running_since": _text(job.running_since),
        "last_ended": _text(job.last_ended),
        "last": None if job.last_outcome is None else said(job.last_outcome),
        "failures": job.failures,
        "paused": job.paused,
        "waiting": job.waiting,
        "fault": job.fault,
    }
    return {name: value for name, value in row_of.items() if value not in (None, 0)}


def said(outcome: Outcome) -> str:
    """An outcome in one line."""
    reason = getattr(outcome, "reason", "")
    reason = " ".join(reason.split())
    return f"{type(outcome).__name__}: {reason}"[:500] if reason else type(outcome).__name__


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
