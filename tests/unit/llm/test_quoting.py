"""A server's own words are shown, unless they may hold the key or what was sent to it."""

from __future__ import annotations

import pytest
from tests.unit.llm.stage import stage, user

from bgtasks.errors import UnsuitableServer
from bgtasks.llm.quoting import quoted
from bgtasks.testing.model import ModelServer, Reply

KEY = "sk-12345-of-nobody"
BODY = {
    "model": "some/model",
    "max_tokens": 1024,
    "messages": [
        {"role": "system", "content": "You take notes."},
        {"role": "user", "content": 'My name is "Kasia Lindqvist",\nand I live in Uppsala.'},
        {"role": "user", "content": "Men och männer, Kuopio och 我住在乌普萨拉。"},
        {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "Walter"}]},
    ],
    "seed": "a very private seed",
}


@pytest.mark.parametrize(
    "said",
    [
        "some/model does not support tools",
        "System role not supported: max_tokens, json_schema",
        "Provider returned error",
    ],
)
def test_words_of_its_own_are_shown(said: str) -> None:
    assert quoted(said, BODY, KEY) == f'; it says: "{said}"'


@pytest.mark.parametrize(
    "said",
    [
        "",
        "Invalid content: 'my name is \"kasia Lindqvist\"'",
        "Invalid content: 'Kasia  Lindqvist, and I'",
        r"Invalid content: 'Lindqvist\",\nand I live'",
        r"Invalid content: '\u00e4nner, Kuopio'",
        "Invalid content: 我住在乌普",
        "Invalid content: Walter",
        "Invalid: A VERY PRIVATE seed",
        "Incorrect API key provided: sk-12345****",
    ],
)
def test_what_was_sent_is_not(said: str) -> None:
    assert quoted(said, BODY, KEY) == ""


def test_the_key_is_cut_out_and_what_is_long_is_cut_off() -> None:
    assert quoted(f"No credit for {KEY}.", BODY, KEY) == '; it says: "No credit for …."'
    assert len(quoted("blah " * 1000, BODY, KEY)) < 220
    assert quoted("a\nb\x1b[31m", BODY, "") == '; it says: "a b [31m"'


async def test_a_refusal_quotes_it() -> None:
    async with stage(ModelServer(answer=lambda _: Reply("gemma does not do tools", status=400))) as s:
        with pytest.raises(UnsuitableServer, match='it says: "gemma does not do tools"'):
            await s.chat.chat(user("Hello."))


async def test_a_model_that_one_has_no_access_to_is_no_matter_of_the_key() -> None:
    replies = [
        Reply("Project does not have access to model m", status=403),
        Reply("No.", status=403, code="model_not_found"),
        Reply("No.", status=403),
    ]
    async with stage(ModelServer(answer=lambda _: replies.pop(0))) as s:
        for setting in ("BGTASKS_LLM_MODEL", "BGTASKS_LLM_MODEL", "BGTASKS_LLM_KEY"):
            with pytest.raises(UnsuitableServer, match=setting):
                await s.chat.chat(user("Hello."))
