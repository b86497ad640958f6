"""A thread that only ever demotes: it ends a term whose time is over while the event loop stands still.

It never renews: a lease that a thread keeps alive outlives the work of a wedged process.
"""

from __future__ import annotations

import logging
import threading

from bgtasks.clock import Clock
from bgtasks.lease.term import Term

__all__ = ["Watchdog"]

TURN = 0.1
"""Seconds that the event loop has to end the term itself: if it turns, it is not what stood still."""


class Watchdog:
    """Closes a term at the moment until which its lease is trusted, whatever the event loop does."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._guarding = threading.Lock()

    def guard(self, term: Term) -> None:
        """Watch this term, from a thread of its own."""
        self._guarding = threading.Lock()
        self._guarding.acquire()
        threading.Thread(
            target=self._watch, args=(term, self._guarding), name="bgtasks:lease-watchdog", daemon=True
        ).start()

    def leave(self) -> None:
        """The term is over. Does not wait for the thread, which ends by itself at once."""
        if self._guarding.locked():
            self._guarding.release()

    def _watch(self, term: Term, guarding: threading.Lock) -> None:
        while not guarding.acquire(timeout=max(0.001, term.demoted_at + TURN - self._clock.monotonic())):
            if term.closed is not None:
                return
            if self._clock.monotonic() >= term.demoted_at + TURN:
                term.close("it was not renewed in time: the event loop stands still")
                logging.getLogger("bgtasks").error(
                    "token %d: the lease could not be renewed, since the event loop stands still", term.token
                )
                return
