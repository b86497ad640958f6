"""The contract of `TaskStore`, on every kind of store: commands to nodes, and what they answer."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from tests.support.task_stores import (
    FUTURE,
    LONG,
    TaskStores,
    a_command,
    a_session,
    expire,
    joined,
    new_id,
)
from tests.support.waiting import until

from bgtasks.contracts import TaskStore
from bgtasks.records import Answer, Beat, CommandRow

MOMENT = timedelta(microseconds=1)
FULL = a_command(kind="run", node_id="shed", arguments_json='{"deep": [true]}', asked_by="Ada")


async def on(store: TaskStore, node: str) -> str:
    """A session of this node."""
    row = a_session(node_id=node)
    await store.join(row, LONG)
    return row.id


async def heard(store: TaskStore, session: str) -> list[str]:
    """Commands that a session hears of: their ids."""
    return [each.id for each in (await store.beat(session, LONG, 0.0)).commands]


async def sent(store: TaskStore, node: str = "*", ttl: float = LONG) -> CommandRow:
    """A command to a node, or to all."""
    return await store.command(a_command(node_id=node), ttl)


async def kept(store: TaskStore, command: str) -> CommandRow:
    """A command that is there."""
    [row] = await store.commands(id=command)
    return row


async def answers(store: TaskStore, command: str) -> list[tuple[str, bool, str]]:
    """What was said of a command, and by whom."""
    return [(each.session, each.done, each.text) for each in (await kept(store, command)).answers]


async def later(store: TaskStore, than: datetime) -> None:
    """Return when it is later than that, by the store's clock."""

    async def it_is() -> bool:
        return (await store.beat("nobody", LONG, 0.0)).at > than

    await until("time has gone on", it_is)


class TestACommand:
    async def test_is_kept_as_it_was_sent(self, stores: TaskStores) -> None:
        store, other = await stores.store(), await stores.store()
        at = await store.join(a_session(), LONG)

        row = await store.command(FULL, LONG)

        assert at <= row.created_at < at + timedelta(minutes=10)
        assert row.created_at.utcoffset() == timedelta(0)
        assert row == CommandRow(
            id=FULL.id,
            kind="run",
            node_id="shed",
            subject="tidy",
            arguments_json='{"deep": [true]}',
            asked_by="Ada",
            created_at=row.created_at,
            expires_at=row.created_at + timedelta(seconds=LONG),
        )
        assert list(await other.commands()) == list(await other.commands(id=FULL.id)) == [row]

    async def test_that_is_sent_again_is_the_one_that_is_there(self, stores: TaskStores) -> None:
        store, other = await stores.store(), await stores.store()
        session = await joined(store)
        await store.command(FULL, LONG)
        await store.answer(session, FULL.id, True, "done")
        first = await kept(store, FULL.id)

        assert await other.command(FULL, 2 * LONG) == first
        assert await other.command(replace(FULL, kind="stop", node_id="*"), LONG) == first

        assert len(first.answers) == 1
        assert list(await store.commands()) == [first]

    async def test_is_heard_whole_by_who_is_meant(self, stores: TaskStores) -> None:
        store, other = await stores.store(), await stores.store()
        shed, barn = await on(store, "shed"), await on(other, "barn")

        row = await store.command(FULL, LONG)

        assert (await other.beat(shed, LONG, 0.0)).commands == (row,)
        assert (await store.beat(barn, LONG, 0.0)).commands == ()

    async def test_to_all_is_heard_by_each(self, store: TaskStore) -> None:
        sessions = [await on(store, node) for node in ("shed", "barn", "", "shed")]

        row = await sent(store)

        for each in sessions:
            assert await heard(store, each) == [row.id]

    async def test_to_a_node_is_heard_by_each_session_of_it(self, store: TaskStore) -> None:
        one, other = await on(store, "shed"), await on(store, "shed")
        near = [await on(store, node) for node in ("Shed", "she", "shed ", "shed*", "s%")]

        row = await sent(store, "shed")

        assert await heard(store, one) == await heard(store, other) == [row.id]
        for each in near:
            assert await heard(store, each) == []

    async def test_goes_by_the_node_as_it_was_described_last(self, store: TaskStore) -> None:
        session = await on(store, "shed")
        to_shed, to_barn = await sent(store, "shed"), await sent(store, "barn")
        assert await heard(store, session) == [to_shed.id]

        await store.describe(a_session(id=session, node_id="barn"))

        assert await heard(store, session) == [to_barn.id]

    async def test_is_heard_until_it_is_answered(self, store: TaskStore) -> None:
        session = await joined(store)
        first, second = await sent(store), await sent(store)
        assert await heard(store, session) == await heard(store, session) == [first.id, second.id]

        await store.answer(session, first.id, True, "")

        assert await heard(store, session) == await heard(store, session) == [second.id]

    async def test_is_heard_by_others_after_an_answer(self, store: TaskStore) -> None:
        one, other = await joined(store), await joined(store)
        row = await sent(store)

        await store.answer(one, row.id, True, "done")

        told = await store.beat(other, LONG, 0.0)
        assert told.commands == (await kept(store, row.id),)
        assert [each.session for each in told.commands[0].answers] == [one]

    async def test_is_not_heard_by_who_joins_later(self, store: TaskStore) -> None:
        row = await sent(store)
        await later(store, row.created_at)

        session = await joined(store)

        assert await heard(store, session) == []

    async def test_is_heard_by_who_joined_before_though_it_says_so_again(self, store: TaskStore) -> None:
        session = a_session()
        await store.join(session, LONG)
        row = await sent(store)
        await later(store, row.created_at)

        await store.join(session, LONG)
        assert await heard(store, session.id) == [row.id]
        await store.describe(session)
        assert await heard(store, session.id) == [row.id]

    async def test_is_not_heard_by_who_is_not_alive(self, store: TaskStore) -> None:
        left, expired = await joined(store), await joined(store)
        await sent(store)
        await store.leave(left)
        await expire(store, expired)

        for each in (left, expired, new_id()):
            told = await store.beat(each, LONG, 0.0)
            assert told == Beat(told.at, False)

    async def test_is_not_heard_when_it_has_expired(self, store: TaskStore) -> None:
        session = await joined(store)
        row, lasting = await sent(store, ttl=0.05), await sent(store)
        await later(store, row.expires_at)

        assert await heard(store, session) == [lasting.id]
        assert [each.id for each in await store.commands()] == [lasting.id, row.id]
        assert await store.command(a_command(id=row.id), LONG) == row
        assert await heard(store, session) == [lasting.id]

    async def test_may_expire_at_once(self, store: TaskStore) -> None:
        session = await joined(store)

        row = await sent(store, ttl=0.0)

        assert row.expires_at == row.created_at
        assert await heard(store, session) == []

    async def test_is_one_of_many_heard_in_the_order_of_sending(self, store: TaskStore) -> None:
        session = await on(store, "shed")
        rows = [await sent(store, ("*", "shed", "barn")[n % 3], LONG - n) for n in range(30)]

        expected = [row.id for row in rows if row.node_id != "barn"]
        assert await heard(store, session) == expected

    async def test_does_not_count_among_what_is_limited(self, store: TaskStore) -> None:
        session = await joined(store)
        rows = [await sent(store) for _ in range(3)]

        assert (await store.beat(session, LONG, 0.0, limit=1)).commands == tuple(rows)


