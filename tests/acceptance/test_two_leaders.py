"""Real processes around one lease in a real Redis: one of them leads, whoever is killed or stopped.

Run as a program, with a URL, a name and a file, it is one of those processes.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest
from tests.support.redis_process import RedisProcess
from tests.support.servers import debian_redis, oldest_redis, redis_server
from tests.support.waiting import PATIENCE_S, wait_until

import bgtasks
from bgtasks.connect import open_redis
from bgtasks.events import Event, TermGained, TermLost, TermQuarantined
from bgtasks.lease import LeaseTimes
from bgtasks.supervisor import TaskSupervisor, WorkerContext

pytestmark = pytest.mark.real

SOURCE = Path(bgtasks.__file__).parent.parent
ROOT = Path(__file__).parents[2]
KEY = "sg:leader:supervisor"
TIMES = LeaseTimes()
HERD_S = 0.15
"""How long after the end of a lease the next one works, on a machine with nothing else to do."""
SLACK_S = 2.0
"""What the machine may take for itself."""
HANDOVER_S = 1.0
WORK_S = 0.02


# -- one process ---------------------------------------------------------------------------------


async def stand(url: str, name: str, book: IO[str]) -> None:
    """Work as the leader, and write down each step of it, until told to end."""

    def note(what: str, **fields: Any) -> None:
        row = {"at": time.monotonic(), "node": name, "what": what, **fields}
        book.write(json.dumps(row) + "\n")
        book.flush()

    async def work(ctx: WorkerContext) -> None:
        while not ctx.stopping.is_set():
            note("works", at=time.monotonic(), token=ctx.check())  # it says no after a suspend
            await asyncio.sleep(WORK_S)

    def said(event: Event) -> None:
        if isinstance(event, TermGained | TermLost | TermQuarantined):
            note(type(event).__name__, token=event.token)

    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    async with open_redis(url) as client:
        supervisor = TaskSupervisor(client, name, fresh="--fresh" in sys.argv)
        supervisor.bus.subscribe(said)
        supervisor.register_task("work", work)
        await supervisor.start()
        note("stands")
        await told.wait()
        note("told")
        note("ended", unfinished=await supervisor.shutdown())


# -- the others, from outside --------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """One line of the book: what a node did, and when by the clock that all processes share."""

    at: float
    node: str
    what: str
    token: int = 0
    unfinished: tuple[str, ...] = ()


class Nodes:
    """Processes around one lease, and the books that they keep."""

    def __init__(self, url: str, home: Path) -> None:
        self._url = url
        self._home = home
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *, fresh: bool = False) -> None:
        """Start one, and return when it stands."""
        self._processes[name] = subprocess.Popen(
            [
                *(sys.executable, str(Path(__file__)), self._url, name, str(self._home / name)),
                *(("--fresh",) if fresh else ()),
            ],
            env={**os.environ, "PYTHONPATH": os.pathsep.join((str(SOURCE), str(ROOT)))},
            stderr=subprocess.DEVNULL,
        )
        wait_until(f"{name} stands", lambda: self.lines(name, "stands"))

    def tell(self, name: str, how: signal.Signals) -> float:
        """Send a signal; the moment just before."""
        at = time.monotonic()
        self._processes[name].send_signal(how)
        return at

    def gone(self, name: str) -> None:
        """Return when it has ended."""
        self._processes[name].wait(PATIENCE_S)

    def lines(self, name: str, what: str) -> list[Line]:
        """What one did, in order."""
        book = self._home / name
        if not book.exists():
            return []
        whole = [line for line in book.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return [line for line in (Line(**json.loads(each)) for each in whole) if line.what == what]

    @property
    def work(self) -> list[Line]:
        """All that was done as a leader, in order of time."""
        done = [line for name in self._processes for line in self.lines(name, "works")]
        return sorted(done, key=lambda line: line.at)

    def works(self, *names: str, since: float = 0.0) -> Line:
        """Wait until one of these works; its first step since then."""

        def steps() -> list[Line]:
            return [line for line in self.work if line.node in names and line.at > since]

        wait_until(f"{' or '.join(names)} works", steps)
        return steps()[0]

    def check(self) -> None:
        """Nobody worked between two steps of another, and tokens only grew."""
        turns: list[tuple[str, int]] = []
        for line in self.work:
            if not turns or turns[-1] != (line.node, line.token):
                turns.append((line.node, line.token))
        tokens = [token for _, token in turns]
        assert tokens == sorted(set(tokens)), turns

    def close(self) -> None:
        """End those that still run."""
        for process in self._processes.values():
            if process.poll() is None:
                process.kill()
            process.wait(PATIENCE_S)


@contextmanager
def nodes(url: str, home: Path) -> Iterator[Nodes]:
    made = Nodes(url, home)
    try:
        yield made
        made.check()
    finally:
        made.close()


@pytest.fixture(
    params=["redis 8", *(pytest.param(each, marks=pytest.mark.full) for each in ("redis 7", "redis 6"))]
)
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server of this test's own."""
    if request.param == "redis 8":
        with RedisProcess() as server:
            yield server.url
    else:
        with redis_server(debian_redis() if request.param == "redis 7" else oldest_redis()) as found:
            yield found


