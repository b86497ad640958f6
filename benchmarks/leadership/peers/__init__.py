"""The peers: what else would have one of several processes do the work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

__all__ = ["LEASE", "PEERS", "RENEWALS", "Peer", "Place", "make"]

LEASE = 5.0
"""Seconds after which Redis forgets a leader that does not renew: the default of bgtasks, given to all."""

PEERS = {"redis-py": "redis_py", "redis-lock": "redis_lock", "bgtasks": "bgtasks"}
"""Each with the module it is in. Only one of them is imported into a process."""

RENEWALS = {"redis-py": 1.0, "redis-lock": LEASE * 2 / 3, "bgtasks": 1.0}
"""Seconds between two renewals: a kill may come at any moment of that."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a peer stands, and how it says what happens.

    Attributes:
        url: The server.
        key: The lease, or the lock.
        name: This process; its connections have that name.
        note: Notes that something happens now; may be called from any thread.
    """

    url: str
    key: str
    name: str
    note: Callable[[str], None]


class Peer(Protocol):
    """What the benchmark asks of a peer; made in the running loop. Its worker's first line notes `leads`."""

    about: str
    """Version and settings."""

    async def start(self) -> None:
        """Begin to stand for leadership, and return."""

    async def stop(self) -> None:
        """End the work, and hand leadership over at once. Called on the leader only."""


def make(name: str, place: Place) -> Peer:
    """The peer of that name."""
    peer: Peer = import_module(f"benchmarks.leadership.peers.{PEERS[name]}").make(place)
    return peer
