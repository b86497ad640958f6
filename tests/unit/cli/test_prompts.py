"""Prompts are shown as they were written, but for what a terminal would obey."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bgtasks.cli.prompts import _print
from bgtasks.prompts import Prompt
from bgtasks.triggers import Once

NOON = datetime(2100, 11, 21, 12, tzinfo=UTC)


def test_a_prompt_obeys_nobody_who_wrote_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    text, user = "a\x1b[2Jb [red]c", "\x1b]0;x\x07"
    _print([Prompt(id="1", text=text, trigger=Once(NOON), user=user, channel="", agent="", due=NOON)])
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert out.rstrip("\n").endswith("]0;x  a [2Jb [red]c")
