"""When vectors are made: on virtual time, with a model and a graph that do as they are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from redis.exceptions import ResponseError

from bgtasks.errors import BadAnswer, OverBudget, ResourceUnavailable
from bgtasks.llm.embeddings import batches
from bgtasks.memory.embedding import BATCH, PROBE, Embeddings
from bgtasks.memory.embedding_queue import EmbeddingQueue
from bgtasks.memory.messages import MessageCache
from bgtasks.testing import ScriptedGraph, VirtualClock, virtual_time


@dataclass
class Model:
    """Makes the same vector of everything.

    Attributes:
        refuses: What it raises instead, while it is set.
        takes_not: A text that it cannot take.
        asked: The batches, but for the probe.
    """

    refuses: BaseException | None = None
    takes_not: str | None = None
    asked: list[list[str]] = field(default_factory=list)
    embedding_model: str | None = "rules"

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        if [*texts] != [PROBE]:
            self.asked.append([*texts])
        if self.refuses is not None:
            raise self.refuses
        if self.takes_not in texts:
            raise BadAnswer("it is too long")
        return [[1.0, 0.0]] * len(texts)


def graph_with(*waiting: Any) -> ScriptedGraph:
    """A graph whose answers to which entities wait are these, one after the other."""
    graph = ScriptedGraph()
    graph.on("RETURN s.dim", [[2, "rules", True]])
    graph.on("RETURN kept", [[1]])
    graph.on("RETURN e.id", *waiting)
    return graph


def worker(redis: Any, graph: ScriptedGraph, model: Model) -> Embeddings:
    cache, queue = MessageCache(redis, "test"), EmbeddingQueue(redis, "test")
    return Embeddings(redis, graph, model, cache, queue, "node")


@asynccontextmanager
async def running(redis: Any, model: Model, *waiting: str) -> AsyncIterator[asyncio.Task[None]]:
    """A worker at work on entities of these names, one after the other."""
    graph = graph_with(*([[f"person:{name}", name]] for name in waiting), [])
    task = asyncio.create_task(worker(redis, graph, model).run(), name="bgtasks: makes vectors")
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
async def test_what_was_made_before_the_budget_ended_is_stored(virtual_redis: Any) -> None:
    def waiting(params: Mapping[str, Any]) -> list[list[str]]:
        return [[f"person:{number}", f"Ada {number}"] for number in range(100)][: params["limit"]]

    graph, model = graph_with(waiting), Model()
    work = worker(virtual_redis, graph, model)
    assert await work.step() == BATCH == max(len(batch) for batch in batches(["word"] * 100))

    model.refuses = OverBudget("no more than 100 tokens today")
    with pytest.raises(OverBudget):
        await work.step()

    stored = [row["of"] for _, params in graph.queries for row in params.get("rows", ()) if "v" in row]
    assert stored == [f"person:{number}" for number in range(BATCH)]


@virtual_time
async def test_what_was_given_up_is_forgotten_once_it_waits_no_more(virtual_redis: Any) -> None:
    given_up, changed = [["person:ada", "Ada"]], [["person:ada", "Ada Miller"]]
    graph, model = graph_with(given_up, given_up, changed, []), Model(takes_not="Ada")
    work = worker(virtual_redis, graph, model)

    assert [await work.step() for _ in range(4)] == [0, 0, 1, 0]

    limits = [params["limit"] for cypher, params in graph.queries if "RETURN e.id" in cypher]
    assert limits == [BATCH, BATCH + 1, BATCH + 1, BATCH]


@virtual_time
async def test_a_server_that_may_not_write_does_not_hide_a_cancellation(
    virtual_redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(**_: Any) -> None:
        raise ResponseError(
            "MISCONF Redis is configured to save RDB snapshots, but it cannot persist on disk"
        )

    model = Model(asyncio.CancelledError())
    work = worker(virtual_redis, graph_with([["person:ada", "Ada"]]), model)
    monkeypatch.setattr(work, "_end_turn", refused)

    with pytest.raises(asyncio.CancelledError):
        await work.step()


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
