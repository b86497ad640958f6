"""The elector: stands for a lease, leads while it holds it, and gives it back only after its work has ended.

A leader renews, and trusts each renewal from before it was sent. Whatever is not a confirmed renewal is
none.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

from bgtasks.clock import Clock, SystemClock
from bgtasks.contracts import Held, LeaseStore
from bgtasks.errors import BgTasksError, NotLeader
from bgtasks.events import EventBus, TermLost, TermQuarantined
from bgtasks.lease.bell import Bell
from bgtasks.lease.candidate import Candidate, Won
from bgtasks.lease.crew import Crew
from bgtasks.lease.line import LeaseLine
from bgtasks.lease.term import Term
from bgtasks.lease.times import LeaseTimes
from bgtasks.lease.watchdog import Watchdog
from bgtasks.lease.witness import ServerClock

__all__ = ["Elector"]

CONFUSED = 0.05
"""Seconds at least between two attempts that fail at once."""


class Elector:
    """Stands for one lease.

    Args:
        store: Where the lease is kept.
        node_id: Part of the lease's value, for people. Two nodes may share one.
        crew: Who works during a term.
        new_nonce: Makes what tells one term of a node from another, and two nodes of one id apart.
        fresh: When it begins to stand, no leader is at work that it does not know of. It holds for the
            first answer.

    Attributes:
        term: The term in progress; None for a follower.
        stuck: Who of a past term still works, so that this node does not stand.
    """

    def __init__(
        self,
        store: LeaseStore,
        node_id: str,
        crew: Crew,
        *,
        bus: EventBus,
        clock: Clock,
        random: Random,
        new_nonce: Callable[[], str],
        times: LeaseTimes,
        fresh: bool = False,
    ) -> None:
        self.store = store
        self.times = times
        self.term: Term | None = None
        self.stuck: tuple[str, ...] = ()
        self._crew = crew
        self._bus = bus
        self._clock = clock
        self._random = random
        self._witness = ServerClock(times, clock.monotonic())
        self._watchdog = Watchdog(clock) if isinstance(clock, SystemClock) else None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._context = contextvars.Context()
        self._standing: asyncio.Task[None] | None = None
        self._line = LeaseLine(store, times, bus, clock, self._spawn)
        self._leave: str | None = None
        self._stop_by: float | None = None
        self._for_release = 0.0
        self._bell = Bell()
        self._candidate = Candidate(
            store,
            node_id,
            clock=clock,
            random=random,
            new_nonce=new_nonce,
            times=times,
            line=self._line,
            witness=self._witness,
            bell=self._bell,
            fresh=fresh,
        )

    @property
    def holder(self) -> Held | None:
        """Who was seen to have the lease last; None for a leader."""
        return self._candidate.holder

    @property
    def is_leader(self) -> bool:
        """Whether this node leads, by its clock and at this moment."""
        return self.term is not None and self.term.holds

    @property
    def stands(self) -> bool:
        """Whether it follows or leads, and has not been told to leave."""
        return self._standing is not None and not self._standing.done() and not self._withdrawn

    @property
    def ending(self) -> bool:
        """Whether a term is in progress in which no new work begins."""
        term = self.term
        return term is not None and (not self._goes_on(term) or self._clock.monotonic() >= term.demoted_at)

    @property
    def _withdrawn(self) -> bool:
        return self._stop_by is not None

    def stand(self, context: contextvars.Context) -> None:
        """Begin to stand for the lease, in the running event loop."""
        if self._standing is not None:
            return
        self._loop, self._context = asyncio.get_running_loop(), context
        self._witness.begin(self._clock.monotonic())
        self._leave = self._stop_by = None
        self._bell.rehang()
        self._standing = self._spawn(self._stand(), "stand")
        self._standing.add_done_callback(self._stood, context=context.copy())

    def _stood(self, standing: asyncio.Task[None]) -> None:
        if not standing.cancelled() and (error := standing.exception()) is not None:
            logging.getLogger("bgtasks").critical(
                "%s: this node stands no more, through an error of ours", self.store.key, exc_info=error
            )

    def resign(self, reason: str) -> None:
        """Hand over, if it leads, and hold back for the length of a lease so that another can take it."""
        if self.term is not None and self._leave is None:
            self._leave = reason
            self._bell.ring()

    async def withdraw(self, within: float) -> None:
        """Stand no more: end the work, release the lease; returns after `within` seconds at the latest."""
        standing = self._standing
        if standing is None:
            return
        if self._stop_by is None:
            self._stop_by = self._clock.monotonic() + within
            self._for_release = min(self.times.attempt, within / 4)
            self._leave = "stopped"
            self._bell.ring()
        await asyncio.wait((standing,))
        await self._line.close(self._until_stop())
        if self._standing is standing:
            self._standing = None
        if not standing.cancelled():
            standing.result()

    def forget(self) -> None:
        """Let go of an event loop that was closed under it."""
        if self.term is not None:
            self.term.close("the event loop was closed")
        self.term, self._standing, self.stuck = None, None, ()

    async def verify(self, min_remaining: float = 0.0) -> int:
        """The token, once the server has confirmed that the lease is still this term's.

        Raises:
            NotLeader: It is not, or there is doubt: the check fails closed.
        """
        term = self.term
        if term is None or not term.holds:
            raise NotLeader("this node is not the leader")
        sent = self._clock.monotonic()
        try:
            held = await self._line.ask(self.store.look())
        except BgTasksError as error:
            raise NotLeader(f"whether this node still leads is not known: {error}") from error
        if held is None:
            raise NotLeader("the lease is gone")
        if held.owner != term.owner:
            raise NotLeader(f"the lease is owned by another: {held.owner}")
        until = min(term.demoted_at, sent + self.times.trusted_of(held.remaining or 0.0))
        if term.closed is not None or not self._clock.monotonic() + min_remaining < until:
            raise NotLeader(f"less than {min_remaining:g} s of the lease are left")
        return term.token

    # -- following -------------------------------------------------------------------------------

    async def _stand(self) -> None:
        await self._outlast(self.stuck)
        while not self._withdrawn:
            listening = self._spawn(self._candidate.listen(), "hear")
            try:
                won = await self._candidate.campaign(lambda: self._withdrawn, self._until_stop)
            finally:
                listening.cancel()
            if won is not None:
                await self._serve(self._term(won))

    def _term(self, won: Won) -> Term:
        if won.works_from > won.received:
            waits = won.works_from - won.received
            self._bus.emit(TermQuarantined(self.store.key, won.token, waits, won.doubt))
        return Term(
            won.owner,
            won.token,
            self._clock,
            lease=self.store.key,
            works_from=won.works_from,
            demoted_at=self.times.demoted_at(won.sent),
            valid_until=self.times.valid_until(won.sent),
            on_close=self._closed,
            mint=self._mint,
        )

    # -- leading ---------------------------------------------------------------------------------

    async def _serve(self, term: Term) -> None:
        self.term, self._candidate.holder = term, None
        self._leave = None if not self._withdrawn else "stopped"
        began = self._clock.monotonic()
        self._arm(term)
        renewing = self._spawn(self._renew(term), "renew")
        if self._watchdog is not None:
            self._watchdog.guard(term)
        still: tuple[str, ...] = ()
        try:
            await self._lead(term)
            still = await self._crew.end(lambda: self._left(term))
        finally:
            term.close(self._leave or "cancelled")
            renewing.cancel()
            if self._watchdog is not None:
                self._watchdog.leave()
            self.term = None
            self._bus.emit(
                TermLost(self.store.key, term.token, term.closed or "", self._clock.monotonic() - began)
            )
        await self._outlast(still)
        if not self.stuck:
            await self._line.release(term.owner, term.quarantined, self._until_stop)
            if self._leave is not None and not self._withdrawn:
                await self._hold_back()

    async def _lead(self, term: Term) -> None:
        """Wait out the quarantine, begin the work, and return when it has to end."""
        while self._goes_on(term) and (wait := term.works_from - self._clock.monotonic()) > 0:
            await self._bell.pause(wait)
        if self._goes_on(term) and term.holds:
            self._crew.begin(term)
        while self._goes_on(term):
            await self._bell.pause(None)

    def _goes_on(self, term: Term) -> bool:
        return term.closed is None and self._leave is None

    def _left(self, term: Term) -> float:
        """Seconds until the crew must have ended: nobody hurries one that still holds the lease."""
        now = self._clock.monotonic()
        holds = term.closed is None and now < term.demoted_at  # the timer that closes it may come after this
        return min(float("inf") if holds else term.valid_until - now, self._until_stop() - self._for_release)

    def _until_stop(self) -> float:
        return float("inf") if self._stop_by is None else self._stop_by - self._clock.monotonic()

    async def _renew(self, term: Term) -> None:
        """Keep the lease until the term is over; whatever ends this ends the term."""
        try:
            pause = self._until_renewal()
            while term.closed is None:
                await asyncio.sleep(pause)
                sent = self._clock.monotonic()
                if sent >= term.demoted_at:  # the machine slept, and the timer with it
                    term.close("it was not renewed in time")
                    return
                not_after = self._witness.time_at(term.valid_until)
                try:
                    answer = await self._line.ask(
                        self.store.renew(term.owner, self.times.lease, not_after, term.quarantined)
                    )
                except BgTasksError as error:
                    self._line.out_of_reach(error)
                    pause = max(CONFUSED, self.times.attempt - (self._clock.monotonic() - sent))
                    continue
                self._line.within_reach()
                self._witness.observe(sent, self._clock.monotonic(), answer.at, answer.run_id)
                if not answer.kept:
                    term.close("the lease was lost")
                    return
                term.extend(self.times.demoted_at(sent), self.times.valid_until(sent))
                if answer.resign:
                    self.resign("asked to resign")
                pause = self._until_renewal()
        finally:
            term.close("its renewal ended")

    def _until_renewal(self) -> float:
        return self.times.renew * (1 - self._random.uniform(0, self.times.jitter))

    def _arm(self, term: Term) -> None:
        assert self._loop is not None
        wait = max(0.0, term.demoted_at - self._clock.monotonic())
        self._loop.call_later(wait, self._look_at, term, context=self._context.copy())

    def _look_at(self, term: Term) -> None:
        """The moment to which the lease was trusted has come: it was renewed, or the term is over."""
        if term.closed is None:
            if self._clock.monotonic() >= term.demoted_at:
                term.close("it was not renewed in time")
            else:
                self._arm(term)

    def _closed(self, term: Term) -> None:
        """A term was closed, perhaps in another thread."""
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(self._bell.ring, context=self._context.copy())
        except RuntimeError:  # the event loop is closed, and nothing works in it any more
            return

    async def _mint(self, term: Term, above: int) -> int:
        token = await self._line.ask(self.store.mint(term.owner, above))
        if not token:
            term.close("the lease was lost")
            raise NotLeader("the lease was lost")
        return token

    async def _outlast(self, still: tuple[str, ...]) -> None:
        """Workers that cannot be ended keep this node from standing, and the lease from being released."""
        self.stuck = still
        while self.stuck and not self._withdrawn:
            gone = self._spawn(self._crew.gone(), "outlast")
            self._bell.still()
            waking = self._spawn(self._bell.pause(None), "wait")
            await asyncio.wait((gone, waking), return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                self.stuck = ()
            gone.cancel()
            waking.cancel()

    async def _hold_back(self) -> None:
        until = self._clock.monotonic() + self.times.lease
        while not self._withdrawn and (wait := until - self._clock.monotonic()) > 0:
            self._bell.still()
            await self._bell.pause(wait)

    def _spawn[T](self, call: Coroutine[Any, Any, T], what: str) -> asyncio.Task[T]:
        assert self._loop is not None
        return asyncio.Task(
            call, loop=self._loop, name=f"bgtasks:lease:{self.store.key}:{what}", context=self._context.copy()
        )
