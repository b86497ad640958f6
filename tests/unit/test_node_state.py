"""How a process stands, as JSON."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import pytest

from bgtasks import (
    BackgroundScheduler,
    Breaker,
    Cancelled,
    Deferred,
    Done,
    Every,
    Failed,
    Outcome,
    Registry,
    Skipped,
    background_task,
    background_worker,
    build_scheduler,
)
from bgtasks.node_state import NodeState, said
from bgtasks.testing import VirtualClock, run_virtual


def state_of(scheduler: BackgroundScheduler, clock: VirtualClock) -> dict[str, Any]:
    """As whoever asks from outside reads it."""
    state: dict[str, Any] = json.loads(json.dumps(NodeState(clock, scheduler)(), allow_nan=False))
    return state


class TestAProcess:
    def test_says_who_it_is(self, registry: Registry) -> None:
        async def main(clock: VirtualClock) -> None:
            async with build_scheduler(registry=registry, clock=clock) as scheduler:
                await clock.advance(90)
                state = state_of(scheduler, clock)
            assert state["pid"] == os.getpid()
            assert state["host"]
            assert state["python"].startswith("3.")
            assert state["at"] == clock.now().isoformat()
            assert (state["lag"], state["problems"], state["unavailable"]) == (0.0, [], {})

        run_virtual(main)

    def test_that_does_not_run_says_so(self, registry: Registry) -> None:
        async def main(clock: VirtualClock) -> None:
            state = state_of(build_scheduler(registry=registry, clock=clock), clock)
            assert state["problems"] == ["the scheduler is not running: it was not started, or was stopped"]

        run_virtual(main)

    def test_says_what_it_knows_and_why_it_does_not_run_some(self, registry: Registry) -> None:
        @background_task("1h", registry=registry)
        async def tick() -> None: ...

        @background_task("1h", requires=("mailer",), registry=registry)
        async def mail() -> None: ...

        @background_worker(scope="leader", registry=registry)
        async def lead() -> None: ...

        async def main(clock: VirtualClock) -> None:
            state = state_of(build_scheduler(registry=registry, clock=clock), clock)
            assert state["known"] == ["tick", "mail", "lead"]
            assert list(state["not_wired"]) == ["mail", "lead"]
            assert state["not_wired"]["mail"] == 'needs mailer: no resource "mailer" was given'

        run_virtual(main)


class TestAJob:
    def test_says_when_it_is_due_and_how_it_fared(self, registry: Registry) -> None:
        @background_task(Every("10s", fixed_rate=True), registry=registry)
        async def tick() -> None: ...

        @background_task(Every("10s", fixed_rate=True), breaker=Breaker(2, "1h"), registry=registry)
        async def bad() -> None:
            raise ValueError("no")

        @background_worker(registry=registry)
        async def journal() -> None:
            await asyncio.Event().wait()

        async def main(clock: VirtualClock) -> None:
            begun = clock.now()
            async with build_scheduler(registry=registry, clock=clock) as scheduler:
                scheduler.pause("tick", "too loud")
                await clock.advance(15)
                jobs = {job["name"]: job for job in state_of(scheduler, clock)["jobs"]}
            assert jobs["tick"]["paused"] == "too loud"
            assert (jobs["tick"]["kind"], jobs["tick"]["scope"]) == ("task", "node")
            assert jobs["tick"]["when"] == "every 10s at a fixed rate"
            assert "last" not in jobs["tick"] or jobs["tick"]["last"] == "Skipped: paused: too loud"
            assert jobs["bad"]["last"] == "Failed: ValueError: no"
            assert jobs["bad"]["failures"] == 2
            assert (jobs["journal"]["kind"], jobs["journal"]["running_since"]) == (
                "worker",
                begun.isoformat(),
            )

        run_virtual(main)

    def test_by_hand_is_a_task_of_the_node(self) -> None:
        async def tick() -> None: ...

        async def main(clock: VirtualClock) -> None:
            scheduler = BackgroundScheduler(clock=clock)
            scheduler.register("tick", tick, 60)
            (job,) = state_of(scheduler, clock)["jobs"]
            assert (job["name"], job["kind"], job["scope"]) == ("tick", "task", "node")
            assert state_of(scheduler, clock)["known"] == ["tick"]

        run_virtual(main)


class TestAnOutcome:
    @pytest.mark.parametrize(
        ("outcome", "text"),
        [
            (Done(), "Done"),
            (Done({"sent": 1}), "Done"),
            (Skipped("paused"), "Skipped: paused"),
            (Failed(ValueError("no")), "Failed: ValueError: no"),
            (Cancelled(), "Cancelled"),
            (Deferred("no answer", resource="redis"), "Deferred: no answer"),
        ],
    )
    def test_is_said_in_one_line(self, outcome: Outcome, text: str) -> None:
        assert said(outcome).startswith(text)
        assert "\n" not in said(outcome)

    def test_of_many_lines_is_said_in_one(self) -> None:
        assert "\n" not in said(Failed(ValueError("one\ntwo")))

    def test_that_is_long_is_cut(self) -> None:
        assert len(said(Skipped("x" * 10_000))) == 500
