"""A typed answer of any chat client."""

from __future__ import annotations

import pytest
from tests.unit.llm.stage import HELLO, Pet, stage

from bgtasks.errors import BadAnswer, ResourceUnavailable
from bgtasks.llm import ask
from bgtasks.testing import ScriptedChat
from bgtasks.testing.model import ModelServer

BO = Pet(name="Bo", legs=4)
JSON = '{"name": "Bo", "legs": 4}'


async def test_ours_fills_in_schemas_by_itself() -> None:
    async with stage(ModelServer(answer=lambda _: JSON)) as s:
        assert await ask(s.chat, HELLO, Pet, task="tidy", max_tokens=50, seed=3) == BO
        (body,) = s.model.requests
        assert body["response_format"]["type"] == "json_schema"
        assert (body["max_tokens"], body["seed"]) == (50, 3)
        assert (await s.budget.spent())[0].task == "tidy"


class TestAHostsClient:
    async def test_is_asked_in_words_and_told_nothing_of_ours(self) -> None:
        chat = ScriptedChat(f"Of course:\n```json\n{JSON}\n```")
        assert await ask(chat, HELLO, Pet, override_model="m", task="tidy", prompt_version="1") == BO
        (call,) = chat.calls
        system, hello = call.pop("messages")
        assert "legs" in system["content"]
        assert hello == HELLO[0]
        assert call == {"override_model": "m", "max_tokens": 1024, "temperature": 0.0}

    async def test_keeps_its_own_system_message(self) -> None:
        chat = ScriptedChat(JSON)
        await ask(chat, [{"role": "system", "content": "Be kind."}, *HELLO], Pet)
        assert chat.calls[0]["messages"][0]["content"].startswith("Be kind.\n\nAnswer with one JSON object")

    async def test_may_err_once(self) -> None:
        chat = ScriptedChat("Bo.", JSON)
        assert await ask(chat, HELLO, Pet) == BO
        assert chat.calls[1]["messages"][2] == {"role": "assistant", "content": "Bo."}

    async def test_may_not_err_twice(self) -> None:
        chat = ScriptedChat("marked", '{"name": "marked"}')
        with pytest.raises(BadAnswer, match="1 x missing") as caught:
            await ask(chat, HELLO, Pet)
        assert "marked" not in str(caught.value)
        assert caught.value.__context__ is None

    async def test_raises_what_it_likes(self) -> None:
        with pytest.raises(ResourceUnavailable):
            await ask(ScriptedChat(ResourceUnavailable("openrouter", "gone")), HELLO, Pet)
