"""A claim: one run of a job that is this process's to do, and nobody else's."""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

from bgtasks.errors import ClaimLost
from bgtasks.outcomes import Cancelled, Outcome
from bgtasks.records import Claimed
from bgtasks.run import current_run

__all__ = ["Claim", "current_claim"]


class _Desk(Protocol):
    def holds(self, claim: Claim) -> bool: ...

    def remaining(self, claim: Claim) -> float: ...

    def ended(self, claim: Claim, outcome: Outcome, seconds: float) -> None: ...


def current_claim() -> Claim | None:
    """The claim of the run that the calling code is part of.

    None outside a run, and in one that nobody else could have started: of a task with `scope="node"`, or of
    any task where the scheduler has no store.
    """
    run = current_run.get()
    return None if run is None else run.claim


class Claim:
    """What makes a run of a cluster task this process's to do; `current_claim()` gives it.

    Attributes:
        run_id: The run's id in the store.
        token: The fencing token: larger than that of any run of the task before. Give it to every write that
            a run which was given up for dead must not make.
        source: What the tokens belong to, for `FencedRedis` and `FencedGraph`: `claim:<task>`.
        attempt: Which start of this tick it is, from 1.
        config_json: The job's config, as it was when the run was claimed.
        session: The session that made it.
        given_up: Nobody is to have it in place of this run.
        over: The run has ended.
    """

    __slots__ = (
        "_desk",
        "attempt",
        "config_json",
        "given_up",
        "job_id",
        "over",
        "run_id",
        "session",
        "source",
        "token",
    )

    def __init__(self, claimed: Claimed, source: str, session: str, desk: _Desk) -> None:
        self.run_id = claimed.run_id
        self.job_id: UUID = claimed.job_id
        self.token = claimed.token
        self.attempt = claimed.attempt
        self.config_json = claimed.config_json
        self.source = source
        self.session = session
        self.given_up = self.over = False
        self._desk = desk

    def check(self) -> int:
        """The token, if the run is still this process's to do, by its own clock and at this moment.

        Raises:
            ClaimLost: It is not: it has been, or will be, offered to another.

        Not promised: that it still is when the next line runs. Only a fenced write is refused then.
        """
        if not self._desk.holds(self):
            raise ClaimLost("the claim could not be renewed, or was given up")
        return self.token

    def remaining(self) -> float:
        """Seconds for which the claim holds, if it is not renewed."""
        return self._desk.remaining(self)

    def declined(self, reason: str) -> None:
        """The run is not begun: it is given back, for another process or for later."""
        self.ended(Cancelled(reason), 0.0)

    def ended(self, outcome: Outcome, seconds: float) -> None:
        """The run is over, after so many seconds."""
        self.over = True
        self._desk.ended(self, outcome, seconds)
