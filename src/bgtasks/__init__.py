"""bgtasks: the background of an AI assistant.

A decorator records a task's schedule and what it needs; `build_scheduler` wires up only what can run here
and says why the rest cannot; `BackgroundScheduler` runs it inside your own asyncio process.

Importing this package loads the standard library and nothing else.
"""

from typing import TYPE_CHECKING, Any

from bgtasks.build import build_scheduler
from bgtasks.contracts import Absent, BotRunner, ChatClient, KnowledgeGraphLike
from bgtasks.decorators import background_job, background_task, background_worker
from bgtasks.errors import BgTasksError, ResourceUnavailable
from bgtasks.events import EventBus
from bgtasks.health import Health, JobSnapshot
from bgtasks.outcomes import Cancelled, Deferred, Done, Failed, Missed, Outcome, Skipped, TimedOut
from bgtasks.policies import Breaker, Retry
from bgtasks.registry import Registry
from bgtasks.run import current_run
from bgtasks.scheduler import BackgroundScheduler
from bgtasks.spec import days, hours, minutes, seconds
from bgtasks.triggers import Cron, Every, Once, Trigger
from bgtasks.wiring import Decision

if TYPE_CHECKING:
    from bgtasks.claims import Claim, Jobs, ScheduledJob, current_claim
    from bgtasks.lease import LeaseTimes
    from bgtasks.supervisor import Supervision, TaskSupervisor, WorkerContext, build_supervisor

__version__ = "0.1.0"

__all__ = [
    "Absent",
    "BackgroundScheduler",
    "BgTasksError",
    "BotRunner",
    "Breaker",
    "Cancelled",
    "ChatClient",
    "Claim",
    "Cron",
    "Decision",
    "Deferred",
    "Done",
    "EventBus",
    "Every",
    "Failed",
    "Health",
    "JobSnapshot",
    "Jobs",
    "KnowledgeGraphLike",
    "LeaseTimes",
    "Missed",
    "Once",
    "Outcome",
    "Registry",
    "ResourceUnavailable",
    "Retry",
    "ScheduledJob",
    "Skipped",
    "Supervision",
    "TaskSupervisor",
    "TimedOut",
    "Trigger",
    "WorkerContext",
    "background_job",
    "background_task",
    "background_worker",
    "build_scheduler",
    "build_supervisor",
    "current_claim",
    "current_run",
    "days",
    "hours",
    "minutes",
    "seconds",
]

_LATER = {
    "Claim": "claims",
    "Jobs": "claims",
    "LeaseTimes": "lease",
    "ScheduledJob": "claims",
    "Supervision": "supervisor",
    "TaskSupervisor": "supervisor",
    "WorkerContext": "supervisor",
    "build_supervisor": "supervisor",
    "current_claim": "claims",
}


def __getattr__(name: str) -> Any:
    """What has to do with other nodes is loaded when it is first asked for: many processes never do."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
