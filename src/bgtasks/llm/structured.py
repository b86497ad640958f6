"""Answers that must fit a pydantic model: how they are asked for, read, and asked for once more.

Models wrap JSON into code fences, think aloud before it, or explain it afterwards: the JSON is found all the
same. What is found must fit as a whole; nothing is mended here.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from bgtasks.llm.types import Message

__all__ = ["Misfit", "again", "in_words", "name_of", "read", "strict_schema"]

_FENCED = re.compile(r"```[\w-]*[ \t]*\n(.*?)```", re.DOTALL)
_THOUGHTS = re.compile(r"\s*<think>.*?</think>", re.DOTALL)
_BEGUN = re.compile(r'\{\s*"[^"\n]{1,80}"\s*:')
_BRACES = 20
"""Braces at which an object is looked for."""
_DECODER = json.JSONDecoder()
_SHOWN = 20_000
"""Characters of an answer that a model is shown again."""
_TOLD = 10
"""Mistakes that a model is told of."""


class Misfit(Exception):
    """A text does not fit.

    Attributes:
        why: For an error and a log: nothing of the text is in it.
        told: For the model that wrote it: it may quote the text.
        unheld: An endpoint that holds a model to the schema could not have let it write this.
    """

    def __init__(self, why: str, told: str | None = None, *, unheld: bool = False) -> None:
        super().__init__(why)
        self.why = why
        self.told = told or why
        self.unheld = unheld


def read[T: BaseModel](answer: type[T], text: str) -> T:
    """The answer that a text holds.

    Raises:
        Misfit: There is no JSON in it, or it does not fit.
    """
    found: Misfit | None = None
    for candidate in _candidates(text):
        try:
            return answer.model_validate_json(candidate)
        except ValidationError as error:
            found = found if found and found.why != _NO_JSON else _misfit(error)
    raise found or Misfit("it was empty")


def name_of(answer: type[BaseModel]) -> str:
    """What a schema is called at an endpoint: the class's name in small letters."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", answer.__name__).lower()[:64]


def strict_schema(answer: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a model as endpoints want it to be strict.

    Every property is required and no other allowed; titles and defaults, which cost tokens and are refused by
    some, are left out. So a field with a default is asked for too: let it be nullable if it may be missing.
    Bounds of numbers, texts and lists, which are refused by others, are told in the descriptions.
    """
    schema: dict[str, Any] = _strict(answer.model_json_schema())
    return schema


def in_words(messages: Sequence[Message], schema: Mapping[str, Any]) -> list[Message]:
    """The messages with the schema in their system message, for an endpoint that takes none beside them."""
    told = (
        "Answer with one JSON object that fits this JSON schema, and with nothing else: no explanation, no "
        f"code fence.\n{json.dumps(schema, ensure_ascii=False, separators=(',', ':'))}"
    )
    first, *rest = messages or [{"role": "user", "content": ""}]
    if first.get("role") == "system" and isinstance(first.get("content"), str):
        return [{**first, "content": f"{first['content']}\n\n{told}"}, *rest]
    return [{"role": "system", "content": told}, *messages]


def again(messages: Sequence[Message], text: str, misfit: Misfit) -> list[Message]:
    """The messages, what the model made of them, and what is wrong with it: for one more try."""
    shown: list[Message] = [{"role": "assistant", "content": text[:_SHOWN]}] if text.strip() else []
    asked = f"That cannot be used: {misfit.told}\nGive the whole answer again, as one JSON object that fits."
    return [*messages, *shown, {"role": "user", "content": asked}]


# -- reading ---------------------------------------------------------------------------------------

_NO_JSON = "it is no JSON"
_UNHELD = re.compile(r"^(missing|extra_forbidden)$|_(type|parsing)$")


def _candidates(text: str) -> Iterator[str]:
    """What may be the JSON in a text, the likeliest first."""
    whole = text.strip()
    if not whole:
        return
    yield whole
    said = _THOUGHTS.sub("", whole, count=1)
    if said == whole and not whole.startswith(("{", "`")):
        # The tag that opens may be part of the prompt.
        said = whole.rpartition("</think>")[2]
    said = said.strip()
    if said != whole:
        yield said
    yield from (block.strip() for block in _FENCED.findall(said)[:3])
    yield from _objects(said)


def _objects(said: str) -> Iterator[str]:
    """The JSON objects in a text, in their order; none after one that begins so and breaks off."""
    at = said.find("{")
    for _ in range(_BRACES):
        if at < 0:
            return
        try:
            end = _DECODER.raw_decode(said, at)[1]
        except (ValueError, RecursionError):
            if _BEGUN.match(said, at):
                return  # what is inside is a part of the answer, and no answer
            end = at + 1
        else:
            yield said[at:end]
        at = said.find("{", end)


def _misfit(error: ValidationError) -> Misfit:
    mistakes = error.errors(include_url=False, include_context=False)
    if any(each["type"] == "json_invalid" for each in mistakes):
        return Misfit(_NO_JSON, f"it is no JSON: {mistakes[0]['msg']}", unheld=True)
    kinds = ", ".join(f"{count} x {kind}" for kind, count in Counter(m["type"] for m in mistakes).items())
    told = "; ".join(f"{'.'.join(map(str, m['loc']))}: {m['msg']}" for m in mistakes[:_TOLD])
    unheld = any(_UNHELD.search(each["type"]) for each in mistakes)
    return Misfit(f"it does not fit the schema ({kinds})", told, unheld=unheld)


# -- the schema ------------------------------------------------------------------------------------


_LEFT_OUT = {"title", "default", "examples"}
_BOUNDS = {
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength",
    "pattern", "format", "minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties",
}  # fmt: skip


def _strict(part: Any) -> Any:
    if isinstance(part, list):
        return [_strict(each) for each in part]
    if not isinstance(part, dict):
        return part
    made = {name: _strict(each) for name, each in part.items() if name not in _LEFT_OUT | _BOUNDS}
    if bounds := ", ".join(f"{name}: {part[name]}" for name in part if name in _BOUNDS):
        made["description"] = f"{part['description']} ({bounds})" if "description" in part else bounds
    if isinstance(definitions := part.get("$defs"), dict):
        made["$defs"] = {name: _strict(each) for name, each in definitions.items()}
    properties = part.get("properties")
    if isinstance(properties, dict) and part.get("type") == "object":
        # By their own names: one may well be called "title".
        made["properties"] = {name: _strict(each) for name, each in properties.items()}
        made["required"] = list(properties)
        made["additionalProperties"] = False
    return made
