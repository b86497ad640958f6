"""The candidate: a follower that tries for the lease whenever it can be free, and sleeps in between."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from random import Random
from typing import NamedTuple

from bgtasks.backoff import Backoff
from bgtasks.clock import Clock
from bgtasks.contracts import EXPIRED, RELEASED, Granted, Held, LeaseStore
from bgtasks.errors import BgTasksError
from bgtasks.lease.bell import Bell
from bgtasks.lease.line import LeaseLine
from bgtasks.lease.times import LeaseTimes
from bgtasks.lease.witness import ServerClock

__all__ = ["Candidate", "Won"]

HERD = 0.1
"""Seconds over which followers spread that wait for the same lease to expire."""

_log = logging.getLogger("bgtasks")


class Won(NamedTuple):
    """A lease that was had.

    Attributes:
        owner: Its value.
        token: The fencing token of the term.
        sent: When the attempt was sent, by this node's clock.
        received: When its answer came.
        works_from: When whoever was at work before has surely ended.
        doubt: Why that is later than `received`, if it is.
    """

    owner: str
    token: int
    sent: float
    received: float
    works_from: float
    doubt: str

    def quarantined(self, now: float) -> bool:
        """Whether somebody may still be at work from before it."""
        return now < self.works_from


class Candidate:
    """Tries for one lease.

    Args:
        witness: What is known of the server's clock.
        bell: Rung when the lease may have become free, and when the candidate is to leave.
        fresh: See `Elector`.

    Attributes:
        holder: Who was seen to have the lease last.
    """

    def __init__(
        self,
        store: LeaseStore,
        node_id: str,
        *,
        clock: Clock,
        random: Random,
        new_nonce: Callable[[], str],
        times: LeaseTimes,
        line: LeaseLine,
        witness: ServerClock,
        bell: Bell,
        fresh: bool,
    ) -> None:
        self.holder: Held | None = None
        self._store = store
        self._node_id = node_id
        self._clock = clock
        self._random = random
        self._new_nonce = new_nonce
        self._times = times
        self._line = line
        self._witness = witness
        self._bell = bell
        self._fresh = fresh

    async def campaign(self, withdrawn: Callable[[], bool], until_stop: Callable[[], float]) -> Won | None:
        """Try until the lease is had; None if told to leave.

        Args:
            withdrawn: Whether it is to leave.
            until_stop: Seconds that are left for that.
        """
        owner, backoff, unanswered = self._new_owner(), Backoff(0.1, 2.0, random=self._random), 0
        while not withdrawn():
            self._bell.still()
            sent = self._clock.monotonic()
            try:
                answer = await self._line.ask(
                    self._store.acquire(owner, self._times.lease, self._times.lease + self._times.replica_lag)
                )
            except BgTasksError as error:
                self._line.out_of_reach(error)
                unanswered += 1
                if unanswered % self._times.attempts == 0:
                    # They may all have been granted: whoever asks on and hears nothing would keep the lease
                    # from those who do.
                    owner = self._new_owner()
                await self._bell.pause(backoff.failed())
                continue
            received = self._clock.monotonic()
            self._line.within_reach()
            backoff.succeeded()
            unanswered = 0
            self._witness.observe(sent, received, answer.at, answer.run_id)
            fresh, self._fresh = self._fresh, False
            if isinstance(answer, Held):
                self.holder = answer
                left = self._times.lease if answer.remaining is None else answer.remaining
                await self._bell.pause(min(left, self._times.lease) + self._random.uniform(0, HERD))
                continue
            won = self._won(owner, sent, received, answer, fresh)
            now = self._clock.monotonic()
            if now < self._times.demoted_at(sent) - self._times.tenure:
                return won
            await self._line.release(owner, won.quarantined(now), until_stop)
            owner = self._new_owner()
        # An attempt without an answer may have been granted.
        await self._line.release(owner, True, until_stop)
        return None

    async def listen(self) -> None:
        """Ring the bell when a release is heard of."""
        while True:
            try:
                await self._store.released()
            except Exception as error:  # noqa: BLE001 - a hint that cannot be had is one that is missed
                _log.debug("releases of %s are not heard of: %s", self._store.key, error)
                await asyncio.sleep(self._times.renew)
            else:
                self._bell.ring()

    def _new_owner(self) -> str:
        return f"{self._node_id}:{self._new_nonce()}"

    def _won(self, owner: str, sent: float, received: float, granted: Granted, fresh: bool) -> Won:
        works_from = received + self._times.at_rate(granted.quarantine)
        if fresh:
            works_from = received
        elif granted.ended != RELEASED:
            works_from = max(works_from, self._witness.trusted_from)
        doubt = granted.ended
        if doubt in (EXPIRED, RELEASED):
            doubt = "the clock of the server was not watched for long enough"
        return Won(owner, granted.token, sent, received, works_from, doubt)
