"""What the scheduler's events say while the demonstration runs."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape

from bgtasks.events import Event, EventBus, RunFinished, RunStarted, SchedulerStopped
from bgtasks.outcomes import Cancelled, Done

__all__ = ["Tally"]


class Tally:
    """Counts what the bus tells, and shows each run that did something.

    Args:
        tasks: Those that are expected to run.
    """

    def __init__(self, tasks: Iterable[str]) -> None:
        self.outcomes: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.sums: Counter[tuple[str, str]] = Counter()
        self.runs = 0
        self.seconds = 0.0
        self.stopped: SchedulerStopped | None = None
        self._tasks = frozenset(tasks)
        self._change = asyncio.Event()

    def follow(self, bus: EventBus, console: Console) -> None:
        """Listen on `bus`, and print a line on `console` for what is worth one."""
        bus.subscribe(lambda event: self._note(event, console))

    async def all_done(self, expected: Mapping[tuple[str, str], int]) -> None:
        """Return once every task has ended a run well, and they have reported what is expected.

        Args:
            expected: How much, by task and count.
        """
        while any(self.sums[each] < amount for each, amount in expected.items()) or not all(
            self.outcomes[each]["Done"] for each in self._tasks
        ):
            self._change.clear()
            await self._change.wait()

    def _note(self, event: Event, console: Console) -> None:
        match event:
            case RunStarted():
                self.runs += 1
            case RunFinished(task, _, outcome, seconds):
                self.outcomes[task][type(outcome).__name__] += 1
                self.seconds += seconds
                if isinstance(outcome, Done) and isinstance(outcome.result, dict):
                    self._add(task, outcome.result)
                    if any(outcome.result.values()):
                        console.print(f"[dim]{_clock(seconds)}[/] [green]{task}[/] {_counts(outcome.result)}")
                elif not isinstance(outcome, Cancelled | Done):
                    console.print(f"[dim]{_clock(seconds)}[/] [yellow]{task}[/] {escape(outcome.reason)}")
                self._change.set()
            case SchedulerStopped():
                self.stopped = event

    def _add(self, task: str, result: dict[str, Any]) -> None:
        for name, value in result.items():
            if isinstance(value, int):
                self.sums[task, name] += value


def _counts(result: dict[str, Any]) -> str:
    return escape(", ".join(f"{name} {value}" for name, value in result.items() if value))


def _clock(seconds: float) -> str:
    return f"{seconds * 1000:6.1f} ms"
