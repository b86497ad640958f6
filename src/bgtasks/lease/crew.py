"""Those who work during a term, as the elector knows them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from bgtasks.lease.term import Term

__all__ = ["Crew"]


class Crew(Protocol):
    """Those who work during a term."""

    def begin(self, term: Term) -> None:
        """Begin to work."""

    async def end(self, left: Callable[[], float]) -> tuple[str, ...]:
        """End the work while `left()` seconds are above zero; the names of those who go on all the same."""

    async def gone(self) -> None:
        """Return when nobody works any more."""
