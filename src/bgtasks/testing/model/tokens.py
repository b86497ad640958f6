"""How many tokens a text counts as."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["inputs", "prompt_tokens", "tokens"]


def tokens(text: str) -> int:
    """A quarter of the bytes of `text` in UTF-8, rounded up: no tokenizer's count, the same everywhere."""
    return -(-len(text.encode("utf-8", "replace")) // 4)


def inputs(given: Any) -> list[Any]:
    """What an `input` asks vectors for: a text or several, each as it is or as a list of tokens."""
    if isinstance(given, str) or (given and all(isinstance(each, int) for each in given)):
        return [given]
    return list(given)


def prompt_tokens(request: Mapping[str, Any]) -> int:
    """What a request counts as: its messages, tools and schema as JSON, or the texts to embed."""
    if "input" in request:
        return sum(tokens(text) if isinstance(text, str) else len(text) for text in inputs(request["input"]))
    asked = [request[key] for key in ("messages", "tools", "response_format") if request.get(key)]
    return sum(tokens(json.dumps(part, ensure_ascii=False, separators=(",", ":"))) for part in asked)
