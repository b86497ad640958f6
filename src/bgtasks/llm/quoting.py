"""What of a server's words may be shown: what holds nothing of the key, and nothing that was sent to it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["quoted"]

LONGEST = 200
"""Characters that are shown, at most."""

_WINDOW = 12
"""Bytes of letters and digits in a row, whatever is between them, that must not be the same: about 16 letters
of English, four of Chinese."""
_OF_KEY = 6
_SHORT = 3
"""What is no longer than this is in any sentence."""
_CODE = re.compile(r"\\+u([0-9a-fA-F]{4})")
_ESCAPED = re.compile(r"\\+[nrtbf]")
_OTHERS = re.compile(r"[\W_]+")
_OURS = {"role", "type", "model", "id", "tool_call_id", "encoding_format"}


def quoted(message: str, body: Mapping[str, Any], key: str) -> str:
    """The beginning of what a server said, as the end of a sentence; "" if it may not be shown.

    Args:
        body: The request it was said of.

    Not promised: that no word of a prompt is in it, if the server puts other words around each.
    """
    said = " ".join("".join(each if each.isprintable() else " " for each in message).split())
    if len(key) > _SHORT:
        said = said.replace(key, "…")
    said = said[:LONGEST]
    plain = _plain(said)
    if not plain or _overlap(plain, _plain(key), _OF_KEY):
        return ""
    if any(_overlap(plain, _plain(text), _WINDOW) for text in _texts(body)):
        return ""
    return f'; it says: "{said}"'


def _overlap(said: bytes, text: bytes, window: int) -> bool:
    """Whether a part of `text` of that length, or all of it if it is shorter, is in `said`."""
    if len(text) <= window:
        return len(text) > _SHORT and text in said
    return any(said[at : at + window] in text for at in range(len(said) - window + 1))


def _plain(text: str) -> bytes:
    text = _CODE.sub(lambda found: chr(int(found[1], 16)), text)
    return _OTHERS.sub("", _ESCAPED.sub("", text)).lower().encode("utf-8", "replace")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, each in value.items():
            if not (name in _OURS and isinstance(each, str)):
                yield from _texts(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)
