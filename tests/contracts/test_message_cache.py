"""The contract of `MessageCache`, on every Redis: each message once, in the order of arrival."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest
from tests.support.servers import Backend

from bgtasks.errors import InvalidMessage
from bgtasks.memory.messages import BATCH, Message, MessageCache, Origin

pytestmark = pytest.mark.real

T0 = datetime(2020, 9, 1, 7, tzinfo=UTC)
CHANNEL = "allotment"


def said(
    number: int, text: str = "hello", *, channel: str = CHANNEL, seconds: float | None = None
) -> Message:
    offset = timedelta(seconds=number if seconds is None else seconds)
    return Message(channel=channel, id=f"m{number}", author="Ada", ts=T0 + offset, text=text)


def conversation(length: int, channel: str = CHANNEL) -> list[Message]:
    return [said(number, channel=channel) for number in range(length)]


def ids(messages: list[Message]) -> list[str]:
    return [message.id for message in messages]


@pytest.fixture
def cache(backend: Backend) -> MessageCache:
    return MessageCache(backend.client)


# -- taking in -----------------------------------------------------------------------------------


async def test_a_message_comes_back_as_it_was_given_with_its_cursor(cache: MessageCache) -> None:
    given = Message(
        channel=CHANNEL,
        id="7",
        author="Katarzyna Nowak",
        ts=datetime(2026, 9, 1, 10, 19, 3, 250_000, tzinfo=timezone(timedelta(hours=3))),
        text="A perfect circle is a cat, Walter.",
        role="assistant",
        origin="agent",
    )

    assert await cache.ingest(CHANNEL, [given]) == 1

    [found] = await cache.since(CHANNEL, None)
    assert found.cursor
    assert found == Message(
        channel=CHANNEL,
        id="7",
        author="Katarzyna Nowak",
        ts=datetime(2026, 9, 1, 7, 19, 3, 250_000, tzinfo=UTC),
        text="A perfect circle is a cat, Walter.",
        role="assistant",
        origin="agent",
        cursor=found.cursor,
    )


@pytest.mark.parametrize("origin", ["human", "agent", "recalled", "tool"])
async def test_the_origin_is_preserved(cache: MessageCache, origin: Origin) -> None:
    message = Message(channel=CHANNEL, id="1", author="Ada", ts=T0, text="", origin=origin)

    await cache.ingest(CHANNEL, [message])

    assert [each.origin for each in await cache.recent(CHANNEL)] == [origin]


async def test_taking_the_same_again_adds_nothing(cache: MessageCache) -> None:
    messages = conversation(5)

    assert await cache.ingest(CHANNEL, messages) == 5
    assert await cache.ingest(CHANNEL, messages) == 0
    assert ids(await cache.since(CHANNEL, None)) == ids(messages)


async def test_a_partial_overlap_adds_what_is_missing(cache: MessageCache) -> None:
    messages = conversation(10)

    assert await cache.ingest(CHANNEL, messages[:6]) == 6
    assert await cache.ingest(CHANNEL, messages[3:]) == 4
    assert ids(await cache.since(CHANNEL, None)) == ids(messages)


async def test_an_id_given_twice_at_once_is_taken_once_and_the_first_counts(cache: MessageCache) -> None:
    assert await cache.ingest(CHANNEL, [said(1, "first"), said(1, "second")]) == 1
    assert await cache.ingest(CHANNEL, [said(1, "third")]) == 0
    assert [each.text for each in await cache.since(CHANNEL, None)] == ["first"]


async def test_the_same_id_in_two_channels_is_two_messages(cache: MessageCache) -> None:
    assert await cache.ingest("one", [said(1, channel="one")]) == 1
    assert await cache.ingest("two", [said(1, channel="two")]) == 1
    assert (await cache.count("one"), await cache.count("two")) == (1, 1)


@pytest.mark.parametrize("length", [BATCH - 1, BATCH, BATCH + 1, 3 * BATCH + 7])
async def test_any_number_of_messages_goes_in_in_order(cache: MessageCache, length: int) -> None:
    messages = conversation(length)

    assert await cache.ingest(CHANNEL, messages) == length
    assert ids(await cache.since(CHANNEL, None, count=length + 1)) == ids(messages)
    assert await cache.ingest(CHANNEL, messages) == 0


async def test_no_messages_are_no_work(cache: MessageCache, backend: Backend) -> None:
    assert await cache.ingest(CHANNEL, []) == 0
    assert await backend.keys() == set()


async def test_a_message_of_another_channel_is_refused_before_anything_is_written(
    cache: MessageCache, backend: Backend
) -> None:
    messages = [*conversation(BATCH + 1), said(999, channel="elsewhere")]

    with pytest.raises(InvalidMessage, match="m999 belongs to elsewhere, not to allotment"):
        await cache.ingest(CHANNEL, messages)

    assert await backend.keys() == set()


async def test_two_clients_that_take_the_same_in_at_once_add_each_message_once(backend: Backend) -> None:
    caches = [MessageCache(backend.new()) for _ in range(4)]
    messages = conversation(2 * BATCH + 30)

    added = await asyncio.gather(*(cache.ingest(CHANNEL, messages) for cache in caches))

    found = ids(await caches[0].since(CHANNEL, None, count=2000))
    assert sum(added) == len(messages)
    assert sorted(found) == sorted(ids(messages))


async def test_a_cancelled_ingest_is_made_up_for(backend: Backend) -> None:
    for steps in range(0, 40, 4):
        channel = f"cancelled after {steps}"
        cache = MessageCache(backend.new())
        mine = conversation(3 * BATCH, channel)
        task = asyncio.create_task(cache.ingest(channel, mine))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

        await cache.ingest(channel, mine)

        assert ids(await cache.since(channel, None, count=len(mine) + 1)) == ids(mine)


async def test_ingest_goes_on_after_the_server_forgot_the_script(
    cache: MessageCache, backend: Backend
) -> None:
    await cache.ingest(CHANNEL, conversation(3))

    await backend.client.script_flush()

    assert await cache.ingest(CHANNEL, conversation(5)) == 2


# -- awkward content -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\x00",
        "a\x00b",
        "🦡\u200d🌱 Ääkkösiä 日本語",
        "line\nline\r\n",
        "\ufeffBOM",
        "\u2028",
        "x" * 1_000_000,
    ],
    ids=["empty", "blank", "NUL", "inner NUL", "unicode", "lines", "BOM", "separator", "a megabyte"],
)
async def test_any_text_comes_back_unchanged(cache: MessageCache, text: str) -> None:
    await cache.ingest(CHANNEL, [said(1, text)])

    assert [each.text for each in await cache.since(CHANNEL, None)] == [text]


async def test_lone_surrogates_are_replaced_wherever_they_are(cache: MessageCache) -> None:
    channel = "room \udfff"
    message = Message(
        channel=channel, id="i\ud800", author="A\ud83d", ts=T0, text="\ude00 cut", role="r\ud800"
    )

    assert await cache.ingest(channel, [message]) == 1
    assert await cache.ingest(channel, [message]) == 0

    [found] = await cache.since(channel, None)
    assert (found.id, found.author, found.text, found.role) == ("i?", "A?", "? cut", "r?")
    assert await cache.get_active_channels() == ["room ?"]


@pytest.mark.parametrize(
    "channel",
    ["a:b", "a:log", "chan:a:log", ":", "kahvihuone ☕", "#general", "a b", "{tag}", "*", "x" * 500],
)
async def test_any_channel_name_keeps_to_itself(cache: MessageCache, channel: str) -> None:
    await cache.ingest("a", [said(1, "other", channel="a")])

    assert await cache.ingest(channel, [said(1, channel=channel), said(2, channel=channel)]) == 2

    assert [each.channel for each in await cache.since(channel, None)] == [channel] * 2
    assert await cache.count("a") == 1
    assert set(await cache.get_active_channels()) == {"a", channel}


async def test_namespaces_do_not_see_each_other(backend: Backend) -> None:
    one, other = MessageCache(backend.client, "one"), MessageCache(backend.client, "other")
    await one.ingest(CHANNEL, conversation(3))

    assert await other.count(CHANNEL) == 0
    assert await other.get_active_channels() == []
    assert await other.ingest(CHANNEL, conversation(3)) == 3
    assert {key.partition(":")[0] for key in await backend.keys()} == {"one", "other"}


@pytest.mark.parametrize(
    "ts",
    [
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, tzinfo=timezone(timedelta(hours=-14))),
    ],
    ids=["the first", "the last second", "the last microsecond", "beyond the last in UTC"],
)
async def test_a_message_that_was_taken_can_be_read(cache: MessageCache, ts: datetime) -> None:
    await cache.ingest(CHANNEL, [said(1)])
    try:
        await cache.ingest(CHANNEL, [Message(channel=CHANNEL, id="edge", author="Ada", ts=ts, text="")])
    except InvalidMessage:
        assert ids(await cache.since(CHANNEL, None)) == ["m1"]
    else:
        assert ids(await cache.since(CHANNEL, None)) == ["m1", "edge"]
        assert set(ids(await cache.recent(CHANNEL))) == {"m1", "edge"}


# -- reading -------------------------------------------------------------------------------------


async def test_a_message_that_comes_late_goes_to_the_end(cache: MessageCache) -> None:
    await cache.ingest(CHANNEL, [said(5), said(6)])
    reader = (await cache.since(CHANNEL, None))[-1].cursor

    await cache.ingest(CHANNEL, [said(1)])

    assert ids(await cache.since(CHANNEL, None)) == ["m5", "m6", "m1"]
    assert ids(await cache.since(CHANNEL, reader)) == ["m1"]


@pytest.mark.parametrize("page", [1, 7, 30, 100])
async def test_pages_after_a_cursor_show_each_message_once(cache: MessageCache, page: int) -> None:
    messages = conversation(90)
    await cache.ingest(CHANNEL, messages)

    seen: list[str] = []
    cursor = None
    while found := await cache.since(CHANNEL, cursor, count=page):
        assert len(found) <= page
        seen += ids(found)
        cursor = found[-1].cursor

    assert seen == ids(messages)


async def test_between_shows_what_came_after_one_cursor_and_up_to_another(cache: MessageCache) -> None:
    await cache.ingest(CHANNEL, conversation(10))
    at = [message.cursor for message in await cache.since(CHANNEL, None)]
    assert at[2] is not None
    assert at[5] is not None

    assert ids(await cache.between(CHANNEL, at[2], at[5])) == ["m3", "m4", "m5"]
    assert ids(await cache.between(CHANNEL, None, at[2])) == ["m0", "m1", "m2"]
    assert ids(await cache.between(CHANNEL, None, at[5], limit=2)) == ["m0", "m1"]
    assert await cache.between(CHANNEL, at[5], at[5]) == []
    assert await cache.between(CHANNEL, at[5], at[2]) == []


async def test_before_shows_the_last_up_to_a_cursor_in_the_order_of_arrival(cache: MessageCache) -> None:
    await cache.ingest(CHANNEL, [said(9), *conversation(5)])
    at = [message.cursor for message in await cache.since(CHANNEL, None)]

    assert ids(await cache.before(CHANNEL, at[3], 2)) == ["m1", "m2"]
    assert ids(await cache.before(CHANNEL, at[3], 9)) == ["m9", "m0", "m1", "m2"]
    assert await cache.before(CHANNEL, at[3], 0) == []
    assert await cache.before(CHANNEL, None, 9) == []


async def test_get_answers_in_the_order_it_was_asked_for_what_there_is(cache: MessageCache) -> None:
    await cache.ingest(CHANNEL, conversation(130))
    asked = ["m7", "nobody", "m3", *(f"m{number}" for number in range(20, 130))]

    found = await cache.get(CHANNEL, asked)

    assert ids(found) == ["m7", "m3", *asked[3:]]
    assert found[:1] == (await cache.since(CHANNEL, None))[7:8]
    assert await cache.get(CHANNEL, []) == await cache.get("nowhere", ["m7"]) == []


async def test_recent_shows_the_last_to_arrive_by_when_they_were_said(cache: MessageCache) -> None:
    await cache.ingest(CHANNEL, [said(5), said(6), said(1), said(7, seconds=5)])

    assert ids(await cache.recent(CHANNEL)) == ["m1", "m5", "m7", "m6"]
    assert ids(await cache.recent(CHANNEL, 3)) == ["m1", "m7", "m6"]


async def test_recent_shows_the_last_to_arrive_oldest_first(cache: MessageCache) -> None:
    await cache.ingest(CHANNEL, conversation(80))

    assert ids(await cache.recent(CHANNEL, 3)) == ["m77", "m78", "m79"]
    assert len(await cache.recent(CHANNEL)) == 50
    assert len(await cache.recent(CHANNEL, 500)) == 80


async def test_a_channel_that_nobody_spoke_in_is_empty(cache: MessageCache) -> None:
    assert await cache.since("nowhere", None) == []
    assert await cache.since("nowhere", "5-1") == []
    assert await cache.recent("nowhere") == []
    assert await cache.count("nowhere") == 0
    assert await cache.get_active_channels() == []


async def test_active_channels_are_ordered_by_their_latest_message(cache: MessageCache) -> None:
    await cache.ingest("old", [said(1, channel="old", seconds=10)])
    await cache.ingest("new", [said(1, channel="new", seconds=30)])
    await cache.ingest("middle", [said(1, channel="middle", seconds=20)])

    assert await cache.get_active_channels() == ["new", "middle", "old"]
    assert await cache.get_active_channels(limit=1) == ["new"]

    await cache.ingest("old", [said(2, channel="old", seconds=40), said(3, channel="old", seconds=5)])
    assert await cache.get_active_channels() == ["old", "new", "middle"]


async def test_channels_without_activity_since_an_instant_are_left_out(cache: MessageCache) -> None:
    for seconds in (10, 20, 30):
        await cache.ingest(f"c{seconds}", [said(1, channel=f"c{seconds}", seconds=seconds)])

    assert await cache.get_active_channels(since=T0 + timedelta(seconds=20)) == ["c30", "c20"]
    assert await cache.get_active_channels(1, since=T0) == ["c30"]
    assert await cache.get_active_channels(0) == []
    with pytest.raises(InvalidMessage, match=r"since .* says no time zone"):
        await cache.get_active_channels(since=T0.replace(tzinfo=None))


async def test_an_older_message_does_not_move_a_channel_back(cache: MessageCache) -> None:
    await cache.ingest("a", [said(1, channel="a", seconds=20)])
    await cache.ingest("b", [said(1, channel="b", seconds=10)])

    await cache.ingest("a", [said(2, channel="a", seconds=0)])

    assert await cache.get_active_channels() == ["a", "b"]


async def test_a_message_that_says_it_is_of_the_future_counts_as_of_when_it_came(cache: MessageCache) -> None:
    ahead = Message(channel="ahead", id="1", author="Ada", ts=datetime(9000, 1, 1, tzinfo=UTC), text="hi")
    now = Message(channel="now", id="1", author="Ada", ts=T0, text="hi")
    for _ in range(2):
        await cache.ingest("ahead", [ahead])
    await cache.ingest("now", [now])
    await cache.edit("now", "1", "now")

    assert await cache.get_active_channels() == ["now", "ahead"]
    assert [message.ts.year for message in await cache.since("ahead", None)] == [9000]


async def test_a_channel_whose_only_message_is_of_the_first_instant_is_active(cache: MessageCache) -> None:
    message = Message(channel="dawn", id="1", author="Ada", ts=datetime(1970, 1, 1, tzinfo=UTC), text="hi")

    await cache.ingest("dawn", [message])

    assert await cache.get_active_channels() == ["dawn"]


# -- channels ------------------------------------------------------------------------------------

ODD = [
    "a:b",
    "a:log",
    "chan:a:log",
    ":",
    "*",
    "[a]",
    "b?",
    "c\\d",
    "{tag}",
    "^-",
    "a readers",
    "log",
    "mid:readers",
]


async def found(cache: MessageCache) -> list[str]:
    return [channel async for channel in cache.channels()]


async def test_channels_of_any_name_are_discovered_once_each(backend: Backend) -> None:
    for namespace in ("one*", "one", "oneX", "[o]ne"):
        cache = MessageCache(backend.client, namespace)
        for channel in ODD if namespace == "one*" else [f"of {namespace}"]:
            await cache.ingest(channel, [said(1, channel=channel)])
            await cache.report(channel, "reader", "5-1")

    assert sorted(await found(MessageCache(backend.client, "one*"))) == sorted(ODD)
    assert await found(MessageCache(backend.client, "[o]ne")) == ["of [o]ne"]
    assert await found(MessageCache(backend.client, "two")) == []


async def test_many_channels_are_discovered_among_many_keys(cache: MessageCache, backend: Backend) -> None:
    names = {f"channel {number}" for number in range(300)}
    await backend.client.mset({f"other:{number}": "" for number in range(3000)})
    for name in names:
        await cache.ingest(name, [said(1, channel=name)])

    assert sorted(await found(cache)) == sorted(names)


async def test_a_forgotten_channel_leaves_nothing_and_may_begin_anew(
    cache: MessageCache, backend: Backend
) -> None:
    await cache.ingest(CHANNEL, conversation(5))
    await cache.report(CHANNEL, "reader", "5-1")
    for part in ("plan", "lease"):  # of whoever extracts knowledge from it
        await backend.client.set(f"bgtasks:chan:{CHANNEL}:{part}", "x")

    await cache.forget(CHANNEL)
    await cache.forget("nowhere")

    assert await backend.keys() == set()
    assert await cache.ingest(CHANNEL, conversation(5)) == 5


async def test_a_client_of_the_newer_protocol_serves_as_well(backend: Backend) -> None:
    cache = MessageCache(backend.new(protocol=3))
    await cache.ingest(CHANNEL, conversation(5))
    await cache.report(CHANNEL, "reader", "5-1")
    await cache.edit(CHANNEL, "m1", "edited")

    assert ids(await cache.get(CHANNEL, ["m2", "m1"])) == ["m2", "m1"]
    assert ids(await cache.recent(CHANNEL, 2)) == ["m1", "m4"]
    assert await cache.readers(CHANNEL) == {"reader": "5-1"}
    assert await cache.get_active_channels() == await found(cache) == [CHANNEL]
