"""The contract of `TaskStore`, on every kind of store: sessions, and what they hear of.

Claims, endings, jobs, history and the rest are in modules beside this one.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from tests.support.task_stores import (
    DUE,
    FUTURE,
    HOUR,
    LONG,
    SHORT,
    TaskStores,
    a_job,
    a_session,
    expire,
    joined,
    new_id,
    started,
)
from tests.support.waiting import until

from bgtasks.contracts import TaskStore
from bgtasks.records import Beat


async def ids(store: TaskStore) -> list[str]:
    """Sessions that are alive."""
    return [each.id for each in await store.sessions()]


async def due(store: TaskStore, session: str, horizon: float = 0.0, limit: int = 1000) -> list[UUID]:
    """Jobs that the session hears of."""
    return [job.id for job in (await store.beat(session, LONG, horizon, limit=limit)).due]


class TestAStore:
    async def test_has_a_name_for_messages(self, store: TaskStore) -> None:
        assert store.name

    async def test_may_be_opened_and_closed_twice(self, stores: TaskStores) -> None:
        store = await stores.store()
        await store.open()
        await store.add(a_job())

        await store.aclose()
        await store.aclose()

    async def test_finds_what_was_kept_when_it_is_opened_anew(self, stores: TaskStores) -> None:
        first = await stores.store()
        job = await first.add(a_job())
        await first.aclose()

        assert await (await stores.store()).job(job.id) == job


class TestASession:
    async def test_is_alive_from_when_it_joins(self, store: TaskStore) -> None:
        row = a_session("tidy", "water", node_id="shed", known=("tidy", "water", "sow"), snapshot_json="[1]")

        at = await store.join(row, LONG)

        expires = at + timedelta(seconds=LONG)
        assert await store.sessions() == [replace(row, joined_at=at, expires_at=expires)]

    async def test_began_when_the_store_says(self, store: TaskStore) -> None:
        row = a_session(joined_at=DUE, expires_at=DUE)
        at = await store.join(row, LONG)
        assert [each.joined_at for each in await store.sessions()] == [at]

        await store.describe(row)
        await store.beat(row.id, LONG, 0.0)

        assert [each.joined_at for each in await store.sessions()] == [at]

    async def test_is_told_the_time_of_the_store(self, store: TaskStore) -> None:
        row = a_session()
        joined_at = await store.join(row, LONG)

        at = (await store.beat(row.id, LONG, 0.0)).at

        assert joined_at < at < joined_at + timedelta(minutes=10)
        assert at.utcoffset() == timedelta(0)

    async def test_may_join_again_if_the_answer_was_lost(self, store: TaskStore) -> None:
        row = a_session("tidy")
        first = await store.join(row, LONG)

        again = await store.join(row, LONG)

        expires = again + timedelta(seconds=LONG)
        assert await store.sessions() == [replace(row, joined_at=first, expires_at=expires)]

    async def test_lives_so_long_after_its_last_beat(self, store: TaskStore) -> None:
        session = await joined(store, ttl=LONG)

        told = await store.beat(session, 2 * LONG, 0.0)

        [row] = await store.sessions()
        assert told.alive
        assert row.expires_at == told.at + timedelta(seconds=2 * LONG)

    async def test_may_live_shorter_than_was_said_before(self, store: TaskStore) -> None:
        session = await joined(store, ttl=LONG)

        await expire(store, session)

        assert not (await store.beat(session, LONG, 0.0)).alive

    async def test_that_has_expired_does_not_live_again_by_a_beat(self, store: TaskStore) -> None:
        await store.add(a_job())
        session = await joined(store, "tidy")
        await expire(store, session)

        for _ in range(2):
            told = await store.beat(session, LONG, 3600.0)
            assert told == Beat(told.at, False)
        assert await store.sessions() == []

    async def test_that_never_joined_is_not_alive(self, store: TaskStore) -> None:
        told = await store.beat(new_id(), LONG, 0.0)

        assert told == Beat(told.at, False)
        assert await store.sessions() == []

    async def test_expires_without_anybody_else(self, store: TaskStore) -> None:
        await store.join(a_session(), SHORT)

        async def all_gone() -> bool:
            return await store.sessions() == []

        await until("it has expired", all_gone)

    async def test_is_listed_in_the_order_of_joining(self, store: TaskStore) -> None:
        expected = [await joined(store) for _ in range(5)]
        await store.beat(expected[0], 10.0, 0.0)
        await store.beat(expected[3], 2 * LONG, 0.0)
        await store.describe(a_session(id=expected[1]))

        assert await ids(store) == expected

    async def test_is_not_listed_when_it_has_left(self, store: TaskStore) -> None:
        first, second, third = [await joined(store) for _ in range(3)]

        await store.leave(second)
        await store.leave(second)

        assert await ids(store) == [first, third]
        assert not (await store.beat(second, LONG, 0.0)).alive

    async def test_may_leave_though_it_never_joined(self, store: TaskStore) -> None:
        session = await joined(store)

        await store.leave(new_id())

        assert await ids(store) == [session]

    async def test_is_seen_by_every_process(self, stores: TaskStores) -> None:
        first, second = await stores.store(), await stores.store()
        session = await joined(first)

        assert await ids(second) == [session]
        assert (await second.beat(session, LONG, 0.0)).alive
        await second.leave(session)
        assert await ids(first) == []

    async def test_says_anew_what_it_is(self, store: TaskStore) -> None:
        session = await joined(store, "tidy")
        [before] = await store.sessions()
        now = a_session("sow", "water", id=session, node_id="barn", known=("x",), snapshot_json='{"a": 1}')

        await store.describe(now)

        assert await store.sessions() == [
            replace(now, joined_at=before.joined_at, expires_at=before.expires_at)
        ]

    async def test_hears_of_other_types_once_it_has_said_so(self, store: TaskStore) -> None:
        sow, _ = await store.add(a_job("sow")), await store.add(a_job("tidy"))
        session = await joined(store, "tidy")

        await store.describe(a_session("sow", id=session))

        assert await due(store, session) == [sow.id]

    async def test_is_not_made_by_a_description(self, store: TaskStore) -> None:
        left = await joined(store)
        await store.leave(left)

        await store.describe(a_session(id=left))
        await store.describe(a_session())

        assert await store.sessions() == []

    async def test_that_has_expired_is_not_described_to_life(self, store: TaskStore) -> None:
        session = await joined(store, "tidy")
        await expire(store, session)

        await store.describe(a_session("tidy", id=session))

        assert not (await store.beat(session, LONG, 0.0)).alive


class TestWhatIsDue:
    async def test_is_the_whole_job(self, store: TaskStore) -> None:
        job = a_job(
            bot_id="b1",
            key="k",
            anchor=DUE - HOUR,
            last_run_at=DUE - HOUR,
            config_json='{"deep": true}',
            token=7,
            failures=2,
            declared=True,
            version=3,
        )
        await store.add(job)
        session = await joined(store, "tidy")

        assert (await store.beat(session, LONG, 0.0)).due == (job,)

    async def test_is_the_earliest_first_across_types(self, store: TaskStore) -> None:
        at = [DUE + timedelta(microseconds=place) for place in (3, 1, 4, 0, 2)]
        types = ["sow", "tidy", "sow", "tidy", "water"]
        jobs = [await store.add(a_job(kind, next_run_at=when)) for kind, when in zip(types, at, strict=True)]
        session = await joined(store, "tidy", "water", "sow")

        assert await due(store, session) == [jobs[place].id for place in (3, 1, 4, 0, 2)]

    async def test_is_by_id_where_instants_are_equal(self, store: TaskStore) -> None:
        jobs = [await store.add(a_job(kind)) for kind in ("tidy", "sow") * 4]
        session = await joined(store, "tidy", "sow")

        assert await due(store, session) == sorted(job.id for job in jobs)
        assert await due(store, session, limit=3) == sorted(job.id for job in jobs)[:3]

    async def test_is_limited_to_the_earliest(self, store: TaskStore) -> None:
        jobs = [await store.add(a_job(kind, next_run_at=DUE + n * HOUR)) for n, kind in enumerate("abcabc")]
        session = await joined(store, "c", "b", "a")

        assert await due(store, session, limit=4) == [job.id for job in jobs[:4]]
        assert await due(store, session, limit=100) == [job.id for job in jobs]

    async def test_is_what_is_due_until_the_horizon(self, store: TaskStore) -> None:
        session = a_session("tidy")
        at = await store.join(session, LONG)
        past, soon, later = [
            await store.add(a_job(next_run_at=when)) for when in (DUE, at + HOUR, at + 10 * HOUR)
        ]
        await store.add(a_job(next_run_at=FUTURE))

        assert await due(store, session.id, 0.0) == [past.id]
        assert await due(store, session.id, 2 * 3600.0) == [past.id, soon.id]
        assert await due(store, session.id, 11 * 3600.0) == [past.id, soon.id, later.id]

    async def test_is_of_the_types_that_are_wired_only(self, store: TaskStore) -> None:
        tidy, sow, _ = [await store.add(a_job(kind)) for kind in ("tidy", "sow", "tidy2")]
        knows_more = a_session("tidy", known=("tidy", "sow"))
        await store.join(knows_more, LONG)
        both, none = await joined(store, "tidy", "sow"), await joined(store)

        assert await due(store, knows_more.id) == [tidy.id]
        assert await due(store, both) == sorted([tidy.id, sow.id])
        assert await due(store, none) == []

    async def test_is_heard_of_by_every_session_until_it_is_claimed(self, stores: TaskStores) -> None:
        first, second = await stores.store(), await stores.store()
        job = await first.add(a_job())
        one, other = await joined(first, "tidy"), await joined(second, "tidy")

        assert await due(first, one) == await due(second, other) == [job.id]

        await started(first, one, job, following=FUTURE)
        assert await due(first, one) == await due(second, other) == []

    async def test_is_not_what_is_paused_or_never_due(self, store: TaskStore) -> None:
        await store.add(a_job(enabled=False, reason="too cold"))
        await store.add(a_job(next_run_at=None))
        session = await joined(store, "tidy")

        assert await due(store, session, 3600.0) == []

    async def test_follows_each_change_of_a_job(self, store: TaskStore) -> None:
        job = await store.add(a_job())
        session = await joined(store, "tidy")

        for change, heard in (
            ({"enabled": False}, []),
            ({"enabled": True, "next_run_at": FUTURE}, []),
            ({"next_run_at": DUE - HOUR}, [job.id]),
            ({"next_run_at": None}, []),
            ({"next_run_at": DUE}, [job.id]),
        ):
            changed = await store.change(replace(job, **change))
            assert changed is not None
            job = changed
            assert await due(store, session) == heard
        await store.remove(job.id)
        assert await due(store, session) == []
