"""Limits on how many runs are in progress: first come, first served, if it fits, and no slot is lost."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from bgtasks import Every
from bgtasks.agenda import agenda
from bgtasks.errors import ConfigurationError
from bgtasks.job import Job, Request
from bgtasks.policies import CatchUp, Policy
from bgtasks.slots import Slots
from bgtasks.testing import VirtualClock

DUE = datetime(2026, 1, 1, tzinfo=UTC)


async def nothing() -> None: ...


def release(slots: Slots, group: str | None) -> Request | None:
    """Give a slot back; who has it next."""
    slots.give_back(group)
    return slots.next_in_line()


def wanted(name: str, group: str | None = None, since: float = 0.0) -> Request:
    trigger = Every(60)
    when = agenda(trigger, CatchUp.ONE, 0.0, Random(1), VirtualClock())
    return Request(Job(name, nothing, trigger, when, Policy(group=group)), DUE, since=since)


def name_of(request: Request | None) -> str | None:
    return None if request is None else request.job.name


def test_without_limits_nothing_is_limited() -> None:
    slots = Slots(None, {})

    assert not slots.limited
    assert all(slots.admit(wanted(f"t{number}", "llm")) for number in range(100))


@pytest.mark.parametrize(("total", "groups"), [(1, {}), (None, {"llm": 1})])
def test_either_limit_is_one(total: int | None, groups: dict[str, int]) -> None:
    assert Slots(total, groups).limited


@pytest.mark.parametrize("limit", [0, -1, True, 1.0, "3", float("inf")])
def test_a_limit_below_one_or_of_another_kind_is_refused(limit: Any) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Slots(limit, {})
    assert str(refused.value) == f"max_concurrent is a number of runs, 1 or more, not {limit!r}"

    with pytest.raises(ConfigurationError) as refused:
        Slots(None, {"llm": limit})
    assert str(refused.value) == f'group_limits["llm"] is a number of runs, 1 or more, not {limit!r}'


def test_who_finds_no_slot_gets_the_next_one_in_the_order_of_arrival() -> None:
    slots = Slots(2, {})

    assert [slots.admit(wanted(name, since=at)) for at, name in enumerate("abcde")] == [
        True,
        True,
        *[False] * 3,
    ]
    assert [name_of(release(slots, None)) for _ in range(5)] == ["c", "d", "e", None, None]


def test_a_full_group_does_not_hold_up_the_others() -> None:
    slots = Slots(None, {"llm": 1})

    assert slots.admit(wanted("a", "llm"))
    assert not slots.admit(wanted("b", "llm"))
    assert slots.admit(wanted("c"))
    assert slots.admit(wanted("d", "a group without a limit"))
    assert name_of(release(slots, None)) is None
    assert name_of(release(slots, "llm")) == "b"


def test_a_member_of_a_group_takes_a_slot_of_both() -> None:
    slots = Slots(3, {"llm": 2})

    assert [slots.admit(wanted(name, "llm")) for name in "abc"] == [True, True, False]
    assert slots.admit(wanted("d"))
    assert not slots.admit(wanted("e", since=1.0))
    assert name_of(release(slots, None)) == "e"  # c came first, but does not fit
    assert name_of(release(slots, "llm")) == "c"


def test_who_waits_longest_goes_first_whatever_the_group() -> None:
    slots = Slots(1, {"llm": 1, "io": 1})
    assert slots.admit(wanted("a"))
    for at, (name, group) in enumerate([("b", "llm"), ("c", None), ("d", "llm"), ("e", "io"), ("f", None)]):
        assert not slots.admit(wanted(name, group, since=at))

    order, group = [], None
    for _ in range(5):
        following = release(slots, group)
        assert following is not None
        order.append(following.job.name)
        group = following.job.policy.group

    assert order == ["b", "c", "d", "e", "f"]


def test_who_came_in_the_same_instant_goes_in_the_order_of_arrival_whatever_the_group() -> None:
    slots = Slots(1, {"llm": 1})
    assert slots.admit(wanted("a"))
    for name, group in [("b", "llm"), ("c", None), ("d", "llm"), ("e", None)]:
        assert not slots.admit(wanted(name, group, since=7.0))

    order, group = [], None
    for _ in range(4):
        following = release(slots, group)
        assert following is not None
        order.append(following.job.name)
        group = following.job.policy.group

    assert order == ["b", "c", "d", "e"]


def test_who_was_withdrawn_gets_no_slot() -> None:
    slots, gone = Slots(1, {}), wanted("b")
    assert slots.admit(wanted("a"))
    assert not slots.admit(gone)
    assert not slots.admit(wanted("c"))

    slots.withdraw(gone)
    slots.withdraw(gone)
    slots.withdraw(wanted("never in line", "llm"))

    assert name_of(release(slots, None)) == "c"


def test_after_a_clear_all_slots_are_free_and_nobody_waits() -> None:
    slots = Slots(1, {"llm": 1})
    slots.admit(wanted("a", "llm"))
    slots.admit(wanted("b", "llm"))

    slots.clear()

    assert slots.admit(wanted("c", "llm"))
    assert name_of(release(slots, "llm")) is None


@pytest.mark.parametrize("seed", range(20))
def test_whatever_comes_and_goes_no_limit_is_passed_and_no_slot_stays_empty(seed: int) -> None:
    random = Random(seed)
    limits = {"llm": 2, "io": 3}
    slots = Slots(4, limits)
    running: list[Request] = []
    waiting: list[Request] = []

    def fits(request: Request) -> bool:
        groups = Counter(each.job.policy.group for each in running)
        group = request.job.policy.group
        return len(running) < 4 and groups[group] < limits.get(str(group), 99)

    for step in range(500):
        choice = random.random()
        if choice < 0.5:
            request = wanted(f"t{step}", random.choice(["llm", "io", "other", None]), since=float(step + 1))
            expected = fits(request)
            assert slots.admit(request) is expected
            (running if expected else waiting).append(request)
        elif choice < 0.9 and running:
            ended = running.pop(random.randrange(len(running)))
            following = release(slots, ended.job.policy.group)
            first = next((each for each in waiting if fits(each)), None)
            assert following is first
            if first is not None:
                waiting.remove(first)
                running.append(first)
        elif waiting:
            slots.withdraw(waiting.pop(random.randrange(len(waiting))))
        assert not any(fits(each) for each in waiting)
