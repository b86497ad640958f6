"""What reads a batch: a protocol, behind which one call, tools, or something of a host's own may be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from bgtasks.memory.extraction.batch import Batch
from bgtasks.memory.extraction.reply import Extraction

__all__ = ["Reader"]


class Reader(Protocol):
    """Says what a batch of messages states."""

    async def read(self, batch: Batch, known: Sequence[tuple[str, str]]) -> Extraction:
        """All that `batch` states.

        A batch of no channel that there is asks whether the model answers at all, after it failed at others.

        Args:
            batch: At least one message.
            known: Name and kind of entities in the graph that are named in it.

        Raises:
            BadAnswer: Nothing usable came; the same batch may fail again.
            OverBudget: It would cost more than is allowed.
            ResourceUnavailable: The model cannot be reached now.
            UnsuitableServer: It refuses: the key, its name, or this very question.
        """
