"""The demonstration's run: what it sets up, what it waits for, and how it ends.

Nothing here is staged: the servers are real, the tasks are the built-in ones through the ordinary wiring and
scheduler, only their intervals are shortened; and every figure of the summary is read back. What is not real
is the model: a stand-in answers by rules over the text, and the screen says so.
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
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from pydantic import SecretStr
from rich.console import Console

from bgtasks.build import build_scheduler
from bgtasks.cli.display import console, print_table
from bgtasks.cli.tasks import table
from bgtasks.demo.screen import heading
from bgtasks.demo.servers import Servers, servers
from bgtasks.demo.stage import HALF_LIFE_DAYS, Reminders, demo_registry
from bgtasks.demo.summary import print_summary
from bgtasks.demo.tally import Tally
from bgtasks.errors import MissingExtra
from bgtasks.graph.vectors import waiting
from bgtasks.memory.intake import Taken, take_in
from bgtasks.memory.jsonl import BadLine, read_lines
from bgtasks.memory.messages import Message
from bgtasks.prompts import PromptStore
from bgtasks.resources import open_resources
from bgtasks.service import stop_signal
from bgtasks.settings import Settings
from bgtasks.testing.model import ModelServer
from bgtasks.triggers import Cron, Once

__all__ = ["conversation", "play"]

LONGEST = 30.0
"""Seconds of running tasks after which the demonstration ends, whatever is still missing."""

DAY_TOKENS = 2_000_000
"""Tokens that may be spent on the model in a day."""

_REMINDERS = (
    (2, "Kasia", "trip", "Ask Walter whether the tent is dry."),
    (4, "Chidi", "radio", "Bring the spare cable to the greenhouse."),
    (4, "Walter", "allotment", "Close the greenhouse: the fox knows the way."),
    (6, "Fola", "radio", "Read the running order aloud once."),
    (8, "Priya", "allotment", "Water the seedlings, the small can only."),
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
        MissingExtra: The embedded server, or what calls models, is not installed.
        EmbeddedServerError: The server could not be started.
        ConfigurationError: It has no FalkorDB.
    """
    if find_spec("openai") is None:
        raise MissingExtra("the demo", "memory")
    screen = console()
    scratch = Path(tempfile.mkdtemp(prefix="bgtasks-demo-"))
    try:
        async with AsyncExitStack() as stack:
            stopped = await stack.enter_async_context(stop_signal())
            heading(screen, "bgtasks demo")
            screen.print("Starting an embedded Redis with FalkorDB in a scratch directory …")
            model = await stack.enter_async_context(ModelServer())
            settings = _settings(scratch, model.url)
            held = servers(await stack.enter_async_context(open_resources(settings)), settings, model)
            done = await _play(screen, held, stopped)
            return 130 if stopped.is_set() else 0 if done else 1
    finally:
        if keep:
            screen.print(f"The data is in {scratch}", soft_wrap=True)
        else:
            await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)


def _settings(scratch: Path, model_url: str) -> Settings:
    """Made without the environment: the demonstration is the same for everybody."""
    return Settings.model_construct(
        redis_url=SecretStr(f"embedded://{quote(str(scratch))}"),
        namespace="demo",
        llm_url=model_url,
        llm_model="stand-in",
        llm_embedding_model="stand-in",
        llm_timeout=20.0,
        llm_day_tokens=DAY_TOKENS,
    )


async def _play(screen: Console, held: Servers, stopped: asyncio.Event) -> bool:
    store = PromptStore(held.redis, held.settings.namespace)
    screen.print(
        "And a stand-in for a language model: a small server here that answers by rules\n"
        "over the text, in place of a real one."
    )
    taken = await _take_in(screen, held)
    expected = await _schedule_reminders(store)

    reminders = Reminders(screen, held.redis, store.stream)
    scheduler = build_scheduler(**held.arguments, config=held.settings, registry=demo_registry(reminders))
    tally = Tally(each.name for each in scheduler.decisions if each.wired and each.kind == "task")
    screen.print("\nWhat can run here, with intervals shortened for the demo:\n")
    print_table(table(tuple(scheduler.decisions)))
    screen.print(f"\nRunning; {expected} reminders are due within seconds (Ctrl-C stops it cleanly).\n")
    tally.follow(scheduler.bus, screen)
    async with scheduler:
        satisfied = asyncio.create_task(
            _satisfied(held, reminders, tally, expected, sum(taken.added.values())), name="demo:satisfied"
        )
        asked = asyncio.create_task(stopped.wait(), name="demo:asked to stop")
        try:
            await asyncio.wait({satisfied, asked}, timeout=LONGEST, return_when=asyncio.FIRST_COMPLETED)
            done = satisfied.done()
        finally:
            satisfied.cancel()
            asked.cancel()
        await asyncio.wait({satisfied, asked})
    if stopped.is_set():
        screen.print("\nStopped, and put away.")
        return False
    if done:
        satisfied.result()
    if not done:
        screen.print(f"\n[red]Not everything happened within {LONGEST:g} s: see what is missing below.")
    await print_summary(screen, held, store, tally, taken)
    return done


async def _take_in(screen: Console, held: Servers) -> Taken:
    half_life = HALF_LIFE_DAYS * 86_400_000.0
    taken = await take_in(conversation(datetime.now(UTC)), held.cache, held.graph, half_life=half_life)
    screen.print(f"Took in {sum(taken.added.values())} messages of {len(taken.channels)} channels.")
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


async def _satisfied(held: Servers, reminders: Reminders, tally: Tally, expected: int, messages: int) -> None:
    """Return once all reminders are delivered, all messages read, all tasks have run and no vector waits."""
    await reminders.seen_all(expected)
    await tally.all_done(
        {("scheduled_prompt_tick", "moved"): expected, ("auto_kg_extraction", "messages"): messages}
    )
    while await waiting(held.graph, 1) or await held.queue.length():  # noqa: ASYNC110 - no event tells it
        await asyncio.sleep(0.2)
