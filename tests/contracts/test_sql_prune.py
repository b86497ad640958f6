"""How `SqlTaskStore` forgets: what the reference forgets, in small steps, between which others get on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import event
from tests.support.sql_databases import Database
from tests.support.task_stores import DUE, HOUR, a_run

from bgtasks.contracts import TaskStore
from bgtasks.records import RunQuery
from bgtasks.stores.tasks import sql_prune
from bgtasks.stores.tasks.sql import SqlTaskStore


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rows are many."""
    monkeypatch.setattr(sql_prune, "AT_ONCE", 2)
    monkeypatch.setattr(sql_prune, "COUNTED_AT_ONCE", 2)


@contextmanager
def heard(store: TaskStore) -> Iterator[list[str]]:
    """The first words of what a store says."""
    assert isinstance(store, SqlTaskStore)
    engine, said = store._database._engine.sync_engine, list[str]()

    def hear(_: Any, __: Any, statement: str, *___: Any) -> None:
        said.append(" ".join(statement.split()[:3]))

    event.listen(engine, "before_cursor_execute", hear)
    try:
        yield said
    finally:
        event.remove(engine, "before_cursor_execute", hear)


async def ids_of(store: TaskStore, job: UUID | None = None) -> list[str]:
    """The runs that are left."""
    return [run.id for run in await store.runs(RunQuery(job_id=job, limit=100))]


class TestRuns:
    async def test_are_forgotten_beyond_the_last_of_each_of_many_jobs(self, database: Database) -> None:
        store = await database.store()
        jobs = [uuid4() for _ in range(5)]
        for n, job in enumerate(jobs):
            for m in range(2 * n + 1):
                await store.skip(a_run(id=f"{n}-{m}", job_id=job, created_at=DUE + m * HOUR))

        assert await store.prune(DUE - HOUR, 3) == 0 + 0 + 2 + 4 + 6

        for n, job in enumerate(jobs):
            assert await ids_of(store, job) == [f"{n}-{m}" for m in range(2 * n + 1)][-3:][::-1]

    async def test_are_forgotten_by_their_age_however_many_have_the_same(self, database: Database) -> None:
        store = await database.store()
        for n in range(9):
            await store.skip(a_run(id=f"old {n}", created_at=DUE - HOUR))
        await store.skip(a_run(id="long", created_at=DUE - 2 * HOUR, finished_at=DUE + HOUR))
        await store.skip(a_run(id="new"))

        assert await store.prune(DUE, 100) == 9

        assert await ids_of(store) == ["new", "long"]

    async def test_that_are_too_old_count_among_the_last_of_their_job(self, database: Database) -> None:
        store = await database.store()
        await store.skip(a_run(id="long", created_at=DUE, finished_at=DUE + 9 * HOUR))
        await store.skip(a_run(id="old", created_at=DUE + HOUR, finished_at=DUE + 2 * HOUR))

        assert await store.prune(DUE + 5 * HOUR, 1) == 2

        assert await ids_of(store) == []

    async def test_are_looked_for_while_nothing_is_locked(self, database: Database) -> None:
        store = await database.store()
        for n in range(5):
            await store.skip(a_run(created_at=DUE + timedelta(seconds=n)))

        with heard(store) as said:
            assert await store.prune(DUE + HOUR, 3) == 5

        deleted = [place for place, each in enumerate(said) if each == "DELETE FROM job_runs"]
        assert len(deleted) == 3
        for place in deleted:
            assert said[place - 1].startswith("BEGIN")
            assert said[place + 1] == "COMMIT"


async def test_after_each_step_others_have_their_turn(
    sqlite: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    rests = list[float]()

    async def rest(seconds: float) -> None:
        rests.append(seconds)

    store = await sqlite.store()
    for _ in range(6):
        await store.skip(a_run(created_at=DUE - HOUR))
    monkeypatch.setattr(sql_prune, "asyncio", SimpleNamespace(sleep=rest))

    with heard(store) as said:
        await store.prune(DUE, 100)

    assert len(rests) == len([each for each in said if each == "COMMIT"]) >= 3
    assert min(rests) > 0
