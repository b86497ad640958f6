"""What is asked of a model, what it answers, and what that cost, as values.

Their reprs hold no key and nothing that was said to or by a model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import SecretStr

__all__ = ["PURPOSES", "Endpoint", "Message", "Purpose", "ToolCall", "Turn", "Usage"]

type Purpose = Literal["chat", "extraction", "flash", "embedding"]
"""What a model is asked for: each purpose may have an endpoint and a model of its own."""

PURPOSES: tuple[Purpose, ...] = ("chat", "extraction", "flash", "embedding")

type Message = Mapping[str, Any]
"""One message of a conversation, as chat endpoints take it: `role`, `content`, and what belongs to tools."""


NOTHING_SAID = "(nothing)"
"""What stands for a turn without text and calls."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a call uses up.

    Attributes:
        cost: In US dollars; 0 where nobody knows the price.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0

    @property
    def tokens(self) -> int:
        """In and out together."""
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cost + other.cost,
        )


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A model wants a tool to be used.

    Attributes:
        id: What the answer to it refers to.
        arguments: JSON text as the model wrote it: it may be anything.
    """

    id: str
    name: str
    arguments: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Turn:
    """What a model said when it had tools: text, calls of tools, both or neither.

    Attributes:
        usage: What the call cost that gave it; nothing if `cached`.
        cached: It was kept from an earlier call.
    """

    text: str = field(repr=False)
    calls: tuple[ToolCall, ...]
    usage: Usage
    cached: bool = False

    @property
    def message(self) -> dict[str, Any]:
        """The turn as a message, to go on with: followed by one of role `tool` for each call.

        As endpoints take it back: some refuse arguments that are no JSON object, an empty text beside calls,
        or a message with nothing in it.
        """
        if not self.calls:
            return {"role": "assistant", "content": self.text if self.text.strip() else NOTHING_SAID}
        calls: Sequence[dict[str, Any]] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": _object(call.arguments)},
            }
            for call in self.calls
        ]
        return {"role": "assistant", "content": self.text or None, "tool_calls": calls}


def _object(arguments: str) -> str:
    """The arguments, if they are a JSON object; else one without any."""
    try:
        said = json.loads(arguments, parse_constant=_refused)
    except (ValueError, RecursionError):
        said = None
    return arguments if isinstance(said, dict) else "{}"


def _refused(constant: str) -> None:
    raise ValueError(constant)  # NaN and Infinity are no JSON


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a model is reached.

    Attributes:
        url: The base URL, without credentials: `https://openrouter.ai/api/v1`.
        key: Its API key; None where none is needed.
        model: The model's name there.
    """

    url: str
    key: SecretStr | None
    model: str
