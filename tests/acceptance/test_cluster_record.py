"""What processes on one store wrote and what the store has, judged; and the judgement is judged as well."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from statistics import quantiles
from uuid import UUID

import pytest
from tests.acceptance.cluster_node import Line, Plan

from bgtasks.claims.ticks import EARLY
from bgtasks.records import RunRow, RunStatus

__all__ = ["Record"]

WRITES_S = 0.001
"""Seconds by which two readings of one clock, in different programs, may seem to go back."""

type Run = tuple[str, str, int]
"""A task, an instant that it was due at, and which attempt at that."""


@dataclass(frozen=True)
class Record:
    """What processes wrote and what the store has, when nothing goes on any more."""

    plan: Plan
    lines: Sequence[Line]
    rows: Sequence[RunRow]
    killed: Sequence[str] = ()
    stopped: Sequence[str] = ()

    def check(self) -> None:
        """All that holds whatever happened."""
        assert self.begun_twice() == []
        assert self.tokens_of_two() == []
        assert self.early() == []
        assert self.unjustly_ended() == []
        assert self.not_followed() == []
        assert self.not_over() == []
        assert [row for row in self.rows if row.status in (RunStatus.FAILED, RunStatus.TIMED_OUT)] == []
        assert self.amiss() == []
        late = Counter(line.run for line in self.late())
        assert {run: count for run, count in late.items() if count > 1} == {}
        assert {line.name for line in self.late()} <= set(self.stopped)

    @property
    def begun(self) -> list[Line]:
        """The first step of each run."""
        return [line for line in self.lines if line.what == "begin"]

    def begun_twice(self) -> list[Run]:
        """Attempts that were begun more than once."""
        begun = Counter((line.task, line.due, line.attempt) for line in self.begun)
        return [run for run, count in begun.items() if count > 1]

    def tokens_of_two(self) -> list[tuple[str, int]]:
        """Tokens of a task that are of more than one run."""
        runs = defaultdict[tuple[str, int], set[str]](set)
        for line in self.lines:
            if line.what != "node":
                runs[line.task, line.token].add(line.run)
        return [token for token, of in runs.items() if len(of) > 1]

    def late(self) -> list[Line]:
        """Steps under an older token of a task, after one under a newer."""
        newest, late = Counter[str](), list[Line]()
        for line in self.lines:
            if line.what != "node":
                newest[line.task] = max(newest[line.task], line.token)
                if line.token < newest[line.task]:
                    late.append(line)
        return late

    def early(self) -> list[tuple[Line, float]]:
        """Runs begun before they were due, with the seconds: all clocks here are this machine's."""
        lateness = ((line, line.at - datetime.fromisoformat(line.due).timestamp()) for line in self.begun)
        return [(line, seconds) for line, seconds in lateness if seconds < -EARLY.total_seconds() - WRITES_S]

    def unjustly_ended(self) -> list[RunRow]:
        """Runs that the store has as done, and whose process did not come to the end; and the other way
        round, unless the run was lost."""
        ended = {line.run for line in self.lines if line.what == "end"}
        began = {line.run for line in self.begun}
        wrong = [row for row in self.rows if row.status is RunStatus.SUCCESS and row.id not in ended]
        for row in self.rows:
            left = row.node_id in self.killed and row.id in began and row.id not in ended
            if left and row.status is not RunStatus.LOST:
                wrong.append(row)
            if row.id in ended and row.status not in (RunStatus.SUCCESS, RunStatus.LOST):
                wrong.append(row)
        return wrong

    def not_followed(self) -> list[RunRow]:
        """Runs that were lost, and not offered again though they might be, or though they might not."""
        known = {(row.job_id, row.due, row.attempt) for row in self.rows}
        return [
            row
            for row in self.rows
            if row.status is RunStatus.LOST
            and ((row.job_id, row.due, row.attempt + 1) in known) is not (row.attempt < row.attempts)
        ]

    def not_over(self) -> list[RunRow]:
        """Runs of which nobody knows how they ended."""
        return [row for row in self.rows if not row.status.is_over]

    def amiss(self) -> list[tuple[str, datetime, int]]:
        """Instants of the grid that the history does not account for exactly once, with how often it does.

        Each instant is that of one run, whatever attempts it had, or of a row that says why it had none.
        """
        every, wrong = timedelta(seconds=self.plan.every), list[tuple[str, datetime, int]]()
        for task in sorted({row.job_type for row in self.rows}):
            counted = Counter[datetime]()
            for row in self.rows:
                if row.job_type == task and row.attempt == 1:
                    counted.update(row.due + every * step for step in range(_ticks(row)))
            first, last = min(counted), max(counted)
            grid = {first + every * step for step in range(round((last - first) / every) + 1)}
            wrong += [(task, due, counted[due]) for due in sorted(grid | set(counted)) if counted[due] != 1]
            wrong += [(task, due, counted[due]) for due in sorted(set(counted) - grid)]
        return wrong

    def figures(self) -> str:
        """What it came to, for people."""
        lateness = [
            line.at - datetime.fromisoformat(line.due).timestamp() for line in self.begun if line.attempt == 1
        ]
        cuts = quantiles(lateness, n=100)
        ticks = Counter((line.task, line.due) for line in self.begun)
        statuses = Counter(row.status.value for row in self.rows)
        kind = self.plan.store.partition(":")[0].replace("unix", "redis")
        return (
            f"{kind}, every {self.plan.every:g} s: {len(ticks)} ticks begun, "
            f"{sum(count == 1 for count in ticks.values())} of them once, {len(self.amiss())} amiss; "
            f"lateness in ms: min {1000 * min(lateness):.0f}, p50 {1000 * cuts[49]:.0f}, "
            f"p99 {1000 * cuts[98]:.0f}, max {1000 * max(lateness):.0f}; "
            f"history {dict(sorted(statuses.items()))}"
        )


