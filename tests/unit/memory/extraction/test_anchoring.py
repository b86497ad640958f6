"""Reading as conversations go on, on virtual time: when a channel's turn comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from tests.unit.memory.extraction.stand_ins import CHANNEL, CountingGraph, Stand, ToldReader, said

from bgtasks.errors import BadAnswer, OverBudget, ResourceUnavailable, UnsuitableServer
from bgtasks.memory.extraction.anchoring import Anchoring
from bgtasks.memory.extraction.batch import MESSAGES, Batch
from bgtasks.memory.extraction.lease import BLAMES
from bgtasks.memory.extraction.rounds import BATCHES, HELLO, STOP
from bgtasks.memory.messages import MessageCache
from bgtasks.testing import VirtualClock, virtual_redis, virtual_time

LOOK = 2.0
QUIET = 20.0
LONGEST = 300.0


class Played(Stand):
    """An engine that is being anchored."""

    clock: VirtualClock
    task: asyncio.Task[None]
    read_at: list[float]

    async def say(self, number: int, channel: str = CHANNEL) -> None:
        await self.cache.ingest(channel, [said(number, channel=channel)])

    async def chatter(self, seconds: float, every: float = 10.0, first: int = 100) -> None:
        """Somebody says something again and again."""
        for number in range(round(seconds / every)):
            await self.say(first + number)
            await self.clock.advance(every)


@asynccontextmanager
async def anchored(clock: VirtualClock, **options: Any) -> AsyncIterator[Played]:
    """`Anchoring` at work until the block ends."""
    with virtual_redis(clock) as redis:
        played = Played(redis, MessageCache(redis, "test"), ToldReader(), CountingGraph())
        played.clock, played.read_at = clock, []

        async def note(_: Batch) -> None:
            played.read_at.append(clock.monotonic())

        played.reader.before = note
        work = Anchoring(played.extractor_for(played.graph, clock=clock), played.cache, clock, **options)
        played.task = asyncio.create_task(work.run(), name="anchoring, in a test")
        try:
            yield played
        finally:
            played.task.cancel()
            await asyncio.wait({played.task})


class TestWhenAChannelIsRead:
    @virtual_time
    async def test_once_it_has_been_quiet_for_a_while(self, virtual_clock: VirtualClock) -> None:
        async with anchored(virtual_clock) as played:
            await played.say(1)
            await played.clock.advance(15)
            await played.say(2)
            await played.clock.advance(19)
            assert played.read_at == []

            await played.clock.advance(10)

            assert played.reader.reads == [["m1", "m2"]]
            [at] = played.read_at
            assert 15 + QUIET <= at <= 15 + QUIET + 2 * LOOK

    @virtual_time
    async def test_after_the_longest_wait_even_if_it_never_is(self, virtual_clock: VirtualClock) -> None:
        async with anchored(virtual_clock) as played:
            await played.chatter(680)

            assert len(played.read_at) == 2
            for earlier, later in pairwise([0, *played.read_at]):
                assert LONGEST <= later - earlier <= LONGEST + 10 + 2 * LOOK
            await played.clock.advance(QUIET + 2 * LOOK)
            assert await played.at_end()
            assert sorted(played.graph.sources) == sorted(f"m{100 + number}" for number in range(68))

    @virtual_time
    async def test_each_on_its_own(self, virtual_clock: VirtualClock) -> None:
        async with anchored(virtual_clock) as played:
            await played.say(1, "lab")
            await played.chatter(60)

            assert played.reader.reads == [["m1"]]

    @virtual_time
    async def test_a_channel_that_is_new_is_found_by_the_next_scan(self, virtual_clock: VirtualClock) -> None:
        async with anchored(virtual_clock) as played:
            await played.clock.advance(30)
            await played.say(1, "odd: *[x]?")

            await played.clock.advance(30 + QUIET + 2 * LOOK)

            assert played.reader.reads == [["m1"]]
            assert played.read_at[0] >= 60 + QUIET

    @virtual_time
    async def test_what_was_there_before_it_began_is_read_too(self, virtual_clock: VirtualClock) -> None:
        async with anchored(virtual_clock) as played:
            for number in range(50):
                await played.say(number)

            await played.clock.advance(QUIET + 2 * LOOK)

            assert [len(ids) for ids in played.reader.reads] == [40, 10]


class TestWhatIsReadOnce:
    @virtual_time
    async def test_nothing_is_read_twice(self, virtual_clock: VirtualClock) -> None:
        async with anchored(virtual_clock) as played:
            await played.say(1)
            await played.clock.advance(400)
            await played.say(2)
            await played.clock.advance(400)

            assert played.reader.reads == [["m1"], ["m2"]]

    @virtual_time
    async def test_what_a_periodic_task_has_read_is_passed_over(self, virtual_clock: VirtualClock) -> None:
        async with anchored(virtual_clock) as played:
            await played.say(1)
            await played.extractor.extract(CHANNEL)

            await played.clock.advance(600)

            assert played.reader.reads == [["m1"]]

    @virtual_time
    async def test_what_comes_while_it_reads_is_not_forgotten(self, virtual_clock: VirtualClock) -> None:
        async with anchored(virtual_clock) as played:

            async def slow(_: Batch) -> None:
                await asyncio.sleep(60)

            played.reader.before = slow
            await played.say(1)
            await played.clock.advance(QUIET + 2 * LOOK)
            await played.say(2)

            await played.clock.advance(600)

            assert played.reader.reads == [["m1"], ["m2"]]

    @virtual_time
    async def test_an_edit_is_news_and_so_is_a_tombstone_but_nothing_is_read_of_it(
        self, virtual_clock: VirtualClock
    ) -> None:
        async with anchored(virtual_clock) as played:
            await played.say(1)
            await played.clock.advance(60)
            await played.cache.edit(CHANNEL, "m1", "Goodbye.")
            await played.clock.advance(60)
            await played.cache.delete(CHANNEL, "m1")
            await played.clock.advance(60)

            assert [batch.messages[0].text for batch in played.reader.batches] == ["Hello.", "Goodbye."]
            assert await played.at_end()


class TestWhatKeepsItFromReading:
    @virtual_time
    async def test_a_channel_that_another_reads_is_tried_again(self, virtual_clock: VirtualClock) -> None:
        async with anchored(virtual_clock) as played:
            lease = f"test:chan:{CHANNEL}:lease"
            await played.redis.set(lease, "another's", px=100_000)
            await played.say(1)

            await played.clock.advance(99)
            assert played.reader.reads == []

            await played.clock.advance(1 + QUIET + 2 * LOOK)
            assert played.reader.reads == [["m1"]]

    @virtual_time
    async def test_over_budget_it_rests_and_goes_on_with_all(
        self, virtual_clock: VirtualClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with anchored(virtual_clock, rest=900.0) as played:
            tries: list[float] = []

            async def over(_: Batch) -> None:
                tries.append(virtual_clock.monotonic())
                if virtual_clock.monotonic() < 2_000:
                    raise OverBudget("the cap of today")

            played.reader.before = over
            await played.say(1, "lab")
            await played.say(2, "pub")

            await played.clock.advance(4_000)

            assert len(tries) == 5  # three refused, and the two channels
            assert all(later - earlier >= 900 for earlier, later in pairwise(tries[:4]))
            assert sorted(played.graph.sources) == ["m1", "m2"]
            assert caplog.text.count("rests for 900 s: the cap of today") == 3

    @virtual_time
    async def test_it_rests_when_the_model_gives_nothing_usable_and_sets_no_more_aside(
        self, virtual_clock: VirtualClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with anchored(virtual_clock, rest=900.0) as played:

            async def fail(_: Batch) -> None:
                raise BadAnswer("no JSON")

            played.reader.before = fail
            for number in range(40):
                await played.say(number)

            await played.clock.advance(QUIET + 2 * LOOK + 890)

            assert len(await played.dead()) == played.extractor.hopeless
            assert "rests for 900 s: 5 messages of" in caplog.text
            assert not played.task.done()

    @virtual_time
    async def test_what_is_away_ends_it_and_another_goes_on_where_it_was(
        self, virtual_clock: VirtualClock
    ) -> None:
        async with anchored(virtual_clock) as played:

            async def away(_: Batch) -> None:
                raise ResourceUnavailable("openrouter", "gone")

            played.reader.before = away
            await played.say(1)
            await played.clock.advance(60)
            with pytest.raises(ResourceUnavailable):
                await played.task

            played.reader.before = None
            again = Anchoring(played.extractor, played.cache, virtual_clock, quiet=0.0)
            assert await again.step() == [CHANNEL]
            assert await again.step() == []
            assert played.graph.sources == ["m1"]


class TestAModelThatFailsAtAChannel:
    @virtual_time
    async def test_it_is_tried_again_the_others_are_read_and_nothing_twice(
        self, virtual_clock: VirtualClock
    ) -> None:
        async with anchored(virtual_clock) as played:

            async def fail(batch: Batch) -> None:
                if batch.channel == "lab":
                    raise ResourceUnavailable("openrouter", "it answered 500")

            played.reader.before = fail
            for number, channel in enumerate(("allotment", "lab", "pub")):
                await played.say(number, channel)
            work = Anchoring(played.extractor, played.cache, virtual_clock, quiet=0.0)

            for _ in range(BLAMES - 1):
                with pytest.raises(ResourceUnavailable):
                    await work.step()
            assert sorted(played.graph.sources) == ["m0", "m2"]
            asked = [batch.channel for batch in played.reader.batches]
            assert sorted(each for each in asked if each != HELLO) == [
                "allotment",
                *["lab"] * (BLAMES - 1),
                "pub",
            ]
            played.reader.before = None

            assert await work.step() == ["lab"]
            assert await work.step() == []
            assert sorted(played.graph.sources) == ["m0", "m1", "m2"]

    @virtual_time
    async def test_one_that_fails_at_all_is_asked_thrice_and_none_is_forgotten(
        self, virtual_clock: VirtualClock
    ) -> None:
        async with anchored(virtual_clock) as played:

            async def fail(_: Batch) -> None:
                raise UnsuitableServer("the API key was refused")

            played.reader.before = fail
            for number in range(5):
                await played.say(number, f"lab {number}")
            work = Anchoring(played.extractor, played.cache, virtual_clock, quiet=0.0)

            with pytest.raises(UnsuitableServer):
                await work.step()
            assert len(played.reader.reads) == STOP + 1
            assert played.reader.batches[-1].channel == HELLO
            played.reader.before = None

            assert sorted(await work.step()) == [f"lab {number}" for number in range(5)]

    @virtual_time
    async def test_what_it_cannot_answer_is_set_aside_if_another_goes_on_each_time(
        self, virtual_clock: VirtualClock
    ) -> None:
        async with anchored(virtual_clock) as played:

            async def fail(batch: Batch) -> None:
                if "m7" in [each.id for each in batch.messages]:
                    raise ResourceUnavailable("openrouter", "it answered 500")

            played.reader.before = fail
            for number in range(40):
                await played.say(number)
            failed = 0
            while not await played.letters.count():
                await played.say(100 + failed, "pub")
                work = Anchoring(played.extractor, played.cache, virtual_clock, quiet=0.0)
                try:
                    await work.step()
                except ResourceUnavailable:
                    failed += 1
                assert failed <= BLAMES + 6  # halves of forty, down to one

            assert await played.dead() == {"m7"}
            read = [each for each in played.graph.sources if int(each[1:]) < 100]
            assert sorted(read) == sorted(f"m{number}" for number in range(40) if number != 7)


class TestALongBacklog:
    @virtual_time
    async def test_is_read_by_and_by_and_the_others_have_their_turn(
        self, virtual_clock: VirtualClock
    ) -> None:
        async with anchored(virtual_clock) as played:
            backlog = [said(number) for number in range(2 * BATCHES * MESSAGES)]
            await played.cache.ingest(CHANNEL, backlog)
            await played.say(5_000, "pub")
            work = Anchoring(played.extractor, played.cache, virtual_clock, quiet=0.0)

            assert [await work.step() for _ in range(4)] == [["pub"], [], [CHANNEL], []]

            assert [len(ids) for ids in played.reader.reads] == [*[40] * 5, 1, *[40] * 5]


class TestOverBudget:
    @virtual_time
    async def test_who_speaks_where_is_noted_in_all_that_are_due(self, virtual_clock: VirtualClock) -> None:
        async with anchored(virtual_clock) as played:

            async def over(_: Batch) -> None:
                raise OverBudget("the cap of today")

            played.reader.before = over
            await played.say(1, "lab")
            await played.say(2, "pub")
            work = Anchoring(played.extractor, played.cache, virtual_clock, quiet=0.0)

            with pytest.raises(OverBudget):
                await work.step()

            assert set(played.graph.cursors) == {"structure:lab", "structure:pub"}
            assert len(played.reader.reads) == 1


class TestChannelsThatGo:
    @virtual_time
    async def test_are_let_go_of(self, virtual_clock: VirtualClock) -> None:
        async with anchored(virtual_clock) as played:
            work = Anchoring(played.extractor, played.cache, virtual_clock, quiet=0.0)
            await played.say(1)
            assert await work.step() == [CHANNEL]
            assert set(work._read) == {CHANNEL}

            await played.cache.forget(CHANNEL)
            await played.clock.advance(60)

            assert await work.step() == []
            assert work._read == {}
