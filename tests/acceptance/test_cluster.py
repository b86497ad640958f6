"""Real processes on one store: each tick is started once, and what a dead node left is taken over.

A tenth of what `make cluster` does, unless `CLUSTER_SCALE` says otherwise.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from tests.support.servers import redis8_url
from tests.support.task_stores import postgresql_url
from tests.support.waiting import wait_until

import bgtasks
from bgtasks.records import RunQuery, RunRow, RunStatus
from bgtasks.stores import task_store

__all__ = ["postgresql_url", "redis8_url"]

pytestmark = [pytest.mark.real, pytest.mark.full, pytest.mark.timeout(300)]

SCALE = float(os.environ.get("CLUSTER_SCALE", "0.1"))
NODES = 8 if SCALE >= 1 else 3
TASKS = round(200 * SCALE)
SECONDS = 60 * SCALE
SOURCE = Path(bgtasks.__file__).parent.parent


class Processes:
    """Nodes on one store, and what they wrote."""

    def __init__(self, home: Path, store: str) -> None:
        self.store = store
        self._ledger = home / "ledger"
        self._home = home
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, tasks: int, every: float, takes: float) -> None:
        """Start one."""
        program = str(Path(__file__).with_name("cluster_node.py"))
        arguments = [self.store, name, str(tasks), str(every), str(takes), str(self._ledger)]
        with (self._home / f"{name}.err").open("ab") as err:
            self._running[name] = subprocess.Popen(
                [sys.executable, program, *arguments],
                env={**os.environ, "PYTHONPATH": str(SOURCE)},
                stderr=err,
            )

    def kill(self, pid: int) -> str:
        """End the one with this pid, without a word; its name."""
        name = next(name for name, process in self._running.items() if process.pid == pid)
        process = self._running.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait(60)
        return name

    def stop(self) -> None:
        """Ask all to end, and see that they do."""
        for process in self._running.values():
            process.terminate()
        ended = {name: process.wait(60) for name, process in self._running.items()}
        self._running.clear()
        assert set(ended.values()) == {0}, ended

    def close(self) -> None:
        """End what is left."""
        for process in self._running.values():
            process.kill()
            process.wait(60)

    @property
    def lines(self) -> list[tuple[str, datetime, int, int, str, int]]:
        """Each start, in order."""
        if not self._ledger.exists():
            return []
        whole = [line for line in self._ledger.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return [
            (task, datetime.fromisoformat(due), attempt, token, name, pid)
            for task, due, attempt, token, name, pid in map(json.loads, whole)
        ]

    def rows(self) -> list[RunRow]:
        """All that the store has of runs."""

        async def read() -> list[RunRow]:
            store = task_store(self.store)
            await store.open()
            try:
                return list(await store.runs(RunQuery(limit=100_000)))
            finally:
                await store.aclose()

        return asyncio.run(read())


@pytest.fixture(params=["redis", "sqlite", "postgresql"])
def processes(request: pytest.FixtureRequest, home: Path) -> Iterator[Processes]:
    """Nobody yet, on a store without anything in it."""
    store = f"sqlite:///{home / 'tasks.db'}"
    if request.param != "sqlite":
        store = request.getfixturevalue(
            {"redis": "redis8_url", "postgresql": "postgresql_url"}[request.param]
        )
        emptied(store)
    made = Processes(home, store)
    try:
        yield made
    finally:
        made.close()


def emptied(store: str) -> None:
    """Forget what another test left there."""

    async def empty() -> None:
        made = task_store(store)
        await made.open()
        try:
            while jobs := await made.jobs(limit=1000):
                for job in jobs:
                    await made.remove(job.id)
            await made.prune(datetime.fromisoformat("9999-01-01T00:00:00+00:00"), 0)
        finally:
            with suppress(NotImplementedError):
                await made.aclose()

    asyncio.run(empty())


@pytest.mark.parametrize("every", [5.0, 1.0])
def test_each_tick_is_started_once_and_none_is_missing(
    processes: Processes, every: float, request: pytest.FixtureRequest
) -> None:
    if every < 5 and processes.store.startswith(("sqlite", "postgresql")) and SCALE >= 1:
        pytest.skip("every second is asked of Redis alone")
    for number in range(NODES):
        processes.start(f"node {number}", TASKS, every, 0.01)
    ticks = max(3, round(SECONDS / every))

    def all_had_theirs() -> bool:
        had = Counter(task for task, *_ in processes.lines)
        return len(had) == TASKS and min(had.values()) >= ticks

    wait_until(f"each task had {ticks} ticks", all_had_theirs, 60 + 2 * ticks * every)
    processes.stop()

    lines = processes.lines
    again = [key for key, count in Counter(line[:3] for line in lines).items() if count > 1]
    assert again == []
    skipped = defaultdict(set)
    for row in processes.rows():
        if row.status is RunStatus.SKIPPED:
            skipped[row.job_type].add(row.due)
    had = defaultdict(set)
    for task, due, *_ in lines:
        had[task].add(due)
    for task, dues in had.items():
        first, last = min(dues), max(dues)
        grid = {
            first + timedelta(seconds=every) * step
            for step in range(round((last - first).total_seconds() / every))
        }
        assert grid - dues - skipped[task] == set(), task
    assert len({line[4] for line in lines}) > 1


def test_what_a_dead_node_left_is_taken_over(processes: Processes) -> None:
    for number in range(3):
        processes.start(f"node {number}", 3, 60.0, 8.0)
    wait_until("each has begun", lambda: len({line[0] for line in processes.lines}) == 3)
    killed = processes.kill(processes.lines[0][5])
    at = time.monotonic()
    left = {line[0] for line in processes.lines if line[4] == killed}

    def taken_over() -> bool:
        return {line[0] for line in processes.lines if line[2] == 2} >= left

    wait_until("another has what it left", taken_over, 60)
    assert time.monotonic() - at < 30

    def over(rows: Callable[[], list[RunRow]] = processes.rows) -> bool:
        done = {row.job_type for row in rows() if row.status is RunStatus.SUCCESS}
        return done >= {f"task {number}" for number in range(3)}

    wait_until("all is done", over, 60)
    processes.stop()

    lost = [row for row in processes.rows() if row.status is RunStatus.LOST]
    assert {row.job_type for row in lost} == left
    assert {row.node_id for row in lost} == {killed}
    tokens = defaultdict(list)
    for task, _, _, token, *_ in processes.lines:
        tokens[task].append(token)
    assert all(each == sorted(set(each)) for each in tokens.values())
