"""`bgtasks budget`: what was spent and what may be, for people and for programs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import fakeredis
import pytest
from tests.unit.cli.conftest import Call

from bgtasks.cli import budget as command
from bgtasks.contracts import Absent
from bgtasks.llm.budget import KEPT_DAYS, Budget, Limits
from bgtasks.llm.types import Usage
from bgtasks.resources import Resources
from bgtasks.settings import Settings
from bgtasks.testing import VirtualClock

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> VirtualClock:
    """The time that the command sees."""
    made = VirtualClock(NOON)
    monkeypatch.setattr(command, "now", made.now)
    monkeypatch.setattr("bgtasks.cli.display.now", made.now)
    monkeypatch.setattr("bgtasks.llm.budget.SystemClock", lambda: made)
    return made


@pytest.fixture
def spend(clock: VirtualClock, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Spends on the Redis that the command asks; what is not settled stays reserved."""
    server = fakeredis.FakeServer()

    @asynccontextmanager
    async def opened(settings: Settings) -> AsyncIterator[Resources]:
        async with fakeredis.FakeAsyncRedis(server=server) as client:
            none = Absent("none")
            yield Resources(client, none, none, none)

    monkeypatch.setattr(command, "open_resources", opened)

    def run(task: str, used: Usage, *, settled: bool = True) -> None:
        async def work() -> None:
            async with fakeredis.FakeAsyncRedis(server=server) as client:
                budget = Budget(client, Limits(), "bgtasks", clock=clock)
                reservation = await budget.reserve(task, used)
                if settled:
                    await budget.settle(reservation, used)

        asyncio.run(work())

    return run


def cells(line: str) -> list[str]:
    return line.split()


class TestForPeople:
    def test_a_task_has_a_line_and_all_together(self, spend: Callable[..., None], call: Call) -> None:
        spend("auto_kg_extraction", Usage(12_000, 345, 0.0123))
        spend("chatter", Usage(100, 20))
        spend("chatter", Usage(1_000, 0), settled=False)
        lines = call("budget").out.splitlines()
        assert [cells(line) for line in lines] == [
            ["task", "tokens", "reserved", "cost", "calls"],
            ["auto_kg_extraction", "12,345", "$0.0123", "1"],
            ["chatter", "120", "1,000", "$0.00", "1"],
            ["all", "tasks", "12,465", "1,000", "$0.0123", "2"],
            [],
            ["a", "new", "day", "begins", "at", "2026-09-02", "00:00", "(UTC),", "in", "12h"],
        ]

    def test_caps_are_shown_even_of_what_spent_nothing(
        self, spend: Callable[..., None], call: Call, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("BGTASKS_LLM_DAY_COST", "1.5")
        monkeypatch.setenv("BGTASKS_LLM_TASK_TOKENS", '{"chatter": 2000}')
        monkeypatch.setenv("BGTASKS_LLM_ZONE", "Europe/Helsinki")
        out = call("budget").out.splitlines()
        assert cells(out[1]) == ["chatter", "0", "2,000", "$0.00", "0"]
        assert cells(out[2]) == ["all", "tasks", "0", "$0.00", "$1.50", "0"]
        assert out[-1] == "a new day begins at 2026-09-02 00:00 (Europe/Helsinki), in 9h"

    def test_nothing_is_said_in_words(self, spend: Callable[..., None], call: Call) -> None:
        assert call("budget").out.splitlines()[0] == "nothing was spent today, and nothing is capped"
        assert call("budget", "--days", "3").out.splitlines()[0] == (
            "nothing was spent in these days, and nothing is capped"
        )

    def test_no_more_days_can_be_asked_for_than_are_kept(self, call: Call) -> None:
        assert command.MOST_DAYS == KEPT_DAYS
        assert call("budget", "--days", str(KEPT_DAYS + 1)).code == 2

    def test_days_before_are_shown_with_their_dates(
        self, spend: Callable[..., None], call: Call, clock: VirtualClock
    ) -> None:
        spend("a", Usage(10, 0))
        clock.step_wall(timedelta(days=2))
        spend("a", Usage(30, 0))
        lines = [cells(line) for line in call("budget", "--days", "3").out.splitlines()]
        assert lines[1] == ["2026-09-03", "a", "30", "$0.00", "1"]
        assert lines[3] == ["2026-09-01", "a", "10", "$0.00", "1"]

    def test_a_reservation_that_was_lost_is_counted(
        self, spend: Callable[..., None], call: Call, clock: VirtualClock
    ) -> None:
        spend("a", Usage(10, 0), settled=False)
        clock.step_wall("301s")
        spend("b", Usage(10, 0))
        lines = [cells(line) for line in call("budget").out.splitlines()]
        assert lines[:2] == [["task", "tokens", "cost", "calls", "lost"], ["a", "10", "$0.00", "0", "1"]]

    def test_a_name_obeys_nobody(self, spend: Callable[..., None], call: Call) -> None:
        spend("a\x1b[2J", Usage(10, 0))
        assert "\x1b" not in call("budget").out


class TestForPrograms:
    def test_everything_is_there(
        self, spend: Callable[..., None], call: Call, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("BGTASKS_LLM_TASK_COST", '{"a": 0.5}')
        spend("a", Usage(10, 5, 0.000123))
        said: dict[str, Any] = call("budget", "--json", "--days", "2").json
        row = {
            "tokens": 15,
            "cost": 0.000123,
            "calls": 1,
            "reserved_tokens": 0,
            "reserved_cost": 0.0,
            "cap_tokens": None,
            "cap_cost": None,
            "lost": 0,
        }
        assert said["zone"] == "UTC"
        assert said["day_ends"] == "2026-09-02T00:00:00+00:00"
        assert [each["day"] for each in said["days"]] == ["2026-09-01", "2026-08-31"]
        assert said["days"][0] == {
            "day": "2026-09-01",
            "tasks": [{"task": "a", **row, "cap_cost": 0.5}],
            "all": row,
        }


class TestWithoutRedis:
    def test_the_reason_is_said(self, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
        said = call("budget")
        assert said.code == 3
        assert "no Redis is configured" in said.err

    def test_a_setting_that_cannot_be_meant_is_named(
        self, spend: Callable[..., None], call: Call, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("BGTASKS_LLM_ZONE", "Mars/Base")
        said = call("budget")
        assert said.code == 2
        assert "BGTASKS_LLM_ZONE" in said.err
