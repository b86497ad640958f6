"""How a run ended, as a value."""

from __future__ import annotations

import asyncio
from dataclasses import FrozenInstanceError

import pytest

from bgtasks import Cancelled, Deferred, Done, Failed, Outcome, Skipped


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


@pytest.mark.parametrize("outcome", [Done(), Skipped("x"), Deferred("x"), Failed(ValueError()), Cancelled()])
def test_outcomes_do_not_change(outcome: Outcome) -> None:
    field = next(iter(type(outcome).__dataclass_fields__))

    with pytest.raises(FrozenInstanceError):
        setattr(outcome, field, None)
