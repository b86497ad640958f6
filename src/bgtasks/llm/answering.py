"""From calls to answers: what a reply is worth, what it took, and in which form it is kept."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from bgtasks.errors import BadAnswer, BgTasksError
from bgtasks.llm import embeddings, estimate
from bgtasks.llm.calls import Asked, Calls, Judged
from bgtasks.llm.dialect import Dialect
from bgtasks.llm.question import Question
from bgtasks.llm.refusals import host_of, no_room
from bgtasks.llm.reply import Reply, read_reply, read_usage
from bgtasks.llm.structured import Misfit, read
from bgtasks.llm.types import Endpoint, Purpose, ToolCall, Turn, Usage

if TYPE_CHECKING:
    from bgtasks.llm.answers import Answers, Kept
    from bgtasks.llm.budget import Budget

__all__ = ["Answering", "Unfit", "turn_from", "who"]


_WORTH_COMPARING = 1_000
"""Tokens of a prompt from which an estimate is good enough to be held against an endpoint's count."""
_CUT = 3
"""How many times what an endpoint counts an estimate must be; of plain text it is 1.4 to 1.8."""


@dataclass(frozen=True, slots=True)
class Unfit:
    """An answer that does not fit a schema, and why."""

    text: str = field(repr=False)
    misfit: Misfit = field(repr=False)


class Answering:
    """Makes calls and judges what comes back.

    Args:
        calls: What makes calls in the running event loop.
    """

    def __init__(self, calls: Callable[[], Calls], budget: Budget | None, answers: Answers | None) -> None:
        self._calls = calls
        self._budget = budget
        self._answers = answers
        self._dialects: dict[tuple[str, str], Dialect] = {}

    def asked(self, question: Question, endpoint: Endpoint, purpose: Purpose, task: str) -> Asked:
        """A question as a call."""
        return Asked(
            endpoint,
            purpose,
            task,
            "chat",
            question.shape,
            self._priced(endpoint.model, question.most),
            self._dialect(endpoint),
            lambda dialect: question.body(endpoint, dialect),
            estimate.of_contents(question.messages),
        )

    async def reply(self, asked: Asked, key: str | None, *, may_be_empty: bool) -> Reply:
        """A reply that is whole; one that is not there is asked for once more.

        Raises:
            BadAnswer: It is cut off, refused or, once more, broken or not there.
            UnsuitableServer: Its tokens were spent before it began.
        """
        fine = ("whole", "empty") if may_be_empty else ("whole",)

        def judge(body: Mapping[str, Any]) -> Judged[Reply]:
            reply = read_reply(body)
            used = self._used(asked, reply)
            keep = _kept_form(reply, asked) if reply.end in fine else None
            return Judged(replace(reply, usage=used), used, self._keep(key, keep))

        reply = await self._calls().make(asked, judge)
        if reply.end not in (*fine, "cut off", "spent", "refused"):
            reply = await self._calls().make(asked, judge)
        if reply.end not in fine:
            raise _unusable(reply, asked)
        return reply

    async def filled_in[T: BaseModel](self, asked: Asked, key: str | None, answer: type[T]) -> T | Unfit:
        """A schema filled in by the model, or what it made of it.

        Raises:
            BadAnswer: It refused, or its answer was cut off: a second one would be as long.
            UnsuitableServer: Its tokens were spent before it began.
        """

        def judge(body: Mapping[str, Any]) -> Judged[T | Unfit | Reply]:
            reply = read_reply(body)
            used = self._used(asked, reply)
            if reply.end in ("refused", "cut off", "spent"):
                return Judged(reply, used)
            if reply.end != "whole":
                return Judged(Unfit("", Misfit(_why_not(reply, asked))), used)
            try:
                made = read(answer, reply.text)
            except Misfit as misfit:
                return Judged(Unfit(reply.text, misfit), used)
            return Judged(made, used, self._keep(key, reply.text))

        made = await self._calls().make(asked, judge)
        if isinstance(made, Reply):
            raise _unusable(made, asked)
        return made

    async def vectors(self, texts: Sequence[str], endpoint: Endpoint, task: str) -> list[list[float]]:
        """The vectors of one batch of texts.

        Raises:
            BadAnswer: What was answered is not one vector for each, all of one dimension.
        """
        most = self._priced(endpoint.model, Usage(sum(map(estimate.of_text, texts))))

        def body(dialect: Dialect) -> dict[str, Any]:
            return {"model": endpoint.model, "input": list(texts), "encoding_format": dialect.encoding}

        def judge(said: Mapping[str, Any]) -> Judged[list[list[float]] | str]:
            used = read_usage(said)
            priced = self._priced(endpoint.model, used) if used else most
            return Judged(embeddings.vectors(said, len(texts)), priced)

        asked = Asked(
            endpoint, "embedding", task, "embeddings", "vectors", most, self._dialect(endpoint), body
        )
        made = await self._calls().make(asked, judge)
        if isinstance(made, str):
            raise BadAnswer(f"{who(asked)}: {made}")
        return made

    # -- what is kept ----------------------------------------------------------------------------

    def key(self, question: Question, asked: Asked, prompt_version: str) -> str | None:
        """What the answer is kept under; None if it is not to be kept."""
        if self._answers is None or not prompt_version:
            return None
        return question.key(asked.endpoint, prompt_version)

    async def kept(self, key: str | None) -> str | None:
        """The answer that was kept under a key, if any."""
        return None if key is None or self._answers is None else await self._answers.get(key)

    def _keep(self, key: str | None, text: str | None) -> Kept | None:
        if key is None or text is None or self._answers is None:
            return None
        return self._answers.keep(key, text)

    # -- what it costs ---------------------------------------------------------------------------

    def _used(self, asked: Asked, reply: Reply) -> Usage:
        """What a reply took: as the endpoint says, else estimated."""
        if reply.usage is not None:
            _warn_if_cut(asked, reply.usage)
            return self._priced(asked.endpoint.model, reply.usage)
        said = estimate.of_text(reply.text) + sum(estimate.of_text(call.arguments) for call in reply.calls)
        return self._priced(asked.endpoint.model, Usage(asked.estimate.prompt_tokens, said))

    def _priced(self, model: str, usage: Usage) -> Usage:
        if self._budget is None or usage.cost:
            return usage
        cost = self._budget.limits.cost(model, usage.prompt_tokens, usage.completion_tokens)
        return replace(usage, cost=cost)

    def _dialect(self, endpoint: Endpoint) -> Dialect:
        return self._dialects.setdefault((endpoint.url, endpoint.model), Dialect())


