"""Nodes in one simulated loop: each has its time, and may stand still or go, and the others go on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from random import Random

import pytest

from bgtasks.testing.simulation import Node, NodeClock, SimulationLoop


@pytest.fixture
def loop() -> Iterator[SimulationLoop]:
    made = SimulationLoop(Random(1))
    yield made
    made.close()


class Ticker:
    """Notes the true time at each second of its node."""

    def __init__(self, loop: SimulationLoop, node: Node) -> None:
        self.ticks: list[float] = []
        self.ended = False
        self._loop = loop
        loop.spawn(node, self._tick(), node.name)

    async def _tick(self) -> None:
        try:
            while True:
                await asyncio.sleep(1.0)
                self.ticks.append(round(self._loop.now, 3))
        finally:
            self.ended = True


def test_a_frozen_node_stands_still_and_then_goes_on_at_once(loop: SimulationLoop) -> None:
    a, b = Node("a"), Node("b")
    frozen, other = Ticker(loop, a), Ticker(loop, b)
    loop.at(1.5, loop.freeze, a)
    loop.at(4.5, loop.thaw, a)
    loop.run(5.9)
    assert frozen.ticks == [1.0, 4.5, 5.5]
    assert other.ticks == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert a.frozen_for == 3.0


def test_a_suspend_stops_the_clock_of_timers_and_not_the_steady_one(loop: SimulationLoop) -> None:
    node = Node("a")
    ticker, clock = Ticker(loop, node), NodeClock(loop, node)
    loop.at(1.5, loop.suspend, node, 3.0)
    loop.run(5.75)
    assert ticker.ticks == [1.0, 5.0]
    assert clock.monotonic() == 5.75


def test_a_fast_node_counts_more_seconds(loop: SimulationLoop) -> None:
    node = Node("a", rate=2.0)
    ticker = Ticker(loop, node)
    loop.run(2.1)
    assert ticker.ticks == [0.5, 1.0, 1.5, 2.0]


def test_of_a_killed_node_nothing_runs_any_more(loop: SimulationLoop) -> None:
    node = Node("a")
    ticker = Ticker(loop, node)
    loop.at(1.5, loop.kill, node)
    loop.run(9.0)
    assert ticker.ticks == [1.0]
    assert loop.complaints == []


def test_a_node_that_blocks_is_late_alone(loop: SimulationLoop) -> None:
    node, other = Node("a"), Node("b")
    loop.spawn(node, _block(loop), "block")
    late, ticker = Ticker(loop, node), Ticker(loop, other)
    loop.run(3.9)
    assert ticker.ticks == [1.0, 2.0, 3.0]
    assert late.ticks[0] >= 2.5


async def _block(loop: SimulationLoop) -> None:
    loop.block(2.5)
