"""The engine on a fake Redis, with a reader that is told what to say: each message is applied once."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.memory.extraction.stand_ins import (
    CHANNEL,
    CountingGraph,
    Stand,
    ToldReader,
    found,
    said,
    stand,
)

from bgtasks.errors import BadAnswer, OverBudget, ResourceUnavailable
from bgtasks.memory.cursors import unpadded
from bgtasks.memory.extraction import Applied, Progress
from bgtasks.memory.extraction.batch import MESSAGES, Batch
from bgtasks.memory.extraction.learned import Learned
from bgtasks.memory.extraction.lease import BLAMES, Plan, channel_lease
from bgtasks.memory.extraction.reading import CONTEXT, PAGE, READER, TRIES, WINDOW
from bgtasks.memory.messages import Message
from bgtasks.testing import VirtualClock, run_virtual

POISON = "poison"


@pytest.fixture
async def engine() -> AsyncIterator[Stand]:
    async with stand(poison={POISON}) as made:
        yield made


def ids(*numbers: int) -> list[str]:
    return [f"m{number}" for number in numbers]


def reads_at_most(messages: int, poison: int) -> int:
    """How often a reader may be asked: both halves all the way down to each poison, and that once more.

    For one poison among forty that is 14, of which half may fail; if all forty are, it is 119. A model that
    is asked to mend its answer is called twice for each read that fails.
    """
    depth = math.ceil(math.log2(messages)) if messages > 1 else 0
    return min(1 + 2 * depth * poison, 2 * messages - 1) + (TRIES - 1) * poison


class TestReading:
    async def test_is_batch_by_batch_to_the_end(self, engine: Stand) -> None:
        await engine.tell(*range(90))

        progress = await engine.extractor.extract(CHANNEL)

        assert [len(each) for each in engine.reader.reads] == [40, 40, 10]
        assert engine.graph.sources == ids(*range(90))
        assert await engine.at_end()
        assert progress == Progress(batches=3, messages=90, entities=93, facts=90)

    async def test_goes_on_where_it_was(self, engine: Stand) -> None:
        await engine.tell(1)
        await engine.extractor.extract(CHANNEL)
        assert await engine.extractor.extract(CHANNEL) == Progress()

        await engine.tell(2)
        await engine.extractor.extract(CHANNEL)

        assert engine.reader.reads == [["m1"], ["m2"]]

    async def test_ends_where_the_channel_ended_when_it_began(self, engine: Stand) -> None:
        async def answer(_: Batch) -> None:
            await engine.tell(1_000 + len(engine.reader.batches))

        engine.reader.before = answer
        await engine.tell(*range(45))

        assert (await engine.extractor.extract(CHANNEL)).messages == 45

        assert engine.reader.reads == [ids(*range(40)), ids(*range(40, 45))]
        assert (await engine.extractor.extract(CHANNEL)).messages == 2

    async def test_what_is_edited_while_the_model_is_asked_is_for_the_next_time(self, engine: Stand) -> None:
        async def answer(_: Batch) -> None:
            await engine.cache.edit(CHANNEL, "m1", f"It is {len(engine.reader.batches)} now.")

        engine.reader.before = answer
        await engine.tell(1)
        await engine.extractor.extract(CHANNEL)
        await engine.extractor.extract(CHANNEL)

        texts = [batch.messages[0].text for batch in engine.reader.batches]
        assert texts == ["Hello.", "It is 1 now."]

    @pytest.mark.parametrize(("count", "pages"), [(1, 1), (PAGE - 1, 1), (PAGE, 1), (4 * PAGE, 1)])
    async def test_looks_at_a_page_to_cut_a_batch_however_long_the_channel_is(
        self, engine: Stand, monkeypatch: pytest.MonkeyPatch, count: int, pages: int
    ) -> None:
        looks: list[int] = []
        between = engine.cache.between

        async def look(channel: str, after: str | None, upto: str, limit: int) -> list[Message]:
            entries = await between(channel, after, upto, limit)
            looks.append(len(entries))
            return entries

        monkeypatch.setattr(engine.cache, "between", look)
        await engine.tell(*range(count))
        await engine.extractor.extract(CHANNEL, most=1)

        assert looks == [*[min(count, PAGE)] * pages, min(count, MESSAGES)]

    async def test_of_what_is_not_read_up_to_a_window_goes_with_a_batch(self, engine: Stand) -> None:
        beside = [said(number, origin="tool") for number in range(1, WINDOW + 50)]
        await engine.tell(0, *beside, 1_000)

        progress = await engine.extractor.extract(CHANNEL)

        assert engine.reader.reads == [["m0"], ["m1000"]]
        assert progress.batches == 2

    async def test_ends_after_so_many_batches(self, engine: Stand) -> None:
        await engine.tell(*range(90))

        assert (await engine.extractor.extract(CHANNEL, most=2)).messages == 80
        assert (await engine.extractor.extract(CHANNEL, most=2)).messages == 10

    async def test_nothing_is_nothing(self, engine: Stand) -> None:
        assert await engine.extractor.extract("nowhere") == Progress()
        assert [key for key in await engine.redis.keys("*") if b"test:" in key] == []

    async def test_shows_the_messages_before_as_context(self, engine: Stand) -> None:
        beside = [said(number, origin="tool") for number in range(50, 53)]
        await engine.tell(*range(40), *beside, 60)

        await engine.extractor.extract(CHANNEL)

        first, second = engine.reader.batches
        assert first.context == ()
        assert [each.id for each in second.context] == ids(*range(40 - CONTEXT + len(beside), 40))

    async def test_shows_what_is_known_and_asks_once_for_it(self, engine: Stand) -> None:
        engine.graph.names = [("Ada", "person")]
        await engine.tell(1)

        await engine.extractor.extract(CHANNEL)

        assert engine.reader.known == [(("Ada", "person"),)]
        assert len(engine.graph.asked_for) == 1

    async def test_of_a_half_only_its_own_names_are_looked_up(self, engine: Stand) -> None:
        await engine.tell(said(1, "Grace"), said(2, POISON))

        await engine.extractor.extract(CHANNEL)

        assert engine.graph.asked_for == [["ada", "grace"], ["ada", "grace"], ["ada"]]

    async def test_a_watch_is_told_before_and_after(self, engine: Stand) -> None:
        steps: list[str] = []

        async def watch(step: Batch | Applied) -> None:
            steps.append(f"{type(step).__name__} {len(engine.reader.reads)} {len(engine.graph.applied)}")

        await engine.tell(*range(41))
        await engine.extractor.extract(CHANNEL, watch=watch)

        assert steps == ["Batch 0 0", "Applied 1 1", "Batch 1 1", "Applied 2 2"]

    async def test_reports_how_far_it_is_and_lets_go_of_what_is_read(self, engine: Stand) -> None:
        await engine.tell(*(said(number, origin="tool") for number in range(1_095)), *range(2_000, 2_005))

        await engine.extractor.extract(CHANNEL)

        [newest] = (await engine.cache.newest([CHANNEL])).values()
        assert await engine.cache.readers(CHANNEL) == {READER: newest}
        assert await engine.cache.count(CHANNEL) == 1_000


class TestWhatIsNeverShown:
    async def test_what_was_recalled_called_deleted_or_is_blank(self, engine: Stand) -> None:
        await engine.tell(
            said(1, "was recalled", origin="recalled"),
            said(2, "a tool", origin="tool"),
            said(3, " "),
            4,
            5,
            6,
        )
        await engine.cache.delete(CHANNEL, "m5")

        await engine.extractor.extract(CHANNEL)

        assert engine.reader.reads == [ids(4, 6)]
        assert await engine.at_end()

    async def test_a_channel_of_nothing_else_is_passed_without_a_call(self, engine: Stand) -> None:
        await engine.tell(*(said(number, origin="tool") for number in range(WINDOW + 10)))

        progress = await engine.extractor.extract(CHANNEL)

        assert engine.reader.reads == []
        assert (progress.batches, progress.messages) == (2, 0)
        assert await engine.at_end()

    async def test_what_is_deleted_between_two_tries(self, engine: Stand) -> None:
        await engine.tell(1, 2)
        engine.reader.before = refuse
        with pytest.raises(OverBudget):
            await engine.extractor.extract(CHANNEL)
        engine.reader.before = None
        await engine.cache.delete(CHANNEL, "m1")

        await engine.extractor.extract(CHANNEL)

        assert engine.reader.reads[1:] == [["m2"]]
        assert engine.graph.sources == ["m2"]

    async def test_what_is_deleted_after_it_failed_once_is_passed(self, engine: Stand) -> None:
        async def fail(_: Batch) -> None:
            raise BadAnswer("no") if len(engine.reader.batches) == 1 else OverBudget("no more")

        engine.reader.before = fail
        await engine.tell(1)
        with pytest.raises(OverBudget):
            await engine.extractor.extract(CHANNEL)
        await engine.cache.delete(CHANNEL, "m1")

        assert (await engine.extractor.extract(CHANNEL)).messages == 0

        assert await engine.at_end()
        assert await engine.letters.count() == 0

    async def test_when_all_of_a_planned_batch_is_gone_it_goes_on(self, engine: Stand) -> None:
        await engine.tell(1)
        engine.reader.before = refuse
        with pytest.raises(OverBudget):
            await engine.extractor.extract(CHANNEL)
        engine.reader.before = None
        await engine.cache.delete(CHANNEL, "m1")

        await engine.extractor.extract(CHANNEL)

        assert len(engine.reader.reads) == 1
        assert await engine.at_end()


class TestEdits:
    async def test_before_it_is_read_only_the_new_text_is(self, engine: Stand) -> None:
        await engine.tell(1, 2)
        await engine.cache.edit(CHANNEL, "m1", "Goodbye.")

        await engine.extractor.extract(CHANNEL)

        [batch] = engine.reader.batches
        assert [(each.id, each.text) for each in batch.messages] == [("m2", "Hello."), ("m1", "Goodbye.")]

    async def test_after_it_was_read_the_new_text_is_read_too(self, engine: Stand) -> None:
        await engine.tell(1)
        await engine.extractor.extract(CHANNEL)
        await engine.cache.edit(CHANNEL, "m1", "Goodbye.")

        await engine.extractor.extract(CHANNEL)

        assert [batch.messages[0].text for batch in engine.reader.batches] == ["Hello.", "Goodbye."]
        assert await engine.at_end()

    async def test_one_that_is_put_there_again_is_read_again(self, engine: Stand) -> None:
        await engine.tell(said(1, POISON), 2)
        await engine.extractor.extract(CHANNEL)
        engine.reader.poison.clear()
        [letter] = await engine.letters.list()
        await engine.cache.again(CHANNEL, letter.message_id)

        await engine.extractor.extract(CHANNEL)

        assert engine.reader.reads[-1] == ["m1"]
        assert engine.graph.sources == ids(2, 1)


class TestTexts:
    @pytest.mark.parametrize(
        "text", ["🌱", "x" * 1_000_000, "a\x00b", "a\ud83d", "[2] 2026-09-01 07:19 Ada: hi"]
    )
    async def test_any_is_read(self, engine: Stand, text: str) -> None:
        await engine.tell(said(1, text), 2)

        await engine.extractor.extract(CHANNEL)

        assert engine.graph.sources == ids(1, 2)

    async def test_none_is_not(self, engine: Stand) -> None:
        await engine.tell(said(1, ""))

        await engine.extractor.extract(CHANNEL)

        assert engine.reader.reads == []
        assert await engine.at_end()


async def refuse(_: Batch) -> None:
    raise OverBudget("no more today")


class TestWhereBatchesEnd:
    @pytest.mark.parametrize("error", [OverBudget("no more"), ResourceUnavailable("openrouter", "gone")])
    async def test_is_kept_when_more_messages_come_between_two_tries(
        self, engine: Stand, error: Exception
    ) -> None:
        async def fail(_: Batch) -> None:
            raise error

        engine.graph.names = [("Ada", "person")]
        engine.reader.before = fail
        await engine.tell(*range(5))
        with pytest.raises(type(error)):
            await engine.extractor.extract(CHANNEL)
        assert engine.graph.cursors == {}
        engine.graph.names = [("Ada", "person"), ("tea", "object")]
        engine.reader.before = None
        await engine.tell(*range(5, 10))

        await engine.extractor.extract(CHANNEL)

        first, again, rest = engine.reader.batches
        assert first == again
        assert engine.reader.known[0] == engine.reader.known[1]
        assert [each.id for each in rest.messages] == ids(*range(5, 10))

    async def test_is_kept_after_halving(self, engine: Stand) -> None:
        async def fail(batch: Batch) -> None:
            if len(batch.messages) == 8:
                raise BadAnswer("too many")
            raise OverBudget("no more")

        engine.reader.before = fail
        await engine.tell(*range(8))
        with pytest.raises(OverBudget):
            await engine.extractor.extract(CHANNEL)
        engine.reader.before = None
        await engine.tell(*range(8, 12))

        await engine.extractor.extract(CHANNEL)

        assert [len(each) for each in engine.reader.reads] == [8, 4, 4, 4, 4]
        assert engine.graph.sources == ids(*range(12))

    async def test_is_kept_when_the_graph_has_lost_its_last_second(self, engine: Stand) -> None:
        cursor = f"{READER}:{CHANNEL}"
        for numbers in ((0, 1, 2), (3,), (4, 5)):
            await engine.tell(*numbers)
            await engine.extractor.extract(CHANNEL)
        (first, _, _), *_ = engine.graph.applied
        await engine.tell(6)
        before = list(engine.reader.batches)

        engine.graph.cursors[cursor] = first
        await engine.extractor.extract(CHANNEL)

        assert engine.reader.reads[3:] == [["m3"], ["m4", "m5"], ["m6"]]
        assert engine.reader.batches[3:5] == before[1:]  # the same questions, whose answers are kept

        engine.graph.cursors[cursor] = ""
        await engine.extractor.extract(CHANNEL)

        assert engine.reader.batches[6:9] == before

    async def test_is_kept_with_its_halves_when_the_graph_has_lost_them(self, engine: Stand) -> None:
        await engine.tell(0, 1, said(2, POISON), 3)
        await engine.extractor.extract(CHANNEL)
        reads = engine.reader.reads
        assert reads == [ids(0, 1, 2, 3), ids(0, 1), ids(2, 3), ["m2"], ["m2"], ["m3"]]

        engine.graph.cursors[f"{READER}:{CHANNEL}"] = ""
        await engine.extractor.extract(CHANNEL)

        assert engine.reader.reads[6:] == [ids(0, 1), ["m2"], ["m2"], ["m3"]]
        assert await engine.letters.count() == 1


class TestPoison:
    @pytest.mark.parametrize("place", [0, 1, 19, 20, 39])
    async def test_is_found_by_halving_and_set_aside(self, engine: Stand, place: int) -> None:
        await engine.tell(*(said(number, POISON if number == place else "Hello.") for number in range(40)))

        progress = await engine.extractor.extract(CHANNEL)

        [letter] = await engine.letters.list()
        assert (letter.channel, letter.message_id, letter.reader) == (CHANNEL, f"m{place}", READER)
        assert letter.why == "the stand-in was told to fail"
        assert engine.reader.reads.count([f"m{place}"]) == TRIES
        assert len(engine.reader.reads) <= reads_at_most(40, 1) == 14
        assert engine.graph.sources == ids(*(number for number in range(40) if number != place))
        assert (progress.messages, progress.dead) == (39, 1)
        assert await engine.at_end()

    async def test_all_of_it_is_set_aside_and_what_comes_after_is_read(self, engine: Stand) -> None:
        await engine.tell(*(said(number, POISON) for number in range(4)), *range(4, 50))

        progress = await engine.extractor.extract(CHANNEL)

        assert await engine.dead() == set(ids(*range(4)))
        assert engine.graph.sources == ids(*range(4, 50))
        assert (progress.messages, progress.dead) == (46, 4)

    async def test_if_all_of_it_is_the_reader_is_at_fault_and_the_rest_is_left_for_another(
        self, engine: Stand
    ) -> None:
        await engine.tell(*(said(number, POISON) for number in range(50)))

        with pytest.raises(BadAnswer, match=r"5 messages of .* in a row .* BGTASKS_KG_EXTRACTION_MODEL"):
            await engine.extractor.extract(CHANNEL)

        assert await engine.dead() == set(ids(*range(5)))

    async def test_five_that_are_not_in_a_row_are_no_fault_of_the_reader(self, engine: Stand) -> None:
        await engine.tell(*(said(number, POISON if number % 2 else "Hello.") for number in range(20)))

        progress = await engine.extractor.extract(CHANNEL)

        assert (progress.messages, progress.dead) == (10, 10)

    async def test_five_in_a_row_stay_dead_and_the_next_run_goes_on_after_them(self, engine: Stand) -> None:
        await engine.tell(*(said(number, POISON) for number in range(6)), 6)
        with pytest.raises(BadAnswer):
            await engine.extractor.extract(CHANNEL)

        assert (await engine.extractor.extract(CHANNEL)).messages == 1

        assert await engine.dead() == set(ids(*range(6)))
        assert await engine.at_end()

    async def test_what_is_answered_after_all_is_no_dead_letter_any_more(self, engine: Stand) -> None:
        await engine.tell(said(1, POISON))
        with pytest.raises(ResourceUnavailable):
            await engine.extractor_for(Deaf()).extract(CHANNEL)
        assert await engine.dead() == {"m1"}  # set aside, but the graph was gone before it passed
        engine.reader.poison.clear()

        await engine.extractor.extract(CHANNEL)

        assert engine.graph.sources == ["m1"]
        assert await engine.letters.count() == 0

    async def test_messages_that_it_is_shown_with_do_not_share_its_fate(self, engine: Stand) -> None:
        async def refuse(batch: Batch) -> None:
            if any(each.text == "filtered" for each in batch.context):
                raise BadAnswer("the input was refused by a content filter")

        engine.reader.before = refuse
        engine.reader.poison.add("filtered")
        await engine.tell(*range(10), said(10, "filtered"), *range(11, 30))

        progress = await engine.extractor.extract(CHANNEL)

        assert await engine.dead() == {"m10"}
        assert (progress.messages, progress.dead) == (29, 1)

    async def test_what_fails_once_is_no_poison(self, engine: Stand) -> None:
        async def once(batch: Batch) -> None:
            if len(engine.reader.batches) == 1:
                raise BadAnswer("this once")

        engine.reader.before = once
        await engine.tell(1)

        await engine.extractor.extract(CHANNEL)

        assert engine.reader.reads == [["m1"], ["m1"]]
        assert await engine.letters.count() == 0
        assert engine.graph.sources == ["m1"]

    async def test_no_cursor_moves_before_the_message_is_set_aside(self, engine: Stand) -> None:
        stood: list[tuple[int, str | None]] = []

        async def look(batch: Batch) -> None:
            at = unpadded(engine.graph.cursors.get(f"{READER}:{CHANNEL}", ""))
            stood.append((len(batch.messages), at))

        engine.reader.before = look
        await engine.tell(*(said(number, POISON) for number in range(4)))
        await engine.extractor.extract(CHANNEL)

        first, second, third, _ = [each.cursor for each in await engine.cache.since(CHANNEL, None)]
        assert stood == [
            (4, None), (2, None), (1, None), (1, None), (1, first), (1, first),
            (2, second), (1, second), (1, second), (1, third), (1, third),
        ]  # fmt: skip
        for position, nodes, edges in engine.graph.applied:
            assert (nodes, edges) == ([], [])
            assert unpadded(position) in {each.cursor for each in await engine.cache.since(CHANNEL, None)}
        assert await engine.letters.count() == 4

    @staticmethod
    def halve(count: int, poison: Collection[int]) -> None:
        async def main(_: VirtualClock) -> None:
            async with stand(poison={POISON}) as engine:
                await engine.tell(
                    *(said(number, POISON if number in poison else "Hello.") for number in range(count))
                )

                extractor = engine.extractor_for(engine.graph, hopeless=len(poison) + 1)
                progress = await extractor.extract(CHANNEL)

                rest = [number for number in range(count) if number not in poison]
                assert await engine.dead() == set(ids(*poison))
                assert engine.graph.sources == ids(*rest)
                assert (progress.messages, progress.dead) == (len(rest), len(poison))
                batches = math.ceil(count / MESSAGES)
                assert len(engine.reader.reads) <= batches - 1 + reads_at_most(
                    min(count, MESSAGES), len(poison)
                )
                assert await engine.at_end()

        run_virtual(main)

    @given(st.integers(1, 12).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)))))
    @settings(max_examples=25)
    def test_exactly_that_ends_up_dead_and_all_else_is_applied_once(self, case: tuple[int, set[int]]) -> None:
        self.halve(*case)

    @pytest.mark.full
    @given(st.integers(1, 45).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)))))
    @settings(max_examples=40)
    def test_so_it_does_among_many(self, case: tuple[int, set[int]]) -> None:
        self.halve(*case)


class Forgetful(CountingGraph):
    """A graph whose answer to the first write is lost, or that never makes it."""

    def __init__(self, *, written: bool) -> None:
        super().__init__()
        self._written = written

    async def query(self, cypher: str, params: Mapping[str, Any] | None = None) -> Sequence[Sequence[Any]]:
        if "MERGE (c:Cursor" in cypher and not self.applied:
            if self._written:
                await super().query(cypher, params)
            raise ResourceUnavailable("kg_manager", "the answer was lost")
        return await super().query(cypher, params)


class Deaf(CountingGraph):
    """A graph that never writes, without a word."""

    async def query(self, cypher: str, params: Mapping[str, Any] | None = None) -> Sequence[Sequence[Any]]:
        return [] if "MERGE (c:Cursor" in cypher else await super().query(cypher, params)


class TestWhatGoesWrong:
    async def test_a_lost_answer_of_the_graph_is_not_written_twice(self, engine: Stand) -> None:
        await engine.tell(1, 2)
        extractor = engine.extractor_for(graph := Forgetful(written=True))

        with pytest.raises(ResourceUnavailable):
            await extractor.extract(CHANNEL)
        assert await extractor.extract(CHANNEL) == Progress()

        assert graph.sources == ids(1, 2)

    async def test_a_graph_that_never_writes_is_away(self, engine: Stand) -> None:
        await engine.tell(1)

        with pytest.raises(ResourceUnavailable, match="a batch of messages was not applied"):
            await engine.extractor_for(Deaf()).extract(CHANNEL)

    async def test_over_budget_leaves_what_was_applied_and_the_rest(self, engine: Stand) -> None:
        async def second(_: Batch) -> None:
            if len(engine.reader.batches) == 2:
                raise OverBudget("no more")

        engine.reader.before = second
        await engine.tell(*range(50))
        with pytest.raises(OverBudget):
            await engine.extractor.extract(CHANNEL)
        assert engine.graph.sources == ids(*range(40))

        await engine.extractor.extract(CHANNEL)

        assert engine.graph.sources == ids(*range(50))
        assert await engine.letters.count() == 0

    async def test_a_channel_that_another_reads_is_left_alone(self, engine: Stand) -> None:
        await engine.tell(1)
        await engine.redis.set(f"test:chan:{CHANNEL}:lease", "another's", px=30_000)

        assert await engine.extractor.extract(CHANNEL) == Progress(busy=1)
        assert engine.reader.reads == []

    async def test_the_channel_is_free_afterwards_whatever_happened(self, engine: Stand) -> None:
        engine.reader.before = refuse
        await engine.tell(1)
        with pytest.raises(OverBudget):
            await engine.extractor.extract(CHANNEL)

        assert not await engine.redis.exists(f"test:chan:{CHANNEL}:lease")

    async def test_who_was_overtaken_while_it_read_writes_nothing_and_stops(self, engine: Stand) -> None:
        async def overtake(batch: Batch) -> None:
            if len(engine.reader.batches) == 1:
                await engine.redis.delete(f"test:chan:{CHANNEL}:lease")  # it was frozen for longer than that
                assert (await engine.extractor.extract(CHANNEL)).messages == 45

        engine.reader.before = overtake
        await engine.tell(*range(45))

        assert await engine.extractor.extract(CHANNEL) == Progress()

        assert engine.graph.sources == ids(*range(45))

    @pytest.mark.parametrize("count", [1, 4])
    async def test_who_was_overtaken_while_it_failed_sets_nothing_aside(
        self, engine: Stand, count: int
    ) -> None:
        other = Stand(engine.redis, engine.cache, ToldReader(), engine.graph)

        async def overtake(_: Batch) -> None:
            if len(engine.reader.batches) == TRIES:
                await engine.redis.set(f"test:chan:{CHANNEL}:lease", "another's", px=30_000)
            raise BadAnswer("no")

        engine.reader.before = overtake
        await engine.tell(*range(count))
        assert await engine.extractor.extract(CHANNEL) == Progress(busy=1)

        await engine.redis.delete(f"test:chan:{CHANNEL}:lease")
        await other.extractor.extract(CHANNEL)

        assert await engine.letters.count() == 0
        assert sorted(engine.graph.sources) == ids(*range(count))

    async def test_who_lost_the_lease_to_nobody_goes_on(self, engine: Stand) -> None:
        async def lose(_: Batch) -> None:
            await engine.redis.delete(f"test:chan:{CHANNEL}:lease")

        engine.reader.before = lose
        await engine.tell(*range(90))

        assert await engine.extractor.extract(CHANNEL) == Progress(3, 90, 93, 90)

        assert engine.graph.sources == ids(*range(90))

    async def test_who_lost_it_to_another_writes_what_was_paid_for_and_stops(self, engine: Stand) -> None:
        lease = f"test:chan:{CHANNEL}:lease"

        async def lose(_: Batch) -> None:
            await engine.redis.set(lease, "another's", px=30_000)

        engine.reader.before = lose
        await engine.tell(*range(90))

        assert await engine.extractor.extract(CHANNEL) == Progress(1, 40, 41, 40, busy=1)

        assert engine.graph.sources == ids(*range(40))
        assert await engine.redis.get(lease) == b"another's"

    async def test_who_lost_it_while_the_last_try_failed_leaves_it_to_the_next(self, engine: Stand) -> None:
        async def lose(_: Batch) -> None:
            if len(engine.reader.batches) == TRIES:
                await engine.redis.delete(f"test:chan:{CHANNEL}:lease")

        engine.reader.before = lose
        await engine.tell(said(1, POISON))

        assert await engine.extractor.extract(CHANNEL) == Progress(busy=1)
        assert await engine.letters.count() == 0
        assert await engine.extractor.extract(CHANNEL) == Progress(batches=1, dead=1)
        assert await engine.dead() == {"m1"}

    async def test_a_graph_that_went_back_is_warned_of_and_read_again(
        self, engine: Stand, caplog: pytest.LogCaptureFixture
    ) -> None:
        await engine.tell(1)
        await engine.extractor.extract(CHANNEL)
        await engine.tell(2)
        await engine.extractor.extract(CHANNEL)
        assert caplog.text == ""
        (first, _, _), (second, _, _) = engine.graph.applied

        engine.graph.cursors[f"{READER}:{CHANNEL}"] = first
        await engine.extractor.extract(CHANNEL)

        [record] = caplog.records
        assert record.levelname == "WARNING"
        assert f"up to {unpadded(first)}, and had read up to {unpadded(second)} before" in caplog.text
        assert engine.reader.reads == [["m1"], ["m2"], ["m2"]]
        await engine.extractor.extract(CHANNEL)
        assert len(caplog.records) == 1

    async def test_a_new_graph_is_warned_of_too(
        self, engine: Stand, caplog: pytest.LogCaptureFixture
    ) -> None:
        await engine.tell(1)
        await engine.extractor.extract(CHANNEL)

        await engine.extractor_for(graph := CountingGraph()).extract(CHANNEL)

        assert "the graph has read allotment up to nothing" in caplog.text
        assert graph.sources == ["m1"]

    async def test_five_at_once_ask_once(self, engine: Stand) -> None:
        async def slow(_: Batch) -> None:
            await asyncio.sleep(0)

        engine.reader.before = slow
        await engine.tell(*range(90))

        came = await asyncio.gather(*(engine.extractor.extract(CHANNEL) for _ in range(5)))

        assert sorted(each.busy for each in came) == [0, 1, 1, 1, 1]
        assert sum(each.messages for each in came) == 90
        assert len(engine.reader.reads) == 3
        assert engine.graph.sources == ids(*range(90))


class TestBlame:
    async def planned(self, engine: Stand) -> Plan:
        async with channel_lease(engine.redis, "test", CHANNEL) as lease:
            assert lease is not None
            return await lease.plan()

    async def fail(self, engine: Stand, *messages: int) -> None:
        """A model that is away when it is asked of these."""
        engine.reader.before = away
        await engine.tell(*messages)
        with pytest.raises(ResourceUnavailable):
            await engine.extractor.extract(CHANNEL)

    async def test_the_third_time_the_batch_is_halved_without_a_call(self, engine: Stand) -> None:
        await self.fail(engine, *range(4))
        for _ in range(BLAMES):
            await engine.extractor.blame(CHANNEL)
        engine.reader.before = None

        await engine.extractor.extract(CHANNEL)

        assert engine.reader.reads == [ids(*range(4)), ids(0, 1), ids(2, 3)]
        assert await engine.letters.count() == 0

    async def test_before_that_it_is_asked_of_as_it_was(self, engine: Stand) -> None:
        await self.fail(engine, *range(4))
        for _ in range(BLAMES - 1):
            await engine.extractor.blame(CHANNEL)
        engine.reader.before = None

        await engine.extractor.extract(CHANNEL)

        assert engine.reader.reads == [ids(*range(4))] * 2

    async def test_a_single_message_is_set_aside_without_a_call(self, engine: Stand) -> None:
        await self.fail(engine, 1)
        for _ in range(BLAMES):
            await engine.extractor.blame(CHANNEL)

        progress = await engine.extractor.extract(CHANNEL)

        assert (progress.dead, progress.messages) == (1, 0)
        assert engine.reader.reads == [["m1"]]
        assert await engine.at_end()

    async def test_each_half_needs_one_more(self, engine: Stand) -> None:
        await self.fail(engine, *range(4))
        for _ in range(BLAMES):
            await engine.extractor.blame(CHANNEL)
        with pytest.raises(ResourceUnavailable):
            await engine.extractor.extract(CHANNEL)
        assert (await self.planned(engine)).blamed == BLAMES - 1
        await engine.extractor.blame(CHANNEL)
        with pytest.raises(ResourceUnavailable):
            await engine.extractor.extract(CHANNEL)

        assert engine.reader.reads == [ids(*range(4)), ids(0, 1), ids(0)]

    async def test_of_what_was_never_planned_is_nothing(self, engine: Stand) -> None:
        await engine.extractor.blame("nowhere")
        await engine.tell(1)
        await engine.extractor.extract(CHANNEL)
        before = await self.planned(engine)

        await engine.extractor.blame(CHANNEL)

        assert await self.planned(engine) == before
        assert await engine.redis.keys("*nowhere*") == []

    async def test_of_a_channel_that_another_reads_is_nothing(self, engine: Stand) -> None:
        await self.fail(engine, 1)
        await engine.redis.set(f"test:chan:{CHANNEL}:lease", "another's", px=30_000)

        await engine.extractor.blame(CHANNEL)

        await engine.redis.delete(f"test:chan:{CHANNEL}:lease")
        assert (await self.planned(engine)).blamed == 0


async def away(_: Batch) -> None:
    raise ResourceUnavailable("openrouter", "gone")


class TestProgress:
    def test_adds_up(self) -> None:
        one = Progress(1, 2, 3, 4, 5, 6, 7)

        assert one + one == Progress(2, 4, 6, 8, 10, 12, 14)
        assert sum([one, one], Progress()) == one + one
        assert one.counts == {
            "batches": 1, "messages": 2, "entities": 3, "facts": 4, "dropped": 5, "dead": 6, "busy": 7
        }  # fmt: skip

    def test_a_message_that_was_set_aside_was_not_read(self) -> None:
        batch = Batch(CHANNEL, "1-0", (said(1),))

        assert (Applied(batch, Learned()).messages, Applied(batch, Learned(), dead=True).messages) == (1, 0)

    async def test_counts_what_could_not_be_used(
        self, engine: Stand, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def read(*_: object) -> Any:
            return found(entities=[("it", "object"), ("tea", "object")])

        monkeypatch.setattr(engine.reader, "read", read)
        await engine.tell(1)

        assert await engine.extractor.extract(CHANNEL) == Progress(
            batches=1, messages=1, entities=1, dropped=1
        )