def _ticks(row: RunRow) -> int:
    """For how many instants a row stands, from the one that it names on."""
    if row.status is not RunStatus.SKIPPED or not row.error_message:
        return 1
    missed = re.match(r"(\d+) ticks missed", row.error_message)
    return int(missed[1]) if missed else 1


# -- the judgement judged ------------------------------------------------------------------------

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
EVERY = timedelta(seconds=2)


def a_row(run: str, tick: int, status: RunStatus = RunStatus.SUCCESS, **but: object) -> RunRow:
    """A run of the only task."""
    due = NOON + EVERY * tick
    row = RunRow(
        id=run,
        job_id=UUID(int=1),
        job_type="task",
        bot_id="*",
        status=status,
        due=due,
        node_id="a",
        created_at=due,
    )
    return replace(row, **but)  # type: ignore[arg-type]


def steps(run: str, tick: int, token: int, *whats: str, name: str = "a", attempt: int = 1) -> list[Line]:
    """What a process wrote of a run."""
    due = NOON + EVERY * tick
    at = due.timestamp() + 0.1
    return [
        Line(what, "task", due.isoformat(), attempt, token, run, name, at)
        for what in whats or ("begin", "end")
    ]


def a_record() -> Record:
    """Four ticks: one done, one lost with its node and taken over, one missed, one done."""
    lines = [
        *steps("r0", 0, 1),
        *steps("r1", 1, 2, "begin"),
        *steps("r1~2", 1, 3, name="b", attempt=2),
        *steps("r3", 3, 4),
    ]
    rows = [
        a_row("r0", 0),
        a_row("r1", 1, RunStatus.LOST),
        a_row("r1~2", 1, attempt=2, node_id="b"),
        a_row("r3:missed", 2, RunStatus.SKIPPED, error_message="a tick missed: noticed 3 s late"),
        a_row("r3", 3),
    ]
    return Record(Plan("", "", "", 1, 2.0, 0.0), lines, rows, killed=("a",))


def with_lines(record: Record, *more: Line) -> Record:
    """The record with further lines at its end."""
    return replace(record, lines=[*record.lines, *more])


def with_row(record: Record, run: str, **but: object) -> Record:
    """The record with a row of it changed."""
    return replace(record, rows=[replace(row, **but) if row.id == run else row for row in record.rows])  # type: ignore[arg-type]


def without(record: Record, run: str) -> Record:
    """The record without a row of it."""
    return replace(record, rows=[row for row in record.rows if row.id != run])


WRONG: dict[str, Callable[[Record], Record]] = {
    "a tick begun twice": lambda it: with_lines(it, *steps("r3", 3, 4, "begin")),
    "a tick begun as two runs": lambda it: with_lines(it, *steps("other", 3, 5)),
    "a token of two runs": lambda it: with_lines(it, *steps("r4", 4, 4)),
    "an older token of a node that never stood still": lambda it: with_lines(it, *steps("r1", 1, 2, "step")),
    "two steps too late": lambda it: replace(
        with_lines(it, *steps("r1", 1, 2, "step", "step")), stopped=("a",)
    ),
    "begun before it is due": lambda it: replace(
        it, lines=[line._replace(at=line.at - 0.2) for line in it.lines]
    ),
    "done without an end": lambda it: with_row(it, "r1", status=RunStatus.SUCCESS),
    "skipped with an end": lambda it: with_row(it, "r3", status=RunStatus.SKIPPED),
    "lost and not offered again": lambda it: without(it, "r1~2"),
    "offered once too often": lambda it: with_row(it, "r1", attempts=1),
    "in progress for ever": lambda it: with_row(it, "r1~2", status=RunStatus.RUNNING),
    "wanted for ever": lambda it: with_row(it, "r1~2", status=RunStatus.PENDING),
    "failed": lambda it: with_row(it, "r1~2", status=RunStatus.FAILED),
    "missing": lambda it: without(it, "r3:missed"),
    "accounted for twice": lambda it: with_row(it, "r3:missed", error_message="2 ticks missed: late"),
    "off the grid": lambda it: with_row(it, "r3", due=NOON + EVERY * 3.4),
}


def test_what_is_right_passes() -> None:
    a_record().check()


def test_one_step_too_late_of_a_node_that_stood_still_passes() -> None:
    replace(with_lines(a_record(), *steps("r1", 1, 2, "step")), stopped=("a",)).check()


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_found(what: str) -> None:
    with pytest.raises(AssertionError):
        WRONG[what](a_record()).check()
