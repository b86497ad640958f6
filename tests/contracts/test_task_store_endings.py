"""The contract of `TaskStore`, on every kind of store: how runs end."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.support.task_stores import (
    DUE,
    LONG,
    TaskStores,
    a_job,
    an_offer,
    claimed,
    ended,
    every_hour,
    expire,
    joined,
    new_id,
    now_of,
    offered,
    run_of,
    started,
    status_of,
    tick,
)

from bgtasks.contracts import TaskStore
from bgtasks.policies import Overlap
from bgtasks.records import Claimed, Ending, Offer, RunQuery, RunRow, RunStatus

OVER = [RunStatus.SUCCESS, RunStatus.FAILED, RunStatus.SKIPPED, RunStatus.TIMED_OUT]


class TestFinishing:
    @pytest.mark.parametrize("status", OVER)
    async def test_writes_down_how_a_run_ended(self, store: TaskStore, status: RunStatus) -> None:
        session, job = await joined(store), await store.add(a_job())
        run = await started(store, session, job)
        before = await run_of(store, run.run_id)

        ending = ended(run, status, duration_ms=17, result_json='{"n": 1}', error_message="why")
        assert await store.finish([ending]) == [True]

        after = await run_of(store, run.run_id)
        assert after == replace(
            before,
            status=status,
            finished_at=after.finished_at,
            duration_ms=17,
            result_json='{"n": 1}',
            error_message="why",
        )
        assert before.started_at is not None
        assert after.finished_at is not None
        assert after.finished_at >= before.started_at

    async def test_may_leave_nothing_to_say(self, store: TaskStore) -> None:
        session, job = await joined(store), await store.add(a_job())
        run = await started(store, session, job)

        await store.finish([ended(run)])

        after = await run_of(store, run.run_id)
        assert (after.duration_ms, after.result_json, after.error_message) == (0, None, None)

    async def test_is_the_claimants_alone_to_say(self, store: TaskStore) -> None:
        session, job = await joined(store), await store.add(a_job())
        run = await started(store, session, job)
        before = await run_of(store, run.run_id), await now_of(store, job)

        assert (
            await store.finish(
                [
                    ended(run._replace(token=run.token - 1)),
                    ended(run._replace(token=run.token + 1)),
                    ended(run._replace(token=0)),
                    ended(run._replace(run_id=new_id())),
                ]
            )
            == [False] * 4
        )

        assert (await run_of(store, run.run_id), await now_of(store, job)) == before

    async def test_of_what_was_never_claimed_is_nobodys_to_say(self, store: TaskStore) -> None:
        job = await store.add(a_job())
        await store.offer(an_offer(job, run_id="r"))

        assert await store.finish([Ending("r", 0, RunStatus.SUCCESS)]) == [False]

        assert await status_of(store, "r") is RunStatus.PENDING

    async def test_twice_is_answered_in_the_same_way_and_counts_once(self, store: TaskStore) -> None:
        session, job = await joined(store), await store.add(a_job())
        run = await started(store, session, job)
        ending = ended(run, RunStatus.FAILED, error_message="first")
        assert await store.finish([ending]) == [True]
        before = await run_of(store, run.run_id), await now_of(store, job)

        assert await store.finish([ending, ending._replace(error_message="second")]) == [True, True]

        assert (await run_of(store, run.run_id), await now_of(store, job)) == before
        assert before[1].failures == 1

    async def test_in_another_way_afterwards_is_refused(self, store: TaskStore) -> None:
        session, job = await joined(store), await store.add(a_job())
        run = await started(store, session, job)

        assert await store.finish([ended(run), ended(run, RunStatus.FAILED)]) == [True, False]

        assert await status_of(store, run.run_id) is RunStatus.SUCCESS
        assert (await now_of(store, job)).failures == 0

    async def test_is_possible_when_the_job_was_removed(self, store: TaskStore) -> None:
        session, job = await joined(store), await store.add(every_hour())
        run = await started(store, session, job)
        await store.remove(job.id)

        assert await store.finish([ended(run, again=True)]) == [True]

        assert await status_of(store, run.run_id) is RunStatus.SUCCESS
        assert await store.job(job.id) is None
        assert len(await store.runs(RunQuery())) == 1

    async def test_is_possible_for_a_session_that_nobody_has_missed_yet(self, store: TaskStore) -> None:
        session, job = await joined(store), await store.add(a_job())
        run = await started(store, session, job)
        await expire(store, session)

        assert await store.finish([ended(run)]) == [True]

        assert (await store.beat(await joined(store), LONG, 0.0)).lost == ()

    async def test_is_had_by_another_process_of_the_same_session(self, stores: TaskStores) -> None:
        first, second = await stores.store(), await stores.store()
        session, job = await joined(first), await first.add(a_job())
        run = await started(first, session, job)

        assert await second.finish([ended(run)]) == [True]
        assert await first.finish([ended(run)]) == [True]


class TestFailuresInARow:
    @pytest.mark.parametrize(
        ("statuses", "failures"),
        [
            ([RunStatus.FAILED], 1),
            ([RunStatus.FAILED, RunStatus.TIMED_OUT, RunStatus.FAILED], 3),
            ([RunStatus.FAILED, RunStatus.FAILED, RunStatus.SUCCESS], 0),
            ([RunStatus.FAILED, RunStatus.SKIPPED], 0),
            ([RunStatus.FAILED, RunStatus.SUCCESS, RunStatus.TIMED_OUT], 1),
            ([RunStatus.SUCCESS], 0),
        ],
    )
    async def test_are_counted(self, store: TaskStore, statuses: list[RunStatus], failures: int) -> None:
        session, job = await joined(store), await store.add(a_job())
        for status in statuses:
            run = await started(store, session, await now_of(store, job))
            await store.finish([ended(run, status)])

        assert (await now_of(store, job)).failures == failures

    async def test_do_not_count_what_was_lost(self, store: TaskStore) -> None:
        session, job = await joined(store), await store.add(a_job(failures=2))
        await started(store, session, job)

        await store.leave(session)

        assert (await now_of(store, job)).failures == 2

    async def test_are_counted_within_one_call(self, store: TaskStore) -> None:
        session, job = await joined(store), await store.add(a_job())
        runs = [
            await started(store, session, await now_of(store, job), overlap=Overlap.ALLOW) for _ in range(4)
        ]

        await store.finish([ended(run, RunStatus.FAILED) for run in runs])

        assert (await now_of(store, job)).failures == 4


class TestARunThatIsToBeDoneAgain:
    async def test_is_offered_as_another_run_at_once(self, store: TaskStore) -> None:
        session, job = await joined(store, "tidy"), await store.add(a_job(bot_id="b1"))
        run = await started(store, session, job, run_id="r", attempts=3)

        await store.finish([ended(run, RunStatus.SKIPPED, error_message="shutting down", again=True)])

        assert await offered(store, session) == [Offer("r~2", job.id, DUE, 2, 3)]
        assert (await run_of(store, "r")).error_message == "shutting down"
        again, first = await run_of(store, "r~2"), await run_of(store, "r")
        assert first.finished_at is not None
        assert again == RunRow(
            id="r~2",
            job_id=job.id,
            job_type="tidy",
            bot_id="b1",
            status=RunStatus.PENDING,
            due=DUE,
            attempt=2,
            attempts=3,
            created_at=again.created_at,
        )
        assert again.created_at >= first.finished_at

    async def test_is_offered_until_its_attempts_are_used_up(self, store: TaskStore) -> None:
        session, job = await joined(store, "tidy"), await store.add(a_job())
        run = await started(store, session, job, run_id="r", attempts=3)
        seen: list[Claimed] = [run]

        while True:
            await store.finish([ended(seen[-1], RunStatus.SKIPPED, again=True)])
            found = await offered(store, session)
            if not found:
                break
            [answer] = await store.accept(session, [(found[0].run_id, False)])
            seen.append(claimed(answer))

        assert [(each.run_id, each.attempt) for each in seen] == [("r", 1), ("r~2", 2), ("r~3", 3)]
        assert [each.due for each in seen] == [DUE] * 3

    async def test_is_not_wanted_if_the_one_before_was_not(self, store: TaskStore) -> None:
        session, job = await joined(store, "tidy"), await store.add(a_job())
        run = await started(store, session, job, run_id="r")
        await store.claim(session, [tick(await now_of(store, job), overlap=Overlap.CANCEL)])
        assert (await run_of(store, "r")).unwanted

        await store.finish([ended(run, RunStatus.SKIPPED, again=True)])

        assert await store.run("r~2") is None

    async def test_says_nothing_of_the_failures_before(self, store: TaskStore) -> None:
        session, job = await joined(store, "tidy"), await store.add(a_job())
        await store.finish([ended(await started(store, session, job, run_id="r"), RunStatus.FAILED)])
        run = await started(store, session, await now_of(store, job), run_id="s")

        await store.finish([ended(run, RunStatus.SKIPPED, again=True)])

        assert (await now_of(store, job)).failures == 1

    async def test_of_a_trigger_that_is_over_changes_no_version(self, store: TaskStore) -> None:
        session, job = await joined(store, "tidy"), await store.add(a_job())
        run = await started(store, session, job, following=None)

        await store.finish([ended(run)])

        assert (await now_of(store, job)).version == job.version + 1

    async def test_is_offered_once_if_that_is_said_twice(self, store: TaskStore) -> None:
        session, job = await joined(store, "tidy"), await store.add(a_job())
        run = await started(store, session, job, run_id="r")
        ending = ended(run, RunStatus.SKIPPED, again=True)

        assert await store.finish([ending, ending]) == [True, True]
        assert await store.finish([ending]) == [True]

        assert [each.run_id for each in await offered(store, session)] == ["r~2"]
        [second] = await store.accept(session, [("r~2", False)])
        assert await store.finish([ending]) == [True]
        assert (await run_of(store, "r~2")).token == claimed(second).token
        assert await status_of(store, "r~2") is RunStatus.RUNNING
