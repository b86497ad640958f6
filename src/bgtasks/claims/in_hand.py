"""The runs that this process has claimed, until the store knows of their ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bgtasks.records import Going

__all__ = ["InHand"]


class InHand:
    """Runs in hand, and what the store takes for such without reason.

    A call that was given up may be carried out all the same, and a store may lose what it was told last: then
    a run is in progress there, and nobody does it. It would hold its job back for as long as this process
    lives.
    """

    def __init__(self) -> None:
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

    def forget_ghosts(self) -> None:
        """Those of a session that is over are found lost."""
        self._strange.clear()

    def ghosts(self, going: Iterable[Going], is_asked_for: Callable[[str], bool]) -> list[Going]:
        """What is not in hand, by two beats in a row; it is in hand from now on, until it is disowned.

        Args:
            going: What the store takes this session to be doing.
            is_asked_for: Whether an answer is still to come.
        """
        strange = [run for run in going if run.run_id not in self._runs and not is_asked_for(run.run_id)]
        found = [run for run in strange if run.run_id in self._strange]
        self._strange = {run.run_id for run in strange}
        self._runs.update(run.run_id for run in found)
        return found
