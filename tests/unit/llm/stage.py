"""A client before a stand-in for a model, with a budget and kept answers in a fake Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

from fakeredis import FakeAsyncRedis
from pydantic import BaseModel, SecretStr

from bgtasks.llm import Endpoint, OpenAIChat
from bgtasks.llm.answers import Answers
from bgtasks.llm.budget import ALL, Budget, Limits, Spent
from bgtasks.llm.types import PURPOSES
from bgtasks.testing import VirtualClock
from bgtasks.testing.model import ModelServer

__all__ = ["HELLO", "Pet", "Stage", "stage", "user"]


class Pet(BaseModel):
    """What a model is to fill in."""

    name: str
    legs: int


def user(text: str) -> list[Mapping[str, Any]]:
    """A conversation of one message."""
    return [{"role": "user", "content": text}]


HELLO = user("Hello.")


@dataclass
class Stage:
    """What a test plays with.

    Attributes:
        slept: For how long the client waited between attempts: nobody really does.
    """

    model: ModelServer
    chat: OpenAIChat
    budget: Budget
    clock: VirtualClock
    slept: list[float] = field(default_factory=list)

    async def spent(self) -> Spent:
        """All together, today."""
        return next(row for row in await self.budget.spent() if row.task == ALL)

    @property
    def statuses(self) -> list[int]:
        return [call.status for call in self.model.calls]


@asynccontextmanager
async def stage(
    model: ModelServer | None = None,
    *,
    limits: Limits | None = None,
    key: str = "sk-test",
    name: str = "some/model",
    timeout: float = 10.0,
    max_tokens: int | None = None,
    concurrency: int = 8,
    url: str | None = None,
) -> AsyncIterator[Stage]:
    """A stand-in and a client for it; both are closed afterwards."""
    clock, slept = VirtualClock(), list[float]()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.stall(seconds)
        await asyncio.sleep(0)

    async with model or ModelServer() as server, FakeAsyncRedis() as redis:
        budget = Budget(redis, limits or Limits(), "test", clock=clock)
        chat = OpenAIChat(
            {purpose: Endpoint(url or server.url, SecretStr(key), name) for purpose in PURPOSES},
            budget=budget,
            answers=Answers(redis, "test"),
            timeout=timeout,
            max_tokens=max_tokens,
            concurrency=concurrency,
            clock=clock,
            random=Random(0),
            sleep=sleep,
        )
        try:
            yield Stage(server, chat, budget, clock, slept)
        finally:
            await chat.aclose()