def who(asked: Asked) -> str:
    """The model and where it is, for errors."""
    return f"{asked.endpoint.model} at {host_of(asked.endpoint.url)}"


def turn_from(kept: str) -> Turn | None:
    """A turn as it was kept; None if it cannot be read."""
    try:
        held = json.loads(kept)
        return Turn(held["text"], tuple(ToolCall(*each) for each in held["calls"]), Usage(), cached=True)
    except (ValueError, TypeError, KeyError):
        return None


def _unusable(reply: Reply, asked: Asked) -> BgTasksError:
    if reply.end != "spent":
        return BadAnswer(f"{who(asked)}: {_why_not(reply, asked)}")
    most = _most(reply, asked)
    what = f"the model spent all {most} tokens without answering (thinking, perhaps): allow more"
    return no_room(who(asked), what)


def _most(reply: Reply, asked: Asked) -> int:
    """The limit of tokens that an answer ran into: fewer than were asked for, if there was less room."""
    most = asked.estimate.completion_tokens
    return min(reply.length or most, most)


def _warn_if_cut(asked: Asked, usage: Usage) -> None:
    """Say so once, if an endpoint saw far less than it was sent: some cut prompts without a word."""
    seen, sent = usage.prompt_tokens, asked.said
    if asked.dialect.warned or not seen or sent < _WORTH_COMPARING or seen * _CUT >= sent:
        return
    asked.dialect.warned = True
    _log.warning(
        "%s counts %s tokens of a prompt that has about %s: it may cut prompts silently, and then answers "
        "without having read them; raise its context (Ollama: OLLAMA_CONTEXT_LENGTH)",
        who(asked),
        f"{seen:,}",
        f"{sent:,}",
    )


def _kept_form(reply: Reply, asked: Asked) -> str:
    if asked.shape != "tools":
        return reply.text
    calls = [[call.id, call.name, call.arguments] for call in reply.calls]
    return json.dumps({"text": reply.text, "calls": calls})


def _why_not(reply: Reply, asked: Asked) -> str:
    if reply.end == "cut off":
        most = _most(reply, asked)
        return f"the answer was cut off at max_tokens={most}: ask for less at once, or allow more"
    if reply.end == "broken":
        return "the answer broke off"
    return "it refused to answer" if reply.end == "refused" else "the answer was empty"


_log = logging.getLogger("bgtasks")
