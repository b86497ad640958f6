"""How jobs stand and whether what is due starts, as values."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from bgtasks import Cron, Done, Every, Health, JobSnapshot, Trigger
from bgtasks.agenda import agenda
from bgtasks.backoff import Backoff
from bgtasks.clock import Reading
from bgtasks.health import overdue, snapshot
from bgtasks.job import Job, Request, Wait
from bgtasks.outcomes import Cancelled, TimedOut
from bgtasks.policies import CatchUp
from bgtasks.run import Run
from bgtasks.testing import VirtualClock

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(mono: float) -> Reading:
    return Reading(mono, wall(mono))


def wall(mono: float) -> datetime:
    return START + timedelta(seconds=mono)


def a_job(trigger: Trigger | None = None, delay: float = 0.0, name: str = "tidy") -> Job:
    """A job as after a start at the instant zero."""
    trigger = trigger or Every(60)
    when = agenda(trigger, CatchUp.ONE, 0.0, Random(1), VirtualClock())
    job = Job(name, lambda: asyncio.sleep(0), trigger, when, initial_delay=delay)
    job.begin(at(0), delay)
    job.entry = 1  # it stands on the timeline
    return job


def begun(job: Job, mono: float) -> Run:
    run = Run(job, "r1", wall(mono))
    run.began = mono
    job.run_begins(run)
    return run


def problems(job: Job, mono: float, tolerance: float = 10.0) -> list[str]:
    return list(overdue([job], at(mono), tolerance))


# -- the answer ----------------------------------------------------------------------------------


@pytest.mark.parametrize("ok", [True, False])
def test_health_is_as_true_as_it_is_good(ok: bool) -> None:
    assert bool(Health(ok, (), 0.0)) is ok


# -- snapshots -----------------------------------------------------------------------------------


def test_a_job_that_waits_for_its_first_run() -> None:
    assert snapshot(a_job(delay=30), at(10)) == JobSnapshot("tidy", "every 1m", next_run=wall(30))


def test_a_job_of_a_scheduler_that_does_not_run_has_no_next_run() -> None:
    job = a_job(delay=30)
    job.entry = 0

    assert snapshot(job, at(10)).next_run is None


@pytest.mark.parametrize("began", [0.0, 5.0])
def test_a_job_that_runs(began: float) -> None:
    job = a_job()
    begun(job, began)

    assert snapshot(job, at(10)) == JobSnapshot("tidy", "every 1m", running=1, running_since=wall(began))


def test_of_several_runs_the_earliest_counts() -> None:
    job = a_job(Every(5, fixed_rate=True))
    for mono in (5.0, 10.0, 15.0):
        begun(job, mono)

    shown = snapshot(job, at(16))
    assert (shown.running, shown.running_since) == (3, wall(5))


def test_a_job_that_ran() -> None:
    job = a_job(Every(60, fixed_rate=True))
    run = begun(job, 0.0)
    run.outcome, run.ended = Done({"n": 1}), 7.0
    job.take(at(0))
    job.run_ended(run)

    assert snapshot(job, at(10)) == JobSnapshot(
        "tidy",
        "every 1m at a fixed rate",
        next_run=wall(60),
        last_outcome=Done({"n": 1}),
        last_ended=wall(7),
    )


def test_failures_in_a_row_are_counted() -> None:
    job = a_job()
    job.failures = 3

    assert snapshot(job, at(10)).failures == 3


def test_a_paused_job_says_why_and_has_no_next_run() -> None:
    job = a_job()
    job.paused = "by hand"

    shown = snapshot(job, at(10))
    assert (shown.paused, shown.next_run) == ("by hand", None)


@pytest.mark.parametrize(("now", "paused"), [(10, "its breaker is open"), (100, None)])
def test_an_open_breaker_is_a_pause_until_it_has_cooled_down(now: float, paused: str | None) -> None:
    job = a_job(Cron("* * * * *"))
    job.open_until = 100

    assert snapshot(job, at(now)).paused == paused


def test_what_a_due_run_waits_for() -> None:
    job = a_job()
    assert snapshot(job, at(1)).waiting is None

    job.wait = Wait("redis", Backoff())
    assert snapshot(job, at(1)).waiting == "redis, which does not answer"
    job.queued = Request(job, START)
    assert snapshot(job, at(1)).waiting == "the end of the previous run"
    job.waiting = Request(job, START, since=0.0)
    assert snapshot(job, at(1)).waiting == "a free slot"


# -- what is overdue -----------------------------------------------------------------------------


@pytest.mark.parametrize("trigger", [Every(60), Every(60, fixed_rate=True)], ids=str)
def test_what_has_been_due_for_too_long_is_named(trigger: Trigger) -> None:
    job = a_job(trigger)

    assert problems(job, 10) == []
    assert problems(job, 11) == ['"tidy" was due 11 s ago and has not started']
    assert problems(job, 11, tolerance=30) == []


def test_a_calendar_that_has_been_due_for_too_long_is_named() -> None:
    assert problems(a_job(Cron("* * * * *")), 60 + 11) == ['"tidy" was due 11 s ago and has not started']


def test_what_is_put_off_to_spread_the_load_counts_from_then() -> None:
    job = a_job()
    job.held = (90, 100)

    assert problems(job, 110) == []
    assert problems(job, 111) == ['"tidy" was due 11 s ago and has not started']


def test_what_is_being_caught_up_with_counts_from_when_it_was_found() -> None:
    job = a_job(Every(10, fixed_rate=True))
    job.agenda.behind = 100

    assert problems(job, 110) == []
    assert problems(job, 111) == ['"tidy" was due 11 s ago and has not started']


@pytest.mark.parametrize("since", [0.0, 50.0])
def test_a_run_that_waits_too_long_for_a_slot_is_named(since: float) -> None:
    job = a_job()
    job.take(at(0))
    job.waiting = Request(job, START, since=since)

    assert problems(job, since + 10) == []
    assert problems(job, since + 11) == ['"tidy" has waited for a free slot for 11 s']


def test_a_run_that_goes_on_after_it_was_told_to_end_twice_is_named() -> None:
    job = a_job()
    run = begun(job, 1.0)
    run.ending, run.asked = TimedOut(5), 1
    assert problems(job, 20) == []

    run.asked = 2
    assert problems(job, 20) == ['"tidy" was told to end (timed out after 5 s) and is still going']
    run.ending = Cancelled("its next run is due")
    assert problems(job, 20) == ['"tidy" was told to end (its next run is due) and is still going']


AS_IT_SHOULD_BE: list[tuple[str, Any]] = [
    ("paused", "by hand"),
    ("open_until", 1e6),
    ("removed", True),
    ("wait", Wait("redis", Backoff(), again=1e6)),
]


@pytest.mark.parametrize(("name", "value"), AS_IT_SHOULD_BE, ids=lambda value: str(value)[:10])
def test_a_job_that_is_held_back_on_purpose_is_as_it_should_be(name: str, value: Any) -> None:
    job = a_job()
    if name == "wait":
        job.agenda.due = 1e6
    setattr(job, name, value)

    assert problems(job, 1000) == []


def test_a_long_run_is_as_it_should_be() -> None:
    job = a_job()
    begun(job, 1.0)

    assert problems(job, 1e6) == []
