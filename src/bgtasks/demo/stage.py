"""What the demonstration registers: the built-in tasks, sooner, and three of a user's own."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from bgtasks.connect import text
from bgtasks.decorators import background_task, background_worker
from bgtasks.outcomes import Skipped
from bgtasks.registry import Registry
from bgtasks.spec import TaskSpec
from bgtasks.tasks import (
    auto_kg_extraction,
    embedding_worker,
    kg_decay_task,
    scheduled_prompt_cleanup,
    scheduled_prompt_tick,
)
from bgtasks.triggers import Every

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["HALF_LIFE_DAYS", "Reminders", "demo_registry"]

HALF_LIFE_DAYS = 10
"""Days in which a weight halves, so that something of six weeks fades within the demonstration."""

_SOONER = {
    scheduled_prompt_tick.__name__: Every("1s"),
    scheduled_prompt_cleanup.__name__: Every("5s"),
    kg_decay_task.__name__: Every("6s"),
    auto_kg_extraction.__name__: Every("4s"),
}


class Reminders:
    """Reads the stream of due prompts and shows each: what a host's agent would answer."""

    def __init__(self, console: Console, redis: Redis, stream: str) -> None:
        self._console = console
        self._redis: Any = redis
        self._stream = stream
        self._cursor = "0"
        self._seen: list[str] = []
        self._more = asyncio.Condition()

    async def listen(self) -> None:
        """Show what is on the stream, for ever."""
        while True:
            answer = await self._redis.xread({self._stream: self._cursor}, block=1000)
            for _, entries in answer.items() if isinstance(answer, dict) else answer:
                for entry in _flat(entries):
                    await self._show(*entry)

    async def seen_all(self, count: int) -> None:
        """Return once `count` reminders were shown."""
        async with self._more:
            await self._more.wait_for(lambda: len(self._seen) >= count)

    async def _show(self, entry: Any, fields: dict[Any, Any]) -> None:
        self._cursor = text(entry)
        held = {text(key): text(value) for key, value in fields.items()}
        self._console.print(f"  [bold cyan]→ {held['user']}[/] in {held['channel']}: {escape(held['text'])}")
        async with self._more:
            self._seen.append(held["run"])
            self._more.notify_all()


def demo_registry(reminders: Reminders) -> Registry:
    """The built-in tasks with shorter intervals, and three that show what a user's own look like."""
    registry = Registry()
    for func in (scheduled_prompt_tick, scheduled_prompt_cleanup, kg_decay_task, auto_kg_extraction):
        registry.add(_sooner(func))
    registry.add(embedding_worker.__bgtasks_spec__)  # type: ignore[attr-defined]

    @background_worker(registry=registry, requires_redis=True, restart_delay="1s")
    async def deliver_reminders() -> None:
        await reminders.listen()

    @background_task("4s", initial_delay=1.0, registry=registry, name="busiest_pair")
    async def busiest_pair(kg_manager: Any) -> Any:
        rows = await kg_manager.query(
            "MATCH (a:Entity)-[r:REL {p: 'mentions'}]->(b:Entity) "
            "RETURN a.name, b.name, r.n ORDER BY r.n DESC, a.name LIMIT 1"
        )
        if not rows:
            return Skipped("nobody mentions anybody yet")
        return {"who": f"{rows[0][0]} → {rows[0][1]}", "mentions": int(rows[0][2])}

    @background_task("1h", registry=registry, requires=("radio",))
    async def read_on_air(radio: Any) -> None:
        await radio.say("And now: the fox.")

    return registry


def _sooner(func: Any) -> TaskSpec:
    spec: TaskSpec = func.__bgtasks_spec__
    return replace(spec, trigger=_SOONER[spec.name])


def _flat(entries: Any) -> list[Any]:
    """The entries of a stream's answer; RESP3 clients put them into one more list."""
    return entries[0] if entries and isinstance(entries[0], list) else entries
