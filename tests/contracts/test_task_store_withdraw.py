"""The contract of `TaskStore`, on every kind of store: a run that was wanted is wanted no more."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.support.task_stores import (
    FUTURE,
    HOUR,
    LONG,
    TaskStores,
    a_job,
    a_session,
    an_offer,
    claimed,
    ended,
    every_hour,
    joined,
    new_id,
    next_of,
    now_of,
    offered,
    refused,
    run_of,
    started,
    status_of,
)

from bgtasks.contracts import TaskStore
from bgtasks.policies import Overlap
from bgtasks.records import Claimed, JobRow, Refusal, Refused, RunQuery, RunStatus


async def cut_short(store: TaskStore, session: str, job: JobRow) -> Claimed:
    """A run `r` that was ended so that it is wanted once more, as `r~2`."""
    run = await started(store, session, job, run_id="r")
    await store.finish([ended(run, RunStatus.SKIPPED, again=True)])
    assert await status_of(store, "r~2") is RunStatus.PENDING
    return run


class TestWithdrawing:
    async def test_skips_a_run_that_nobody_has_started(self, stores: TaskStores) -> None:
        store, other = await stores.store(), await stores.store()
        session = a_session("tidy")
        at = await store.join(session, LONG)
        job = await store.add(a_job(bot_id="b1"))
        await store.offer(an_offer(job, run_id="r", attempt=2, attempts=4))
        await store.offer(an_offer(job, run_id="stays"))
        before = await run_of(store, "r")

        assert await other.withdraw("r", "nobody wants it") is True

        run = await run_of(store, "r")
        assert run.finished_at is not None
        assert run.finished_at >= before.created_at >= at
        assert run == replace(
            before, status=RunStatus.SKIPPED, finished_at=run.finished_at, error_message="nobody wants it"
        )
        assert [each.run_id for each in await offered(store, session.id)] == ["stays"]
        assert await now_of(store, job) == job

    async def test_twice_says_that_it_was_not_wanted(self, store: TaskStore) -> None:
        job = await store.add(a_job())
        await store.offer(an_offer(job, run_id="r"))
        await store.withdraw("r", "first")
        before = await run_of(store, "r")

        assert await store.withdraw("r", "second") is False

        assert await run_of(store, "r") == before

    async def test_leaves_a_run_in_progress_alone(self, store: TaskStore) -> None:
        session = await joined(store, "tidy")
        job, interval = await store.add(a_job()), await store.add(every_hour())
        runs = [await started(store, session, each) for each in (job, interval)]
        await store.offer(an_offer(job, run_id="r"))
        runs += [claimed(each) for each in await store.accept(session, [("r", True)])]
        before = await store.runs(RunQuery()), await now_of(store, job), await now_of(store, interval)

        assert [await store.withdraw(run.run_id, "too late") for run in runs] == [False] * 3

        after = await store.runs(RunQuery()), await now_of(store, job), await now_of(store, interval)
        assert after == before
        assert (await store.beat(session, LONG, 0.0)).unwanted == ()

    @pytest.mark.parametrize("status", [each for each in RunStatus if each.is_over])
    async def test_leaves_a_run_that_is_over_as_it_was(self, store: TaskStore, status: RunStatus) -> None:
        session, job = await joined(store), await store.add(every_hour())
        run = await started(store, session, job, attempts=1)
        if status is RunStatus.LOST:
            await store.leave(session)
        else:
            await store.finish([ended(run, status, error_message="why")])
        before = await run_of(store, run.run_id), await now_of(store, job)
        assert before[0].status is status

        assert await store.withdraw(run.run_id, "too late") is False

        assert (await run_of(store, run.run_id), await now_of(store, job)) == before

    async def test_what_never_was_changes_nothing(self, store: TaskStore) -> None:
        job = await store.add(a_job())
        await store.offer(an_offer(job, run_id="r"))

        for each in (new_id(), "", "r~2", "r:missed", "r*"):
            assert await store.withdraw(each, "why") is False

        assert [run.status for run in await store.runs(RunQuery())] == [RunStatus.PENDING]

    async def test_what_went_with_its_job_says_that_it_was_not_wanted(self, store: TaskStore) -> None:
        job = await store.add(every_hour())
        await store.offer(an_offer(job, run_id="r"))
        await store.remove(job.id)

        assert await store.withdraw("r", "why") is False

        assert (await run_of(store, "r")).error_message == "the job was removed"
        assert await store.job(job.id) is None

    async def test_is_for_good(self, store: TaskStore) -> None:
        session, job = await joined(store, "tidy"), await store.add(a_job())
        offer = an_offer(job, run_id="r")
        await store.offer(offer)
        await store.withdraw("r", "why")

        assert await store.offer(offer)

        [answer] = await store.accept(session, [("r", True)])
        refused(answer, Refusal.TAKEN)
        assert await offered(store, session) == []
        assert await status_of(store, "r") is RunStatus.SKIPPED

    async def test_a_tick_that_waits_leaves_the_run_it_waits_for(self, store: TaskStore) -> None:
        session, job = await joined(store, "tidy"), await store.add(a_job())
        going = await started(store, session, job)
        answer = await next_of(store, session, job, run_id="r", following=FUTURE, overlap=Overlap.QUEUE)
        assert answer == Refused(job.id, Refusal.QUEUED, FUTURE, "r")

        assert await store.withdraw("r", "why")

        assert await offered(store, session) == []
        assert await store.finish([ended(going)]) == [True]
        assert (await now_of(store, job)).next_run_at == FUTURE

    async def test_leaves_room_for_the_next_tick_to_wait(self, store: TaskStore) -> None:
        session, job = await joined(store, "tidy"), await store.add(a_job())
        await started(store, session, job)
        await next_of(store, session, job, run_id="first", overlap=Overlap.QUEUE)
        await store.withdraw("first", "why")

        answer = await next_of(store, session, job, run_id="second", overlap=Overlap.QUEUE)

        refused(answer, Refusal.QUEUED)
        assert [each.run_id for each in await offered(store, session)] == ["second"]

    async def test_is_one_of_the_runs_that_are_over(self, store: TaskStore) -> None:
        job = await store.add(a_job())
        for each in ("a", "b", "c"):
            await store.offer(an_offer(job, run_id=each))
        for each in ("a", "b"):
            await store.withdraw(each, "why")

        assert [run.id for run in await store.runs(RunQuery(statuses=(RunStatus.SKIPPED,)))] == ["b", "a"]
        assert [run.id for run in await store.runs(RunQuery(statuses=(RunStatus.PENDING,)))] == ["c"]
        assert await store.prune(job.next_run_at or FUTURE, 1) == 1
        assert [run.id for run in await store.runs(RunQuery())] == ["c", "b"]


class TestAPlainInterval:
    async def test_begins_when_its_last_wanted_run_is_withdrawn(self, store: TaskStore) -> None:
        session, job = a_session("tidy"), await store.add(every_hour())
        at = await store.join(session, LONG)
        await cut_short(store, session.id, job)
        before = await now_of(store, job)
        assert before.next_run_at is None

        assert await store.withdraw("r~2", "why")

        now = await now_of(store, job)
        assert now == replace(before, next_run_at=now.next_run_at, version=before.version + 1)
        assert now.next_run_at is not None
        assert at + HOUR < now.next_run_at < at + 2 * HOUR
        finished = (await run_of(store, "r~2")).finished_at
        assert finished is not None
        assert abs(now.next_run_at - finished - HOUR) < HOUR / 60

    async def test_is_found_due_then(self, store: TaskStore) -> None:
        session, job = await joined(store, "tidy"), await store.add(every_hour(interval_minutes=0.0001))
        await cut_short(store, session, job)

        await store.withdraw("r~2", "why")

        assert [each.id for each in (await store.beat(session, LONG, 60.0)).due] == [job.id]
        claimed(await next_of(store, session, job))

    async def test_waits_while_another_run_is_wanted(self, store: TaskStore) -> None:
        session, job = await joined(store, "tidy"), await store.add(every_hour())
        await cut_short(store, session, job)
        await store.offer(an_offer(job, run_id="by hand"))
        before = await now_of(store, job)

        assert await store.withdraw("r~2", "why")
        assert await now_of(store, job) == before

        assert await store.withdraw("by hand", "why")
        assert (await now_of(store, job)).next_run_at is not None

    async def test_waits_while_another_run_is_in_progress(self, store: TaskStore) -> None:
        session, job = await joined(store, "tidy"), await store.add(every_hour())
        run = await started(store, session, job)
        await store.offer(an_offer(job, run_id="by hand"))
        before = await now_of(store, job)
        assert before.next_run_at is None

        assert await store.withdraw("by hand", "why")

        assert await now_of(store, job) == before
        await store.finish([ended(run)])
        assert (await now_of(store, job)).next_run_at is not None

    async def test_does_not_wait_for_runs_of_other_jobs(self, store: TaskStore) -> None:
        session = await joined(store, "tidy")
        job, other, third = [await store.add(every_hour()) for _ in range(3)]
        await started(store, session, other)
        await store.offer(an_offer(third, run_id="third"))
        await cut_short(store, session, job)

        assert await store.withdraw("r~2", "why")

        assert (await now_of(store, job)).next_run_at is not None
        assert (await now_of(store, other)).next_run_at is None

    async def test_stays_where_it_was_due_anyway(self, store: TaskStore) -> None:
        job = await store.add(every_hour())
        await store.offer(an_offer(job, run_id="r"))

        assert await store.withdraw("r", "why")

        assert await now_of(store, job) == job

    async def test_begins_though_the_job_is_paused(self, store: TaskStore) -> None:
        session, job = await joined(store, "tidy"), await store.add(every_hour())
        await cut_short(store, session, job)
        await store.change(replace(await now_of(store, job), enabled=False))

        await store.withdraw("r~2", "why")

        assert (await now_of(store, job)).next_run_at is not None
        assert (await store.beat(session, LONG, 7200.0)).due == ()

    async def test_of_a_trigger_that_is_over_is_none(self, store: TaskStore) -> None:
        job = await store.add(a_job(next_run_at=None))
        await store.offer(an_offer(job, run_id="r"))

        assert await store.withdraw("r", "why")

        assert await now_of(store, job) == job
