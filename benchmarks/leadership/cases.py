"""The cases: what is measured, how often in each round, and which figures come of it."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.leadership.peers import LEASE
from benchmarks.scheduler.results import Results

__all__ = ["CASES", "GROUPS", "Case", "Figure"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One column: what is made of all that was measured under a key."""

    heading: str
    key: str
    of: Callable[[list[float]], float] = statistics.median

    def value(self, results: Results, case: str, peer: str) -> float | None:
        """For one peer; None if it was not measured."""
        values = [each[self.key] for each in results.taken.get(case, {}).get(peer, [])]
        return self.of(values) if values else None


@dataclass(frozen=True, slots=True)
class Case:
    """One block of the table.

    Attributes:
        key: Its name among the results, and on the command line.
        title: What is measured, for people.
        kind: The function of `measure` that does it.
        times: How often that is done in one round, or for how many lengths of a lease.
        rounds: At most so many rounds.
    """

    key: str
    title: str
    kind: str
    times: int
    figures: tuple[Figure, ...]
    rounds: int = 99


def _p99(values: list[float]) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * 0.99))]


CASES = (
    Case(
        "hand-over",
        "from the leader's stop to the first line of the next one's worker; two wait",
        "hand_over",
        40,
        (Figure("p50 ms", "ms"), Figure("p99 ms", "ms", _p99), Figure("most ms", "ms", max)),
    ),
    Case(
        "fail-over",
        f"from kill -9 of the leader to the first line of the next one's worker; a lease of {LEASE:g} s",
        "fail_over",
        4,
        (Figure("p50 ms", "ms"), Figure("most ms", "ms", max)),
    ),
    Case(
        "commands",
        f"what Redis is sent in the {LEASE:g} s of a lease while nothing happens, "
        "and does for that, calls of scripts included",
        "commands",
        4,
        (
            Figure("leader sends", "leader_requests"),
            Figure("done for it", "leader_commands"),
            Figure("a follower sends", "follower_requests"),
            Figure("done for that", "follower_commands"),
        ),
        rounds=3,
    ),
)

GROUPS = tuple(case.key for case in CASES)
