"""The systems: each is made in a process of its own, where its packages are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Protocol

from benchmarks.memory.conversation import Line

__all__ = ["DIMENSION", "SYSTEMS", "Contents", "Place", "System", "make"]

DIMENSION = 384
"""Of the stand-in's vectors."""

MODEL, EMBEDDING, KEY = "stand-in", "stand-in-embedding", "none"
"""What every system is told to ask for."""


@dataclass(frozen=True, slots=True)
class Known:
    """A system as the benchmark starts it.

    Attributes:
        module: Under `peers`.
        adapter: Under `adapters`.
        apart: Whose requirements it is installed with; None: it is in this environment.
        graph: Whether it keeps what it knows in a FalkorDB, else in a directory.
        as_used: How it is fed, for people.
    """

    module: str
    adapter: str
    apart: str | None
    graph: bool
    as_used: str


SYSTEMS = {
    "ours": Known("bgtasks", "bgtasks", None, True, "messages into the cache, then the extraction"),
    "graphiti": Known("graphiti", "graphiti", "memory-graphiti", True, "add_episode for each message"),
    "graphiti-bulk": Known(
        "graphiti_bulk", "graphiti", "memory-graphiti", True, "add_episode_bulk for each 20 messages"
    ),
    "mem0": Known("mem0", "mem0", "memory-mem0", False, "Memory.add for each 2 messages"),
    "mem0-20": Known("mem0_20", "mem0", "memory-mem0", False, "Memory.add for each 20 messages"),
}


@dataclass(frozen=True, slots=True)
class Place:
    """What a system works with.

    Attributes:
        model: URL of the stand-in.
        store: URL of a FalkorDB, else None.
        directory: Its own.
        lines: All messages there are going to be.
        note: Told of so many further messages that are in, by a system that is given many at once.
    """

    model: str
    store: str | None
    directory: Path
    lines: Sequence[Line]
    note: Callable[[int], None] = lambda count: None


@dataclass(slots=True)
class Contents:
    """What is in a system's store.

    Attributes:
        facts: Subject, object and sentence of each.
        entities: The name of each, and the part of the store that it is in.
        texts: Memories that are sentences alone.
        raw: Messages that are kept as they came: channel and text.
    """

    facts: list[tuple[str, str, str]] = field(default_factory=list)
    entities: list[tuple[str, str]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    raw: list[tuple[str, str]] = field(default_factory=list)


class System(Protocol):
    """What the benchmark asks of a system."""

    about: str
    """Versions and settings."""

    step: int | None
    """Messages that are handed over at once; None: a whole channel."""

    resumes: bool
    """Whether it is to be given everything again after a crash, as it knows itself where it was."""

    loggers: tuple[str, ...]
    """Whose warnings say that something went wrong."""

    harmless: tuple[str, ...]
    """Beginnings of warnings that do not."""

    async def open(self, place: Place) -> None:
        """Begin, in an empty place or in one that was left."""

    async def add(self, lines: Sequence[Line]) -> None:
        """Take these messages of one channel in; they are when it returns."""

    async def contents(self) -> Contents:
        """Read all back."""

    async def close(self) -> None:
        """End."""


def make(name: str) -> System:
    """The system of that name."""
    made: System = import_module(f"benchmarks.memory.peers.{SYSTEMS[name].module}").System()
    return made
