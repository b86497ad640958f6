"""The groups and their cases: what is measured, of whom, and which figures come of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.claims.peers import SYSTEMS

__all__ = ["CLAIMS", "GROUPS", "JOBS", "SIZES", "Case", "Figure", "Group"]

BACKENDS = ("memory", "SQLite", "PostgreSQL", "Redis")
SIZES = (1_000, 10_000, 100_000)


@dataclass(frozen=True, slots=True)
class Figure:
    """One column."""

    key: str
    heading: str


@dataclass(frozen=True, slots=True)
class Case:
    """Some lines of a table, one for each of whom it is measured.

    Attributes:
        key: Its name among the results.
        label: What tells it from the others of its group.
        settings: The arguments of what measures it.
    """

    key: str
    label: str
    settings: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Group:
    """One table.

    Attributes:
        key: What it is called on the command line, and what measures it.
        title: What is measured, for people.
        varied: What the labels of its cases say.
        who: Of whom it is measured.
        rounds: At most so many.
        together: All are measured at once: nothing in it is a matter of speed.
    """

    key: str
    title: str
    varied: str
    who: tuple[str, ...]
    cases: tuple[Case, ...]
    figures: tuple[Figure, ...]
    rounds: int = 3
    together: bool = False


DUE, SINGLY = 500, 25

CLAIMS = (
    Group(
        "contention",
        f"{DUE} jobs are due at once, and so many processes claim them; {SINGLY} of them one by one",
        "processes",
        BACKENDS,
        tuple(
            Case(
                f"contention-{contenders}",
                str(contenders),
                {"contenders": contenders, "jobs": DUE, "singly": SINGLY, "ticks": 3},
            )
            for contenders in (1, 4, 16)
        ),
        (
            Figure("claims_per_s", "claims/s, 500 a call"),
            Figure("p50_ms", "call p50 ms"),
            Figure("p99_ms", "p99 ms"),
            Figure("ends_per_s", "ends/s"),
            Figure("single_claims_per_s", "claims/s, one a call"),
            Figure("single_p50_ms", "call p50 ms"),
            Figure("single_p99_ms", "p99 ms"),
        ),
    ),
    Group(
        "stored",
        "CPU of a fire of a cluster task; 500 a second, evenly apart",
        "a second",
        ("no store", *BACKENDS),
        (Case("stored-500", "500", {"jobs": 500}),),
        (
            Figure("us_per_fire", "CPU µs a fire"),
            Figure("p50_ms", "late p50 ms"),
            Figure("p99_ms", "late p99 ms"),
            Figure("percent_fired", "fired %"),
        ),
    ),
    Group(
        "started",
        "500 jobs due at once, started by one process; how many a second, until the last has begun",
        "jobs",
        tuple(SYSTEMS),
        (Case("started-500", "500", {"jobs": 500, "every": 4, "ticks": 2}),),
        (
            Figure("started_per_s", "started/s"),
            Figure("p50_ms", "late p50 ms"),
            Figure("last_ms", "last ms"),
            Figure("percent", "in time %"),
            Figure("cpu_us", "CPU µs a start"),
        ),
        rounds=2,
    ),
    Group(
        "resting",
        "what a store is sent for each run, beats included: 200 tasks, due every 60 s, on 3 nodes",
        "due",
        BACKENDS[1:],
        (
            Case("resting-at-once", "at once", {"nodes": 3, "tasks": 200, "every": 60, "apart": False}),
            Case("resting-apart", "evenly apart", {"nodes": 3, "tasks": 200, "every": 60, "apart": True}),
        ),
        (Figure("sent", "scripts or transactions"), Figure("done", "commands or statements")),
        rounds=1,
        together=True,
    ),
)

JOBS = Group(
    "jobs",
    "what a call takes among so many jobs, of which 100 are due",
    "jobs",
    BACKENDS,
    tuple(Case(f"jobs-{size}", f"{size:,}", {"size": size}) for size in SIZES),
    (
        Figure("beat_ms", "beat, 100 due, ms"),
        Figure("claim_ms", "claim of 100, ms"),
        Figure("end_ms", "end of 100, ms"),
        Figure("page_ms", "page of 500, ms"),
        Figure("bot_ms", "a bot's 100, ms"),
        Figure("add_ms", "add one, ms"),
        Figure("page_add_ms", "add 500 at once, ms"),
    ),
    rounds=1,
)

GROUPS = tuple(group.key for group in CLAIMS)
