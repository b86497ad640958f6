"""What the stand-in says where nobody scripted it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bgtasks.testing.model.agent import OURS, next_turn
from bgtasks.testing.model.conversation import conversation_in, text_of
from bgtasks.testing.model.extraction import extract
from bgtasks.testing.model.minimal import minimal
from bgtasks.testing.model.reply import Reply

__all__ = ["reply_to"]

PLAIN = "I am a stand-in for a model: I answer by rules, and have none for this."


def reply_to(request: Mapping[str, Any], *, gullible: bool = False) -> Reply:
    """The reply to a chat request, by rules over its text: our extraction, our agentic pass, or a few words.

    Args:
        request: The body of the request.
        gullible: Whether it obeys a message that says `call such_and_such`, whatever tools there are.
    """
    messages = [message for message in request.get("messages", ()) if isinstance(message, Mapping)]
    conversation = conversation_in(messages)
    form = request.get("response_format") or {}
    tools = {str((tool.get("function") or {}).get("name")) for tool in request.get("tools") or ()}
    if tools:
        if conversation is None or not tools >= OURS:
            return Reply(PLAIN)
        return next_turn(messages, conversation, gullible=gullible)
    schema = form.get("json_schema") or {}
    ours = schema.get("name") == "extraction" or (form.get("type") != "json_schema" and _in_words(messages))
    if ours and conversation is not None:
        return Reply(json.dumps(extract(conversation), ensure_ascii=False))
    if form.get("type") == "json_schema":
        return Reply(json.dumps(minimal(schema.get("schema") or {}), ensure_ascii=False))
    return Reply("{}" if form.get("type") == "json_object" else PLAIN)


def _in_words(messages: list[Mapping[str, Any]]) -> bool:
    """Whether our extraction is asked for in words, where an endpoint takes no schema."""
    asked = "\n".join(text_of(message) for message in messages if message.get("role") != "assistant")
    return '"facts"' in asked and '"entities"' in asked
