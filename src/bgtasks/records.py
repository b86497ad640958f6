"""What a `TaskStore` keeps, is asked and answers: jobs, runs and sessions, as values.

A *job* says what is due when; a *run* is one start of it, or one that was wanted; a *session* is a process
that starts runs, for as long as it is heard of. Instants are aware and in UTC, to the microsecond; the clock
is the store's own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from bgtasks.policies import Overlap

__all__ = [
    "EVERY_BOT",
    "EVERY_NODE",
    "Answer",
    "Beat",
    "Claimed",
    "Command",
    "CommandRow",
    "Ending",
    "Going",
    "JobRow",
    "Offer",
    "Refusal",
    "Refused",
    "RunQuery",
    "RunRow",
    "RunStatus",
    "SessionRow",
    "Tick",
    "skipped_run",
    "wanted_run",
]

EVERY_BOT = "*"
"""The `bot_id` of a job that is no single bot's."""

EVERY_NODE = "*"
"""The `node_id` of a command to all."""


class RunStatus(StrEnum):
    """How a run stands."""

    PENDING = "pending"
    """It is wanted, and nobody has started it yet."""
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    SKIPPED = "skipped"
    """Nothing was run, and `error_message` says why."""
    TIMED_OUT = "timed_out"
    LOST = "lost"
    """Its session was not heard of any more. Offered again as another run, up to the limit of attempts."""

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes of it."""
        return self not in (RunStatus.PENDING, RunStatus.RUNNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """A job as it is kept.

    Attributes:
        id: Never used again.
        job_type: What is run: the name of a task, or of a factory.
        bot_id: Whose it is; `*` for everybody's.
        key: Chosen by whoever added it: one job per type, bot and key. None for any number.
        enabled: Whether it is started; a job that is paused is not.
        reason: Why it is not enabled.
        trigger: When it is due, as `triggers.as_trigger` reads it; None for a plain interval.
        interval_minutes: A plain interval, from the end of each run; None for a trigger.
        anchor: The first instant of a fixed rate.
        next_run_at: The instant at which it is due; None while a plain interval's run is in progress, and for
            a trigger that is over.
        last_run_at: When a run of it began last.
        config_json: For the factory, as text that should be JSON.
        token: The largest fencing token of its runs.
        failures: Failed runs in a row.
        retired_at: Since when no living process knows its type, if it was declared in code.
        declared: It was declared in code, not added at run time.
        version: Counts its changes.
    """

    id: UUID
    job_type: str
    bot_id: str = EVERY_BOT
    key: str | None = None
    enabled: bool = True
    reason: str = ""
    trigger: str | None = None
    interval_minutes: float | None = None
    anchor: datetime | None = None
    next_run_at: datetime | None = None
    last_run_at: datetime | None = None
    config_json: str = "{}"
    token: int = 0
    failures: int = 0
    retired_at: datetime | None = None
    declared: bool = False
    version: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A run as it is kept.

    Attributes:
        due: The instant that it is for.
        attempt: From 1; each run that takes over for a lost one counts one more.
        attempts: How many there are at most.
        session: Whose it is while it is running.
        node_id: The node that started it, for people.
        token: The fencing token of its claim.
        unwanted: It is to be cancelled, while it is in progress.
        created_at: When it was claimed or offered.
        started_at: When it was claimed, or the instant before which it was.
        result_json: What it returned, as JSON, or cut to size.
        error_message: Why it failed or was skipped.
    """

    id: str
    job_id: UUID
    job_type: str
    bot_id: str
    status: RunStatus
    due: datetime
    attempt: int = 1
    attempts: int = 3
    session: str | None = None
    node_id: str | None = None
    token: int = 0
    unwanted: bool = False
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    duration_ms: int | None = None
    result_json: str | None = None
    error_message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow:
    """A process that may start runs.

    Attributes:
        id: Never used again: a process that was given up for dead joins anew.
        node_id: What the node is called, for people.
        wired: The types of job that it can run.
        known: The types that it knows of, wired or not.
        snapshot_json: How it stands, for the control plane.
        joined_at: When it began, by the store.
    """

    id: str
    node_id: str
    wired: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    snapshot_json: str = "{}"
    joined_at: datetime | None = None
    expires_at: datetime | None = None


