"""What a model says to one request, and the JSON that carries it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bgtasks.testing.model.tokens import prompt_tokens, tokens

__all__ = ["Reply", "completion", "cut_to"]


@dataclass(frozen=True, slots=True)
class Reply:
    """A model's turn. Tests and adapters return one from `answer` where a text is not enough.

    Attributes:
        text: What it says.
        calls: Tools it calls: name, and arguments as a mapping, or as the text that the model wrote.
        finish: Why it ended; None: `tool_calls` if there are calls, else `stop`.
        refusal: That it will not, in its words.
        usage: False: the response does not say what was used. A mapping is sent as it is.
        status: Another status than 200: `text` is then the message of the error.
        code: The code of that error, such as `context_length_exceeded`.
        headers: Further headers of the response.
    """

    text: str = ""
    calls: Sequence[tuple[str, Mapping[str, Any] | str]] = ()
    finish: str | None = None
    refusal: str | None = None
    usage: bool | Mapping[str, Any] = True
    status: int = 200
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        """What was written, arguments of calls included."""
        return tokens(self.text) + sum(tokens(name) + tokens(_written(given)) for name, given in self.calls)


def cut_to(reply: Reply, limit: int | None) -> Reply:
    """`reply` as a model leaves it that may write `limit` tokens: broken off, with the finish `length`."""
    if limit is None or reply.status != 200 or reply.tokens <= limit:
        return reply
    room = limit * 4
    kept = reply.text.encode("utf-8", "replace")[:room].decode("utf-8", "ignore")
    room -= len(kept.encode())
    calls: list[tuple[str, str]] = []
    for name, given in reply.calls:
        if room <= len(name):
            break
        written = _written(given).encode("utf-8", "replace")[: room - len(name)].decode("utf-8", "ignore")
        calls.append((name, written))
        room -= len(name) + len(written.encode())
    return replace(reply, text=kept, calls=tuple(calls), finish="length")


def completion(request: Mapping[str, Any], reply: Reply, number: int) -> dict[str, Any]:
    """The body of a response of `/chat/completions`. Ids come from the call's number."""
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or None, "refusal": reply.refusal}
    if reply.calls:
        message["tool_calls"] = [
            {
                "id": f"call_{number}_{place}",
                "type": "function",
                "function": {"name": name, "arguments": _written(given)},
            }
            for place, (name, given) in enumerate(reply.calls, 1)
        ]
    elif reply.refusal is None:
        message["content"] = reply.text
    finish = reply.finish or ("tool_calls" if reply.calls else "stop")
    body: dict[str, Any] = {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": 0,
        "model": request.get("model", ""),
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
    }
    if isinstance(reply.usage, Mapping):
        body["usage"] = dict(reply.usage)
    elif reply.usage:
        read, wrote = prompt_tokens(request), reply.tokens
        body["usage"] = {
            "prompt_tokens": read,
            "completion_tokens": wrote,
            "total_tokens": read + wrote,
        }
    return body


def _written(given: Mapping[str, Any] | str) -> str:
    return given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
