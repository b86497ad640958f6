"""The stand-in speaks what OpenAI's client understands, and lets tests script what it says."""

from __future__ import annotations

import ast
import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest
from openai import AsyncOpenAI
from tests.support.servers import until

import bgtasks.testing.model
from bgtasks.testing.model import Fault, ModelServer, Reply, tokens
from bgtasks.testing.model.__main__ import main

HELLO: Any = [{"role": "user", "content": "Hello"}]


@asynccontextmanager
async def client_of(model: ModelServer, key: str = "any") -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=model.url, api_key=key, max_retries=0, timeout=20) as client:
        yield client


async def raw(model: ModelServer, data: bytes) -> bytes:
    """What comes back for these bytes, up to the end of the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(model.url).port)
    writer.write(data)
    answered = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answered


def test_it_needs_nothing_but_python() -> None:
    package = Path(bgtasks.testing.model.__file__).parent
    for path in package.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert name.startswith("bgtasks.testing.model") or name in sys.stdlib_module_names | {
                    "collections.abc"
                }, f"{path.name} imports {name}"


class TestAnAnswer:
    async def test_is_a_few_words_where_there_is_no_rule(self) -> None:
        async with ModelServer() as model, client_of(model) as client:
            said = await client.chat.completions.create(model="m", messages=HELLO)
        assert "stand-in" in (said.choices[0].message.content or "")
        assert said.choices[0].finish_reason == "stop"
        assert said.usage is not None
        assert said.usage.completion_tokens == tokens(said.choices[0].message.content or "")

    @pytest.mark.parametrize(
        ("scripted", "text"),
        [("yes", "yes"), ({"n": 1}, '{"n": 1}'), (Reply("no", usage=False), "no")],
        ids=["text", "mapping", "reply"],
    )
    async def test_is_what_a_test_wrote_down(self, scripted: Any, text: str) -> None:
        async with ModelServer(answer=lambda request: scripted) as model, client_of(model) as client:
            said = await client.chat.completions.create(model="m", messages=HELLO)
        assert said.choices[0].message.content == text
        assert (said.usage is None) == isinstance(scripted, Reply)

    async def test_may_be_a_whole_body_and_may_come_from_a_coroutine(self) -> None:
        async def answer(request: dict[str, Any]) -> dict[str, Any]:
            message = {"role": "assistant", "content": request["messages"][0]["content"].upper()}
            return {"id": "1", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}

        async with ModelServer(answer=answer) as model, client_of(model) as client:
            said = await client.chat.completions.create(model="m", messages=HELLO)
        assert said.choices[0].message.content == "HELLO"

    async def test_may_call_tools(self) -> None:
        reply = Reply(calls=[("search", {"query": "Ewa"}), ("search", "no JSON")])
        async with ModelServer(answer=lambda request: reply) as model, client_of(model) as client:
            said = await client.chat.completions.create(model="m", messages=HELLO)
        calls: Any = said.choices[0].message.tool_calls
        assert [call.function.arguments for call in calls] == ['{"query": "Ewa"}', "no JSON"]
        assert said.choices[0].finish_reason == "tool_calls"

    async def test_ends_where_the_limit_is(self) -> None:
        async with ModelServer(answer=lambda request: "a" * 100) as model, client_of(model) as client:
            said = await client.chat.completions.create(model="m", messages=HELLO, max_tokens=5)
        assert said.choices[0].message.content == "a" * 20
        assert said.choices[0].finish_reason == "length"

    async def test_ends_there_whatever_it_is_made_of(self) -> None:
        reply = Reply("\ud800" * 10, calls=[("search", "\ud800" * 100)])
        async with ModelServer(answer=lambda request: reply) as model, client_of(model) as client:
            said = await client.chat.completions.create(model="m", messages=HELLO, max_tokens=5)
        calls: Any = said.choices[0].message.tool_calls
        assert said.choices[0].message.content == "?" * 10
        assert [call.function.arguments for call in calls] == ["?" * 4]

    async def test_to_an_unknown_schema_is_the_smallest_that_it_allows(self) -> None:
        schema = {
            "type": "object",
            "required": ["name", "kind", "many", "note", "inner"],
            "properties": {
                "name": {"type": "string"},
                "kind": {"enum": ["a", "b"]},
                "many": {"type": "array", "items": {"type": "string"}},
                "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                "inner": {"$ref": "#/$defs/Inner"},
            },
            "$defs": {"Inner": {"type": "object", "properties": {"n": {"type": "integer", "minimum": 3}}}},
        }
        form: Any = {"type": "json_schema", "json_schema": {"name": "other", "schema": schema}}
        async with ModelServer() as model, client_of(model) as client:
            said = await client.chat.completions.create(model="m", messages=HELLO, response_format=form)
        expected: dict[str, Any] = {"name": "", "kind": "a", "many": [], "note": None, "inner": {"n": 3}}
        assert json.loads(said.choices[0].message.content or "") == expected


class TestARefusal:
    async def test_of_a_key(self) -> None:
        async with ModelServer(key="right") as model:
            async with client_of(model, "wrong") as client:
                with pytest.raises(openai.AuthenticationError):
                    await client.chat.completions.create(model="m", messages=HELLO)
                with pytest.raises(openai.AuthenticationError):
                    await client.models.list()
            async with client_of(model, "right") as client:
                await client.chat.completions.create(model="m", messages=HELLO)
        assert [call.status for call in model.calls] == [401, 200]

    async def test_of_a_model(self) -> None:
        async with ModelServer(models=["small"]) as model, client_of(model) as client:
            with pytest.raises(openai.NotFoundError, match="`large` does not exist"):
                await client.chat.completions.create(model="large", messages=HELLO)
            assert [each.id async for each in client.models.list()] == ["small"]

    async def test_of_a_schema_of_a_stream_and_of_a_long_prompt(self) -> None:
        form: Any = {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}
        async with ModelServer(json_schema=False, context_tokens=100) as model, client_of(model) as client:
            with pytest.raises(openai.BadRequestError, match="response_format"):
                await client.chat.completions.create(model="m", messages=HELLO, response_format=form)
            with pytest.raises(openai.BadRequestError, match="stream"):
                await client.chat.completions.create(model="m", messages=HELLO, stream=True)
            with pytest.raises(openai.BadRequestError, match="maximum context length"):
                await client.chat.completions.create(
                    model="m", messages=[{"role": "user", "content": "a" * 500}]
                )
        assert model.tally.prompt_tokens == 0

    async def test_written_by_a_test(self) -> None:
        refusal = Reply("too many", status=429, headers={"retry-after": "7"})
        async with ModelServer(answer=lambda request: refusal) as model, client_of(model) as client:
            with pytest.raises(openai.RateLimitError) as caught:
                await client.chat.completions.create(model="m", messages=HELLO)
        assert caught.value.response.headers["retry-after"] == "7"

    async def test_where_what_a_test_wrote_fails_says_so(self, caplog: pytest.LogCaptureFixture) -> None:
        def answer(request: dict[str, Any]) -> str:
            raise LookupError("no such line")

        async with ModelServer(answer=answer) as model, client_of(model) as client:
            with pytest.raises(openai.InternalServerError, match="no such line"):
                await client.chat.completions.create(model="m", messages=HELLO)
        assert "could not answer" in caplog.text

    @pytest.mark.parametrize(
        ("data", "status"),
        [
            (b"GET /nothing HTTP/1.1\r\nconnection: close\r\n\r\n", b"404"),
            (b"no HTTP at all\r\n\r\n", b"400"),
            (b"POST /v1/embeddings HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n", b"400"),
            (b"POST /v1/embeddings HTTP/1.1\r\ncontent-length: 99999999999\r\n\r\n", b"400"),
            (b"POST /v1/embeddings HTTP/1.1\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{]", b"400"),
            (b"GET /" + b"a" * 100_000, b"400"),
            (
                b"POST /v1/embeddings HTTP/1.1\r\nconnection: close\r\ncontent-length: 100000\r\n\r\n"
                + b"[" * 100_000,
                b"400",
            ),
        ],
        ids=["path", "noise", "chunks", "size", "JSON", "line", "depth"],
    )
    async def test_of_what_is_no_request(self, data: bytes, status: bytes) -> None:
        async with ModelServer() as model:
            assert (await raw(model, data)).startswith(b"HTTP/1.1 " + status)


class TestTheTally:
    async def test_counts_calls_tokens_and_what_was_asked_again(self) -> None:
        async with ModelServer() as model, client_of(model) as client:
            model.faults.at(1, "not json")
            for _ in range(3):
                await client.chat.completions.create(model="m", messages=HELLO)
            await client.embeddings.create(model="e", input="Hello")
            shown = await raw(model, b"GET /tally HTTP/1.1\r\nconnection: close\r\n\r\n")
            tally = model.tally
        # The first answer was spoilt: to ask again was no waste.
        assert [call.repeated for call in model.calls] == [False, False, True, False]
        assert (tally.calls, tally.chats, tally.embeddings, tally.repeated) == (4, 3, 1, 1)
        assert tally.by_status == {"200": 4}
        assert tally.prompt_tokens == sum(call.prompt_tokens for call in model.calls) > 0
        assert json.loads(shown.partition(b"\r\n\r\n")[2]) == tally.as_json()

    async def test_knows_how_many_were_in_flight_at_once(self) -> None:
        gate = asyncio.Event()

        async def answer(request: dict[str, Any]) -> None:
            await gate.wait()

        async with ModelServer(answer=answer) as model, client_of(model) as client:
            asked = [
                asyncio.ensure_future(client.chat.completions.create(model="m", messages=HELLO))
                for _ in range(5)
            ]
            await until("all five are there", lambda: model.tally.at_once == 5)
            assert model.tally.by_status == {"0": 5}
            gate.set()
            await asyncio.gather(*asked)
        assert all(call.answered for call in model.calls)


class TestAClientThatLeaves:
    async def test_before_the_answer_gets_none(self) -> None:
        gate = asyncio.Event()

        async def answer(request: dict[str, Any]) -> None:
            await gate.wait()

        async with ModelServer(answer=answer) as model:
            async with client_of(model) as client:
                asked = asyncio.ensure_future(client.chat.completions.create(model="m", messages=HELLO))
                await until("it is asked", lambda: len(model.calls) == 1)
                asked.cancel()
                await asyncio.wait([asked])
            await until("the connection has ended", lambda: model.connected == 0)
            gate.set()
            await until("it is done", lambda: model.calls[0].status == 200)
            assert not model.calls[0].answered
            async with client_of(model) as client:
                await client.chat.completions.create(model="m", messages=HELLO)
        assert [call.repeated for call in model.calls] == [False, False]

    async def test_in_the_middle_of_a_request_is_forgotten(self) -> None:
        async with ModelServer() as model:
            _, writer = await asyncio.open_connection("127.0.0.1", urlsplit(model.url).port)
            writer.write(b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 100\r\n\r\n{")
            await writer.drain()
            writer.transport.abort()
            async with client_of(model) as client:
                await client.chat.completions.create(model="m", messages=HELLO)
        assert len(model.calls) == 1


class TestTheEnd:
    async def test_breaks_off_what_is_in_flight_and_the_port_serves_again(self) -> None:
        model = ModelServer(answer=lambda request: Fault("slow", seconds=3600))
        async with model, client_of(model) as client:
            asked = asyncio.ensure_future(client.chat.completions.create(model="m", messages=HELLO))
            await until("it is asked", lambda: len(model.calls) == 1)
            await model.close()
            with pytest.raises(openai.APIConnectionError):
                await asked
            await model.close()
            before = model.url
            async with model:
                assert model.url == before
                assert [each.id async for each in client.models.list()] == ["rules"]
                assert model.cut_off() == 1

    async def test_a_process_ends_when_told(self) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bgtasks.testing.model", "--faults", "slow:0.01=1", "--key", "k",
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().strip()
        async with AsyncOpenAI(base_url=url, api_key="k", max_retries=0) as client:
            await client.chat.completions.create(model="m", messages=HELLO)
        process.terminate()
        assert await process.wait() == 0


class TestTheCommandLine:
    @pytest.mark.parametrize(
        ("given", "said"),
        [
            (["--port", "65536"], "--port 65536 is no port"),
            (["--port", "-1"], "--port -1 is no port"),
            (["--dimension", "0"], "--dimension 0 leaves no vector"),
            (["--faults", "cut:2=0.1"], "leave out the seconds"),
        ],
    )
    def test_says_what_cannot_be_meant(
        self, given: list[str], said: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as ended:
            main(given)
        assert ended.value.code == 2
        assert said in capsys.readouterr().err

    def test_says_in_a_line_that_a_port_is_taken(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(SystemExit, match=rf"^error: cannot serve on port {port}: .*in use"):
                main(["--port", str(port)])
