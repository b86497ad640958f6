"""The clocks of a simulated node: a steady one that runs fast or slow, and a wall clock that may be set."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from bgtasks.testing.simulation.loop import Node, SimulationLoop

__all__ = ["EPOCH", "NodeClock"]

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
"""The wall time at which simulations begin."""


class NodeClock:
    """A `Clock` of one node, which follows the node's rate.

    Attributes:
        wall: Seconds by which its wall clock is off.
    """

    def __init__(self, loop: SimulationLoop, node: Node, wall: float = 0.0) -> None:
        self.wall = wall
        self._loop = loop
        self._node = node

    def now(self) -> datetime:
        """The wall time, aware, in UTC."""
        return EPOCH + timedelta(seconds=self._loop.now + self.wall)

    def monotonic(self) -> float:
        """Seconds of the node's steady clock."""
        return self._node.local(self._loop.now)
