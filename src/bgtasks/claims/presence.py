"""What this process says of itself in the store: what it is called, has wired and knows of, how it stands."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Mapping
from typing import Any

from bgtasks.claims.book import Book
from bgtasks.claims.job_types import Guests
from bgtasks.clock import Clock
from bgtasks.records import SessionRow

__all__ = ["Presence", "State"]

SAID_EVERY = 9.0
"""Seconds after which the store is told anew how this process stands."""

type State = Callable[[], Mapping[str, Any]]
"""How a process stands, as JSON can hold it; with the names of the tasks that it knows of as `known`."""


class Presence:
    """What the row of this process's session is made of.

    Args:
        node_id: What it is called, for people; by default host and process id.

    Attributes:
        changed: The store is to be told anew.
    """

    def __init__(self, node_id: str, book: Book, guests: Guests, state: State, clock: Clock) -> None:
        self.node_id = node_id or f"{socket.gethostname()}-{os.getpid()}"
        self.changed = False
        self._book = book
        self._guests = guests
        self._state = state
        self._clock = clock
        self._said = float("-inf")

    def look(self) -> None:
        """If it was said long ago, it is to be said anew."""
        if self._clock.monotonic() - self._said >= SAID_EVERY:
            self.changed = True

    def row(self, session: str) -> SessionRow:
        """What is to be said now."""
        self.changed, self._said = False, self._clock.monotonic()
        guests = {job.name for job in self._guests}
        names = (job.name for job in self._book.jobs.values() if job.name not in guests)
        wired = dict.fromkeys((*names, *self._guests.types))
        state = self._state()
        return SessionRow(
            id=session,
            node_id=self.node_id,
            wired=tuple(wired),
            known=tuple(dict.fromkeys((*wired, *state.get("known", ())))),
            snapshot_json=json.dumps(state, ensure_ascii=False, default=str),
        )
