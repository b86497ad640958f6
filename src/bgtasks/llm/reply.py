"""What an endpoint answered, read as leniently as endpoints differ; nothing of it is shown in a repr."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from bgtasks.connect import encodable
from bgtasks.llm.types import ToolCall, Usage

__all__ = ["Reply", "read_reply", "read_usage"]

type End = Literal["whole", "cut off", "spent", "refused", "broken", "empty", "nothing"]

_WHOLE = {
    "",
    "stop",
    "tool_calls",
    "function_call",
    "eos",
    "eos_token",
    "end_turn",
    "stop_sequence",
    "tool_use",
}
_CUT_OFF = {"length", "max_tokens", "max_output_tokens", "model_length"}
_REFUSED = {"content_filter", "refusal", "safety", "recitation", "sensitive"}
_THOUGHTS = re.compile(r"\s*<think>(?:.*?</think>|.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Reply:
    """A model's reply.

    Attributes:
        end: How it ended: `cut off` by the limit of tokens, or that was `spent` before it began to answer;
            `refused` by the model or a filter; `broken` off for another reason; `empty` of text and calls; or
            there was `nothing`, no choice at all.
        usage: What the endpoint says it took; None if it does not say.
        length: Tokens of it, as the endpoint says; 0 if it does not.
    """

    text: str = field(repr=False)
    calls: tuple[ToolCall, ...]
    end: End
    usage: Usage | None
    length: int = 0


def read_reply(body: Mapping[str, Any]) -> Reply:
    """The reply in the body of a chat completion: its first choice."""
    usage = read_usage(body)
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, Mapping):
        return Reply("", (), "nothing", usage)
    message = choice.get("message")
    message = message if isinstance(message, Mapping) else {}
    text = encodable(_text(message.get("content")))
    calls = _calls(message.get("tool_calls"))
    length = usage.completion_tokens if usage else 0
    return Reply(text, calls, _end(choice, message, text, calls), usage, length)


def read_usage(body: Mapping[str, Any]) -> Usage | None:
    """What a call took, by the endpoint; None if it does not say. The cost is 0 where it says none."""
    said = body.get("usage")
    if not isinstance(said, Mapping):
        return None
    prompt, completion = (_count(said.get(name)) for name in ("prompt_tokens", "completion_tokens"))
    if prompt + completion == 0:
        prompt = _count(said.get("total_tokens"))
    if prompt + completion == 0:
        return None
    cost = said.get("cost")
    sound = isinstance(cost, int | float) and math.isfinite(cost) and cost > 0
    return Usage(prompt, completion, float(cost) if sound and cost else 0.0)


def _end(
    choice: Mapping[str, Any], message: Mapping[str, Any], text: str, calls: tuple[ToolCall, ...]
) -> End:
    reason = str(choice.get("finish_reason") or "").lower()
    has = bool(text.strip() or calls)
    if reason in _CUT_OFF:
        return "cut off" if calls or _THOUGHTS.sub("", text, count=1).strip() else "spent"
    if reason in _REFUSED or (message.get("refusal") and not has):
        return "refused"
    if reason not in _WHOLE:
        return "broken"
    return "whole" if has else "empty"


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence):
        parts = [part.get("text") for part in content if isinstance(part, Mapping)]
        return "".join(part for part in parts if isinstance(part, str))
    return ""


def _calls(said: Any) -> tuple[ToolCall, ...]:
    found: list[ToolCall] = []
    for each in said if isinstance(said, list) else ():
        function = each.get("function") if isinstance(each, Mapping) else None
        if not isinstance(function, Mapping):
            continue
        arguments = function.get("arguments")
        if not isinstance(arguments, str):  # some endpoints send the object itself
            arguments = json.dumps(arguments if arguments is not None else {})
        id = str(each.get("id") or f"call-{len(found) + 1}")
        found.append(ToolCall(encodable(id), encodable(str(function.get("name", ""))), encodable(arguments)))
    return tuple(found)


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
