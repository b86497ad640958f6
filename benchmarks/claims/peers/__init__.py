"""The peers: what else starts periodic work that is kept on a server. None but ours imports bgtasks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

__all__ = ["PEERS", "SYSTEMS", "Peer", "Place", "Promises", "make"]


@dataclass(frozen=True, slots=True)
class Promises:
    """What one has from it, beside speed.

    Attributes:
        shared: Whether several processes may serve the same jobs.
        claims: Whether it claims what it starts.
        claim: How a tick is started once.
        killed: What becomes of a run whose process is killed.
        kept: What is kept of runs that are over.
    """

    shared: str
    claims: bool
    claim: str
    killed: str
    kept: str


PEERS = {
    "bgtasks": Promises(
        "yes",
        True,
        "one transaction or script",
        "recorded as lost, started again, 3 times at most",
        "each run",
    ),
    "APScheduler": Promises("no", False, "none: one process alone", "forgotten", "nothing"),
    "docket": Promises(
        "yes", True, "consumer group of a stream", "delivered again after 5 minutes", "the last state"
    ),
    "arq": Promises(
        "yes", True, "a key that is watched", "not started again: `cron` has max_tries=1", "nothing"
    ),
}
"""Each with what it promises, by its documentation and its code, in the settings that it is measured with."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a peer keeps its jobs, and what these are.

    Attributes:
        url: The server's, as bgtasks writes it.
        jobs: How many there are, all due at the same instants.
        every: Seconds between two of these: all whole multiples since 1970. It divides a minute.
        started: To be called by each run as it begins.
    """

    url: str
    jobs: int
    every: int
    started: Callable[[], None]


class Peer(Protocol):
    """What the benchmark asks of a peer; made inside the running loop."""

    about: str
    """Version and settings."""

    async def start(self) -> None:
        """Begin to run the jobs, in this process; they go on in the background."""


SYSTEMS = {
    "bgtasks, Redis": ("bgtasks", "Redis"),
    "docket, Redis": ("docket", "Redis"),
    "arq, Redis": ("arq", "Redis"),
    "APScheduler, Redis": ("APScheduler", "Redis"),
    "bgtasks, PostgreSQL": ("bgtasks", "PostgreSQL"),
    "APScheduler, PostgreSQL": ("APScheduler", "PostgreSQL"),
    "bgtasks, SQLite": ("bgtasks", "SQLite"),
    "APScheduler, SQLite": ("APScheduler", "SQLite"),
}
"""Each peer on each server that it can use."""


def make(name: str, place: Place) -> Peer:
    """The peer of that name."""
    module = import_module(f"benchmarks.claims.peers.{name.lower()}")
    peer: Peer = module.make(place)
    return peer
