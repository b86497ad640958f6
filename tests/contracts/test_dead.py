"""The contract of `DeadLetters`, on every Redis: each message of a reader once, until it is taken out."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest
from tests.support.servers import Backend

from bgtasks.memory.dead import HOLDER, Dead, DeadLetters
from bgtasks.memory.messages import Message, MessageCache

pytestmark = pytest.mark.real

T0 = datetime(2026, 9, 1, 7, tzinfo=UTC)


@pytest.fixture
def letters(backend: Backend) -> DeadLetters:
    return DeadLetters(backend.client, "test")


async def put(letters: DeadLetters, number: int, reader: str = "extract") -> Dead:
    return await letters.add("garden", f"m{number}", reader, "no answer", T0 + timedelta(seconds=number))


class TestADeadLetter:
    async def test_comes_back_as_it_was_given(self, letters: DeadLetters) -> None:
        at = datetime(2026, 9, 1, 10, 0, 3, 250_000, tzinfo=timezone(timedelta(hours=3)))
        added = await letters.add("gar:den", "m 1", "extract", "  not what\nthe schema says ", at)
        assert await letters.list() == [added]
        assert await letters.get(added.key) == added
        assert added == Dead(
            key=added.key,
            channel="gar:den",
            message_id="m 1",
            reader="extract",
            why="not what the schema says",
            at=datetime(2026, 9, 1, 7, 0, 3, 250_000, tzinfo=UTC),
        )

    async def test_is_there_once_with_the_latest_reason(self, letters: DeadLetters) -> None:
        first = await put(letters, 1)
        again = await letters.add("garden", "m1", "extract", "something else", T0 + timedelta(days=1))
        assert (again.key, again.why) == (first.key, "something else")
        assert await put(letters, 1) == again  # sent again, late
        assert await letters.list() == [again]
        assert await letters.count() == 1

    async def test_is_another_one_for_another_reader_channel_or_id(self, letters: DeadLetters) -> None:
        for channel, message_id, reader in (
            ("a", "b", "c"),
            ("a", "bc", ""),
            ("ab", "", "c"),
            ("a", "b", "d"),
        ):
            await letters.add(channel, message_id, reader, "why", T0)
        assert await letters.count() == 4

    async def test_may_die_again_once_it_was_taken_out(self, letters: DeadLetters) -> None:
        first = await put(letters, 1)
        assert await letters.drop(first.key)
        later = await letters.add("garden", "m1", "extract", "again", T0 + timedelta(days=1))
        assert (later.key, later.why) == (first.key, "again")

    async def test_keeps_any_name_and_a_reason_of_bounded_length(self, letters: DeadLetters) -> None:
        added = await letters.add("room \udfff", "i\x00", "r☕", "x" * 10_000, T0)
        [found] = await letters.list()
        assert found == added
        assert (found.channel, found.message_id, len(found.why)) == ("room ?", "i\x00", 500)

    async def test_added_by_several_at_once_is_one(self, backend: Backend) -> None:
        many = [DeadLetters(backend.new(), "test") for _ in range(5)]
        await asyncio.gather(*(put(each, 1) for each in many))
        assert await many[0].count() == 1


class TestTheList:
    async def test_has_the_latest_first(self, letters: DeadLetters) -> None:
        for number in (3, 1, 2):
            await put(letters, number)
        assert [dead.message_id for dead in await letters.list()] == ["m3", "m2", "m1"]
        assert [dead.message_id for dead in await letters.list(2)] == ["m3", "m2"]
        assert await letters.list(0) == []

    async def test_may_be_longer_than_what_one_call_reads(
        self, letters: DeadLetters, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("bgtasks.memory.dead.BATCH", 20)
        length = 45
        for number in range(length):
            await put(letters, number)
        found = await letters.list(10_000)
        assert [dead.message_id for dead in found] == [f"m{number}" for number in reversed(range(length))]
        assert await letters.count() == length

    async def test_is_empty_and_takes_nothing_where_nothing_died(
        self, letters: DeadLetters, backend: Backend
    ) -> None:
        assert await letters.list() == []
        assert await letters.count() == 0
        assert await letters.get("nothing") is None
        assert await letters.take("nothing") is None
        assert not await letters.drop("nothing")
        assert await backend.keys() == set()

    async def test_of_a_namespace_is_its_own(self, letters: DeadLetters, backend: Backend) -> None:
        await put(letters, 1)
        assert await DeadLetters(backend.client, "other").list() == []


class TestTaking:
    async def test_gives_it_and_leaves_the_others(self, letters: DeadLetters) -> None:
        first, second = await put(letters, 1), await put(letters, 2)
        assert await letters.take(first.key) == first
        assert await letters.take(first.key) is None
        assert await letters.list() == [second]

    async def test_the_last_leaves_no_key(self, letters: DeadLetters, backend: Backend) -> None:
        await letters.take((await put(letters, 1)).key)
        assert await backend.keys() == set()

    async def test_one_that_has_died_again_since_is_left(self, letters: DeadLetters) -> None:
        first = await put(letters, 1)
        again = await letters.add("garden", "m1", "extract", "no answer either", T0 + timedelta(days=1))
        assert not await letters.drop(first.key, at=first.at)
        assert await letters.list() == [again]
        assert await letters.drop(first.key, at=again.at)
        assert await letters.list() == []

    async def test_a_message_that_was_dealt_with_after_all_is_settled(self, letters: DeadLetters) -> None:
        first, other = await put(letters, 1), await put(letters, 1, "other")
        assert await letters.settle("garden", "m1", "extract")
        assert not await letters.settle("garden", "m1", "extract")
        assert await letters.get(first.key) is None
        assert await letters.list() == [other]


class TestTheMessage:
    """It stays in its channel as long as the channel has dead letters."""

    @pytest.fixture
    async def cache(self, backend: Backend) -> MessageCache:
        """Ten messages that all have read."""
        cache = MessageCache(backend.client, "test")
        said = [Message(channel="garden", id=f"m{n}", author="Ada", ts=T0, text="hi") for n in range(10)]
        await cache.ingest("garden", said)
        await cache.report("garden", "extract", (await cache.newest(["garden"]))["garden"])
        return cache

    async def die(self, letters: DeadLetters, cache: MessageCache, number: int) -> Dead:
        [message] = await cache.get("garden", [f"m{number}"])
        return await letters.add("garden", message.id, "extract", "why", T0, cursor=message.cursor)

    async def left(self, cache: MessageCache) -> list[str]:
        await cache.trim("garden", keep=0)
        return [message.id for message in await cache.since("garden", None)]

    async def test_is_not_trimmed_while_it_is_dead(self, letters: DeadLetters, cache: MessageCache) -> None:
        dead = await self.die(letters, cache, 7)
        assert await self.left(cache) == ["m7", "m8", "m9"]
        await letters.drop(dead.key)
        assert await self.left(cache) == []
        assert await cache.readers("garden") != {}

    async def test_the_earliest_holds_until_the_last_is_out(
        self, letters: DeadLetters, cache: MessageCache
    ) -> None:
        dead = [await self.die(letters, cache, number) for number in (8, 4, 6, 6)]
        assert await self.left(cache) == ["m4", "m5", "m6", "m7", "m8", "m9"]
        await letters.take(dead[1].key)
        await letters.settle("garden", "m6", "extract")
        await letters.settle("garden", "m6", "extract")
        assert (await self.left(cache))[0] == "m4"
        await letters.take(dead[0].key)
        assert HOLDER not in await cache.readers("garden")

    async def test_of_another_channel_holds_nothing_here(
        self, letters: DeadLetters, cache: MessageCache
    ) -> None:
        dead = await self.die(letters, cache, 4)
        gone = await letters.add("shed", "m1", "extract", "why", T0, cursor="5-0")
        await letters.drop(gone.key)
        assert (await self.left(cache))[0] == "m4"
        assert await cache.readers("shed") == {}
        await letters.drop(dead.key)
        assert await self.left(cache) == []

    async def test_that_is_the_first_of_its_millisecond_is_kept_too(
        self, letters: DeadLetters, cache: MessageCache
    ) -> None:
        [first] = await cache.get("garden", ["m0"])
        assert first.cursor is not None
        await self.die(letters, cache, 0)
        assert (await self.left(cache))[0] == "m0"

    async def test_leaves_nothing_behind_with_its_channel(
        self, letters: DeadLetters, cache: MessageCache, backend: Backend
    ) -> None:
        dead = await self.die(letters, cache, 4)
        await cache.forget("garden")
        assert await letters.list() == [dead]
        await letters.drop(dead.key)
        assert await backend.keys() == set()
