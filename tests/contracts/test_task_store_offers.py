"""The contract of `TaskStore`, on every kind of store: runs that are wanted beside the schedule."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

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
    offered,
    refused,
    run_of,
    started,
    status_of,
)

from bgtasks.contracts import TaskStore
from bgtasks.policies import Overlap
from bgtasks.records import Claimed, Offer, Refusal, Refused, RunStatus


class TestOffers:
    async def test_are_heard_of_by_sessions_that_have_the_type_wired(self, store: TaskStore) -> None:
        job, other = await store.add(a_job(next_run_at=None)), await store.add(a_job("sow"))
        offer = an_offer(job, due=DUE, attempt=2, attempts=5)
        assert await store.offer(offer)
        assert await store.offer(an_offer(other))
        session, knows = await joined(store, "tidy"), a_session(known=("tidy", "sow"))
        await store.join(knows, LONG)

        assert (await store.beat(session, LONG, 0.0)).offers == (offer,)
        assert (await store.beat(knows.id, LONG, 0.0)).offers == ()

    async def test_are_told_in_the_order_in_which_they_came(self, store: TaskStore) -> None:
        jobs = [await store.add(a_job(kind)) for kind in ("tidy", "sow")]
        offers = [an_offer(jobs[n % 2], run_id=f"{9 - n}", due=DUE - n * HOUR) for n in range(6)]
        for each in offers:
            await store.offer(each)
        session = await joined(store, "sow", "tidy")

        assert (await store.beat(session, LONG, 0.0)).offers == tuple(offers)
        assert (await store.beat(session, LONG, 0.0, limit=4)).offers == tuple(offers[:4])

    async def test_are_limited_apart_from_jobs(self, store: TaskStore) -> None:
        jobs = [await store.add(a_job()) for _ in range(3)]
        for each in jobs:
            await store.offer(an_offer(each))
        session = await joined(store, "tidy")

        told = await store.beat(session, LONG, 0.0, limit=2)

        assert (len(told.due), len(told.offers)) == (2, 2)

    async def test_are_written_down_as_pending_runs(self, store: TaskStore) -> None:
        job = await store.add(a_job(bot_id="b1"))
        session = a_session("tidy")
        at = await store.join(session, LONG)
        offer = Offer("by hand", job.id, DUE, attempt=1, attempts=2)

        assert await store.offer(offer)

        run = await run_of(store, "by hand")
        assert run.created_at >= at
        assert (run.job_id, run.job_type, run.bot_id) == (job.id, "tidy", "b1")
        assert (run.status, run.due, run.attempt, run.attempts) == (RunStatus.PENDING, DUE, 1, 2)
        assert (run.session, run.node_id, run.token, run.unwanted) == (None, None, 0, False)
        assert (run.started_at, run.finished_at, run.duration_ms) == (None, None, None)
        assert run.result_json is run.error_message is None

    async def test_are_one_for_each_run_id(self, store: TaskStore) -> None:
        job, other = await store.add(a_job()), await store.add(a_job())
        offer = an_offer(job)
        session = await joined(store, "tidy")

        assert await store.offer(offer)
        assert await store.offer(offer)
        assert await store.offer(offer._replace(job_id=other.id, due=FUTURE))

        assert (await store.beat(session, LONG, 0.0)).offers == (offer,)

    async def test_are_not_made_anew_when_they_were_accepted_meanwhile(self, store: TaskStore) -> None:
        job = await store.add(a_job())
        offer = an_offer(job)
        session = await joined(store, "tidy")
        await store.offer(offer)
        await store.accept(session, [(offer.run_id, False)])

        assert await store.offer(offer)

        assert await status_of(store, offer.run_id) is RunStatus.RUNNING
        assert (await store.beat(session, LONG, 0.0)).offers == ()

    async def test_of_no_job_are_refused(self, store: TaskStore) -> None:
        job = a_job()

        assert not await store.offer(an_offer(job, run_id="r"))

        assert await store.run("r") is None

    async def test_may_be_of_a_job_that_is_paused(self, store: TaskStore) -> None:
        job = await store.add(a_job(enabled=False))
        offer = an_offer(job)
        session = await joined(store, "tidy")

        assert await store.offer(offer)

        assert (await store.beat(session, LONG, 0.0)).offers == (offer,)

    @pytest.mark.parametrize("attempts", [1, 7])
    async def test_say_how_often_they_are_started_at_most(self, store: TaskStore, attempts: int) -> None:
        job = await store.add(a_job())

        await store.offer(an_offer(job, run_id="r", attempts=attempts))

        assert (await run_of(store, "r")).attempts == attempts


class TestAccepting:
    async def test_an_offer_starts_a_run_of_it(self, store: TaskStore) -> None:
        session = a_session(node_id="shed")
        await store.join(session, LONG)
        job = await store.add(a_job())
        offer = an_offer(job, run_id="r", due=DUE - HOUR, attempt=2, attempts=4)
        await store.offer(offer)
        before = await run_of(store, "r")

        [answer] = await store.accept(session.id, [("r", False)])

        run = await run_of(store, "r")
        assert answer == Claimed("r", job.id, DUE - HOUR, 2, run.token)
        assert run == replace(
            before,
            status=RunStatus.RUNNING,
            session=session.id,
            node_id="shed",
            token=run.token,
            started_at=run.started_at,
        )
        assert await now_of(store, job) == replace(job, token=run.token, last_run_at=run.started_at)
        assert run.started_at is not None
        assert run.started_at >= run.created_at

    async def test_again_is_answered_in_the_same_way(self, store: TaskStore) -> None:
        session, job = await joined(store), await store.add(a_job())
        await store.offer(an_offer(job, run_id="r"))

        [first] = await store.accept(session, [("r", False)])

        assert await store.accept(session, [("r", False), ("r", True)]) == [first, first]
        await store.finish([ended(claimed(first))])
        assert await store.accept(session, [("r", False)]) == [Refused(job.id, Refusal.TAKEN, DUE)]
        assert await status_of(store, "r") is RunStatus.SUCCESS

    async def test_what_another_has_is_refused(self, stores: TaskStores) -> None:
        first, second = await stores.store(), await stores.store()
        job = await first.add(a_job())
        await first.offer(an_offer(job, run_id="r"))
        one, other = await joined(first), await joined(second)
        [run] = await first.accept(one, [("r", True)])

        assert await second.accept(other, [("r", True)]) == [Refused(job.id, Refusal.TAKEN, DUE)]
        await first.finish([ended(claimed(run))])
        assert await second.accept(other, [("r", True)]) == [Refused(job.id, Refusal.TAKEN, DUE)]

    async def test_what_was_skipped_meanwhile_is_refused(self, store: TaskStore) -> None:
        session, job = await joined(store), await store.add(a_job())
        await store.offer(an_offer(job, run_id="r"))
        await started(store, session, job)
        await next_of(store, session, job, overlap=Overlap.CANCEL)

        [answer] = await store.accept(session, [("r", True)])

        refused(answer, Refusal.TAKEN)

    async def test_beside_another_run_must_be_allowed(self, store: TaskStore) -> None:
        session, job = await joined(store, "tidy"), await store.add(a_job())
        going = await started(store, session, job, following=FUTURE)
        await store.offer(an_offer(job, run_id="r"))

        assert await store.accept(session, [("r", False)]) == [Refused(job.id, Refusal.BUSY, FUTURE)]
        assert [each.run_id for each in await offered(store, session)] == ["r"]

        [answer] = await store.accept(session, [("r", True)])
        assert claimed(answer).token > going.token

    async def test_two_of_a_job_in_a_call_is_two_steps(self, store: TaskStore) -> None:
        session, job = await joined(store), await store.add(a_job())
        for each in ("a", "b", "c"):
            await store.offer(an_offer(job, run_id=each))

        answers = await store.accept(session, [("b", False), ("a", False), ("c", True)])

        refused(answers[1], Refusal.BUSY)
        assert claimed(answers[0]).token < claimed(answers[2]).token

    async def test_of_a_job_that_is_paused_is_possible(self, store: TaskStore) -> None:
        session, job = await joined(store), await store.add(a_job(enabled=False))
        await store.offer(an_offer(job, run_id="r"))

        claimed((await store.accept(session, [("r", False)]))[0])

    async def test_what_never_was_or_was_removed_is_refused(self, store: TaskStore) -> None:
        session, job = await joined(store), await store.add(a_job())
        await store.offer(an_offer(job, run_id="r"))
        await store.remove(job.id)

        assert await store.accept(session, [("never", False), ("r", False)]) == [
            Refused(UUID(int=0), Refusal.GONE),
            Refused(job.id, Refusal.GONE),
        ]

    async def test_by_a_session_that_is_not_alive_is_refused(self, store: TaskStore) -> None:
        session, live = await joined(store), await joined(store, "tidy")
        job = await store.add(a_job())
        await store.offer(an_offer(job, run_id="r"))
        await expire(store, session)

        for each in (session, new_id()):
            assert await store.accept(each, [("r", False)]) == [Refused(job.id, Refusal.NO_SESSION, DUE)]
        assert [each.run_id for each in await offered(store, live)] == ["r"]

    async def test_a_run_of_history_is_refused(self, store: TaskStore) -> None:
        session, job = await joined(store), await store.add(a_job())
        run = await started(store, session, job)
        other = await joined(store)

        [answer] = await store.accept(other, [(run.run_id, True)])

        refused(answer, Refusal.TAKEN)
