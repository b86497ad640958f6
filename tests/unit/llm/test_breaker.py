"""An endpoint that fails is left alone, then tried by one call."""

from __future__ import annotations

import pytest

from bgtasks.errors import ResourceUnavailable
from bgtasks.llm.breaker import CircuitBreaker
from bgtasks.testing import VirtualClock


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def opened(clock: VirtualClock) -> CircuitBreaker:
    breaker = CircuitBreaker("host", clock)
    for _ in range(5):
        with breaker.passing():
            breaker.failed()
    return breaker


def refuses(breaker: CircuitBreaker) -> bool:
    try:
        with breaker.passing():
            return False
    except ResourceUnavailable:
        return True


class TestItOpens:
    def test_after_failures_in_a_row(self, clock: VirtualClock) -> None:
        breaker = CircuitBreaker("host", clock)
        for _ in range(4):
            breaker.failed()
        breaker.succeeded()
        for _ in range(4):
            breaker.failed()
        assert not breaker.open
        breaker.failed()
        assert breaker.open

    def test_and_says_for_how_long(self, opened: CircuitBreaker, clock: VirtualClock) -> None:
        clock.stall(10)
        with pytest.raises(ResourceUnavailable, match="host failed 5 times: the next try is in 20 s"):
            opened.passing().__enter__()


class TestAfterAWhile:
    def test_one_call_may_try_and_the_others_wait(self, opened: CircuitBreaker, clock: VirtualClock) -> None:
        clock.stall(30)
        with opened.passing():
            with pytest.raises(ResourceUnavailable, match="one call is trying"):
                opened.passing().__enter__()
            opened.succeeded()
        assert not refuses(opened)

    def test_it_opens_again_if_that_fails(self, opened: CircuitBreaker, clock: VirtualClock) -> None:
        clock.stall(30)
        with opened.passing():
            opened.failed()
        assert refuses(opened)
        clock.stall(30)
        assert not refuses(opened)

    def test_a_try_that_was_cancelled_leaves_it_to_the_next(
        self, opened: CircuitBreaker, clock: VirtualClock
    ) -> None:
        clock.stall(30)
        with pytest.raises(RuntimeError), opened.passing():
            raise RuntimeError
        assert not refuses(opened)
