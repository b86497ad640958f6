"""Runs seeds, a quarter of a cluster-hour each, on all cores, and adds up what came of them."""

from __future__ import annotations

import gc
import json
import math
import multiprocessing
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.simulation.claims.cluster import Cluster
from tests.simulation.claims.schedule import Schedule
from tests.simulation.runner import fingerprint, prepare

__all__ = ["SPAN_H", "Outcome", "Total", "run", "run_seed"]

SPAN_H = 0.25
"""Virtual hours of one seed."""

PER_PROCESS = 25
"""Seeds that a process runs before another one takes its place."""


@dataclass(slots=True)
class Outcome:
    """What came of one seed."""

    seed: int
    hours: float
    store: str
    nodes: int
    claims: int
    refused: int
    runs: int
    steps: int
    lost: int
    zombies: int
    calls: int
    rows: int
    faults: dict[str, int]
    limits: dict[str, int]
    violations: list[str]
    digest: str
    seconds: float
    tail: str = ""

    @property
    def reproduce(self) -> str:
        """The command that shows it again."""
        return f"make simulate-claims SEED={self.seed} HOURS={self.hours:g}"


def run_seed(seed: int, hours: float = SPAN_H, store: str | None = None, *, loses: bool = False) -> Outcome:
    """One cluster, for so many hours of its life."""
    began = time.process_time()
    cluster = Cluster(seed, store, loses=loses)
    try:
        cluster.live(hours * 3600, Schedule(cluster))
        observer = cluster.observer
        return Outcome(
            seed=seed,
            hours=hours,
            store=cluster.kind,
            nodes=len(cluster.members),
            claims=observer.claims,
            refused=observer.refused,
            runs=len(observer.begun),
            steps=observer.steps,
            lost=len(observer.lost),
            zombies=observer.zombies,
            calls=cluster.server.calls,
            rows=len(cluster.history.over),
            faults=dict(sorted(cluster.faults.items())),
            limits=dict(sorted(observer.limits.items())),
            violations=[f"{each.invariant} at {each.at:.4f} s: {each.text}" for each in observer.violations],
            digest=f"{observer.digest:08x}",
            seconds=time.process_time() - began,
            tail=observer.last,
        )
    finally:
        cluster.close()


SUMS = ("hours", "claims", "refused", "runs", "steps", "lost", "zombies", "calls", "rows", "seconds")


@dataclass(slots=True)
class Total:
    """What came of many."""

    hours: float = 0.0
    claims: int = 0
    refused: int = 0
    runs: int = 0
    steps: int = 0
    lost: int = 0
    zombies: int = 0
    calls: int = 0
    rows: int = 0
    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    limits: Counter[str] = field(default_factory=Counter)
    stores: Counter[str] = field(default_factory=Counter)
    failed: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """One more seed."""
        for name in SUMS:
            setattr(self, name, getattr(self, name) + getattr(outcome, name))
        self.faults.update(outcome.faults)
        self.limits.update(outcome.limits)
        self.stores[outcome.store] += 1
        if outcome.violations:
            self.failed.append(outcome)

    def line(self) -> str:
        """In one line."""
        stores = " and ".join(f"{count} on {name}" for name, count in sorted(self.stores.items()))
        violations = sum(len(each.violations) for each in self.failed)
        return (
            f"{self.hours:g} cluster-hours ({stores}), {self.rows} ticks written down, {self.runs} runs, "
            f"{self.lost} lost, {self.zombies} completions refused, {self.calls} calls, "
            f"{self.faults.total()} faults of {len(self.faults)} kinds, "
            f"{violations} violations in {len(self.failed)} seeds"
        )

    def histogram(self) -> str:
        """How often each kind of fault, and each limit that is documented, was met."""
        rows = [f"  {count:>8}  {name}" for name, count in self.faults.most_common()]
        rows += [f"  {count:>8}  limit: {name}" for name, count in self.limits.most_common()]
        return "\n".join(rows)


type Work = tuple[int, float, str | None, bool]


def run(
    hours: float,
    seed: int,
    jobs: int,
    resume: Path | None = None,
    store: str | None = None,
    *,
    loses: bool = False,
    span: float = SPAN_H,
) -> Iterator[Outcome]:
    """Outcomes of as many seeds as the hours take, as they come; those in the file `resume` first."""
    spans = [min(span, hours - index * span) for index in range(math.ceil(hours / span - 1e-9))]
    wanted: dict[int, Work] = {
        seed + index: (seed + index, each, store, loses) for index, each in enumerate(spans)
    }
    code = f"{fingerprint()} {store} {loses}"
    for outcome in _done(resume, code):
        if outcome.seed in wanted and wanted[outcome.seed][1] == outcome.hours:
            del wanted[outcome.seed]
            yield outcome
    for outcome in _outcomes(list(wanted.values()), jobs):
        if resume is not None:
            with resume.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"code": code, **asdict(outcome)}) + "\n")
        yield outcome


def _done(resume: Path | None, code: str) -> list[Outcome]:
    if resume is None or not resume.exists():
        return []
    found: dict[int, Outcome] = {}
    for line in resume.read_text(encoding="utf-8").splitlines():
        try:
            values: dict[str, Any] = json.loads(line)
        except ValueError:  # the line that was being written when the run was ended
            continue
        if values.pop("code") == code:
            found[values["seed"]] = Outcome(**values)
    return list(found.values())


def _outcomes(work: list[Work], jobs: int) -> Iterator[Outcome]:
    if jobs <= 1 or len(work) <= 1:
        yield from map(_work, work)
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(min(jobs, len(work)), prepare, maxtasksperchild=PER_PROCESS) as pool:
        yield from pool.imap_unordered(_work, work)


def _work(each: Work) -> Outcome:
    seed, hours, store, loses = each
    outcome = run_seed(seed, hours, store, loses=loses)
    gc.collect()  # nobody else does
    return outcome
