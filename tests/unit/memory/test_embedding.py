"""When vectors are made: on virtual time, with a model and a graph that do as they are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from bgtasks.errors import OverBudget, ResourceUnavailable
from bgtasks.memory.embedding import PROBE, Embeddings
from bgtasks.memory.embedding_queue import EmbeddingQueue
from bgtasks.memory.messages import MessageCache
from bgtasks.testing import ScriptedGraph, VirtualClock, virtual_time


@dataclass
class Model:
    """Makes the same vector of everything.

    Attributes:
        refuses: What it raises instead, while it is set.
        asked: The batches, but for the probe.
    """

    refuses: Exception | None = None
    asked: list[list[str]] = field(default_factory=list)
    embedding_model: str | None = "rules"

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        if [*texts] != [PROBE]:
            self.asked.append([*texts])
        if self.refuses is not None:
            raise self.refuses
        return [[1.0, 0.0]] * len(texts)


@asynccontextmanager
async def running(redis: Any, model: Model, *waiting: str) -> AsyncIterator[asyncio.Task[None]]:
    """A worker at work on entities of these names, one after the other."""
    graph = ScriptedGraph()
    graph.on("RETURN s.dim", [[2, "rules", True]])
    graph.on("RETURN kept", [[1]])
    graph.on("RETURN e.id", *([[f"person:{name}", name]] for name in waiting), [])
    cache, queue = MessageCache(redis, "test"), EmbeddingQueue(redis, "test")
    work = Embeddings(redis, graph, model, cache, queue, "node").run()
    task = asyncio.create_task(work, name="bgtasks: makes vectors")
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@virtual_time
async def test_what_waits_is_done_at_once_and_then_it_looks_now_and_then(
    virtual_clock: VirtualClock, virtual_redis: Any
) -> None:
    model = Model()
    async with running(virtual_redis, model, "Ada", "Ben") as task:
        await virtual_clock.settle()
        assert model.asked == [["Ada"], ["Ben"]]
        assert virtual_clock.monotonic() == 0
        await virtual_clock.advance("1m")
        assert not task.done()
    assert len(model.asked) == 2


@virtual_time
async def test_over_the_budget_it_rests_says_so_and_goes_on(
    virtual_clock: VirtualClock, virtual_redis: Any, caplog: pytest.LogCaptureFixture
) -> None:
    model = Model(OverBudget("no more than 100 tokens today"))
    async with running(virtual_redis, model, "Ada", "Ada", "Ada"):
        await virtual_clock.advance("29m")
        assert caplog.messages == ["making vectors rests for 900 s: no more than 100 tokens today"] * 2
        model.refuses = None
        await virtual_clock.advance("2m")
    assert model.asked == [["Ada"]]


@virtual_time
async def test_an_outage_ends_the_run_for_the_scheduler_to_begin_another(
    virtual_clock: VirtualClock, virtual_redis: Any
) -> None:
    model = Model(ResourceUnavailable("openrouter", "no answer"))
    async with running(virtual_redis, model, "Ada") as task:
        await virtual_clock.settle()
        assert isinstance(task.exception(), ResourceUnavailable)


@virtual_time
async def test_a_cancellation_at_any_moment_leaves_the_turn_to_the_next(
    virtual_clock: VirtualClock, virtual_redis: Any
) -> None:
    for steps in range(40):
        async with running(virtual_redis, Model(), "Ada", "Ben"):
            for _ in range(steps):
                await asyncio.sleep(0)
        assert await virtual_redis.exists("test:embed:entities") == 0, steps