def test_a_leader_that_is_told_to_end_hands_over_in_less_than_a_second(url: str, home: Path) -> None:
    with nodes(url, home) as around:
        around.start("a", fresh=True)
        around.works("a")
        around.start("b")
        told = around.tell("a", signal.SIGTERM)
        first = around.works("b", since=told)
        around.gone("a")
        last = around.lines("a", "works")[-1]
        assert last.at < first.at
        assert first.at - told < HANDOVER_S
        assert not around.lines("b", "TermQuarantined")
        (ended,) = around.lines("a", "ended")
        assert not ended.unfinished


@pytest.mark.full
def test_on_a_redis_that_never_saw_the_lease_the_first_one_works_within_six_seconds(home: Path) -> None:
    with RedisProcess() as server, nodes(server.url, home) as around:
        around.start("a")
        (stood,) = around.lines("a", "stands")
        first = around.works("a")
        assert TIMES.quarantine <= first.at - stood.at + 0.05
        assert first.at - stood.at < 6 + SLACK_S
        assert len(around.lines("a", "TermQuarantined")) == 1


@pytest.mark.full
@pytest.mark.timeout(120)
@pytest.mark.parametrize("others", [("b",), ("b", "c")], ids=["two", "three"])
def test_when_a_leader_is_killed_the_next_one_works_as_soon_as_the_lease_is_over(
    url: str, home: Path, others: tuple[str, ...]
) -> None:
    with nodes(url, home) as around:
        around.start("a", fresh=True)
        for name in others:
            around.start(name)
        stood = around.lines(others[-1], "stands")[0].at
        wait_until(
            "the others have watched for long enough",
            lambda: time.monotonic() > stood + TIMES.quarantine + TIMES.lease,
        )
        assert {line.node for line in around.work} == {"a"}
        killed = around.tell("a", signal.SIGKILL)
        first = around.works(*others, since=killed)
        around.gone("a")
        assert first.at - killed <= TIMES.lease + HERD_S + SLACK_S
        assert first.at - killed >= TIMES.lease - TIMES.renew - TIMES.attempt
        assert not around.lines(first.node, "TermQuarantined")


@pytest.mark.full
@pytest.mark.timeout(120)
def test_three_take_turns_as_they_are_killed_and_stopped(url: str, home: Path) -> None:
    with nodes(url, home) as around:
        around.start("a", fresh=True)
        around.works("a")
        around.start("b")
        around.start("c")
        told = around.tell("a", signal.SIGTERM)
        second = around.works("b", "c", since=told)
        around.gone("a")
        killed = around.tell(second.node, signal.SIGKILL)
        third = around.works(*({"b", "c"} - {second.node}), since=killed)
        around.gone(second.node)
        # It came a moment ago, perhaps: then it waits until it has watched for long enough.
        assert third.at - killed <= TIMES.lease + TIMES.quarantine + HERD_S + SLACK_S
        around.start("d")
        told = around.tell(third.node, signal.SIGTERM)
        fourth = around.works("d", since=told)
        assert fourth.at - told < HANDOVER_S + SLACK_S
        around.gone(third.node)


@pytest.mark.full
@pytest.mark.timeout(120)
def test_a_leader_that_was_suspended_does_no_step_under_a_lease_that_is_over(url: str, home: Path) -> None:
    with nodes(url, home) as around:
        around.start("a", fresh=True)
        around.works("a")
        around.start("b")
        stopped = around.tell("a", signal.SIGSTOP)
        first = around.works("b", since=stopped)
        woken = around.tell("a", signal.SIGCONT)
        wait_until("a knows that its term is over", lambda: around.lines("a", "TermLost"))
        last = around.lines("a", "works")[-1]
        assert last.at < first.at
        assert last.at < woken
        again = around.works("b", since=woken)
        assert again.token == first.token


if __name__ == "__main__":
    with Path(sys.argv[3]).open("a", encoding="utf-8") as own_book:
        asyncio.run(stand(sys.argv[1], sys.argv[2], own_book))
