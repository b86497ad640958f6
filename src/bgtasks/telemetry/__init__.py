"""Listeners that turn events into something people and machines read."""

from __future__ import annotations

from bgtasks.events import EventBus

__all__ = ["attach_default"]


def attach_default(bus: EventBus) -> None:
    """Put the log listener on `bus`, unless one is there already."""
    from bgtasks.telemetry.logs import LogListener  # loads structlog, which is slow to import

    if not any(isinstance(listener, LogListener) for listener in bus.listeners):
        bus.subscribe(LogListener())
