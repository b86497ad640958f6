"""The contract of `TaskStore`, on every kind of store: past runs are listed, written down, forgotten."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID, uuid4

import pytest
from tests.support.task_stores import (
    DUE,
    FUTURE,
    HOUR,
    TaskStores,
    a_job,
    a_run,
    an_offer,
    ended,
    joined,
    new_id,
    now_of,
    started,
    status_of,
)

from bgtasks.contracts import TaskStore
from bgtasks.records import RunQuery, RunRow, RunStatus

FULL = a_run(
    id="full",
    bot_id="b1",
    status=RunStatus.FAILED,
    attempt=2,
    attempts=5,
    session="s",
    node_id="shed",
    token=4_102_444_800_000_001,
    unwanted=True,
    created_at=DUE + HOUR,
    started_at=DUE + timedelta(microseconds=1),
    finished_at=DUE.replace(microsecond=0),
    duration_ms=12,
    result_json='{"n": 1}',
    error_message="why",
)
EMPTY = a_run(id="empty", session="", node_id="", bot_id="", duration_ms=0, result_json="", error_message="")
BARE = a_run(id="bare")


async def listed(store: TaskStore, **asked: object) -> list[str]:
    """A page of runs: their ids."""
    return [run.id for run in await store.runs(RunQuery(**asked))]  # type: ignore[arg-type]


async def kept(store: TaskStore, *runs: RunRow) -> None:
    """Have runs be written down."""
    for each in runs:
        await store.skip(each)


class TestARunThatNeverWas:
    @pytest.mark.parametrize("run", [FULL, EMPTY, BARE], ids=["full", "empty", "bare"])
    async def test_is_kept_as_it_is(self, stores: TaskStores, run: RunRow) -> None:
        store, other = await stores.store(), await stores.store()

        await store.skip(run)

        assert await store.run(run.id) == await other.run(run.id) == run
        assert list(await other.runs(RunQuery())) == [run]

    async def test_is_written_down_once(self, store: TaskStore) -> None:
        await store.skip(BARE)
        await store.skip(a_run(id="bare", error_message="another reason", created_at=FUTURE))

        assert list(await store.runs(RunQuery())) == [BARE]

    async def test_does_not_overwrite_one_that_is(self, store: TaskStore) -> None:
        session, job = await joined(store), await store.add(a_job())
        run = await started(store, session, job)

        await store.skip(a_run(id=run.run_id, job_id=job.id))

        assert await status_of(store, run.run_id) is RunStatus.RUNNING

    async def test_is_none_that_nobody_wrote_down(self, store: TaskStore) -> None:
        assert await store.run(new_id()) is None
        assert list(await store.runs(RunQuery())) == []


class TestAskingForRuns:
    async def test_gives_the_latest_first(self, store: TaskStore) -> None:
        at = [3, 1, 4, 0, 2]
        await kept(store, *(a_run(id=f"{n}", created_at=DUE + timedelta(microseconds=n)) for n in at))

        assert await listed(store) == ["4", "3", "2", "1", "0"]

    async def test_gives_the_largest_id_first_where_instants_are_equal(self, store: TaskStore) -> None:
        ids = ["a", "B", "b", "_", "-", "10", "9", "ä", "z", "é", "e\u0301", "🌲", "\uffee", "a a", "aa", ""]
        await kept(store, *(a_run(id=each) for each in ids))

        assert await listed(store) == sorted(ids, reverse=True)

    async def test_gives_them_in_the_order_of_their_beginning(self, store: TaskStore) -> None:
        session, job = await joined(store), await store.add(a_job())
        await store.offer(an_offer(job, run_id="z"))
        for each in ("y", "x", "w"):
            run = await started(store, session, await now_of(store, job), run_id=each)
            await store.finish([ended(run)])

        assert await listed(store) == ["w", "x", "y", "z"]

    async def test_is_limited(self, store: TaskStore) -> None:
        await kept(store, *(a_run(id=f"{n:03}") for n in range(120)))

        assert await listed(store, limit=2) == ["119", "118"]
        assert len(await listed(store)) == 100
        assert len(await listed(store, limit=1000)) == 120

    async def test_goes_on_page_by_page(self, store: TaskStore) -> None:
        at = [DUE + timedelta(microseconds=n // 4) for n in range(14)]
        await kept(store, *(a_run(id=f"{n:02}", created_at=each) for n, each in enumerate(at)))

        pages, before = list[list[str]](), None
        while page := await store.runs(RunQuery(before=before, limit=3)):
            pages.append([run.id for run in page])
            before = page[-1].created_at, page[-1].id

        assert [len(page) for page in pages] == [3, 3, 3, 3, 2]
        assert [run for page in pages for run in page] == [f"{n:02}" for n in reversed(range(14))]

    @pytest.mark.parametrize(
        ("before", "left"),
        [
            ((DUE, "b"), ["a"]),
            ((DUE, "bb"), ["b", "a"]),
            ((DUE, ""), []),
            ((DUE + timedelta(microseconds=1), ""), ["c", "b", "a"]),
            ((DUE - timedelta(microseconds=1), "z"), []),
            ((FUTURE, "a"), ["c", "b", "a"]),
        ],
    )
    async def test_goes_on_before_one_that_is_gone(
        self, store: TaskStore, before: tuple[datetime, str], left: list[str]
    ) -> None:
        await kept(store, *(a_run(id=each) for each in "abc"))

        assert await listed(store, before=before) == left

    async def test_may_be_for_one_job(self, store: TaskStore) -> None:
        jobs = [uuid4(), uuid4()]
        at = [DUE + timedelta(seconds=n) for n in range(6)]
        runs = [a_run(id=f"{n}", job_id=jobs[n % 2], created_at=each) for n, each in enumerate(at)]
        await kept(store, *runs)

        assert await listed(store, job_id=jobs[1]) == ["5", "3", "1"]
        assert await listed(store, job_id=jobs[1], limit=2) == ["5", "3"]
        assert await listed(store, job_id=jobs[1], before=(at[4], "4")) == ["3", "1"]
        assert await listed(store, job_id=UUID(int=0)) == []

    async def test_may_be_for_one_type(self, store: TaskStore) -> None:
        await kept(store, *(a_run(id=f"{n}", job_type=("tidy", "sow")[n % 2]) for n in range(6)))

        assert await listed(store, job_type="sow") == ["5", "3", "1"]
        assert await listed(store, job_type="sow", limit=1, before=(DUE, "5")) == ["3"]
        assert await listed(store, job_type="so") == []

    async def test_may_be_for_some_statuses(self, store: TaskStore) -> None:
        statuses = [each for each in RunStatus if each.is_over]
        await kept(store, *(a_run(id=each.value, status=each) for each in statuses))

        assert await listed(store, statuses=(RunStatus.FAILED,)) == ["failed"]
        two = (RunStatus.SUCCESS, RunStatus.LOST)
        assert await listed(store, statuses=two) == ["success", "lost"]
        assert await listed(store, statuses=two, limit=1) == ["success"]
        assert await listed(store, statuses=(RunStatus.RUNNING,)) == []
        assert len(await listed(store, statuses=tuple(RunStatus))) == len(statuses)

    async def test_finds_those_that_are_not_over(self, store: TaskStore) -> None:
        session, job = await joined(store), await store.add(a_job())
        await store.offer(an_offer(job, run_id="waits"))
        await started(store, session, job, run_id="runs")
        await store.skip(a_run(id="over"))

        assert await listed(store, statuses=(RunStatus.PENDING,)) == ["waits"]
        assert await listed(store, statuses=(RunStatus.RUNNING,)) == ["runs"]
        assert await listed(store) == ["runs", "waits", "over"]

    async def test_may_be_for_all_of_these(self, store: TaskStore) -> None:
        job, failed, lost = uuid4(), RunStatus.FAILED, RunStatus.LOST
        await kept(
            store,
            a_run(id="1", job_id=job, status=failed),
            a_run(id="2", job_id=job, status=lost),
            a_run(id="3", status=failed),
            a_run(id="4", job_id=job, job_type="sow", status=failed),
            a_run(id="5", job_id=job, status=failed),
        )

        found = await listed(store, job_id=job, job_type="tidy", statuses=(failed,), before=(DUE, "5"))

        assert found == ["1"]

    async def test_looks_far_enough_for_what_is_rare(
        self, store: TaskStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # What is asked for is behind more that are not than a store looks through at once.
        monkeypatch.setattr("bgtasks.stores.tasks.redis.BATCH", 7)
        await store.skip(a_run(id="rare", status=RunStatus.FAILED))
        await kept(store, *(a_run(created_at=DUE + timedelta(seconds=n)) for n in range(30)))

        assert await listed(store, statuses=(RunStatus.FAILED,), limit=1) == ["rare"]


class TestPruning:
    async def test_forgets_what_was_over_before_an_instant(self, store: TaskStore) -> None:
        await kept(
            store,
            a_run(id="old", finished_at=DUE - timedelta(microseconds=1), created_at=DUE - HOUR),
            a_run(id="at", finished_at=DUE, created_at=DUE - HOUR),
            a_run(id="new", finished_at=DUE + HOUR, created_at=DUE - HOUR),
        )

        assert await store.prune(DUE, 100) == 1

        assert sorted(await listed(store)) == ["at", "new"]
        assert await store.run("old") is None
        assert await store.prune(DUE, 100) == 0

    async def test_goes_by_the_beginning_where_no_end_is_known(self, store: TaskStore) -> None:
        await kept(store, a_run(id="old", created_at=DUE - HOUR), a_run(id="new", created_at=DUE + HOUR))

        assert await store.prune(DUE, 100) == 1

        assert await listed(store) == ["new"]

    async def test_keeps_the_last_of_each_job(self, store: TaskStore) -> None:
        jobs = [uuid4() for _ in range(3)]
        for n in range(11):
            await store.skip(a_run(id=f"{n:02}", job_id=jobs[min(n % 4, 2)], created_at=DUE + n * HOUR))

        assert await store.prune(DUE - HOUR, 2) == 5

        assert await listed(store, job_id=jobs[0]) == ["08", "04"]
        assert await listed(store, job_id=jobs[1]) == ["09", "05"]
        assert await listed(store, job_id=jobs[2]) == ["10", "07"]

    async def test_keeps_the_larger_id_where_instants_are_equal(self, store: TaskStore) -> None:
        await kept(store, *(a_run(id=each) for each in ("a", "B", "ä", "z")))

        assert await store.prune(DUE - HOUR, 1) == 3

        assert await listed(store) == ["ä"]

    async def test_does_both_in_one(self, store: TaskStore) -> None:
        await kept(store, *(a_run(id=f"{n}", created_at=DUE + n * HOUR) for n in range(6)))

        assert await store.prune(DUE + 3 * HOUR, 2) == 4

        assert await listed(store) == ["5", "4"]

    async def test_may_keep_none(self, store: TaskStore) -> None:
        await kept(store, *(a_run(id=f"{n}", created_at=FUTURE) for n in range(3)))

        assert await store.prune(DUE, 0) == 3

        assert await listed(store) == []

    async def test_leaves_and_does_not_count_what_is_not_over(self, store: TaskStore) -> None:
        session, job = await joined(store, "tidy"), await store.add(a_job())
        await store.skip(a_run(id="old", job_id=job.id))
        await store.skip(a_run(id="older", job_id=job.id, created_at=DUE - HOUR))
        run = await started(store, session, job, run_id="runs")
        await store.offer(an_offer(job, run_id="waits"))

        assert await store.prune(DUE - 2 * HOUR, 1) == 1
        assert await listed(store) == ["waits", "runs", "old"]

        assert await store.prune(FUTURE, 0) == 1
        assert await listed(store) == ["waits", "runs"]
        assert await store.finish([ended(run)]) == [True]
        assert [each.run_id for each in (await store.beat(session, 60.0, 0.0)).offers] == ["waits"]

    async def test_forgets_runs_of_jobs_that_are_gone(self, store: TaskStore) -> None:
        session, job = await joined(store), await store.add(a_job())
        run = await started(store, session, job)
        await store.finish([ended(run)])
        await store.remove(job.id)

        assert await store.prune(FUTURE, 100) == 1

        assert await store.run(run.run_id) is None
