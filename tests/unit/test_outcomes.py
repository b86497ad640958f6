"""How a run ended, as a value."""

from __future__ import annotations

import asyncio
from dataclasses import FrozenInstanceError

import pytest

from bgtasks import Cancelled, Deferred, Done, Failed, Missed, Outcome, Skipped, TimedOut
from bgtasks.outcomes import FAILURES

EACH = [
    Done(),
    Skipped("x"),
    Deferred("x"),
    Failed(ValueError()),
    Cancelled(),
    TimedOut(30),
    Missed("x"),
]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("no such channel"), "ValueError: no such channel"),
        (RuntimeError(), "RuntimeError"),
        (asyncio.CancelledError(), "CancelledError"),
        (SystemExit(3), "SystemExit: 3"),
    ],
)
def test_a_failure_says_its_error_in_one_line(error: BaseException, reason: str) -> None:
    assert Failed(error).reason == reason


def test_outcomes_are_values() -> None:
    assert Done({"n": 1}) == Done({"n": 1}) != Done()
    assert Skipped("nothing new") == Skipped("nothing new") != Skipped("switched off")
    assert Deferred("busy") == Deferred("busy", None) != Deferred("busy", "redis")
    assert Cancelled() == Cancelled("the scheduler was stopped")
    assert TimedOut(30) == TimedOut(30.0) != TimedOut(31)
    assert Missed("late") == Missed("late", 1) != Missed("late", 2)


@pytest.mark.parametrize("outcome", EACH, ids=lambda outcome: type(outcome).__name__)
def test_outcomes_do_not_change(outcome: Outcome) -> None:
    field = next(iter(type(outcome).__dataclass_fields__))

    with pytest.raises(FrozenInstanceError):
        setattr(outcome, field, None)


@pytest.mark.parametrize(
    ("seconds", "reason"), [(30, "timed out after 30 s"), (0.25, "timed out after 0.25 s")]
)
def test_a_timeout_says_how_long_it_was(seconds: float, reason: str) -> None:
    assert TimedOut(seconds).reason == reason


def test_every_outcome_but_done_has_a_reason() -> None:
    assert [type(outcome) for outcome in EACH if not hasattr(outcome, "reason")] == [Done]


def test_an_error_and_a_timeout_are_the_failures() -> None:
    assert [type(outcome) for outcome in EACH if isinstance(outcome, FAILURES)] == [Failed, TimedOut]
