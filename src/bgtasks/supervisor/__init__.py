"""Workers that run on exactly one node: the leader's, restarted there when they crash."""

from __future__ import annotations

from bgtasks.spec import Restart
from bgtasks.supervisor.build import Supervision, build_supervisor
from bgtasks.supervisor.context import WorkerContext
from bgtasks.supervisor.crew import Prepare
from bgtasks.supervisor.post import Crash, Intensity
from bgtasks.supervisor.snapshot import SupervisorSnapshot, WorkerSnapshot
from bgtasks.supervisor.supervisor import DEFAULT_KEY, TaskSupervisor, lease_key

__all__ = [
    "DEFAULT_KEY",
    "Crash",
    "Intensity",
    "Prepare",
    "Restart",
    "Supervision",
    "SupervisorSnapshot",
    "TaskSupervisor",
    "WorkerContext",
    "WorkerSnapshot",
    "build_supervisor",
    "lease_key",
]
