"""The session of this process with a store: kept alive by beats, and trusted no longer than the last one.

A claim lasts as long as the session that made it. Trust is counted as a leader's is (`LeaseTimes`): from
before a beat was sent, less a bound on how far two clocks may run apart, less a margin in which runs end.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from random import Random
from typing import Any

from bgtasks.backoff import Backoff
from bgtasks.clock import Clock
from bgtasks.contracts import TaskStore
from bgtasks.errors import BgTasksError
from bgtasks.events import EventBus
from bgtasks.lease import LeaseTimes
from bgtasks.line import Line
from bgtasks.records import Beat, SessionRow

__all__ = ["Session"]

TIMES = LeaseTimes(lease=15.0, renew=3.0, attempt=2.0, margin=3.0)
"""How long a session lives without a beat, and how often it beats."""

GAP = 0.1
"""Seconds between two beats at least, however many ask for one."""

OPENING = 60.0
"""Seconds that it may take to make a store ready: tables may have to be made, or changed."""

LAST_BREATH = 1.0
"""Seconds after which it beats again if the host cancelled that: `asyncio.run` does so at its end."""


class Session:
    """Keeps this process known to a store.

    Args:
        describe: What this process is called, has wired and knows of; its id is drawn here.
        heard: Called with what each beat was answered.
        lost: Called with the reason when the session is not trusted any more: its claims are void.
    """

    def __init__(
        self,
        store: TaskStore,
        describe: Callable[[str], SessionRow],
        *,
        bus: EventBus,
        clock: Clock,
        random: Random,
        new_id: Callable[[], str],
        heard: Callable[[Beat], None],
        lost: Callable[[str], None],
        times: LeaseTimes = TIMES,
    ) -> None:
        self.store = store
        self.times = times
        self.id = ""
        self._describe = describe
        self._clock = clock
        self._random = random
        self._new_id = new_id
        self._heard = heard
        self._lost = lost
        self._line = Line("the task store", "store", times.attempt, bus, clock, self._spawn_ask)
        self._trusted_until = float("-inf")
        self._offset = (clock.now(), clock.monotonic())
        self._loop: asyncio.AbstractEventLoop | None = None
        self._context = contextvars.Context()
        self._keeping: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._again = asyncio.Event()
        self._opened = False

    @property
    def holds(self) -> bool:
        """Whether what this session claimed is still its own, by this node's clock and at this moment."""
        return bool(self.id) and self._clock.monotonic() < self._trusted_until

    @property
    def trouble(self) -> str | None:
        """Why the store did not answer when it was asked last; None if it did."""
        return self._line.trouble

    @property
    def remaining(self) -> float:
        """Seconds for which it is, if no further beat is answered."""
        return max(0.0, self._trusted_until - self._clock.monotonic()) if self.id else 0.0

    def now(self, mono: float) -> datetime:
        """The store's time at an instant of this node's clock; until the first beat they are the same."""
        at, then = self._offset
        return at + timedelta(seconds=mono - then)

    def mono(self, at: datetime) -> float:
        """The instant of this node's clock at a time of the store's."""
        then, mono = self._offset
        return mono + (at - then).total_seconds()

    def open(self, loop: asyncio.AbstractEventLoop, context: contextvars.Context) -> None:
        """Begin to beat, in this event loop; nothing if it beats."""
        if self._keeping is not None and self._loop is loop and not self._keeping.done():
            return
        self._loop, self._context = loop, context
        self._offset = (self._clock.now(), self._clock.monotonic())
        self._again = asyncio.Event()
        self._keep_on()

    def beat_now(self) -> None:
        """Ask at once what there is to do, instead of at the next beat."""
        self._again.set()

    async def make_ready(self) -> None:
        """Open the store, unless it is open; that may take a while.

        Raises:
            BgTasksError: It does not answer, or cannot be used.
        """
        if not self._opened:
            await self._line.ask(self.store.open(), within=OPENING)
            self._opened = True

    async def ask[T](self, call: Coroutine[Any, Any, T], *, within: float | None = None) -> T:
        """What a call to the store answers, within the time of one attempt, or so many seconds.

        Raises:
            BgTasksError: It does not, or refuses.
        """
        return await self._line.ask(call, within=within)

    async def ask_first[T](self, call: Coroutine[Any, Any, T]) -> T:
        """What a call answers, for whoever calls from outside, also before the scheduler was started.

        Raises:
            BgTasksError: There is no answer, or the store cannot be used.
        """
        try:
            await self.make_ready()
        except BaseException:
            call.close()
            raise
        return await self.ask(call)

    def give_up(self, why: str) -> None:
        """Trust this session no more, though it beats; another begins at once."""
        if self.id:
            self._end(why)

    async def close(self, within: float) -> None:
        """End the session, so that nobody waits for it to expire."""
        if self._keeping is None:  # there was none
            return
        until = self._clock.monotonic() + within
        keeping, self._keeping = self._keeping, None
        keeping.cancel()
        await asyncio.wait((keeping,), timeout=within)
        session, self.id = self.id, ""
        self._opened = False
        self._disarm()
        if session:
            await self._tell(self.store.leave(session), until)
        await self._tell(self.store.aclose(), until)

    async def _tell(self, call: Coroutine[Any, Any, None], until: float) -> None:
        try:
            await self._line.ask(call, max(0.0, until - self._clock.monotonic()))
        except BgTasksError as error:
            self._line.out_of_reach(error)  # a session expires

    def forget(self) -> None:
        """Let go of an event loop that was closed, or is about to be."""
        if self._keeping is not None and self._loop is not None and not self._loop.is_closed():
            self._keeping.cancel()
        self._keeping, self.id = None, ""
        self._disarm()

    def _keep_on(self) -> None:
        self._keeping = asyncio.Task(
            self._keep(), loop=self._loop, name="bgtasks:store:beat", context=self._context.copy()
        )
        self._keeping.add_done_callback(self._ceased, context=self._context.copy())

    def _ceased(self, keeping: asyncio.Task[None]) -> None:
        """A host that cancels whatever it finds ended it: go on, unless its event loop ends by that."""
        if self._keeping is keeping and self._loop is not None:
            self._loop.call_later(LAST_BREATH, self._go_on, keeping, context=self._context.copy())

    def _go_on(self, ceased: asyncio.Task[None]) -> None:
        if self._keeping is ceased:
            self._keep_on()

    async def _keep(self) -> None:
        backoff = Backoff(0.5, self.times.renew, random=self._random)
        while True:
            if self._timer is not None and not self.holds:  # the machine slept, and the timer with it
                self._end("the claim could not be renewed")
            sent = self._clock.monotonic()
            try:
                if not self._opened:
                    await self.make_ready()
                    sent = self._clock.monotonic()
                beat = await self._beat()
            except BgTasksError as error:
                self._line.out_of_reach(error)
                await self._pause(backoff.failed())
                continue
            self._line.within_reach()
            backoff.succeeded()
            # It is later than that at the store: nothing is begun before its time.
            self._offset = (beat.at, self._clock.monotonic())
            if not self.id or not beat.alive:  # what was found lost is told to nobody else
                self._heard(Beat(beat.at, False, lost=beat.lost))
            if not self.id:  # it was given up here meanwhile
                continue
            if beat.alive:
                self._trust(self.times.demoted_at(sent))
                self._heard(beat)
                await self._pause(self.times.renew * (1 - self._random.uniform(0, self.times.jitter)))
            else:  # somebody gave it up for dead, as it was too late: claims are made in a session of its own
                self._end("the store had given this session up")

    async def _beat(self) -> Beat:
        if not self.id:
            session = self._new_id()
            await self._line.ask(self.store.join(self._describe(session), self.times.lease))
            self.id = session
        return await self._line.ask(
            self.store.beat(self.id, self.times.lease, 2 * self.times.renew + self.times.attempt)
        )

    async def _pause(self, seconds: float) -> None:
        await asyncio.sleep(min(GAP, seconds))
        try:
            async with asyncio.timeout(max(0.0, seconds - GAP)):
                await self._again.wait()
        except TimeoutError:
            return
        self._again.clear()

    def _trust(self, until: float) -> None:
        self._trusted_until = until
        if self._timer is None:
            self._arm()

    def _arm(self) -> None:
        assert self._loop is not None
        wait = max(0.0, self._trusted_until - self._clock.monotonic())
        self._timer = self._loop.call_later(wait, self._look, context=self._context.copy())

    def _look(self) -> None:
        """The moment to which the session was trusted has come: it was renewed, or its claims are void."""
        self._timer = None
        if self.holds:
            self._arm()
        elif self.id:
            self._end("the claim could not be renewed")

    def _end(self, why: str) -> None:
        self.id = ""
        self._disarm()
        self._lost(why)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _spawn_ask[T](self, call: Coroutine[Any, Any, T], what: str) -> asyncio.Task[T]:
        """In the loop of whoever asks: before a start there is no other."""
        return asyncio.Task(call, name=f"bgtasks:store:{what}", context=self._context.copy())
