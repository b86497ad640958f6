"""A process that is suspended for twenty seconds catches up as each job's policy says, and is well again."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any

import pytest
from tests.acceptance.suspended_process import CATCH_UP, MINUTE, ONCE, RARE
from tests.support.waiting import PATIENCE_S, wait_until

import bgtasks

SCRIPT = Path(__file__).with_name("suspended_process.py")
SOURCE = Path(bgtasks.__file__).parent.parent
SUSPENDED_S = 20.0
EACH_SECOND = [f"{kind}-{catch_up}" for kind in ("grid", "calendar") for catch_up in CATCH_UP] + ["from-end"]
AT_ONCE_S = 3.0
"""A few jobs that are overdue start 0.1 s apart; the rest is the machine's."""


class Suspended:
    """The process beside this file, and what it wrote down.

    Attributes:
        asleep: Seconds since its beginning at which it said something last before it was suspended.
        awake: The same of the first thing afterwards.
    """

    def __init__(self, home: Path, stderr: IO[bytes]) -> None:
        self._file = home / "said"
        self._file.touch()
        self._process = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(self._file)],
            stdin=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
        )
        self.asleep = self.awake = 0.0

    def said(self, what: str, task: str | None = None) -> list[dict[str, Any]]:
        whole = [line for line in self._file.read_text().splitlines(keepends=True) if line.endswith("\n")]
        rows = [json.loads(line) for line in whole]
        return [row for row in rows if row["what"] == what and task in (None, row.get("task"))]

    def starts(self, task: str) -> list[dict[str, Any]]:
        return self.said("RunStarted", task)

    def before(self, task: str) -> list[dict[str, Any]]:
        return [row for row in self.starts(task) if row["at"] <= self.asleep]

    def after(self, task: str) -> list[dict[str, Any]]:
        return [row for row in self.starts(task) if row["at"] >= self.awake]

    def missed(self, task: str) -> list[tuple[int, int]]:
        """The first missed tick, in whole seconds, and how many."""
        return [(round(row["due"]), row["ticks"]) for row in self.said("RunMissed", task)]

    def suspend(self, seconds: float) -> None:
        os.kill(self._process.pid, signal.SIGSTOP)
        until = time.monotonic() + seconds
        wait_until("it was suspended for long enough", lambda: time.monotonic() >= until)
        os.kill(self._process.pid, signal.SIGCONT)

    def find_gap(self) -> None:
        times = [row["at"] for row in self.said("RunStarted") + self.said("RunMissed")]
        pairs = itertools.pairwise(sorted(times))
        self.asleep, self.awake = max(pairs, key=lambda pair: pair[1] - pair[0])

    def health(self) -> dict[str, Any]:
        assert self._process.stdin is not None
        answered = len(self.said("Health"))
        self._process.stdin.write("how are you?\n")
        self._process.stdin.flush()
        wait_until("it answers", lambda: len(self.said("Health")) > answered)
        return self.said("Health")[-1]

    def finish(self) -> None:
        self._process.communicate(timeout=PATIENCE_S)
        assert self._process.returncode == 0

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture(scope="module")
def suspended(tmp_path_factory: pytest.TempPathFactory) -> tuple[Suspended, str]:
    """The process after its suspend and its end, and what it wrote to stderr."""
    home = tmp_path_factory.mktemp("suspended")
    with (home / "stderr").open("wb") as stderr:
        process = Suspended(home, stderr)
        try:
            wait_until("each runs", lambda: all(len(process.starts(task)) >= 2 for task in EACH_SECOND))
            process.suspend(SUSPENDED_S)
            long_after = 2.0 + SUSPENDED_S

            def have_caught_up() -> bool:
                return all(
                    len([row for row in process.starts(task) if row["due"] > long_after]) >= 3
                    for task in EACH_SECOND
                )

            wait_until("they have caught up", have_caught_up)
            wait_until("it says that it is well", lambda: process.health()["ok"])
            process.finish()
        finally:
            process.close()
    process.find_gap()
    return process, (home / "stderr").read_text()


pytestmark = [pytest.mark.full, pytest.mark.timeout(180)]


