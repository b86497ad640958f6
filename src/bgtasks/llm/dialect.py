"""What one model at one endpoint takes, as far as it has been found out."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal

from bgtasks.llm.refusals import Refusal

__all__ = ["Dialect", "Form"]

type Form = Literal["json_schema", "json_object", "text"]
"""How an endpoint is told that JSON is wanted, the best first."""

_NEXT: dict[Form, Form] = {"json_schema": "json_object", "json_object": "text"}
_FORM = re.compile(r"response_?format|json_?schema|json_?object|json mode|structured.?output|guided|grammar")
_LIMIT = re.compile(r"max_completion_tokens")
_TEMPERATURE = re.compile(r"temperature")
_ENCODING = re.compile(r"encoding_format|base64")
_PARAMETERS = re.compile(r"(requested|required|provided) parameters")


@dataclass(slots=True)
class Dialect:
    """How to speak to one model. It is learned from what the endpoint refuses.

    Attributes:
        form: How it is told that JSON is wanted.
        limit: What it calls the limit on an answer's tokens.
        temperature: Whether it takes one.
        encoding: How it is asked to encode vectors.
        only_able: Whether a router is told to ask only those who take all that is sent.
        warned: Whether it was said of it that it may cut prompts.
        proven: Shapes of calls it has answered.
    """

    form: Form = "json_schema"
    limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    temperature: bool = True
    encoding: Literal["base64", "float"] = "base64"
    only_able: bool = True
    warned: bool = False
    proven: set[str] = field(default_factory=set)
    _guessed: Form | None = None

    def learn(self, refusal: Refusal, body: dict[str, Any]) -> bool:
        """Whether a refusal is of something in `body` that can be said otherwise; from now on it is."""
        if refusal.status not in (400, 404, 422):
            return False
        if "require_parameters" in (body.get("provider") or {}) and _PARAMETERS.search(refusal.said):
            # OpenRouter counts the temperature among them, which many a model has none of.
            self.temperature = not ("temperature" in body and self.only_able)
            self.only_able = self.only_able and not self.temperature
            return True
        sent = sent_form(body)
        if sent in _NEXT and _FORM.search(refusal.said):
            self.step_down(sent)
            return True
        if "max_tokens" in body and _LIMIT.search(refusal.said):
            self.limit = "max_completion_tokens"
            return True
        if "temperature" in body and _TEMPERATURE.search(refusal.said):
            self.temperature = False
            return True
        if body.get("encoding_format") == "base64" and _ENCODING.search(refusal.said):
            self.encoding = "float"
            return True
        return False

    def guess(self, refusal: Refusal, body: dict[str, Any]) -> bool:
        """Whether a refusal that says nothing one knows may be of the form; then the next one is tried.

        Once, and only of an endpoint that has never filled in a schema. If that is refused as well, it was
        not the form, and things are as they were.
        """
        sent = sent_form(body)
        if self._guessed is not None:
            if "schema" not in self.proven and self.form == sent == _NEXT[self._guessed]:
                self.form = self._guessed
            return False
        if refusal.status not in (400, 422) or sent not in _NEXT or "schema" in self.proven:
            return False
        self._guessed = sent
        self.step_down(sent)
        return True

    def step_down(self, sent: Form) -> None:
        """Tell it in the next form that JSON is wanted, if `sent` is the one it was told in last."""
        if self.form == sent and sent in _NEXT:  # another call may have learned the same meanwhile
            self.form = _NEXT[sent]


def sent_form(body: dict[str, Any]) -> Form:
    """The form in which a request says that JSON is wanted."""
    form: Form = (body.get("response_format") or {}).get("type", "text")
    return form
