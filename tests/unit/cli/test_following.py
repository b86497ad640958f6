"""What is followed is told once for each step, however much there was and whenever it began."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.support.task_stores import a_run
from tests.unit.cli.conftest import Kept

from bgtasks.cli import following
from bgtasks.cli.display import console
from bgtasks.cli.following import PAGE, Feed, Lines
from bgtasks.records import RunQuery, RunRow, RunStatus

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
FAILED = RunStatus.FAILED


def run(number: int, status: RunStatus = RunStatus.SUCCESS, **but: Any) -> RunRow:
    standard = {"id": f"{number:05}", "status": status, "created_at": NOON + timedelta(seconds=number)}
    return a_run(**{**standard, **but})


def ids(runs: list[RunRow]) -> list[str]:
    return [each.id for each in runs]


@pytest.fixture
def store() -> Asked:
    return Asked()


class Asked(Kept):
    """A store that remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[RunQuery] = []

    async def runs(self, query: RunQuery) -> list[RunRow]:
        self.asked.append(query)
        return list(await super().runs(query))


class TestNews:
    async def test_is_what_begins_and_ends_once_each(self, store: Asked) -> None:
        feed = Feed(store, RunQuery())
        store.put(run(1), run(2, RunStatus.RUNNING))
        await feed.begin()
        assert await feed.news() == []

        store.put(run(2), run(3, RunStatus.PENDING))
        assert [(each.id, each.status) for each in await feed.news()] == [
            ("00002", RunStatus.SUCCESS),
            ("00003", RunStatus.PENDING),
        ]
        assert await feed.news() == []

    async def test_is_not_what_was_shown_before(self, store: Asked) -> None:
        feed = Feed(store, RunQuery())
        await feed.begin()
        store.put(run(1), run(2, RunStatus.RUNNING))
        feed.know([run(2, RunStatus.RUNNING)])
        assert ids(await feed.news()) == ["00001"]
        store.put(run(2))
        assert ids(await feed.news()) == ["00002"]

    async def test_is_that_a_run_ends_which_began_long_ago(self, store: Asked) -> None:
        feed = Feed(store, RunQuery())
        store.put(run(0, RunStatus.RUNNING), *(run(number) for number in range(1, 3 * PAGE)))
        await feed.begin()
        store.put(run(0, finished_at=NOON + timedelta(days=1)))
        assert ids(await feed.news()) == ["00000"]

    async def test_is_that_any_of_very_many_ends(self, store: Asked) -> None:
        feed = Feed(store, RunQuery())
        store.put(*(run(number, RunStatus.PENDING) for number in range(3 * PAGE + 1)))
        await feed.begin()
        store.put(*(run(number, RunStatus.SKIPPED) for number in range(3 * PAGE + 1)))
        assert len(await feed.news()) == 3 * PAGE + 1

    async def test_of_more_than_a_page_is_told_whole_and_nothing_old(self, store: Asked) -> None:
        feed = Feed(store, RunQuery())
        store.put(*(run(number) for number in range(3 * PAGE)))
        await feed.begin()
        store.put(*(run(number) for number in range(3 * PAGE, 6 * PAGE + 7)))
        assert ids(await feed.news()) == [f"{number:05}" for number in range(3 * PAGE, 6 * PAGE + 7)]
        assert not feed.left_out
        assert await feed.news() == []

    async def test_is_no_old_run_that_was_made_at_one_instant_with_others(self, store: Asked) -> None:
        feed = Feed(store, RunQuery())
        store.put(*(run(number, created_at=NOON) for number in range(2 * PAGE)))
        await feed.begin()
        store.put(*(run(number) for number in range(2 * PAGE, 3 * PAGE + 1)))
        assert ids(await feed.news()) == [f"{number:05}" for number in range(2 * PAGE, 3 * PAGE + 1)]

    async def test_that_is_too_much_is_said_to_be(
        self, store: Asked, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(following, "PAGES", 2)
        feed = Feed(store, RunQuery())
        await feed.begin()
        store.put(*(run(number) for number in range(3 * PAGE)))
        assert len(await feed.news()) == 2 * PAGE
        assert feed.left_out
        assert await feed.news() == []
        assert not feed.left_out

    async def test_of_a_run_that_is_forgotten_is_waited_for_no_more(self, store: Asked) -> None:
        feed = Feed(store, RunQuery())
        going = run(1, RunStatus.RUNNING)
        store.put(going)
        await feed.begin()
        store.put(replace(going, status=RunStatus.SUCCESS, finished_at=NOON))
        await store.prune(NOON + timedelta(days=1), 1)
        assert await feed.news() == []


class TestNewsThatIsAskedFor:
    async def test_is_of_a_type_for_which_not_all_runs_are_read(self, store: Asked) -> None:
        feed = Feed(store, RunQuery(job_type="rare"))
        store.put(run(0, RunStatus.RUNNING, job_type="rare"), *(run(number) for number in range(1, 3 * PAGE)))
        await feed.begin()
        store.asked.clear()
        assert await feed.news() == []
        assert [(query.job_type, query.statuses, query.before) for query in store.asked] == [(None, (), None)]

        store.put(run(0, job_type="rare"), run(1000), run(1001, job_type="rare"))
        assert ids(await feed.news()) == ["00000", "01001"]

    async def test_is_of_a_status(self, store: Asked) -> None:
        feed = Feed(store, RunQuery(statuses=(FAILED,)))
        store.put(run(0, RunStatus.RUNNING), run(1, FAILED))
        await feed.begin()
        store.put(run(0, FAILED), run(2), run(3, FAILED))
        assert ids(await feed.news()) == ["00000", "00003"]


class TestALine:
    def test_says_the_day(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        monkeypatch.setenv("COLUMNS", "120")
        lines = Lines()
        lines.print(run(0, finished_at=NOON.replace(year=datetime.now(UTC).year)), "tidy")
        header, line = capsys.readouterr().out.splitlines()
        assert header.startswith("when (UTC) ")
        assert line.startswith("11-21 12:00:00  tidy ")

    def test_is_not_cut_where_no_terminal_shows_it(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.delenv("COLUMNS", raising=False)
        lines = Lines()
        lines.print(run(0, FAILED, error_message="long " * 100), "tidy")
        lines.print(run(1), "tidy")
        _, first, second = capsys.readouterr().out.splitlines()
        assert first.count("long") == 100
        assert len(second) < 120

    def test_that_nobody_reads_any_more_ends_the_command(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Gone(io.StringIO):
            def write(self, _: str) -> int:
                raise BrokenPipeError

        shown = console()
        shown.file = Gone()
        with pytest.raises(BrokenPipeError):
            shown.print("a line")
