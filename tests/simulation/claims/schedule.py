"""Which fault comes next."""

from __future__ import annotations

from random import Random

from tests.simulation.claims.cluster import Cluster
from tests.simulation.claims.faults import FAULTS, LIMITS

__all__ = ["Schedule"]


class Schedule:
    """Draws faults for one cluster: a mix of its own, of some kinds and not of others."""

    def __init__(self, cluster: Cluster) -> None:
        self._random = Random(f"{cluster.seed}:faults")
        kinds = list(FAULTS)
        self._kinds = self._random.sample(kinds, self._random.randint(len(kinds) // 4, len(kinds)))
        self._weights = [self._random.choice((0.5, 1.0, 1.0, 3.0)) for _ in self._kinds]

    def __call__(self, cluster: Cluster) -> str:
        """One fault; its name."""
        while True:
            if cluster.loses and self._random.random() < 0.1:
                name = self._random.choice(list(LIMITS))
                made = LIMITS[name]
            else:
                name = self._random.choices(self._kinds, self._weights)[0]
                made = FAULTS[name]
            cluster.note(f"FAULT {name}")
            if made(cluster, self._random) is not False:
                return name
