"""Conversations in files: JSON lines, one message each, read without trusting a line of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

from bgtasks.errors import InvalidMessage
from bgtasks.memory.messages import Message, Origin

__all__ = ["BadLine", "read_file", "read_lines"]

_NEEDED = ("channel", "id", "author", "ts", "text")
_ORIGINS = get_args(Origin.__value__)


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is no message: its number, from 1, and why."""

    number: int
    reason: str


def read_file(path: Path) -> Iterator[Message | BadLine]:
    """The messages of a file of JSON lines, and a `BadLine` for each line that is none.

    Raises:
        InvalidMessage: The file cannot be opened; the message says why.
    """
    try:
        with path.open("rb") as lines:
            yield from read_lines(lines)
    except OSError as error:
        raise InvalidMessage(f"{path} cannot be read: {error.strerror or error}") from error


def read_lines(lines: Iterable[bytes]) -> Iterator[Message | BadLine]:
    """As `read_file`, from the lines themselves; blank lines are passed over."""
    for number, line in enumerate(lines, start=1):
        try:
            decoded = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError:
            yield BadLine(number, "not UTF-8 text")
            continue
        if not decoded:
            continue
        try:
            yield _message(json.loads(decoded))
        except json.JSONDecodeError as error:
            yield BadLine(number, f"not JSON: {error.msg} at column {error.colno}")
        except InvalidMessage as error:
            yield BadLine(number, str(error))
        except RecursionError:
            yield BadLine(number, "not a message: nested too deeply")
        except ValueError as error:  # a number of five thousand digits
            yield BadLine(number, f"not JSON: {str(error).partition(';')[0]}")


def _message(entry: Any) -> Message:
    if not isinstance(entry, dict):
        raise InvalidMessage(f"not a message: a JSON object is expected, with {', '.join(_NEEDED)}")
    if missing := [name for name in _NEEDED if name not in entry]:
        raise InvalidMessage(f"lacks {', '.join(missing)}")
    origin = entry.get("origin", "human")
    if origin not in _ORIGINS:
        raise InvalidMessage(f"origin is one of {', '.join(_ORIGINS)}, not {_short(origin)}")
    return Message(
        channel=_word(entry, "channel"),
        id=_word(entry, "id"),
        author=_word(entry, "author"),
        ts=_instant(entry["ts"]),
        text=_text(entry, "text"),
        role=_text(entry, "role") if "role" in entry else "user",
        origin=origin,
    )


def _word(entry: dict[str, Any], name: str) -> str:
    value = entry[name]
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # ids are numbers in many exports
    return _text(entry, name)


def _text(entry: dict[str, Any], name: str) -> str:
    value = entry[name]
    if not isinstance(value, str):
        raise InvalidMessage(f"{name} is a string, not {type(value).__name__}")
    return value


def _instant(value: Any) -> datetime:
    try:
        if isinstance(value, str):
            return datetime.fromisoformat(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise InvalidMessage(f"ts {_short(value)} is no instant: {_short(error)}") from error
    raise InvalidMessage(f"ts is ISO 8601 text or seconds since 1970, not {type(value).__name__}")


def _short(value: object) -> str:
    shown = str(value) if isinstance(value, Exception) else repr(value)
    return shown if len(shown) <= 60 else f"{shown[:59]}…"
