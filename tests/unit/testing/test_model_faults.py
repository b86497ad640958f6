"""What goes wrong goes wrong as it was asked for, and each time the same."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from bgtasks.testing.model import Fault, Faults, ModelServer

HELLO: Any = [{"role": "user", "content": "Hello"}]


async def asked(*faults: Any, **options: Any) -> Any:
    """The last answer of a model whose calls get these faults in turn."""
    answer: Any = None
    async with (
        ModelServer(answer=lambda request: {"entities": [], "facts": []}) as model,
        AsyncOpenAI(base_url=model.url, api_key="any", max_retries=0) as client,
    ):
        for number, fault in enumerate(faults, 1):
            model.faults.at(number, fault)
            answer = await client.chat.completions.create(model="m", messages=HELLO, **options)
    assert [call.fault for call in model.calls] == [
        fault.kind if isinstance(fault, Fault) else fault for fault in faults
    ]
    return answer


class TestWhichCalls:
    def test_the_same_seed_hits_the_same_calls(self) -> None:
        first, second, other = (Faults(seed, {"429": 0.1, "cut": 0.2}) for seed in (1, 1, 2))
        drawn = [first.of(number) for number in range(1, 2001)]
        assert drawn == [second.of(number) for number in range(1, 2001)]
        assert drawn != [other.of(number) for number in range(1, 2001)]
        share = Counter(fault.kind if fault else None for fault in drawn)
        assert 150 < share["429"] < 250
        assert 330 < share["cut"] < 470

    def test_a_numbered_one_goes_first(self) -> None:
        faults = Faults(1, {"cut": 1.0})
        faults.at(3, "empty")
        faults.at(4, None)
        assert [fault and fault.kind for fault in map(faults.of, range(2, 6))] == [
            "cut",
            "empty",
            None,
            "cut",
        ]

    def test_a_command_line_can_say_them(self) -> None:
        faults = Faults.parse("429:2=0.5, slow:0.1=0.5", seed=4)
        seen = {faults.of(number) for number in range(1, 60)}
        assert seen == {Fault("429", retry_after=2), Fault("slow", seconds=0.1)}
        assert Faults.parse("").of(1) is None

    @pytest.mark.parametrize(
        "text", ["429", "430=0.1", "cut=lots", "slow:x=0.1", "cut=0.7,slow=0.7", "cut=-1", "cut:2=0.1"]
    )
    def test_what_cannot_be_meant_is_said(self, text: str) -> None:
        with pytest.raises(ValueError, match="fault"):
            Faults.parse(text)

    @pytest.mark.parametrize("kind", ["500", "slow", "cut"])
    def test_only_429_and_503_say_how_long_to_wait(self, kind: Any) -> None:
        with pytest.raises(ValueError, match=rf'leave out the seconds \(retry_after\) of "{kind}"'):
            Fault(kind, retry_after=2)


class TestWhatGoesWrong:
    async def test_a_429_says_how_long_to_wait_if_it_is_told_to(self) -> None:
        with pytest.raises(openai.RateLimitError) as caught:
            await asked(Fault("429", retry_after=3))
        assert caught.value.response.headers["retry-after"] == "3"
        with pytest.raises(openai.RateLimitError) as caught:
            await asked("429")
        assert "retry-after" not in caught.value.response.headers

    @pytest.mark.parametrize("status", ["500", "503"])
    async def test_a_server_fails(self, status: Any) -> None:
        with pytest.raises(openai.InternalServerError) as caught:
            await asked(status)
        assert str(caught.value.status_code) == status

    async def test_the_connection_ends_in_the_middle(self) -> None:
        with pytest.raises(openai.APIConnectionError):
            await asked("cut")

    async def test_a_slow_one_is_right(self) -> None:
        answer = await asked(Fault("slow", seconds=0.01))
        assert json.loads(answer.choices[0].message.content) == {"entities": [], "facts": []}

    async def test_text_is_no_json(self) -> None:
        answer = await asked("not json")
        with pytest.raises(ValueError):
            json.loads(answer.choices[0].message.content)

    async def test_text_is_of_another_shape(self) -> None:
        answer = await asked("schema")
        assert not isinstance(json.loads(answer.choices[0].message.content)["entities"], list)

    async def test_text_runs_away(self) -> None:
        answer = await asked("runaway", max_tokens=50)
        assert len(answer.choices[0].message.content) == 200
        assert answer.choices[0].finish_reason == "length"

    async def test_there_is_no_text(self) -> None:
        assert (await asked("empty")).choices[0].message.content == ""

    async def test_a_body_is_a_page_of_html(self) -> None:
        assert await asked("garbage") == "<html><body>Bad gateway</body></html>\n"

    async def test_vectors_are_missing_or_too_short(self) -> None:
        async with ModelServer(faults=Faults()) as model:
            model.faults.at(1, "schema")
            model.faults.at(2, "empty")
            async with AsyncOpenAI(base_url=model.url, api_key="any", max_retries=0) as client:
                made = await client.embeddings.create(model="e", input=["a", "b"], encoding_format="float")
                assert [len(each.embedding) for each in made.data] == [2, 384]
                with pytest.raises(ValueError, match="No embedding data"):
                    await client.embeddings.create(model="e", input=["a", "b"])
                model.faults.at(3, "schema")
                with pytest.raises(ValueError, match="No embedding data"):
                    await client.embeddings.create(model="e", input=[])


class TestWhatIsRightAllTheSame:
    """A fault that changes nothing is none: what is asked again is paid for twice."""

    @pytest.mark.parametrize("kind", ["not json", "runaway"])
    async def test_vectors(self, kind: Any) -> None:
        async with (
            ModelServer(faults=Faults(share={kind: 1.0})) as model,
            AsyncOpenAI(base_url=model.url, api_key="any", max_retries=0) as client,
        ):
            for _ in range(2):
                await client.embeddings.create(model="e", input="a")
        assert [(call.fault, call.repeated) for call in model.calls] == [(None, False), (None, True)]
        assert model.tally.by_fault == {}

    @pytest.mark.parametrize(
        ("kind", "said"),
        [
            ("empty", ""),
            ("runaway", "a" * 100),
            ("schema", {"choices": [{"index": 0, "message": {"role": "assistant", "content": "a"}}]}),
        ],
        ids=["no text", "too long anyway", "a whole body"],
    )
    async def test_an_answer(self, kind: Any, said: Any) -> None:
        async with (
            ModelServer(answer=lambda request: said, faults=Faults(share={kind: 1.0})) as model,
            AsyncOpenAI(base_url=model.url, api_key="any", max_retries=0) as client,
        ):
            for _ in range(2):
                await client.chat.completions.create(model="m", messages=HELLO, max_tokens=5)
        assert [(call.fault, call.repeated) for call in model.calls] == [(None, False), (None, True)]
