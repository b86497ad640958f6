"""Extraction with a model that fails at a share of all calls: nothing is lost, and nothing counted twice.

An answer that cannot be used has its batch halved, so the same messages are applied in other batches than
without faults. What is known then is the same; only how strong it is differs in the last digits, since
evidence is folded in another order, and fading and joining do not commute (see `bgtasks.graph.weight`).
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from tests.acceptance.extraction_place import MARKER, Stumbles, conversation, exported
from tests.acceptance.extraction_worker import CHANNEL, Plan, Tools, finish
from tests.support.servers import falkordb

from bgtasks.graph import KnowledgeGraph
from bgtasks.llm.budget import Budget, Limits
from bgtasks.memory.dead import DeadLetters
from bgtasks.testing.model import Fault, Faults, ModelServer

__all__ = ["falkordb"]

pytestmark = pytest.mark.real

POISON = (17, 61, 62, 125)
KINDS = (
    Fault("429"),
    Fault("429", retry_after=0.01),
    Fault("500"),
    Fault("503"),
    Fault("slow", seconds=0.02),
    Fault("cut"),
    Fault("garbage"),
    Fault("not json"),
    Fault("schema"),
    Fault("runaway"),
    Fault("empty"),
)
TOLERANCE = 1e-3
"""How far weights may be apart: messages of some hours, and a half-life of 60 days."""


@dataclass
class Read:
    """What came of a conversation.

    Attributes:
        faults: Calls that were given a fault by chance.
        reserved: Tokens that are still set aside for calls.
    """

    graph: dict[str, Any]
    dead: list[str]
    faults: int
    calls: int
    reserved: int


async def read(url: str, share: float, seed: int) -> Read:
    """Have a conversation read, however often that has to be tried."""
    name = f"t{uuid4().hex[:8]}"
    faults = Faults(seed, dict.fromkeys(KINDS, share / len(KINDS)))
    async with Tools() as tools, ModelServer(answer=Stumbles(), faults=faults) as model:
        extractor = await tools.of(Plan(url, (url, name), model.url, name))
        graph = KnowledgeGraph(url, name)
        tools.push_async_callback(graph.aclose)
        tools.push_async_callback(graph.delete)
        await extractor.cache.ingest(CHANNEL, conversation(160, POISON))
        await finish(extractor)
        letters = await DeadLetters(extractor.redis, name).list()
        assert not [each for each in letters if MARKER in each.why]
        spent = await Budget(extractor.redis, Limits(), name).spent()
        return Read(
            json.loads(await exported(url, name)),
            sorted(each.message_id for each in letters),
            sum(faults.of(call.number) is not None for call in model.calls),
            len(model.calls),
            sum(each.reserved_tokens for each in spent),
        )


def facts(read: Read) -> dict[tuple[str, str, str], dict[str, Any]]:
    return {(each["s"], each["p"], each["o"]): each for each in read.graph["facts"]}


def known(read: Read) -> tuple[Any, Any]:
    """What is known, but for how strong it is and when an entity was seen, which is by the batch."""
    leave = {"w", "dies_at", "created", "seen"}

    def without(record: dict[str, Any]) -> dict[str, Any]:
        found = {name: value for name, value in record.items() if name not in leave}
        return {**found, "src": sorted(found.get("src", []))}

    return [without(each) for each in read.graph["entities"]], [without(each) for each in read.graph["facts"]]


def check(found: Read, expected: Read) -> None:
    assert known(found) == known(expected)
    for key, fact in facts(found).items():
        assert fact["w"] == pytest.approx(facts(expected)[key]["w"], rel=TOLERANCE), key
    assert found.dead == expected.dead == [f"m{each:04d}" for each in POISON]
    assert found.reserved == 0


@pytest.mark.parametrize("share", [0.1, 0.3])
async def test_what_fails_now_and_then_loses_nothing(falkordb: str, share: float) -> None:
    expected = await read(falkordb, 0.0, 0)
    found = await read(falkordb, share, 1)
    assert found.faults >= share / 2 * found.calls
    check(found, expected)


@pytest.mark.full
@pytest.mark.timeout(300)
@pytest.mark.parametrize("share", [0.1, 0.3])
async def test_whichever_calls_they_are(falkordb: str, share: float) -> None:
    expected = await read(falkordb, 0.0, 0)
    calls = faults = 0
    for seed in range(2, 22):
        found = await read(falkordb, share, seed)
        check(found, expected)
        calls, faults = calls + found.calls, faults + found.faults
    sys.stdout.write(f"20 conversations: {faults} faults in {calls} calls\n")
