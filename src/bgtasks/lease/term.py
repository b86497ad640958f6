"""A term: one node's time as leader, from one grant of the lease to its end."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable

from bgtasks.clock import Clock

__all__ = ["Term"]


class Term:
    """One tenure. It is over for good once it was closed, whatever is heard later.

    Attributes:
        lease: The key of the lease.
        owner: The value of the lease: the node's id and a nonce of this term alone.
        token: The fencing token: larger than that of every earlier term.
        works_from: When its work may begin, by the node's steady clock.
        demoted_at: When its work must end, unless the lease is renewed before.
        valid_until: Until when nobody else can have the lease.
        closed: Why it is over; None while it is not.
    """

    def __init__(
        self,
        owner: str,
        token: int,
        clock: Clock,
        *,
        lease: str = "",
        works_from: float,
        demoted_at: float,
        valid_until: float,
        on_close: Callable[[Term], None],
        mint: Callable[[Term, int], Awaitable[int]],
    ) -> None:
        self.lease = lease
        self.owner = owner
        self.token = token
        self.works_from = works_from
        self.demoted_at = demoted_at
        self.valid_until = valid_until
        self.closed: str | None = None
        self._clock = clock
        self._closing = threading.Lock()
        self._on_close = on_close
        self._mint = mint

    @property
    def holds(self) -> bool:
        """Whether it may be acted on now. Computed from the clock each time: a flag would be stale after a
        stall of the event loop, when what is ready runs before the timer that should have cleared it."""
        return self.closed is None and self.works_from <= self._clock.monotonic() < self.demoted_at

    @property
    def quarantined(self) -> bool:
        """Whether somebody may still be at work from before it."""
        return self._clock.monotonic() < self.works_from

    @property
    def remaining(self) -> float:
        """Seconds until its work must end, if nothing renews it; zero once it is over."""
        return 0.0 if self.closed is not None else max(0.0, self.demoted_at - self._clock.monotonic())

    def extend(self, demoted_at: float, valid_until: float) -> None:
        """The lease was renewed.

        An answer that comes when the time is over revives nothing: whoever asked meanwhile was told that the
        term is over, so that it is.
        """
        if self._clock.monotonic() >= self.demoted_at:
            self.close("it was not renewed in time")
        elif self.closed is None and demoted_at > self.demoted_at:
            self.demoted_at, self.valid_until = demoted_at, valid_until

    async def mint_above(self, seen: int) -> int:
        """Take a new token, larger than `seen` too, for the rest of the term: before its work begins.

        Raises:
            NotLeader: The lease is lost.
            ResourceUnavailable: The server does not answer.
        """
        self.token = await self._mint(self, seen)
        return self.token

    def close(self, reason: str) -> None:
        """End it, at once and for good. Any thread may; the first reason stays."""
        with self._closing:
            if self.closed is not None:
                return
            self.closed = reason
        self._on_close(self)
