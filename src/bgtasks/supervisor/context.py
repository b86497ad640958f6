"""What a leader's worker may ask while it works: whether it still leads, for how long, under which token."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from bgtasks.errors import NotLeader
from bgtasks.lease import Term

__all__ = ["WorkerContext"]


class WorkerContext:
    """Given to a worker that has a parameter `ctx`; one for each start of it.

    Attributes:
        stopping: Set when the worker is asked to end; it is cancelled a moment later.
    """

    def __init__(self, term: Term, beat: Callable[[], None]) -> None:
        self._term = term
        self._beat = beat
        self.stopping = asyncio.Event()

    @property
    def lease(self) -> str:
        """The key of the lease: the source of its tokens, for `FencedRedis` and `FencedGraph`."""
        return self._term.lease

    @property
    def token(self) -> int:
        """The fencing token of the term: give it to every write that a deposed leader must not make."""
        return self._term.token

    def check(self) -> int:
        """The token, if this node leads at this moment.

        Raises:
            NotLeader: It does not, or not any more.

        Not promised: that it still leads when the next line runs. Only a fenced write is refused then.
        """
        if not self._term.holds:
            raise NotLeader(self._term.closed or "the lease was not renewed in time")
        return self._term.token

    def remaining(self) -> float:
        """Seconds for which this node leads, if nothing renews the lease."""
        return self._term.remaining if self._term.holds else 0.0

    def heartbeat(self) -> None:
        """Say that work goes on. A worker that promised heartbeats is restarted when they stay out."""
        self._beat()
