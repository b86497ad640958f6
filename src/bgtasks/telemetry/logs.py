"""Events as log lines, through structlog into the standard library's logger `bgtasks`.

No handler is configured here. A host that set up `logging` gets the lines where it wants them, with
`task`, `run_id` and the other fields also as attributes of the record; where nothing is set up, warnings
and errors reach stderr by logging's last resort.

During a run its `task` and `run_id` are bound to structlog's context, so every structlog line of the run
carries them. `RunContextFilter` does the same for records of the standard library.
"""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Callable, MutableMapping
from typing import Any

import structlog
from structlog.contextvars import bind_contextvars, merge_contextvars

from bgtasks.events import (
    DebugEvent,
    Event,
    JobsUnresolved,
    LoopStalled,
    ResourceLost,
    ResourceRegained,
    RunFinished,
    RunLost,
    RunMissed,
    RunRetried,
    RunSkipped,
    RunStarted,
    RunStuck,
    SchedulerStarted,
    SchedulerStopped,
    TaskPaused,
    TaskResumed,
    TermGained,
    TermLost,
    TermQuarantined,
    WorkerCrashed,
    WorkerGivenUp,
    WorkerReady,
    WorkerRestarted,
)
from bgtasks.outcomes import Cancelled, Deferred, Done, Failed, Skipped, TimedOut
from bgtasks.run import current_run

__all__ = ["LogListener", "RunContextFilter", "log_to_stderr"]


