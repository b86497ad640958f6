"""Listeners that turn events into something people and machines read, and events for those who debug."""

from __future__ import annotations

from bgtasks.events import EventBus
from bgtasks.telemetry.debug import bus_here, publish_debug_event

__all__ = ["attach_default", "publish_debug_event"]


def attach_default(bus: EventBus) -> None:
    """Put the log listener on `bus`, unless one is there already, and make it the bus of this context.

    Runs have copies of the context they are started in: so `publish_debug_event` finds the bus.
    """
    from bgtasks.telemetry.logs import LogListener  # loads structlog, which is slow to import

    bus_here.set(bus)
    if not any(isinstance(listener, LogListener) for listener in bus.listeners):
        bus.subscribe(LogListener())
