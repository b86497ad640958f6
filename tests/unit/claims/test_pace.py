"""Calls that gather what comes one by one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bgtasks.claims.pace import GATHER, Pace
from bgtasks.testing import VirtualClock


@given(at=st.floats(0, 1e7), after=st.floats(0, 2 * GATHER))
def test_a_wait_for_the_next_one_is_none_or_one_that_passes(at: float, after: float) -> None:
    clock = VirtualClock()
    pace = Pace(clock)
    assert pace.left == 0.0
    clock.stall(at)
    pace.called()
    clock.stall(after)
    left = pace.left
    assert left <= GATHER + 1e-6
    if left:
        assert clock.monotonic() + left > clock.monotonic()
        clock.stall(left)
    assert pace.left == 0.0