class TestAnAnswer:
    async def test_is_kept_with_who_said_it_and_when(self, stores: TaskStores) -> None:
        store, other = await stores.store(), await stores.store()
        session = await on(store, "shed")
        row = await sent(store)

        await other.answer(session, row.id, True, "3 runs cancelled")

        now = await kept(store, row.id)
        [answer] = now.answers
        assert now == replace(row, answers=(answer,))
        assert row.created_at <= answer.at < row.created_at + timedelta(minutes=10)
        assert answer == Answer(session, "shed", answer.at, True, "3 runs cancelled")

    async def test_may_be_that_it_was_not_done(self, store: TaskStore) -> None:
        session = await joined(store)
        row = await sent(store)

        await store.answer(session, row.id, False, "no such task")

        assert await answers(store, row.id) == [(session, False, "no such task")]
        assert await heard(store, session) == []

    async def test_names_the_node_as_it_was_described_last(self, store: TaskStore) -> None:
        session = await on(store, "shed")
        row = await sent(store)
        await store.describe(a_session(id=session, node_id="barn"))

        await store.answer(session, row.id, True, "")

        assert [each.node_id for each in (await kept(store, row.id)).answers] == ["barn"]

    async def test_of_a_session_counts_once(self, store: TaskStore) -> None:
        session = await joined(store)
        row = await sent(store)
        await store.answer(session, row.id, False, "first")
        before = await kept(store, row.id)

        await store.answer(session, row.id, True, "second")

        assert await kept(store, row.id) == before

    async def test_is_one_of_several_the_earliest_first(self, store: TaskStore) -> None:
        sessions = [await on(store, "shed") for _ in range(5)]
        row = await sent(store)
        order = [sessions[place] for place in (3, 0, 4, 1, 2)]

        for each in order:
            await store.answer(each, row.id, True, each)

        now = await kept(store, row.id)
        assert [each.session for each in now.answers] == order
        at = [each.at for each in now.answers]
        assert at == sorted(at)

    async def test_is_to_one_command(self, store: TaskStore) -> None:
        session = await joined(store)
        first, second = await sent(store), await sent(store)

        await store.answer(session, second.id, True, "two")
        await store.answer(session, first.id, True, "one")

        assert await answers(store, first.id) == [(session, True, "one")]
        assert await answers(store, second.id) == [(session, True, "two")]

    async def test_to_what_was_never_sent_is_nothing(self, store: TaskStore) -> None:
        session = await joined(store)
        unknown = a_command()

        await store.answer(session, unknown.id, True, "done")

        assert list(await store.commands()) == []
        await store.command(unknown, LONG)
        assert await answers(store, unknown.id) == []
        assert await heard(store, session) == [unknown.id]

    async def test_by_who_is_not_alive_is_nothing(self, store: TaskStore) -> None:
        left, expired = await joined(store), await joined(store)
        row = await sent(store)
        await store.leave(left)
        await expire(store, expired)

        for each in (left, expired, new_id()):
            await store.answer(each, row.id, True, "done")

        assert await kept(store, row.id) == row

    async def test_that_comes_late_is_kept(self, store: TaskStore) -> None:
        session = await joined(store)
        row = await sent(store, ttl=0.0)

        await store.answer(session, row.id, True, "done")

        assert await answers(store, row.id) == [(session, True, "done")]

    async def test_stays_when_its_session_is_gone(self, store: TaskStore) -> None:
        session = await joined(store)
        row = await sent(store)
        await store.answer(session, row.id, True, "done")
        before = await kept(store, row.id)

        await store.leave(session)
        await store.beat("nobody", LONG, 0.0)

        assert await kept(store, row.id) == before


