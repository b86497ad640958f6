"""The pytest plugin of bgtasks: fixtures for tests on virtual time.

pytest finds it by itself. It has no hooks and no options, and changes nothing for a test that does not ask
for one of its fixtures. `-p no:bgtasks` leaves it out.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from bgtasks.testing.clock import VirtualClock
from bgtasks.testing.redis import virtual_redis as _virtual_redis

__all__ = ["seeded_random", "virtual_clock", "virtual_redis"]

_SEED = 20260101


class _SeededRandom(Random):
    """Shows its seed where pytest shows the arguments of a failed test."""

    def __init__(self) -> None:
        super().__init__(_SEED)

    def __repr__(self) -> str:
        return f"<Random of seed {_SEED}>"


@pytest.fixture
def virtual_clock() -> VirtualClock:
    """A `VirtualClock` that begins with 2026, in UTC; `set_wall` makes it another day."""
    return VirtualClock()


@pytest.fixture
def seeded_random() -> Random:
    """A source of random numbers that gives every test, in every run, the same ones."""
    return _SeededRandom()


@pytest.fixture
def virtual_redis(virtual_clock: VirtualClock) -> Iterator[Any]:
    """An asyncio client of an empty fake Redis on `virtual_clock`; see `bgtasks.testing.virtual_redis`."""
    with _virtual_redis(virtual_clock) as client:
        yield client
