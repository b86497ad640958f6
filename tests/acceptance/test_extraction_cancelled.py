"""Extraction cancelled at every await, one after the other: the graph is as if nothing had happened."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from uuid import uuid4

import pytest
from tests.acceptance.extraction_excuses import OF_TOOLS, ONE_CALL, report
from tests.acceptance.extraction_place import Stumbles, conversation, exported, in_flight
from tests.acceptance.extraction_worker import CHANNEL, MODULES, PLACES, Plan, Tools, finish
from tests.support.boundaries import Boundary, monitored
from tests.support.servers import falkordb

from bgtasks.graph import KnowledgeGraph
from bgtasks.memory.dead import DeadLetters
from bgtasks.memory.extraction import Extractor
from bgtasks.testing.model import ModelServer

__all__ = ["falkordb"]

pytestmark = pytest.mark.real

LEASE_S = 0.15


async def extracted(url: str, *, cancelled: bool, agentic: bool) -> tuple[str, int, dict[Boundary, None]]:
    """The graph in the end, the calls that were paid twice, and where the extraction was cancelled."""
    name = f"t{uuid4().hex[:8]}"

    async def first_try() -> bool:
        plan = await extractor.redis.get(f"{name}:chan:{CHANNEL}:plan")
        return plan is not None and b'"failures": 0' in plan

    answer = Stumbles(busy=12, slow=0.1, wavers=first_try)
    async with Tools() as tools, ModelServer(answer=answer) as model:
        echo = 3 if agentic else 5
        plan = Plan(url, (url, name), model.url, name, agentic=agentic, echo=echo, lease=LEASE_S)
        extractor = await tools.of(plan)
        graph = KnowledgeGraph(url, name)
        tools.push_async_callback(graph.aclose)
        tools.push_async_callback(graph.delete)
        poison, wavers = ((), ()) if agentic else ((165,), (161, 162))
        await extractor.cache.ingest(CHANNEL, conversation(88 if agentic else 168, poison, wavers))
        at = await _cancelled_everywhere(extractor) if cancelled else {}
        await finish(extractor)
        dead = await DeadLetters(extractor.redis, name).list()
        assert [each.message_id for each in dead] == [f"m{each:04d}" for each in poison]
        return await exported(url, name), model.tally.repeated, at


async def _cancelled_everywhere(extractor: Extractor) -> dict[Boundary, None]:
    """Extract until nobody cancels any more: each time at the first moment at which it was not yet."""
    done: dict[Boundary, None] = {}
    task: asyncio.Task[object] | None = None
    loop = asyncio.get_running_loop()

    def step(boundary: Boundary) -> None:
        nonlocal task
        if boundary.when == "during" and task is not None and boundary not in done:
            done[boundary] = None
            loop.call_soon(task.cancel)
            task = None

    with monitored(PLACES, MODULES, step):
        while True:
            before = len(done)
            mine = task = asyncio.create_task(finish(extractor, lapses=True), name="bgtasks tests: extracts")
            with suppress(asyncio.CancelledError):
                await mine
            if len(done) == before:
                return done
            task = None


@pytest.mark.parametrize(
    "agentic",
    [pytest.param(False, id="one call"), pytest.param(True, id="with tools", marks=pytest.mark.full)],
)
async def test_cancelled_at_every_await(falkordb: str, *, agentic: bool) -> None:
    expected, _, _ = await extracted(falkordb, cancelled=False, agentic=agentic)
    found, repeated, at = await extracted(falkordb, cancelled=True, agentic=agentic)

    met = {place for boundary in at for place in boundary.chain}
    walked = [place for place in PLACES if not agentic or place.module in OF_TOOLS]
    said, missed = report(walked, met, {} if agentic else ONE_CALL)
    may = sum(map(in_flight, at))
    sys.stdout.write(f"{len(at)} cancellations, {repeated} calls paid twice of {may} in flight\n{said}")
    assert found == expected
    assert repeated <= may
    assert not missed, f"not hit: {', '.join(map(str, missed))}"
