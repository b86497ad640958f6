"""Parts of a deterministic simulation: nodes in one event loop, a network, and a model of Redis.

Whatever runs on a `SimulationLoop` in the context of a `Node` can be frozen, suspended, slowed down and
killed like a process, and what it sends to a `SimulatedRedis` through a `SimulatedClient` can be late, lost
or doubled. One seed gives one history, to the last bit. It needs the extra `testing`.
"""

from __future__ import annotations

from bgtasks.testing.simulation.clock import NodeClock
from bgtasks.testing.simulation.loop import NODE, Node, SimulationLoop
from bgtasks.testing.simulation.network import Network, Path, SimulatedClient
from bgtasks.testing.simulation.server import SimulatedRedis

__all__ = [
    "NODE",
    "Network",
    "Node",
    "NodeClock",
    "Path",
    "SimulatedClient",
    "SimulatedRedis",
    "SimulationLoop",
]