class LogListener:
    """Writes one line per event worth one.

    Successful runs are at DEBUG. A failure is at ERROR with its traceback; while the same error repeats,
    only every power of two of it is, without the traceback, and the recovery is said; so it is with ticks
    that are skipped or missed for the same reason, and with attempts. A lost server is said once, and once
    more when it is back.
    """

    def __init__(self, logger: logging.Logger | None = None) -> None:
        self._logger = logger or logging.getLogger("bgtasks")
        self._log: structlog.stdlib.BoundLogger = structlog.wrap_logger(
            self._logger,
            processors=[structlog.stdlib.filter_by_level, merge_contextvars, _to_stdlib],
            wrapper_class=structlog.stdlib.BoundLogger,
            context_class=dict,
        )
        # Binding by name looks the variables up each time; a run is begun thousands of times a second.
        bound = contextvars.Context().run(bind_contextvars, task="", run_id="")
        self._task, self._run_id = bound["task"].var, bound["run_id"].var
        self._failing: dict[str, str] = {}
        self._repeated: dict[str, dict[str, _Row]] = {}
        self._writers: dict[type[Any], Callable[[Any], None]] = {
            SchedulerStarted: self._scheduler_started,
            SchedulerStopped: self._scheduler_stopped,
            RunStarted: self._run_started,
            RunFinished: self._run_finished,
            RunSkipped: self._run_skipped,
            RunMissed: self._run_missed,
            RunRetried: self._run_retried,
            RunLost: self._run_lost,
            JobsUnresolved: self._jobs_unresolved,
            RunStuck: self._run_stuck,
            TaskPaused: self._task_paused,
            TaskResumed: self._task_resumed,
            LoopStalled: self._loop_stalled,
            TermGained: self._term_gained,
            TermLost: self._term_lost,
            TermQuarantined: self._term_quarantined,
            WorkerCrashed: self._worker_crashed,
            WorkerGivenUp: self._worker_given_up,
            WorkerReady: self._worker_ready,
            WorkerRestarted: self._worker_restarted,
            ResourceLost: self._resource_lost,
            ResourceRegained: self._resource_regained,
            DebugEvent: self._debug_event,
        }

    def __call__(self, event: Event) -> None:
        """Write the line for `event`, if it is worth one."""
        self._writers[type(event)](event)

    def on(self, kind: type[Any]) -> Callable[[Any], None]:
        """What writes the line for one kind of event."""
        return self._writers[kind]

    def _scheduler_started(self, event: SchedulerStarted) -> None:
        self._log.info(
            "scheduler started", tasks=event.tasks, workers=event.workers, not_wired=len(event.skipped)
        )
        for name, reason in event.skipped:
            self._log.debug("not wired", task=name, reason=reason)

    def _scheduler_stopped(self, event: SchedulerStopped) -> None:
        if event.unfinished:
            self._log.error(
                "scheduler stopped, but these runs would not end",
                unfinished=", ".join(event.unfinished),
                seconds=round(event.seconds, 3),
            )
        else:
            self._log.info("scheduler stopped", seconds=round(event.seconds, 3))

    def _run_started(self, event: RunStarted) -> None:
        self._task.set(event.task)
        self._run_id.set(event.run_id)
        if self._repeated and (rows := self._repeated.get(event.task)) is not None:
            self._repeated[event.task] = {cause: row for cause, row in rows.items() if not row.broken}
            for row in rows.values():  # a second run without it ends the row
                row.broken = True
        if self._logger.isEnabledFor(logging.DEBUG):
            self._log.debug("run started")

    def _run_finished(self, event: RunFinished) -> None:
        well = type(event.outcome) is Done and event.task not in self._failing
        if well and not self._logger.isEnabledFor(logging.DEBUG):
            return  # nearly all runs: there is nothing to say
        fields: dict[str, Any] = {
            "task": event.task,
            "run_id": event.run_id,
            "seconds": round(event.seconds, 3),
        }
        match event.outcome:
            case Failed() | TimedOut() as failed:
                self._run_failed(failed, event.failures, fields)
                return
            case Deferred(reason, resource):
                level = logging.INFO if resource is None else logging.DEBUG  # a lost resource has its line
                self._log.log(level, "run deferred", reason=reason, **fields)
            case Skipped(reason):
                self._log.info("run skipped", reason=reason, **fields)
            case Cancelled(reason):
                self._log.debug("run cancelled", reason=reason, **fields)
            case Done(result):
                self._log.debug("run done", result=result, **fields)
        if isinstance(event.outcome, Done | Skipped) and self._failing.pop(event.task, "") != "":
            self._log.info("task recovered", **fields)

    def _run_failed(self, failed: Failed | TimedOut, failures: int, fields: dict[str, Any]) -> None:
        task = fields["task"]
        if self._failing.get(task) != failed.reason:
            self._failing[task] = failed.reason
            self._log.error(
                "run failed",
                reason=failed.reason,
                failures=failures,
                exc_info=failed.error if isinstance(failed, Failed) else None,
                **fields,
            )
        else:
            level = logging.ERROR if failures & (failures - 1) == 0 else logging.DEBUG
            self._log.log(level, "run failed again", reason=failed.reason, failures=failures, **fields)

    def _run_skipped(self, event: RunSkipped) -> None:
        due = event.due.isoformat()
        self._sparsely("run skipped", event.reason, task=event.task, due=due, reason=event.reason)

    def _run_missed(self, event: RunMissed) -> None:
        due = event.due.isoformat()
        self._sparsely("ticks missed", "", task=event.task, due=due, reason=event.reason, ticks=event.ticks)

    def _run_retried(self, event: RunRetried) -> None:
        self._sparsely(
            "attempt failed; trying again",
            f"{event.attempt} {event.reason}",
            task=event.task,
            run_id=event.run_id,
            attempt=event.attempt,
            delay=round(event.delay, 3),
            reason=event.reason,
        )

    def _sparsely(self, text: str, cause: str, *, task: str, **fields: Any) -> None:
        """Warn the 1st, 2nd, 4th, 8th … time in a row that a task has this for one cause, else at DEBUG."""
        row = self._repeated.setdefault(task, {}).setdefault(text + cause, _Row())
        row.count, row.broken = row.count + 1, False
        level = logging.WARNING if row.count & (row.count - 1) == 0 else logging.DEBUG
        if row.count > 1:
            fields["times"] = row.count
        self._log.log(level, text, task=task, **fields)

    def _run_lost(self, event: RunLost) -> None:
        said = "run lost with its node; offered again" if event.again else "run lost with its node; given up"
        (self._log.warning if event.again else self._log.error)(
            said, task=event.task, run_id=event.run_id, node=event.node, attempt=event.attempt
        )

    def _jobs_unresolved(self, event: JobsUnresolved) -> None:
        self._log.warning("jobs wait", job_type=event.job_type, jobs=event.jobs, reason=event.reason)

    def _run_stuck(self, event: RunStuck) -> None:
        self._log.error(
            f"run was told to end and goes on\n{event.stack}\n",
            task=event.task,
            run_id=event.run_id,
            seconds=round(event.seconds, 3),
        )

    def _task_paused(self, event: TaskPaused) -> None:
        until = {} if event.until is None else {"until": event.until.isoformat(timespec="seconds")}
        self._log.warning("task paused", task=event.task, reason=event.reason, **until)

    def _task_resumed(self, event: TaskResumed) -> None:
        self._log.warning("task goes on", task=event.task, reason=event.reason)

    def _loop_stalled(self, event: LoopStalled) -> None:
        # Its stack was written while it lasted, by the thread that watches.
        self._log.warning("the event loop turns again", seconds=round(event.seconds, 3), held_by=event.task)

    def _term_gained(self, event: TermGained) -> None:
        self._log.warning("this node leads", lease=event.lease, token=event.token, owner=event.owner)

    def _term_lost(self, event: TermLost) -> None:
        self._log.warning(
            "this node leads no more",
            lease=event.lease,
            token=event.token,
            reason=event.reason,
            seconds=round(event.seconds, 1),
        )

    def _term_quarantined(self, event: TermQuarantined) -> None:
        self._log.warning(
            "elected; the workers wait, since those of another leader may still be at work",
            lease=event.lease,
            token=event.token,
            seconds=round(event.seconds, 1),
            reason=event.reason,
        )

    def _worker_crashed(self, event: WorkerCrashed) -> None:
        # The failure itself was written as that of a run.
        self._log.info(
            "worker crashed",
            task=event.task,
            run_id=event.run_id,
            reason=event.reason,
            crashes=event.crashes,
            delay=round(event.delay, 1),
        )

    def _worker_given_up(self, event: WorkerGivenUp) -> None:
        self._log.error("worker given up for this term", task=event.task, reason=event.reason)

    def _worker_ready(self, event: WorkerReady) -> None:
        self._log.info("worker ready", task=event.task, run_id=event.run_id)

    def _worker_restarted(self, event: WorkerRestarted) -> None:
        self._log.info("worker restarted", task=event.task, run_id=event.run_id, restarts=event.restarts)

    def _resource_lost(self, event: ResourceLost) -> None:
        self._log.warning(
            "resource lost; tasks that need it wait", resource=event.resource, reason=event.reason
        )

    def _resource_regained(self, event: ResourceRegained) -> None:
        self._log.warning("resource is back", resource=event.resource, seconds=round(event.seconds, 1))

    def _debug_event(self, event: DebugEvent) -> None:
        if self._logger.isEnabledFor(logging.DEBUG):
            self._log.debug("debug event", topic=event.topic, data=str(dict(event.data))[:500])


