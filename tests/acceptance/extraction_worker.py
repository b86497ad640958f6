"""A process that reads one channel into the graph, and may end, or stand still, at a chosen await.

    BGT_PLAN=PLAN [BGT_BOUNDARY=BOUNDARY] python -m tests.acceptance.extraction_worker

The plan is a `Plan` as JSON. A boundary is `during/3>17>40/2/kill`: the second time that the innermost of
these places, by their numbers, is waited in, the process sends itself SIGKILL; with `stop` SIGSTOP. What it
has to say are lines of JSON in a file. Without a plan it is a nursery: it reads `{"plan": …, "boundary": …}`
line by line, and makes a process of each by a fork, which spares an interpreter's start and the imports.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, nullcontext
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr
from tests.support.awaits import Places
from tests.support.boundaries import Boundary, monitored
from tests.support.nursery import tend

from bgtasks.connect import open_redis
from bgtasks.errors import ResourceUnavailable
from bgtasks.graph import KnowledgeGraph
from bgtasks.llm.answers import Answers
from bgtasks.llm.budget import Budget, Limits
from bgtasks.llm.client import OpenAIChat
from bgtasks.llm.types import Endpoint
from bgtasks.memory.extraction import Applied, Extractor, OneCall, Progress
from bgtasks.memory.extraction.agentic import Agentic
from bgtasks.memory.extraction.batch import Batch
from bgtasks.memory.messages import MessageCache

__all__ = ["CHANNEL", "MODULES", "PLACES", "Plan", "PlanOfKill", "Tools", "finish"]

CHANNEL = "allotment"

_EXTRACTION = ("engine", "reading", "lease", "known", "one_call", "agentic", "toolbox")
_CALLS = ("ask", "client", "answering", "calls", "limiter", "transport", "budget", "answers")
MODULES = (
    *(f"memory/extraction/{name}.py" for name in _EXTRACTION),
    "graph/apply.py",
    *(f"llm/{name}.py" for name in _CALLS),
)

PLACES = Places(MODULES)
LIST = list(PLACES)


@dataclass(frozen=True)
class Plan:
    """What one process is to do.

    Attributes:
        redis: The Redis with the messages.
        graph: The server of the graph, and its name.
        model: The URL of the stand-in.
        said: The file for what it has to say.
        agentic: Read with tools.
        echo: Of the queries that move the cursor, each that often is sent twice, as after a lost answer.
        busy: Somebody else has the channel at first.
        lapses: The lease runs out after every other batch.
        counts: Say how often each boundary was come to.
    """

    redis: str
    graph: tuple[str, str]
    model: str
    namespace: str
    said: str = ""
    agentic: bool = False
    echo: int = 0
    busy: bool = False
    lapses: bool = False
    counts: bool = False
    lease: float = 0.5


class Echo:
    """A graph which each `every`-th query that moves a cursor reaches twice; none does with 0."""

    def __init__(self, graph: KnowledgeGraph, every: int) -> None:
        self._graph = graph
        self._every = every
        self._count = 0

    async def query(self, cypher: str, params: Mapping[str, Any] | None = None) -> Sequence[Sequence[Any]]:
        if self._every and params and "expected" in params:
            self._count += 1
            if self._count % self._every == 0:
                await self._graph.query(cypher, params)
        return await self._graph.query(cypher, params)

    async def constrain(self, label: str, name: str) -> None:
        await self._graph.constrain(label, name)


class Tools(AsyncExitStack):
    """The extractor of a plan, and what it works with; closed when the block ends."""

    async def of(self, plan: Plan) -> Extractor:
        redis = open_redis(plan.redis)
        self.push_async_callback(redis.aclose)
        graph = KnowledgeGraph(*plan.graph)
        self.push_async_callback(graph.aclose)
        client = OpenAIChat(
            {"extraction": Endpoint(plan.model, SecretStr("any"), "rules")},
            budget=Budget(redis, Limits(day_tokens=100_000_000), plan.namespace),
            answers=Answers(redis, plan.namespace),
            timeout=20.0,
            sleep=_nap,
        )
        self.push_async_callback(client.aclose)
        seen = Echo(graph, plan.echo)
        reader = Agentic(client, graph) if plan.agentic else OneCall(client)
        cache = MessageCache(redis, plan.namespace)
        return Extractor(redis, cache, seen, reader, lease=plan.lease)


async def _nap(seconds: float) -> None:
    """A wait between attempts, cut short: the stand-in is not tired."""
    await asyncio.sleep(min(seconds, 0.01))


async def finish(
    extractor: Extractor, *, taken: bool = False, lapses: bool = False, tries: int = 400
) -> Progress:
    """Extract until nothing is left: while another has the lease, and when a server was away, once more.

    Args:
        taken: The lease is somebody's who gives it up once it was in the way.
        lapses: It runs out after every other batch.
    """
    total = Progress()
    lease = f"{extractor.cache.namespace}:chan:{CHANNEL}:lease"
    applied = itertools.count(1)

    async def watch(step: Batch | Applied) -> None:
        await asyncio.sleep(0)
        if lapses and isinstance(step, Applied) and next(applied) % 2:
            await extractor.redis.delete(lease)

    for _ in range(tries):
        try:
            read = await extractor.extract(CHANNEL, watch=watch)
        except ResourceUnavailable:
            await asyncio.sleep(0.05)
            continue
        total += read
        if not read.batches and not read.busy:
            return total
        if read.busy:
            if taken:
                await extractor.redis.delete(lease)
            await asyncio.sleep(0.02)
    raise AssertionError(f"there was no end to it in {tries} tries: {total}")


@dataclass(frozen=True)
class PlanOfKill:
    """The boundary at which a process ends itself, or stands still."""

    boundary: Boundary
    occurrence: int = 1
    how: str = "kill"

    def __str__(self) -> str:
        numbers = ">".join(str(LIST.index(place)) for place in self.boundary.chain)
        return f"{self.boundary.when}/{numbers}/{self.occurrence}/{self.how}"

    @classmethod
    def read(cls, text: str) -> PlanOfKill:
        """What `str` wrote."""
        when, numbers, occurrence, how = text.split("/")
        chain = tuple(LIST[int(each)] for each in numbers.split(">"))
        return cls(Boundary(when, chain), int(occurrence), how)  # type: ignore[arg-type]


class Worker:
    """One process."""

    def __init__(self, plan: Plan, kill: PlanOfKill | None) -> None:
        self._plan = plan
        self._kill = kill
        self._met: Counter[Boundary] = Counter()

    async def run(self) -> None:
        watched = self._kill is not None or self._plan.counts
        async with Tools() as tools:
            extractor = await tools.of(self._plan)
            if self._plan.busy:
                key = f"{self._plan.namespace}:chan:{CHANNEL}:lease"
                await extractor.redis.set(key, "somebody", px=600)
            with monitored(PLACES, MODULES, self._step) if watched else nullcontext():
                total = await finish(extractor, taken=self._plan.busy, lapses=self._plan.lapses)
        counts = [[str(PlanOfKill(each)), count] for each, count in self._met.items()]
        self._say(done=total.counts, counts=counts if self._plan.counts else [])

    def _step(self, boundary: Boundary) -> None:
        self._met[boundary] += 1
        kill = self._kill
        if kill is not None and boundary == kill.boundary and self._met[boundary] == kill.occurrence:
            self._say(at=str(boundary))
            os.kill(os.getpid(), signal.SIGKILL if kill.how == "kill" else signal.SIGSTOP)

    def _say(self, **what: Any) -> None:
        line = json.dumps({"pid": os.getpid(), **what}) + "\n"
        file = os.open(self._plan.said, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(file, line.encode())
        os.close(file)


def _work(order: Mapping[str, Any]) -> None:
    given = dict(order["plan"])
    given["graph"] = tuple(given["graph"])
    boundary = order.get("boundary")
    asyncio.run(Worker(Plan(**given), PlanOfKill.read(boundary) if boundary else None).run())


def _warm() -> None:
    """Import what is imported where it is first used."""
    import falkordb.asyncio
    import openai

    client = openai.AsyncOpenAI(api_key="none", base_url="http://127.0.0.1:1")
    _ = client.chat.completions, client.embeddings, falkordb.asyncio.FalkorDB


if __name__ == "__main__":
    if "BGT_PLAN" in os.environ:
        _work({"plan": json.loads(os.environ["BGT_PLAN"]), "boundary": os.environ.get("BGT_BOUNDARY")})
    else:
        _warm()
        tend(_work)
