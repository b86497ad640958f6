"""The conversation in a request for extraction: whom it knows, and the messages to read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

__all__ = ["Conversation", "Line", "conversation_in", "text_of"]

_LINE = re.compile(r"^\[(\d+)\] (?:(\d{4}-\d{2}-\d{2}(?:[ T]\d{2}:\d{2})?) )?([^:\n]{1,120}): ?(.*)$")
_EARLIER = re.compile(r"^- (?:\d{4}-\d{2}-\d{2}(?:[ T]\d{2}:\d{2})? )?([^:\n]{1,120}): ")
_KNOWN = re.compile(r"\s*([^,()]+?)\s*\((\w+)\)\s*(?:,|$)")


@dataclass(frozen=True, slots=True)
class Line:
    """One message: its number in the request, when, who, what."""

    number: int
    when: datetime | None
    author: str
    text: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a request for extraction contains.

    Attributes:
        lines: The messages to read; those given for context only are not among them.
        known: Names that the request says are known, with their kinds.
        people: Authors, and known people.
    """

    lines: Sequence[Line]
    known: Mapping[str, str] = field(default_factory=dict)
    people: frozenset[str] = frozenset()


def text_of(message: Mapping[str, Any]) -> str:
    """The text of a chat message, whether it is one text or a list of parts."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    return ""


def conversation_in(messages: Sequence[Mapping[str, Any]]) -> Conversation | None:
    """The first conversation in the form of our extraction in a user message; None: there is none."""
    for message in messages:
        if message.get("role") == "user" and (found := _read(text_of(message))) is not None:
            return found
    return None


def _read(text: str) -> Conversation | None:
    lines: list[Line] = []
    known: dict[str, str] = {}
    authors: set[str] = set()
    reading = False
    for row in text.split("\n"):
        if reading and (found := _LINE.match(row)) is not None:
            lines.append(Line(int(found[1]), _when(found[2]), found[3].strip(), found[4]))
        elif row.strip() == "Messages:":
            reading = True
        elif row.startswith("Known: ") and not reading:
            known.update(_KNOWN.findall(row.removeprefix("Known: ")))
        elif (earlier := _EARLIER.match(row)) is not None and not reading:
            authors.add(earlier[1].strip())
    if not reading:
        return None
    authors |= {line.author for line in lines} | {name for name, kind in known.items() if kind == "person"}
    return Conversation(lines, known, frozenset(authors))


def _when(text: str | None) -> datetime | None:
    try:
        return None if text is None else datetime.fromisoformat(text.replace(" ", "T"))
    except ValueError:
        return None
