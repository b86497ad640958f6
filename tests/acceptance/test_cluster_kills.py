"""Processes killed in the middle of runs: each run is recorded as lost and taken over, up to a limit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.acceptance.test_cluster import (
    NODES,
    SCALE,
    SHORTENED,
    TTL,
    Processes,
    postgresql_url,
    processes,
    redis8_url,
    store_url,
)
from tests.support.waiting import wait_until

from bgtasks.records import RunStatus

__all__ = ["postgresql_url", "processes", "redis8_url", "store_url"]

pytestmark = [pytest.mark.real, pytest.mark.full, pytest.mark.timeout(600)]

KILLS = max(3, round(8 * SCALE))
ATTEMPTS = 3
TAKEN_OVER_S = TTL + 14.0
"""Seconds by which another has a run: the session's, the next beat, and a run of the task in between."""


def test_each_run_that_is_interrupted_is_lost_and_taken_over(processes: Callable[..., Processes]) -> None:
    crowd = processes(tasks=max(4, round(40 * SCALE)), every=2.0, takes=1.2, steps=12, short=SHORTENED)
    for _ in range(NODES):
        crowd.start()
    crowd.wait_until_all_work()
    interrupted = set[str]()
    for _ in range(KILLS):
        wait_until("some are at work", lambda: any(crowd.in_progress(name) for name in crowd.names))
        killed = max(crowd.names, key=lambda name: len(crowd.in_progress(name)))
        crowd.kill(killed)
        left = crowd.in_progress(killed)
        interrupted |= {line.run for line in left}
        crowd.start()
        crowd.wait_until_taken_over([line for line in left if line.attempt < ATTEMPTS], TAKEN_OVER_S)
    crowd.wait_until_all_work()

    record = crowd.calm()
    record.check()
    assert interrupted
    lost = {row.id: row for row in record.rows if row.status is RunStatus.LOST}
    assert interrupted <= set(lost)
    assert {row.node_id for row in lost.values()} <= set(crowd.killed)


def test_a_run_that_takes_each_of_its_nodes_along_is_given_up_and_that_is_said(
    processes: Callable[..., Processes],
) -> None:
    crowd = processes(tasks=1, every=600.0, takes=300.0, steps=3000, short=SHORTENED)
    for _ in range(ATTEMPTS + 1):
        crowd.start()
    for attempt in range(1, ATTEMPTS + 1):
        wait_until(f"attempt {attempt} is begun", lambda: len(crowd.begun()) == attempt)  # noqa: B023
        crowd.kill(crowd.begun()[-1].name)

    def has_lost_all() -> bool:
        return len(crowd.rows(RunStatus.LOST)) == ATTEMPTS

    wait_until("all that it may have is lost", has_lost_all)
    [left] = crowd.names
    said = "run lost with its node; given up"
    wait_until("it is said", lambda: said in crowd.said(left))

    record = crowd.calm()
    record.check()
    assert [line.attempt for line in record.begun] == [1, 2, 3]
    rows = sorted(record.rows, key=lambda row: row.attempt)
    assert [(row.status, row.attempt, row.node_id) for row in rows] == [
        (RunStatus.LOST, attempt, name) for attempt, name in enumerate(crowd.killed, 1)
    ]
