"""The agenda of a job whose instants are kept in a store."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from bgtasks.agenda import Agenda
from bgtasks.claims.session import Session
from bgtasks.clock import Reading
from bgtasks.policies import CatchUp
from bgtasks.records import JobRow

__all__ = ["AHEAD", "Stored"]

AHEAD = 0.1
"""Seconds by which a tick is claimed before it is due, so that its run begins on time: a store takes a while
to answer, and the longer the more is due at once."""


class Stored(Agenda):
    """Due when the store says so; what becomes of that is judged when it is claimed.

    Attributes:
        id: The job's in the store.
        guest: It was added at run time, and is in hand for a while only.
        row: The job as it was seen last; None before the store has answered.
        overdue: An instant that had passed when the one before was claimed: its run waits for that to end.
        waits: It is due, and waits for a run of it to end.
    """

    __slots__ = ("_session", "ahead", "fault", "guest", "id", "overdue", "row", "waits")

    kept = True

    def __init__(self, id: UUID, catch_up: CatchUp, session: Session, *, guest: bool = False) -> None:
        self.id = id
        self.guest = guest
        self._session = session
        self._catch_up = catch_up
        self._splay = None
        self._shift = 0.0
        self.due = self.behind = self.missed = None
        self.ahead = 0.0
        self.row: JobRow | None = None
        self.fault: str | None = None
        self.overdue: datetime | None = None
        self.waits = False

    def begin(self, reading: Reading, delay: float) -> None:
        self.due = self.fault = self.overdue = None
        self.waits = False

    def take(self, reading: Reading, noticed: float = 0.0, *, in_one: bool = False) -> datetime | None:
        self.due = None
        return None

    def see(self, row: JobRow, due: float | None) -> None:
        """The job is as this row says, and due at this instant of the node's clock."""
        self.row, self.due, self.waits = row, due, False
        self.ahead = AHEAD

    def look(self, instant: float | None) -> None:
        """Look at it again at this instant, and no sooner; with None not before it is seen anew."""
        self.due, self.ahead = instant, 0.0

    def wait(self, row: JobRow) -> None:
        """The job is due, and cannot be had before a run of it has ended."""
        self.row, self.due, self.waits = row, None, True

    @property
    def waits_for(self) -> str | None:
        """See `Agenda`."""
        return None if self._session.trouble is None else "the task store, which does not answer"

    @property
    def never(self) -> bool:
        return self.row is not None and self.row.next_run_at is None and self.row.last_run_at is None
