"""The end of the demonstration: what was counted, every figure read back from where it was written."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bgtasks.cli.display import print_table
from bgtasks.demo.knowledge import facts_of, print_facts, print_search
from bgtasks.demo.picture import draw_picture, hanging_together
from bgtasks.demo.screen import bar, heading, quoted
from bgtasks.demo.servers import Servers
from bgtasks.demo.spending import print_spending
from bgtasks.demo.tally import Tally
from bgtasks.graph import KnowledgeGraph
from bgtasks.llm.budget import Budget
from bgtasks.memory.intake import Taken
from bgtasks.memory.messages import MessageCache
from bgtasks.memory.structure import MENTIONS
from bgtasks.prompts import PromptStore

__all__ = ["print_summary"]

TITLE = "What the sample conversation says, as a stand-in for a model read it"
"""Stands above the picture, which may be looked at without the screen."""


async def print_summary(
    console: Console, held: Servers, store: PromptStore, tally: Tally, taken: Taken
) -> None:
    """Read everything back and print it."""
    console.print()
    heading(console, "what happened")
    now = datetime.now(UTC)
    await _conversation(console, held.cache, taken)
    await _people(console, held.graph, tally, now)
    await _reminders(console, store, tally)
    _runs(console, tally)
    console.print()
    heading(console, "what it knows now")
    facts = await facts_of(held.graph, now)
    await print_facts(console, held.graph, held.cache, facts)
    await print_search(console, held.graph, held.cache, held.client, now)
    await print_spending(console, Budget.from_settings(held.settings, held.redis), held.model)
    drawn = hanging_together(facts)
    picture = await asyncio.to_thread(draw_picture, drawn, TITLE)
    console.print(
        f"\n[bold]A picture of the graph[/], of {len(drawn)} facts that hang together, for a browser:"
    )
    console.print(str(picture), soft_wrap=True, highlight=False)


async def _conversation(console: Console, cache: MessageCache, taken: Taken) -> None:
    channels = await cache.get_active_channels()
    counts = {channel: await cache.count(channel) for channel in channels}
    console.print(f"\n[bold]The conversation[/], in Redis: {sum(counts.values())} messages")
    for channel, count in counts.items():
        last = (await cache.recent(channel, 1))[-1]
        console.print(f"  {channel:<10} {count:>4}  last, {escape(last.author)}: {quoted(last.text, 32)}")
    again = sum(taken.known.values())
    if again:
        console.print(f"  {again} were there already and were not added twice")


async def _people(console: Console, graph: KnowledgeGraph, tally: Tally, now: datetime) -> None:
    counts = (await graph.stats()).by_predicate
    console.print(
        f"\n[bold]Who talks about whom[/], in FalkorDB: {counts.get(MENTIONS, 0)} pairs; the busiest"
    )
    pairs = await graph.query(
        "MATCH (a:Entity)-[r:REL {p: $p}]->(b:Entity) "
        "RETURN a.name, b.name, r.w, r.n, r.dies_at ORDER BY r.w DESC, a.name LIMIT 6",
        {"p": MENTIONS},
    )
    for one, other, weight, count, dies_at in pairs:
        left = timedelta(milliseconds=dies_at) - timedelta(seconds=now.timestamp())
        console.print(
            f"  {escape(one):>16} → {escape(other):<16} [cyan]{bar(weight)}[/] "
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
            console.print(f"  next: {quoted(prompt.text, 40)} {prompt.due:%a %d %b %H:%M} UTC")
            console.print(f"        {prompt.trigger}")
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
    print_table(shown)
    if tally.stopped is not None:
        left = ", ".join(tally.stopped.unfinished)
        console.print(
            f"\nThe scheduler stopped in {tally.stopped.seconds * 1000:.0f} ms; "
            + (f"these runs would not end: {escape(left)}." if left else "nothing was left running.")
        )
