"""A system at work, by the interpreter that it is installed for: `python -m benchmarks.memory.feed '{...}'`.

Says in lines of JSON what it is, then how many messages it has taken in, and at last what that took. Asked to
`read`, it says what is in its store; asked for nothing but a system, what that is.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import platform
import sys
import time
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.memory.conversation import read_lines, steps
from benchmarks.memory.peers import Place, System, make
from benchmarks.scheduler.memory import peak

__all__ = ["main"]


class Complaints(logging.Handler):
    """The warnings of a system, without what they say of messages."""

    def __init__(self, system: System) -> None:
        super().__init__(logging.WARNING)
        self.seen: dict[str, int] = {}
        self._harmless = system.harmless
        for name in system.loggers:
            logging.getLogger(name).addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        if not record.getMessage().startswith(self._harmless or ("\0",)):
            what = f"{record.name}: {str(record.msg).partition(':')[0][:60]}"
            self.seen[what] = self.seen.get(what, 0) + 1


def _say(**what: Any) -> None:
    os.write(_OUT, json.dumps(what, ensure_ascii=False).encode() + b"\n")


class Done:
    """Says how many messages are in."""

    def __init__(self, begin: int) -> None:
        self._count = begin

    def more(self, count: int) -> None:
        """So many further ones."""
        self.upto(self._count + count)

    def upto(self, count: int) -> None:
        """So many in all."""
        self._count = count
        _say(done=count)


async def _feed(system: System, place: Place, begin: int, noted: Done) -> None:
    complaints = Complaints(system)
    await system.open(place)
    at_rest = peak()
    _say(ready=True)
    began, cpu, done, failed = time.perf_counter(), time.process_time(), 0, 0
    for some in steps(place.lines, system.step):
        done += len(some)
        if done <= begin and not system.resumes:
            continue
        try:
            await system.add(some)
        except Exception as error:  # noqa: BLE001 - what a system raises is a figure
            failed += 1
            complaints.seen[f"raised {type(error).__name__}"] = failed
            traceback.print_exc()
        else:
            noted.upto(done)
    _say(
        wall_s=time.perf_counter() - began,
        cpu_s=time.process_time() - cpu,
        peak=peak(),
        at_rest=at_rest,
        complaints=complaints.seen,
    )
    await system.close()


async def _read(system: System, place: Place) -> None:
    await system.open(place)
    _say(**asdict(await system.contents()))
    await system.close()


async def _main(system: str, do: str = "", begin: int = 0, **where: str | None) -> None:
    made = make(system)
    if not do:
        _say(about=f"{made.about}; Python {platform.python_version()}")
        return
    directory = Path(str(where["directory"]))
    lines, noted = read_lines(Path(str(where["lines"]))), Done(begin)
    place = Place(str(where["model"]), where["store"], directory, lines, noted.more)
    await (_read(made, place) if do == "read" else _feed(made, place, begin, noted))


def main() -> None:
    """Work."""
    asyncio.run(_main(**json.loads(sys.argv[1])))
    os._exit(0)  # some leave threads behind


if __name__ == "__main__":
    _OUT = os.dup(1)
    os.dup2(2, 1)  # whatever a system prints is not one of our lines
    main()
