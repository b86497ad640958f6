"""A Redis that is none, on virtual time: fakeredis whose clock is a `VirtualClock`.

It needs the extra `testing`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from bgtasks.errors import BgTasksError, MissingExtra
from bgtasks.testing.clock import VirtualClock

__all__ = ["virtual_redis"]


class _VirtualTimeModule:
    """Stands where a module of fakeredis has the module `time`."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.users = 0
        self.replaced: list[ModuleType] = []

    def time(self) -> float:
        return self.clock.now().timestamp()

    def time_ns(self) -> int:
        return round(self.time() * 1e6) * 1000

    def monotonic(self) -> float:
        return self.clock.monotonic()

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


_OF_SERVER = ("version", "server_type")

_installed: _VirtualTimeModule | None = None


@contextmanager
def virtual_redis(clock: VirtualClock, **options: Any) -> Iterator[Any]:
    """An asyncio client of a fresh, empty fake Redis whose time is the clock's.

    Time to live, `TIME` (in scripts too) and the ids of stream entries follow the wall side of `clock`, as
    they follow the machine's in a real Redis: `step_wall` moves them. Commands that block (`BLPOP`,
    `XREAD BLOCK`, a pub/sub `get_message` with a timeout) wait in virtual time; one that waits for ever,
    and for nothing, is a deadlock that the loop reports.

    Until it ends, every fakeredis of this process is on that clock: several clients on one clock may be
    open at a time, on two clocks they may not. The client need not be closed.

    Args:
        clock: Where its time comes from.
        options: For `fakeredis.FakeAsyncRedis`, such as `decode_responses=True`, or `server=` to share
            the data of another client.

    Raises:
        MissingExtra: fakeredis is not installed.
        BgTasksError: A fake Redis is open on another clock, or this version of fakeredis takes its time from
            where it is not looked for.

    Not promised: what fakeredis has not. A command is carried out at once and takes no time; there is no
    socket timeout, no reply that is late or lost, no event when a key expires (a key is gone when
    it is next looked at), no `INFO`, no failover. For those, use a real Redis, in real time.
    """
    global _installed
    try:
        from fakeredis import FakeAsyncRedis, FakeServer
    except ImportError as error:
        raise MissingExtra("virtual_redis", "testing") from error
    if _installed is None:
        _installed = _install(clock)
    elif _installed.clock is not clock:
        raise BgTasksError("a fake Redis is open on another VirtualClock: close it first, or use its clock")
    shim = _installed
    shim.users += 1
    try:
        if "server" not in options:
            options["server"] = FakeServer(**{key: options[key] for key in _OF_SERVER if key in options})
        yield FakeAsyncRedis(**options)
    finally:
        shim.users -= 1
        if not shim.users:
            _installed = None
            for module in shim.replaced:
                vars(module)["time"] = time


def _install(clock: VirtualClock) -> _VirtualTimeModule:
    import fakeredis

    shim = _VirtualTimeModule(clock)
    for name, module in sorted(sys.modules.items()):
        if name.partition(".")[0] == "fakeredis" and vars(module).get("time") is time:
            vars(module)["time"] = shim
            shim.replaced.append(module)
    if not shim.replaced:
        raise BgTasksError(
            f"fakeredis {fakeredis.__version__} does not take its time from the module `time`: "
            f"virtual_redis does not know it; it is tried with 2.40"
        )
    return shim
