"""The contract of `TaskStore`, on every kind of store: jobs that are over are forgotten, and in batches."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from tests.support.task_stores import (
    DUE,
    FUTURE,
    HOUR,
    LONG,
    TaskStores,
    a_command,
    a_job,
    a_run,
    an_offer,
    claimed,
    ended,
    every_hour,
    expire,
    joined,
    listed_jobs,
    now_of,
    run_of,
    started,
    status_of,
)

from bgtasks.contracts import TaskStore
from bgtasks.records import JobRow, RunQuery, RunStatus

MOMENT = timedelta(microseconds=1)


FEW = 7
"""Rows that a store forgets at once here."""


def once(**but: Any) -> JobRow:
    """A job that had its last run long ago."""
    return a_job(**{"trigger": "once", "next_run_at": None, "last_run_at": DUE, **but})


async def ran(store: TaskStore, session: str, **but: Any) -> JobRow:
    """A job whose only run is over just now."""
    job = await store.add(a_job(trigger="once", **but))
    await store.finish([ended(await started(store, session, job, following=None, run_id=str(job.id)))])
    return await now_of(store, job)


class TestAJobThatIsOver:
    async def test_is_forgotten(self, stores: TaskStores) -> None:
        store, other = await stores.store(), await stores.store()
        job, stays = await store.add(once(bot_id="b", key="k")), await store.add(a_job(bot_id="b"))

        assert await store.prune(DUE + HOUR, 100) == 0

        assert await other.job(job.id) is None
        assert await listed_jobs(other) == await listed_jobs(other, bot_id="b") == [stays.id]
        assert await listed_jobs(other, job_type="tidy") == [stays.id]
        assert await other.types() == {"tidy": 1}
        assert not await other.offer(an_offer(job))

    async def test_stays_until_its_last_run_began_before_that(self, store: TaskStore) -> None:
        job = await store.add(once())

        await store.prune(DUE, 100)
        assert await store.job(job.id) == job

        await store.prune(DUE + MOMENT, 100)
        assert await store.job(job.id) is None

    @pytest.mark.parametrize(
        "but",
        [
            {"declared": True},
            {"trigger": None},
            {"trigger": None, "interval_minutes": 60.0},
            {"next_run_at": FUTURE},
            {"next_run_at": DUE - HOUR},
            {"next_run_at": DUE, "enabled": False},
            {"last_run_at": None},
            {"last_run_at": FUTURE},
        ],
        ids=lambda but: ", ".join(f"{name}={value}" for name, value in but.items()),
    )
    async def test_is_not_one_of_these(self, store: TaskStore, but: dict[str, Any]) -> None:
        job = await store.add(once(**but))

        await store.prune(FUTURE, 0)

        assert await store.job(job.id) == job
        assert await store.types() == {"tidy": 1}

    @pytest.mark.parametrize(
        "but", [{"enabled": False}, {"retired_at": DUE}, {"failures": 3}, {"trigger": ""}]
    )
    async def test_is_one_of_these_too(self, store: TaskStore, but: dict[str, Any]) -> None:
        await store.add(once(**but))

        await store.prune(FUTURE, 0)

        assert await listed_jobs(store) == []

    async def test_is_one_whose_only_tick_has_been_run(self, store: TaskStore) -> None:
        session = await joined(store, "tidy")
        job, never = await ran(store, session), await store.add(a_job(next_run_at=None))
        assert job.last_run_at is not None

        await store.prune(job.last_run_at, 100)
        assert await store.job(job.id) == job
        await store.prune(job.last_run_at + MOMENT, 100)

        assert await listed_jobs(store) == [never.id]

    async def test_is_not_a_plain_interval_after_a_run(self, store: TaskStore) -> None:
        session, job = await joined(store, "tidy"), await store.add(every_hour())
        run = await started(store, session, job)

        await store.prune(FUTURE, 0)
        assert await store.finish([ended(run)]) == [True]
        await store.prune(FUTURE, 0)

        assert await listed_jobs(store) == [job.id]

    async def test_is_none_while_a_run_is_in_progress(self, store: TaskStore) -> None:
        session, job = await joined(store, "tidy"), await store.add(a_job())
        run = await started(store, session, job, following=None)

        await store.prune(FUTURE, 0)
        assert await listed_jobs(store) == [job.id]

        assert await store.finish([ended(run)]) == [True]
        await store.prune(FUTURE, 0)
        assert await listed_jobs(store) == []

    async def test_is_none_while_a_run_is_wanted(self, store: TaskStore) -> None:
        session, job = await joined(store, "tidy"), await store.add(once())
        for each in ("withdrawn", "accepted"):
            await store.offer(an_offer(job, run_id=each))

        await store.prune(FUTURE, 0)
        assert await listed_jobs(store) == [job.id]

        await store.withdraw("withdrawn", "why")
        await store.prune(FUTURE, 0)
        assert await listed_jobs(store) == [job.id]

        run = claimed((await store.accept(session, [("accepted", False)]))[0])
        await store.prune(FUTURE, 0)
        assert await listed_jobs(store) == [job.id]

        await store.finish([ended(run)])
        await store.prune(FUTURE, 0)
        assert await listed_jobs(store) == []

    async def test_is_one_whose_wanted_run_was_withdrawn(self, store: TaskStore) -> None:
        job = await store.add(once())
        await store.offer(an_offer(job, run_id="r"))
        await store.withdraw("r", "why")

        await store.prune(DUE + HOUR, 100)

        assert await listed_jobs(store) == []
        assert await status_of(store, "r") is RunStatus.SKIPPED

    async def test_is_none_while_its_lost_run_is_wanted_again(self, store: TaskStore) -> None:
        session, job = await joined(store), await store.add(a_job())
        run = await started(store, session, job, following=None, attempts=2)
        await expire(store, session)
        await store.prune(FUTURE, 0)
        assert await listed_jobs(store) == [job.id]

        await store.beat("nobody", 1.0, 0.0)
        await store.prune(FUTURE, 0)

        assert await listed_jobs(store) == [job.id]
        assert await status_of(store, f"{run.run_id}~2") is RunStatus.PENDING
        await store.withdraw(f"{run.run_id}~2", "why")
        await store.prune(FUTURE, 0)
        assert await listed_jobs(store) == []

    async def test_is_one_whose_last_attempt_was_lost(self, store: TaskStore) -> None:
        session, job = await joined(store), await store.add(a_job())
        await started(store, session, job, following=None, attempts=1)
        await store.leave(session)

        await store.prune(FUTURE, 0)

        assert await listed_jobs(store) == []

    async def test_goes_by_the_run_that_began_last(self, store: TaskStore) -> None:
        session, job = await joined(store, "tidy"), await store.add(once())
        await store.offer(an_offer(job, run_id="by hand"))
        run = claimed((await store.accept(session, [("by hand", False)]))[0])
        await store.finish([ended(run)])

        await store.prune(DUE + HOUR, 100)
        assert await listed_jobs(store) == [job.id]

        began = (await now_of(store, job)).last_run_at
        assert began is not None
        await store.prune(began + MOMENT, 100)
        assert await listed_jobs(store) == []

    @pytest.mark.parametrize(
        "but",
        [{"next_run_at": FUTURE}, {"trigger": None}, {"declared": True}],
        ids=lambda but: ", ".join(but),
    )
    async def test_becomes_another_by_a_change(self, store: TaskStore, but: dict[str, Any]) -> None:
        over, other = await store.add(once()), await store.add(once(**but))

        changed = await store.change(replace(over, **but))
        assert changed is not None
        back = {name: getattr(over, name) for name in but}
        assert await store.change(replace(other, **back)) is not None
        await store.prune(FUTURE, 0)

        assert await listed_jobs(store) == [over.id]

    async def test_frees_its_key(self, store: TaskStore) -> None:
        await store.add(once(key="k"))
        await store.prune(FUTURE, 0)

        anew = a_job(key="k", next_run_at=FUTURE)
        assert await store.add(anew) == anew
        assert await store.types() == {"tidy": 1}

    async def test_may_be_added_anew(self, store: TaskStore) -> None:
        job = await store.add(once())
        await store.prune(FUTURE, 0)

        assert await store.add(job) == job
        await store.prune(DUE, 0)
        assert await listed_jobs(store, bot_id="*") == [job.id]
        await store.prune(FUTURE, 0)
        assert await listed_jobs(store) == []


class TestItsPastRuns:
    async def test_stay_until_they_are_old_themselves(self, store: TaskStore) -> None:
        session = await joined(store, "tidy")
        job = await ran(store, session)
        before = await run_of(store, str(job.id))
        assert before.started_at is not None
        assert before.finished_at is not None

        assert await store.prune(before.started_at + MOMENT, 100) == (before.finished_at <= before.started_at)
        assert await store.job(job.id) is None
        assert await store.run(str(job.id)) in (before, None)

        await store.prune(before.finished_at + MOMENT, 100)
        assert await store.run(str(job.id)) is None

    async def test_stay_though_the_job_is_forgotten(self, store: TaskStore) -> None:
        job = await store.add(once())
        for n in range(3):
            await store.skip(a_run(id=f"{n}", job_id=job.id, created_at=DUE + HOUR))

        assert await store.prune(DUE + MOMENT, 2) == 1

        assert await store.job(job.id) is None
        assert [run.id for run in await store.runs(RunQuery(job_id=job.id))] == ["2", "1"]
        assert await store.prune(DUE + 2 * HOUR, 2) == 2

    async def test_go_though_the_job_stays(self, store: TaskStore) -> None:
        job = await store.add(once(last_run_at=DUE + HOUR))
        await store.skip(a_run(id="r", job_id=job.id))

        assert await store.prune(DUE + MOMENT, 100) == 1

        assert await store.job(job.id) == job
        assert await store.run("r") is None

    async def test_are_what_is_counted(self, store: TaskStore) -> None:
        for _ in range(3):
            job = await store.add(once())
            await store.skip(a_run(job_id=job.id))

        assert await store.prune(DUE + HOUR, 100) == 3

        assert await listed_jobs(store) == list(await store.runs(RunQuery())) == []


class TestForgettingAGreatMany:
    @pytest.fixture(autouse=True)
    def few_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is forgotten in batches is so in several."""
        monkeypatch.setattr("bgtasks.stores.tasks.redis.BATCH", FEW)
        monkeypatch.setattr("bgtasks.stores.tasks.sql_prune.AT_ONCE", FEW)

    async def test_jobs_leaves_those_that_are_wanted(self, store: TaskStore) -> None:
        jobs = [once(bot_id=f"b{n % 3}", last_run_at=DUE + n * HOUR) for n in range(5 * FEW)]
        for n, job in enumerate(jobs):
            await store.add(job)
            if n % 4 < 2:
                await store.offer(an_offer(job))

        await store.prune(DUE + 4 * FEW * HOUR, 100)

        stay = [job.id for n, job in enumerate(jobs) if n % 4 < 2 or n >= 4 * FEW]
        assert await listed_jobs(store) == sorted(stay)
        assert await store.types() == {"tidy": len(stay)}

    @pytest.mark.parametrize("count", [FEW, 4 * FEW, 4 * FEW + 1])
    async def test_jobs_leaves_none(self, store: TaskStore, count: int) -> None:
        for _ in range(count):
            await store.add(once())

        await store.prune(DUE + HOUR, 100)

        assert await listed_jobs(store) == []

    async def test_commands_leaves_those_that_have_not_expired(self, store: TaskStore) -> None:
        session = await joined(store)
        for _ in range(4 * FEW):
            row = await store.command(a_command(), 0.0)
            await store.answer(session, row.id, True, "")
        stays = await store.command(a_command(), LONG)

        await store.prune(stays.created_at + MOMENT, 100)

        assert list(await store.commands()) == [stays]

    @pytest.mark.parametrize("keep", [0, 3])
    async def test_runs_leaves_the_last_of_each_job(self, store: TaskStore, keep: int) -> None:
        jobs = [uuid4(), uuid4()]
        for n in range(6 * FEW):
            await store.skip(a_run(job_id=jobs[n % 2], created_at=DUE + n * HOUR))

        assert await store.prune(DUE - HOUR, keep) == 6 * FEW - 2 * keep

        for job in jobs:
            assert len(await store.runs(RunQuery(job_id=job))) == keep
