"""Nodes that stand still for longer than their session lives: what they had is others', and stays theirs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.acceptance.test_cluster import (
    NODES,
    SCALE,
    SHORTENED,
    TTL,
    Processes,
    hold,
    postgresql_url,
    processes,
    redis8_url,
    store_url,
)
from tests.support.waiting import wait_until

from bgtasks.records import RunStatus

__all__ = ["postgresql_url", "processes", "redis8_url", "store_url"]

pytestmark = [pytest.mark.real, pytest.mark.full, pytest.mark.timeout(600)]

STOPS = max(2, round(4 * SCALE))
TAKEN_OVER_S = TTL + 14.0


def test_one_that_was_stopped_does_at_most_the_step_in_progress_and_goes_on_anew(
    processes: Callable[..., Processes],
) -> None:
    crowd = processes(tasks=max(4, round(40 * SCALE)), every=2.0, takes=1.2, steps=12, short=SHORTENED)
    for _ in range(NODES):
        crowd.start()
    crowd.wait_until_all_work()
    interrupted = dict[str, str]()
    for _ in range(STOPS):
        wait_until("some are at work", lambda: any(crowd.in_progress(name) for name in crowd.names))
        stopped = max(crowd.names, key=lambda name: len(crowd.in_progress(name)))
        before = {session.id for session in crowd.sessions() if session.node_id == stopped}
        crowd.freeze_between_transactions(stopped)
        left = crowd.in_progress(stopped)
        interrupted |= dict.fromkeys((line.run for line in left), stopped)
        crowd.wait_until_taken_over(left, TAKEN_OVER_S)
        again = crowd.thaw(stopped)

        def goes_on(name: str = stopped, since: float = again) -> bool:
            return any(line.name == name for line in crowd.begun(since))

        wait_until(f"{stopped} goes on", goes_on)
        after = {session.id for session in crowd.sessions() if session.node_id == stopped}
        assert len(before) == len(after) == 1
        assert before != after

    record = crowd.calm()
    record.check()
    assert interrupted
    rows = {row.id: row for row in record.rows}
    for run, zombie in interrupted.items():
        assert (rows[run].status, rows[run].node_id) == (RunStatus.LOST, zombie)
        [taker] = [
            row
            for row in record.rows
            if (row.job_id, row.due, row.attempt) == (rows[run].job_id, rows[run].due, rows[run].attempt + 1)
        ]
        assert taker.node_id != zombie
        assert taker.status is RunStatus.SUCCESS or taker.id in interrupted


def test_one_that_trusts_its_session_no_more_before_the_store_has_given_it_up_gives_back_what_it_had(
    processes: Callable[..., Processes],
) -> None:
    crowd = processes(tasks=4, every=2.0, takes=1.2, steps=12, short=SHORTENED)
    for _ in range(2):
        crowd.start()
    crowd.wait_until_all_work()
    wait_until("some are at work", lambda: any(crowd.in_progress(name) for name in crowd.names))
    stopped = max(crowd.names, key=lambda name: len(crowd.in_progress(name)))
    crowd.freeze_between_transactions(stopped)
    left = crowd.in_progress(stopped)
    hold(0.8 * TTL)
    crowd.thaw(stopped)
    crowd.wait_until_taken_over(left, TAKEN_OVER_S)
    crowd.calm().check()
