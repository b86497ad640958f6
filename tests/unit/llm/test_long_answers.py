"""Answers for which there are not enough tokens: of models that think, and where the context is short."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.llm.stage import HELLO, Pet, stage, user

from bgtasks.errors import BadAnswer, UnsuitableServer
from bgtasks.llm import OpenAIChat
from bgtasks.llm.room import room, too_long_an_answer
from bgtasks.settings import Settings
from bgtasks.testing.model import ModelServer, Reply

TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {}}}]

VLLM = (
    "'max_tokens' or 'max_completion_tokens' is too large: 6000. This model's maximum context length is "
    "4096 tokens and your request has 900 input tokens (6000 > 4096 - 900)."
)
OLD_VLLM = (
    "This model's maximum context length is 4096 tokens. However, you requested 6900 tokens (900 in the "
    "messages, 6000 in the completion). Please reduce the length of the messages or completion."
)
OPENAI = (
    "max_tokens is too large: 6000. This model supports at most 4,096 completion tokens, whereas you "
    "provided 6000."
)
ANTHROPIC = "input length and `max_tokens` exceed context limit: 900 + 6000 > 4096, decrease input length"
VAGUE = "max_tokens is too large"
LONG_INPUT = (
    "This model's maximum context length is 4096 tokens. However, you requested 10000 tokens (4000 in the "
    "messages, 6000 in the completion)."
)


def thinking(finish: str, content: str | None) -> dict[str, Any]:
    message = {"role": "assistant", "content": content, "reasoning": "hmm"}
    usage = {"prompt_tokens": 9, "completion_tokens": 64}
    return {"choices": [{"finish_reason": finish, "message": message}], "usage": usage}


class TestAModelThatSpendsAllItsTokens:
    @pytest.mark.parametrize("content", [None, " \n", "<think>Well, let me"])
    @pytest.mark.parametrize("finish", ["length", "MAX_TOKENS"])
    async def test_is_unsuitable_and_not_asked_again(self, content: str | None, finish: str) -> None:
        async with stage(ModelServer(answer=lambda _: thinking(finish, content))) as s:
            calls = (
                s.chat.chat(HELLO, max_tokens=64),
                s.chat.structured(HELLO, Pet, max_tokens=64),
                s.chat.turn(HELLO, tools=TOOLS, max_tokens=64),
            )
            for call in calls:
                with pytest.raises(UnsuitableServer, match=r"all 64 tokens .* BGTASKS_LLM_MAX_TOKENS"):
                    await call
            spent = await s.spent()
            assert (spent.calls, spent.tokens) == (3, 3 * 73)

    async def test_is_one_whose_answer_was_cut_off_if_it_had_begun(self) -> None:
        cut = thinking("length", "<think>Well.</think> So")
        async with stage(ModelServer(answer=lambda _: cut)) as s:
            with pytest.raises(BadAnswer, match="cut off at max_tokens=64"):
                await s.chat.chat(HELLO, max_tokens=1024)

    async def test_may_be_given_more_by_the_operator(self) -> None:
        async with stage(ModelServer(answer=lambda _: "So."), max_tokens=9000) as s:
            await s.chat.chat(HELLO, max_tokens=64)
            assert s.model.requests[0]["max_tokens"] == 9000
        settings = Settings.load(llm_url="http://h/v1", llm_model="m", llm_max_tokens=7)
        assert OpenAIChat.from_settings(settings)._most(64) == 7


class TestAnEndpointWithLittleRoom:
    @pytest.mark.parametrize(
        ("said", "fits"), [(VLLM, 3180), (OLD_VLLM, 3180), (OPENAI, 4096), (ANTHROPIC, 3180), (VAGUE, None)]
    )
    def test_says_how_much_there_is(self, said: str, fits: int | None) -> None:
        assert too_long_an_answer(said.lower(), 1200, 6000)
        assert room(said.lower(), 1200, 6000) == fits

    @pytest.mark.parametrize(
        "said",
        [LONG_INPUT, "", "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."],
    )
    def test_may_mean_something_else(self, said: str) -> None:
        assert not too_long_an_answer(said.lower(), 5000, 6000)

    def test_counts_the_prompt_better_than_an_estimate(self) -> None:
        said = "request (4500 tokens) exceeds the available context size (4096 tokens)"
        assert not too_long_an_answer(said, 1000, 6000)
        assert too_long_an_answer(said.replace("4500", "1500"), 3000, 6000)

    @pytest.mark.parametrize("said", [VLLM, OLD_VLLM, OPENAI, ANTHROPIC])
    async def test_is_asked_for_as_much_as_there_is(self, said: str) -> None:
        def answer(body: dict[str, Any]) -> Any:
            return Reply(said, status=400) if body["max_tokens"] > 4096 else "So."

        async with stage(ModelServer(answer=answer)) as s:
            assert await s.chat.chat(HELLO, max_tokens=6000) == "So."
            assert s.statuses == [400, 200]

    @pytest.mark.parametrize(("said", "calls"), [(VLLM, 2), (VAGUE, 1)])
    async def test_is_unsuitable_if_that_does_not_help(self, said: str, calls: int) -> None:
        async with stage(ModelServer(answer=lambda _: Reply(said, status=400))) as s:
            with pytest.raises(UnsuitableServer, match="BGTASKS_LLM_MAX_TOKENS"):
                await s.chat.chat(HELLO, max_tokens=6000)
            assert len(s.model.calls) == calls
            assert (await s.spent()).tokens == 0

    async def test_may_still_find_an_input_too_long(self) -> None:
        async with stage(ModelServer(answer=lambda _: Reply(LONG_INPUT, status=400))) as s:
            with pytest.raises(BadAnswer, match="too long"):
                await s.chat.chat(user("word " * 3000), max_tokens=6000)
            assert len(s.model.calls) == 1
