"""The demonstration's run: what it sets up, what it waits for, and how it ends.

Nothing here is staged: the servers are real, the tasks are the built-in ones through the ordinary wiring and
scheduler, only their intervals are shortened; and every figure of the summary is read back.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr
from rich.console import Console

from bgtasks.build import build_scheduler
from bgtasks.cli.tasks import table
from bgtasks.clock import SystemClock
from bgtasks.contracts import Absent
from bgtasks.demo.stage import HALF_LIFE_DAYS, Reminders, demo_registry
from bgtasks.demo.summary import Tally, print_summary
from bgtasks.errors import BgTasksError
from bgtasks.memory.intake import Taken, take_in
from bgtasks.memory.jsonl import BadLine, read_lines
from bgtasks.memory.messages import Message, MessageCache
from bgtasks.prompts import PromptStore
from bgtasks.resources import Resources, open_resources
from bgtasks.service import stop_signal
from bgtasks.settings import Settings
from bgtasks.triggers import Cron, Once

if TYPE_CHECKING:
    pass

__all__ = ["conversation", "play"]

LONGEST = 40.0
"""Seconds after which the demonstration ends, whatever is still missing."""

_REMINDERS = (
    (2, "Kasia", "trip", "Ask Walter whether the tent is dry."),
    (4, "Chidi", "radio", "Bring the spare cable to the greenhouse."),
    (4, "Walter", "allotment", "Close the greenhouse before dark: the fox knows the way."),
    (7, "Fola", "radio", "Read the running order aloud once."),
    (10, "Priya", "allotment", "Water the seedlings, the small can only."),
)


def conversation(now: datetime) -> Iterator[Message | BadLine]:
    """The sample conversation, moved in time so that its last message was said an hour before `now`."""
    lines = files("bgtasks.demo").joinpath("conversation.jsonl").read_bytes().splitlines()
    messages = [each for each in read_lines(lines) if isinstance(each, Message)]
    shift = now - timedelta(hours=1) - max(message.ts for message in messages)
    for message in messages:
        yield replace(message, ts=message.ts + shift)


async def play(*, keep: bool = False) -> int:
    """Run the demonstration; 0 if everything it promises happened, else 1.

    Args:
        keep: Leave the data directory where it is, and say where.

    Raises:
        MissingExtra: The embedded server is not installed.
        EmbeddedServerError: It could not be started.
    """
    console = Console()
    scratch = Path(tempfile.mkdtemp(prefix="bgtasks-demo-"))
    # Made without the environment: the demonstration is the same for everybody.
    settings = Settings.model_construct(redis_url=SecretStr(f"embedded://{scratch}"), namespace="demo")
    try:
        async with AsyncExitStack() as stack:
            stopped = await stack.enter_async_context(stop_signal())
            console.rule("[bold]bgtasks demo")
            console.print("Starting an embedded Redis with FalkorDB in a scratch directory …")
            held = await stack.enter_async_context(open_resources(settings))
            done = await _play(console, settings, held, stopped)
            return 130 if stopped.is_set() else 0 if done else 1
    finally:
        if keep:
            console.print(f"The data is in {scratch}", soft_wrap=True)
        else:
            await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)


async def _play(console: Console, settings: Settings, held: Resources, stopped: asyncio.Event) -> bool:
    if isinstance(held.redis, Absent):
        raise BgTasksError(held.redis.reason)
    redis = held.redis
    cache = MessageCache(redis, settings.namespace)
    store = PromptStore(redis, settings.namespace)
    taken = await _take_in(console, cache, held)
    expected = await _schedule_reminders(store)

    tally = Tally()
    reminders = Reminders(console, redis, store.stream)
    scheduler = build_scheduler(**held.arguments, config=settings, registry=demo_registry(reminders))
    console.print("\nWhat can run here, with intervals shortened for the demo:\n")
    console.print(table(scheduler.decisions))
    console.print(f"\nRunning; {expected} reminders are due within seconds (Ctrl-C stops it cleanly).\n")
    tally.follow(scheduler.bus, console)
    async with scheduler:
        satisfied = asyncio.create_task(_satisfied(reminders, tally, expected), name="demo:satisfied")
        asked = asyncio.create_task(stopped.wait(), name="demo:asked to stop")
        try:
            await asyncio.wait({satisfied, asked}, timeout=LONGEST, return_when=asyncio.FIRST_COMPLETED)
            done = satisfied.done()
        finally:
            satisfied.cancel()
            asked.cancel()
        await asyncio.wait({satisfied, asked})
    if stopped.is_set():
        console.print("\nStopped, and put away.")
    else:
        await print_summary(console, cache, store, held.kg_manager, tally, taken, SystemClock())
        if not done:
            console.print(f"[red]Not everything happened within {LONGEST:g} s; see above.")
    return done


async def _take_in(console: Console, cache: MessageCache, held: Resources) -> Taken:
    graph = None if isinstance(held.kg_manager, Absent) else held.kg_manager
    half_life = HALF_LIFE_DAYS * 86_400_000.0
    taken = await take_in(conversation(datetime.now(UTC)), cache, graph, half_life=half_life)
    console.print(f"Took in {sum(taken.added.values())} messages of {len(taken.channels)} channels.")
    return taken


async def _schedule_reminders(store: PromptStore) -> int:
    now = datetime.now(UTC)
    for delay, user, channel, text in _REMINDERS:
        when = Once(now + timedelta(seconds=delay))
        await store.add(text, when, now=now, user=user, channel=channel, agent="wren")
    morning = Cron("30 7 * * MON-FRI", "Europe/Helsinki")
    await store.add("Say good morning.", morning, now=now, channel="trip", agent="wren")
    # One that ended eight days ago, for the cleanup to find.
    past = now - timedelta(days=8)
    old = await store.add("Long done.", Once(past + timedelta(hours=1)), now=past, user="Idris")
    await store.cancel(old.id, now=past)
    return len(_REMINDERS)


async def _satisfied(reminders: Reminders, tally: Tally, expected: int) -> None:
    """Return once every reminder was delivered and every wired task has ended a run well."""
    await reminders.seen_all(expected)
    await tally.all_done("scheduled_prompt_tick", "moved", expected)
