"""The roll of a scheduler: its jobs by name, and a row for everything that runs here or does not."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from bgtasks.agenda import Agenda, agenda
from bgtasks.clock import Clock
from bgtasks.errors import DuplicateTask, InvalidTask, UnknownTask
from bgtasks.job import Job
from bgtasks.outcomes import Skipped
from bgtasks.policies import POLICY, Policy
from bgtasks.spec import Scope, Spec, TaskSpec, WorkerSpec, place
from bgtasks.triggers import Trigger
from bgtasks.wiring import Decision, Decisions, Wired

if TYPE_CHECKING:
    from bgtasks.claims import Desk

__all__ = ["Roll"]


class Roll:
    """What a scheduler has been given to run.

    Attributes:
        jobs: By name, in the order of registration.
        desk: Claims the ticks of cluster tasks, if there is a store.

    Args:
        joins: Called with each job that is added.
    """

    def __init__(self, clock: Clock, random: Random, joins: Callable[[Job], None]) -> None:
        self.jobs: dict[str, Job] = {}
        self.desk: Desk | None = None
        self._rows = Decisions()
        self._clock = clock
        self._random = random
        self._joins = joins

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """A row for each task, worker and type of job, wired or not."""
        by_hand = (
            Decision(name=job.name, when=str(job.trigger))
            for job in tuple(self.jobs.values())
            if not job.removed and not job.agenda.kept and not self._rows.knows(job.name)
        )
        return (*self._rows, *by_hand)

    def find(self, name: str, *, declared: bool = False) -> Job:
        """The job of a name.

        Args:
            declared: One that was added at run time will not do.

        Raises:
            UnknownTask: There is none.
            InvalidTask: It was added at run time.
        """
        job = self.jobs.get(name)
        if job is None or job.removed:
            raise UnknownTask(name, [each.name for each in self.jobs.values() if not each.removed])
        if declared and job.agenda.guest:
            raise InvalidTask(f'"{name}" was added at run time: scheduler.jobs changes and removes it')
        return job

    def add(self, job: Job) -> None:
        """Put a job on the roll.

        Raises:
            DuplicateTask: The name is taken.
        """
        if (held := self.jobs.get(job.name)) is not None:
            going = "its last run, which was told to end and is still going"
            raise DuplicateTask(job.name, going if held.removed else place(held.func), place(job.func))
        self.jobs[job.name] = job
        if self.desk is not None and job.agenda.kept:
            self.desk.add(job)
        self._joins(job)

    def adopt(self, spec: Spec, verdict: Wired | Skipped, decision: Decision) -> None:
        """Take what the wiring decided: run a wired spec, keep the row of any other.

        Raises:
            DuplicateTask: The name is taken.
        """
        if isinstance(verdict, Wired):
            if verdict.trigger is not None:
                self.add(self._job(spec, verdict, verdict.trigger))
            if self.desk is not None and spec.scope is Scope.CLUSTER:
                self.desk.host(spec, verdict.kwargs)
        self._rows.keep(decision)

    def _job(self, spec: Spec, verdict: Wired, trigger: Trigger) -> Job:
        task = spec if isinstance(spec, TaskSpec) else None
        policies, jitter = (task.policy, task.jitter) if task else (POLICY, 0.0)
        return Job(
            spec.name,
            spec.func,
            trigger,
            self.agenda(spec.name, trigger, policies, jitter, claimed=spec.scope is Scope.CLUSTER),
            policies,
            kwargs=verdict.kwargs,
            initial_delay=task.initial_delay if task else 0.0,
            is_worker=isinstance(spec, WorkerSpec),
        )

    def agenda(
        self, name: str, trigger: Trigger, policies: Policy, jitter: float, *, claimed: bool = False
    ) -> Agenda:
        """The agenda of a job that is registered now; of a cluster task, one that is kept in the store."""
        if claimed and self.desk is not None:
            return self.desk.agenda(name, policies.catch_up)
        return agenda(trigger, policies.catch_up, jitter, self._random, self._clock)

    def keep(self, decision: Decision) -> None:
        """Keep a row for something that does not run here."""
        self._rows.keep(decision)

    def rescheduled(self, job: Job, trigger: Trigger) -> None:
        """A job has another trigger."""
        job.trigger = trigger
        job.agenda = self.agenda(job.name, trigger, job.policy, job.agenda.jitter, claimed=job.agenda.kept)
        self._rows.rescheduled(job.name, str(trigger))

    def drop(self, job: Job) -> None:
        """Its row goes; the job itself stays until its run has ended."""
        self._rows.drop(job.name)
