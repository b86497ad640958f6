"""The contract of `TaskStore`, on every kind of store: plain intervals, which begin at the end of a run."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.support.task_stores import (
    DUE,
    FUTURE,
    HOUR,
    LONG,
    a_job,
    a_session,
    an_offer,
    claimed,
    ended,
    every_hour,
    joined,
    next_of,
    now_of,
    offered,
    refused,
    run_of,
    started,
    status_of,
)

from bgtasks.contracts import TaskStore
from bgtasks.records import Refusal, RunStatus

OVER = [RunStatus.SUCCESS, RunStatus.FAILED, RunStatus.SKIPPED, RunStatus.TIMED_OUT]


class TestPlainIntervals:
    async def test_are_not_due_while_a_run_is_in_progress(self, store: TaskStore) -> None:
        session = await joined(store, "tidy")
        job = await store.add(a_job(trigger=None, interval_minutes=0.001))

        run = await started(store, session, job, following=FUTURE)

        now = await now_of(store, job)
        assert (now.next_run_at, now.token) == (None, run.token)
        assert (await store.beat(session, LONG, 3600.0)).due == ()

    async def test_that_are_busy_are_due_after_the_interval(self, store: TaskStore) -> None:
        session = a_session()
        at = await store.join(session, LONG)
        job = await store.add(a_job(trigger=None, interval_minutes=60))
        await store.offer(an_offer(job, run_id="by hand"))
        claimed((await store.accept(session.id, [("by hand", False)]))[0])
        seen = await store.change(replace(await now_of(store, job), next_run_at=DUE))
        assert seen is not None

        answer = await next_of(store, session.id, job)

        again = refused(answer, Refusal.BUSY).next_run_at
        assert again is not None
        assert at + HOUR < again < at + 2 * HOUR
        assert (await now_of(store, job)).next_run_at == again

    async def test_wait_for_a_run_that_was_wanted_by_hand(self, store: TaskStore) -> None:
        session = a_session()
        at = await store.join(session, LONG)
        job = await store.add(a_job(trigger=None, interval_minutes=60))
        await store.offer(an_offer(job, run_id="by hand"))

        [run] = await store.accept(session.id, [("by hand", False)])

        assert (await now_of(store, job)).next_run_at is None
        await store.finish([ended(claimed(run))])
        again = (await now_of(store, job)).next_run_at
        assert again is not None
        assert again > at + HOUR


class TestAPlainInterval:
    @pytest.mark.parametrize("status", OVER)
    async def test_begins_at_the_end_of_a_run(self, store: TaskStore, status: RunStatus) -> None:
        session, job = await joined(store), await store.add(every_hour())
        run = await started(store, session, job)

        await store.finish([ended(run, status)])

        finished = (await run_of(store, run.run_id)).finished_at
        again = (await now_of(store, job)).next_run_at
        assert finished is not None
        assert again is not None
        assert abs(again - finished - HOUR) < timedelta(minutes=1)

    @pytest.mark.parametrize("minutes", [1 / 3, 0.05, 90.5, 60 * 24 * 365.0])
    async def test_is_as_long_as_it_says(self, store: TaskStore, minutes: float) -> None:
        session, job = a_session(), await store.add(every_hour(interval_minutes=minutes))
        at = await store.join(session, LONG)
        run = await started(store, session.id, job)

        await store.finish([ended(run)])

        again = (await now_of(store, job)).next_run_at
        finished = (await run_of(store, run.run_id)).finished_at
        assert again is not None
        assert finished is not None
        assert again >= at + timedelta(minutes=minutes)
        assert abs(again - finished - timedelta(minutes=minutes)) < timedelta(minutes=1)

    async def test_does_not_begin_while_the_run_is_offered_again(self, store: TaskStore) -> None:
        session, job = await joined(store, "tidy"), await store.add(every_hour())
        run = await started(store, session, job)

        await store.finish([ended(run, RunStatus.SKIPPED, again=True)])

        assert (await now_of(store, job)).next_run_at is None
        [offer] = await offered(store, session)
        [second] = await store.accept(session, [(offer.run_id, False)])
        await store.finish([ended(claimed(second))])
        assert (await now_of(store, job)).next_run_at is not None

    async def test_stays_where_somebody_put_it_meanwhile(self, store: TaskStore) -> None:
        session, job = await joined(store), await store.add(every_hour())
        run = await started(store, session, job)
        await store.change(replace(await now_of(store, job), next_run_at=FUTURE))

        await store.finish([ended(run)])

        assert (await now_of(store, job)).next_run_at == FUTURE

    async def test_begins_with_the_first_of_several_runs_to_end(self, store: TaskStore) -> None:
        session, job = await joined(store), await store.add(every_hour())
        for each in ("a", "b"):
            await store.offer(an_offer(job, run_id=each))
        first, second = [claimed(each) for each in await store.accept(session, [("a", True), ("b", True)])]

        await store.finish([ended(second)])
        again = (await now_of(store, job)).next_run_at
        await store.finish([ended(first)])

        assert again is not None
        assert (await now_of(store, job)).next_run_at == again

    async def test_is_due_when_no_attempt_is_left(self, store: TaskStore) -> None:
        session, other = await joined(store), await joined(store, "tidy")
        job = await store.add(every_hour())
        run = await started(store, session, job, attempts=1)

        await store.leave(session)

        assert await status_of(store, run.run_id) is RunStatus.LOST
        assert await offered(store, other) == []
        assert (await now_of(store, job)).next_run_at is not None

    async def test_is_not_due_when_a_lost_run_is_offered_again(self, store: TaskStore) -> None:
        session, other = await joined(store), await joined(store, "tidy")
        job = await store.add(every_hour())
        await started(store, session, job, attempts=2)

        await store.leave(session)

        assert len(await offered(store, other)) == 1
        assert (await now_of(store, job)).next_run_at is None

    async def test_of_a_trigger_is_none(self, store: TaskStore) -> None:
        session, job = await joined(store), await store.add(a_job())
        run = await started(store, session, job, following=None)

        await store.finish([ended(run)])

        assert (await now_of(store, job)).next_run_at is None
