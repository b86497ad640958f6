"""What came of reading, as values."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, fields

from bgtasks.memory.extraction.batch import Batch
from bgtasks.memory.extraction.learned import Learned

__all__ = ["Applied", "Progress", "Watch"]


@dataclass(frozen=True, slots=True)
class Progress:
    """What came of reading channels.

    Attributes:
        batches: Batches that were applied, those without anything to read included.
        messages: Messages in them that were read.
        entities: Entities they touched.
        facts: Relations they touched.
        dropped: Statements that could not be used: no name, no source.
        dead: Messages that were set aside.
        busy: Channels that somebody else was reading, or may have begun to.
    """

    batches: int = 0
    messages: int = 0
    entities: int = 0
    facts: int = 0
    dropped: int = 0
    dead: int = 0
    busy: int = 0

    def __add__(self, other: Progress) -> Progress:
        return Progress(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(Progress)))

    @property
    def counts(self) -> dict[str, int]:
        """As a task reports it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Applied:
    """One batch that is in the graph now, for whoever watches."""

    batch: Batch
    learned: Learned
    dead: bool = False

    @property
    def messages(self) -> int:
        """How many were read; one that was set aside was not."""
        return 0 if self.dead else len(self.batch.messages)


type Watch = Callable[[Batch | Applied], Awaitable[None]]
"""Told of each batch before it is read, and of what it came to once that is applied."""
