"""A process with a job of each catch_up policy, which writes down what its scheduler says.

    suspended_process.py FILE

Each event becomes a line of JSON in FILE, with seconds since the scheduler began. A line on stdin is answered
by one with the scheduler's health, asked from a thread; the end of stdin stops it. Its wall clock is as far
from the machine's as makes it begin ten seconds before a full minute.
"""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import datetime, timedelta
from typing import Any, TextIO

from bgtasks import BackgroundScheduler, Cron, Every, Once
from bgtasks.clock import SystemClock
from bgtasks.events import Event

MINUTE, RARE, ONCE = 10.0, 8.0, 12.0
"""Seconds after the beginning at which the cron jobs, the rare one and the single one are due."""

CATCH_UP = ("one", "none", "all")


class Shifted(SystemClock):
    """The machine's wall clock, some seconds away from it."""

    def __init__(self) -> None:
        now = super().now()
        begin = now.replace(second=0, microsecond=0) + timedelta(seconds=60 - MINUTE)
        self.shift = begin - now

    def now(self) -> datetime:
        return super().now() + self.shift


class EverySecond:
    """A calendar whose ticks are the full seconds."""

    def next_after(self, when: datetime) -> datetime:
        return when.replace(microsecond=0) + timedelta(seconds=1)


async def nothing() -> None:
    pass


def fill(scheduler: BackgroundScheduler, begin: datetime) -> None:
    for catch_up in CATCH_UP:
        second = Every(1, fixed_rate=True)
        scheduler.register(f"grid-{catch_up}", nothing, second, catch_up=catch_up)
        scheduler.register(f"calendar-{catch_up}", nothing, EverySecond(), catch_up=catch_up)
        scheduler.register(f"cron-{catch_up}", nothing, Cron("* * * * *"), catch_up=catch_up)
        rare = Every(40, fixed_rate=True)
        scheduler.register(f"rare-{catch_up}", nothing, rare, RARE, catch_up=catch_up)
    scheduler.register("from-end", nothing, 1)
    scheduler.register("once", nothing, Once(begin + timedelta(seconds=ONCE)))


async def main(out: TextIO) -> None:
    clock = Shifted()
    begin = clock.now()
    scheduler = BackgroundScheduler(clock=clock)

    def say(what: str, **fields: Any) -> None:
        fields["at"] = (clock.now() - begin).total_seconds()
        out.write(json.dumps({"what": what, **fields}) + "\n")

    def listen(event: Event) -> None:
        fields = {
            key: value for key, value in event._asdict().items() if isinstance(value, str | int | float)
        }
        due = getattr(event, "due", None)
        if due is not None:
            fields["due"] = (due - begin).total_seconds()
        say(type(event).__name__, **fields)

    def answer() -> None:
        for _ in sys.stdin:
            health = scheduler.health()
            say("Health", ok=health.ok, problems=health.problems, lag=health.lag)

    fill(scheduler, begin)
    scheduler.bus.subscribe(listen)
    async with scheduler:
        await asyncio.to_thread(answer)


if __name__ == "__main__":
    with open(sys.argv[1], "w", buffering=1) as out:
        asyncio.run(main(out))
