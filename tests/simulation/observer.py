"""Sees everything, knows true time, and checks the invariants I1 to I5 at each effect and each message."""

from __future__ import annotations

import zlib
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any, NamedTuple

__all__ = ["Observer", "Violation", "Worker"]


class Violation(NamedTuple):
    """An invariant that did not hold."""

    invariant: str
    at: float
    text: str


@dataclass(slots=True, eq=False)
class Worker:
    """A worker that is alive, as the observer sees it."""

    member: str
    name: str
    owner: str


@dataclass(slots=True, eq=False)
class Observer:
    """The history of one cluster.

    Attributes:
        lenient: Why the assumptions of I1 do not hold at present; empty while they do.
        violations: What must not be.
        limits: What must not be either, but is a limit that is documented: by kind, how often.
        digest: A checksum of all that has happened.
    """

    stall: float
    lenient: str = ""
    violations: list[Violation] = field(default_factory=list)
    limits: Counter[str] = field(default_factory=Counter)
    trace: deque[tuple[float, str]] = field(default_factory=lambda: deque(maxlen=400))
    last: str = ""  # what led to the first violation
    digest: int = 0
    effects: int = 0
    terms: int = 0
    granted: int = 0
    refused: int = 0
    accepted: int = 0
    quarantined: int = 0
    releases: int = 0
    working: str = ""  # the owner of the term whose effect was the last
    worked: set[str] = field(default_factory=set)  # owners of terms that have had an effect
    closed: set[str] = field(default_factory=set)
    gained: set[str] = field(default_factory=set)
    held: set[str] = field(default_factory=set)  # owners of terms that were seen to hold
    fell: set[str] = field(default_factory=set)  # and then not to
    tokens: int = 0  # the largest token of a term that began to work
    asked: int = 0  # attempts to acquire the lease
    largest: int = 0  # the largest token that was granted
    owned: str = ""  # to whom
    amnesia: bool = False  # the server has lost its tokens since
    alive: dict[Worker, None] = field(default_factory=dict)
    guard: int = 0
    guards: dict[str, int] = field(default_factory=dict)  # the order in which owners raised it
    last_effect: tuple[float, str] = (0.0, "")
    seen: dict[str, float] = field(default_factory=dict)  # the last effect of each worker, in true time

    def note(self, at: float, text: str) -> None:
        """Something happened that belongs into the trace and the digest."""
        self.trace.append((at, text))
        self.digest = zlib.crc32(f"{at!r} {text}".encode(), self.digest)

    def violated(self, invariant: str, at: float, text: str, *, excuse: str = "") -> None:
        """An invariant did not hold, unless there is an excuse that is documented."""
        if excuse:
            self.limits[f"{invariant}: {excuse}"] += 1
            self.digest = zlib.crc32(f"{at!r} {text}".encode(), self.digest)
            return
        self.note(at, f"VIOLATION {invariant}: {text}")
        self.last = self.last or self.tail()
        self.violations.append(Violation(invariant, at, text))

    # -- work ------------------------------------------------------------------------------------

    def begins(self, at: float, worker: Worker) -> None:
        """A worker's coroutine has begun."""
        self.alive[worker] = None
        self.note(at, f"{worker.member} begins {worker.name} of {worker.owner}")
        for other in self.alive:
            if other.member == worker.member and other.owner != worker.owner:
                self.violated(
                    "I1", at, f"{worker.member}: {other.name} of {other.owner} works in {worker.owner}"
                )

    def ends(self, at: float, worker: Worker) -> None:
        """It has ended, in whatever way."""
        if self.alive.pop(worker, worker) is None:
            self.note(at, f"{worker.member} ends {worker.name} of {worker.owner}")

    def effect(self, at: float, worker: Worker, leaders: list[str], frozen: float) -> None:
        """A worker has done something to the world, `frozen` seconds of standstill after its last check."""
        owner = worker.owner
        self.effects += 1
        self.digest = zlib.crc32(f"{at!r} {owner}".encode(), self.digest)
        frozen_too_long = frozen > self.stall
        excuse = self.lenient or ("frozen between its check and its effect" if frozen_too_long else "")
        if owner != self.working:
            if owner in self.worked:
                self.violated(
                    "I1", at, f"{worker.member} works as {owner} after {self.working}", excuse=excuse
                )
            elif not frozen_too_long:
                self.note(at, f"{worker.member} works as {owner}")
                self.working = owner
                self.worked.add(owner)
        if len(leaders) > 1:
            self.violated("I1", at, f"leaders at one time: {leaders}", excuse=self.lenient)
        if owner in self.closed and not excuse and not worker.name.endswith("cleanup"):
            self.violated("I4", at, f"{worker.member} works as {owner}, which was closed")
        self.last_effect = (at, owner)
        self.seen[worker.name] = at

    def whole(self, owner: str) -> None:
        """All is well again, and this term is the one that works."""
        self.lenient, self.working = "", owner
        self.worked.add(owner)

    # -- terms -----------------------------------------------------------------------------------

    def raised(self, at: float, member: str, owner: str, token: int) -> int:
        """A term has raised the guard of what it works on; what that held before."""
        before = self.guard
        if token > before:
            self.guard = token
            self.guards[owner] = len(self.guards)
        self.note(at, f"{member} raised the guard for {owner} from {before} to {token}")
        return before

    def written(self, at: float, owner: str, token: int) -> None:
        """A fenced write has arrived at what is written to, which refuses tokens below its guard."""
        if token < self.guard:
            self.refused += 1
            return
        self.accepted += 1
        if self.guards.get(owner, -1) != max(self.guards.values(), default=-1):
            self.violated("I2", at, f"a write of {owner} ({token}) was accepted under guard {self.guard}")

    def begun(self, at: float, member: str, owner: str, token: int, leads: bool) -> None:
        """A node says that it leads now."""
        self.terms += 1
        self.note(at, f"{member} gained {owner} {token}")
        if leads and token <= self.tokens:
            self.violated(
                "I3", at, f"{member}: {owner} works with {token}, after {self.tokens}", excuse=self.lenient
            )
        self.tokens = max(self.tokens, token)
        if owner in self.gained:
            self.violated("I4", at, f"{member} gained {owner} twice")
        self.gained.add(owner)

    def stands(self, at: float, member: str, owner: str, holds: bool) -> None:
        """Whether a term that is in progress may be acted on at this instant."""
        if not holds:
            if owner in self.held:
                self.fell.add(owner)
        elif owner in self.fell:
            self.violated("I4", at, f"{member}: {owner} holds again")
        else:
            self.held.add(owner)

    def over(self, at: float, member: str, owner: str, why: str) -> None:
        """A node says that it leads no more."""
        self.note(at, f"{member} lost {owner}: {why}")
        self.closed.add(owner)

    # -- messages --------------------------------------------------------------------------------

    def releases_now(self, at: float, member: str, owner: str) -> None:
        """A node asks for the lease of a term to be released."""
        self.releases += 1
        self.note(at, f"{member} releases {owner}")
        for worker in self.alive:
            if worker.member == member and worker.owner == owner:
                self.violated("I5", at, f"{member} releases {owner} while {worker.name} works")

    def acquired(self, at: float, owner: str, said: list[Any], of_primary: bool) -> None:
        """A server has answered an attempt to acquire the lease."""
        self.asked += 1
        if said[0] != "granted" or owner == self.owned or not of_primary:
            return
        token, self.owned = int(said[1]), owner
        if token > self.largest:
            self.largest, self.amnesia = token, False
        elif not self.amnesia and not self.lenient:
            self.violated("I3", at, f"{owner} was granted {token}, after {self.largest}")

    def applied(self, at: float, server: str, member: str, what: str, said: Any) -> None:
        """A server has answered."""
        text = f"{server} {what} of {member}: {said!r}"
        if what == "renew":
            self.digest = zlib.crc32(f"{at!r} {text}".encode(), self.digest)
        else:
            self.note(at, text)

    def tail(self, count: int = 80) -> str:
        """The last things that happened."""
        return "\n".join(f"  {at:12.4f}  {text}" for at, text in list(self.trace)[-count:])