class TestAskingForCommands:
    async def test_gives_the_latest_first(self, store: TaskStore) -> None:
        rows = [await sent(store, ("*", "shed")[n % 2], LONG - n) for n in range(8)]

        assert list(await store.commands()) == rows[::-1]
        assert list(await store.commands(limit=3)) == rows[:-4:-1]

    async def test_gives_a_hundred_unless_told(self, store: TaskStore) -> None:
        rows = [await sent(store) for _ in range(110)]

        assert list(await store.commands()) == rows[:9:-1]
        assert list(await store.commands(limit=1000)) == rows[::-1]

    async def test_gives_the_one_of_an_id(self, store: TaskStore) -> None:
        rows = [await sent(store) for _ in range(3)]

        for each in rows:
            assert list(await store.commands(id=each.id, limit=1)) == [each]
        assert list(await store.commands(id=new_id())) == []

    async def test_gives_each_with_its_own_answers(self, store: TaskStore) -> None:
        sessions = [await joined(store) for _ in range(3)]
        rows = [await sent(store) for _ in range(4)]
        for n, row in enumerate(rows):
            for each in sessions[:n]:
                await store.answer(each, row.id, True, row.id)

        found = await store.commands()

        assert [[each.session for each in row.answers] for row in found] == [
            sessions[:n] for n in (3, 2, 1, 0)
        ]
        assert all(each.text == row.id for row in found for each in row.answers)


class TestPruning:
    async def test_forgets_commands_that_expired_before_an_instant(self, store: TaskStore) -> None:
        session = await joined(store)
        short, long = await sent(store, ttl=60.0), await sent(store, ttl=120.0)
        await store.answer(session, short.id, True, "done")

        assert await store.prune(short.expires_at, 100) == 0
        assert len(await store.commands()) == 2

        assert await store.prune(short.expires_at + MOMENT, 100) == 0
        assert [each.id for each in await store.commands()] == [long.id]
        assert list(await store.commands(id=short.id)) == []
        assert await heard(store, session) == [long.id]

    async def test_leaves_nothing_of_a_command_that_it_forgets(self, store: TaskStore) -> None:
        session = await joined(store)
        row = await sent(store, ttl=0.0)
        await store.answer(session, row.id, True, "done")
        await store.prune(row.expires_at + MOMENT, 100)

        await store.answer(session, row.id, True, "late")
        again = await store.command(a_command(id=row.id), LONG)

        assert again.created_at > row.created_at
        assert again.answers == ()
        assert await heard(store, session) == [row.id]

    async def test_goes_by_the_end_and_not_by_the_beginning(self, store: TaskStore) -> None:
        first, second = await sent(store, ttl=LONG), await sent(store, ttl=1.0)

        await store.prune(second.expires_at + MOMENT, 100)
        assert list(await store.commands()) == [first]

        await store.prune(FUTURE, 100)
        assert list(await store.commands()) == []
