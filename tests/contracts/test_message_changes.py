"""Messages that are edited, deleted and put there again, on every Redis: what readers see of it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from tests.support.servers import Backend

from bgtasks.errors import InvalidMessage
from bgtasks.memory.messages import Message, MessageCache

pytestmark = pytest.mark.real

T0 = datetime(2020, 9, 1, 7, tzinfo=UTC)
CHANNEL = "allotment"


def said(number: int, text: str = "hello") -> Message:
    ts = T0 + timedelta(seconds=number)
    return Message(channel=CHANNEL, id=f"m{number}", author="Ada", ts=ts, text=text, origin="agent")


def seen(messages: list[Message]) -> list[tuple[str, str, str]]:
    return [(message.op, message.id, message.text) for message in messages]


@pytest.fixture
async def cache(backend: Backend) -> MessageCache:
    """Holds m0, m1 and m2."""
    made = MessageCache(backend.client)
    await made.ingest(CHANNEL, [said(number) for number in range(3)])
    return made


async def cursors(cache: MessageCache) -> list[str]:
    return [message.cursor or "" for message in await cache.since(CHANNEL, None)]


class TestEdit:
    async def test_an_edited_message_is_at_the_end_with_all_else_as_it_was(self, cache: MessageCache) -> None:
        [before] = await cache.get(CHANNEL, ["m0"])

        assert await cache.edit(CHANNEL, "m0", "goodbye")

        found = await cache.since(CHANNEL, None)
        assert seen(found) == [("new", "m1", "hello"), ("new", "m2", "hello"), ("edit", "m0", "goodbye")]
        assert (found[2].author, found[2].ts, found[2].role, found[2].origin) == ("Ada", T0, "user", "agent")
        assert found[2].first == before.cursor
        assert await cache.get(CHANNEL, ["m0"]) == found[2:]
        assert await cache.count(CHANNEL) == 3

    async def test_whoever_had_read_it_is_told(self, cache: MessageCache) -> None:
        *_, last = await cursors(cache)

        await cache.edit(CHANNEL, "m1", "goodbye")

        assert seen(await cache.since(CHANNEL, last)) == [("edit", "m1", "goodbye")]

    async def test_an_edit_of_an_edit_still_knows_where_the_message_first_was(
        self, cache: MessageCache
    ) -> None:
        first, *_ = await cursors(cache)

        for text in ("one", "two", "three"):
            assert await cache.edit(CHANNEL, "m0", text)

        [found] = await cache.get(CHANNEL, ["m0"])
        assert (found.text, found.first) == ("three", first)
        assert await cache.count(CHANNEL) == 3

    async def test_the_same_text_is_no_edit(self, cache: MessageCache) -> None:
        before = await cursors(cache)

        assert await cache.edit(CHANNEL, "m0", "hello")

        assert await cursors(cache) == before

    async def test_what_nobody_said_cannot_be_edited(self, cache: MessageCache, backend: Backend) -> None:
        assert not await cache.edit(CHANNEL, "m9", "goodbye")
        assert not await cache.edit("nowhere", "m0", "goodbye")
        assert await cache.count(CHANNEL) == 3
        assert not any("nowhere" in key for key in await backend.keys())

    async def test_what_was_trimmed_cannot_be_edited(self, cache: MessageCache) -> None:
        await cache.report(CHANNEL, "reader", (await cursors(cache))[0])
        await cache.trim(CHANNEL, keep=0)

        assert not await cache.edit(CHANNEL, "m0", "goodbye")
        assert await cache.count(CHANNEL) == 2

    async def test_an_edited_message_is_not_taken_in_again(self, cache: MessageCache) -> None:
        await cache.edit(CHANNEL, "m0", "goodbye")

        assert await cache.ingest(CHANNEL, [said(0)]) == 0

    @pytest.mark.parametrize("text", ["", "a\x00b", "\ud83d", "x" * 1_000_000])
    async def test_any_text_will_do(self, cache: MessageCache, text: str) -> None:
        assert await cache.edit(CHANNEL, "m0", text)

        [found] = await cache.get(CHANNEL, ["m0"])
        assert found.text == text.replace("\ud83d", "?")

    async def test_it_makes_the_channel_active(self, cache: MessageCache) -> None:
        elsewhere = datetime(1971, 1, 1, tzinfo=UTC)
        other = Message(channel="other", id="1", author="Ada", ts=T0 - timedelta(days=300), text="old")
        await cache.ingest("other", [other])
        assert (await cache.get_active_channels())[-1] == "other"

        await cache.forget(CHANNEL)
        await cache.edit("other", "1", "new")

        assert await cache.get_active_channels(since=elsewhere) == ["other"]


class TestDelete:
    async def test_a_deleted_message_leaves_a_tombstone_for_whoever_had_read_it(
        self, cache: MessageCache
    ) -> None:
        first, _, last = await cursors(cache)

        assert await cache.delete(CHANNEL, "m0")

        [tombstone] = await cache.since(CHANNEL, last)
        assert seen([tombstone]) == [("del", "m0", "")]
        assert (tombstone.author, tombstone.ts, tombstone.first) == ("Ada", T0, first)

    async def test_its_text_is_nowhere(self, cache: MessageCache, backend: Backend) -> None:
        await cache.edit(CHANNEL, "m0", "the code is 1234")
        await cache.delete(CHANNEL, "m0")

        assert "1234" not in str(await backend.entries(f"bgtasks:chan:{CHANNEL}:log"))
        assert await cache.get(CHANNEL, ["m0"]) == []

    async def test_no_view_of_the_conversation_shows_tombstones(self, cache: MessageCache) -> None:
        for number in range(3, 40):
            await cache.ingest(CHANNEL, [said(number)])
            await cache.delete(CHANNEL, f"m{number}")
        last = (await cursors(cache))[-1]

        assert [each.id for each in await cache.recent(CHANNEL, 2)] == ["m1", "m2"]
        assert [each.id for each in await cache.before(CHANNEL, last, 5)] == ["m0", "m1", "m2"]
        assert len(await cache.since(CHANNEL, None)) == 40

    async def test_it_is_neither_taken_in_nor_edited_nor_put_there_again(self, cache: MessageCache) -> None:
        await cache.delete(CHANNEL, "m0")

        assert await cache.ingest(CHANNEL, [said(0)]) == 0
        assert not await cache.edit(CHANNEL, "m0", "goodbye")
        assert not await cache.again(CHANNEL, "m0")
        assert await cache.count(CHANNEL) == 3

    async def test_deleting_twice_is_no_news(self, cache: MessageCache) -> None:
        await cache.delete(CHANNEL, "m0")
        before = await cursors(cache)

        assert await cache.delete(CHANNEL, "m0")

        assert await cursors(cache) == before

    async def test_what_nobody_said_cannot_be_deleted(self, cache: MessageCache) -> None:
        assert not await cache.delete(CHANNEL, "m9")
        assert not await cache.delete("nowhere", "m0")
        assert await cache.count(CHANNEL) == 3

    async def test_what_was_trimmed_gets_one_tombstone_too(self, cache: MessageCache) -> None:
        first, _, last = await cursors(cache)
        await cache.report(CHANNEL, "reader", last)
        await cache.trim(CHANNEL, keep=0)

        assert await cache.delete(CHANNEL, "m0")
        assert await cache.delete(CHANNEL, "m0")

        [tombstone] = await cache.since(CHANNEL, None)
        assert seen([tombstone]) == [("del", "m0", "")]
        assert (tombstone.author, tombstone.first) == ("?", first)

    async def test_a_tombstone_cannot_be_taken_in(self, cache: MessageCache) -> None:
        await cache.delete(CHANNEL, "m0")
        *_, tombstone = await cache.since(CHANNEL, None)

        with pytest.raises(InvalidMessage, match="m0 is the tombstone of one"):
            await cache.ingest(CHANNEL, [said(7), tombstone])

        assert await cache.count(CHANNEL) == 3


class TestAgain:
    async def test_it_lies_ahead_of_every_reader_and_is_there_once(self, cache: MessageCache) -> None:
        first, _, last = await cursors(cache)

        assert await cache.again(CHANNEL, "m0")

        [found] = await cache.since(CHANNEL, last)
        assert seen([found]) == [("again", "m0", "hello")]
        assert found.first == first
        assert await cache.count(CHANNEL) == 3

    async def test_what_is_not_there_is_not_put_there(self, cache: MessageCache) -> None:
        await cache.report(CHANNEL, "reader", (await cursors(cache))[0])
        await cache.trim(CHANNEL, keep=0)

        assert not await cache.again(CHANNEL, "m0")
        assert not await cache.again(CHANNEL, "m9")
        assert await cache.count(CHANNEL) == 2

    async def test_several_at_once_move_it_at_least_once_and_keep_it_once(self, backend: Backend) -> None:
        caches = [MessageCache(backend.new()) for _ in range(4)]
        await caches[0].ingest(CHANNEL, [said(0), said(1)])

        assert all(await asyncio.gather(*(cache.again(CHANNEL, "m0") for cache in caches)))

        assert seen(await caches[0].since(CHANNEL, None)) == [
            ("new", "m1", "hello"),
            ("again", "m0", "hello"),
        ]


class TestAtOnce:
    async def test_ingest_edit_and_delete_at_once_leave_each_message_at_most_once(
        self, backend: Backend
    ) -> None:
        caches = [MessageCache(backend.new()) for _ in range(4)]
        for number in range(20):
            await asyncio.gather(
                caches[0].ingest(CHANNEL, [said(number)]),
                caches[1].edit(CHANNEL, f"m{number}", "goodbye"),
                caches[2].delete(CHANNEL, f"m{number}") if number % 2 else caches[2].count(CHANNEL),
                caches[3].ingest(CHANNEL, [said(number)]),
            )

        found = await caches[0].since(CHANNEL, None)
        assert sorted(message.id for message in found) == sorted(f"m{number}" for number in range(20))
        live = [message.id for message in found if message.op != "del"]
        assert [each.id for each in await caches[0].get(CHANNEL, live)] == live
