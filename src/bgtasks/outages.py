"""Which servers do not answer at the moment: each loss is said once, and each return."""

from __future__ import annotations

from bgtasks.clock import Clock
from bgtasks.events import EventBus, ResourceLost, ResourceRegained

__all__ = ["Outages"]


class Outages:
    """The resources that runs found lost, since when and why."""

    def __init__(self, bus: EventBus, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock
        self._lost: dict[str, tuple[float, str]] = {}

    @property
    def reasons(self) -> dict[str, str]:
        """Each lost resource with the reason it was first found lost for."""
        return {resource: reason for resource, (_, reason) in self._lost.items()}

    def begin(self, resource: str, reason: str) -> None:
        """Note that `resource` does not answer, and say so unless it is known."""
        if resource not in self._lost:
            self._lost[resource] = (self._clock.monotonic(), reason)
            self._bus.emit(ResourceLost(resource, reason))

    def end(self, resource: str) -> bool:
        """Note that `resource` answers; True, and said, if it was lost."""
        lost = self._lost.pop(resource, None)
        if lost is not None:
            self._bus.emit(ResourceRegained(resource, self._clock.monotonic() - lost[0]))
        return lost is not None

    def forget(self, resource: str) -> None:
        """Nobody waits for `resource` any more, and whether it answers is not known: the next loss counts."""
        self._lost.pop(resource, None)

    def clear(self) -> None:
        """Start afresh, without a word."""
        self._lost.clear()
