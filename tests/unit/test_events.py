"""The bus hands each event to every listener, and no listener can disturb another."""

from __future__ import annotations

import inspect
import logging
from typing import Any, get_args

import pytest

from bgtasks import EventBus, events
from bgtasks.events import Event, ResourceLost

EVENT = ResourceLost("redis", "no answer")
KINDS = [
    kind for kind in vars(events).values() if inspect.isclass(kind) and hasattr(kind, "_fields")
]  # every named tuple of the module


def test_listeners_hear_every_event_in_the_order_they_subscribed() -> None:
    bus, heard = EventBus(), list[str]()
    bus.subscribe(lambda event: heard.append(f"first {event[0]}"))
    bus.subscribe(lambda event: heard.append(f"second {event[0]}"))

    bus.emit(EVENT)
    bus.emit(ResourceLost("kg_manager", "gone"))

    assert heard == ["first redis", "second redis", "first kg_manager", "second kg_manager"]


def test_a_bus_without_listeners_takes_events_all_the_same() -> None:
    bus = EventBus()

    bus.emit(EVENT)

    assert bus.listeners == ()


def test_a_listener_that_left_hears_nothing_more_and_the_others_do() -> None:
    bus, left, stayed = EventBus(), list[Event](), list[Event]()
    leave = bus.subscribe(left.append)
    bus.subscribe(stayed.append)

    leave()
    leave()
    bus.emit(EVENT)

    assert left == []
    assert stayed == [EVENT]


def test_a_listener_that_subscribed_twice_and_left_once_still_hears() -> None:
    bus, heard = EventBus(), list[Event]()
    listener = heard.append
    bus.subscribe(listener)
    leave = bus.subscribe(listener)

    leave()
    bus.emit(EVENT)

    assert heard == [EVENT]


def test_a_listener_that_raises_is_logged_and_the_others_hear(caplog: pytest.LogCaptureFixture) -> None:
    bus, heard = EventBus(), list[Event]()

    def broken(event: Event) -> None:
        raise RuntimeError("no disk")

    bus.subscribe(broken)
    bus.subscribe(heard.append)

    bus.emit(EVENT)

    assert heard == [EVENT]
    [record] = caplog.records
    assert (record.name, record.levelno) == ("bgtasks", logging.ERROR)
    assert record.getMessage() == "a listener failed on ResourceLost"
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "no disk"


def test_a_listener_may_subscribe_and_leave_while_an_event_is_handed_out() -> None:
    bus, heard = EventBus(), list[str]()

    def once(event: Event) -> None:
        heard.append("once")
        leave()
        bus.subscribe(lambda event: heard.append("later"))

    leave = bus.subscribe(once)
    bus.subscribe(lambda event: heard.append("always"))

    bus.emit(EVENT)
    bus.emit(EVENT)

    assert heard == ["once", "always", "always", "later"]


def test_every_kind_of_event_is_one_and_is_public() -> None:
    assert set(KINDS) == set(get_args(Event.__value__))
    assert {kind.__name__ for kind in KINDS} <= set(events.__all__)
    assert len(KINDS) == 23


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_events_are_immutable(kind: Any) -> None:
    fields = kind._fields
    event = kind(*fields)

    with pytest.raises(AttributeError):
        setattr(event, fields[0], "other")
