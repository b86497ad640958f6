"""One call to a model, with all that surrounds it: a slot, the breaker, the budget, and the only retries.

Each attempt is for itself: it takes a slot, reserves what it may cost, and settles what it did. What may have
been billed counts as spent, by what was reserved: an attempt that ran into its time limit, whose connection
broke, or that was cancelled while the endpoint was at work. What was never sent, or never reached the model,
is released.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from random import Random
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

from bgtasks.backoff import Backoff
from bgtasks.clock import Clock
from bgtasks.errors import BgTasksError, ResourceUnavailable
from bgtasks.llm.breaker import CircuitBreaker
from bgtasks.llm.dialect import Dialect
from bgtasks.llm.limiter import Limiter
from bgtasks.llm.quoting import quoted
from bgtasks.llm.refusals import Refusal, host_of, no_room, recognised, unrecognised
from bgtasks.llm.room import room, too_long_an_answer
from bgtasks.llm.transport import Path, Transport
from bgtasks.llm.types import Endpoint, Purpose, Usage

if TYPE_CHECKING:
    from bgtasks.llm.answers import Answers, Kept
    from bgtasks.llm.budget import Budget, Reservation

__all__ = ["ATTEMPTS", "Asked", "Calls", "Declined", "Judged"]

ATTEMPTS = 4
LESSONS = 8
"""Times that one call may be asked otherwise: more than there are things to learn."""
LATE_ATTEMPTS = 2
"""Attempts that may run into the time limit: each is paid for by what was reserved."""
LONGEST_WAIT = 60.0
"""Seconds for which a server may ask to wait before the next attempt; what is more is cut to this."""


class Declined(ResourceUnavailable):
    """No call is taken now, whatever it asks: too many calls, no credit left, or the client was closed."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of a model.

    Attributes:
        task: On whose budget it goes.
        shape: What kind of call it is: what an endpoint answers of one shape, it takes.
        estimate: What it may cost at most, as far as that can be told.
        body: The request, as the endpoint takes it.
        said: Tokens of what the messages say, estimated: all that surely is in the prompt.
    """

    endpoint: Endpoint
    purpose: Purpose
    task: str
    path: Path
    shape: str
    estimate: Usage
    dialect: Dialect
    body: Callable[[Dialect], dict[str, Any]] = field(repr=False)
    said: int = 0


@dataclass(frozen=True, slots=True)
class Judged[A]:
    """What is made of an answer.

    Attributes:
        used: What it took.
        keep: It in the form in which it is kept; None if it is not.
    """

    value: A = field(repr=False)
    used: Usage
    keep: Kept | None = None


class Calls:
    """Makes calls in one event loop.

    Args:
        concurrency: Calls to one model at a time, at most.
        sleep: Waits for so many seconds.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        budget: Budget | None,
        answers: Answers | None,
        concurrency: int,
        clock: Clock,
        random: Random,
        sleep: Callable[[float], Awaitable[object]],
    ) -> None:
        self._transport = transport
        self._budget = budget
        self._answers = answers
        self._concurrency = concurrency
        self._clock = clock
        self._random = random
        self._sleep = sleep
        self._limiters: dict[tuple[str, str], Limiter] = {}
        self._breakers: dict[str, CircuitBreaker] = {}
        self._paying: set[asyncio.Future[None]] = set()
        self._counting: set[asyncio.Task[Any]] = set()

    async def make[A](self, asked: Asked, judge: Callable[[Mapping[str, Any]], Judged[A]]) -> A:
        """Ask, up to four times, and judge the answer before what it cost is settled.

        Where there is less room for an answer than was asked for, as much as there is is asked for.

        Args:
            judge: Reads the body of an answer. It raises nothing: what is wrong with an answer that was
                paid for is part of its value.

        Raises:
            OverBudget: It may cost more than may be spent.
            ResourceUnavailable: No answer: an outage, or the breaker is open.
            Declined: Too many calls for too long, no credit is left, or the client was closed.
            UnsuitableServer: The key, the model, the call's shape or the length of its answer is refused.
            BadAnswer: The input is refused.
        """
        backoff = Backoff(1.0, 20.0, random=self._random)
        breaker = self._breaker(asked.endpoint.url)
        attempts = late = lessons = 0
        shortened = False
        while True:
            body = asked.body(asked.dialect)
            if shortened:
                body[asked.dialect.limit] = asked.estimate.completion_tokens
            try:
                value = await self._attempt(asked, body, judge)
            except Refusal as refusal:
                failed = refusal
            else:
                asked.dialect.proven.add(asked.shape)
                return value
            if failed.kind == "refused":
                if _too_long_an_answer(asked, failed):
                    asked = _shortened(asked, failed, body, again=shortened)
                    shortened = True
                elif lessons < LESSONS and asked.dialect.learn(failed, body):
                    lessons += 1
                else:
                    _raise_if_it_stays(asked, failed, body)
                continue
            attempts += 1
            late += failed.late
            if attempts == ATTEMPTS or late == LATE_ATTEMPTS or failed.final or breaker.open:
                raise self._gave_up(asked, failed, attempts, body)
            wait = max(backoff.failed(), min(failed.retry_after or 0.0, LONGEST_WAIT))
            _log.debug(
                "call of %s for %s: %s; again in %.1f s", asked.endpoint.model, asked.task, failed.what, wait
            )
            await self._sleep(wait)

    async def aclose(self) -> None:
        """Close the connections, and wait until all that was spent is written down."""
        await self._transport.aclose()
        if self._paying:  # an attempt that begins from now on is not sent
            await asyncio.wait(self._paying)
        while self._counting:
            await asyncio.wait(self._counting)

    # -- one attempt -----------------------------------------------------------------------------

    async def _attempt[A](
        self, asked: Asked, body: dict[str, Any], judge: Callable[[Mapping[str, Any]], Judged[A]]
    ) -> A:
        limiter, breaker = self._limiter(asked.endpoint), self._breaker(asked.endpoint.url)
        async with limiter.slot() as slot:
            with breaker.passing():
                try:
                    with self._under_way():
                        value = await self._paid(asked, body, judge)
                except Refusal as refusal:
                    if refusal.kind == "busy":
                        limiter.refused(slot, min(refusal.retry_after or 0.0, LONGEST_WAIT))
                    if refusal.kind == "away" and not refusal.final:
                        breaker.failed()
                    else:
                        breaker.succeeded()
                    raise
                limiter.succeeded()
                breaker.succeeded()
                return value

    async def _paid[A](
        self, asked: Asked, body: dict[str, Any], judge: Callable[[Mapping[str, Any]], Judged[A]]
    ) -> A:
        held = await self._reserved(asked)
        used: Usage | None = None
        keep: Kept | None = None

        def sent() -> None:
            nonlocal used
            used = asked.estimate

        try:
            judged = judge(await self._transport.post(asked.path, asked.endpoint, body, sent))
            used, keep = judged.used, judged.keep
        except Refusal as refusal:
            used = asked.estimate if refusal.billed else None
            raise
        finally:
            await self._settled(held, used, keep)
        return judged.value

    @contextmanager
    def _under_way(self) -> Iterator[None]:
        """What `aclose` waits for: an attempt may have to be paid for, and has not begun to settle."""
        ended = asyncio.get_running_loop().create_future()
        self._paying.add(ended)
        try:
            yield
        finally:
            self._paying.discard(ended)
            ended.set_result(None)

    # -- what it cost ----------------------------------------------------------------------------

    async def _reserved(self, asked: Asked) -> Reservation | None:
        """Set aside what a call may cost; given back if the caller is cancelled meanwhile."""
        if self._budget is None:
            return None
        reserving = self._start(self._budget.reserve(asked.task, asked.estimate))
        try:
            return await asyncio.shield(reserving)
        except asyncio.CancelledError:
            self._start(self._given_back(reserving))
            raise

    async def _given_back(self, reserving: asyncio.Task[Reservation]) -> None:
        with suppress(BgTasksError, RedisError):
            await self._settle(await reserving, None, None)

    async def _settled(self, held: Reservation | None, used: Usage | None, keep: Kept | None) -> None:
        """Write down what was spent, all the same if the caller is cancelled meanwhile."""
        if held is None and keep is None:
            return
        await asyncio.shield(self._start(self._settle(held, used, keep)))

    def _start[R](self, counting: Coroutine[Any, Any, R]) -> asyncio.Task[R]:
        """Start what must come to its end, whatever becomes of the caller."""
        task = asyncio.create_task(counting, name="bgtasks llm budget")
        self._counting.add(task)
        task.add_done_callback(self._counting.discard)
        return task

    async def _settle(self, held: Reservation | None, used: Usage | None, keep: Kept | None) -> None:
        try:
            if self._budget is None or held is None:
                if keep is not None and self._answers is not None:
                    await self._answers.put(keep)
            elif used is None:
                await self._budget.release(held)
            else:
                await self._budget.settle(held, used, keep=keep)
        except (BgTasksError, RedisError) as error:
            # The answer is there and paid for: it is worth more than the count, which mends itself.
            _log.warning("what a call of a model cost was not written down: %s", error)

    # -- per model and per endpoint --------------------------------------------------------------

    def _gave_up(self, asked: Asked, failed: Refusal, attempts: int, body: dict[str, Any]) -> Exception:
        tries = f", {attempts} times" if attempts > 1 else ""
        said = f"{host_of(asked.endpoint.url)}: {failed.what}{tries}{_quote(asked, failed, body)}"
        kind = Declined if failed.kind == "busy" or failed.final else ResourceUnavailable
        return kind("openrouter", said)

    def _limiter(self, endpoint: Endpoint) -> Limiter:
        key = (endpoint.url, endpoint.model)
        if key not in self._limiters:
            self._limiters[key] = Limiter(self._concurrency, self._clock, self._sleep)
        return self._limiters[key]

    def _breaker(self, url: str) -> CircuitBreaker:
        if url not in self._breakers:
            self._breakers[url] = CircuitBreaker(host_of(url), self._clock)
        return self._breakers[url]


