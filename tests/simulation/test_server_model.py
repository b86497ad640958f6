"""The model of Redis answers the shipped scripts as fakeredis and a real Redis do."""

from __future__ import annotations

from itertools import count
from random import Random
from typing import Any

import pytest
from redis.commands.core import AsyncScript
from tests.support.servers import Backend

from bgtasks.contracts import Granted, Held, Renewal
from bgtasks.stores.lease_redis import RedisLeaseStore
from bgtasks.testing.simulation import SimulatedRedis

KEY = "sg:leader:supervisor"
OWNERS = ("a:1", "b:2", "c:3")
STEPS = 60


class DirectClient:
    """A client of the model with no network between."""

    def __init__(self, server: SimulatedRedis) -> None:
        self.connection_pool = self
        self._server = server

    def get_encoder(self) -> Any:
        return self

    def encode(self, value: str) -> bytes:
        return value.encode()

    def register_script(self, body: str) -> AsyncScript:
        return AsyncScript(self, body)  # type: ignore[arg-type]

    async def evalsha(self, sha: str, count: int, *arguments: Any) -> Any:
        return self._server.evalsha(sha, count, *arguments)

    async def script_load(self, body: str | bytes) -> str:
        return self._server.script_load(body.decode() if isinstance(body, bytes) else body)

    async def delete(self, key: str) -> None:
        self._server.evict(key)

    async def flushall(self) -> None:
        self._server.flush()

    async def script_flush(self) -> None:
        self._server.flush_scripts()


def shown(answer: Any, tokens: dict[int, int]) -> object:
    """An answer without what differs from run to run: instants, and all of a token but its place in order."""

    def order(token: int) -> int:
        return tokens.setdefault(token, len(tokens)) if token else -1

    if isinstance(answer, Granted):
        return "granted", order(answer.token), answer.ended, round(answer.quarantine / 100)
    if isinstance(answer, Held):
        return "held", answer.owner, order(answer.token), round((answer.remaining or 0) / 100)
    if isinstance(answer, Renewal):
        return "renewed", answer.kept, answer.resign
    return order(answer) if isinstance(answer, int) and not isinstance(answer, bool) else answer


async def history(client: Any, store: RedisLeaseStore, seed: int) -> list[object]:
    """What a random sequence of calls and mishaps answers."""
    random, tokens, said = Random(seed), {0: -1}, list[object]()
    for _ in range(STEPS):
        owner, lease = random.choice(OWNERS), random.choice((1000.0, 3000.0))
        what = random.choice(
            (
                "acquire",
                "acquire",
                "renew",
                "late",
                "release",
                "look",
                "mint",
                "resign",
                "evict",
                "flush",
                "forget",
            )
        )
        answer: Any = None
        if what == "acquire":
            answer = await store.acquire(owner, lease, 5000.0)
        elif what in ("renew", "late"):
            answer = await store.renew(owner, lease, 9e9 if what == "renew" else 1e9, random.random() < 0.5)
        elif what == "release":
            answer = await store.release(owner, random.random() < 0.5)
        elif what == "look":
            answer = await store.look()
        elif what == "mint":
            answer = await store.mint(owner, max(tokens))
        elif what == "resign":
            await store.ask_to_resign(owner)
        elif what == "evict":
            await client.delete(random.choice((KEY, f"{{{KEY}}}:last", f"{{{KEY}}}:fence")))
        elif what == "flush" and random.random() < 0.3:
            await client.flushall()
        elif what == "forget":
            await client.script_flush()
        said.append((what, owner, shown(answer, tokens)))
    return said


@pytest.mark.real
@pytest.mark.parametrize("seed", range(6))
async def test_the_same_calls_have_the_same_answers(backend: Backend, seed: int) -> None:
    real = await history(backend.client, RedisLeaseStore(backend.client, KEY, client=backend.client), seed)
    passing = count()
    client: Any = DirectClient(SimulatedRedis(lambda: next(passing) / 1000, "1" * 40))
    assert await history(client, RedisLeaseStore(client, KEY, client=client), seed) == real