class _Row:
    """The same thing about the same task, one time after the other."""

    __slots__ = ("broken", "count")

    def __init__(self) -> None:
        self.count = 0
        self.broken = False


class RunContextFilter(logging.Filter):
    """Adds `task` and `run_id` of the present run to every record that passes a handler or logger.

    Outside a run both are "-", so a format string may always name them.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields; never drops a record."""
        run = current_run.get()
        if not hasattr(record, "run_id"):
            record.run_id = run.run_id if run else "-"
        if not hasattr(record, "task"):
            record.task = run.task if run else "-"
        return True


def log_to_stderr(level: str) -> None:
    """Send log lines to stderr, each with the run it belongs to."""
    handler = logging.StreamHandler()
    handler.addFilter(RunContextFilter())
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s [%(task)s] %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])
    # A line for each statement, each event loop, each step of a connection; and one for each call of a model.
    quiet = dict.fromkeys(("aiosqlite", "asyncio", "openai", "httpcore", "httpcore2"), logging.INFO)
    quiet |= dict.fromkeys(("httpx", "httpx2"), logging.WARNING)
    for name, least in quiet.items():
        logging.getLogger(name).setLevel(max(least, logging.getLevelName(level)))


_OWN = {
    "task", "run_id", "reason", "seconds", "failures", "result", "resource", "restarts", "due",
    "tasks", "workers", "not_wired", "unfinished", "ticks", "times", "attempt", "delay", "until", "held_by",
    "lease", "token", "owner", "crashes",
}  # fmt: skip


def _to_stdlib(
    logger: Any, method: str, event: MutableMapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Render the fields into the text and pass ours on as `extra`.

    Only ours: a field that a host bound to structlog's context may be called like an attribute that
    `logging` refuses to have overwritten.
    """
    text = event.pop("event")
    error = event.pop("exc_info", None)
    fields = " ".join(f"{key}={_shown(value)}" for key, value in event.items())
    extra = {key: value for key, value in event.items() if key in _OWN}
    return ("%s", f"{text}: {fields}" if fields else str(text)), {"extra": extra, "exc_info": error}


def _shown(value: Any) -> str:
    text = str(value)
    return repr(text) if " " in text or not text else text
