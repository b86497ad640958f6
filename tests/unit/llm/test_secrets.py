"""Neither a key nor what is said to or by a model is in a log record, an error or a repr."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr
from tests.unit.llm.stage import Pet, stage, user

from bgtasks.errors import BgTasksError
from bgtasks.llm import Endpoint, ToolCall, Turn, Usage
from bgtasks.llm.answers import Kept
from bgtasks.testing.model import Fault, ModelServer, Reply

MARK = "marked0text"
KEY = f"sk-{MARK}-key"
ECHO = f"You said {MARK} with {KEY}"
TOOLS = [{"type": "function", "function": {"name": "f", "description": MARK, "parameters": {}}}]


@pytest.fixture
def heard(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """All that is logged, of whatever logger."""
    names = ("openai", "openai._base_client", "httpx", "httpx2", "httpcore", "httpcore2", "bgtasks")
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.DEBUG)
    with caplog.at_level(logging.DEBUG):
        yield caplog
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


def told(error: BaseException) -> str:
    """All that a log of this error may show, its causes included."""
    return "".join(traceback.format_exception(error)) + repr(error) + repr(error.__context__)


REPLIES: list[Any] = [
    f"fine {MARK}",
    f'{{"name": "{MARK}"}}',
    f'{{"{MARK}": 1}}',
    Reply(f"{MARK} " * 9999),
    Reply(refusal=MARK),
    Reply(calls=[("f", MARK)]),
    {"choices": [], "error": {"code": 400, "message": ECHO}},
    *[Reply(ECHO, status=status, code="invalid_api_key") for status in (400, 401, 403, 404, 413, 422)],
    Reply(f"{ECHO}: context_length", status=400, code=MARK),
    Fault("429"),
    Fault("500"),
    Fault("cut"),
    Fault("garbage"),
    Fault("slow", seconds=60.0),
]


@pytest.mark.parametrize("reply", REPLIES, ids=lambda reply: type(reply).__name__)
async def test_they_are_shown_nowhere(reply: Any, heard: pytest.LogCaptureFixture) -> None:
    errors: list[BgTasksError] = []
    slow = isinstance(reply, Fault) and reply.kind == "slow"
    async with stage(ModelServer(answer=lambda _: reply), key=KEY, timeout=0.02 if slow else 10.0) as s:
        calls = (
            s.chat.chat(user(MARK), prompt_version="1", stop=[MARK]),
            s.chat.structured(user(MARK), Pet, prompt_version="1"),
            s.chat.turn(user(MARK), tools=TOOLS, prompt_version="1"),
            s.chat.embed([MARK]),
        )
        for call in calls:
            try:
                assert MARK not in repr(await call) or not isinstance(reply, Reply)
            except BgTasksError as error:
                errors.append(error)
        shown = [repr(s.chat), *map(told, errors)]
    shown += [record.getMessage() + str(record.args) for record in heard.records]
    shown += [record.exc_text or "" for record in heard.records]
    assert heard.records
    assert not [text for text in shown if MARK in text]


async def test_nor_when_a_call_is_cancelled(heard: pytest.LogCaptureFixture) -> None:
    async with stage(ModelServer(answer=lambda _: Fault("slow", seconds=60.0)), key=KEY) as s:
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(0.1):
                await s.chat.chat(user(MARK))
    assert MARK not in heard.text + told(caught.value)


def test_nor_in_the_repr_of_a_value() -> None:
    call = ToolCall("1", "f", MARK)
    values = [
        Endpoint("http://h/v1", SecretStr(KEY), "m"),
        call,
        Turn(MARK, (call,), Usage()),
        Kept("k", MARK, 1.0),
    ]
    assert MARK not in repr(values)


async def test_nor_in_what_older_versions_of_the_package_log(heard: pytest.LogCaptureFixture) -> None:
    async with stage(ModelServer(answer=lambda _: "So.")) as s:
        await s.chat.chat(user("Hello."))
    logging.getLogger("openai._base_client").debug("Request options: %s", {"json_data": MARK})
    logging.getLogger("openai._base_client").debug("something else")
    assert MARK not in heard.text
    assert "something else" in heard.text
