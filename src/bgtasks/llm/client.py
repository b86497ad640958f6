"""The `ChatClient` of bgtasks: any OpenAI-compatible endpoint, within a budget.

One call goes this way: a kept answer is looked for, a slot is waited for, what the call may cost is reserved,
the endpoint is asked, and what it did cost is settled together with the answer, if that is to be kept.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel

from bgtasks.clock import Clock, SystemClock
from bgtasks.contracts import Absent
from bgtasks.errors import BadAnswer, ConfigurationError
from bgtasks.llm import embeddings
from bgtasks.llm.answering import Answering, Unfit, turn_from, who
from bgtasks.llm.calls import Asked, Calls
from bgtasks.llm.endpoints import check, endpoints, setting_of_model
from bgtasks.llm.question import Question, asking
from bgtasks.llm.refusals import host_of
from bgtasks.llm.structured import Misfit, again, name_of, read, strict_schema
from bgtasks.llm.transport import Transport
from bgtasks.llm.types import Endpoint, Message, Purpose, Turn, Usage
from bgtasks.run import current_run

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from bgtasks.llm.answers import Answers
    from bgtasks.llm.budget import Budget
    from bgtasks.settings import Settings

__all__ = ["OpenAIChat"]


class OpenAIChat:
    """Chats with models, has them use tools and fill in schemas, and makes vectors of texts.

    With a budget or kept answers it belongs to one event loop, as their Redis client does. Without, it may be
    used in several, one after the other or at once: each has connections, slots and breakers of its own.

    Args:
        given: Where each purpose is served; what is not there cannot be asked for.
        budget: Counts what is spent, and refuses what is too much; None: nobody counts.
        answers: Keeps answers of calls that name a `prompt_version`; None: nothing is kept.
        timeout: Seconds for one attempt. A call makes up to four, of which two may run into this, with waits
            of up to 60 s between them, beside the time it waits for a slot.
        max_tokens: Tokens of an answer, at most, in place of what each call says.
        concurrency: Calls to one model at a time, at most.
        sleep: Waits for so many seconds, between attempts.

    Every method that asks raises, and nothing of a key, a prompt or an answer is in it:

    Raises:
        ConfigurationError: A URL or a key that cannot be one, a purpose that has no endpoint, or an option
            that cannot be meant.
        OverBudget: It might cost more than may be spent today. It was not asked.
        BadAnswer: The answer cannot be used: cut off, empty, refused by a filter, or not as the schema wants
            it after a second try; or the input is too long, or is refused.
        ResourceUnavailable: `openrouter`: no answer after all attempts, or the endpoint failed so often that
            it is left alone for a while. `redis`: the budget or the kept answers cannot be asked.
        UnsuitableServer: The key or the model is refused, the model spent all its tokens before it answered
            (thinking, perhaps), or there is no room for so long an answer; names the setting.
        MissingExtra: The package `openai` is not installed.

    Not promised: that a call is billed once. An attempt that ran into its time limit is made again, though
    the endpoint may have been at work; it counts as spent by what was reserved. So does one that was
    cancelled while the endpoint was at work.
    """

    def __init__(
        self,
        given: Mapping[Purpose, Endpoint],
        *,
        budget: Budget | None = None,
        answers: Answers | None = None,
        timeout: float = 120.0,
        max_tokens: int | None = None,
        concurrency: int = 8,
        clock: Clock | None = None,
        random: Random | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        check(given)
        self._endpoints = dict(given)
        self._max_tokens = max_tokens
        self._loops: dict[asyncio.AbstractEventLoop, Calls] = {}
        self._guard = threading.Lock()
        self._new_calls: Callable[[], Calls] = lambda: Calls(
            Transport(timeout),
            budget=budget,
            answers=answers,
            concurrency=concurrency,
            clock=clock or SystemClock(),
            random=random or Random(),
            sleep=sleep,
        )
        self._answering = Answering(self._calls, budget, answers)

    @classmethod
    def from_settings(
        cls, settings: Settings, redis: Redis | None = None, *, clock: Clock | None = None
    ) -> Self:
        """The client an operator has configured; its budget and its kept answers are in `redis`.

        Raises:
            ConfigurationError: There is no model, or no URL; or there is a cap, and no Redis to count in.
        """
        found = endpoints(settings)
        budget: Budget | None = None
        answers: Answers | None = None
        if redis is not None:
            from bgtasks.llm.answers import Answers
            from bgtasks.llm.budget import Budget

            budget = Budget.from_settings(settings, redis, clock=clock)
            answers = Answers(redis, settings.namespace, settings.llm_answer_days * 86_400)
        else:
            _refuse_caps(settings)
        return cls(
            found,
            budget=budget,
            answers=answers,
            timeout=settings.llm_timeout,
            max_tokens=settings.llm_max_tokens,
            concurrency=settings.llm_concurrency,
            clock=clock,
        )

    def __repr__(self) -> str:
        models = ", ".join(f"{purpose}: {each.model}" for purpose, each in self._endpoints.items())
        return f"<OpenAIChat {models}>"

    @property
    def embedding_model(self) -> str | Absent:
        """The model that makes vectors, if there is one."""
        endpoint = self._endpoints.get("embedding")
        return endpoint.model if endpoint else Absent("set BGTASKS_LLM_EMBEDDING_MODEL")

    async def chat(
        self,
        messages: Sequence[Message],
        *,
        override_model: str | None = None,
        purpose: Purpose = "chat",
        task: str | None = None,
        max_tokens: int = 1024,
        prompt_version: str = "",
        temperature: float = 0.0,
        **options: Any,
    ) -> str:
        """The model's answer as text.

        Args:
            override_model: Another model at the same endpoint.
            purpose: Which endpoint and model.
            task: On whose budget; that of the run this is called in, or "other".
            max_tokens: The answer's length, at most. A longer one is cut off, which is a `BadAnswer`.
            prompt_version: Says that an answer may be kept, and given again to the same question under the
                same version.
            options: Passed on to the endpoint, such as `top_p` and `seed`.
        """
        question = asking(
            messages, max_tokens=self._most(max_tokens), temperature=temperature, options=options
        )
        asked = self._asked(question, purpose, override_model, task)
        key = self._answering.key(question, asked, prompt_version)
        if (kept := await self._answering.kept(key)) is not None:
            return kept
        reply = await self._answering.reply(asked, key, may_be_empty=False)
        return reply.text

    async def turn(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]],
        override_model: str | None = None,
        purpose: Purpose = "extraction",
        task: str | None = None,
        max_tokens: int = 1024,
        prompt_version: str = "",
        temperature: float = 0.0,
        **options: Any,
    ) -> Turn:
        """The model's next turn, in which it may call tools. They are not called here.

        The arguments are as the model wrote them: they may be no JSON, and the tool may not exist. A turn
        without text and calls is one, too. What is not said here is as with `chat`.

        Args:
            tools: As endpoints take them: `{"type": "function", "function": {"name", "parameters", …}}`.
        """
        question = asking(
            messages,
            tools=tools,
            max_tokens=self._most(max_tokens),
            temperature=temperature,
            options=options,
        )
        asked = self._asked(question, purpose, override_model, task)
        key = self._answering.key(question, asked, prompt_version)
        kept = await self._answering.kept(key)
        if kept is not None and (turn := turn_from(kept)) is not None:
            return turn
        reply = await self._answering.reply(asked, key, may_be_empty=True)
        return Turn(reply.text, reply.calls, reply.usage or Usage())

    async def structured[T: BaseModel](
        self,
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
        """The model's answer as an `answer`, by its JSON schema.

        Of an endpoint that takes no schema, JSON is asked for in words. An answer that does not fit is asked
        for once more: the model is shown it, what is wrong with it, and the schema; only what fits is kept.
        What is not said here is as with `chat`.
        """
        schema = (name_of(answer), strict_schema(answer))
        question = asking(
            messages,
            schema=schema,
            max_tokens=self._most(max_tokens),
            temperature=temperature,
            options=options,
        )
        asked = self._asked(question, purpose, override_model, task)
        key = self._answering.key(question, asked, prompt_version)
        if (kept := await self._answering.kept(key)) is not None:
            try:
                return read(answer, kept)
            except Misfit:
                pass  # it was checked by another version of the model's validators
        made = await self._answering.filled_in(asked, key, answer)
        if isinstance(made, Unfit):
            unheld, form = made.misfit.unheld, asked.dialect.form
            question = question.again(again(messages, made.text, made.misfit))
            asked = self._asked(question, purpose, override_model, task)
            made = await self._answering.filled_in(asked, key, answer)
            if unheld and not isinstance(made, Unfit) and form == "json_schema":
                asked.dialect.step_down(form)  # the schema it was sent it did not look at
        if isinstance(made, Unfit):
            raise BadAnswer(
                f"{who(asked)} was asked twice for {schema[0]}, and of the second answer: {made.misfit.why}"
            )
        return made

    async def embed(
        self, texts: Sequence[str], *, override_model: str | None = None, task: str | None = None
    ) -> list[list[float]]:
        """A vector for each text, in their order, all of one dimension.

        Asked for in batches, one after the other. Of a long text the first 8,000 characters count.
        """
        endpoint = self._endpoint("embedding", override_model)
        found: list[list[float]] = []
        for batch in embeddings.batches([embeddings.prepared(text) for text in texts]):
            made = await self._answering.vectors(batch, endpoint, task or _task())
            if found and len(made[0]) != len(found[0]):
                sizes = f"of {len(found[0])} and of {len(made[0])} numbers"
                raise BadAnswer(f"{endpoint.model} at {host_of(endpoint.url)}: vectors {sizes}")
            found += made
        return found

    async def aclose(self) -> None:
        """Close the connections of this event loop; may be called again. A later call opens new ones.

        Calls that are under way fail with `ResourceUnavailable`. What was spent is written down before this
        returns.
        """
        with self._guard:
            calls = self._loops.pop(asyncio.get_running_loop(), None)
        if calls is not None:
            await calls.aclose()

    def _calls(self) -> Calls:
        """What makes calls in the running event loop."""
        loop = asyncio.get_running_loop()
        with self._guard:
            if loop not in self._loops:
                for gone in [each for each in self._loops if each.is_closed()]:
                    del self._loops[gone]
                self._loops[loop] = self._new_calls()
            return self._loops[loop]

    def _most(self, max_tokens: int) -> int:
        """Tokens of an answer, at most: what the operator says, else what the call does."""
        return max_tokens if self._max_tokens is None else self._max_tokens

    def _asked(self, question: Question, purpose: Purpose, model: str | None, task: str | None) -> Asked:
        return self._answering.asked(question, self._endpoint(purpose, model), purpose, task or _task())

    def _endpoint(self, purpose: Purpose, model: str | None) -> Endpoint:
        endpoint = self._endpoints.get(purpose)
        if endpoint is None:
            raise ConfigurationError(f'there is no model for "{purpose}": set {setting_of_model(purpose)}')
        return endpoint if model is None else replace(endpoint, model=model)


def _task() -> str:
    run = current_run.get()
    return run.task if run is not None else "other"


def _refuse_caps(settings: Settings) -> None:
    for name in ("llm_day_tokens", "llm_day_cost", "llm_task_tokens", "llm_task_cost"):
        if getattr(settings, name):
            raise ConfigurationError(
                f"BGTASKS_{name.upper()} sets a cap, but there is no Redis to count in: set BGTASKS_REDIS_URL"
            )
