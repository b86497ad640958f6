"""One chat message, and how it comes back from a stream."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from bgtasks.connect import text
from bgtasks.errors import InvalidMessage

__all__ = ["Message", "Op", "Origin", "stored"]

_LATEST = 253_402_214_400_000  # the last day of the year 9999, in ms: later ones cannot be read back

type Origin = Literal["human", "agent", "recalled", "tool"]

type Op = Literal["new", "edit", "del", "again"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One chat message.

    Attributes:
        channel: Where it was said.
        id: Unique within the channel; a second message with the same id is not taken.
        author: Who said it, as the channel shows the name.
        ts: When it was said; aware.
        text: What was said; may be empty.
        role: `user` or `assistant`, as chat models call it.
        origin: `human`, `agent`, `recalled` (quoted from memory) or `tool`.
        cursor: The entry id in the channel's stream, once stored.
        op: What the entry is: a `new` message, an `edit` of one, one put there `again`, or `del`, the
            tombstone of one: without text.
        first: Of an entry that is not `new`: the cursor of the message as it first came. A reader that had
            come so far by then has read it before.

    Raises:
        InvalidMessage: A part is empty, or `ts` is naive or not between the years 1970 and 9999.
    """

    channel: str
    id: str
    author: str
    ts: datetime
    text: str
    role: str = "user"
    origin: Origin = "human"
    cursor: str | None = None
    op: Op = "new"
    first: str | None = None

    def __post_init__(self) -> None:
        for label, value in (("channel", self.channel), ("id", self.id), ("author", self.author)):
            if not value.strip():
                raise InvalidMessage(f"{label} is empty")
        if self.ts.utcoffset() is None:
            raise InvalidMessage(f"ts {self.ts.isoformat()} says no time zone: add one, such as +00:00")
        if not 0 <= self.ms < _LATEST:
            raise InvalidMessage(f"ts {self.ts.isoformat()} is not between the years 1970 and 9999")

    @property
    def ms(self) -> int:
        """When it was said, in milliseconds since 1970."""
        return round(self.ts.timestamp() * 1000)


def stored(channel: str, entry: Any, fields: dict[Any, Any]) -> Message:
    """The message that an entry of a channel's stream holds, as a client answers it."""
    held = {text(key): text(value) for key, value in fields.items()}
    return Message(
        channel=channel,
        id=held["mid"],
        author=held["author"],
        role=held["role"],
        ts=datetime.fromtimestamp(int(held["ts"]) / 1000, UTC),
        text=held["text"],
        origin=held["origin"],  # type: ignore[arg-type]  # written by us
        cursor=text(entry),
        op=held.get("op", "new"),  # type: ignore[arg-type]  # written by us
        first=held.get("first"),
    )
