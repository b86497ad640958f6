"""Real processes on one store: each tick is started once, and what a dead node left is taken over.

A tenth of what `make cluster` does, unless `CLUSTER_SCALE` says otherwise. What the other modules of this
name share is here: processes on a store, and what they wrote.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url
from tests.acceptance import cluster_node
from tests.acceptance.cluster_node import SHORT, Line, Plan
from tests.acceptance.test_cluster_record import Record
from tests.support.servers import redis8_url
from tests.support.task_stores import postgresql_url
from tests.support.waiting import PATIENCE_S, wait_until

import bgtasks
from bgtasks.claims.session import TIMES
from bgtasks.contracts import TaskStore
from bgtasks.records import RunQuery, RunRow, RunStatus, SessionRow
from bgtasks.stores import task_store

__all__ = [
    "NODES",
    "SCALE",
    "SHORTENED",
    "TTL",
    "Processes",
    "hold",
    "postgresql_url",
    "processes",
    "redis8_url",
    "store_url",
]

pytestmark = [pytest.mark.real, pytest.mark.full, pytest.mark.timeout(300)]

SCALE = float(os.environ.get("CLUSTER_SCALE", "0.1"))
NODES = 8 if SCALE >= 1 else 3
TASKS = round(200 * SCALE)
SECONDS = 60 * SCALE
SOURCE = Path(bgtasks.__file__).parent.parent
ROOT = Path(__file__).parents[2]

SHORTENED = SCALE < 1
TTL = SHORT.lease if SHORTENED else TIMES.lease
"""Seconds that a session lives without a beat, where that is waited for: at full scale as users have it."""

LOCKED_S = 1.0
"""A file that takes no write for so long is held by one that stands still: others need milliseconds."""


# -- processes -----------------------------------------------------------------------------------


class Processes:
    """Nodes on one store, and what they wrote.

    Args:
        plan: What each does; its name and its ledger are made here.
    """

    def __init__(self, home: Path, plan: Plan) -> None:
        self.plan = replace(plan, ledger=str(home / "ledger"))
        self.killed: list[str] = []
        self.stopped: list[str] = []
        self._home = home
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._count = 0
        self._lines: list[Line] = []
        self._read = 0

    def start(self) -> str:
        """Start one; its name."""
        name, self._count = f"node {self._count}", self._count + 1
        with (self._home / f"{name}.err").open("ab") as err:
            self._running[name] = subprocess.Popen(
                [sys.executable, cluster_node.__file__, json.dumps(asdict(replace(self.plan, name=name)))],
                env={**os.environ, "PYTHONPATH": os.pathsep.join((str(SOURCE), str(ROOT)))},
                stderr=err,
            )
        return name

    @property
    def names(self) -> list[str]:
        """Those that run, or are stopped, in the order of their beginning."""
        return list(self._running)

    def kill(self, name: str) -> None:
        """End one without a word."""
        process = self._running.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE_S)
        self.killed.append(name)

    def freeze(self, name: str) -> None:
        """Have one stand still, and return when it does."""
        process = self._running[name]
        process.send_signal(signal.SIGSTOP)
        self.stopped.append(name)

        def stands_still() -> bool:
            status = Path(f"/proc/{process.pid}/stat").read_text()
            return status.rpartition(")")[2].split()[0] == "T"

        wait_until(f"{name} stands still", stands_still)

    def freeze_between_transactions(self, name: str) -> None:
        """Have one stand still that does not hold an SQLite file for all others."""
        self.freeze(name)
        while not self._takes_writes():
            self.thaw(name)
            wait_until(f"{name} has let the file go", self._takes_writes)
            self.freeze(name)

    def _takes_writes(self) -> bool:
        """Whether an SQLite file can be written; a server frees itself of a client that stands still."""
        path = make_url(self.plan.store).database if self.plan.store.startswith("sqlite") else None
        if path is None:
            return True
        connection = sqlite3.connect(path, timeout=LOCKED_S, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        else:
            connection.execute("ROLLBACK")
            return True
        finally:
            connection.close()

    def thaw(self, name: str) -> float:
        """Have one go on that stood still; the moment just before."""
        at = time.time()
        self._running[name].send_signal(signal.SIGCONT)
        return at

    def end(self, name: str) -> None:
        """Ask one to end, and see that it does."""
        self._wait_until_it_stands(name)
        process = self._running[name]
        process.terminate()
        assert process.wait(PATIENCE_S) == 0, name
        del self._running[name]

    def end_all(self) -> None:
        """Ask all to end, and see that they do."""
        for name in self.names:
            self._wait_until_it_stands(name)
        for process in self._running.values():
            process.terminate()
        ended = {name: process.wait(PATIENCE_S) for name, process in self._running.items()}
        self._running.clear()
        assert set(ended.values()) <= {0}, ended

    def _wait_until_it_stands(self, name: str) -> None:
        wait_until(f"{name} stands", lambda: any(line.name == name for line in self.lines))

    def close(self) -> None:
        """End what is left."""
        for process in self._running.values():
            process.kill()
            process.wait(PATIENCE_S)

    def said(self, name: str) -> str:
        """What one had to say: its warnings and worse."""
        return (self._home / f"{name}.err").read_text()

    # -- what they wrote

    @property
    def lines(self) -> Sequence[Line]:
        """Each step, in the order in which they were written."""
        ledger = Path(self.plan.ledger)
        if ledger.exists():
            with ledger.open("rb") as file:
                file.seek(self._read)
                whole = file.read().rpartition(b"\n")[0]
            if whole:
                self._read += len(whole) + 1
                self._lines += (Line(*json.loads(line)) for line in whole.splitlines())
        return self._lines

    def begun(self, since: float = 0.0) -> list[Line]:
        """The first step of each run since then."""
        return [line for line in self.lines if line.what == "begin" and line.at > since]

    def in_progress(self, name: str) -> list[Line]:
        """The first step of each run of a process that has not come to its last."""
        lines = self.lines
        ended = {line.run for line in lines if line.what == "end"}
        return [line for line in self.begun() if line.name == name and line.run not in ended]

    def wait_until_all_work(self, within: float = PATIENCE_S) -> float:
        """Wait until each task was begun since now; the seconds that it took."""
        since = time.time()

        def work() -> bool:
            return len({line.task for line in self.begun(since)}) == self.plan.tasks

        wait_until("each task is begun", work, within)
        return time.time() - since

    def wait_until_taken_over(self, left: Sequence[Line], within: float = PATIENCE_S) -> None:
        """Wait until runs that a node left in the middle are begun once more."""
        wanted = {(line.task, line.due, line.attempt + 1) for line in left}

        def taken_over() -> bool:
            return wanted <= {(line.task, line.due, line.attempt) for line in self.begun()}

        wait_until(f"taken over: {sorted(wanted)}", taken_over, within)

    # -- what the store has

    def ask[T](self, what: Callable[[TaskStore], Awaitable[T]]) -> T:
        """What the store answers to somebody beside the nodes."""

        async def asked() -> T:
            store = task_store(self.plan.store)
            await store.open()
            try:
                return await what(store)
            finally:
                await store.aclose()

        return asyncio.run(asked())

    def rows(self, *statuses: RunStatus) -> list[RunRow]:
        """All that the store has of runs, or of those that stand so."""
        return list(self.ask(lambda store: store.runs(RunQuery(statuses=statuses, limit=100_000))))

    def sessions(self) -> Sequence[SessionRow]:
        """Who is alive."""
        return self.ask(lambda store: store.sessions())

    def calm(self) -> Record:
        """Have nothing more come due, wait until nothing is in progress, and end all; what there is then."""
        self.ask(_disable)

        def nothing_goes_on() -> bool:
            return not self.rows(RunStatus.RUNNING, RunStatus.PENDING)

        wait_until("nothing is wanted or in progress", nothing_goes_on)
        self.end_all()
        return Record(self.plan, self.lines, self.rows(), tuple(self.killed), tuple(self.stopped))


def hold(seconds: float) -> None:
    """Leave a fault as it is for so long."""
    over = time.monotonic() + seconds
    wait_until("the fault has lasted", lambda: time.monotonic() >= over, seconds + PATIENCE_S)


async def _disable(store: TaskStore) -> None:
    for job in await store.jobs(limit=1000):
        row = job
        while await store.change(replace(row, enabled=False)) is None:
            found = await store.job(job.id)  # a claim came first
            assert found is not None
            row = found


@pytest.fixture(params=["redis", "sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, home: Path) -> str:
    """A store without anything in it."""
    if request.param == "sqlite":
        return f"sqlite:///{home / 'tasks.db'}"
    fixture = {"redis": "redis8_url", "postgresql": "postgresql_url"}[request.param]
    url: str = request.getfixturevalue(fixture)
    _empty(url)
    return url


@pytest.fixture
def processes(home: Path, store_url: str) -> Iterator[Callable[..., Processes]]:
    """Makes nodes on a store without anything in it, of which none runs yet."""
    made = list[Processes]()

    def make(**plan: object) -> Processes:
        made.append(Processes(home, Plan(**{"store": store_url, "name": "", "ledger": "", **plan})))  # type: ignore[arg-type]
        return made[-1]

    try:
        yield make
    finally:
        for each in made:
            each.close()


def _empty(url: str) -> None:
    """Forget what another test left there."""

    async def empty() -> None:
        store = task_store(url)
        await store.open()
        try:
            while jobs := await store.jobs(limit=1000):
                for job in jobs:
                    await store.remove(job.id)
            await store.prune(datetime.fromisoformat("9999-01-01T00:00:00+00:00"), 0)
        finally:
            await store.aclose()

    asyncio.run(empty())


# -- what is promised ----------------------------------------------------------------------------


@pytest.mark.parametrize("every", [5.0, 1.0])
def test_each_tick_is_started_once_and_none_is_missing(
    processes: Callable[..., Processes], store_url: str, every: float, capsys: pytest.CaptureFixture[str]
) -> None:
    if every < 5 and store_url.startswith(("sqlite", "postgresql")) and SCALE >= 1:
        pytest.skip("every second is asked of Redis alone")
    crowd = processes(tasks=TASKS, every=every, takes=0.01)
    for _ in range(NODES):
        crowd.start()
    ticks = max(3, round(SECONDS / every))

    def all_had_theirs() -> bool:
        had = Counter(line.task for line in crowd.begun())
        several = len({line.name for line in crowd.begun()}) > 1
        return several and len(had) == TASKS and min(had.values()) >= ticks

    wait_until(f"each task had {ticks} ticks, of several nodes", all_had_theirs, 60 + 2 * ticks * every)
    record = crowd.calm()
    with capsys.disabled():
        sys.stdout.write(f"\n{record.figures()}\n")
    record.check()
    assert {line.attempt for line in record.begun} == {1}


def test_what_a_dead_node_left_is_taken_over(processes: Callable[..., Processes]) -> None:
    crowd = processes(tasks=3, every=60.0, takes=8.0)
    for _ in range(3):
        crowd.start()
    wait_until("each has begun", lambda: len({line.task for line in crowd.begun()}) == 3)
    killed = crowd.begun()[0].name
    crowd.kill(killed)
    at, left = time.monotonic(), crowd.in_progress(killed)
    crowd.wait_until_taken_over(left, 60)
    assert time.monotonic() - at < 30

    record = crowd.calm()
    record.check()
    lost = [row for row in record.rows if row.status is RunStatus.LOST]
    assert {row.job_type for row in lost} == {line.task for line in left}
    assert {row.node_id for row in lost} == {killed}
    assert {row.job_type for row in record.rows if row.status is RunStatus.SUCCESS} == {
        f"task {number}" for number in range(3)
    }
