"""What is waited for is shown as it is called."""

from __future__ import annotations

import pytest
from tests.support.task_stores import a_job
from tests.unit.cli.conftest import Call, Kept

from bgtasks.cli.waiting import waiting


@pytest.mark.parametrize("name", ["remind[/daily]", "remind[ada/tea]", "remind[bold]"])
def test_a_name_that_looks_like_markup_is_shown(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with waiting(f"waiting for {name}\n"):
        pass
    assert f"waiting for {name}" in capsys.readouterr().err


def test_nothing_is_shown_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with waiting("waiting"):
        pass
    assert capsys.readouterr() == ("", "")


def test_a_job_that_nobody_runs_is_said_without_what_a_terminal_would_obey(kept: Kept, call: Call) -> None:
    job = a_job("remind", key="\x1b[31mtea")
    kept.put(job)
    said = call("jobs", "run", str(job.id))
    assert (said.code, said.err) == (1, "remind[ [31mtea]: not run: no node is alive\n")
