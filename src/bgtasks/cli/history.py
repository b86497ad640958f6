"""How runs are shown: what each was of, how it stands, what came of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from rich.text import Text

from bgtasks.claims.declared import job_id
from bgtasks.cli.display import as_record, head, instant, now, one_line, show, span, tail
from bgtasks.contracts import TaskStore
from bgtasks.records import EVERY_BOT, JobRow, RunRow, RunStatus

__all__ = [
    "FAILED",
    "NOTHING_WELL",
    "Labels",
    "as_run",
    "job_name",
    "outcome",
    "print_runs",
    "result",
    "took",
]

FAILED = (RunStatus.FAILED, RunStatus.TIMED_OUT, RunStatus.LOST)
"""Runs that did not go well."""

NOTHING_WELL = "empty:"
"""How the message of a run begins that went well and yet came to nothing."""

REMEMBERED = 10_000
"""Jobs whose names are remembered."""

_STYLES = {
    RunStatus.PENDING: "magenta",
    RunStatus.RUNNING: "cyan",
    RunStatus.SUCCESS: "green",
    RunStatus.FAILED: "red",
    RunStatus.SKIPPED: "dim",
    RunStatus.TIMED_OUT: "red",
    RunStatus.LOST: "yellow",
}


class Labels:
    """What runs are called: by their task, with the bot and the key of a job that was added at run time."""

    def __init__(self, store: TaskStore) -> None:
        self._store = store
        self._known: dict[UUID, str] = {}

    async def of(self, run: RunRow) -> str:
        """What a run is called; without bot and key, if its job was removed."""
        if run.job_id == job_id(run.job_type):
            return run.job_type
        if run.job_id not in self._known:
            row = await self._store.job(run.job_id)
            if len(self._known) >= REMEMBERED:
                del self._known[next(iter(self._known))]
            self._known[run.job_id] = job_name(row) if row else f"{run.job_type}[{str(run.job_id)[:8]}]"
        return self._known[run.job_id]


def job_name(row: JobRow) -> str:
    """What a job is called: as a node calls its runs, but that of an id there is only the beginning.

    That is where it has no key, or the key or the bot has a slash, so that no two are called the same.
    """
    if row.declared:
        return row.job_type
    if row.key is None or "/" in row.bot_id + row.key:
        return f"{row.job_type}[{str(row.id)[:8]}]"
    bot = "" if row.bot_id == EVERY_BOT else f"{row.bot_id}/"
    return f"{row.job_type}[{bot}{row.key}]"


def outcome(run: RunRow) -> str:
    """How a run stands, in words."""
    match run.status:
        case RunStatus.LOST if run.attempt < run.attempts and not run.unwanted:
            return "lost, offered again"
        case RunStatus.LOST:
            times = "1 attempt" if run.attempt == 1 else f"{run.attempt} attempts"
            return f"lost, given up after {times}"
        case RunStatus.SUCCESS if _is_empty(run):
            return "success, empty"
        case RunStatus.PENDING:
            return "wanted"
        case _:
            return run.status.replace("_", " ")


def result(run: RunRow) -> str:
    """What came of a run, or why nothing did, on one line."""
    if run.error_message and not _is_empty(run):
        return one_line(run.error_message)
    return one_line(run.result_json or (run.error_message or "").removeprefix(NOTHING_WELL))


def took(run: RunRow) -> str:
    """How long it took, or takes by now."""
    if run.duration_ms is not None and run.started_at is not None:
        return span(run.duration_ms / 1000)
    if run.status is RunStatus.RUNNING and run.started_at is not None:
        return span(max(0.0, (now() - run.started_at).total_seconds()))
    return ""


def as_run(run: RunRow, label: str) -> dict[str, Any]:
    """A run for programs."""
    return {**as_record(run), "task": label, "outcome": outcome(run)}


def cells(run: RunRow, label: str, when: str) -> tuple[str | Text, ...]:
    """A run's cells in a table."""
    style = "yellow" if _is_empty(run) else _STYLES[run.status]
    status = Text(outcome(run), style)
    return when, head(label, 24), status, tail(run.node_id), Text(took(run), justify="right"), result(run)


async def print_runs(runs: Iterable[RunRow], labels: Labels) -> None:
    """Print runs as a table."""
    rows = [cells(run, await labels.of(run), instant(run.started_at or run.created_at)) for run in runs]
    show(
        ("when (UTC)", "task", "status", "node", "took", "result or reason"),
        rows,
        fold={"status": 19},
        cut=("result or reason",),
    )


def _is_empty(run: RunRow) -> bool:
    return run.status is RunStatus.SUCCESS and (run.error_message or "").startswith(NOTHING_WELL)
