"""Debug events: what a task wants to be seen of while somebody looks for a fault.

Each is a `DebugEvent` on the bus, and a message on the Redis channel `<namespace>:debug:<topic>`, which
`redis-cli PSUBSCRIBE '*:debug:*'` shows.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from bgtasks.events import DebugEvent, EventBus
from bgtasks.run import Run, current_run

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["LONGEST", "WITHIN", "bus_here", "publish_debug_event"]

LONGEST = 64 * 1024
"""Bytes of a message in Redis."""

WITHIN = 1.0
"""Seconds that a Redis which does not answer may keep the caller."""

bus_here: ContextVar[EventBus | None] = ContextVar("bgtasks_bus_here", default=None)
"""The bus of the scheduler or supervisor that was started last in this context: in a run, of its own."""


async def publish_debug_event(
    topic: str,
    data: Mapping[str, Any],
    *,
    bus: EventBus | None = None,
    redis: Redis | None = None,
    namespace: str | None = None,
) -> None:
    """Say something to whoever looks for a fault: on the bus, and with `redis` to subscribers there too.

    The message in Redis is JSON: `topic`, `at` (ISO 8601), `task` and `run_id` of the present run (null
    outside one), and `data`. What JSON has not is written as its text: NaN, and keys too. Data that make it
    longer than 64 kB are left out, and `left_out` tells the bytes of the whole message. Data that cannot be
    written, since they contain themselves or are nested too deeply, are `{}`.

    Args:
        topic: What it is about; a part of the channel's name.
        data: Facts and figures. Everyone who may subscribe reads them, and the log shows their beginning at
            DEBUG: no keys and nothing that people wrote.
        bus: Which bus; that of the present run by default, if there is one.
        redis: An asyncio client; None publishes nothing in Redis.
        namespace: What the channel's name begins with; `BGTASKS_NAMESPACE`, or `bgtasks`, if not given.

    Events:
        DebugEvent: With the data as they are.

    Not promised: that anybody hears of it. Redis keeps nothing for those who subscribe later, and if it does
    not answer within a second the event is lost there, with a line at DEBUG.
    """
    run = current_run.get()
    if bus is None and run is not None:
        bus = bus_here.get()
    if bus is not None:
        bus.emit(DebugEvent(topic, data))
    if redis is None:
        return
    from redis.exceptions import RedisError

    from bgtasks.connect import encodable, reach
    from bgtasks.errors import BgTasksError
    from bgtasks.settings import default_namespace

    channel = encodable(f"{namespace or default_namespace()}:debug:{topic}")
    message = _message(topic, data, run)
    try:
        await reach(partial(redis.publish, channel, message), within=WITHIN)
    except (BgTasksError, RedisError) as error:
        logging.getLogger("bgtasks").debug("a debug event of %s was not published: %s", topic, error)


def _message(topic: str, data: Mapping[str, Any], run: Run | None) -> str:
    said: dict[str, Any] = {
        "topic": topic,
        "at": datetime.now(UTC).isoformat(),
        "task": run.task if run else None,
        "run_id": run.run_id if run else None,
        "data": dict(data),
    }
    try:
        message = json.dumps(said, default=_text, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        message = _loose(said)
    if len(message) > LONGEST:  # it is ASCII
        said |= {"topic": topic[:1000], "data": {}, "left_out": len(message)}
        message = json.dumps(said)
    return message


def _loose(said: dict[str, Any]) -> str:
    """With NaN and all keys as text; without the data, if that is not enough."""
    try:
        loose = json.dumps(_with_keys(said), default=_text)
        return json.dumps(json.loads(loose, parse_constant=str))
    except (ValueError, RecursionError):  # a circle, too deep, or an integer of thousands of digits
        return json.dumps(said | {"data": {}})


def _with_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key if isinstance(key, str | int | float | None) else _text(key): _with_keys(held)
            for key, held in value.items()
        }
    return [_with_keys(held) for held in value] if isinstance(value, list | tuple) else value


def _text(value: Any) -> str:
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001 - someone else's object
        return f"<{type(value).__name__}, which has no text: {type(error).__name__}>"
