"""Weights fade and join; prune's batches follow the server's pace."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgtasks.errors import ResourceUnavailable
from bgtasks.memory.decay import HALF_LIFE, THRESHOLD, Weight, prune
from bgtasks.testing import ScriptedGraph, VirtualClock, run_virtual

NOW = datetime(2026, 9, 1, tzinfo=UTC)
DAY = 86_400_000.0

weights = st.builds(Weight, st.floats(0, 0.999), st.floats(0, 1e13))


# -- weights -------------------------------------------------------------------------------------


def test_a_weight_halves_in_a_half_life_of_sixty_days() -> None:
    weight = Weight(0.8, 0.0)

    assert HALF_LIFE == 60 * DAY
    assert weight.at(60 * DAY) == pytest.approx(0.4)
    assert weight.at(120 * DAY) == pytest.approx(0.2)
    assert weight.at(10.0, half_life=10.0) == pytest.approx(0.4)


def test_an_earlier_instant_does_not_raise_it() -> None:
    assert Weight(0.3, 100 * DAY).at(0.0) == 0.3


def test_evidence_of_one_instant_joins_by_noisy_or() -> None:
    joined = Weight(0.1, DAY).joined(Weight(0.2, DAY))

    assert joined.w == pytest.approx(1 - 0.9 * 0.8)
    assert joined.t == DAY


def test_both_are_brought_to_the_later_instant() -> None:
    early, late = Weight(0.4, 0.0), Weight(0.1, 60 * DAY)

    assert early.joined(late) == late.joined(early)
    assert early.joined(late).t == 60 * DAY
    assert early.joined(late).w == pytest.approx(1 - (1 - 0.2) * (1 - 0.1))


@given(weights, weights)
def test_a_joined_weight_is_below_one_and_no_less_than_either(one: Weight, other: Weight) -> None:
    joined = one.joined(other)

    assert 0 <= joined.w <= 1
    assert joined.w >= max(one.at(joined.t), other.at(joined.t)) - 1e-12
    assert joined.w == pytest.approx(other.joined(one).w)


@given(weights, st.floats(0, 1e12), st.floats(0, 1e12))
def test_fading_in_two_steps_is_fading_in_one(weight: Weight, first: float, second: float) -> None:
    middle = weight.t + first

    in_two = Weight(weight.at(middle), middle).at(middle + second)

    assert in_two == pytest.approx(weight.at(middle + second), abs=1e-9)


def test_the_instant_of_death_is_when_the_weight_reaches_the_threshold() -> None:
    weight = Weight(0.7, 5 * DAY)

    dies_at = weight.t + HALF_LIFE * math.log2(weight.w / THRESHOLD)

    assert weight.at(dies_at) == pytest.approx(THRESHOLD)


# -- batches -------------------------------------------------------------------------------------


class Server:
    """A graph with so many expired edges, which takes so long for each batch."""

    def __init__(self, clock: VirtualClock, expired: int, *seconds: float) -> None:
        self.graph = ScriptedGraph()
        self.graph.on("DELETE r", self._delete)
        self.left = expired
        self.batches: list[int] = []
        self._clock = clock
        self._seconds = list(seconds)

    def _delete(self, params: Mapping[str, Any]) -> list[list[int]]:
        self.batches.append(params["batch"])
        gone = min(self.left, params["batch"])
        self.left -= gone
        self._clock.stall(self._seconds.pop(0) if len(self._seconds) > 1 else self._seconds[0])
        return [[gone]]


def pruned(expired: int, *seconds: float) -> tuple[int, list[int]]:
    async def main(clock: VirtualClock) -> tuple[int, list[int]]:
        server = Server(clock, expired, *seconds)
        return await prune(server.graph, NOW), server.batches

    return run_virtual(main)


def test_batches_grow_while_the_server_is_quick_up_to_a_limit() -> None:
    deleted, batches = pruned(8_500, 0.01)

    assert deleted == 8_500
    assert batches == [200, 400, 800, 1600, 2000, 2000, 2000]


def test_batches_shrink_while_the_server_is_slow_down_to_a_limit() -> None:
    deleted, batches = pruned(600, 0.2)

    assert deleted == 600
    assert batches == [200, 100, 50, 50, 50, 50, 50, 50, 50]


def test_batches_grow_again_when_the_server_recovers() -> None:
    _, batches = pruned(100_000, 0.2, 0.2, 0.01, 0.01, 0.2, 0.01)

    assert batches[:7] == [200, 100, 50, 100, 200, 100, 200]


def test_nothing_expired_is_one_question() -> None:
    assert pruned(0, 0.01) == (0, [200])


def test_a_batch_that_is_just_full_is_followed_by_one_that_finds_nothing() -> None:
    assert pruned(200, 0.01) == (200, [200, 400])


def test_the_question_is_about_the_instant_given() -> None:
    async def main(clock: VirtualClock) -> float:
        server = Server(clock, 0, 0.0)
        await prune(server.graph, NOW)
        return float(server.graph.queries[-1][1]["now"])

    assert run_virtual(main) == NOW.timestamp() * 1000


def test_others_run_between_the_batches() -> None:
    async def main(clock: VirtualClock) -> int:
        server = Server(clock, 2_000, 0.01)
        turns = 0

        async def other() -> None:
            nonlocal turns
            while server.left:
                turns += 1
                await asyncio.sleep(0)

        await asyncio.gather(prune(server.graph, NOW), other())
        return turns

    assert run_virtual(main) >= 3


def test_an_unavailable_server_is_said_and_the_next_run_goes_on() -> None:
    async def main(clock: VirtualClock) -> tuple[int, int]:
        server = Server(clock, 1_000, 0.01)
        failing = ScriptedGraph()
        lost = ResourceUnavailable("kg_manager", "connection reset")
        failing.on("DELETE r", server._delete({"batch": 200}), lost)
        with pytest.raises(ResourceUnavailable, match="connection reset"):
            await prune(failing, NOW)
        return await prune(server.graph, NOW), server.left

    assert run_virtual(main) == (800, 0)
