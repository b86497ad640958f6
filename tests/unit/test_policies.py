"""Policies are values that validate themselves, and errors that name the task and the cure."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from datetime import timedelta
from typing import Any

import pytest

from bgtasks import Breaker, Retry
from bgtasks.errors import InvalidTask
from bgtasks.policies import POLICY, CatchUp, Overlap, Policy, policy

# -- retry ---------------------------------------------------------------------------------------


def test_a_retry_counts_the_first_attempt_and_knows_its_seconds() -> None:
    retry = Retry(attempts=4, backoff="2s", cap=timedelta(minutes=5))

    assert (retry.attempts, retry.backoff, retry.cap) == (4, 2.0, 300.0)
    assert retry.seconds == (2.0, 300.0)


def test_a_retry_that_says_nothing_is_three_attempts_within_a_minute() -> None:
    assert Retry() == Retry(3, 1.0, 60.0) == Retry(3, "1s", "1m")


@pytest.mark.parametrize("attempts", [1, 0, -1, True, 2.0, "3", None])
def test_a_retry_without_a_second_attempt_is_refused(attempts: Any) -> None:
    with pytest.raises(InvalidTask) as refused:
        Retry(attempts)

    assert str(refused.value) == f"Retry(attempts) counts the first attempt too: 2 or more, not {attempts!r}"


BAD_INTERVALS = [0, -1, float("nan"), float("inf"), "soon", "", None, True, [], 1e12]


@pytest.mark.parametrize("value", BAD_INTERVALS)
@pytest.mark.parametrize("label", ["backoff", "cap"])
def test_a_delay_between_attempts_that_is_no_interval_is_refused(label: str, value: Any) -> None:
    with pytest.raises(InvalidTask) as refused:
        Retry(**{label: value})

    assert str(refused.value) == (
        f'Retry({label}=…) is seconds above zero or a string such as "30s", not {value!r}'
    )


def test_a_cap_below_the_backoff_is_refused() -> None:
    with pytest.raises(InvalidTask) as refused:
        Retry(backoff="5m")

    assert str(refused.value).startswith("Retry: cap (1m) lies below backoff (5m)")


# -- breaker -------------------------------------------------------------------------------------


def test_a_breaker_knows_its_seconds() -> None:
    assert Breaker(3, "10m").seconds == 600.0
    assert Breaker() == Breaker(5, 300.0) == Breaker(5, "5m")


@pytest.mark.parametrize("after", [0, -1, True, 1.0, "3", None])
def test_a_breaker_that_counts_no_failures_is_refused(after: Any) -> None:
    with pytest.raises(InvalidTask) as refused:
        Breaker(after)

    assert str(refused.value) == f"Breaker(after) is a number of failures, 1 or more, not {after!r}"


@pytest.mark.parametrize("value", BAD_INTERVALS)
def test_a_cool_down_that_is_no_interval_is_refused(value: Any) -> None:
    with pytest.raises(InvalidTask, match=r"Breaker\(cool_down=…\) is seconds above zero or a string"):
        Breaker(cool_down=value)


@pytest.mark.parametrize(
    ("value", "field"), [(Retry(), "attempts"), (Breaker(), "after"), (POLICY, "timeout")]
)
def test_policies_do_not_change(value: object, field: str) -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(value, field, 9)


# -- what a task says ----------------------------------------------------------------------------


def test_a_task_that_says_nothing_skips_overlaps_catches_up_once_and_has_no_limits() -> None:
    assert policy("tidy") == POLICY
    assert Policy(Overlap.SKIP, CatchUp.ONE, None, None, None, None) == POLICY


def test_what_a_task_says_is_read() -> None:
    made = policy("tidy", "queue", "all", "30s", Retry(), Breaker(), "llm")

    assert made == Policy(Overlap.QUEUE, CatchUp.ALL, 30.0, Retry(), Breaker(), "llm")


@pytest.mark.parametrize("word", list(Overlap))
def test_the_words_may_be_given_as_members_too(word: Overlap) -> None:
    assert policy("tidy", word) == policy("tidy", str(word)) == Policy(overlap=word)


@pytest.mark.parametrize("value", ["", "SKIP", "never", None, 1, True, [], {}])
@pytest.mark.parametrize(
    ("label", "words"),
    [("overlap", '"skip", "queue", "cancel", "allow"'), ("catch_up", '"one", "none", "all"')],
)
def test_another_word_is_refused_with_those_that_there_are(label: str, words: str, value: Any) -> None:
    with pytest.raises(InvalidTask) as refused:
        policy("tidy", **{label: value})

    assert str(refused.value) == f'"tidy": {label} is one of {words}, not {value!r}'


@pytest.mark.parametrize("value", [value for value in BAD_INTERVALS if value is not None])
def test_a_timeout_that_is_no_interval_is_refused(value: Any) -> None:
    with pytest.raises(InvalidTask) as refused:
        policy("tidy", timeout=value)

    assert str(refused.value) == (
        f'"tidy": timeout is seconds above zero or a string such as "30s", not {value!r}'
    )


@pytest.mark.parametrize("value", [3, True, "3", [], {"attempts": 3}, Retry, Breaker()], ids=repr)
def test_a_retry_of_another_kind_is_refused(value: Any) -> None:
    with pytest.raises(InvalidTask) as refused:
        policy("tidy", retry=value)

    assert str(refused.value) == f'"tidy": retry is a Retry(…) or None, not {value!r}'


@pytest.mark.parametrize("value", [5, "5", [], Breaker, Retry()], ids=repr)
def test_a_breaker_of_another_kind_is_refused(value: Any) -> None:
    with pytest.raises(InvalidTask) as refused:
        policy("tidy", breaker=value)

    assert str(refused.value) == f'"tidy": breaker is a Breaker(…) or None, not {value!r}'


@pytest.mark.parametrize("value", ["", 0, 7, True, ["llm"]])
def test_a_group_without_a_name_is_refused(value: Any) -> None:
    with pytest.raises(InvalidTask) as refused:
        policy("tidy", group=value)

    assert str(refused.value) == f'"tidy": group is a name, such as group="llm", not {value!r}'


def test_each_error_names_its_own_task() -> None:
    for name in ("one", "two", "one"):
        with pytest.raises(InvalidTask, match=f'^"{name}": timeout is seconds'):
            policy(name, timeout=-1)


def test_values_that_are_equal_and_of_another_type_are_not_mistaken_for_each_other() -> None:
    assert policy("tidy", timeout=1).timeout == 1.0
    with pytest.raises(InvalidTask, match="timeout is seconds above zero"):
        policy("tidy", timeout=True)
