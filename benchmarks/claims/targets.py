"""What was aimed at, beside what came out. Printed, not enforced."""

from __future__ import annotations

from typing import NamedTuple

from benchmarks.claims.cases import CLAIMS, JOBS, SIZES
from benchmarks.claims.peers import PEERS, SYSTEMS
from benchmarks.scheduler.figures import written
from benchmarks.scheduler.results import Results

__all__ = ["Target", "targets"]

TIMES_THE_BEST = 3.0
FLAT = 2.0
"""A call among a hundred thousand jobs may take so many times what it takes among a thousand."""

BRIEF_MS = 0.1
"""A call that is over so soon even then is not judged: most of it is the machine's own memory."""


class Target(NamedTuple):
    """What was measured, how it came out, what was aimed at, and whether that was reached."""

    what: str
    value: str
    aim: str
    reached: bool


def targets(results: Results) -> list[Target]:
    """Those that this run has the figures for."""
    return [*_beside(results), *_rest(results), *_flat(results)]


def _beside(results: Results) -> list[Target]:
    found = []
    for server in dict.fromkeys(server for _, server in SYSTEMS.values()):
        rates = {
            peer: rate
            for system, (peer, on) in SYSTEMS.items()
            if on == server and (rate := results.median("started-500", system, "started_per_s")) is not None
        }
        ours = rates.pop("bgtasks", None)
        claiming = {peer: rate for peer, rate in rates.items() if PEERS[peer].claims}
        for what, others in (("others", rates), ("others that claim", claiming)):
            if ours is None or not others or (what != "others" and others == rates):
                continue
            best = max(others, key=lambda peer: others[peer])
            times = ours / others[best]
            says = f"jobs started a second, {server}: bgtasks / {best}, the best of the {what}"
            found.append(Target(says, f"{times:.2f}", f">= {TIMES_THE_BEST:g}", times >= TIMES_THE_BEST))
    return found


def _rest(results: Results) -> list[Target]:
    """Beats, and one moment with something to do; claims of what is due apart are work, and not rest."""
    found = []
    resting = next(group for group in CLAIMS if group.key == "resting")
    for backend in resting.who:
        if (sent := results.median("resting-at-once", backend, "sent")) is not None:
            what = f"scripts or transactions a tick, due at once: {backend}"
            found.append(Target(what, f"{sent:.2f}", "< 1", sent < 1))
    return found


def _flat(results: Results) -> list[Target]:
    found = []
    for figure in JOBS.figures:
        for backend in JOBS.who:
            few = results.median(f"jobs-{SIZES[0]}", backend, figure.key)
            many = results.median(f"jobs-{SIZES[-1]}", backend, figure.key)
            if few and many is not None and many >= BRIEF_MS:
                what = f"{figure.heading.removesuffix(', ms')}, 100,000 jobs / 1,000: {backend}"
                found.append(Target(what, written(many / few), f"<= {FLAT:g}", many / few <= FLAT))
    return found