class Answer(NamedTuple):
    """What a session says of a command, once.

    Attributes:
        at: When, by the store.
        done: Whether it was carried out.
        text: What came of it, or why it was not.
    """

    session: str
    node_id: str
    at: datetime
    done: bool
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What nodes are told to do from outside.

    Attributes:
        id: Chosen by the sender: sent twice, it is one command.
        kind: What to do, such as `pause`.
        node_id: Which node; `*` for all that are alive when it is sent.
        subject: What to do it to: a task's name, mostly.
        arguments_json: What else there is to say, as JSON.
        asked_by: Who sent it, for people.
    """

    id: str
    kind: str
    node_id: str = EVERY_NODE
    subject: str = ""
    arguments_json: str = "{}"
    asked_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRow(Command):
    """A command as it is kept, for whoever asks later.

    Attributes:
        created_at: When it was sent, by the store.
        expires_at: From then on no session hears of it.
        answers: The earliest first.
    """

    created_at: datetime
    expires_at: datetime
    answers: tuple[Answer, ...] = ()


class Tick(NamedTuple):
    """A claim that is wanted: of what a job is due for.

    Attributes:
        due: The `next_run_at` that was seen; the claim is refused if it is another by now.
        following: The next one. None means: the interval after the end of the run, for a plain interval, or
            never again.
        run_id: The id of the run.
        runs_for: The instant that the run is for, after what was missed is passed over; None: nothing is run.
        missed: Why ticks before that get no run; empty if none was missed. Written down as a skipped run for
            `due`.
        overlap: What to do while a run of the job is in progress.
        attempts: How often it is started at most, if its node dies.
        patient: While a run of the job is in progress it stays due, and nothing is written down: what is
            caught up with, one run after the other, and what is claimed before it is due.
    """

    job_id: UUID
    due: datetime
    following: datetime | None
    run_id: str
    runs_for: datetime | None
    missed: str = ""
    overlap: Overlap = Overlap.SKIP
    attempts: int = 3
    patient: bool = False


class Offer(NamedTuple):
    """A run that is wanted beside the schedule: by hand, or in place of one that was lost.

    Attributes:
        due: The instant that it is for.
        attempt: How often it is started by then.
        attempts: How often it is started at most.
    """

    run_id: str
    job_id: UUID
    due: datetime
    attempt: int = 1
    attempts: int = 3


class Claimed(NamedTuple):
    """A run is this session's to do.

    Attributes:
        token: Larger than that of any run of the job before.
        config_json: The job's, at the moment of the claim.
    """

    run_id: str
    job_id: UUID
    due: datetime
    attempt: int
    token: int
    config_json: str = "{}"


class Refusal(StrEnum):
    """Why a claim is refused."""

    TAKEN = "taken"
    """The job is not due at that instant any more, or the offer was accepted by another."""
    BUSY = "busy"
    """A run of it is in progress. A tick is written down as skipped, but a patient one stays due and nothing
    is written; an offer stays."""
    QUEUED = "queued"
    """A run of it is in progress, and the tick is offered for when that is over, by its `overlap`."""
    MISSED = "missed"
    """Nothing was to be run, and that is written down."""
    DISABLED = "disabled"
    """It is paused. The tick stays due, and is caught up with by its policy."""
    GONE = "gone"
    """It was removed."""
    NO_SESSION = "no session"
    """The session has expired: join anew."""


class Refused(NamedTuple):
    """A claim that was not had.

    Attributes:
        next_run_at: When the job is due by now.
        run_id: The run that was written down as skipped, or offered.
    """

    job_id: UUID
    why: Refusal
    next_run_at: datetime | None = None
    run_id: str | None = None


class Going(NamedTuple):
    """A run that the store takes a session to be doing."""

    token: int
    run_id: str


class Ending(NamedTuple):
    """How a claimed run ended.

    Attributes:
        again: It was cut short through no fault of its own: offer it once more, at once.
    """

    run_id: str
    token: int
    status: RunStatus
    duration_ms: int = 0
    result_json: str | None = None
    error_message: str | None = None
    again: bool = False


@dataclass(frozen=True, slots=True)
class Beat:
    """What a session is told when it says that it lives.

    Attributes:
        at: The store's time.
        alive: Whether the session was still known. If not, its runs have been given up as lost.
        due: Jobs of the types asked for that are due until the horizon, the earliest first.
        offers: Runs of these types that are wanted now, the earliest first.
        unwanted: Runs of this session that are to be cancelled: overtaken by the next, or of a job that was
            removed.
        lost: Runs that were found lost just now, each told to one session only.
        going: Runs in progress of this session, by their tokens.
        commands: Those to the session's node, sent since it joined, that it has not answered; the earliest
            first.
    """

    at: datetime
    alive: bool
    due: tuple[JobRow, ...] = ()
    offers: tuple[Offer, ...] = ()
    unwanted: tuple[str, ...] = ()
    lost: tuple[RunRow, ...] = ()
    commands: tuple[CommandRow, ...] = ()
    going: tuple[Going, ...] = ()


class RunQuery(NamedTuple):
    """Which runs are asked for.

    Attributes:
        before: Only those before this one in the answer's order, for the next page: its `created_at` and id.
    """

    job_id: UUID | None = None
    job_type: str | None = None
    statuses: tuple[RunStatus, ...] = ()
    before: tuple[datetime, str] | None = None
    limit: int = 100


def wanted_run(offer: Offer, job_type: str, bot_id: str, now: datetime) -> RunRow:
    """A run that is wanted from now on."""
    return RunRow(
        id=offer.run_id,
        job_id=offer.job_id,
        job_type=job_type,
        bot_id=bot_id,
        status=RunStatus.PENDING,
        due=offer.due,
        attempt=offer.attempt,
        attempts=offer.attempts,
        created_at=now,
    )


def skipped_run(job: JobRow, run_id: str, due: datetime, now: datetime, why: str) -> RunRow:
    """A run that is not to be, and why."""
    wanted = wanted_run(Offer(run_id, job.id, due), job.job_type, job.bot_id, now)
    return replace(wanted, status=RunStatus.SKIPPED, finished_at=now, error_message=why)
