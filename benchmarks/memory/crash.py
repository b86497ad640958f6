"""What kill -9 leaves: a system's process is killed again and again, and started again.

Its caller remembers what the system had taken in, as a good caller does, and goes on behind that. At last all
is fed once more from the beginning, as by a caller who does not remember. What is in the store then is held
against that of a run without kills.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from random import Random
from typing import Any

from benchmarks.memory.conversation import Line
from benchmarks.memory.relations import Relation, Store
from benchmarks.memory.run import Run

__all__ = ["KILLS", "crash"]

KILLS = 5

TAKES = 0.05
"""Seconds that the stand-in takes for an answer: most kills come during one, as with a real model."""


async def crash(
    system: str, lines: Sequence[Line], relations: Sequence[Relation], tell: Callable[[str], None]
) -> dict[str, Any]:
    """Kill it at drawn moments, the same parts of its time for every system; first about midway."""
    async with Run(system, lines, TAKES) as run:
        tell("without a kill")
        whole = await run.feed()
        assert whole.figures is not None
        undisturbed, calls = Store(await run.read()), (await run.asked())["chats"]
    draws, killed, done = Random("kills"), 0, 0
    first: dict[str, int] = {}
    async with Run(system, lines, TAKES) as run:
        for number in range(KILLS):
            tell(f"kill {number + 1} of {KILLS}")
            part = draws.uniform(0.05, 0.1) if number else draws.uniform(0.4, 0.6)
            fed = await run.feed(done, kill_after=whole.figures["wall_s"] * part)
            done = fed.done
            if fed.figures is not None:
                break
            killed += 1
            if number == 0:
                first = _left(Store(await run.read()), relations, lines[:done])
        else:
            await run.feed(done)
        after, paid = Store(await run.read()), (await run.asked())["chats"]
        tell("once more from the beginning")
        await run.feed()
        again, in_all = Store(await run.read()), (await run.asked())["chats"]
    return {
        "messages": len(lines),
        "kills": killed,
        "calls": calls,
        "calls_more": paid - calls,
        "calls_again": in_all - paid,
        "first_kill": first,
        "lost": len(undisturbed.found(relations) - after.found(relations)),
        "extra": asdict(after.extra.above(undisturbed.extra)),
        "extra_again": asdict(again.extra.above(undisturbed.extra)),
    }


def _left(store: Store, relations: Sequence[Relation], taken_in: Sequence[Line]) -> dict[str, int]:
    """Of the messages that say something: what was taken in, and what of it and beside it is in the store."""
    known = {(line.channel, line.id) for line in taken_in}
    inside = [each for each in relations if (each.line.channel, each.line.id) in known]
    outside = [each for each in relations if (each.line.channel, each.line.id) not in known]
    return {
        "taken_in": len({each.line.id for each in inside}),
        "of_them_in_store": store.messages(inside),
        "others_in_store": store.messages(outside),
    }
