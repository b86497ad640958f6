"""Vectors of letters: alike for texts that are written alike, and the same everywhere."""

from __future__ import annotations

import math

import pytest
from openai import AsyncOpenAI

from bgtasks.testing.model import ModelServer, vector


def likeness(one: str, other: str) -> float:
    return math.sumprod(vector(one), vector(other))


def test_what_is_written_alike_is_alike() -> None:
    assert likeness("the green tent", "The  green TENT") == pytest.approx(1.0)
    assert likeness("the green tent", "green tents") > 0.5
    assert likeness("the green tent", "a postman") < 0.3


@pytest.mark.parametrize("text", ["", " ", "a", "żółw", "\ud800", "🦊", "\x00"])
def test_every_text_has_one_of_length_1(text: str) -> None:
    assert math.hypot(*vector(text, 64)) == pytest.approx(1.0)


def test_it_is_the_same_in_every_process() -> None:
    places = [(place, round(value, 3)) for place, value in enumerate(vector("fox", 32)) if value]
    assert places == [(13, -0.5), (19, -0.5), (28, 0.5), (30, 0.5)]


async def test_a_client_gets_it_as_numbers_and_in_base64() -> None:
    async with (
        ModelServer(dimension=48) as model,
        AsyncOpenAI(base_url=model.url, api_key="any", max_retries=0) as client,
    ):
        packed = await client.embeddings.create(model="e", input=["fox", "tent"])
        plain = await client.embeddings.create(model="e", input=["fox", "tent"], encoding_format="float")
        short = await client.embeddings.create(model="e", input="fox", dimensions=16)
    assert [len(each.embedding) for each in (*packed.data, *short.data)] == [48, 48, 16]
    for one, other in zip(packed.data, plain.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-6)
    assert plain.data[0].embedding == vector("fox", 48)


async def test_a_list_of_tokens_is_one_text() -> None:
    async with (
        ModelServer() as model,
        AsyncOpenAI(base_url=model.url, api_key="any", max_retries=0) as client,
    ):
        one = await client.embeddings.create(model="e", input=[1, 2, 3])
        two = await client.embeddings.create(model="e", input=[[1, 2, 3], [4]])
    assert [(len(made.data), made.usage.prompt_tokens) for made in (one, two)] == [(1, 3), (2, 4)]
    assert one.data[0].embedding == two.data[0].embedding
