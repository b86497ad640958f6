"""Trimming, on every Redis: nothing that is unread goes, until there is too much of it."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta

import pytest
from tests.support.servers import Backend

from bgtasks.errors import ConfigurationError, InvalidMessage
from bgtasks.memory.dead import HOLDER, DeadLetters
from bgtasks.memory.messages import BATCH, Message, MessageCache, Trimmed

pytestmark = pytest.mark.real

T0 = datetime(2026, 9, 1, 7, tzinfo=UTC)
CHANNEL = "allotment"


def conversation(length: int, start: int = 0) -> list[Message]:
    return [
        Message(
            channel=CHANNEL, id=f"m{number}", author="Ada", ts=T0 + timedelta(seconds=number), text="x" * 90
        )
        for number in range(start, start + length)
    ]


async def held(cache: MessageCache) -> list[int]:
    return [int(message.id[1:]) for message in await cache.since(CHANNEL, None, 10_000)]


async def read(cache: MessageCache, reader: str, upto: int) -> None:
    """Report that `reader` has read message number `upto`, which is still there."""
    [message] = await cache.get(CHANNEL, [f"m{upto}"])
    assert message.cursor is not None
    await cache.report(CHANNEL, reader, message.cursor)


@pytest.fixture
def cache(backend: Backend) -> MessageCache:
    return MessageCache(backend.client)


class TestReaders:
    async def test_a_report_only_ever_moves_forward(self, cache: MessageCache) -> None:
        await cache.ingest(CHANNEL, conversation(1))
        for cursor in ("9-9", "9-10", "10-0", "9-11", "10", "5-1"):
            await cache.report(CHANNEL, "one", cursor)
        await cache.report(CHANNEL, "other", "5-1")

        assert await cache.readers(CHANNEL) == {"one": "10-0", "other": "5-1"}

    async def test_a_report_on_no_channel_leaves_nothing(self, cache: MessageCache, backend: Backend) -> None:
        await cache.report(CHANNEL, "one", "5-1")

        assert await cache.readers(CHANNEL) == {}
        assert await backend.keys() == set()

    async def test_what_is_no_cursor_is_refused(self, cache: MessageCache) -> None:
        with pytest.raises(InvalidMessage, match="'5-x' is no cursor"):
            await cache.report(CHANNEL, "one", "5-x")

    async def test_a_forgotten_reader_holds_up_no_channel(self, cache: MessageCache) -> None:
        for channel in ("a", "b:c", "*"):
            message = Message(channel=channel, id="1", author="Ada", ts=T0, text="hi")
            await cache.ingest(channel, [message])
            for reader in ("gone", "here"):
                await cache.report(channel, reader, "5-1")

        await cache.forget_reader("gone")

        for channel in ("a", "b:c", "*"):
            assert await cache.readers(channel) == {"here": "5-1"}


class TestTrim:
    async def test_nothing_goes_while_no_reader_has_reported(self, cache: MessageCache) -> None:
        await cache.ingest(CHANNEL, conversation(10))

        assert await cache.trim(CHANNEL, keep=0) == Trimmed(0, 0)
        assert await cache.count(CHANNEL) == 10

    async def test_what_the_slowest_has_read_goes_to_the_entry(self, cache: MessageCache) -> None:
        await cache.ingest(CHANNEL, conversation(700))
        await read(cache, "fast", 600)
        await read(cache, "slow", 437)

        assert await cache.trim(CHANNEL, keep=0) == Trimmed(438, 0)
        assert await held(cache) == list(range(438, 700))

    @pytest.mark.parametrize("keep", [1, 99, 100, 101, 699, 700, 701])
    async def test_the_last_are_kept_to_the_entry(self, cache: MessageCache, keep: int) -> None:
        await cache.ingest(CHANNEL, conversation(700))
        await read(cache, "one", 699)

        removed = max(0, 700 - keep)
        assert await cache.trim(CHANNEL, keep=keep) == Trimmed(removed, 0)
        assert await held(cache) == list(range(removed, 700))
        assert await cache.trim(CHANNEL, keep=keep) == Trimmed(0, 0)

    async def test_more_than_one_step_removes_goes_in_several(self, cache: MessageCache) -> None:
        await cache.ingest(CHANNEL, conversation(2400))
        await read(cache, "one", 2398)

        assert await cache.trim(CHANNEL, keep=0) == Trimmed(2399, 0)
        assert await held(cache) == [2399]

    async def test_a_trimmed_message_is_not_taken_in_again(self, cache: MessageCache) -> None:
        await cache.ingest(CHANNEL, conversation(10))
        await read(cache, "one", 9)
        await cache.trim(CHANNEL, keep=3)

        assert await cache.ingest(CHANNEL, conversation(12)) == 2
        assert await held(cache) == [7, 8, 9, 10, 11]

    async def test_edits_and_tombstones_are_trimmed_like_messages(self, cache: MessageCache) -> None:
        await cache.ingest(CHANNEL, conversation(200))
        for number in range(0, 200, 2):
            await cache.delete(CHANNEL, f"m{number}")
        for number in range(1, 200, 4):
            await cache.edit(CHANNEL, f"m{number}", "edited")
        last = (await cache.since(CHANNEL, None))[-1].cursor
        await cache.report(CHANNEL, "one", last or "")

        assert await cache.trim(CHANNEL, keep=5) == Trimmed(195, 0)
        assert await cache.count(CHANNEL) == 5

    async def test_a_channel_that_is_not_there_is_trimmed_already(
        self, cache: MessageCache, backend: Backend
    ) -> None:
        assert await cache.trim("nowhere") == Trimmed(0, 0)
        assert await backend.keys() == set()

    async def test_a_reader_goes_on_after_the_gap(self, cache: MessageCache) -> None:
        await cache.ingest(CHANNEL, conversation(20))
        await read(cache, "slow", 4)
        reached = (await cache.readers(CHANNEL))["slow"]
        await read(cache, "fast", 15)
        await cache.forget_reader("slow")
        await cache.trim(CHANNEL, keep=0)

        assert [message.id for message in await cache.since(CHANNEL, reached)] == ["m16", "m17", "m18", "m19"]

    async def test_several_at_once_remove_what_one_would(self, backend: Backend) -> None:
        caches = [MessageCache(backend.new()) for _ in range(4)]
        await caches[0].ingest(CHANNEL, conversation(1500))
        await read(caches[0], "one", 1499)

        trimmed = await asyncio.gather(*(cache.trim(CHANNEL, keep=7) for cache in caches))

        assert sum(each.removed for each in trimmed) == 1493
        assert await caches[0].count(CHANNEL) == 7


class TestCap:
    async def test_beyond_the_cap_the_oldest_go_with_an_alarm(
        self, backend: Backend, caplog: pytest.LogCaptureFixture
    ) -> None:
        await MessageCache(backend.client).ingest(CHANNEL, conversation(300))
        cache = MessageCache(backend.client, cap=100)
        await read(cache, "fast", 299)
        await read(cache, "slow", 149)

        with caplog.at_level(logging.WARNING, "bgtasks"):
            assert await cache.trim(CHANNEL) == Trimmed(200, 50)

        assert await held(cache) == list(range(200, 300))
        assert await cache.alarms() == {CHANNEL: 50}
        [warning] = caplog.messages
        for part in (CHANNEL, " 50 ", "slow", 'forget_reader("slow")', "BGTASKS_CHANNEL_MESSAGES"):
            assert part in warning

    async def test_what_was_read_by_all_is_no_loss(
        self, backend: Backend, caplog: pytest.LogCaptureFixture
    ) -> None:
        await MessageCache(backend.client).ingest(CHANNEL, conversation(300))
        cache = MessageCache(backend.client, cap=100)
        await read(cache, "one", 199)

        assert await cache.trim(CHANNEL) == Trimmed(200, 0)
        assert (await cache.alarms(), caplog.messages) == ({}, [])

    async def test_without_any_reader_all_that_goes_is_a_loss(
        self, backend: Backend, caplog: pytest.LogCaptureFixture
    ) -> None:
        await MessageCache(backend.client).ingest(CHANNEL, conversation(300))

        assert await MessageCache(backend.client, cap=100).trim(CHANNEL) == Trimmed(200, 200)
        assert "before anything had read them" in caplog.text

    async def test_ingest_alone_keeps_a_channel_within_its_bound(
        self, backend: Backend, caplog: pytest.LogCaptureFixture
    ) -> None:
        cache = MessageCache(backend.client, cap=1000)
        longest = 0
        for start in range(0, 3000, BATCH):
            await cache.ingest(CHANNEL, conversation(BATCH, start))
            longest = max(longest, await cache.count(CHANNEL))

        assert longest <= 1100
        assert (await held(cache))[-1] == 2999
        assert (await cache.alarms())[CHANNEL] == 3000 - await cache.count(CHANNEL)
        assert len(caplog.messages) < 3000 / BATCH

    async def test_a_dead_letter_is_named_with_what_to_do(
        self, backend: Backend, caplog: pytest.LogCaptureFixture
    ) -> None:
        await MessageCache(backend.client).ingest(CHANNEL, conversation(300))
        cache = MessageCache(backend.client, cap=100)
        await read(cache, "fast", 299)
        [message] = await cache.get(CHANNEL, ["m150"])
        await DeadLetters(backend.client).add(CHANNEL, "m150", "fast", "why", T0, cursor=message.cursor)

        assert await cache.trim(CHANNEL, keep=10) == Trimmed(200, 50)

        [warning] = caplog.messages
        assert f"before {HOLDER} had read them; see bgtasks dead list" in warning
        assert "forget_reader" not in warning

    async def test_a_channel_that_is_always_full_is_a_warning_a_minute(
        self, backend: Backend, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cache = MessageCache(backend.client, cap=100)
        for start in range(0, 1000, 200):
            await cache.ingest(CHANNEL, conversation(200, start))
        assert [" the 100 oldest " in each for each in caplog.messages] == [True]

        monkeypatch.setattr("bgtasks.memory.embedding_queue.SELDOM", 0.0)
        await cache.ingest(CHANNEL, conversation(200, 1000))
        assert [" the 1000 oldest " in each for each in caplog.messages] == [False, True]
        assert await cache.alarms() == {CHANNEL: 1100}

    async def test_edits_alone_keep_a_channel_within_its_bound(self, backend: Backend) -> None:
        await MessageCache(backend.client).ingest(CHANNEL, conversation(30))
        cache = MessageCache(backend.client, cap=20)

        await cache.delete(CHANNEL, "m29")

        assert await cache.count(CHANNEL) == 20

    async def test_no_room_at_all_is_refused(self, backend: Backend) -> None:
        with pytest.raises(ConfigurationError, match="cannot be capped at 0"):
            MessageCache(backend.client, cap=0)
