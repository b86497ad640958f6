"""Runs are shown, and what is not there is said so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from tests.support.task_stores import a_job, a_run
from tests.unit.cli.conftest import Call, Kept

from bgtasks.cli import following, runs
from bgtasks.cli.following import follow
from bgtasks.records import RunRow, RunStatus

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def ids(rows: list[RunRow]) -> list[str]:
    return [row.id for row in rows]


@pytest.fixture
def followed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs that `--follow` begins with; it ends then."""
    found = list[str]()

    async def begin(_: following.Feed, latest: list[RunRow], *__: object, **___: object) -> None:
        found.extend(ids(latest))

    monkeypatch.setattr(runs, "follow", begin)
    assert follow is following.follow
    return found


@pytest.mark.parametrize("how", [[], ["--follow"], ["--failed"]], ids=str)
class TestWhatIsNotThere:
    def test_is_a_task_that_is_misspelt(self, kept: Kept, call: Call, how: list[str]) -> None:
        kept.put(a_job("digest"))
        said = call("runs", "--task", "digst", *how)
        assert (said.code, said.out) == (2, "")
        assert 'no task is called "digst": did you mean "digest"?' in said.err

    def test_is_a_job_that_never_was(self, kept: Kept, call: Call, how: list[str]) -> None:
        id = uuid4()
        said = call("runs", "--job", str(id), *how)
        assert (said.code, said.out) == (2, "")
        assert f"no job has the id {id}" in said.err


class TestWhatWasThereOnce:
    def test_is_a_job_that_was_removed(self, kept: Kept, call: Call) -> None:
        gone = uuid4()
        kept.put(a_run(id="1", job_id=gone, job_type="tidy", status=RunStatus.SUCCESS))
        assert [run["id"] for run in call("runs", "--job", str(gone), "--json").json] == ["1"]
        for how in (["--failed"], ["--before", "1"]):
            assert call("runs", "--job", str(gone), *how) == (0, "no runs\n", "")

    def test_is_a_task_that_no_node_has_any_more(self, kept: Kept, call: Call) -> None:
        kept.put(a_run(job_type="tidy", status=RunStatus.SUCCESS))
        assert call("runs", "--task", "tidy", "--failed") == (0, "no runs\n", "")

    def test_is_not_a_job_that_has_not_run_yet(self, kept: Kept, call: Call) -> None:
        job = a_job("tidy")
        kept.put(job)
        assert call("runs", "--job", str(job.id)) == (0, "no runs\n", "")


class TestFollowing:
    def test_begins_with_what_is_shown_without_it(self, kept: Kept, call: Call, followed: list[str]) -> None:
        kept.put(a_run(id="bad", status=RunStatus.FAILED, created_at=NOON))
        kept.put(*(a_run(id=f"{n:03}", created_at=NOON + timedelta(seconds=n)) for n in range(1, 300)))
        assert call("runs", "--failed", "--follow").code == 0
        assert followed == ["bad"]
        followed.clear()
        assert call("runs", "--follow", "--limit", "2").code == 0
        assert followed == ["299", "298"]


class TestMoreThanIsShown:
    def test_is_said_below_the_table(self, kept: Kept, call: Call) -> None:
        kept.put(*(a_run(id=f"{n}", created_at=NOON + timedelta(seconds=n)) for n in range(3)))
        said = call("runs", "--limit", "2")
        assert said.out.endswith("\n\nolder ones: --before 1\n")
        assert said.err == ""

    def test_is_said_on_stderr_beside_json(self, kept: Kept, call: Call) -> None:
        kept.put(*(a_run(id=f"{n}", created_at=NOON + timedelta(seconds=n)) for n in range(3)))
        said = call("runs", "--limit", "2", "--json")
        assert [run["id"] for run in said.json] == ["2", "1"]
        assert said.err == "older ones: --before 1\n"
        assert call("runs", "--limit", "3", "--json").err == ""
