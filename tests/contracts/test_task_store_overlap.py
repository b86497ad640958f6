"""The contract of `TaskStore`, on every kind of store: a tick while a run is in progress."""

from __future__ import annotations

import pytest
from tests.support.task_stores import (
    DUE,
    FUTURE,
    HOUR,
    LONG,
    a_job,
    an_offer,
    claimed,
    ended,
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
from bgtasks.policies import Overlap
from bgtasks.records import Offer, Refusal, Refused, RunStatus


class TestATickWhileARunIsInProgress:
    async def test_is_skipped(self, store: TaskStore) -> None:
        session, job = await joined(store, "tidy"), await store.add(a_job())
        going = await started(store, session, job)

        answer = await next_of(store, session, job, run_id="r", following=FUTURE)

        assert answer == Refused(job.id, Refusal.BUSY, FUTURE, "r")
        run = await run_of(store, "r")
        assert (run.status, run.due) == (RunStatus.SKIPPED, DUE + HOUR)
        assert run.error_message == "the previous run is still going"
        assert run.finished_at == run.created_at
        assert (run.session, run.token, run.started_at) == (None, 0, None)
        assert (await now_of(store, job)).next_run_at == FUTURE
        assert (await now_of(store, job)).token == going.token
        assert await offered(store, session) == []
        assert await status_of(store, going.run_id) is RunStatus.RUNNING

    async def test_is_offered_for_later(self, store: TaskStore) -> None:
        session, job = await joined(store, "tidy"), await store.add(a_job())
        going = await started(store, session, job)

        answer = await next_of(
            store, session, job, run_id="r", following=FUTURE, overlap=Overlap.QUEUE, attempts=4
        )

        assert answer == Refused(job.id, Refusal.QUEUED, FUTURE, "r")
        assert (await store.beat(session, LONG, 0.0)).offers == (Offer("r", job.id, DUE + HOUR, 1, 4),)
        assert await status_of(store, "r") is RunStatus.PENDING
        await store.finish([ended(going)])
        [accepted] = await store.accept(session, [("r", False)])
        assert claimed(accepted)[:4] == ("r", job.id, DUE + HOUR, 1)

    async def test_is_skipped_if_one_is_queued_already(self, store: TaskStore) -> None:
        session, job = await joined(store, "tidy"), await store.add(a_job())
        await started(store, session, job)
        await next_of(store, session, job, run_id="first", overlap=Overlap.QUEUE)

        answer = await next_of(store, session, job, run_id="second", overlap=Overlap.QUEUE, following=FUTURE)

        assert answer == Refused(job.id, Refusal.BUSY, FUTURE, "second")
        second = await run_of(store, "second")
        assert second.status is RunStatus.SKIPPED
        assert second.error_message == "the previous run is still going, and one is queued already"
        assert [each.run_id for each in await offered(store, session)] == ["first"]

    async def test_counts_a_run_that_is_wanted_by_hand_as_queued(self, store: TaskStore) -> None:
        session, job = await joined(store, "tidy"), await store.add(a_job())
        other = await store.add(a_job())
        await started(store, session, job)
        await store.offer(an_offer(other))

        await next_of(store, session, job, run_id="r", overlap=Overlap.QUEUE)
        assert await status_of(store, "r") is RunStatus.PENDING

        await started(store, session, other)
        await next_of(store, session, other, run_id="s", overlap=Overlap.QUEUE)
        assert await status_of(store, "s") is RunStatus.SKIPPED

    async def test_overtakes_it(self, store: TaskStore) -> None:
        session, bystander = await joined(store, "tidy"), await joined(store, "tidy")
        job, other = await store.add(a_job()), await store.add(a_job())
        going, untouched = await started(store, session, job), await started(store, session, other)

        answer = await next_of(store, bystander, job, run_id="r", following=FUTURE, overlap=Overlap.CANCEL)

        assert answer == Refused(job.id, Refusal.QUEUED, FUTURE, "r")
        assert (await run_of(store, going.run_id)).unwanted
        assert not (await run_of(store, untouched.run_id)).unwanted
        told = await store.beat(session, LONG, 0.0)
        assert told.unwanted == (going.run_id,)
        assert [offer.run_id for offer in told.offers] == ["r"]
        assert (await store.beat(bystander, LONG, 0.0)).unwanted == ()

    async def test_overtakes_what_was_queued_too(self, store: TaskStore) -> None:
        session, job = await joined(store, "tidy"), await store.add(a_job())
        going = await started(store, session, job)
        for each in ("by hand", "by hand too"):
            await store.offer(an_offer(job, run_id=each))
        await next_of(store, session, job, run_id="first", overlap=Overlap.CANCEL)
        await next_of(store, session, job, run_id="second", overlap=Overlap.CANCEL)

        assert [each.run_id for each in await offered(store, session)] == ["second"]
        for each in ("by hand", "by hand too", "first"):
            run = await run_of(store, each)
            assert (run.status, run.error_message) == (RunStatus.SKIPPED, "overtaken by a later one")
            assert run.finished_at is not None
            assert (run.duration_ms, run.started_at) == (None, None)
        assert (await store.beat(session, LONG, 0.0)).unwanted == (going.run_id,)
        await store.finish([ended(going, RunStatus.SKIPPED)])
        assert (await store.beat(session, LONG, 0.0)).unwanted == ()
        claimed((await store.accept(session, [("second", False)]))[0])

    async def test_may_be_allowed_beside_it(self, store: TaskStore) -> None:
        session, other, job = await joined(store), await joined(store), await store.add(a_job())
        first = await started(store, session, job)

        second = claimed(await next_of(store, other, job, overlap=Overlap.ALLOW))

        assert second.token > first.token
        assert await store.finish([ended(second), ended(first)]) == [True, True]

    @pytest.mark.parametrize("overlap", [each for each in Overlap if each is not Overlap.ALLOW])
    async def test_stays_due_if_it_is_caught_up_with(self, store: TaskStore, overlap: Overlap) -> None:
        session, job = await joined(store, "tidy"), await store.add(a_job())
        going = await started(store, session, job)
        before = await now_of(store, job)

        answer = await next_of(
            store, session, job, run_id="r", missed="m", overlap=overlap, patient=True, following=FUTURE
        )

        assert answer == Refused(job.id, Refusal.BUSY, DUE + HOUR)
        assert await now_of(store, job) == before
        assert await store.run("r") is await store.run("r:missed") is None
        told = await store.beat(session, LONG, 0.0)
        assert ([each.id for each in told.due], told.unwanted) == ([job.id], ())
        await store.finish([ended(going)])
        after = await next_of(store, session, job, run_id="r", patient=True, following=FUTURE)
        assert claimed(after).due == DUE + HOUR
        assert (await now_of(store, job)).next_run_at == FUTURE

    async def test_gets_its_run_when_that_has_ended(self, store: TaskStore) -> None:
        session, job = await joined(store), await store.add(a_job())
        await store.finish([ended(await started(store, session, job), RunStatus.FAILED)])

        claimed(await next_of(store, session, job))

    async def test_is_busy_until_the_last_of_several_has_ended(self, store: TaskStore) -> None:
        session, job = await joined(store), await store.add(a_job())
        first = await started(store, session, job)
        second = claimed(await next_of(store, session, job, overlap=Overlap.ALLOW))

        await store.finish([ended(first)])
        refused(await next_of(store, session, job), Refusal.BUSY)
        await store.finish([ended(second)])
        claimed(await next_of(store, session, job))

    @pytest.mark.parametrize("overlap", Overlap)
    async def test_gets_its_run_if_none_is(self, store: TaskStore, overlap: Overlap) -> None:
        session, job = await joined(store, "tidy"), await store.add(a_job())
        await store.offer(an_offer(job, run_id="by hand"))

        await started(store, session, job, overlap=overlap)

        assert [each.run_id for each in await offered(store, session)] == ["by hand"]
