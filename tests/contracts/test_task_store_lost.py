"""The contract of `TaskStore`, on every kind of store: runs whose process is not heard of any more."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.support.task_stores import (
    DUE,
    LONG,
    TaskStores,
    a_job,
    claimed,
    ended,
    every_hour,
    expire,
    joined,
    now_of,
    offered,
    run_of,
    started,
    status_of,
    tick,
)

from bgtasks.contracts import TaskStore
from bgtasks.records import Offer, RunQuery, RunRow, RunStatus


async def lost(store: TaskStore, session: str) -> list[RunRow]:
    """Runs that the session finds lost."""
    return list((await store.beat(session, LONG, 0.0)).lost)


class TestARunWhoseSessionIsNotAlive:
    async def test_is_found_lost_by_who_beats_next_and_told_once(self, stores: TaskStores) -> None:
        first, second = await stores.store(), await stores.store()
        session, job = await joined(first), await first.add(a_job())
        run = await started(first, session, job)
        one, other = await joined(second), await joined(first)
        await expire(first, session)

        [row] = await lost(second, one)

        assert row == await run_of(first, run.run_id)
        assert (row.id, row.status, row.session) == (run.run_id, RunStatus.LOST, session)
        assert row.error_message == "its node was not heard of any more"
        assert row.started_at is not None
        assert row.finished_at is not None
        assert row.finished_at > row.started_at
        took = (row.finished_at - row.started_at) / timedelta(milliseconds=1)
        assert row.duration_ms == pytest.approx(took, abs=1)
        assert await lost(first, other) == await lost(second, one) == []

    async def test_is_told_to_a_session_that_is_not_alive_itself(self, store: TaskStore) -> None:
        session, job = await joined(store), await store.add(a_job())
        run = await started(store, session, job)
        await expire(store, session)

        told = await store.beat(session, LONG, 0.0)

        assert not told.alive
        assert [each.id for each in told.lost] == [run.run_id]
        assert await lost(store, await joined(store)) == []

    async def test_is_offered_again_to_the_living(self, store: TaskStore) -> None:
        session, job = await joined(store), await store.add(a_job(bot_id="b1"))
        run = await started(store, session, job, run_id="r", attempts=2)
        other = await joined(store, "tidy")
        await expire(store, session)
        await lost(store, other)

        assert await offered(store, other) == [Offer("r~2", job.id, DUE, 2, 2)]
        [second] = await store.accept(other, [("r~2", False)])
        assert claimed(second)[:4] == ("r~2", job.id, DUE, 2)
        assert claimed(second).token > run.token
        assert (await run_of(store, "r~2")).bot_id == "b1"

    async def test_is_offered_until_its_attempts_are_used_up(self, store: TaskStore) -> None:
        job, watcher = await store.add(a_job()), await joined(store, "tidy")
        session = await joined(store)
        await started(store, session, job, run_id="r", attempts=3)
        attempts = []

        await store.leave(session)
        while found := await offered(store, watcher):
            attempts.append(found[0])
            session = await joined(store)
            claimed((await store.accept(session, [(found[0].run_id, False)]))[0])
            await store.leave(session)

        assert attempts == [Offer("r~2", job.id, DUE, 2, 3), Offer("r~3", job.id, DUE, 3, 3)]
        statuses = {run.id: run.status for run in await store.runs(RunQuery())}
        assert statuses == dict.fromkeys(["r", "r~2", "r~3"], RunStatus.LOST)

    async def test_stays_lost_whatever_its_claimant_says_later(self, store: TaskStore) -> None:
        session, job = await joined(store), await store.add(a_job())
        run = await started(store, session, job)
        await store.leave(session)
        before = await run_of(store, run.run_id), await now_of(store, job)

        assert await store.finish([ended(run), ended(run, RunStatus.FAILED, again=True)]) == [False, False]

        assert (await run_of(store, run.run_id), await now_of(store, job)) == before

    async def test_is_in_nobodys_way(self, store: TaskStore) -> None:
        session, other, job = await joined(store), await joined(store), await store.add(a_job())
        await started(store, session, job, attempts=1)
        await store.leave(session)

        [answer] = await store.claim(other, [tick(await now_of(store, job))])

        claimed(answer)

    async def test_is_lost_at_once_when_it_leaves(self, store: TaskStore) -> None:
        session, job = await joined(store), await store.add(a_job())
        mine, ends = await started(store, session, job), await store.add(a_job())
        finished = await started(store, session, ends)
        await store.finish([ended(finished)])
        other_job, other = await store.add(a_job()), await joined(store)
        theirs = await started(store, other, other_job)

        await store.leave(session)

        assert await status_of(store, mine.run_id) is RunStatus.LOST
        assert await status_of(store, finished.run_id) is RunStatus.SUCCESS
        assert await status_of(store, theirs.run_id) is RunStatus.RUNNING

    async def test_is_nobodys_to_find_when_it_has_left(self, store: TaskStore) -> None:
        session, other, job = await joined(store), await joined(store), await store.add(a_job())
        await started(store, session, job)

        await store.leave(session)

        assert await lost(store, other) == []

    async def test_is_still_to_be_found_when_another_leaves(self, store: TaskStore) -> None:
        session, other, job = await joined(store), await joined(store), await store.add(a_job())
        run = await started(store, session, job)
        await expire(store, session)

        await store.leave(other)

        assert await status_of(store, run.run_id) is RunStatus.RUNNING
        assert [each.id for each in await lost(store, await joined(store))] == [run.run_id]

    async def test_is_not_offered_again_if_the_job_was_removed(self, store: TaskStore) -> None:
        session, other = await joined(store), await joined(store, "tidy")
        job = await store.add(every_hour())
        run = await started(store, session, job)
        await store.remove(job.id)

        await store.leave(session)

        assert await status_of(store, run.run_id) is RunStatus.LOST
        assert await offered(store, other) == []
        assert await store.job(job.id) is None

    async def test_is_one_of_several_that_are_all_found(self, store: TaskStore) -> None:
        sessions = [await joined(store) for _ in range(3)]
        jobs = [await store.add(a_job(interval_minutes=60, trigger=None)) for _ in range(12)]
        runs = [await started(store, sessions[n % 3], job) for n, job in enumerate(jobs)]
        watcher = await joined(store, "tidy")
        for each in sessions[:2]:
            await expire(store, each)

        # The second one to expire may have found what was the first one's.
        expected = {run.run_id for n, run in enumerate(runs) if n % 3 != 2}
        await lost(store, watcher)
        for run in runs:
            gone = run.run_id in expected
            assert await status_of(store, run.run_id) is (RunStatus.LOST if gone else RunStatus.RUNNING)
        assert {each.run_id for each in await offered(store, watcher)} == {f"{run}~2" for run in expected}

    async def test_is_not_one_whose_session_beats(self, store: TaskStore) -> None:
        session, other, job = await joined(store), await joined(store), await store.add(a_job())
        run = await started(store, session, job)

        for _ in range(3):
            assert await lost(store, session) == await lost(store, other) == []
        assert await status_of(store, run.run_id) is RunStatus.RUNNING
