"""Tasks that look after scheduled prompts."""

from __future__ import annotations

from typing import Any

from bgtasks.clock import Clock, SystemClock
from bgtasks.decorators import background_task
from bgtasks.prompts import PromptStore
from bgtasks.settings import namespace_of

__all__ = ["scheduled_prompt_cleanup", "scheduled_prompt_tick"]


@background_task("60s", requires_redis=True, requires_chat_llm=True, scope="cluster")
async def scheduled_prompt_tick(
    redis: Any, *, config: Any = None, clock: Clock | None = None
) -> dict[str, int]:
    """Put the prompts that are due on the stream `<namespace>:prompts:due`, each due instant once."""
    store = PromptStore(redis, namespace_of(config))
    ticked = await store.tick((clock or SystemClock()).now())
    return {"moved": ticked.moved, "broken": ticked.broken}


@background_task("48h", requires_redis=True, scope="cluster")
async def scheduled_prompt_cleanup(
    redis: Any, *, config: Any = None, clock: Clock | None = None
) -> dict[str, int]:
    """Delete prompts that ended, and stream entries written, more than seven days ago."""
    store = PromptStore(redis, namespace_of(config))
    return {"deleted": await store.cleanup((clock or SystemClock()).now())}
