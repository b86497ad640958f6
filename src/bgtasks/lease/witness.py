"""Whether Redis' clock can be believed: leases end by it, and it may be set.

Each answer of a `LeaseStore` carries the time of the server. A node compares how far that moved with how
far its own steady clock did. After a step, or with a server that it has not watched for long enough, a lease
that is found expired may have been cut short, and its holder may still be at work.
"""

from __future__ import annotations

from bgtasks.lease.times import LeaseTimes

__all__ = ["ServerClock"]

GRAIN = 0.005
"""Seconds by which the server's time may seem off without having been set."""

SILENCE = 1.5
"""Lengths of a lease without an answer, after which the server counts as not watched."""


class ServerClock:
    """What one node has seen of the clock of the server that keeps the lease.

    Attributes:
        trusted_from: The instant, by this node's steady clock, from which an expired lease counts as one
            whose time was over. Before it the lease may have been cut short by a step of the clock.
    """

    def __init__(self, times: LeaseTimes, now: float) -> None:
        self._times = times
        self.begin(now)

    def begin(self, now: float) -> None:
        """Begin to watch, from `now` by this node's clock; what was seen before counts for nothing."""
        self.trusted_from = now + self._times.quarantine
        self._sent = self._received = self._at = 0.0
        self._run_id = ""
        self._watching = False

    def observe(self, sent: float, received: float, at: float, run_id: str) -> bool:
        """Note that the server said it was `at` seconds, between two instants of this node's clock.

        Returns:
            False if its clock did not move on evenly since the last answer, if the server was restarted or
            is another one (`run_id`), or if this answer took too long to tell. Trust begins anew then.
        """
        # What a slow answer leaves in the dark must be covered by the share that clocks may run apart.
        clear = received - sent <= self._times.lease * self._times.rate
        # And after a long silence a step could be taken for what clocks may run apart.
        watching = self._watching and received - self._sent <= SILENCE * self._times.lease
        even = clear and (not watching or (run_id == self._run_id and self._moved_evenly(sent, received, at)))
        if not even or not watching:
            self.trusted_from = max(self.trusted_from, received + self._times.quarantine)
        self._sent, self._received, self._at, self._run_id = sent, received, at, run_id
        self._watching = clear
        return even

    def time_at(self, instant: float) -> float:
        """What the server's clock will say, if it goes on, at an instant of this node's."""
        return self._at + (instant - self._received)

    def _moved_evenly(self, sent: float, received: float, at: float) -> bool:
        moved, rate = at - self._at, self._times.rate
        least = max(0.0, sent - self._received) * (1 - rate) - GRAIN
        most = (received - self._sent) * (1 + rate) + GRAIN
        return least <= moved <= most
