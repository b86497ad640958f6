"""A listener that remembers, for tests that ask what happened."""

from __future__ import annotations

from bgtasks import BackgroundScheduler, EventBus
from bgtasks.events import Event, RunFinished
from bgtasks.outcomes import Outcome

__all__ = ["Recorder"]


class Recorder:
    """Every event of one bus, in order."""

    def __init__(self, source: BackgroundScheduler | EventBus) -> None:
        self.events: list[Event] = []
        bus = source if isinstance(source, EventBus) else source.bus
        bus.subscribe(self.events.append)

    def of[E](self, kind: type[E]) -> list[E]:
        """The events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def outcomes(self, task: str) -> list[Outcome]:
        """How the runs of `task` ended."""
        return [event.outcome for event in self.of(RunFinished) if event.task == task]
