"""A typed answer from any `ChatClient`: ours, or a host's that can only chat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from bgtasks.contracts import ChatClient
from bgtasks.errors import BadAnswer
from bgtasks.llm.structured import Misfit, again, in_words, read, strict_schema
from bgtasks.llm.types import Message, Purpose

__all__ = ["ask"]


async def ask[T: BaseModel](
    client: ChatClient,
    messages: Sequence[Message],
    answer: type[T],
    *,
    override_model: str | None = None,
    purpose: Purpose = "extraction",
    task: str | None = None,
    max_tokens: int = 1024,
    prompt_version: str = "",
    temperature: float = 0.0,
    **options: Any,
) -> T:
    """The model's answer to `messages` as an `answer`, by `client.structured` if there is such a method.

    Of a client that only chats, the schema is put into the system message, the JSON is looked for in the
    text, and one that does not fit is asked for once more. It is told nothing of `purpose`, `task` and
    `prompt_version`, which are ours: nothing is kept or counted then.

    Args:
        options: Passed on.

    Raises:
        BadAnswer: It did not fit, nor did the second try.
        BgTasksError: As `OpenAIChat.structured`, and whatever a host's client raises.
    """
    structured = getattr(client, "structured", None)
    if structured is not None:
        made: T = await structured(
            messages,
            answer,
            override_model=override_model,
            purpose=purpose,
            task=task,
            max_tokens=max_tokens,
            prompt_version=prompt_version,
            temperature=temperature,
            **options,
        )
        return made
    asked = in_words(messages, strict_schema(answer))
    sent = {"override_model": override_model, "max_tokens": max_tokens, "temperature": temperature, **options}
    text = await client.chat(asked, **sent)
    try:
        return read(answer, text)
    except Misfit as first:
        asked = again(asked, text, first)
    text = await client.chat(asked, **sent)
    try:
        return read(answer, text)
    except Misfit as second:
        why = second.why
    raise BadAnswer(f"the model was asked twice for {answer.__name__}, and of the second answer: {why}")
