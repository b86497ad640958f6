"""The durations of a lease, checked against each other: a lease is safe only by inequalities."""

from __future__ import annotations

from dataclasses import dataclass, fields

from bgtasks.errors import ConfigurationError

__all__ = ["LeaseTimes"]

GRAIN = 0.001
"""Seconds by which an expiry in Redis may come early: it counts milliseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTimes:
    """How long things take, in seconds; every refusal names the inequality that does not hold.

    A leader trusts its lease from before the attempt was sent that gave or renewed it: until
    `sent + lease * (1 - rate) - 1 ms` nobody else can have it, and `margin` before that the leader stops
    what it does. The defaults have a first worker at work within six seconds on a Redis that never saw the
    lease, and let an event loop stand still for a second without losing it.

    Attributes:
        lease: For how long Redis keeps the lease after each renewal.
        renew: Between two renewals, at most.
        jitter: Each pause between renewals is shortened by up to this share of it.
        attempt: What one call to Redis may take.
        attempts: How many calls in a row may fail before the lease is lost.
        rate: By what share two clocks may run apart: of a node and of Redis.
        margin: Kept before the lease is over, for workers to end in.
        stall: For how long the event loop may stand still in that margin.
        grace: For how long a worker that was asked to stop may go on by itself.
        kill: For how long a worker that was cancelled may go on.
        tenure: What must be left of a lease for it to be worth taking.
        replica_lag: By how much a promoted replica may lag behind (`min-replicas-max-lag`).

    Raises:
        ConfigurationError: A value is out of range, or two of them do not fit together.

    Not promised: safety where the kernel slews a clock faster than `rate` (chrony may do so by 8.3 % after
    a large step), or where a worker goes on for longer than `margin` after it was cancelled.
    """

    lease: float = 5.0
    renew: float = 1.0
    jitter: float = 0.1
    attempt: float = 0.5
    attempts: int = 3
    rate: float = 0.05
    margin: float = 2.0
    stall: float = 1.0
    grace: float = 0.5
    kill: float = 0.5
    tenure: float = 0.5
    replica_lag: float = 0.0

    def __post_init__(self) -> None:
        self._check_ranges()
        self._holds(
            "T1",
            f"renew + attempts * attempt = {self.renew + self.attempts * self.attempt:g} s",
            self.renew + self.attempts * self.attempt,
            "lease * (1 - rate) - margin",
            self.trusted,
            "several attempts must fit in before the lease counts as lost: raise lease, or lower the others",
        )
        self._holds(
            "T1 with a stall",
            f"renew + stall + attempt = {self.renew + self.stall + self.attempt:g} s",
            self.renew + self.stall + self.attempt,
            "lease * (1 - rate) - margin",
            self.trusted,
            "a stall of the event loop must not cost the lease: raise lease, or lower stall",
        )
        self._holds(
            "T2",
            f"stall + grace + kill = {self.stall + self.grace + self.kill:g} s",
            self.stall + self.grace + self.kill,
            "margin",
            self.margin,
            "workers must have ended before another node may begin: raise margin",
        )
        self._holds(
            "T3",
            f"attempt + tenure = {self.attempt + self.tenure:g} s",
            self.attempt + self.tenure,
            "lease * (1 - rate) - margin",
            self.trusted,
            "a lease that is taken must last for something: raise lease",
        )

    def _check_ranges(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 86_400:
                raise ConfigurationError(f"LeaseTimes: {field.name} is a number of seconds, not {value!r}")
        for name in ("lease", "renew", "attempt"):
            if getattr(self, name) <= 0:
                raise ConfigurationError(f"LeaseTimes: {name} must be above zero")
        if type(self.attempts) is not int or self.attempts < 2:
            raise ConfigurationError(
                f"LeaseTimes (T1): attempts must be a whole number, 2 or more, not {self.attempts!r}: "
                f"a single lost answer would cost the lease"
            )
        for name in ("jitter", "rate"):
            if getattr(self, name) >= 0.5:
                raise ConfigurationError(f"LeaseTimes: {name} is a share below 0.5, such as 0.05")

    def _holds(self, name: str, left: str, value: float, right: str, limit: float, cure: str) -> None:
        if value > limit + 1e-9:
            raise ConfigurationError(
                f"LeaseTimes ({name}): {left} must not exceed {right} = {limit:g} s: {cure}"
            )

    @property
    def trusted(self) -> float:
        """For how long after the send of a successful attempt the leader may work."""
        return self.trusted_of(self.lease)

    def trusted_of(self, lease: float) -> float:
        """The same for a lease of which so many seconds are left."""
        return lease * (1 - self.rate) - GRAIN - self.margin

    def demoted_at(self, sent: float) -> float:
        """When the leader stops, by the clock that says `sent`: before the send of what gave it the lease."""
        return sent + self.trusted

    def valid_until(self, sent: float) -> float:
        """Until when nobody else can have the lease, if `rate` holds."""
        return self.demoted_at(sent) + self.margin

    @property
    def quarantine(self) -> float:
        """How long to wait, by one's own clock, before the work of anyone unknown has surely ended."""
        return self.at_rate(self.lease + self.replica_lag)

    def at_rate(self, seconds: float) -> float:
        """How long to wait by a clock that may run fast, for so many seconds of another to have passed."""
        return seconds * (1 + self.rate)
