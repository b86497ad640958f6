"""Every kind of store answers as the reference does, whatever is asked in whatever order.

A drawn list of operations is applied to a store and to a new `MemoryTaskStore`, side by side; answers must
agree in all that does not depend on the time. Sessions expire by joining once more, for no time at all.
"""

from __future__ import annotations

import asyncio
from itertools import chain

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st
from tests.support.task_store_operations import (
    Accept,
    AcceptWhatIsOffered,
    Add,
    Change,
    Claim,
    ClaimAgain,
    Die,
    Finish,
    Hear,
    Join,
    Look,
    Operation,
    Prune,
    Remove,
    Reply,
    Skip,
    Tell,
    Want,
    Wish,
    Withdraw,
    WithdrawWhatIsOffered,
)
from tests.support.task_store_side import BOTS, TYPES, Side, timeless
from tests.support.task_stores import LONG, TaskStores

from bgtasks.contracts import TaskStore
from bgtasks.policies import Overlap
from bgtasks.records import RunStatus
from bgtasks.stores.tasks.memory import MemoryTaskStore

SLOTS = 3

slots = st.integers(0, SLOTS - 1)
places = st.integers(0, 5)
rarely = st.sampled_from([False] * 5 + [True])
mostly = st.sampled_from([True] * 5 + [False])
prunings = st.sampled_from(["ages ago", "what was said", "what was said", "what was done", "all"])
over = st.sampled_from([each for each in RunStatus if each.is_over and each is not RunStatus.LOST])
wants = st.builds(
    Want,
    slots,
    st.sampled_from(Overlap),
    stale=rarely,
    runs=mostly,
    missed=rarely,
    last=rarely,
    attempts=st.integers(1, 3),
    patient=rarely,
)
changes = st.fixed_dictionaries(
    {},
    optional={
        "enabled": mostly,
        "reason": st.just("r"),
        "interval_minutes": st.sampled_from([None, 60.0]),
        "trigger": st.sampled_from([None, "every hour"]),
        "declared": rarely,
    },
)
operations: st.SearchStrategy[Operation] = st.one_of(
    st.builds(Join, slots, st.sampled_from([TYPES, TYPES[:1], TYPES[1:], ()])),
    st.builds(Die, slots, st.booleans()),
    st.builds(Hear, slots, st.sampled_from([0.0, 1e8])),
    st.builds(Claim, slots, st.lists(wants, max_size=4)),
    st.builds(Claim, slots, st.lists(wants, min_size=1, max_size=1)),
    st.builds(ClaimAgain, places),
    st.builds(Accept, slots, st.lists(st.tuples(places, st.booleans()), max_size=3)),
    st.builds(AcceptWhatIsOffered, slots, st.booleans()),
    st.builds(
        Finish,
        st.lists(st.tuples(places, over, rarely, st.sampled_from([0, 0, 0, 0, 1])), max_size=3),
    ),
    st.builds(
        Add,
        slots,
        st.sampled_from(TYPES),
        st.sampled_from([None, "k", "l"]),
        st.booleans(),
        rarely,
        st.sampled_from(BOTS),
        st.sampled_from([False, False, True]),
    ),
    st.builds(Change, slots, changes, st.sampled_from([None, None, True, False]), rarely),
    st.builds(Remove, slots),
    st.builds(Wish, slots, st.integers(1, 3), st.one_of(st.none(), st.none(), places)),
    st.builds(Skip, slots, st.one_of(st.none(), places)),
    st.builds(Withdraw, places),
    st.builds(WithdrawWhatIsOffered, slots),
    st.builds(Tell, st.sampled_from(["*", "n0", "n1", "n2"]), st.sampled_from([LONG, LONG, 0.0]), st.none()),
    st.builds(Tell, st.just("*"), st.just(LONG), places),
    st.builds(Reply, slots, places, st.booleans()),
    st.builds(Prune, prunings, st.sampled_from([0, 1000, 1000])),
    st.just(Look()),
)
BEGIN: list[Operation] = [
    Join(0, TYPES),
    Join(1, TYPES),
    Add(0, TYPES[0], None, interval=False, again=False),
    Add(1, TYPES[1], "k", interval=True, again=False, bot_id=BOTS[1]),
    Add(2, TYPES[0], None, interval=False, again=False, over=True),
    Tell("*", LONG, None),
]
"""Without these most of what is drawn would come to nothing."""


async def play(store: TaskStore, drawn: list[Operation]) -> None:
    """Apply operations to a store and to the reference, and compare the answers."""
    one, reference = Side(store), Side(MemoryTaskStore())
    try:
        for each in [*BEGIN, *drawn, Look()]:
            expected = timeless(await each.on(reference))
            note(f"{each}: {expected}")
            assert timeless(await each.on(one)) == expected, each
    finally:
        await one.empty()


def stories(chapters: int) -> st.SearchStrategy[list[Operation]]:
    """Lists of about five operations a chapter; a single long list would mostly be drawn as short as one."""
    chapter = st.lists(operations, max_size=10)
    return st.tuples(*[chapter] * chapters).map(lambda drawn: list(chain(*drawn)))


def agrees(place: TaskStores, examples: int, chapters: int) -> None:
    """Draw examples, each on an empty place."""
    with asyncio.Runner() as runner:
        try:
            runner.run(place.prepare())
            store = runner.run(place.store())

            @settings(max_examples=examples)
            @given(stories(chapters))
            def check(drawn: list[Operation]) -> None:
                runner.run(play(store, drawn))

            check()
        finally:
            runner.run(place.stack.aclose())


def test_a_store_answers_as_the_reference_does(place: TaskStores) -> None:
    agrees(place, 12, 5)


@pytest.mark.full
@pytest.mark.timeout(600)
def test_a_store_answers_as_the_reference_does_for_long(place: TaskStores) -> None:
    agrees(place, 60, 12)
