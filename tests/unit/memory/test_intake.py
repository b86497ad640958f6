"""Intake counts what it added, what was there and what was no message, and reports every line."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import UTC, datetime, timedelta

import fakeredis
import pytest

from bgtasks.errors import ResourceUnavailable
from bgtasks.memory.intake import Taken, take_in
from bgtasks.memory.jsonl import BadLine
from bgtasks.memory.messages import BATCH, Message, MessageCache
from bgtasks.testing import ScriptedGraph

T0 = datetime(2026, 9, 1, tzinfo=UTC)


def said(channel: str, number: int) -> Message:
    return Message(
        channel=channel, id=str(number), author="Ada", ts=T0 + timedelta(seconds=number), text="hi"
    )


@pytest.fixture
async def cache() -> AsyncIterator[MessageCache]:
    client = fakeredis.FakeAsyncRedis()
    yield MessageCache(client)
    await client.aclose()


async def test_added_known_and_bad_are_counted_by_channel(cache: MessageCache) -> None:
    await cache.ingest("a", [said("a", 1)])
    bad = [BadLine(2, "not JSON"), BadLine(5, "lacks text")]

    taken = await take_in([said("b", 1), bad[0], said("a", 1), said("a", 2), bad[1], said("a", 2)], cache)

    assert dict(taken.added) == {"b": 1, "a": 1}
    assert dict(taken.known) == {"b": 0, "a": 2}
    assert taken.bad == bad
    assert taken.channels == ["b", "a"]


async def test_a_second_run_adds_nothing(cache: MessageCache) -> None:
    lines = [said("a", number) for number in range(3)]

    await take_in(lines, cache)
    again = await take_in(lines, cache)

    assert dict(again.added) == {"a": 0}
    assert dict(again.known) == {"a": 3}


@pytest.mark.parametrize("length", [0, 1, BATCH, 2 * BATCH + 1])
async def test_progress_adds_up_to_the_number_of_lines(cache: MessageCache, length: int) -> None:
    lines: list[Message | BadLine] = [said("ab"[number % 2], number) for number in range(length)]
    lines[::7] = [BadLine(number, "bad") for number, _ in enumerate(lines[::7])]
    reported: list[int] = []

    taken = await take_in(lines, cache, progress=reported.append)

    assert sum(reported) == length
    assert sum(taken.added.values()) + sum(taken.known.values()) + len(taken.bad) == length


async def test_nothing_in_is_nothing_out(cache: MessageCache) -> None:
    taken = await take_in([], cache, ScriptedGraph())

    assert (taken, taken.channels) == (Taken(), [])


async def test_lines_are_taken_as_they_come_and_not_gathered_first(cache: MessageCache) -> None:
    seen_before_the_end: list[int] = []
    reported: list[int] = []

    def lines() -> Iterator[Message]:
        for number in range(3 * BATCH):
            yield said("a", number)
        seen_before_the_end.append(sum(reported))

    await take_in(lines(), cache, progress=reported.append)

    assert seen_before_the_end == [3 * BATCH]


async def test_what_precedes_a_broken_source_is_in_and_the_next_run_makes_up(cache: MessageCache) -> None:
    everything = [said("a", number) for number in range(BATCH + 20)]

    def breaks_off() -> Iterable[Message]:
        yield from everything[: BATCH + 10]
        raise OSError("the disk went away")

    with pytest.raises(OSError, match="went away"):
        await take_in(breaks_off(), cache)
    assert await cache.count("a") == BATCH

    taken = await take_in(everything, cache)
    assert dict(taken.added) == {"a": 20}


async def test_order_of_arrival_is_that_of_the_lines(cache: MessageCache) -> None:
    numbers = [5, 1, 9, 2]

    await take_in([said("a", number) for number in numbers], cache)

    assert [each.id for each in await cache.since("a", None)] == ["5", "1", "9", "2"]


async def test_an_unavailable_graph_is_said_and_the_messages_are_in(cache: MessageCache) -> None:
    graph = ScriptedGraph()
    graph.on(".*", ResourceUnavailable("kg_manager", "connection refused"))

    with pytest.raises(ResourceUnavailable, match="kg_manager"):
        await take_in([said("a", 1)], cache, graph)

    assert await cache.count("a") == 1


async def test_many_channels_are_taken_in_as_they_come_and_not_only_at_the_end(cache: MessageCache) -> None:
    seen_early: list[int] = []

    def lines() -> Iterator[Message]:
        for number in range(5_000):
            yield said(f"channel {number % 1_000}", number)

    taken = await take_in(lines(), cache, progress=seen_early.append)

    assert sum(taken.added.values()) == 5_000
    assert sum(seen_early[:1_500]) >= 2_000 - 500
    assert len(seen_early) >= 2_000  # a channel's first messages went in long before its last were read


async def test_a_file_of_nothing_but_bad_lines_is_counted_and_not_kept_whole(cache: MessageCache) -> None:
    taken = await take_in((BadLine(number, "no") for number in range(1, 3_001)), cache)

    assert taken.bad_count == 3_000
    assert [line.number for line in taken.bad] == list(range(1, 1_001))