# -- what was refused ------------------------------------------------------------------------------


def _too_long_an_answer(asked: Asked, failed: Refusal) -> bool:
    usage = asked.estimate
    return asked.path == "chat" and too_long_an_answer(
        failed.said, usage.prompt_tokens, usage.completion_tokens
    )


def _shortened(asked: Asked, failed: Refusal, body: dict[str, Any], *, again: bool) -> Asked:
    """The call with as many tokens for the answer as there is room for.

    Raises:
        UnsuitableServer: That was refused as well, or nobody knows how many there is room for.
    """
    most = asked.estimate.completion_tokens
    fits = None if again else room(failed.said, asked.estimate.prompt_tokens, most)
    if fits is None:
        who = f"{asked.endpoint.model} at {host_of(asked.endpoint.url)}"
        what = f"{failed.what}: no room for an answer of {most} tokens: allow fewer"
        raise no_room(who, what, _quote(asked, failed, body))
    cost = asked.estimate.cost  # of the longer answer: it errs high
    return replace(asked, estimate=Usage(asked.estimate.prompt_tokens, fits, cost))


def _raise_if_it_stays(asked: Asked, failed: Refusal, body: dict[str, Any]) -> None:
    """Return if it may be asked otherwise, though the endpoint did not say of what it is that it refused."""
    quote, place = _quote(asked, failed, body), (asked.endpoint, asked.purpose)
    if (error := recognised(failed, *place, quote)) is not None:
        raise error
    if not asked.dialect.guess(failed, body):
        raise unrecognised(failed, *place, quote, proven=asked.shape in asked.dialect.proven)


def _quote(asked: Asked, failed: Refusal, body: dict[str, Any]) -> str:
    key = asked.endpoint.key.get_secret_value() if asked.endpoint.key else ""
    return quoted(failed.message, body, key)


_log = logging.getLogger("bgtasks")
