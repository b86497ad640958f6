"""The contract of `TaskStore`, on every kind of store: jobs are listed, and counted by type."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest
from tests.support.task_stores import (
    DUE,
    NO_JOB,
    TaskStores,
    a_job,
    every_hour,
    joined,
    listed_jobs,
    started,
)

from bgtasks.contracts import TaskStore


class TestListing:
    async def test_is_empty_at_first(self, store: TaskStore) -> None:
        assert list(await store.jobs()) == []
        assert await store.job(NO_JOB) is None

    async def test_is_by_id(self, store: TaskStore) -> None:
        numbers = [2**127, 0, 255, 2**128 - 1, 1, 2**64, 16]
        for each in numbers:
            await store.add(a_job(id=UUID(int=each)))

        assert [each.int for each in await listed_jobs(store)] == sorted(numbers)

    async def test_goes_on_after_an_id(self, store: TaskStore) -> None:
        for each in range(1, 8):
            await store.add(a_job(id=UUID(int=each)))

        pages, after = [], None
        while page := await listed_jobs(store, after=after, limit=3):
            pages.append([each.int for each in page])
            after = page[-1]

        assert pages == [[1, 2, 3], [4, 5, 6], [7]]

    async def test_goes_on_after_an_id_that_is_gone(self, store: TaskStore) -> None:
        for each in (1, 3, 5):
            await store.add(a_job(id=UUID(int=each)))

        for after, left in ((0, [1, 3, 5]), (2, [3, 5]), (4, [5]), (9, [])):
            assert [each.int for each in await listed_jobs(store, after=UUID(int=after))] == left

    async def test_is_of_a_hundred_unless_told(self, store: TaskStore) -> None:
        for each in range(120):
            await store.add(a_job(id=UUID(int=each)))

        assert [each.int for each in await listed_jobs(store)] == list(range(100))
        assert [each.int for each in await listed_jobs(store, limit=1000)] == list(range(120))

    async def test_may_be_of_one_type(self, store: TaskStore) -> None:
        for each in range(12):
            await store.add(a_job(("tidy", "sow", "tidy2")[each % 3], id=UUID(int=each)))

        assert [each.int for each in await listed_jobs(store, job_type="tidy")] == [0, 3, 6, 9]
        first = await listed_jobs(store, job_type="sow", limit=2)
        assert [each.int for each in first] == [1, 4]
        rest = await listed_jobs(store, job_type="sow", after=first[-1])
        assert [each.int for each in rest] == [7, 10]
        assert await listed_jobs(store, job_type="tid") == []

    async def test_may_be_of_one_bot(self, store: TaskStore) -> None:
        for each in range(12):
            await store.add(a_job(bot_id=("b", "*", "b2", "")[each % 4], id=UUID(int=each)))

        for bot, numbers in (("b", [0, 4, 8]), ("*", [1, 5, 9]), ("b2", [2, 6, 10]), ("", [3, 7, 11])):
            assert [each.int for each in await listed_jobs(store, bot_id=bot)] == numbers
        first = await listed_jobs(store, bot_id="b", limit=2)
        assert [each.int for each in first] == [0, 4]
        assert [each.int for each in await listed_jobs(store, bot_id="b", after=first[-1])] == [8]
        assert await listed_jobs(store, bot_id="B") == []

    async def test_may_be_of_one_type_and_bot(self, store: TaskStore) -> None:
        for each in range(24):
            kind, bot = ("tidy", "sow")[each % 2], ("b", "*", "b2")[each % 3]
            await store.add(a_job(kind, bot_id=bot, id=UUID(int=each)))

        both = {"job_type": "sow", "bot_id": "b"}
        assert [each.int for each in await listed_jobs(store, **both)] == [3, 9, 15, 21]
        first = await listed_jobs(store, **both, limit=2)
        assert [each.int for each in first] == [3, 9]
        assert [each.int for each in await listed_jobs(store, **both, after=first[-1])] == [15, 21]
        assert [each.int for each in await listed_jobs(store, **both, after=UUID(int=14), limit=1)] == [15]
        assert await listed_jobs(store, job_type="sow", bot_id="none") == []
        assert await listed_jobs(store, job_type="none", bot_id="b") == []

    async def test_goes_on_where_few_of_many_are_asked_for(
        self, store: TaskStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Neither is rare alone, and both together are at the end, behind what a store looks through at once.
        monkeypatch.setattr("bgtasks.stores.tasks.redis.BATCH", 7)
        for each in range(60):
            kind, bot = ("tidy", "b2") if each % 2 else ("sow", "b")
            await store.add(a_job(kind, bot_id=bot, id=UUID(int=each)))
        rare = [await store.add(a_job("tidy", bot_id="b", id=UUID(int=100 + n))) for n in range(3)]

        first = await listed_jobs(store, job_type="tidy", bot_id="b", limit=1)
        assert first == [rare[0].id]
        rest = await listed_jobs(store, job_type="tidy", bot_id="b", after=first[0], limit=2)
        assert rest == [job.id for job in rare[1:]]

    async def test_of_a_bot_follows_what_is_added_and_removed(self, store: TaskStore) -> None:
        first, second = await store.add(a_job(bot_id="b", key="k")), await store.add(a_job(bot_id="b"))
        assert await store.add(a_job(bot_id="b", key="k")) == first
        assert await store.change(replace(first, bot_id="c", job_type="sow")) is not None
        assert await listed_jobs(store, bot_id="b") == sorted([first.id, second.id])
        assert await listed_jobs(store, bot_id="c") == []

        await store.remove(first.id)

        assert await listed_jobs(store, bot_id="b") == await listed_jobs(store) == [second.id]

    async def test_has_whole_jobs_whatever_their_state(self, store: TaskStore) -> None:
        paused = await store.add(a_job(bot_id="b1", enabled=False, reason="too cold", key="k", declared=True))
        never = await store.add(a_job("sow", next_run_at=None, trigger=None))
        retired = await store.add(every_hour(bot_id="b1", retired_at=DUE, failures=3))

        assert list(await store.jobs()) == sorted([paused, never, retired], key=lambda job: job.id)
        assert list(await store.jobs(job_type="sow")) == [never]
        assert list(await store.jobs(bot_id="b1")) == sorted([paused, retired], key=lambda job: job.id)


class TestTypes:
    async def test_are_none_at_first(self, store: TaskStore) -> None:
        assert dict(await store.types()) == {}

    async def test_are_counted_in_the_order_of_their_names(self, stores: TaskStores) -> None:
        store, other = await stores.store(), await stores.store()
        for each in ("sow", "tidy", "Tidy", "sow", "éclair", "", "tidy", "z", "sow", "a b", "🌲", "\uffee"):
            await store.add(a_job(each, bot_id=each))

        names = ["", "Tidy", "a b", "sow", "tidy", "z", "éclair", "\uffee", "🌲"]
        counts = [1, 1, 1, 3, 2, 1, 1, 1, 1]
        assert list((await other.types()).items()) == list(zip(names, counts, strict=True))

    async def test_count_a_job_once_however_often_it_is_added(self, store: TaskStore) -> None:
        job = await store.add(a_job(key="k"))

        await store.add(job)
        await store.add(a_job(key="k"))
        await store.add(replace(job, job_type="sow"))
        await store.add(replace(job, job_type="sow", key="l"))

        assert await store.types() == {"tidy": 1}

    async def test_are_gone_with_their_last_job(self, store: TaskStore) -> None:
        first, second, other = [await store.add(a_job(kind)) for kind in ("tidy", "tidy", "sow")]

        await store.remove(first.id)
        await store.remove(first.id)
        await store.remove(NO_JOB)
        assert await store.types() == {"sow": 1, "tidy": 1}

        await store.remove(second.id)
        assert await store.types() == {"sow": 1}
        await store.remove(other.id)
        assert await store.types() == {}

    async def test_count_a_job_whatever_its_state(self, store: TaskStore) -> None:
        session = await joined(store, "tidy")
        job, interval = await store.add(a_job(enabled=False)), await store.add(every_hour())
        await store.add(a_job("sow", next_run_at=None, retired_at=DUE, declared=True))

        await started(store, session, interval)
        await store.change(replace(job, enabled=True, job_type="sow"))
        await store.leave(session)

        assert await store.types() == {"sow": 1, "tidy": 2}
