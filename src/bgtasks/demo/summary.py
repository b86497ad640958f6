"""The end of the demonstration: what was counted, every figure read back from where it was written."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bgtasks.clock import Clock
from bgtasks.contracts import Absent, KnowledgeGraphLike
from bgtasks.events import Event, EventBus, RunFinished, RunStarted, SchedulerStopped
from bgtasks.memory.intake import Taken
from bgtasks.memory.messages import MessageCache
from bgtasks.outcomes import Cancelled, Done
from bgtasks.prompts import PromptStore

__all__ = ["Tally", "print_summary"]

_BAR = 16


class Tally:
    """Counts what the bus tells, and shows each run that did something."""

    def __init__(self) -> None:
        self.outcomes: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.sums: Counter[tuple[str, str]] = Counter()
        self.runs = 0
        self.seconds = 0.0
        self.stopped: SchedulerStopped | None = None
        self._tasks: set[str] = set()
        self._change = asyncio.Event()

    def follow(self, bus: EventBus, console: Console) -> None:
        """Listen on `bus`, and print a line on `console` for what is worth one."""
        bus.subscribe(lambda event: self._note(event, console))

    async def all_done(self, task: str, count: str, expected: int) -> None:
        """Return once every task has ended a run well and `task` has reported `expected` of `count`."""
        while self.sums[task, count] < expected or not all(
            self.outcomes[each]["Done"] for each in self._tasks
        ):
            self._change.clear()
            await self._change.wait()

    def _note(self, event: Event, console: Console) -> None:
        match event:
            case RunStarted(task):
                self.runs += 1
                if task != "deliver_reminders":
                    self._tasks.add(task)
            case RunFinished(task, _, outcome, seconds):
                self.outcomes[task][type(outcome).__name__] += 1
                self.seconds += seconds
                if isinstance(outcome, Done) and isinstance(outcome.result, dict):
                    self._add(task, outcome.result)
                    if any(outcome.result.values()):
                        console.print(f"[dim]{_clock(seconds)}[/] [green]{task}[/] {_counts(outcome.result)}")
                elif not isinstance(outcome, Cancelled | Done):
                    console.print(f"[dim]{_clock(seconds)}[/] [yellow]{task}[/] {outcome.reason}")
                self._change.set()
            case SchedulerStopped():
                self.stopped = event

    def _add(self, task: str, result: dict[str, Any]) -> None:
        for name, value in result.items():
            if isinstance(value, int):
                self.sums[task, name] += value


async def print_summary(
    console: Console,
    cache: MessageCache,
    store: PromptStore,
    graph: KnowledgeGraphLike | Absent,
    tally: Tally,
    taken: Taken,
    clock: Clock,
) -> None:
    """Read everything back and print it."""
    console.print()
    console.rule("[bold]what happened")
    await _conversation(console, cache, taken)
    if isinstance(graph, Absent):
        console.print(f"\nNo graph: {graph.reason}")
    else:
        await _people(console, graph, tally, clock)
    await _reminders(console, store, tally)
    _runs(console, tally)


async def _conversation(console: Console, cache: MessageCache, taken: Taken) -> None:
    channels = await cache.get_active_channels()
    counts = {channel: await cache.count(channel) for channel in channels}
    console.print(f"\n[bold]The conversation[/], in Redis: {sum(counts.values())} messages")
    for channel, count in counts.items():
        last = (await cache.recent(channel, 1))[-1]
        console.print(
            f"  {channel:<10} {count:>4}  last, {last.author}: [italic]{escape(_short(last.text))}[/]"
        )
    again = sum(taken.known.values())
    if again:
        console.print(f"  {again} were there already and were not added twice")


async def _people(console: Console, graph: KnowledgeGraphLike, tally: Tally, clock: Clock) -> None:
    (entities,) = (await graph.query("MATCH (e:Entity) RETURN count(e)"))[0]
    kinds = await graph.query("MATCH ()-[r:REL]->() RETURN r.p, count(r) ORDER BY r.p")
    edges = ", ".join(f"{count} {str(kind).replace('_', ' ')}" for kind, count in kinds)
    console.print(f"\n[bold]Who talks about whom[/], in FalkorDB: {entities} entities; edges: {edges}")
    pairs = await graph.query(
        "MATCH (a:Entity)-[r:REL {p: 'mentions'}]->(b:Entity) "
        "RETURN a.name, b.name, r.w, r.n, r.dies_at ORDER BY r.w DESC, a.name LIMIT 8"
    )
    for one, other, weight, count, dies_at in pairs:
        left = timedelta(milliseconds=dies_at) - timedelta(seconds=clock.now().timestamp())
        bar = "█" * max(1, round(weight * _BAR))
        console.print(
            f"  {escape(one):>16} → {escape(other):<16} [cyan]{bar:<{_BAR}}[/] "
            f"{int(count)}×, fades in {left.days} days"
        )
    faded = tally.sums["kg_decay_task", "deleted"]
    console.print(f"  {faded} mentions were too old and too weak: kg_decay_task forgot them")


async def _reminders(console: Console, store: PromptStore, tally: Tally) -> None:
    prompts = await store.all(ended=True)
    status = Counter(prompt.status for prompt in prompts)
    moved = tally.sums["scheduled_prompt_tick", "moved"]
    console.print(
        f"\n[bold]Reminders[/], in Redis: {status['done']} done, {status['active']} still scheduled\n"
        f"  {moved} were put on the stream by scheduled_prompt_tick, each once"
    )
    for prompt in prompts:
        if prompt.due is not None:
            console.print(f"  next: {prompt.text} {prompt.due:%a %d %b %H:%M} UTC, {prompt.trigger}")
    swept = tally.sums["scheduled_prompt_cleanup", "deleted"]
    console.print(f"  {swept} that ended over a week ago: scheduled_prompt_cleanup deleted it")


def _runs(console: Console, tally: Tally) -> None:
    shown = Table(box=None, pad_edge=False, header_style="bold", title_justify="left")
    for title in ("task", "runs", "outcomes"):
        shown.add_column(title)
    for task, outcomes in sorted(tally.outcomes.items()):
        words = ", ".join(f"{count} {name.lower()}" for name, count in sorted(outcomes.items()))
        shown.add_row(task, str(sum(outcomes.values())), words)
    console.print(f"\n[bold]Runs[/], from the scheduler's events: {tally.runs}")
    console.print(shown)
    if tally.stopped is not None:
        console.print(
            f"\nThe scheduler stopped in {tally.stopped.seconds * 1000:.0f} ms; nothing was left running."
        )


def _counts(result: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in result.items() if value)


def _clock(seconds: float) -> str:
    return f"{seconds * 1000:6.1f} ms"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 32 else f"{line[:31]}…"
