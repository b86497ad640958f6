"""The thread that ends a term while the event loop stands still, in real time.

These tests hold the event loop on purpose, until what they wait for has happened in another thread.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator

import pytest
from tests.support.waiting import until, wait_until

from bgtasks.clock import SystemClock
from bgtasks.lease import Term
from bgtasks.lease.watchdog import Watchdog

SOON = 0.15
LONG = 3_600.0


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    wait_until("the watching threads have ended", lambda: not watching())


@pytest.fixture
def watchdog() -> Watchdog:
    return Watchdog(SystemClock())


def watching() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "bgtasks:lease-watchdog"]


class Watched(Term):
    """A term that remembers when it was closed, and by which thread."""

    def __init__(self, lasts: float, token: int = 7) -> None:
        clock = SystemClock()
        now = clock.monotonic()
        self.closed_at: float | None = None
        self.closed_by = ""
        super().__init__(
            "node:nonce",
            token,
            clock,
            works_from=now,
            demoted_at=now + lasts,
            valid_until=now + lasts + 2.0,
            on_close=self._note,
            mint=self._refuse,
        )

    async def _refuse(self, term: Term, above: int) -> int:
        raise AssertionError("a watchdog mints nothing")

    def _note(self, term: Term) -> None:
        self.closed_at, self.closed_by = SystemClock().monotonic(), threading.current_thread().name

    def hold_the_loop_until_closed(self) -> None:
        wait_until("the term was closed", lambda: self.closed_at is not None)


class TestWhileTheLoopStandsStill:
    async def test_a_term_is_closed_when_its_time_is_over_and_not_before(self, watchdog: Watchdog) -> None:
        term = Watched(SOON)
        watchdog.guard(term)

        term.hold_the_loop_until_closed()

        assert term.closed_by == "bgtasks:lease-watchdog"
        assert term.closed_at is not None
        assert term.closed_at >= term.demoted_at
        assert "event loop" in (term.closed or "")

    async def test_a_term_is_never_renewed(self, watchdog: Watchdog) -> None:
        term = Watched(SOON)
        ends = (term.demoted_at, term.valid_until)
        watchdog.guard(term)

        term.hold_the_loop_until_closed()

        assert (term.demoted_at, term.valid_until) == ends
        assert not term.holds

    async def test_a_term_that_was_renewed_before_lasts_until_its_new_end(self, watchdog: Watchdog) -> None:
        term = Watched(SOON)
        watchdog.guard(term)
        term.extend(term.demoted_at + 2 * SOON, term.valid_until + 2 * SOON)

        term.hold_the_loop_until_closed()

        assert term.closed_at is not None
        assert term.closed_at >= term.demoted_at

    async def test_a_term_whose_time_is_over_already_is_closed_at_once(self, watchdog: Watchdog) -> None:
        term = Watched(-LONG)
        watchdog.guard(term)

        term.hold_the_loop_until_closed()

    async def test_it_is_said(self, watchdog: Watchdog, caplog: pytest.LogCaptureFixture) -> None:
        term = Watched(SOON, token=4711)
        with caplog.at_level(logging.ERROR, "bgtasks"):
            watchdog.guard(term)
            wait_until("the thread has ended", lambda: not watching())

        assert "4711" in caplog.text
        assert "event loop" in caplog.text


class TestTheThread:
    async def test_ends_when_the_term_is_left(self, watchdog: Watchdog) -> None:
        term = Watched(LONG)
        watchdog.guard(term)
        assert len(watching()) == 1

        watchdog.leave()

        await until("the thread has ended", lambda: not watching())
        assert term.closed is None

    async def test_ends_when_it_has_closed_the_term(self, watchdog: Watchdog) -> None:
        term = Watched(SOON)
        watchdog.guard(term)

        await until("the thread has ended", lambda: not watching())

        assert term.closed is not None
        watchdog.leave()

    async def test_ends_without_a_word_when_another_has_closed_the_term(
        self, watchdog: Watchdog, caplog: pytest.LogCaptureFixture
    ) -> None:
        term = Watched(SOON)
        watchdog.guard(term)
        term.close("resigned")

        await until("the thread has ended", lambda: not watching())

        assert term.closed == "resigned"
        assert caplog.records == []

    async def test_does_not_keep_the_process_alive(self, watchdog: Watchdog) -> None:
        term = Watched(LONG)
        watchdog.guard(term)

        assert [thread.daemon for thread in watching()] == [True]
        watchdog.leave()

    async def test_does_not_hold_up_whoever_leaves(self, watchdog: Watchdog) -> None:
        for _ in range(50):
            term = Watched(LONG)
            watchdog.guard(term)
            watchdog.leave()
            watchdog.leave()

        await until("the threads have ended", lambda: not watching())


class TestTermAfterTerm:
    async def test_each_is_guarded_for_itself(self, watchdog: Watchdog) -> None:
        first, second = Watched(LONG), Watched(SOON)
        watchdog.guard(first)
        watchdog.leave()
        watchdog.guard(second)

        second.hold_the_loop_until_closed()

        assert first.closed is None

    async def test_one_that_was_closed_in_time_is_not_mistaken_for_the_next(self, watchdog: Watchdog) -> None:
        for _ in range(3):
            term = Watched(SOON)
            watchdog.guard(term)
            await asyncio.to_thread(term.hold_the_loop_until_closed)
            watchdog.leave()

        last = Watched(LONG)
        watchdog.guard(last)
        await until("only the last is watched", lambda: len(watching()) == 1)
        assert last.closed is None
        watchdog.leave()
