"""Runs seeds, one cluster-hour each, on all cores, and adds up what came of them."""

from __future__ import annotations

import gc
import hashlib
import json
import logging
import math
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.simulation.cluster import Cluster
from tests.simulation.faults import Schedule

import bgtasks

__all__ = ["Outcome", "Total", "fingerprint", "prepare", "run", "run_seed"]

PER_PROCESS = 25
"""Seeds that a process runs before another one takes its place."""


@dataclass(slots=True)
class Outcome:
    """What came of one seed."""

    seed: int
    hours: float
    terms: int
    effects: int
    messages: int
    accepted: int
    refused: int
    quarantined: int
    faults: dict[str, int]
    limits: dict[str, int]
    violations: list[str]
    digest: str
    seconds: float
    tail: str = ""

    @property
    def reproduce(self) -> str:
        """The command that shows it again."""
        return f"make simulate SEED={self.seed} HOURS={self.hours:g}"


def run_seed(seed: int, hours: float = 1.0) -> Outcome:
    """One cluster, for so many hours of its life."""
    began = time.process_time()
    cluster = Cluster(seed)
    try:
        cluster.live(hours, Schedule(cluster))
        observer = cluster.observer
        return Outcome(
            seed=seed,
            hours=hours,
            terms=observer.terms,
            effects=observer.effects,
            messages=cluster.network.messages,
            accepted=observer.accepted,
            refused=observer.refused,
            quarantined=observer.quarantined,
            faults=dict(sorted(cluster.faults.items())),
            limits=dict(sorted(observer.limits.items())),
            violations=[f"{each.invariant} at {each.at:.4f} s: {each.text}" for each in observer.violations],
            digest=f"{observer.digest:08x}",
            seconds=time.process_time() - began,
            tail=observer.last,
        )
    finally:
        cluster.close()


@dataclass(slots=True)
class Total:
    """What came of many."""

    hours: float = 0.0
    terms: int = 0
    effects: int = 0
    messages: int = 0
    accepted: int = 0
    refused: int = 0
    quarantined: int = 0
    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    limits: Counter[str] = field(default_factory=Counter)
    failed: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """One more seed."""
        for name in (
            "hours",
            "terms",
            "effects",
            "messages",
            "accepted",
            "refused",
            "quarantined",
            "seconds",
        ):
            setattr(self, name, getattr(self, name) + getattr(outcome, name))
        self.faults.update(outcome.faults)
        self.limits.update(outcome.limits)
        if outcome.violations:
            self.failed.append(outcome)

    def line(self) -> str:
        """In one line."""
        hours = max(self.hours, 1e-9)
        faults = self.faults.total()
        violations = sum(len(each.violations) for each in self.failed)
        return (
            f"{self.hours:g} cluster-hours, {self.terms} terms ({self.terms / hours:.1f}/h), "
            f"{faults} faults of {len(self.faults)} kinds ({faults / hours:.1f}/h), "
            f"{violations} violations in {len(self.failed)} seeds"
        )

    def histogram(self) -> str:
        """How often each kind of fault, and each limit that is documented, was met."""
        rows = [f"  {count:>8}  {name}" for name, count in self.faults.most_common()]
        rows += [f"  {count:>8}  limit: {name}" for name, count in self.limits.most_common()]
        return "\n".join(rows)


def run(hours: float, seed: int, jobs: int, resume: Path | None = None) -> Iterator[Outcome]:
    """Outcomes of as many seeds as the hours take, as they come; those in the file `resume` first."""
    wanted = {
        seed + index: min(1.0, hours - index) for index in range(math.ceil(hours)) if hours - index > 1e-9
    }
    code = fingerprint()
    for outcome in _done(resume, code):
        if wanted.get(outcome.seed) == outcome.hours:
            del wanted[outcome.seed]
            yield outcome
    for outcome in _outcomes(list(wanted.items()), jobs):
        if resume is not None:
            with resume.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"code": code, **asdict(outcome)}) + "\n")
        yield outcome


def fingerprint() -> str:
    """A digest of the code that a simulation's outcome depends on."""
    package, here = Path(bgtasks.__file__).parent, Path(__file__).parent
    digest = hashlib.sha256(sys.version.encode())
    for folder in (package, here):
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


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


def _outcomes(work: list[tuple[int, float]], jobs: int) -> Iterator[Outcome]:
    if jobs <= 1 or len(work) <= 1:
        for each in work:
            yield _work(each)
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(min(jobs, len(work)), prepare, maxtasksperchild=PER_PROCESS) as pool:
        yield from pool.imap_unordered(_work, work)


def _work(each: tuple[int, float]) -> Outcome:
    outcome = run_seed(*each)
    gc.collect()  # nobody else does
    return outcome


def prepare() -> None:
    """Make this process fit to simulate: no collections at random instants, and no log."""
    logging.disable(logging.CRITICAL)
    gc.collect()
    gc.freeze()
    gc.disable()


def cores() -> int:
    """How many processes to use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
