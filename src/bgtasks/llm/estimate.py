"""How many tokens a call may need, without a tokenizer: high rather than low.

A budget is reserved by this before a call, and settled by what the endpoint says afterwards. Letters and
blanks count a third, digits and signs one each, bytes of other scripts half. Of English
prose and chat, Python and JSON that is 1.4 to 1.8 times what the tokenizers o200k_base and cl100k_base make
of them. It is too low for lone digits with blanks between them (0.8), for emoji and Finnish with the older of
the two (0.7, 0.9), and for scripts that a tokenizer has hardly seen (Amharic 0.5).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["of_contents", "of_messages", "of_text"]

_LETTERS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ \n"
_OTHERS = bytes(range(128, 256))

EACH_MESSAGE = 8
"""Tokens around a message: its role, its separators."""

EACH_CALL = 16
"""Tokens around a call: what an endpoint puts before and after all of it."""


def of_text(text: str) -> int:
    """Tokens of a text, rounded up."""
    data = text.encode("utf-8", "replace")
    rest = data.translate(None, _LETTERS)
    signs = len(rest.translate(None, _OTHERS))
    letters, others = len(data) - len(rest), len(rest) - signs
    return -(-letters // 3) + signs + -(-others // 2)


def of_messages(messages: Iterable[Mapping[str, Any]], *beside: Any) -> int:
    """Tokens of a prompt: its messages, and what is sent beside them, such as tools or a schema."""
    said = sum(EACH_MESSAGE + of_text(_written(message)) for message in messages)
    return EACH_CALL + said + sum(of_text(_written(each)) for each in beside if each)


def of_contents(messages: Iterable[Mapping[str, Any]]) -> int:
    """Tokens of what messages say, where that is plain text."""
    said = [message.get("content") for message in messages]
    return sum(of_text(each) for each in said if isinstance(each, str))


def _written(value: Any) -> str:
    if (
        isinstance(value, Mapping)
        and set(value) <= {"role", "content"}
        and isinstance(value.get("content"), str)
    ):
        return str(value["content"])
    return json.dumps(value, ensure_ascii=False, default=str)
