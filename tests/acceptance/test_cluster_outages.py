"""The store stopped, killed and started again under processes at work: they wait, go on, and miss nothing.

A SQLite file cannot be stopped: somebody else keeps it locked.
"""

from __future__ import annotations

import signal
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from tests.acceptance.cluster_node import NODE_EVERY, Plan
from tests.acceptance.test_cluster import NODES, SCALE, SHORTENED, TTL, Processes, hold
from tests.support.postgres_process import PostgresProcess
from tests.support.redis_process import RedisProcess

__all__ = ["Place", "place"]

pytestmark = [pytest.mark.real, pytest.mark.full, pytest.mark.timeout(600)]

BACK_S = 10.0
"""Seconds by which each task is begun again: the longest backoff, which is one beat, a second until each is
due, and what a busy machine takes."""

STANDSTILL_S = 3.0
"""Seconds that pass at most between two runs of a node's own task."""

ENDED_S = 15.0
"""Seconds that a node takes at most to end: those of `stop_timeout`, and what a busy machine takes."""


@dataclass
class Place:
    """A store that can be taken away, in one way or another.

    Attributes:
        ways: How, by name.
    """

    url: str
    ways: Mapping[str, Callable[[], object]]
    start: Callable[[], object]

    @contextmanager
    def away(self, how: str) -> Iterator[None]:
        """Nobody reaches it meanwhile."""
        self.ways[how]()
        try:
            yield
        finally:
            self.start()


@pytest.fixture(params=["redis", "sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, home: Path) -> Iterator[Place]:
    """A store of this test's own, without anything in it, that keeps what it has said it keeps."""
    with ExitStack() as stack:
        if request.param == "redis":
            redis = stack.enter_context(RedisProcess(durable=True))
            yield Place(redis.url, {"SHUTDOWN": redis.shutdown, "kill -9": redis.kill}, redis.start)
        elif request.param == "postgresql":
            server = stack.enter_context(PostgresProcess(durable=True))
            ways = {
                "fast": partial(server.stop, signal.SIGINT),
                "immediate": partial(server.stop, signal.SIGQUIT),
            }
            yield Place(server.url, ways, server.start)
        else:
            path = home / "tasks.db"
            somebody = stack.enter_context(closing(sqlite3.connect(path, timeout=20, autocommit=True)))
            yield Place(
                f"sqlite:///{path}",
                {"locked": lambda: somebody.execute("BEGIN EXCLUSIVE")},
                lambda: somebody.execute("ROLLBACK"),
            )


def test_tasks_of_the_cluster_wait_for_their_store_and_go_on_while_those_of_a_node_never_stop(
    home: Path, place: Place
) -> None:
    crowd = Processes(
        home,
        Plan(place.url, "", "", tasks=max(4, round(40 * SCALE)), every=1.0, takes=0.3, short=SHORTENED),
    )
    away = list[tuple[float, float]]()
    try:
        for _ in range(NODES):
            crowd.start()
        crowd.wait_until_all_work()
        since = time.time()
        for how in place.ways:
            for seconds in (0.3 * TTL, 1.5 * TTL):  # sessions live on, or expire
                with place.away(how):
                    gone = time.time()
                    hold(seconds)
                    away.append((gone, time.time()))
                crowd.wait_until_all_work(BACK_S)
        until = time.time()
        record = crowd.calm()
    finally:
        crowd.close()

    record.check()
    ran = {
        name: [line.at for line in record.lines if (line.what, line.name) == ("node", name)]
        for name in {line.name for line in record.lines}
    }
    assert len(ran) == NODES
    for name, instants in ran.items():
        steps = [since, *(at for at in instants if since < at < until), until]
        assert max(later - at for at, later in pairwise(steps)) < NODE_EVERY + STANDSTILL_S, name
    for gone, back in away:  # what was claimed just before may begin just after
        assert [line for line in record.begun if gone + 1 < line.at < back] == []


def test_one_that_is_told_to_end_while_its_store_is_away_ends(home: Path, place: Place) -> None:
    crowd = Processes(home, Plan(place.url, "", "", tasks=4, every=1.0, takes=0.3, short=SHORTENED))
    try:
        for how in place.ways:
            for seconds in (0.1 * TTL, 0.13 * TTL, 0.5 * TTL):  # it waits for answers, or knows of none
                name = crowd.start()
                crowd.wait_until_all_work()
                with place.away(how):
                    hold(seconds)
                    began = time.monotonic()
                    crowd.end(name)
                    assert time.monotonic() - began < ENDED_S
    finally:
        crowd.close()
