"""The contract of `PromptStore`, on every Redis: each due instant is put on the stream exactly once."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from tests.support.servers import Backend

from bgtasks import Cron, Once
from bgtasks.errors import InvalidMessage, ResourceUnavailable
from bgtasks.prompts import Prompt, PromptStore, Ticked
from bgtasks.prompts.store import BATCH, KEPT

pytestmark = pytest.mark.real

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
HELSINKI = "Europe/Helsinki"


def ms(when: datetime) -> int:
    return (when - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


@pytest.fixture
def store(backend: Backend) -> PromptStore:
    return PromptStore(backend.client)


async def add(store: PromptStore, text: str = "Is the tent dry?", after: timedelta = HOUR) -> Prompt:
    return await store.add(text, Once(NOW + after), now=NOW)


class HeldStore(PromptStore):
    """A store whose tick stops between reading what is due and sending the script."""

    has_read: asyncio.Event
    may_send: asyncio.Event

    def hold(self) -> HeldStore:
        self.has_read, self.may_send = asyncio.Event(), asyncio.Event()
        return self

    async def _due(self, now: datetime) -> list[tuple[str, float, str | None]]:
        due = await super()._due(now)
        self.has_read.set()
        await self.may_send.wait()
        return due


# -- adding and reading --------------------------------------------------------------------------


async def test_a_prompt_for_an_instant_is_kept_as_it_was_given(store: PromptStore) -> None:
    made = await store.add(
        "Is the tent dry?", Once(NOW + HOUR), now=NOW, user="kasia", channel="allotment", agent="gardener"
    )

    assert made == Prompt(
        id=made.id,
        text="Is the tent dry?",
        trigger=Once(NOW + HOUR),
        user="kasia",
        channel="allotment",
        agent="gardener",
        status="active",
        due=NOW + HOUR,
    )
    assert await store.get(made.id) == made
    assert await store.all() == [made]


async def test_a_cron_prompt_is_due_in_its_zone(store: PromptStore) -> None:
    made = await store.add("Good morning", Cron("30 7 * * *", HELSINKI), now=NOW)

    assert made.due == datetime(2026, 3, 2, 5, 30, tzinfo=UTC)
    assert await store.get(made.id) == made


@pytest.mark.parametrize("past", [NOW, NOW - timedelta(seconds=1), NOW - timedelta(days=4000)])
async def test_an_instant_that_is_past_is_refused_and_nothing_is_written(
    store: PromptStore, backend: Backend, past: datetime
) -> None:
    with pytest.raises(InvalidMessage, match=r"is past .*give a later instant"):
        await store.add("too late", Once(past), now=NOW)

    assert await backend.keys() == set()


@pytest.mark.parametrize("text", ["", " ", "\n\t "])
async def test_an_empty_text_is_refused_and_nothing_is_written(
    store: PromptStore, backend: Backend, text: str
) -> None:
    with pytest.raises(InvalidMessage, match="needs a text"):
        await store.add(text, Once(NOW + HOUR), now=NOW)

    assert await backend.keys() == set()


@pytest.mark.parametrize(
    "text",
    [
        "Ääkkösiä, 日本語 and 🦡\u200d🌱",
        "two\nlines\r\n\ttabbed",
        "a \x00 inside",
        "x" * 1_000_000,
        "'\"\\{}%s",
    ],
    ids=["unicode", "lines", "NUL", "a megabyte", "quotes"],
)
async def test_any_text_comes_back_and_out_unchanged(store: PromptStore, backend: Backend, text: str) -> None:
    made = await store.add(
        text, Once(NOW + HOUR), now=NOW, user=text[:40], channel=text[:40], agent=text[:40]
    )

    await store.tick(NOW + HOUR)

    [entry] = await backend.entries(store.stream)
    found = await store.get(made.id)
    assert found is not None
    assert found.text == entry["text"] == text
    assert (entry["user"], entry["channel"], entry["agent"]) == (text[:40],) * 3
    assert (found.user, found.channel, found.agent) == (text[:40],) * 3


async def test_a_lone_surrogate_is_replaced_or_refused_in_our_words(store: PromptStore) -> None:
    try:
        made = await store.add("cut \ud83d off", Once(NOW + HOUR), now=NOW)
    except InvalidMessage:
        assert await store.all() == []
    else:
        found = await store.get(made.id)
        assert found is not None
        assert (found.text, made.text) == ("cut ? off", "cut ? off")


async def test_ids_may_come_from_the_user(backend: Backend) -> None:
    numbers = count(1)
    store = PromptStore(backend.client, new_id=lambda: f"björn:{next(numbers)}")

    first, second = await add(store), await add(store)
    await store.tick(NOW + HOUR)

    assert (first.id, second.id) == ("björn:1", "björn:2")
    assert await store.get("björn:2") is not None
    runs = {entry["run"] for entry in await backend.entries(store.stream)}
    assert runs == {f"björn:{n}:{ms(NOW + HOUR)}" for n in (1, 2)}


async def test_ids_of_our_own_making_differ(store: PromptStore) -> None:
    made = [await add(store) for _ in range(20)]

    assert len({each.id for each in made}) == 20


async def test_an_unknown_id_is_none(store: PromptStore) -> None:
    assert await store.get("nobody") is None


async def test_namespaces_do_not_see_each_other(backend: Backend) -> None:
    one, other = PromptStore(backend.client, "one"), PromptStore(backend.client, "other")
    made = await add(one)

    assert await other.get(made.id) is None
    assert await other.tick(NOW + HOUR) == Ticked()
    assert await other.cancel(made.id, now=NOW) is False
    assert await one.tick(NOW + HOUR) == Ticked(moved=1)
    assert all(key.startswith("one:prompts:") for key in await backend.keys())


async def test_active_prompts_are_listed_by_due_instant_and_ended_ones_on_request(store: PromptStore) -> None:
    late, early, gone = [await add(store, after=HOUR * hours) for hours in (3, 2, 1)]
    await store.tick(NOW + HOUR)
    dropped = await add(store, after=HOUR * 4)
    await store.cancel(dropped.id, now=NOW + HOUR * 2)

    assert [each.id for each in await store.all()] == [early.id, late.id]
    assert [each.id for each in await store.all(ended=True)] == [early.id, late.id, dropped.id, gone.id]
    assert [each.id for each in await store.all(ended=True, limit=3)] == [early.id, late.id, dropped.id]
    assert [each.id for each in await store.all(limit=1)] == [early.id]


async def test_an_empty_store_answers_everything(store: PromptStore) -> None:
    assert await store.all(ended=True) == []
    assert await store.tick(NOW) == Ticked()
    assert await store.cleanup(NOW) == 0
    assert await store.cancel("nobody", now=NOW) is False


# -- ticking -------------------------------------------------------------------------------------


async def test_a_due_prompt_is_put_on_the_stream_once_and_then_done(
    store: PromptStore, backend: Backend
) -> None:
    made = await store.add("Water it", Once(NOW + HOUR), now=NOW, user="tom", channel="allotment", agent="a1")

    first = await store.tick(NOW + HOUR)
    second = await store.tick(NOW + HOUR * 2)

    due = str(ms(NOW + HOUR))
    assert (first, second) == (Ticked(moved=1), Ticked())
    assert await backend.entries(store.stream) == [
        {
            "run": f"{made.id}:{due}",
            "prompt": made.id,
            "due": due,
            "user": "tom",
            "channel": "allotment",
            "agent": "a1",
            "text": "Water it",
        }
    ]
    found = await store.get(made.id)
    assert found is not None
    assert (found.status, found.due, found.last) == ("done", None, NOW + HOUR)
    assert await store.all() == []


async def test_nothing_moves_before_it_is_due(store: PromptStore, backend: Backend) -> None:
    await add(store)

    assert await store.tick(NOW + HOUR - timedelta(milliseconds=1)) == Ticked()
    assert await backend.entries(store.stream) == []
    assert await store.tick(NOW + HOUR) == Ticked(moved=1)


async def test_an_instant_between_two_milliseconds_is_moved_once(store: PromptStore) -> None:
    await add(store, after=timedelta(seconds=1, microseconds=1499))

    assert await store.tick(NOW + timedelta(seconds=2)) == Ticked(moved=1)
    assert await store.tick(NOW + timedelta(seconds=3)) == Ticked()


@pytest.mark.parametrize(
    ("expression", "before", "dues"),
    [
        (
            "30 7 * * *",
            datetime(2026, 3, 27, 12, tzinfo=UTC),
            [(3, 28, 5, 30), (3, 29, 4, 30), (3, 30, 4, 30)],  # summer time begins on the 29th
        ),
        ("30 7 * * *", datetime(2026, 10, 24, 0, tzinfo=UTC), [(10, 24, 4, 30), (10, 25, 5, 30)]),
        (
            "30 3 * * *",
            datetime(2026, 3, 28, 0, tzinfo=UTC),
            [(3, 28, 1, 30), (3, 29, 1, 0), (3, 30, 0, 30)],  # 03:30 is in the gap: right after it
        ),
        (
            "30 3 * * *",
            datetime(2026, 10, 24, 0, tzinfo=UTC),
            [(10, 24, 0, 30), (10, 25, 0, 30), (10, 26, 1, 30)],  # 03:30 comes twice: the first
        ),
    ],
    ids=["into summer", "into winter", "in the gap", "in the fold"],
)
async def test_the_next_due_instant_of_a_cron_prompt_keeps_to_its_zone(
    store: PromptStore,
    backend: Backend,
    expression: str,
    before: datetime,
    dues: list[tuple[int, int, int, int]],
) -> None:
    made = await store.add("Good morning", Cron(expression, HELSINKI), now=before)
    expected = [datetime(2026, *due, tzinfo=UTC) for due in dues]

    for due in expected:
        found = await store.get(made.id)
        assert found is not None
        assert (found.due, found.status) == (due, "active")
        assert await store.tick(due) == Ticked(moved=1)
        assert await store.tick(due) == Ticked()

    entries = await backend.entries(store.stream)
    assert [entry["run"] for entry in entries] == [f"{made.id}:{ms(due)}" for due in expected]


async def test_missed_instants_of_a_cron_prompt_make_one_entry_for_the_first(
    store: PromptStore, backend: Backend
) -> None:
    made = await store.add("Each five minutes", Cron("*/5 * * * *"), now=NOW)

    ticked = await store.tick(NOW + HOUR * 10 + timedelta(minutes=2))

    assert ticked == Ticked(moved=1)
    [entry] = await backend.entries(store.stream)
    assert entry["due"] == str(ms(NOW + timedelta(minutes=5)))
    found = await store.get(made.id)
    assert found is not None
    assert found.due == NOW + HOUR * 10 + timedelta(minutes=5)
    assert found.last == NOW + timedelta(minutes=5)


@pytest.mark.parametrize("number", [BATCH - 1, BATCH, BATCH + 1, 2 * BATCH, 230])
async def test_one_tick_moves_all_that_is_due_in_order_of_due_instant(
    store: PromptStore, backend: Backend, number: int
) -> None:
    made = [await add(store, f"prompt {n}", timedelta(seconds=number - n)) for n in range(number)]
    later = await add(store, "not yet", HOUR * 5)

    ticked = await store.tick(NOW + HOUR)

    assert ticked == Ticked(moved=number)
    assert [entry["prompt"] for entry in await backend.entries(store.stream)] == [
        p.id for p in reversed(made)
    ]
    assert await store.all() == [later]


async def test_concurrent_ticks_move_each_prompt_once(backend: Backend) -> None:
    stores = [PromptStore(backend.new()) for _ in range(8)]
    made = [await add(stores[0], f"prompt {n}", timedelta(seconds=n + 1)) for n in range(2 * BATCH + 20)]
    made += [await stores[0].add(f"cron {n}", Cron("0 * * * *"), now=NOW) for n in range(20)]

    ticked = await asyncio.gather(*(store.tick(NOW + HOUR) for store in stores))

    runs = [entry["prompt"] for entry in await backend.entries(stores[0].stream)]
    assert sorted(runs) == sorted(prompt.id for prompt in made)
    assert sum(each.moved for each in ticked) == len(made)


async def test_what_another_tick_moved_in_between_is_not_moved_again(backend: Backend) -> None:
    slow, quick = HeldStore(backend.new()).hold(), PromptStore(backend.new())
    await add(quick)
    await quick.add("Each hour", Cron("0 * * * *"), now=NOW)

    slow_tick = asyncio.create_task(slow.tick(NOW + HOUR))
    await slow.has_read.wait()
    assert await quick.tick(NOW + HOUR) == Ticked(moved=2)
    slow.may_send.set()

    assert await slow_tick == Ticked()
    assert len(await backend.entries(quick.stream)) == 2
    assert [prompt.due for prompt in await quick.all()] == [NOW + HOUR * 2]


async def test_a_tick_whose_answer_is_lost_is_made_up_for_without_a_second_entry(backend: Backend) -> None:
    store, moved = PromptStore(backend.client), PromptStore(backend.client)
    await add(store)
    send = store._move

    async def send_and_die(**call: Any) -> Any:
        await send(**call)
        raise ConnectionError("the client died before it read the answer")

    store._move = send_and_die  # type: ignore[assignment]

    with pytest.raises(ResourceUnavailable):
        await store.tick(NOW + HOUR)

    assert await moved.tick(NOW + HOUR) == Ticked()
    assert len(await backend.entries(store.stream)) == 1


async def test_a_tick_that_dies_before_it_sends_is_made_up_for(backend: Backend) -> None:
    dying, other = HeldStore(backend.new()).hold(), PromptStore(backend.new())
    await add(other)

    tick = asyncio.create_task(dying.tick(NOW + HOUR))
    await dying.has_read.wait()
    tick.cancel()
    with pytest.raises(asyncio.CancelledError):
        await tick

    assert await other.tick(NOW + HOUR) == Ticked(moved=1)


async def test_a_prompt_cancelled_between_read_and_script_is_not_moved(backend: Backend) -> None:
    store = HeldStore(backend.new()).hold()
    made = await add(store)

    tick = asyncio.create_task(store.tick(NOW + HOUR))
    await store.has_read.wait()
    assert await store.cancel(made.id, now=NOW + HOUR)
    store.may_send.set()

    assert await tick == Ticked()
    assert await backend.entries(store.stream) == []
    found = await store.get(made.id)
    assert found is not None
    assert found.status == "cancelled"


async def test_ticks_go_on_after_the_server_forgot_the_scripts(store: PromptStore, backend: Backend) -> None:
    first = await add(store)
    second = await add(store, after=HOUR * 2)
    assert await store.tick(NOW + HOUR) == Ticked(moved=1)

    await backend.client.script_flush()
    assert await store.tick(NOW + HOUR * 2) == Ticked(moved=1)
    third = await add(store)
    await backend.client.script_flush()
    assert await store.cancel(third.id, now=NOW)

    entries = await backend.entries(store.stream)
    assert [entry["prompt"] for entry in entries] == [first.id, second.id]


# -- records that cannot be read -----------------------------------------------------------------

_UNREADABLE = {
    "not JSON": "{",
    "empty": "",
    "a list": "[]",
    "a number": "5",
    "null": "null",
    "no trigger in it": "{}",
    "an unknown zone": json.dumps({"cron": "0 * * * *", "zone": "Europe/Atlantis"}),
    "a zone that is a number": json.dumps({"cron": "0 * * * *", "zone": 5}),
    "no zone": json.dumps({"cron": "0 * * * *"}),
    "a bad expression": json.dumps({"cron": "0 * *", "zone": "UTC"}),
    "an expression that is a number": json.dumps({"cron": 5, "zone": "UTC"}),
    "a naive instant": json.dumps({"once": "2026-03-01T13:00:00"}),
    "an instant that is none": json.dumps({"once": "soon"}),
    "nested without end": "[" * 200_000,
}


@pytest.mark.parametrize("written", _UNREADABLE.values(), ids=_UNREADABLE.keys())
async def test_an_unreadable_trigger_is_set_aside_with_its_reason_and_disturbs_no_other(
    store: PromptStore, backend: Backend, written: str
) -> None:
    broken, sound = await add(store, "broken"), await add(store, "sound")
    await backend.client.hset(f"bgtasks:prompts:item:{broken.id}", "trigger", written)

    assert await store.tick(NOW + HOUR) == Ticked(moved=1, broken=1)
    assert await store.tick(NOW + HOUR) == Ticked()

    assert [entry["prompt"] for entry in await backend.entries(store.stream)] == [sound.id]
    found = await store.get(broken.id)
    assert found is not None
    assert (found.status, found.due, found.trigger, found.text) == ("broken", None, None, "broken")
    assert found.why.startswith("its trigger cannot be read: ")
    assert await store.all() == []


async def test_a_removed_trigger_is_set_aside_with_its_reason(store: PromptStore, backend: Backend) -> None:
    broken, sound = await add(store), await add(store)
    await backend.client.hdel(f"bgtasks:prompts:item:{broken.id}", "trigger")

    assert await store.tick(NOW + HOUR) == Ticked(moved=1, broken=1)

    found = await store.get(broken.id)
    assert found is not None
    assert (found.status, found.due) == ("broken", None)
    assert found.why
    assert [entry["prompt"] for entry in await backend.entries(store.stream)] == [sound.id]


async def test_a_record_that_is_gone_is_taken_off_the_schedule(store: PromptStore, backend: Backend) -> None:
    gone, sound = await add(store), await add(store)
    await backend.client.delete(f"bgtasks:prompts:item:{gone.id}")

    assert await store.tick(NOW + HOUR) == Ticked(moved=1, broken=1)
    assert await store.tick(NOW + HOUR) == Ticked()

    assert [entry["prompt"] for entry in await backend.entries(store.stream)] == [sound.id]
    assert await store.get(gone.id) is None
    assert await store.all(ended=True) == [await store.get(sound.id)]


async def test_a_foreign_value_in_a_records_place_disturbs_no_other(
    store: PromptStore, backend: Backend
) -> None:
    broken, sound = await add(store), await add(store)
    await backend.client.set(f"bgtasks:prompts:item:{broken.id}", "not a hash")

    assert await store.tick(NOW + HOUR) == Ticked(moved=1, broken=1)
    assert await store.tick(NOW + HOUR) == Ticked()

    assert [entry["prompt"] for entry in await backend.entries(store.stream)] == [sound.id]


async def test_a_removed_field_that_nothing_depends_on_is_empty(store: PromptStore, backend: Backend) -> None:
    made = await store.add("hello", Once(NOW + HOUR), now=NOW, user="u", channel="c", agent="a")
    await backend.client.hdel(f"bgtasks:prompts:item:{made.id}", "user", "channel", "agent")

    assert await store.tick(NOW + HOUR) == Ticked(moved=1)

    [entry] = await backend.entries(store.stream)
    assert (entry["user"], entry["channel"], entry["agent"], entry["text"]) == ("", "", "", "hello")


async def test_a_full_batch_of_broken_records_does_not_hold_up_those_behind_it(
    store: PromptStore, backend: Backend
) -> None:
    for n in range(BATCH + 5):
        made = await add(store, after=timedelta(seconds=n + 1))
        await backend.client.hset(f"bgtasks:prompts:item:{made.id}", "trigger", "{")
    await add(store)

    assert await store.tick(NOW + HOUR) == Ticked(moved=1, broken=BATCH + 5)


async def test_broken_records_are_listed_with_the_ended_ones(store: PromptStore, backend: Backend) -> None:
    made = await add(store)
    await backend.client.hset(f"bgtasks:prompts:item:{made.id}", "trigger", "{")

    await store.tick(NOW + HOUR)

    assert [(each.id, each.status) for each in await store.all(ended=True)] == [(made.id, "broken")]


# -- cancelling and cleaning up ------------------------------------------------------------------


async def test_a_prompt_is_cancelled_once_and_never_moved(store: PromptStore, backend: Backend) -> None:
    made = await add(store)

    assert await store.cancel(made.id, now=NOW) is True
    assert await store.cancel(made.id, now=NOW) is True  # sent again: it is cancelled, as was asked
    assert await store.tick(NOW + HOUR) == Ticked()

    found = await store.get(made.id)
    assert found is not None
    assert (found.status, found.due, found.text) == ("cancelled", None, made.text)
    assert await backend.entries(store.stream) == []


async def test_what_is_done_cannot_be_cancelled(store: PromptStore) -> None:
    made = await add(store)
    await store.tick(NOW + HOUR)

    assert await store.cancel(made.id, now=NOW + HOUR) is False
    found = await store.get(made.id)
    assert found is not None
    assert found.status == "done"


async def test_a_cancelled_cron_prompt_keeps_what_is_on_the_stream(
    store: PromptStore, backend: Backend
) -> None:
    made = await store.add("Each hour", Cron("0 * * * *"), now=NOW)
    await store.tick(NOW + HOUR)

    assert await store.cancel(made.id, now=NOW + HOUR)
    assert await store.tick(NOW + HOUR * 5) == Ticked()
    assert len(await backend.entries(store.stream)) == 1


async def test_cleanup_deletes_what_ended_seven_days_ago_and_nothing_younger(
    store: PromptStore, backend: Backend
) -> None:
    now = datetime.now(UTC)  # entries on the stream carry the server's time
    done = await store.add("done", Once(now + timedelta(seconds=1)), now=now)
    dropped = await store.add("dropped", Once(now + HOUR), now=now)
    broken = await store.add("broken", Once(now + timedelta(seconds=1)), now=now)
    active = await store.add("each day", Cron("0 7 * * *"), now=now)
    later = await store.add("far away", Once(now + timedelta(days=90)), now=now)
    await backend.client.hset(f"bgtasks:prompts:item:{broken.id}", "trigger", "{")
    await store.cancel(dropped.id, now=now)
    await store.tick(now + timedelta(seconds=1))

    early = await store.cleanup(now + KEPT - timedelta(minutes=1))
    kept = await store.all(ended=True)
    deleted = await store.cleanup(now + KEPT + timedelta(minutes=1))

    assert early == 0
    assert {each.id for each in kept} == {done.id, dropped.id, broken.id, active.id, later.id}
    assert deleted == 3 + 1  # the entry of `done` is on the stream
    assert {each.id for each in await store.all(ended=True)} == {active.id, later.id}
    assert await backend.entries(store.stream) == []
    assert await backend.keys() - {store.stream} == {
        "bgtasks:prompts:schedule",
        f"bgtasks:prompts:item:{active.id}",
        f"bgtasks:prompts:item:{later.id}",
    }


async def test_cleanup_keeps_what_ended_exactly_seven_days_ago(store: PromptStore) -> None:
    made = await add(store)
    await store.cancel(made.id, now=NOW)

    assert await store.cleanup(NOW + KEPT) == 0
    assert await store.cleanup(NOW + KEPT + timedelta(milliseconds=1)) == 1


async def test_cleanup_trims_the_stream_by_the_instant_of_each_entry(
    store: PromptStore, backend: Backend
) -> None:
    for day in range(10):
        await backend.client.xadd(store.stream, {"run": str(day)}, id=f"{ms(NOW + timedelta(days=day))}-0")

    assert await store.cleanup(NOW + timedelta(days=5), kept=timedelta(0)) == 5
    assert [entry["run"] for entry in await backend.entries(store.stream)] == ["5", "6", "7", "8", "9"]


async def test_cleanup_deletes_any_number(store: PromptStore, backend: Backend) -> None:
    for _ in range(510):
        made = await add(store)
        await store.cancel(made.id, now=NOW)

    assert await store.cleanup(NOW + KEPT * 2) == 510
    assert await backend.keys() == set()


async def test_an_ended_prompt_is_deleted_whoever_cleans_up_at_the_same_time(backend: Backend) -> None:
    stores = [PromptStore(backend.new()) for _ in range(4)]
    for _ in range(20):
        made = await add(stores[0])
        await stores[0].cancel(made.id, now=NOW)

    await asyncio.gather(*(store.cleanup(NOW + KEPT * 2) for store in stores))

    assert await backend.keys() == set()


# -- answers that were lost, and scores that are none ----------------------------------------------


async def test_an_add_that_is_sent_again_after_the_prompt_was_moved_does_not_schedule_it_again(
    store: PromptStore, backend: Backend
) -> None:
    send = store._add

    async def send_twice_with_a_tick_between(**arguments: Any) -> Any:
        await send(**arguments)
        await store.tick(NOW + HOUR)
        return await send(**arguments)

    store._add = send_twice_with_a_tick_between  # type: ignore[assignment]
    made = await store.add("once", Once(NOW + HOUR), now=NOW)
    await store.tick(NOW + 2 * HOUR)

    assert [fields["prompt"] for fields in await backend.entries(store.stream)] == [made.id]


@pytest.mark.parametrize("score", ["-inf", 1.5, -1e30])
async def test_a_place_in_the_schedule_that_is_no_instant_is_set_aside_and_disturbs_no_other(
    store: PromptStore, backend: Backend, score: Any
) -> None:
    strange = [await store.add(f"strange {number}", Once(NOW + HOUR), now=NOW) for number in range(BATCH + 1)]
    fine = await store.add("fine", Once(NOW + HOUR), now=NOW)
    for each in strange:
        await backend.client.zadd("bgtasks:prompts:schedule", {each.id: score})

    ticked = await store.tick(NOW + HOUR)
    found = {each.id: each for each in await store.all(ended=True)}

    assert ticked == Ticked(moved=1, broken=len(strange))
    assert found[fine.id].status == "done"
    assert all(found[each.id].status == "broken" and found[each.id].why for each in strange)


async def test_a_schedule_without_end_and_a_last_that_is_no_number_can_still_be_listed(
    store: PromptStore, backend: Backend
) -> None:
    made = await store.add("some day", Once(NOW + HOUR), now=NOW)
    await backend.client.zadd("bgtasks:prompts:schedule", {made.id: "inf"})
    await backend.client.hset(f"bgtasks:prompts:item:{made.id}", "last", "yesterday")

    [found] = await store.all()

    assert (found.id, found.due, found.last) == (made.id, None, None)
