"""What nodes were told is listed, and that there was more."""

from __future__ import annotations

import asyncio

from tests.support.task_stores import LONG, a_command
from tests.unit.cli.conftest import Call, Kept


def test_more_than_is_shown_is_said(kept: Kept, call: Call) -> None:
    for subject in "abc":
        asyncio.run(kept.command(a_command(subject=subject), LONG))
    said = call("nodes", "told", "--limit", "2")
    assert said.out.endswith("\n\nmore: --limit 4\n")
    assert "pause a" not in said.out
    as_json = call("nodes", "told", "--limit", "2", "--json")
    assert [each["subject"] for each in as_json.json] == ["c", "b"]
    assert as_json.err == "more: --limit 4\n"
    assert call("nodes", "told", "--limit", "3", "--json").err == ""
