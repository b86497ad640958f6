"""The machine's clocks: aware UTC on the wall, a count of seconds that never goes back."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from bgtasks.clock import Clock, SystemClock, _steady


def test_the_wall_time_is_aware_and_in_utc() -> None:
    before = datetime.now(UTC)
    now = SystemClock().now()

    assert now.tzinfo is UTC
    assert before <= now <= before + timedelta(minutes=1)


def test_the_monotonic_side_never_goes_back() -> None:
    clock = SystemClock()
    readings = [clock.monotonic() for _ in range(1000)]

    assert all(one <= other for one, other in pairwise(readings))


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="this kernel does not count a suspend")
def test_a_suspend_counts_where_the_kernel_counts_it() -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)

    assert before <= SystemClock().monotonic() <= before + 60


def test_without_that_clock_pythons_own_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(time, "CLOCK_BOOTTIME", raising=False)

    assert _steady() is time.monotonic


def test_the_system_clock_is_a_clock() -> None:
    clock: Clock = SystemClock()

    assert clock.now() is not None
