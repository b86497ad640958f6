"""What a supervisor and its workers look like from outside, at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from bgtasks.supervisor.post import Crash, Post

__all__ = ["SupervisorSnapshot", "WorkerSnapshot"]


@dataclass(frozen=True, slots=True)
class WorkerSnapshot:
    """How one worker stands.

    Attributes:
        running_for: Seconds since it was started; None while it is not running.
        ready: It runs, and has given its first heartbeat if it promised any.
        starts_in: Seconds until it starts again; None if that is not planned.
        task_started: How often it was started.
        task_crash: How often it crashed.
        crashes: The last crashes, the latest last.
        given_up: Why it is not started again in this term.
    """

    name: str
    running_for: float | None
    ready: bool
    starts_in: float | None
    task_started: int
    task_crash: int
    crashes: tuple[Crash, ...]
    given_up: str | None

    @classmethod
    def of(cls, post: Post, now: float) -> Self:
        """The worker at a post, at an instant of the supervisor's clock."""
        return cls(
            name=post.name,
            running_for=None if post.run is None else now - post.run.began,
            ready=post.ready,
            starts_in=None if post.timer is None or post.again is None else max(0.0, post.again - now),
            task_started=post.started,
            task_crash=post.crashed,
            crashes=tuple(post.crashes),
            given_up=post.given_up,
        )


@dataclass(frozen=True, slots=True)
class SupervisorSnapshot:
    """How a supervisor stands.

    Attributes:
        state: `"stopped"`, `"idle"` (nothing to run), `"following"`, `"quarantined"`, `"leading"`, `"ending"`
            or `"stuck"` (a worker of a past term does not end).
        token: The fencing token of the term, if there is one.
        remaining: Seconds for which the lease is trusted.
        holder: The owner that was seen to have the lease last.
    """

    lease: str
    node_id: str
    state: str
    token: int | None
    remaining: float
    holder: str | None
    workers: tuple[WorkerSnapshot, ...]
