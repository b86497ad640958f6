"""The peers: what else would start coroutines at equal intervals in an asyncio loop."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from importlib import import_module
from typing import Any, Protocol

__all__ = ["PEERS", "Func", "Peer", "make"]

type Func = Callable[[], Coroutine[Any, Any, None]]

PEERS = {
    "sleep": "sleep",
    "heap-task": "heap_task",
    "heap-eager": "heap_eager",
    "apscheduler": "apscheduler",
    "bgtasks": "bgtasks",
}
"""Each with the module it is in. Only one of them is imported into a process."""


class Peer(Protocol):
    """What the benchmark asks of a peer; made inside the running loop."""

    about: str
    """Version and settings."""

    def add(self, name: str, func: Func, interval: float, phase: float) -> None:
        """Add a job that is due `phase` seconds after the origin, and then every `interval` seconds."""

    async def start(self) -> float:
        """Start all jobs. Returns the origin, on the loop's clock."""

    def settle(self) -> dict[str, float]:
        """The warm-up is over: the grid instant of each job, if the peer chose it later than the origin."""

    async def stop(self) -> None:
        """Stop, and return when that is done."""


def make(name: str) -> Peer:
    """The peer of that name."""
    peer: Peer = import_module(f"benchmarks.scheduler.peers.{PEERS[name]}").make()
    return peer
