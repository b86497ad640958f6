"""A batch: the messages that are read in one go, and those before them that help to understand them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bgtasks.memory.messages import Message

__all__ = ["LONGEST", "MESSAGES", "TOKENS", "Batch", "first_batch", "halved", "is_read"]

MESSAGES = 40
"""Messages in a batch, at most."""

TOKENS = 4_000
"""What they may come to, by estimate, unless a single one is longer."""

LONGEST = 8_000
"""Characters of one message that are read; the rest of a longer one is left out."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages of a channel that are read in one go.

    Attributes:
        upto: The stream id of the last entry it covers: where the cursor goes once it is applied.
        messages: Those to be read, in the order of arrival; may be empty.
        context: Messages just before them.
    """

    channel: str
    upto: str
    messages: tuple[Message, ...]
    context: tuple[Message, ...] = ()

    @property
    def sources(self) -> tuple[str, ...]:
        """What the graph calls each of the messages."""
        return tuple(f"{self.channel}/{message.id}" for message in self.messages)


def is_read(message: Message) -> bool:
    """Whether there is something to learn: it was said, and not recalled from what was learned before."""
    return message.op != "del" and message.origin in ("human", "agent") and bool(message.text.strip())


def first_batch(entries: Sequence[Message], *, most: int = MESSAGES, tokens: int = TOKENS) -> str:
    """Where the batch ends that begins with `entries`, which are not empty: the stream id of its last entry.

    What is not read goes with the messages before it.
    """
    count = size = 0
    end = _cursor(entries[0])
    for entry in entries:
        if is_read(entry):
            count += 1
            size += len(entry.text[:LONGEST].encode("utf-8", "replace")) // 4 + 10
            if count > most or (size > tokens and count > 1):
                break
        end = _cursor(entry)
    return end


def halved(batch: Batch) -> str | None:
    """Where the first half of a batch ends; None for one that cannot be halved."""
    if len(batch.messages) < 2:
        return None
    return _cursor(batch.messages[len(batch.messages) // 2 - 1])


def _cursor(message: Message) -> str:
    assert message.cursor is not None, "what was read from the cache has its place there"
    return message.cursor
