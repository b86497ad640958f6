"""The contract of `TaskStore`, on every kind of store: jobs are added, changed and removed."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any
from uuid import UUID

import pytest
from tests.support.task_stores import (
    DUE,
    FUTURE,
    HOUR,
    LONG,
    NO_JOB,
    TaskStores,
    a_job,
    an_offer,
    ended,
    every_hour,
    joined,
    listed_jobs,
    now_of,
    run_of,
    started,
    status_of,
    tick,
)

from bgtasks.contracts import TaskStore
from bgtasks.records import JobRow, RunQuery, RunStatus

FULL = JobRow(
    id=UUID("00000000-0000-4000-8000-00000000abcd"),
    job_type="tidy",
    bot_id="b1",
    key="k",
    enabled=False,
    reason="too cold",
    trigger="cron 0 7 * * *",
    interval_minutes=None,
    anchor=DUE - HOUR,
    next_run_at=FUTURE,
    last_run_at=DUE,
    config_json='{"deep": [true, null]}',
    token=4_102_444_800_000_001,
    failures=3,
    retired_at=DUE + HOUR,
    declared=True,
    version=9,
)
"""Each attribute has a value that is not its default, but for the interval."""

BARE = JobRow(id=UUID("10000000-0000-4000-8000-00000000abcd"), job_type="sow")
"""Each attribute has its default."""


class TestAdding:
    @pytest.mark.parametrize(
        "job",
        [
            FULL,
            BARE,
            replace(BARE, interval_minutes=1 / 3),
            replace(BARE, interval_minutes=0.1, next_run_at=DUE.replace(microsecond=0)),
            replace(BARE, interval_minutes=525_600.0, anchor=DUE.replace(microsecond=999_999)),
            replace(BARE, trigger="", key="", reason="", config_json=""),
        ],
        ids=["full", "bare", "third", "tenth", "year", "empty"],
    )
    async def test_keeps_a_job_as_it_is(self, stores: TaskStores, job: JobRow) -> None:
        store, other = await stores.store(), await stores.store()

        assert await store.add(job) == job

        assert await store.job(job.id) == await other.job(job.id) == job
        assert list(await other.jobs()) == [job]

    async def test_of_an_id_that_is_taken_changes_nothing(self, store: TaskStore) -> None:
        job = await store.add(a_job(key="k"))

        assert await store.add(job) == job
        assert await store.add(replace(job, reason="new", key="other", job_type="sow")) == job

        assert list(await store.jobs()) == [job]
        other = a_job("sow", key="other")
        assert await store.add(other) == other

    async def test_of_a_key_that_is_taken_gives_the_job_that_has_it(self, store: TaskStore) -> None:
        job = await store.add(a_job(key="k", bot_id="b1"))

        other = a_job(key="k", bot_id="b1", config_json="[]")
        assert await store.add(other) == job

        assert await store.job(other.id) is None
        assert list(await store.jobs()) == [job]

    async def test_by_its_id_comes_before_by_its_key(self, store: TaskStore) -> None:
        first, second = await store.add(a_job(key="a")), await store.add(a_job(key="b"))

        assert await store.add(replace(first, key="b")) == first
        assert await store.add(replace(second, key="a")) == second

    @pytest.mark.parametrize("but", [{"job_type": "sow"}, {"bot_id": "b2"}, {"key": "l"}, {"key": None}])
    async def test_takes_a_key_of_one_type_and_bot_only(self, store: TaskStore, but: dict[str, Any]) -> None:
        job = await store.add(a_job(key="k", bot_id="b1"))
        other = a_job(**{"key": "k", "bot_id": "b1", **but})

        assert await store.add(other) == other

        assert sorted(await listed_jobs(store)) == sorted([job.id, other.id])

    async def test_may_be_of_any_number_without_a_key(self, store: TaskStore) -> None:
        jobs = [await store.add(a_job()) for _ in range(3)]

        assert await listed_jobs(store) == sorted(job.id for job in jobs)

    async def test_takes_an_empty_key_for_a_key(self, store: TaskStore) -> None:
        first = await store.add(a_job(key=""))
        unkeyed = await store.add(a_job(key=None))

        assert await store.add(a_job(key="")) == first
        assert await listed_jobs(store) == sorted([first.id, unkeyed.id])


class TestChanging:
    async def test_writes_what_a_job_is(self, stores: TaskStores) -> None:
        store, other = await stores.store(), await stores.store()
        job = await store.add(replace(BARE, key="k"))
        wanted = replace(FULL, id=job.id, version=job.version)

        changed = await store.change(wanted)

        kept = replace(wanted, version=2, job_type="sow", bot_id="*", key="k")
        assert changed == replace(kept, last_run_at=None, token=0, failures=0)
        assert await other.job(job.id) == changed

    async def test_takes_values_away(self, store: TaskStore) -> None:
        job = await store.add(FULL)
        wanted = JobRow(id=job.id, job_type=job.job_type, interval_minutes=2.5, version=job.version)

        changed = await store.change(wanted)

        kept = {each: getattr(job, each) for each in ("bot_id", "key", "last_run_at", "token", "failures")}
        assert changed == replace(wanted, version=10, **kept)
        assert await store.job(job.id) == changed

    async def test_leaves_what_runs_wrote_meanwhile(self, store: TaskStore) -> None:
        session, job = await joined(store), await store.add(a_job())
        run = await started(store, session, job)
        seen = await now_of(store, job)
        await store.finish([ended(run, RunStatus.FAILED)])

        changed = await store.change(replace(seen, reason="new", token=0, last_run_at=None))

        assert changed is not None
        assert (changed.token, changed.failures) == (run.token, 1)
        assert changed.last_run_at is not None

    @pytest.mark.parametrize("off", [-1, 1])
    async def test_is_refused_if_somebody_was_faster(self, store: TaskStore, off: int) -> None:
        job = await store.add(a_job(version=5))

        assert await store.change(replace(job, version=5 + off, reason="new")) is None

        assert await store.job(job.id) == job

    async def test_from_one_reading_is_done_once(self, store: TaskStore) -> None:
        job = await store.add(a_job())

        first = await store.change(replace(job, reason="a"))

        assert await store.change(replace(job, reason="b")) is None
        assert await store.job(job.id) == first

    async def test_of_no_job_is_refused(self, store: TaskStore) -> None:
        job = a_job()

        assert await store.change(job) is None

        assert await store.job(job.id) is None

    async def test_is_refused_if_the_job_is_due_at_another_time_by_now(self, store: TaskStore) -> None:
        session, job = await joined(store), await store.add(a_job())
        await started(store, session, job)

        assert await store.change(replace(job, reason="new")) is None

        assert (await now_of(store, job)).next_run_at == DUE + HOUR

    async def test_is_counted_with_whatever_moves_what_is_due(self, store: TaskStore) -> None:
        session = await joined(store)
        job, interval = await store.add(a_job()), await store.add(every_hour())

        async def versions() -> tuple[int, int]:
            return (await now_of(store, job)).version, (await now_of(store, interval)).version

        runs = [await started(store, session, each, attempts=1) for each in (job, interval)]
        assert await versions() == (2, 2)
        await store.finish([ended(run) for run in runs])
        assert await versions() == (2, 3)
        for each in (job, interval):
            await store.offer(an_offer(each, run_id=str(each.id), attempts=1))
        await store.accept(session, [(str(each.id), False) for each in (job, interval)])
        assert await versions() == (2, 4)
        await store.leave(session)
        assert await versions() == (2, 5)

    async def test_is_not_counted_with_what_leaves_it_where_it_is(self, store: TaskStore) -> None:
        session, job = await joined(store, "tidy"), await store.add(a_job(enabled=False))

        await store.claim(session, [tick(job), tick(job, due=FUTURE)])
        await store.offer(an_offer(job, run_id="r"))
        await store.accept(session, [("r", False), ("r", False)])
        await store.leave(session)

        assert (await now_of(store, job)).version == 1

    async def test_leaves_the_key_taken(self, store: TaskStore) -> None:
        job = await store.add(a_job(key="k"))
        changed = await store.change(replace(job, key="other"))

        assert await store.add(a_job(key="k")) == changed
        fresh = a_job(key="other")
        assert await store.add(fresh) == fresh


class TestRemoving:
    async def test_forgets_a_job(self, stores: TaskStores) -> None:
        store, other = await stores.store(), await stores.store()
        job, stays = await store.add(a_job()), await store.add(a_job())

        assert await store.remove(job.id) is True

        assert await other.job(job.id) is None
        assert await listed_jobs(other) == await listed_jobs(other, job_type="tidy") == [stays.id]

    async def test_twice_says_that_there_was_none(self, store: TaskStore) -> None:
        job = await store.add(a_job())

        assert [await store.remove(each) for each in (NO_JOB, job.id, job.id)] == [False, True, False]

    async def test_frees_its_key(self, store: TaskStore) -> None:
        job = await store.add(a_job(key="k"))
        await store.remove(job.id)

        other = a_job(key="k")
        assert await store.add(other) == other

    async def test_skips_what_was_offered(self, store: TaskStore) -> None:
        session = await joined(store, "tidy")
        job, stays = await store.add(a_job()), await store.add(a_job())
        await store.offer(an_offer(job, run_id="r"))
        await store.offer(an_offer(stays, run_id="s"))

        await store.remove(job.id)

        run = await run_of(store, "r")
        assert (run.status, run.error_message) == (RunStatus.SKIPPED, "the job was removed")
        assert run.finished_at is not None
        assert [each.run_id for each in (await store.beat(session, LONG, 0.0)).offers] == ["s"]
        assert not await store.offer(an_offer(job))

    async def test_has_its_runs_cancelled(self, store: TaskStore) -> None:
        session, job = await joined(store), await store.add(a_job())
        run = await started(store, session, job)

        await store.remove(job.id)

        assert (await store.beat(session, LONG, 0.0)).unwanted == (run.run_id,)
        assert await status_of(store, run.run_id) is RunStatus.RUNNING

    async def test_leaves_its_history(self, store: TaskStore) -> None:
        session, job = await joined(store), await store.add(a_job())
        run = await started(store, session, job)
        await store.finish([ended(run)])
        before = await store.run(run.run_id)

        await store.remove(job.id)

        assert list(await store.runs(RunQuery(job_id=job.id))) == [before]


def test_a_full_job_differs_from_a_bare_one_in_each_attribute() -> None:
    same = [each.name for each in fields(JobRow) if getattr(FULL, each.name) == getattr(BARE, each.name)]

    assert same == ["interval_minutes"]
