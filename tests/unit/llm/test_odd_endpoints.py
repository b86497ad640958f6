"""What endpoints do that no specification says: errors within answers, and prompts cut without a word."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest
from tests.unit.llm.stage import HELLO, stage, user

from bgtasks.errors import BadAnswer, ResourceUnavailable, UnsuitableServer
from bgtasks.llm import Endpoint, OpenAIChat
from bgtasks.llm.dialect import Dialect
from bgtasks.llm.question import asking
from bgtasks.llm.refusals import of_status
from bgtasks.testing.model import ModelServer, Reply


def ended(finish: str | None, **others: Any) -> dict[str, Any]:
    return {"choices": [{"finish_reason": finish, "message": {"content": "The three steps: 1."}, **others}]}


BROKEN = {"code": 502, "message": "Provider disconnected"}


class TestAnAnswerThatBreaksOff:
    @pytest.mark.parametrize(
        ("body", "status"),
        [
            (ended("error", error=BROKEN), 502),
            (ended("error"), 502),
            (ended(None, error={"code": "429", "message": "Too many"}), 429),
            ({**ended("stop"), "error": BROKEN}, 502),
        ],
    )
    async def test_is_an_outage_that_is_paid_for(self, body: Any, status: int) -> None:
        left = [body, "All of it."]
        async with stage(ModelServer(answer=lambda _: left.pop(0))) as s:
            assert await s.chat.chat(HELLO, max_tokens=500, prompt_version="1") == "All of it."
            assert await s.chat.chat(HELLO, max_tokens=500, prompt_version="1") == "All of it."
            assert (await s.spent()).tokens > 500
        async with stage(ModelServer(answer=lambda _: body)) as s:
            with pytest.raises(ResourceUnavailable, match=f"it answered {status}, 4 times"):
                await s.chat.chat(HELLO, prompt_version="1")

    @pytest.mark.parametrize("finish", ["stop", "STOP", "tool_calls", "eos", "end_turn", None])
    async def test_does_not_if_it_ends_as_answers_do(self, finish: str | None) -> None:
        async with stage(ModelServer(answer=lambda _: ended(finish))) as s:
            assert await s.chat.chat(HELLO) == "The three steps: 1."

    @pytest.mark.parametrize(
        ("finish", "why", "calls"),
        [
            ("max_tokens", "cut off at max_tokens=1024", 1),
            ("SAFETY", "refused", 1),
            ("abort", "broke off", 2),
        ],
    )
    async def test_is_no_answer_in_whatever_words(self, finish: str, why: str, calls: int) -> None:
        async with stage(ModelServer(answer=lambda _: ended(finish))) as s:
            with pytest.raises(BadAnswer, match=why):
                await s.chat.chat(HELLO)
            assert len(s.model.calls) == calls


class TestAPromptThatIsCutSilently:
    async def test_is_warned_of_once(self, caplog: pytest.LogCaptureFixture) -> None:
        cut = Reply("So.", usage={"prompt_tokens": 2048, "completion_tokens": 2})
        async with stage(ModelServer(answer=lambda _: cut)) as s:
            with caplog.at_level(logging.WARNING):
                for _ in range(2):
                    await s.chat.chat(user("word " * 6000))
        (record,) = caplog.records
        assert "some/model at 127.0.0.1" in record.getMessage()
        assert "OLLAMA_CONTEXT_LENGTH" in record.getMessage()

    @pytest.mark.parametrize(("prompt", "text"), [(6000, "word " * 6000), (1, "Hello."), (0, "word " * 6000)])
    async def test_is_not_suspected_lightly(
        self, prompt: int, text: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        reply = Reply("So.", usage={"prompt_tokens": prompt, "completion_tokens": 2})
        async with stage(ModelServer(answer=lambda _: reply)) as s:
            await s.chat.chat(user(text))
        assert not [each for each in caplog.records if each.levelno >= logging.WARNING]


class TestOpenRouter:
    def body(self, dialect: Dialect, **options: Any) -> dict[str, Any]:
        question = asking(HELLO, schema=("pet", {}), max_tokens=9, temperature=0.0, options=options)
        return question.body(Endpoint("https://openrouter.ai/api/v1", None, "m"), dialect)

    def test_is_to_ask_providers_that_look_at_the_schema(self) -> None:
        assert self.body(Dialect())["provider"] == {"require_parameters": True}
        body = self.body(Dialect(), provider={"order": ["x"]})
        assert body["provider"] == {"require_parameters": True, "order": ["x"]}

    def test_is_not_if_there_are_none(self) -> None:
        dialect = Dialect()
        refusal = of_status(404, {"message": "No endpoints found that can handle the requested parameters."})
        assert dialect.learn(refusal, self.body(dialect))
        assert "temperature" not in self.body(dialect)
        assert "provider" in self.body(dialect)
        assert dialect.learn(refusal, self.body(dialect))
        assert "provider" not in self.body(dialect)
        assert "temperature" in self.body(dialect)
        assert dialect.form == "json_schema"

    async def test_is_not_asked_for_ever_if_the_caller_insists(self) -> None:
        refused = Reply("No endpoints found that can handle the requested parameters.", status=404)
        async with stage(ModelServer(answer=lambda _: refused)) as s:
            with pytest.raises(UnsuitableServer, match="requested parameters"):
                await s.chat.chat(HELLO, provider={"require_parameters": True})
            assert len(s.model.calls) == 9


async def test_what_the_environment_says_of_openai_is_not_sent_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("API_KEY", "ADMIN_KEY", "ORG_ID", "PROJECT_ID"):
        monkeypatch.setenv(f"OPENAI_{name}", "private")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Private: private")
    heard: list[str] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        heard.append(head)
        await reader.readexactly(int(head.partition("content-length:")[2].split()[0]))
        body = json.dumps(ended("stop")).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        chat = OpenAIChat({"chat": Endpoint(f"http://127.0.0.1:{port}/v1", None, "m")})
        assert await chat.chat(HELLO) == "The three steps: 1."
        await chat.aclose()
    assert "content-length" in heard[0]
    assert "private" not in heard[0]