def test_it_was_suspended_before_the_rare_ticks_and_all_that_time(suspended: tuple[Suspended, str]) -> None:
    process, _ = suspended

    assert process.asleep < min(RARE, MINUTE, ONCE)
    assert process.awake - process.asleep >= SUSPENDED_S - 2


@pytest.mark.parametrize("kind", ["grid", "calendar"])
@pytest.mark.parametrize("catch_up", ["one", "none"])
def test_of_ticks_each_second_the_latest_runs_and_the_others_are_said_to_be_missed(
    suspended: tuple[Suspended, str], kind: str, catch_up: str
) -> None:
    process, _ = suspended
    task = f"{kind}-{catch_up}"
    last, first = process.before(task)[-1], process.after(task)[0]

    assert first["due"] > first["at"] - 1.5
    (missed,) = process.missed(task)
    assert missed == (round(last["due"]) + 1, round(first["due"] - last["due"]) - 1)
    following = [round(row["due"] - first["due"]) for row in process.after(task)]
    assert following == list(range(len(following)))


@pytest.mark.parametrize("kind", ["grid", "calendar"])
def test_with_all_each_tick_has_its_run_the_oldest_first_and_none_is_missed(
    suspended: tuple[Suspended, str], kind: str
) -> None:
    process, _ = suspended
    starts = process.starts(f"{kind}-all")

    dues = [round(row["due"] - starts[0]["due"]) for row in starts]
    assert dues == list(range(len(starts)))
    assert len(dues) > SUSPENDED_S
    assert process.missed(f"{kind}-all") == []


@pytest.mark.parametrize(("kind", "due"), [("rare", RARE), ("cron", MINUTE)])
@pytest.mark.parametrize("catch_up", ["one", "all"])
def test_a_single_tick_in_the_time_runs_once_when_it_is_over(
    suspended: tuple[Suspended, str], kind: str, due: float, catch_up: str
) -> None:
    process, _ = suspended
    (only,) = process.starts(f"{kind}-{catch_up}")

    assert only["due"] == pytest.approx(due, abs=0.5)
    assert process.awake <= only["at"] < process.awake + AT_ONCE_S
    assert process.missed(f"{kind}-{catch_up}") == []


@pytest.mark.parametrize(("kind", "due"), [("rare", RARE), ("cron", MINUTE)])
def test_with_none_a_single_tick_of_more_than_ten_seconds_ago_is_missed_and_not_run(
    suspended: tuple[Suspended, str], kind: str, due: float
) -> None:
    process, _ = suspended

    assert process.starts(f"{kind}-none") == []
    assert process.missed(f"{kind}-none") == [(round(due), 1)]


def test_a_plain_interval_runs_once_and_is_measured_from_its_end(suspended: tuple[Suspended, str]) -> None:
    process, _ = suspended
    times = [row["at"] for row in process.starts("from-end")]

    assert all(later - earlier > 0.99 for earlier, later in itertools.pairwise(times))
    assert process.missed("from-end") == []


def test_a_single_instant_that_passed_meanwhile_is_not_lost(suspended: tuple[Suspended, str]) -> None:
    process, _ = suspended
    (only,) = process.starts("once")

    assert only["due"] == pytest.approx(ONCE, abs=0.5)
    assert process.awake <= only["at"]


def test_what_is_overdue_starts_soon_but_not_all_in_one_instant(suspended: tuple[Suspended, str]) -> None:
    process, _ = suspended
    tasks = {row["task"] for row in process.said("RunStarted")}
    firsts = [process.after(task)[0]["at"] - process.awake for task in tasks if process.after(task)]

    assert max(firsts) < AT_ONCE_S
    assert max(firsts) > 0.5


def test_a_suspend_is_no_stall_of_the_loop_and_nothing_failed(suspended: tuple[Suspended, str]) -> None:
    process, stderr = suspended

    assert process.said("LoopStalled") == []
    assert "stood still" not in stderr
    assert "ERROR" not in stderr
    assert "Traceback" not in stderr


def test_it_is_well_again_and_says_so_to_a_thread_that_asks(suspended: tuple[Suspended, str]) -> None:
    process, _ = suspended
    last = process.said("Health")[-1]

    assert last["ok"]
    assert last["problems"] == []
    assert last["lag"] < 1
