"""The workers of one supervisor during a term: all started, each kept alive, all ended before it is over."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from bgtasks.clock import Clock
from bgtasks.events import EventBus, TermGained, WorkerCrashed, WorkerGivenUp, WorkerReady, WorkerRestarted
from bgtasks.lease import LeaseTimes, Term
from bgtasks.outcomes import FAILURES, Cancelled, Deferred, Outcome
from bgtasks.run import NewRunId, Run
from bgtasks.runner import Runner
from bgtasks.spec import Restart
from bgtasks.stacks import stack_of
from bgtasks.supervisor.context import WorkerContext
from bgtasks.supervisor.post import Crash, Post

__all__ = ["Prepare", "WorkerCrew"]

LEAST = 0.1
"""Seconds at least between two requests to end."""

type Prepare = Callable[[Term], Awaitable[None]]
"""What is done before the first worker of a term starts, such as raising a guard to the term's token."""


class WorkerCrew:
    """Keeps workers alive while a term holds (see `Crew`).

    Args:
        posts: The workers by name, in the order in which they start; they end in the reverse order.
        stop_timeout: Seconds that ending them may take when nothing else limits it.
    """

    def __init__(
        self,
        posts: Mapping[str, Post],
        *,
        bus: EventBus,
        clock: Clock,
        new_run_id: NewRunId,
        times: LeaseTimes,
        stop_timeout: float,
    ) -> None:
        self.prepares: list[Prepare] = []
        self.resign: Callable[[str], None] = lambda reason: None
        """Called if the term cannot be worked in."""
        self._posts = posts
        self._bus = bus
        self._clock = clock
        self._new_run_id = new_run_id
        self._times = times
        self._stop_timeout = stop_timeout
        self._runner = Runner(bus, clock, ended=self._ended)
        self._term: Term | None = None
        self._opening: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._context = contextvars.Context()

    def open(self, loop: asyncio.AbstractEventLoop, context: contextvars.Context) -> None:
        """Work in this event loop, each worker in a copy of this context."""
        self._loop, self._context = loop, context
        self._runner.open(loop, context)

    def begin(self, term: Term) -> None:
        """See `Crew`."""
        assert self._loop is not None
        self._opening = asyncio.Task(
            self._open(term), loop=self._loop, name="bgtasks:prepare", context=self._context.copy()
        )

    async def _open(self, term: Term) -> None:
        """Prepare the term, then start the workers."""
        opening = asyncio.current_task()
        assert opening is not None
        try:
            for prepare in self.prepares:
                await prepare(term)
        except (Exception, asyncio.CancelledError) as error:  # the host's
            if isinstance(error, asyncio.CancelledError) and opening.cancelling():
                raise
            logging.getLogger("bgtasks").exception("the term could not be prepared")
            self.resign(f"it could not be prepared: {type(error).__name__}: {error}")
            return
        if opening.cancelling() or not term.holds:
            return
        self._term = term
        self._bus.emit(TermGained(term.lease, term.token, term.owner))
        for post in self._posts.values():
            post.given_up = None
            post.recent.clear()
            self.admit(post)

    def admit(self, post: Post) -> None:
        """Start a worker, if a term is in progress: at once, or after what is left of its last pause."""
        if self._term is not None and post.run is None and post.timer is None:
            wait = 0.0 if post.again is None else post.again - self._clock.monotonic()
            self._start_after(post, max(0.0, wait))

    async def end(self, left: Callable[[], float]) -> tuple[str, ...]:
        """See `Crew`."""
        by = self._clock.monotonic() + self._stop_timeout
        if self._opening is not None:
            self._opening.cancel()
        self._term = None
        for post in self._posts.values():
            if post.timer is not None:
                post.timer.cancel()
                post.timer = None

        def time() -> float:
            return max(0.0, min(left(), by - self._clock.monotonic()))

        for post in self._working():
            if post.takes_context and post.context is not None:
                post.context.stopping.set()
            else:  # it cannot see that it is to end
                self._cancel(post)
        await self._settle(min(self._times.grace, time() / 3))
        while self._handles():
            if self._opening is not None:
                self._opening.cancel()
            for post in self._working():
                self._cancel(post)
            await self._settle(min(max(self._times.kill, LEAST), time()))
            if time() < 0.001:  # less than a wait can be told to take
                break
        still = self._handles()
        for name, handle in still.items():
            logging.getLogger("bgtasks").critical(
                "%s does not end, so the lease is not released\n%s", name, stack_of(handle)
            )
        return tuple(still)

    def _cancel(self, post: Post) -> None:
        assert post.run is not None
        self._runner.cancel(post.run, Cancelled("leadership ended"), insist=False)

    def forget(self) -> None:
        """Let go of an event loop that was closed under it."""
        self._term = self._loop = self._opening = None
        for post in self._posts.values():
            post.run = post.context = post.timer = None

    async def gone(self) -> None:
        """See `Crew`."""
        while self._handles():
            await self._settle(None)

    def _working(self) -> list[Post]:
        """Those that are running, the last started first."""
        return [post for post in reversed(list(self._posts.values())) if post.run is not None]

    def _handles(self) -> dict[str, asyncio.Task[Any]]:
        """The asyncio tasks that have not ended, by name."""
        handles: dict[str, asyncio.Task[Any]] = {}
        if self._opening is not None and not self._opening.done():
            handles["what prepares the term"] = self._opening
        for post in self._working():
            if post.run is not None and post.run.handle is not None:
                handles[post.name] = post.run.handle
        return handles

    async def _settle(self, seconds: float | None) -> None:
        """Wait until all have ended, for so long."""
        if handles := self._handles().values():
            await asyncio.wait(handles, timeout=seconds)

    # -- one worker ------------------------------------------------------------------------------

    def _start_after(self, post: Post, seconds: float) -> None:
        assert self._loop is not None
        context = self._context.copy()
        if seconds > 0:
            post.timer = self._loop.call_later(seconds, self._start, post, context=context)
        else:  # in the order in which they were registered
            post.timer = self._loop.call_soon(self._start, post, context=context)

    def _start(self, post: Post) -> None:
        post.timer = post.again = None
        term = self._term
        if term is None or not term.holds:
            return
        run = Run(post.work, self._new_run_id(), self._clock.now())
        context = WorkerContext(term, partial(self._beaten, post, run))
        if post.takes_context:
            post.work.kwargs = {**post.work.kwargs, "ctx": context}
        post.run, post.context, post.beaten = run, context, None
        post.started += 1
        if post.started > 1:
            self._bus.emit(WorkerRestarted(post.name, run.run_id, post.started - 1))
        self._runner.begin(run)
        if post.run is run and post.heartbeat is not None:
            self._watch(post, run, post.heartbeat)

    def _beaten(self, post: Post, run: Run) -> None:
        if post.run is not run:  # of a run that was ended, and goes on giving them
            return
        first, post.beaten = post.beaten is None, self._clock.monotonic()
        if first and post.heartbeat is not None:
            self._bus.emit(WorkerReady(post.name, run.run_id))

    def _watch(self, post: Post, run: Run, seconds: float) -> None:
        assert self._loop is not None
        self._loop.call_later(seconds, self._feel_pulse, post, run, context=self._context.copy())

    def _feel_pulse(self, post: Post, run: Run) -> None:
        assert post.heartbeat is not None
        if post.run is not run or run.ending is not None:
            return
        beaten = run.began if post.beaten is None else post.beaten
        left = beaten + post.heartbeat - self._clock.monotonic()
        if left > 0:
            self._watch(post, run, left)
        else:
            self._runner.cancel(run, Cancelled(f"no heartbeat within {post.heartbeat:g} s"))

    def _ended(self, run: Run) -> None:
        post = self._posts[run.task]
        post.run = post.context = None
        now, outcome = self._clock.monotonic(), run.ending or run.outcome
        post.backoff.succeeded(now - run.began)
        if self._term is None or outcome is None:
            return
        away = isinstance(outcome, Deferred) and outcome.resource is not None
        crashed = away or isinstance(outcome, (*FAILURES, Cancelled))
        if post.restart is Restart.NEVER or (post.restart is Restart.ON_ERROR and not crashed):
            post.given_up = "it ended, and is not to be started again"
        elif crashed and not away and post.too_many(now):
            assert post.intensity is not None
            post.given_up = f"{post.intensity.crashes} crashes within {post.intensity.seconds:g} s"
        delay = 0.0
        if post.given_up is None:
            delay = post.backoff.failed()
            post.again = now + delay
            self._start_after(post, delay)
        if crashed:
            post.crashed += 1
            post.crashes.append(Crash(self._clock.now().timestamp(), now - run.began, _reason(outcome)))
            self._bus.emit(WorkerCrashed(post.name, run.run_id, _reason(outcome), post.crashed, delay))
            if post.given_up is not None:
                self._bus.emit(WorkerGivenUp(post.name, post.given_up))


def _reason(outcome: Outcome) -> str:
    return str(getattr(outcome, "reason", outcome))
