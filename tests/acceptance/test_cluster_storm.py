"""Everything at once: nodes killed, stopped, frozen and started, and their store taken away, as a seed draws.

`CLUSTER_SEED` is the first seed.
"""

from __future__ import annotations

import logging
import os
import time
from contextlib import ExitStack
from pathlib import Path
from random import Random

import pytest
from tests.acceptance.cluster_node import Plan
from tests.acceptance.test_cluster import NODES, SCALE, SHORTENED, TTL, Processes, hold
from tests.acceptance.test_cluster_outages import Place, place

__all__ = ["place"]

pytestmark = [pytest.mark.real, pytest.mark.full, pytest.mark.timeout(600)]

log = logging.getLogger(__name__)

SECONDS = max(25.0, 120 * SCALE)
FIRST = int(os.environ.get("CLUSTER_SEED", "1"))
SEEDS = range(FIRST, FIRST + max(1, round(2 * SCALE)))
BACK_S = TTL + 20.0
"""Seconds by which each task is begun again: runs of who was killed last have to be found lost before."""


class Storm:
    """Faults that come and go, drawn from a seed."""

    def __init__(self, crowd: Processes, place: Place, seed: int) -> None:
        self._crowd = crowd
        self._place = place
        self._random = Random(seed)
        self._began = time.monotonic()
        self._frozen: dict[str, float] = {}
        self._away: tuple[float, ExitStack] | None = None

    def rage(self, seconds: float) -> None:
        """Bring faults for so long, and wait until each is over."""
        over = self._began + seconds
        while time.monotonic() < over or self._frozen or self._away:
            if time.monotonic() < over:
                self._random.choice([self._kill, self._end, self._freeze, self._freeze, self._take_away])()
            hold(self._random.uniform(0.1, 0.4) * TTL)
            self._heal(time.monotonic())

    def _heal(self, now: float) -> None:
        for name in [name for name, until in self._frozen.items() if until <= now]:
            del self._frozen[name]
            self._say("goes on", name)
            self._crowd.thaw(name)
        if self._away is not None and self._away[0] <= now:
            self._say("is back", "the store")
            self._away[1].close()
            self._away = None

    def _kill(self) -> None:
        name = self._random.choice(self._crowd.names)
        self._say("is killed", name)
        self._frozen.pop(name, None)
        self._crowd.kill(name)
        self._crowd.start()

    def _end(self) -> None:
        if awake := [name for name in self._crowd.names if name not in self._frozen]:
            name = self._random.choice(awake)
            self._say("is told to end", name)
            self._crowd.end(name)
            self._say("has ended", name)
            self._crowd.start()

    def _freeze(self) -> None:
        awake = [name for name in self._crowd.names if name not in self._frozen]
        if len(awake) > 1:
            name = self._random.choice(awake)
            self._say("stands still", name)
            self._frozen[name] = time.monotonic() + self._random.uniform(0.2, 2.0) * TTL
            self._crowd.freeze(name)

    def _take_away(self) -> None:
        if self._away is None:
            how = self._random.choice(list(self._place.ways))
            self._say(f"is away ({how})", "the store")
            stack = ExitStack()
            stack.enter_context(self._place.away(how))
            self._away = time.monotonic() + self._random.uniform(0.1, 1.5) * TTL, stack

    def _say(self, what: str, who: str) -> None:
        log.warning("%6.1f s: %s %s", time.monotonic() - self._began, who, what)


@pytest.mark.parametrize("seed", SEEDS)
def test_each_tick_is_accounted_for_through_all_of_it(home: Path, place: Place, seed: int) -> None:
    plan = Plan(
        place.url, "", "", tasks=max(4, round(40 * SCALE)), every=2.0, takes=1.2, steps=12, short=SHORTENED
    )
    crowd = Processes(home, plan)
    try:
        for _ in range(NODES):
            crowd.start()
        crowd.wait_until_all_work()
        Storm(crowd, place, seed).rage(SECONDS)
        crowd.wait_until_all_work(BACK_S)
        crowd.calm().check()
    finally:
        crowd.close()
