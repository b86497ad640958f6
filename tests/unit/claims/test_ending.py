"""How the end of a run is written down."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from tests.support.task_cluster import Cluster

from bgtasks import Cancelled, Deferred, Done, Failed, Outcome, Skipped, TimedOut, background_task
from bgtasks.claims.claim import Claim
from bgtasks.claims.ending import EMPTY, LONGEST, ending
from bgtasks.outcomes import Missed
from bgtasks.records import Claimed, Ending, RunStatus


class Unspeakable:
    def __repr__(self) -> str:
        raise ZeroDivisionError


@pytest.fixture
def claim() -> Claim:
    claimed = Claimed("r", uuid4(), datetime(2026, 1, 1, tzinfo=UTC), 1, 17)
    return Claim(claimed, "claim:tidy", "s", None)  # type: ignore[arg-type]


class TestAnOutcome:
    @pytest.mark.parametrize(
        ("outcome", "status", "why", "again"),
        [
            (Done(), RunStatus.SUCCESS, None, False),
            (Skipped("nothing new"), RunStatus.SKIPPED, "nothing new", False),
            (Deferred("no answer", "redis"), RunStatus.SKIPPED, "not now: no answer", False),
            (Failed(ValueError("no")), RunStatus.FAILED, "ValueError: no", False),
            (TimedOut(2.5), RunStatus.TIMED_OUT, "timed out after 2.5 s", False),
            (Cancelled("stopped"), RunStatus.LOST, "cancelled: stopped", True),
            (Missed("late"), RunStatus.SKIPPED, "late", False),
        ],
    )
    def test_has_a_status_and_a_reason(
        self, claim: Claim, outcome: Outcome, status: RunStatus, why: str | None, again: bool
    ) -> None:
        assert ending(claim, outcome, 1.2345) == Ending("r", 17, status, 1234, None, why, again)

    def test_that_nobody_is_to_have_is_not_offered_again(self, claim: Claim) -> None:
        claim.given_up = True
        assert not ending(claim, Cancelled("its next run is due"), 1.0).again

    def test_has_no_reason_longer_than_is_kept(self, claim: Claim) -> None:
        why = ending(claim, Failed(ValueError("x" * 10_000)), 0.0).error_message
        assert why is not None
        assert len(why) == LONGEST


class TestATaskThatSkips:
    @pytest.mark.parametrize("seconds", [0.0, 1.0])
    def test_is_written_down_as_such_and_not_started_again(self, seconds: float) -> None:
        async def skips() -> Skipped:
            await asyncio.sleep(seconds)
            return Skipped("nothing new")

        cluster = Cluster(names="ab")
        cluster.task("tidy", "1h", skips if seconds else at_once)

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(30)
            (run,) = await cluster.runs("tidy")
            assert (run.status, run.error_message) == (RunStatus.SKIPPED, "nothing new")

        cluster.run(main)


async def at_once() -> Skipped:
    return Skipped("nothing new")


class TestARunThatPromisedCounts:
    @pytest.mark.parametrize("value", [None, {}])
    def test_and_returned_none_is_marked_empty(self, claim: Claim, value: Any) -> None:
        said = ending(claim, Done(value), 0.0, counts=True)
        assert (said.status, said.error_message) == (RunStatus.SUCCESS, EMPTY)

    @pytest.mark.parametrize("value", [{"moved": 0}, 0, {"moved": 3}])
    def test_and_returned_some_is_not(self, claim: Claim, value: Any) -> None:
        assert ending(claim, Done(value), 0.0, counts=True).error_message is None

    def test_and_failed_says_why(self, claim: Claim) -> None:
        assert ending(claim, Failed(ValueError("no")), 0.0, counts=True).error_message == "ValueError: no"

    def test_says_so_in_the_store(self, cluster: Cluster) -> None:
        async def counted() -> dict[str, int]:
            return {}

        async def uncounted() -> None:
            return None

        for task in (counted, uncounted):
            background_task("1h", scope="cluster", registry=cluster._registries["a"])(task)
        cluster.process("a")
        cluster.play(1, "a")
        kept = [asyncio.run(cluster.runs(name))[0].error_message for name in ("counted", "uncounted")]
        assert kept == [EMPTY, None]


class TestAResult:
    def kept(self, claim: Claim, value: Any) -> Any:
        text = ending(claim, Done(value), 0.0).result_json
        assert text is not None
        return json.loads(text)

    @pytest.mark.parametrize("value", [{"rows": 3}, [1, 2.5, None], "Zażółć 🌲", 0, False, {}])
    def test_is_kept_as_json(self, claim: Claim, value: Any) -> None:
        assert self.kept(claim, value) == value

    def test_that_is_no_json_is_kept_as_it_would_be_shown(self, claim: Claim) -> None:
        assert self.kept(claim, {"at": datetime(2026, 1, 1, tzinfo=UTC)}) == {
            "at": "datetime.datetime(2026, 1, 1, 0, 0, tzinfo=datetime.timezone.utc)"
        }
        assert self.kept(claim, {(1, 2): 3}) == "{(1, 2): 3}"
        assert self.kept(claim, {"score": float("nan")}) == "{'score': nan}"

    def test_that_holds_itself_is_kept_as_it_would_be_shown(self, claim: Claim) -> None:
        circle: list[Any] = []
        circle.append(circle)
        assert self.kept(claim, circle) == "[[...]]"

    @pytest.mark.parametrize("value", [Unspeakable(), [Unspeakable()], {(1, 2): Unspeakable()}])
    def test_that_cannot_be_shown_does_not_keep_the_run_from_ending(self, claim: Claim, value: Any) -> None:
        assert "ZeroDivisionError" in json.dumps(self.kept(claim, value))

    @pytest.mark.parametrize("value", ["x" * 10_000, ["y"] * 10_000])
    def test_that_is_too_long_is_cut_and_still_json(self, claim: Claim, value: Any) -> None:
        kept = self.kept(claim, value)
        assert isinstance(kept, str)
        assert kept.endswith("…")
        assert len(kept) == LONGEST + 1
