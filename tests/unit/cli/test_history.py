"""A run is called by what it is of, and says how it stands."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from tests.support.task_stores import a_job, a_run

from bgtasks.claims import job_types
from bgtasks.claims.declared import job_id
from bgtasks.claims.ending import EMPTY
from bgtasks.cli import history
from bgtasks.cli.history import NOTHING_WELL, Labels, as_run, job_name, outcome, result
from bgtasks.records import RunStatus
from bgtasks.stores.tasks.memory import MemoryTaskStore

LOST = {"status": RunStatus.LOST, "error_message": None}


@pytest.mark.parametrize(
    ("but", "said"),
    [
        ({"status": RunStatus.SUCCESS}, "success"),
        ({"status": RunStatus.SUCCESS, "error_message": EMPTY}, "success, empty"),
        ({"status": RunStatus.TIMED_OUT}, "timed out"),
        ({"status": RunStatus.PENDING}, "wanted"),
        ({**LOST, "attempt": 2, "attempts": 3}, "lost, offered again"),
        ({**LOST, "attempt": 3, "attempts": 3}, "lost, given up after 3 attempts"),
        ({**LOST, "attempt": 1, "attempts": 1}, "lost, given up after 1 attempt"),
        ({**LOST, "attempt": 1, "attempts": 3, "unwanted": True}, "lost, given up after 1 attempt"),
    ],
)
def test_how_a_run_stands(but: dict[str, Any], said: str) -> None:
    assert outcome(a_run(**but)) == said


def test_what_came_of_a_run_is_on_one_line() -> None:
    assert EMPTY.startswith(NOTHING_WELL)
    assert result(a_run(status=RunStatus.SUCCESS, error_message=EMPTY)) == EMPTY.removeprefix("empty: ")
    assert result(a_run(status=RunStatus.FAILED, error_message="no\nway")) == "no way"
    assert result(a_run(status=RunStatus.SUCCESS, result_json='{"n": 5}')) == '{"n": 5}'
    assert result(a_run(status=RunStatus.RUNNING)) == ""


async def test_a_run_is_called_as_its_job() -> None:
    store = MemoryTaskStore()
    job = await store.add(a_job("remind", bot_id="ada", key="tea"))
    labels = Labels(store)
    run = a_run(job_id=job.id, job_type="remind")

    assert await labels.of(run) == job_name(job) == "remind[ada/tea]"
    assert await labels.of(a_run(job_id=job_id("digest"), job_type="digest")) == "digest"
    gone = uuid4()
    assert await labels.of(a_run(job_id=gone, job_type="remind")) == f"remind[{str(gone)[:8]}]"


def test_a_job_without_a_key_is_called_by_its_id() -> None:
    job = a_job("remind")
    assert job_name(job) == f"remind[{str(job.id)[:8]}]"
    assert job_name(replace(job, bot_id="ada")) == f"remind[{str(job.id)[:8]}]"
    assert job_name(replace(job, declared=True)) == "remind"


@pytest.mark.parametrize(
    "but",
    [{}, {"key": "tea"}, {"bot_id": "ada", "key": "tea"}, {"key": "a/b"}, {"bot_id": "a/b", "key": "c"}],
)
def test_a_job_is_called_as_its_runs_are_on_a_node(but: dict[str, Any]) -> None:
    job = a_job("remind", **but)
    assert job_name(job) == job_types._name(job).replace(str(job.id), str(job.id)[:8])


async def test_not_more_names_are_remembered_than_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "REMEMBERED", 2)
    labels = Labels(MemoryTaskStore())
    for _ in range(5):
        await labels.of(a_run(job_id=uuid4()))
    assert len(labels._known) == 2


def test_a_run_is_given_to_programs_with_its_result_read() -> None:
    said = as_run(a_run(status=RunStatus.SUCCESS, result_json='{"n": 5}'), "tidy")
    assert (said["task"], said["outcome"], said["result"]) == ("tidy", "success", {"n": 5})
