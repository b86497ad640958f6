"""Delays that grow to a cap, never vanish, and are forgiven by health."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgtasks.backoff import Backoff
from bgtasks.errors import ConfigurationError


@given(st.integers(0, 200), st.integers(), st.floats(0.01, 10), st.floats(1, 1000))
def test_the_delay_before_an_attempt_lies_in_the_upper_half_of_its_ceiling(
    failures: int, seed: int, base: float, factor: float
) -> None:
    backoff = Backoff(base, base * factor, random=Random(seed))
    backoff.failures = failures

    delay = backoff.failed()

    ceiling = min(base * factor, base * 2.0 ** min(failures, 64))
    assert ceiling / 2 <= delay <= ceiling
    assert backoff.failures == failures + 1


def test_delays_grow_twofold_to_the_cap() -> None:
    class Upper(Random):
        def uniform(self, a: float, b: float) -> float:
            return b

    backoff = Backoff(1, 60, random=Upper())

    assert [backoff.failed() for _ in range(9)] == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_the_same_seed_gives_the_same_delays() -> None:
    one, other = Backoff(random=Random(7)), Backoff(random=Random(7))

    assert [one.failed() for _ in range(20)] == [other.failed() for _ in range(20)]


def test_a_thousand_failures_overflow_nothing() -> None:
    backoff = Backoff()

    assert all(0.5 <= backoff.failed() <= 60 for _ in range(2000))


def test_each_healthy_span_undoes_one_failure() -> None:
    backoff = Backoff(healthy=60)
    for _ in range(5):
        backoff.failed()

    backoff.succeeded(59.9)
    assert backoff.failures == 5
    backoff.succeeded(125)
    assert backoff.failures == 3
    backoff.succeeded(1e6)
    assert backoff.failures == 0


def test_a_success_without_a_length_forgives_everything() -> None:
    backoff = Backoff()
    backoff.failed()
    backoff.failed()

    backoff.succeeded()

    assert backoff.failures == 0


@pytest.mark.parametrize(
    ("base", "cap", "healthy"),
    [
        (0, 60, 60),
        (-1, 60, 60),
        (2, 1, 60),
        (1, float("inf"), 60),
        (float("nan"), 60, 60),
        (1, float("nan"), 60),
        (1, 60, 0),
        (1, 60, float("inf")),
        (1, 60, float("nan")),
    ],
)
def test_bounds_that_cannot_be_meant_are_refused(base: float, cap: float, healthy: float) -> None:
    with pytest.raises(
        ConfigurationError, match="a backoff needs 0 < base <= cap and healthy > 0"
    ) as refused:
        Backoff(base, cap, healthy)

    assert f"base={base}, cap={cap}, healthy={healthy}" in str(refused.value)
