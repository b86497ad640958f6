"""The runs that this process has claimed, until the store knows of their ends."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Protocol

from bgtasks.claims.book import Book
from bgtasks.outcomes import Cancelled
from bgtasks.records import Going

if TYPE_CHECKING:
    from bgtasks.dispatcher import Dispatcher

__all__ = ["InHand"]


class Asking(Protocol):
    """Claims runs."""

    def asks_for(self, run_id: str) -> bool:
        """Whether it is being claimed, and no answer has come."""


class InHand:
    """Runs in hand, and what the store takes for such without reason.

    A call that was given up may be carried out all the same, and a store may lose what it was told last: then
    a run is in progress there, and nobody does it. It would hold its job back for as long as this process
    lives.
    """

    def __init__(self, book: Book, dispatcher: Dispatcher) -> None:
        self._book = book
        self._dispatcher = dispatcher
        self._runs: set[str] = set()
        self._strange: set[str] = set()

    def take(self, run_id: str) -> bool:
        """A run was claimed; False if it is in hand already."""
        if run_id in self._runs:
            return False
        self._runs.add(run_id)
        return True

    def drop(self, run_ids: Iterable[str]) -> None:
        """The store has been told of their ends."""
        self._runs.difference_update(run_ids)

    def clear(self) -> None:
        """None is."""
        self._runs.clear()
        self._strange.clear()

    def give_up(self, run_ids: Collection[str]) -> None:
        """End runs that nobody wants any more, or do not begin them."""
        if not run_ids:
            return
        why = "its next run is due, or it was removed"
        for job in tuple(self._book.jobs.values()):
            for run in job.runs:
                if run.claim is not None and run.claim.run_id in run_ids and run.ending is None:
                    run.claim.given_up = True
                    self._dispatcher.cancel(run, Cancelled(why))
            for request in (job.queued, job.waiting):
                if request is not None and request.claim is not None and request.claim.run_id in run_ids:
                    self._dispatcher.withdraw(job, why)

    def forget_ghosts(self) -> None:
        """Those of a session that is over are found lost."""
        self._strange.clear()

    def ghosts(self, going: Iterable[Going], asked: Collection[Asking]) -> list[Going]:
        """What is not in hand, by two beats in a row; it is in hand from now on, until it is disowned.

        Args:
            going: What the store takes this session to be doing.
            asked: Who may have claimed a run, and not been answered yet.
        """
        strange = [
            run
            for run in going
            if run.run_id not in self._runs and not any(each.asks_for(run.run_id) for each in asked)
        ]
        found = [run for run in strange if run.run_id in self._strange]
        self._strange = {run.run_id for run in strange}
        self._runs.update(run.run_id for run in found)
        return found
