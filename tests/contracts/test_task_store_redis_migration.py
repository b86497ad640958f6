"""Keys of `RedisTaskStore` that version 1 has written, and processes of that version beside ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support.task_stores import (
    DUE,
    FUTURE,
    LONG,
    RedisPlace,
    a_job,
    a_session,
    an_offer,
    ended,
    joined,
    listed_jobs,
    now_of,
    started,
)

from bgtasks.contracts import TaskStore
from bgtasks.errors import UnsuitableServer
from bgtasks.records import JobRow, RunQuery
from bgtasks.stores.tasks.redis import BATCH, VERSION

PREFIX = "bgtasks:tasks:"
NEW_LISTS = ("types", "jobs-over", "jobs-for:*")
"""What version 1 did not have."""


@pytest.fixture(params=["fakeredis", pytest.param("redis 8", marks=pytest.mark.real)])
async def redis(request: pytest.FixtureRequest) -> AsyncIterator[RedisPlace]:
    """An empty Redis."""
    made = RedisPlace(url=None if request.param == "fakeredis" else request.getfixturevalue("redis8_url"))
    async with made.stack:
        await made.prepare()
        yield made


async def aged(redis: RedisPlace) -> Any:
    """Make of what is kept what version 1 would have kept; a client to look at it."""
    client = redis.clients.new(decode_responses=True)
    for pattern in NEW_LISTS:
        async for key in client.scan_iter(f"{PREFIX}{pattern}"):
            await client.delete(key)
    for session in await client.zrange(f"{PREFIX}joined", 0, -1):
        await client.hdel(f"{PREFIX}session:{session}", "joined_at", "version")
    await client.set(f"{PREFIX}version", 1)
    return client


async def added_by_version_1(store: TaskStore, client: Any, job: JobRow) -> None:
    """Have a job be added as version 1 did it."""
    await store.add(job)
    await client.zrem(f"{PREFIX}jobs-for:{job.bot_id}", str(job.id))
    if await client.zcard(f"{PREFIX}jobs-of:{job.job_type}") == 1:
        await client.zrem(f"{PREFIX}types", job.job_type)


def once(**but: Any) -> JobRow:
    """A job that had its last run long ago."""
    return a_job(**{"trigger": "once", "next_run_at": None, "last_run_at": DUE, **but})


class TestAStoreOfVersion1:
    async def test_is_migrated_with_what_is_in_it(self, redis: RedisPlace) -> None:
        old = await redis.store()
        due, sow = await old.add(a_job(bot_id="b1", key="k")), await old.add(a_job("sow"))
        over, session = await old.add(once(bot_id="b1")), await joined(old, "tidy")
        run = await started(old, session, due)
        await old.offer(an_offer(sow, run_id="r"))
        jobs, runs = await old.jobs(), await old.runs(RunQuery())
        client = await aged(redis)

        store = await redis.store()

        assert await client.get(f"{PREFIX}version") == str(VERSION)
        assert (await store.jobs(), await store.runs(RunQuery())) == (jobs, runs)
        assert await store.types() == {"sow": 1, "tidy": 2}
        assert await listed_jobs(store, bot_id="b1") == sorted([due.id, over.id])
        assert await listed_jobs(store, bot_id="*") == [sow.id]
        [row] = await store.sessions()
        assert row.joined_at is not None
        assert (await store.beat(session, LONG, 0.0)).alive
        assert await store.finish([ended(run)]) == [True]
        await store.prune(FUTURE, 0)
        assert await listed_jobs(store) == sorted([due.id, sow.id])
        assert await store.add(a_job(bot_id="b1", key="k")) == await now_of(store, due)

    async def test_is_migrated_once_by_all_who_start_at_the_same_time(self, redis: RedisPlace) -> None:
        old = await redis.store()
        jobs = [await old.add(once(bot_id=f"b{n % 2}")) for n in range(20)]
        await aged(redis)

        stores = await asyncio.gather(*(redis.store() for _ in range(4)))

        for store in stores:
            assert await store.types() == {"tidy": 20}
            assert await listed_jobs(store, bot_id="b1") == sorted(job.id for job in jobs[1::2])

    async def test_is_migrated_though_whoever_began_has_died(self, redis: RedisPlace) -> None:
        old = await redis.store()
        await asyncio.gather(*(old.add(a_job(bot_id=f"b{n % 2}")) for n in range(BATCH + 20)))
        jobs = [job.id for job in await old.jobs(limit=BATCH + 20)]
        client = await aged(redis)
        for job in jobs[:BATCH]:
            await client.zadd(f"{PREFIX}jobs-for:{(await now_of(old, a_job(id=job))).bot_id}", {str(job): 0})
        await client.set(f"{PREFIX}version", VERSION)
        await client.set(f"{PREFIX}migration", f"({jobs[BATCH - 1]}")

        store = await redis.store()

        assert await client.exists(f"{PREFIX}migration") == 0
        listed = [await listed_jobs(store, bot_id=bot, limit=1000) for bot in ("b0", "b1")]
        assert sorted(listed[0] + listed[1]) == jobs
        assert await store.types() == {"tidy": len(jobs)}

    async def test_that_is_empty_is_migrated(self, redis: RedisPlace) -> None:
        await redis.clients.new().set(f"{PREFIX}version", 1)

        store = await redis.store()

        assert (await store.types(), await store.jobs()) == ({}, [])


async def test_a_store_of_a_newer_version_is_refused(redis: RedisPlace) -> None:
    await redis.store()
    await redis.clients.new().set(f"{PREFIX}version", VERSION + 1)

    with pytest.raises(UnsuitableServer, match=f"version '{VERSION + 1}'.*upgrade it"):
        await redis.store()


class TestAProcessOfVersion1:
    async def test_adds_jobs_that_ours_run(self, redis: RedisPlace) -> None:
        first = await redis.store()
        theirs = a_session("tidy")
        await first.join(theirs, LONG)
        client = await aged(redis)
        store = await redis.store()
        job = a_job("water", bot_id="b1")

        await added_by_version_1(store, client, job)
        ours = await joined(store, "water")

        assert [each.id for each in (await store.beat(ours, LONG, 0.0)).due] == [job.id]
        run = await started(store, ours, job)
        assert await store.finish([ended(run)]) == [True]

    async def test_leaves_jobs_that_are_listed_when_it_is_gone(self, redis: RedisPlace) -> None:
        first = await redis.store()
        theirs = a_session("tidy")
        await first.join(theirs, LONG)
        client = await aged(redis)
        store = await redis.store()
        job = a_job("water", bot_id="b1")
        await added_by_version_1(store, client, job)
        await store.prune(DUE, 100)

        await store.leave(theirs.id)
        await store.prune(DUE, 100)

        assert await listed_jobs(store, bot_id="b1") == [job.id]
        assert await store.types() == {"water": 1}
        assert await client.exists(f"{PREFIX}migration") == 0

    async def test_may_have_removed_a_job_that_is_listed_for_its_bot(self, redis: RedisPlace) -> None:
        store = await redis.store()
        client = redis.clients.new(decode_responses=True)
        gone, stays = [await store.add(once(bot_id="b1")) for _ in range(2)]
        await client.delete(f"{PREFIX}job:{gone.id}")
        for key in ("jobs", "jobs-of:tidy"):
            await client.zrem(f"{PREFIX}{key}", str(gone.id))

        assert await listed_jobs(store, bot_id="b1") == [stays.id]
        await store.prune(DUE, 100)
        assert await listed_jobs(store, bot_id="b1") == [stays.id]

    async def test_may_have_made_a_job_due_again_that_is_listed_as_over(self, redis: RedisPlace) -> None:
        store = await redis.store()
        client = redis.clients.new(decode_responses=True)
        job = await store.add(once())
        due = str(round(FUTURE.timestamp() * 1_000_000))
        await client.hset(f"{PREFIX}job:{job.id}", "next_run_at", due)
        await client.zadd(f"{PREFIX}due:tidy", {str(job.id): due})

        await store.prune(FUTURE, 0)

        assert (await now_of(store, job)).next_run_at is not None
