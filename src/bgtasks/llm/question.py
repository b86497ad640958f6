"""What is asked in one chat call: how it is sent, what it may take, and the key of its answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from bgtasks.connect import encodable
from bgtasks.errors import ConfigurationError
from bgtasks.llm import estimate
from bgtasks.llm.dialect import Dialect
from bgtasks.llm.structured import in_words
from bgtasks.llm.types import Endpoint, Message, Usage

__all__ = ["Question", "asking"]

_OURS = {"messages", "model", "n", "response_format", "stream", "tools", "max_completion_tokens"}
"""What cannot be an option: it would change what an answer is."""


@dataclass(frozen=True, slots=True)
class Question:
    """Messages, and what is sent beside them.

    Attributes:
        schema: The JSON schema of the answer, by its name.
        options: Anything else that the endpoint knows, such as `top_p` and `seed`.
        in_words: Whether the schema is shown to the model, even if the endpoint takes it beside the messages.
    """

    messages: Sequence[Message] = field(repr=False)
    tools: Sequence[Mapping[str, Any]] = field(repr=False)
    schema: tuple[str, Mapping[str, Any]] | None = field(repr=False)
    max_tokens: int
    temperature: float
    options: Mapping[str, Any] = field(repr=False)
    in_words: bool = False

    @property
    def shape(self) -> str:
        """Its kind, for `Dialect.proven`."""
        return "tools" if self.tools else "schema" if self.schema else "plain"

    @property
    def most(self) -> Usage:
        """What it may take, in tokens."""
        return Usage(estimate.of_messages(self.messages, self.tools, self.schema), self.max_tokens)

    def again(self, messages: Sequence[Message]) -> Question:
        """The same with other messages, and its schema in words."""
        return replace(self, messages=_clean(messages), in_words=True)

    def body(self, endpoint: Endpoint, dialect: Dialect) -> dict[str, Any]:
        """It as the endpoint takes it."""
        body: dict[str, Any] = {"model": endpoint.model, "messages": list(self.messages)}
        body[dialect.limit] = self.max_tokens
        if dialect.temperature:
            body["temperature"] = self.temperature
        if self.tools:
            body["tools"] = list(self.tools)
        if self.schema:
            name, schema = self.schema
            if dialect.form == "json_schema":
                form = {"name": name, "strict": True, "schema": schema}
                body["response_format"] = {"type": "json_schema", "json_schema": form}
            if self.in_words or dialect.form != "json_schema":
                body["messages"] = in_words(self.messages, schema)
            if dialect.form == "json_object":
                body["response_format"] = {"type": "json_object"}
        if (urlsplit(endpoint.url).hostname or "").endswith("openrouter.ai"):
            body["usage"] = {"include": True}  # else it does not say what a call cost
            if dialect.only_able and "response_format" in body:
                # Else it may ask a provider that ignores the schema.
                given = self.options.get("provider")
                wanted = {"require_parameters": True, **(given if isinstance(given, Mapping) else {})}
                return {**body, **self.options, "provider": wanted}
        return {**body, **self.options}

    def key(self, endpoint: Endpoint, prompt_version: str) -> str:
        """What its answer is kept under: a digest of all that the answer depends on."""
        asked = [
            endpoint.url,
            endpoint.model,
            prompt_version,
            self.messages,
            self.tools,
            self.schema,
            self.temperature,
        ]
        text = json.dumps([*asked, self.options], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()


def asking(
    messages: Sequence[Message],
    *,
    tools: Sequence[Mapping[str, Any]] = (),
    schema: tuple[str, Mapping[str, Any]] | None = None,
    max_tokens: int,
    temperature: float,
    options: Mapping[str, Any],
) -> Question:
    """A question, checked and cleaned: lone surrogates, which no request can carry, become "?".

    Raises:
        ConfigurationError: `max_tokens` is no positive number, an option is one that is not the caller's, or
            something is no JSON.
    """
    if max_tokens < 1:
        raise ConfigurationError(f"max_tokens is a number of tokens, 1 or more, not {max_tokens!r}")
    if taken := sorted(_OURS & set(options)):
        raise ConfigurationError(
            f"{', '.join(taken)}: not an option of a call; tools go to `turn`, a schema to `structured`, and "
            f"there is no streaming"
        )
    question = Question(_clean(messages), _clean(tools), schema, max_tokens, temperature, _clean(options))
    for name, sent in (
        ("the messages", question.messages),
        ("the tools", question.tools),
        ("the options", question.options),
        ("the temperature", temperature),
    ):
        try:
            json.dumps(sent, allow_nan=False)
        except (TypeError, ValueError):
            raise ConfigurationError(
                f"{name}: something in there cannot be sent as JSON; numbers must be finite"
            ) from None
    return question


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, Mapping):
        return {encodable(str(name)): _clean(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(each) for each in value]
    return value
