"""The contract of `TaskStore`, on every kind of store: who gets a tick, and who does not."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.support.task_stores import (
    DUE,
    FUTURE,
    HOUR,
    LONG,
    TaskStores,
    a_job,
    a_session,
    an_offer,
    claimed,
    ended,
    expire,
    joined,
    new_id,
    next_of,
    now_of,
    refused,
    run_of,
    started,
    status_of,
    tick,
)

from bgtasks.contracts import TaskStore
from bgtasks.policies import Overlap
from bgtasks.records import Claimed, Refusal, Refused, RunQuery, RunRow, RunStatus


async def history(store: TaskStore) -> list[RunRow]:
    """Every run there is."""
    return list(await store.runs(RunQuery()))


class TestAClaim:
    async def test_moves_the_job_on_and_writes_down_a_run_in_progress(self, store: TaskStore) -> None:
        session = a_session("tidy", node_id="shed")
        at = await store.join(session, LONG)
        job = await store.add(a_job(bot_id="b1"))
        wanted = tick(job, following=FUTURE, runs_for=DUE - HOUR, attempts=5)

        [answer] = await store.claim(session.id, [wanted])

        run, now = await run_of(store, wanted.run_id), await now_of(store, job)
        assert run.started_at is not None
        assert at <= run.created_at <= run.started_at
        assert answer == Claimed(wanted.run_id, job.id, DUE - HOUR, 1, run.token)
        assert run == RunRow(
            id=wanted.run_id,
            job_id=job.id,
            job_type="tidy",
            bot_id="b1",
            status=RunStatus.RUNNING,
            due=DUE - HOUR,
            attempt=1,
            attempts=5,
            session=session.id,
            node_id="shed",
            token=run.token,
            created_at=run.created_at,
            started_at=run.started_at,
        )
        assert now == replace(job, next_run_at=FUTURE, last_run_at=run.started_at, token=run.token, version=2)

    async def test_names_the_node_as_it_was_described_last(self, store: TaskStore) -> None:
        session = await joined(store)
        await store.describe(a_session(id=session, node_id="barn"))
        job = await store.add(a_job())

        run = await started(store, session, job)

        assert (await run_of(store, run.run_id)).node_id == "barn"

    async def test_may_be_the_last_one(self, store: TaskStore) -> None:
        session, job = await joined(store, "tidy"), await store.add(a_job(trigger="once"))

        run = await started(store, session, job, following=None)
        await store.finish([ended(run)])

        assert (await now_of(store, job)).next_run_at is None

    async def test_is_had_by_one_session_only(self, stores: TaskStores) -> None:
        first, second = await stores.store(), await stores.store()
        job = await first.add(a_job())
        one, other = await joined(first), await joined(second)
        await started(first, one, job, following=FUTURE)
        late = tick(job)

        [answer] = await second.claim(other, [late])

        assert answer == Refused(job.id, Refusal.TAKEN, FUTURE)
        assert await second.run(late.run_id) is None
        assert (await now_of(first, job)).next_run_at == FUTURE

    @pytest.mark.parametrize("off", [-1, 1])
    async def test_compares_to_the_microsecond(self, store: TaskStore, off: int) -> None:
        session, job = await joined(store), await store.add(a_job())
        other = DUE + timedelta(microseconds=off)

        [answer] = await store.claim(session, [tick(job, due=other)])

        assert answer == Refused(job.id, Refusal.TAKEN, DUE)

    async def test_of_a_job_that_is_not_due_is_refused(self, store: TaskStore) -> None:
        session, job = await joined(store), await store.add(a_job(next_run_at=None))

        [answer] = await store.claim(session, [tick(replace(job, next_run_at=DUE))])

        assert answer == Refused(job.id, Refusal.TAKEN, None)

    async def test_of_a_job_that_is_due_later_is_a_claim(self, store: TaskStore) -> None:
        # A store does not judge instants: a caller whose clock is ahead starts early, and once.
        session, job = await joined(store), await store.add(a_job(next_run_at=FUTURE))

        assert (await started(store, session, job)).due == FUTURE

    async def test_of_a_job_that_is_paused_leaves_the_tick_due(self, store: TaskStore) -> None:
        session, job = await joined(store), await store.add(a_job(enabled=False))
        wanted = tick(job)

        [answer] = await store.claim(session, [wanted])

        assert answer == Refused(job.id, Refusal.DISABLED, DUE)
        assert await now_of(store, job) == job
        assert await store.run(wanted.run_id) is None

    async def test_of_a_job_that_is_gone_is_refused(self, store: TaskStore) -> None:
        session, job = await joined(store), await store.add(a_job())
        await store.remove(job.id)

        answers = await store.claim(session, [tick(job), tick(a_job())])

        assert [refused(answer, Refusal.GONE).next_run_at for answer in answers] == [None, None]
        assert answers[0] == Refused(job.id, Refusal.GONE)
        assert await history(store) == []

    async def test_by_a_session_that_is_not_alive_changes_nothing(self, store: TaskStore) -> None:
        session, left, job = await joined(store), await joined(store), await store.add(a_job())
        await expire(store, session)
        await store.leave(left)

        for each in (session, left, new_id()):
            assert await store.claim(each, [tick(job)]) == [Refused(job.id, Refusal.NO_SESSION, DUE)]
        assert await now_of(store, job) == job
        assert await history(store) == []

    async def test_of_nothing_is_answered_with_nothing(self, store: TaskStore) -> None:
        session = await joined(store)

        assert list(await store.claim(session, [])) == []
        assert list(await store.accept(session, [])) == []
        assert list(await store.finish([])) == []

    async def test_is_one_of_many_answered_in_order(self, store: TaskStore) -> None:
        session = await joined(store)
        good, paused, taken = [await store.add(a_job(enabled=on)) for on in (True, False, True)]
        gone, last = a_job(), await store.add(a_job("sow"))
        ticks = [tick(good), tick(paused), tick(taken, due=FUTURE), tick(gone), tick(last)]

        answers = await store.claim(session, ticks)

        assert claimed(answers[0]).run_id == ticks[0].run_id
        assert answers[1] == Refused(paused.id, Refusal.DISABLED, DUE)
        assert answers[2] == Refused(taken.id, Refusal.TAKEN, DUE)
        assert answers[3] == Refused(gone.id, Refusal.GONE)
        assert claimed(answers[4]).run_id == ticks[4].run_id

    async def test_may_come_with_a_great_many_others(self, store: TaskStore) -> None:
        session, count = await joined(store, "tidy"), 1100
        jobs = [await store.add(a_job()) for _ in range(count // 10)]
        ticks = [
            tick(job, due=DUE + n * HOUR, following=DUE + (n + 1) * HOUR, overlap=Overlap.ALLOW)
            for n in range(10)
            for job in jobs
        ]

        answers = [claimed(each) for each in await store.claim(session, ticks)]

        assert [each.run_id for each in answers] == [each.run_id for each in ticks]
        assert all(await store.finish([ended(each) for each in answers]))
        assert (await now_of(store, jobs[0])).next_run_at == DUE + 10 * HOUR

    async def test_of_one_job_twice_in_a_call_is_two_steps(self, store: TaskStore) -> None:
        session, job = await joined(store), await store.add(a_job())
        allowed = await store.add(a_job())

        answers = await store.claim(
            session,
            [
                tick(job, following=DUE + HOUR),
                tick(job, following=DUE + HOUR),
                tick(job, due=DUE + HOUR, following=FUTURE),
                tick(allowed, following=DUE + HOUR, overlap=Overlap.ALLOW),
                tick(allowed, due=DUE + HOUR, following=FUTURE, overlap=Overlap.ALLOW),
            ],
        )

        claimed(answers[0])
        assert answers[1] == Refused(job.id, Refusal.TAKEN, DUE + HOUR)
        assert refused(answers[2], Refusal.BUSY).next_run_at == FUTURE
        assert claimed(answers[3]).token < claimed(answers[4]).token


class TestAClaimThatIsAskedAgain:
    async def test_is_answered_in_the_same_way(self, stores: TaskStores) -> None:
        store, other = await stores.store(), await stores.store()
        session, job = await joined(store), await store.add(a_job())
        wanted = tick(job)

        first = await store.claim(session, [wanted])

        before = await now_of(store, job), await history(store)
        assert await store.claim(session, [wanted]) == first
        assert await other.claim(session, [wanted, wanted]) == [*first, *first]
        assert (await now_of(store, job), await history(store)) == before

    async def test_in_one_call_is_one_run(self, store: TaskStore) -> None:
        session, job = await joined(store), await store.add(a_job())
        wanted = tick(job, overlap=Overlap.ALLOW)

        first, second = await store.claim(session, [wanted, wanted])

        assert claimed(first) == second
        assert len(await history(store)) == 1

    async def test_is_refused_when_the_run_is_over(self, store: TaskStore) -> None:
        session, other, job = await joined(store), await joined(store), await store.add(a_job())
        wanted, lost = tick(job, following=FUTURE), tick(await store.add(a_job()), following=FUTURE)
        [first] = await store.claim(session, [wanted])
        await store.finish([ended(claimed(first))])
        await store.claim(other, [lost])
        await store.leave(other)

        assert await store.claim(session, [wanted]) == [Refused(job.id, Refusal.TAKEN, FUTURE)]
        assert await store.claim(other, [lost]) == [Refused(lost.job_id, Refusal.NO_SESSION, FUTURE)]
        assert await status_of(store, wanted.run_id) is RunStatus.SUCCESS
        assert await status_of(store, lost.run_id) is RunStatus.LOST

    async def test_by_another_session_is_refused(self, store: TaskStore) -> None:
        session, other, job = await joined(store), await joined(store), await store.add(a_job())
        wanted = tick(job, following=FUTURE)
        await store.claim(session, [wanted])

        assert await store.claim(other, [wanted]) == [Refused(job.id, Refusal.TAKEN, FUTURE)]
        assert (await run_of(store, wanted.run_id)).session == session

    async def test_is_taken_if_it_got_no_run(self, store: TaskStore) -> None:
        session, job = await joined(store), await store.add(a_job())
        await started(store, session, job, following=DUE + HOUR)
        due = await now_of(store, job)
        wanted = tick(due, overlap=Overlap.QUEUE)
        missed = tick(await store.add(a_job()), runs_for=None, missed="asleep")
        await store.claim(session, [wanted, missed])
        before = await now_of(store, job), await history(store)

        answers = await store.claim(session, [wanted, missed])

        assert [refused(answer, Refusal.TAKEN).job_id for answer in answers] == [job.id, missed.job_id]
        assert (await now_of(store, job), await history(store)) == before


class TestFencingTokens:
    async def test_grow_from_run_to_run_of_a_job(self, store: TaskStore) -> None:
        session, job = await joined(store, "tidy"), await store.add(a_job())
        tokens = []
        for _ in range(5):
            run = claimed(await next_of(store, session, job))
            tokens.append(run.token)
            await store.finish([ended(run)])
            offer = an_offer(job)
            await store.offer(offer)
            [accepted] = await store.accept(session, [(offer.run_id, False)])
            tokens.append(claimed(accepted).token)
            await store.finish([ended(claimed(accepted))])

        assert tokens == sorted(set(tokens))
        assert (await now_of(store, job)).token == tokens[-1]

    async def test_grow_even_where_the_clock_was_set_back(self, store: TaskStore) -> None:
        far = int(FUTURE.timestamp() * 1_000_000)
        session, job = await joined(store), await store.add(a_job(token=far))

        runs = [claimed(await next_of(store, session, job, overlap=Overlap.ALLOW)) for _ in range(3)]

        assert [run.token for run in runs] == [far + 1, far + 2, far + 3]
        assert (await run_of(store, runs[1].run_id)).token == far + 2

    async def test_grow_when_a_job_is_removed_and_added_anew(self, store: TaskStore) -> None:
        session, job = await joined(store), await store.add(a_job())
        before = await started(store, session, job)
        await store.remove(job.id)
        await store.add(job)

        after = await started(store, session, job, overlap=Overlap.ALLOW)
        assert after.token > before.token


class TestMissedTicks:
    async def test_are_written_down_beside_the_run(self, store: TaskStore) -> None:
        session, job = await joined(store), await store.add(a_job(bot_id="b1"))
        wanted = tick(job, runs_for=DUE + HOUR, following=FUTURE, missed="asleep for an hour")

        run = claimed((await store.claim(session, [wanted]))[0])

        assert run.due == DUE + HOUR
        missed = await run_of(store, f"{wanted.run_id}:missed")
        assert (missed.status, missed.due) == (RunStatus.SKIPPED, DUE)
        assert (missed.job_id, missed.job_type, missed.bot_id) == (job.id, "tidy", "b1")
        assert missed.error_message == "asleep for an hour"
        assert missed.finished_at == missed.created_at
        assert (missed.session, missed.token, missed.started_at) == (None, 0, None)

    async def test_may_be_all_there_is(self, store: TaskStore) -> None:
        session, job = await joined(store), await store.add(a_job())
        wanted = tick(job, runs_for=None, following=FUTURE, missed="too late")

        assert await store.claim(session, [wanted]) == [Refused(job.id, Refusal.MISSED, FUTURE)]

        assert [run.id for run in await history(store)] == [f"{wanted.run_id}:missed"]
        assert await now_of(store, job) == replace(job, next_run_at=FUTURE, version=2)

    async def test_of_a_plain_interval_let_it_begin_anew(self, store: TaskStore) -> None:
        session = a_session()
        at = await store.join(session, LONG)
        job = await store.add(a_job(trigger=None, interval_minutes=60))

        [answer] = await store.claim(session.id, [tick(job, runs_for=None, missed="too late")])

        again = refused(answer, Refusal.MISSED).next_run_at
        assert again is not None
        assert again > at + HOUR
        assert (await now_of(store, job)).next_run_at == again

    async def test_are_written_down_while_a_run_is_in_progress(self, store: TaskStore) -> None:
        session, job = await joined(store), await store.add(a_job())
        await started(store, session, job)

        answer = await next_of(store, session, job, run_id="r", missed="m", runs_for=DUE + 2 * HOUR)

        refused(answer, Refusal.BUSY)
        assert await status_of(store, "r:missed") is RunStatus.SKIPPED
        assert (await run_of(store, "r")).due == DUE + 2 * HOUR

    async def test_alone_are_missed_while_a_run_is_in_progress(self, store: TaskStore) -> None:
        session, job = await joined(store), await store.add(a_job())
        run = await started(store, session, job)

        answer = await next_of(
            store, session, job, missed="m", runs_for=None, overlap=Overlap.CANCEL, following=FUTURE
        )

        assert answer == Refused(job.id, Refusal.MISSED, FUTURE)
        assert not (await run_of(store, run.run_id)).unwanted


class TestAClaimAheadOfItsInstant:
    async def test_begins_the_run_then(self, store: TaskStore) -> None:
        session = await joined(store, "tidy")
        job = await store.add(a_job(next_run_at=FUTURE))

        run = await started(store, session, job)

        assert (await run_of(store, run.run_id)).started_at == FUTURE
        assert (await now_of(store, job)).last_run_at == FUTURE

    @pytest.mark.parametrize("status", [RunStatus.LOST, RunStatus.SKIPPED])
    async def test_may_be_ended_before_that(self, store: TaskStore, status: RunStatus) -> None:
        session = await joined(store, "tidy")
        job = await store.add(a_job(next_run_at=FUTURE))
        run = await started(store, session, job)

        assert await store.finish([ended(run, status)]) == [True]

        row = await run_of(store, run.run_id)
        assert row.started_at is not None
        assert row.finished_at is not None
        assert row.started_at <= row.finished_at < FUTURE

    async def test_of_a_session_that_is_lost_took_no_time(self, store: TaskStore) -> None:
        session = await joined(store, "tidy")
        job = await store.add(a_job(next_run_at=FUTURE))
        run = await started(store, session, job)
        await expire(store, session)

        await store.beat(await joined(store), LONG, LONG)

        row = await run_of(store, run.run_id)
        assert (row.status, row.duration_ms) == (RunStatus.LOST, 0)
