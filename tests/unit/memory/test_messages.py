"""`Message` validates itself; ingest is idempotent whatever the batches."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import fakeredis
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from redis.asyncio.cluster import RedisCluster

from bgtasks.errors import InvalidMessage, ResourceUnavailable, UnsuitableServer
from bgtasks.memory.cursors import cursor_key
from bgtasks.memory.messages import Message, MessageCache

T0 = datetime(2020, 9, 1, 7, tzinfo=UTC)


@pytest.mark.parametrize("field", ["channel", "id", "author"])
@pytest.mark.parametrize("value", ["", "  ", "\n"])
def test_an_empty_part_is_refused_by_name(field: str, value: str) -> None:
    parts: dict[str, Any] = {"channel": "c", "id": "i", "author": "a", field: value}

    with pytest.raises(InvalidMessage, match=f"^{field} is empty$"):
        Message(ts=T0, text="", **parts)


def test_a_naive_instant_is_refused_with_the_cure() -> None:
    with pytest.raises(InvalidMessage, match=r"says no time zone: add one, such as \+00:00"):
        Message(channel="c", id="i", author="a", ts=T0.replace(tzinfo=None), text="")


@pytest.mark.parametrize(
    "ts",
    [
        datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC),
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))),
        datetime(1970, 1, 1, tzinfo=timezone(timedelta(hours=2))),
    ],
)
def test_an_instant_before_1970_is_refused(ts: datetime) -> None:
    with pytest.raises(InvalidMessage, match="is not between the years 1970 and 9999"):
        Message(channel="c", id="i", author="a", ts=ts, text="")


def test_the_instant_in_milliseconds_is_the_same_in_every_zone() -> None:
    there = T0.astimezone(timezone(timedelta(hours=-9, minutes=-30)))

    messages = [Message(channel="c", id="i", author="a", ts=ts, text="") for ts in (T0, there)]

    assert messages[0].ms == messages[1].ms == 1_598_943_600_000


async def test_a_client_of_a_cluster_is_refused() -> None:
    cluster = RedisCluster(host="127.0.0.1", port=1)
    try:
        with pytest.raises(UnsuitableServer, match="Redis Cluster is not supported"):
            MessageCache(cluster)  # type: ignore[arg-type]
    finally:
        await cluster.aclose()


async def test_a_server_that_went_away_is_said_to_be_unavailable() -> None:
    server = fakeredis.FakeServer()
    client = fakeredis.FakeAsyncRedis(server=server)
    cache = MessageCache(client)
    server.connected = False

    for call in (
        cache.ingest("c", [Message(channel="c", id="i", author="a", ts=T0, text="")]),
        cache.since("c", None),
        cache.recent("c"),
        cache.count("c"),
        cache.get_active_channels(),
        cache.edit("c", "i", "x"),
        cache.delete("c", "i"),
        cache.again("c", "i"),
        cache.get("c", ["i"]),
        cache.before("c", "5-1", 1),
        cache.between("c", None, "5-1"),
        cache.report("c", "reader", "5-1"),
        cache.readers("c"),
        cache.forget_reader("reader"),
        cache.forget("c"),
        cache.trim("c"),
        cache.alarms(),
    ):
        with pytest.raises(ResourceUnavailable, match="redis is unavailable"):
            await call
    await client.aclose()


@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 12)), max_size=20), min_size=1, max_size=8
    )
)
def test_whatever_the_batches_each_message_is_in_once_in_order_of_first_arrival(
    batches: list[list[tuple[str, int]]],
) -> None:
    async def main() -> None:
        client = fakeredis.FakeAsyncRedis()
        cache = MessageCache(client)
        expected: dict[str, list[str]] = {"a": [], "b": []}
        added = 0
        for batch in [*batches, *batches]:
            for channel, arrived in expected.items():
                mine = [str(number) for where, number in batch if where == channel]
                fresh = list(dict.fromkeys(each for each in mine if each not in arrived))
                messages = [
                    Message(channel=channel, id=each, author="Ada", ts=T0 + timedelta(int(each)), text="")
                    for each in mine
                ]

                assert await cache.ingest(channel, messages) == len(fresh)

                arrived += fresh
                added += len(fresh)
        for channel, arrived in expected.items():
            assert [each.id for each in await cache.since(channel, None)] == arrived
            assert await cache.count(channel) == len(arrived)
        latest = {channel: max(map(int, arrived)) for channel, arrived in expected.items() if arrived}
        active = await cache.get_active_channels()
        assert set(active) == set(latest)
        assert [latest[each] for each in active] == sorted(latest.values(), reverse=True)
        assert added == sum(map(len, expected.values()))
        await client.aclose()

    asyncio.run(main())


CHANGES = st.tuples(st.sampled_from(["say", "edit", "del", "again", "trim"]), st.integers(0, 5))
READS = st.tuples(st.just("read"), st.integers(1, 4))


class Follower:
    """A reader that keeps the text of each message as the entries tell it, None where it was deleted.

    Attributes:
        unread: Messages that were put elsewhere before it came to them.
    """

    def __init__(self, cache: MessageCache) -> None:
        self.read: dict[str, str | None] = {}
        self.unread: set[str] = set()
        self._cache = cache
        self._cursor: str | None = None

    async def follow(self, count: int) -> None:
        began = cursor_key(self._cursor)
        for message in await self._cache.since("c", self._cursor, count):
            if message.first is not None and message.id not in self.unread:
                assert (cursor_key(message.first) <= began) == (message.id in self.read)
            self.unread.discard(message.id)
            self.read[message.id] = None if message.op == "del" else message.text
            self._cursor = message.cursor
        if self._cursor is not None:
            await self._cache.report("c", "follower", self._cursor)


@example([("say", 1), ("say", 0), ("edit", 1)])
@example([("say", 1), ("say", 0), ("edit", 1), ("read", 1)])
@given(st.lists(CHANGES | READS, max_size=40))
def test_whatever_changes_a_reader_that_follows_the_entries_ends_with_what_is_there(
    steps: list[tuple[str, int]],
) -> None:
    async def main() -> None:
        client = fakeredis.FakeAsyncRedis()
        cache = MessageCache(client, "test")
        follower = Follower(cache)
        texts: dict[str, str | None] = {}
        kept: set[str] = set()
        for number, (step, which) in enumerate(steps):
            mid, text = f"m{which}", f"text {number}"
            if step in ("edit", "del", "again") and mid not in follower.read:
                follower.unread.add(mid)
            if step == "read":
                await follower.follow(which)
            elif step == "trim":
                await cache.trim("c", keep=2)
                kept &= {message.id for message in await cache.since("c", None)}
            elif step == "say":
                message = Message(channel="c", id=mid, author="Ada", ts=T0, text=text)
                assert await cache.ingest("c", [message]) == (mid not in texts)
                if mid not in texts:
                    texts[mid] = text
                    kept.add(mid)
            elif step == "edit":
                assert await cache.edit("c", mid, text) == (mid in kept)
                if mid in kept:
                    texts[mid] = text
            elif step == "again":
                assert await cache.again("c", mid) == (mid in kept)
            else:
                assert await cache.delete("c", mid) == (mid in texts)
                if mid in texts:
                    texts[mid] = None
                kept.discard(mid)
            there = {message.id: message.text for message in await cache.get("c", list(texts))}
            assert there == {mid: texts[mid] for mid in kept}
        await follower.follow(1000)
        read = {mid: text for mid, text in follower.read.items() if text is not None}
        assert read == {mid: text for mid, text in texts.items() if text is not None}
        await client.aclose()

    asyncio.run(main())
