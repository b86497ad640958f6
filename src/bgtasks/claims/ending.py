"""How the ends of runs are written down."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from bgtasks.claims.claim import Claim
from bgtasks.claims.offers import first
from bgtasks.claims.session import Session
from bgtasks.errors import ClaimLost
from bgtasks.outcomes import Cancelled, Deferred, Done, Failed, Missed, Outcome, Skipped, TimedOut
from bgtasks.records import Ending, Going, RunStatus

__all__ = ["Endings", "ending"]

LONGEST = 4_000
"""Characters of a result, or of a reason, that are kept."""

EMPTY = "empty: it promised counts, and returned none"
"""Why a run that went well is looked at all the same."""


class Endings:
    """Ends of runs that the store is to be told of."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._open: dict[str, Ending] = {}

    def __bool__(self) -> bool:
        return bool(self._open)

    def add(self, claim: Claim, outcome: Outcome, seconds: float, *, counts: bool = False) -> None:
        """The run of a claim is over; whether it promised to return `counts`."""
        self._open[claim.run_id] = ending(claim, outcome, seconds, counts=counts)

    def disown(self, run: Going) -> None:
        """A run that nobody does is offered again."""
        why = "nobody was doing it: an answer of the store was lost, or the store forgot its end"
        self._open[run.run_id] = Ending(run.run_id, run.token, RunStatus.LOST, 0, None, why, again=True)

    def clear(self) -> None:
        """Tell of none: their runs are found lost."""
        self._open.clear()

    async def tell(self) -> Iterable[str]:
        """Tell of them, in one call; the runs that were told of.

        Raises:
            BgTasksError: The store does not answer.
        """
        said = first(self._open)
        await self._session.ask(self._session.store.finish(list(said.values())))
        for run_id in said:
            self._open.pop(run_id, None)
        return said


def ending(claim: Claim, outcome: Outcome, seconds: float, *, counts: bool = False) -> Ending:
    """What a store keeps of an outcome. A run that was cut short is to be offered again."""
    status, result, why, again = RunStatus.SUCCESS, None, None, False
    match outcome:
        case Done(value):
            result = _json(value)
            if counts and not value and not isinstance(value, int):
                why = EMPTY
        case Skipped(reason):
            status, why = RunStatus.SKIPPED, reason
        case Deferred(reason):
            status, why = RunStatus.SKIPPED, f"not now: {reason}"
        case Failed(ClaimLost()):
            status, why, again = RunStatus.LOST, f"cancelled: {outcome.reason}", not claim.given_up
        case Failed() as failed:
            status, why = RunStatus.FAILED, failed.reason
        case TimedOut() as timed_out:
            status, why = RunStatus.TIMED_OUT, timed_out.reason
        case Cancelled(reason):
            status, why, again = RunStatus.LOST, f"cancelled: {reason}", not claim.given_up
        case Missed(reason):
            status, why = RunStatus.SKIPPED, reason
    return Ending(
        claim.run_id, claim.token, status, round(seconds * 1000), result, why and why[:LONGEST], again
    )


def _json(value: Any) -> str | None:
    """A result as JSON, cut to size; what is no JSON is kept as it would be shown."""
    if value is None:
        return None
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=_shown)
    except (TypeError, ValueError, RecursionError):
        text = json.dumps(_shown(value)[:LONGEST], ensure_ascii=False)
    return text if len(text) <= LONGEST else json.dumps(text[:LONGEST] + "…", ensure_ascii=False)


def _shown(value: Any) -> str:
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - someone else's object
        return f"({type(value).__name__} that cannot be shown: {type(error).__name__})"
