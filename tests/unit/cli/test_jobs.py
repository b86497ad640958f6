"""Jobs are listed page by page, called as their runs are, and added once for each key."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from tests.support.task_stores import DUE, a_job
from tests.unit.cli.conftest import Call, Kept

TEA = a_job("remind", bot_id="ada", key="tea")


def added(*but: str) -> list[str]:
    """How a job is added that has a key."""
    return ["jobs", "add", "remind", "every 1h at a fixed rate", "--bot", "ada", "--key", "tea", *but]


class TestAPage:
    def test_follows_a_job_that_was_removed(self, kept: Kept, call: Call) -> None:
        kept.put(a_job(id=UUID(int=3)))
        assert [job["id"] for job in call("jobs", "--after", str(UUID(int=2)), "--json").json] == [
            str(UUID(int=3))
        ]

    def test_says_that_there_is_another(self, kept: Kept, call: Call) -> None:
        kept.put(*(a_job(id=UUID(int=number)) for number in (1, 2)))
        more = f"more: --after {UUID(int=1)}\n"
        assert call("jobs", "--limit", "1").out.endswith(f"\n\n{more}")
        assert call("jobs", "--limit", "1", "--json").err == more
        assert call("jobs", "--limit", "2", "--json").err == ""

    def test_shows_whose_a_job_without_a_key_is(self, kept: Kept, call: Call) -> None:
        job = a_job("remind", bot_id="ada", enabled=False, reason="no\ntea")
        kept.put(job)
        id = str(job.id)[:8]
        out = call("jobs").out
        shown = rf"^{id} +remind\[{id}\] +ada +every hour .* paused, unresolved$"
        assert re.search(shown, out, re.MULTILINE), out
        assert out.endswith(f"\n\n{id}  paused: no tea\n")
        assert re.search(r"^ +paused: no tea$", call("jobs", "show", id).out, re.MULTILINE)


class TestAddingAgain:
    @pytest.fixture(autouse=True)
    def runs_it(self, kept: Kept) -> None:
        kept.node("one", wired=("remind",))

    def test_says_nothing_if_it_is_the_same(self, kept: Kept, call: Call) -> None:
        first, again = call(*added()), call(*added())
        assert first.err == again.err == ""
        assert "remind[ada/tea], every 1h at a fixed rate, next " in first.out
        assert again.out[:36] == first.out[:36]

    @pytest.mark.parametrize("but", [{"version": 2}, {"last_run_at": DUE}, {"config_json": "[]"}], ids=str)
    def test_says_that_it_was_left_as_it_is(self, kept: Kept, call: Call, but: dict[str, Any]) -> None:
        kept.put(replace(TEA, trigger="every 1h at a fixed rate", **but))
        assert call(*added()).err == "it was there already, and was left as it is\n"

    def test_says_that_it_is_paused(self, kept: Kept, call: Call) -> None:
        kept.put(replace(TEA, enabled=False, reason="no tea"))
        said = call(*added())
        assert said.out == f"{TEA.id}  remind[ada/tea], every hour, paused\n"
        assert said.err == "it was there already, and was left as it is\n"

    def test_says_so_of_another_trigger(self, kept: Kept, call: Call) -> None:
        kept.put(TEA)
        assert call(*added("--config", "null")).err == "it was there already, and was left as it is\n"

    def test_is_adding_another_if_it_has_no_key(self, kept: Kept, call: Call) -> None:
        said = [call("jobs", "add", "remind", "1h") for _ in range(2)]
        assert said[0].out[:36] != said[1].out[:36]
        assert [each.err for each in said] == ["", ""]


def test_what_nobody_runs_is_said_without_what_a_terminal_would_obey(kept: Kept, call: Call) -> None:
    kept.put(a_job("a\x1b[2Jb"))
    said = call("nodes")
    assert (said.code, said.out) == (1, "no node is alive\n")
    assert said.err == 'a job of "a [2Jb": no node that is alive can run it\n'
