"""What is followed is told once for each step, however much there was and whenever it began."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.support.task_stores import a_run

from bgtasks.cli.following import PAGE, Feed
from bgtasks.records import RunQuery, RunRow, RunStatus
from bgtasks.stores.tasks.memory import MemoryTaskStore

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


class History(MemoryTaskStore):
    """A store whose runs are as they are put there."""

    def put(self, *runs: RunRow) -> None:
        for run in runs:
            self._runs.put(run)


def run(number: int, status: RunStatus = RunStatus.SUCCESS, **but: Any) -> RunRow:
    return a_run(id=f"{number:05}", status=status, created_at=NOON + timedelta(seconds=number), **but)


def ids(runs: list[RunRow]) -> list[str]:
    return [each.id for each in runs]


async def test_what_begins_and_ends_is_told_once_each() -> None:
    store = History()
    feed = Feed(store, RunQuery())
    store.put(run(1), run(2, RunStatus.RUNNING))
    assert ids(await feed.begin()) == ["00001", "00002"]
    assert await feed.news() == []

    store.put(run(2), run(3, RunStatus.PENDING))
    assert [(each.id, each.status) for each in await feed.news()] == [
        ("00002", RunStatus.SUCCESS),
        ("00003", RunStatus.PENDING),
    ]
    assert await feed.news() == []


async def test_a_run_that_began_long_ago_is_told_when_it_ends() -> None:
    store = History()
    feed = Feed(store, RunQuery())
    store.put(run(0, RunStatus.RUNNING), *(run(number) for number in range(1, 3 * PAGE)))
    begun = await feed.begin()
    assert "00000" in ids(begun)
    assert len(begun) == PAGE + 1

    store.put(run(0, finished_at=NOON + timedelta(days=1)))
    assert ids(await feed.news()) == ["00000"]


async def test_more_than_a_page_of_news_is_told_whole_and_nothing_old() -> None:
    store = History()
    feed = Feed(store, RunQuery())
    store.put(*(run(number) for number in range(3 * PAGE)))
    await feed.begin()

    store.put(*(run(number) for number in range(3 * PAGE, 6 * PAGE + 7)))
    assert ids(await feed.news()) == [f"{number:05}" for number in range(3 * PAGE, 6 * PAGE + 7)]
    assert await feed.news() == []


async def test_a_run_that_is_forgotten_is_waited_for_no_more() -> None:
    store = History()
    feed = Feed(store, RunQuery())
    going = run(1, RunStatus.RUNNING)
    store.put(going)
    await feed.begin()

    store.put(replace(going, status=RunStatus.SUCCESS, finished_at=NOON))
    await store.prune(NOON + timedelta(days=1), 1)
    assert await feed.news() == []
