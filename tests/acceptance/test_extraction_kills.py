"""Extraction by processes that are killed or frozen at every await, while servers are killed in between.

Each of them is taken over by another process, and what is in the graph in the end is, to the byte, what one
process makes of the same messages that nothing happens to. A stand-in for the model counts what is paid
twice: at most the call that was in flight.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import batched, count
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.extraction_excuses import OF_TOOLS, ONE_CALL, report
from tests.acceptance.extraction_place import (
    Servers,
    Stumbles,
    conversation,
    exported,
    in_flight,
    servers,
)
from tests.acceptance.extraction_worker import PLACES, Plan, PlanOfKill
from tests.support.awaits import Place
from tests.support.nursery import Child, Nursery
from tests.support.waiting import PATIENCE_S

from bgtasks.connect import open_redis
from bgtasks.memory.dead import DeadLetters
from bgtasks.memory.messages import Message
from bgtasks.testing.model import ModelServer

pytestmark = [pytest.mark.real, pytest.mark.full, pytest.mark.timeout(300)]

WORKER = "tests.acceptance.extraction_worker"
AT_ONCE = 4
"""Processes that work at one time."""

TOGETHER = 12
"""Processes that are disturbed before servers are killed and all are taken over."""

POISON = (125,)
WAVERS = (121,)
DISTURBANCES: dict[str, Any] = {"echo": 3, "busy": True, "lapses": True}


@dataclass
class Site:
    """What the processes of a test share.

    Attributes:
        home: Where they write what they have to say.
        room: Lets so many of them work at a time.
    """

    servers: Servers
    nursery: Nursery
    home: Path
    room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    numbers: Iterator[int] = field(default_factory=count)

    @asynccontextmanager
    async def channel(self, messages: list[Message], **options: Any) -> AsyncIterator[Case]:
        """A channel of messages, a graph and a stand-in of its own."""
        name = f"c{next(self.numbers)}"
        async with ModelServer(answer=Stumbles(busy=1, slow=0.2)) as model:
            await self.servers.make(name)
            await self.servers.ingest(name, messages)
            graph = (self.servers.graph.url, name)
            said = str(self.home / f"{name}.said")
            yield Case(self, model, Plan(self.servers.redis.url, graph, model.url, name, said, **options))


@dataclass
class Case:
    """One channel, and who reads it."""

    site: Site
    model: ModelServer
    plan: Plan

    async def start(self, kill: PlanOfKill | None = None, **changes: Any) -> Child:
        plan = asdict(replace(self.plan, **changes))
        return await self.site.nursery.make({"plan": plan, "boundary": str(kill) if kill else None})

    async def work(self, kill: PlanOfKill | None = None, **changes: Any) -> int:
        """Have a process work to its end; its exit code."""
        async with self.site.room:
            return await (await self.start(kill, **changes)).end()

    def said(self) -> list[dict[str, Any]]:
        path = Path(self.plan.said)
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    async def graph(self, *, cursors: bool = False) -> str:
        return await exported(*self.plan.graph, cursors=cursors)

    async def dead(self) -> list[str]:
        client = open_redis(self.plan.redis)
        try:
            return [each.message_id for each in await DeadLetters(client, self.plan.namespace).list()]
        finally:
            await client.aclose()


@pytest.fixture
async def site(home: Path) -> AsyncIterator[Site]:
    async with servers() as both, Nursery(WORKER) as nursery:
        yield Site(both, nursery, home)


@dataclass(frozen=True)
class Reference:
    """What a process makes of the messages that nothing happens to.

    Attributes:
        boundaries: The boundaries that it came to, and how often.
    """

    graph: str
    calls: int
    dead: list[str]
    boundaries: dict[PlanOfKill, int]

    def kills(self, how: str = "kill") -> list[PlanOfKill]:
        """One before, and one during each innermost await: at the first, second or third time."""
        inner = {kill.boundary.chain for kill in self.boundaries if kill.boundary.when == "during"}
        return [
            replace(kill, occurrence=1 + number % min(times, 3), how=how)
            for number, (kill, times) in enumerate(self.boundaries.items())
            if kill.boundary.chain in inner
        ]


async def reference(site: Site, messages: list[Message], **options: Any) -> Reference:
    async with site.channel(messages, **options) as case:
        assert await case.work(counts=True) == 0
        counts = case.said()[-1]["counts"]
        assert case.model.tally.repeated == 0
        boundaries = {PlanOfKill.read(text): times for text, times in counts}
        return Reference(await case.graph(), case.model.tally.calls, await case.dead(), boundaries)


@dataclass
class Outcome:
    """What came of disturbing processes.

    Attributes:
        met: The places in which one was disturbed.
        late: Those that ended before they came to their boundary.
    """

    disturbed: int = 0
    late: list[PlanOfKill] = field(default_factory=list)
    restarts: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    may: int = 0
    met: set[Place] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        restarts = ", ".join(f"{name} {times}" for name, times in self.restarts.items())
        return (
            f"{self.disturbed} disturbed, {len(self.late)} too late; servers killed in between: {restarts}; "
            f"{self.repeated} calls paid twice of {self.may} in flight\n"
        )


RESTARTS = (("redis",), ("graph",), ("redis", "graph"), ())


async def disturb(
    site: Site, messages: list[Message], expected: Reference, kills: Sequence[PlanOfKill], **options: Any
) -> Outcome:
    """Disturb a process at each of these boundaries, have another go on, and compare the graphs."""
    outcome = Outcome()
    await _disturb(site, messages, expected, kills, outcome, options)
    early = [replace(kill, occurrence=1) for kill in outcome.late]
    await _disturb(site, messages, expected, early, outcome, options)
    return outcome


async def _disturb(
    site: Site,
    messages: list[Message],
    expected: Reference,
    kills: Sequence[PlanOfKill],
    outcome: Outcome,
    options: dict[str, Any],
) -> None:
    for number, some in enumerate(batched(kills, TOGETHER)):
        async with AsyncExitStack() as stack:
            cases = [await stack.enter_async_context(site.channel(messages, **options)) for _ in some]
            children = await asyncio.gather(*map(_disturbed, cases, some))
            site.servers.check()
            restarted = RESTARTS[number % len(RESTARTS)]
            await asyncio.to_thread(site.servers.restart, "redis" in restarted, "graph" in restarted)
            outcome.restarts[" and ".join(restarted) or "none"] += len(some)
            codes = await asyncio.gather(*(case.work(busy=False) for case in cases))
            for case, kill, child, code in zip(cases, some, children, codes, strict=True):
                await _judge(case, kill, child, code, expected, outcome)


async def _disturbed(case: Case, kill: PlanOfKill) -> Child:
    """A process that has been killed, stands still, or has ended before it came to that."""
    async with case.site.room:
        child = await case.start(kill)
        stopped: asyncio.Future[Any] = asyncio.create_task(child.stopped.wait(), name="stands still")
        either: set[asyncio.Future[Any]] = {stopped, child.ended}
        await asyncio.wait(either, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        assert child.stopped.is_set() or child.ended.done(), kill
        return child


async def _judge(
    case: Case, kill: PlanOfKill, child: Child, code: int, expected: Reference, outcome: Outcome
) -> None:
    where = str(kill.boundary)
    if any("at" in line for line in case.said()):
        outcome.disturbed += 1
        outcome.met |= set(kill.boundary.chain)
    else:
        outcome.late.append(kill)
    if code:
        outcome.wrong.append(f"{where}: who took over ended with {code}")
    graph = await case.graph()
    if graph != expected.graph:
        outcome.wrong.append(f"{where}: the graph differs")
    if kill.how == "stop":
        before = await case.graph(cursors=True)
        if child.stopped.is_set():
            child.wake()
        if await child.end():
            outcome.wrong.append(f"{where}: who woke ended with {child.ended.result()}")
        if await case.graph(cursors=True) != before:
            outcome.wrong.append(f"{where}: who woke has written")
    may = int(in_flight(kill.boundary, frozen=kill.how == "stop"))
    repeated = case.model.tally.repeated
    outcome.may, outcome.repeated = outcome.may + may, outcome.repeated + repeated
    if repeated > may:
        outcome.wrong.append(f"{where}: {repeated} calls were paid twice, {may} in flight")
    if (found := await case.dead()) != expected.dead:
        outcome.wrong.append(f"{where}: set aside are {found}")


async def every_await(site: Site, how: str, messages: list[Message], **options: Any) -> None:
    """Disturb at every await, or with tools at those that only they lead to; and say where that was."""
    agentic = bool(options.get("agentic"))
    expected = await reference(site, messages, **options)
    kills = [each for each in expected.kills(how) if not agentic or _with_tools(each)]
    outcome = await disturb(site, messages, expected, kills, **options)
    walked = [place for place in PLACES if not agentic or place.module in OF_TOOLS]
    said, missed = report(walked, outcome.met, {} if agentic else ONE_CALL)
    sys.stdout.write(f"{outcome}{said}")
    assert not outcome.wrong, "\n".join(outcome.wrong)
    assert not missed, f"not hit: {', '.join(map(str, missed))}"


def _with_tools(kill: PlanOfKill) -> bool:
    return any(place.module in OF_TOOLS for place in kill.boundary.chain)


class TestAtEveryAwait:
    async def test_killed(self, site: Site) -> None:
        await every_await(site, "kill", conversation(128, POISON, WAVERS), **DISTURBANCES)

    async def test_killed_while_a_model_works_with_tools(self, site: Site) -> None:
        await every_await(site, "kill", conversation(56), echo=2, busy=True, agentic=True)

    async def test_frozen_and_woken_when_another_has_finished(self, site: Site) -> None:
        await every_await(site, "stop", conversation(128, POISON, WAVERS), **DISTURBANCES)


FROZEN = {"in a call": ("during", "Transport._answered"), "before the write": ("before", "apply")}


class TestSeveralOnOneChannel:
    async def test_five_processes_apply_it_once_and_pay_once(self, site: Site) -> None:
        messages = conversation(200, POISON)
        expected = await reference(site, messages)
        async with site.channel(messages, lease=10.0) as case:
            children = [await case.start() for _ in range(5)]
            assert [await child.end() for child in children] == [0] * 5
            assert await case.graph() == expected.graph
            tally = case.model.tally
            assert (tally.calls, tally.repeated, tally.at_once) == (expected.calls, 0, 1)
            assert await case.dead() == expected.dead == ["m0125"]
            done = [line["done"] for line in case.said()]
            assert sum(each["messages"] for each in done) == len(messages) - 1

    @pytest.mark.parametrize("where", FROZEN)
    async def test_one_that_was_frozen_writes_nothing_when_it_wakes(self, site: Site, where: str) -> None:
        messages = conversation(200)
        expected = await reference(site, messages)
        [kill] = [
            replace(each, occurrence=2, how="stop")
            for each in expected.boundaries
            if (each.boundary.when, each.boundary.chain[-1].function) == FROZEN[where]
        ]
        async with site.channel(messages) as case:
            frozen = await _disturbed(case, kill)
            assert frozen.stopped.is_set()
            assert await case.work() == 0
            before = await case.graph(cursors=True)
            frozen.wake()
            assert await frozen.end() == 0
            assert await case.graph(cursors=True) == before
            assert await case.graph() == expected.graph
            assert case.model.tally.repeated <= (where == "in a call")
