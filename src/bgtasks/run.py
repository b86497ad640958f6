"""One run of a task, as a value: what is run, for which instant, how it goes."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from bgtasks.outcomes import Cancelled, Outcome, TimedOut
from bgtasks.policies import POLICY, Policy
from bgtasks.spec import TaskFunction

if TYPE_CHECKING:
    from bgtasks.claims.claim import Claim

__all__ = ["NOTHING", "NewRunId", "Run", "Work", "current_run", "run_ids"]

NOTHING: Mapping[str, Any] = MappingProxyType({})
"""No keyword arguments; one for all."""


@dataclass(slots=True, eq=False)
class Work:
    """What a task's runs have in common.

    Attributes:
        func: Called with `args` and `kwargs` for each attempt.
        failures: Failed runs in a row so far.
    """

    name: str
    func: TaskFunction
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = NOTHING
    policy: Policy = POLICY
    failures: int = 0


class Run:
    """One run of a task: what is run, why now, and how often it failed before, in a row.

    Attributes:
        run_id: Unique among all nodes.
        due: The wall instant that it is for.
        attempt: Which attempt is going on, from 1.
        began: The monotonic instant at which it began.
        ended: The one at which it ended.
        ending: Why it is being cancelled, set by whoever does so on purpose; it tells a stop or a timeout
            from a task that cancelled itself.
        outcome: None until the run has ended, and for good if it never began.
        handle: Its asyncio task.
        rests: It is between two attempts.
        stuck: It was said that it does not end.
        killed: The host cancelled it without a word.
        overtaken: Its next run is due and waits for its end: it has no further attempt.
        limit: Seconds after which it is asked to end, or asked again; None while nobody keeps the time.
        asked: How often the present attempt was asked to end.
        answer: Who waits for its outcome.
        claim: What makes it this process's to do, if it is a cluster task's.
    """

    # What most runs never change costs nothing when one is made.
    attempt = 1
    began = ended = 0.0
    ending: Cancelled | TimedOut | None = None
    outcome: Outcome | None = None
    handle: asyncio.Task[Outcome] | None = None
    asked = 0
    limit: float | None = None
    claim: Claim | None = None
    rests = stuck = killed = overtaken = False

    def __init__(
        self,
        work: Work,
        run_id: str,
        due: datetime,
        answer: asyncio.Future[Outcome] | None = None,
    ) -> None:
        self.work = work
        self.run_id = run_id
        self.due = due
        self.answer = answer

    @property
    def task(self) -> str:
        """The task's name."""
        return self.work.name


current_run: ContextVar[Run | None] = ContextVar("bgtasks_current_run", default=None)
"""The run that the calling code is part of; None outside one."""


type NewRunId = Callable[[], str]
"""Makes the id of a run, unique among all nodes."""


def run_ids() -> NewRunId:
    """Ids that are unique for ever: a random part that is drawn once in each process, and a count."""
    series, count = "", itertools.count(1)

    def new_run_id() -> str:
        nonlocal series
        series = series or os.urandom(6).hex()  # not before a fork
        return f"{series}-{next(count)}"

    return new_run_id
