"""Tasks that turn conversations into knowledge: one engine, three triggers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from bgtasks.clock import Clock, SystemClock
from bgtasks.contracts import BotRunner, ChatClient, KnowledgeGraphLike
from bgtasks.decorators import background_task, background_worker
from bgtasks.errors import OverBudget
from bgtasks.memory.extraction import Applied, Extractor, OneCall
from bgtasks.memory.extraction.agentic import Agentic
from bgtasks.memory.extraction.anchoring import Anchoring
from bgtasks.memory.extraction.batch import Batch
from bgtasks.memory.extraction.bulk import bulk
from bgtasks.memory.extraction.dump import Dump
from bgtasks.memory.extraction.rounds import read_channels
from bgtasks.memory.messages import CAP, MessageCache
from bgtasks.outcomes import Deferred, Skipped
from bgtasks.settings import namespace_of
from bgtasks.telemetry import publish_debug_event

__all__ = ["agentic_kg_bulk_incremental_task", "auto_kg_extraction", "limbic_anchoring_task"]

CHANNELS = 10_000
"""Channels that one run goes through at most, those with the latest messages first."""

KEEP = 20
"""Records of bulk passes that are kept, where no setting says."""


@background_task(
    "4h",
    requires_redis=True,
    requires_kg=True,
    requires_openrouter=True,
    requires_chat_llm=True,
    scope="cluster",
)
async def auto_kg_extraction(
    redis: Any,
    kg_manager: KnowledgeGraphLike,
    openrouter: ChatClient,
    config: Any = None,
    *,
    clock: Clock | None = None,
) -> Any:
    """Read what is new in every channel into the graph: who speaks and mentions whom, and what is stated."""
    cache = _cache(redis, config)
    reader = OneCall(openrouter, getattr(config, "kg_extraction_model", None))
    extractor = Extractor(redis, cache, kg_manager, reader, clock=clock or SystemClock())
    read = 0

    async def watch(step: Batch | Applied) -> None:
        nonlocal read
        read += step.messages if isinstance(step, Applied) else 0

    try:
        total = await read_channels(extractor, await cache.get_active_channels(CHANNELS), watch=watch)
    except OverBudget as error:
        return Deferred(f"{error} ({read} messages were read before)")
    return total.counts


@background_task(
    "4h",
    2 * 3600.0,  # half-way between the runs of the other, with which it shares what is new
    requires_redis=True,
    requires_kg=True,
    requires_openrouter=True,
    requires_chat_llm=True,
    scope="cluster",
)
async def agentic_kg_bulk_incremental_task(
    redis: Any,
    kg_manager: KnowledgeGraphLike,
    openrouter: Any,
    *,
    config: Any = None,
    clock: Clock | None = None,
) -> Any:
    """Let a model work with tools on what is new in the channels that were used last."""
    clock = clock or SystemClock()
    namespace = namespace_of(config)
    tell = partial(_tell, redis, namespace)
    if not hasattr(openrouter, "turn"):
        return await _skipped(tell, "unconfigured: openrouter cannot be given tools (it has no method turn)")
    cache = _cache(redis, config)
    if not await cache.get_active_channels(1):
        return await _skipped(tell, "no channel is active")
    model = getattr(config, "kg_extraction_model", None)
    reader = Agentic(openrouter, kg_manager, model, clock=clock)
    extractor = Extractor(redis, cache, kg_manager, reader, clock=clock)
    directory = Path(getattr(config, "kg_bulk_dir", "var/kg_bulk_scheduled"))
    dump = Dump(directory, clock.now(), keep=int(getattr(config, "kg_bulk_keep", KEEP)))
    read = 0

    async def note(milestone: str, data: Mapping[str, Any]) -> None:
        nonlocal read
        read = data["messages"] if milestone == "over budget" else 0
        await tell(milestone, data)

    try:
        total = await bulk(extractor, cache, dump, note)
    except OverBudget as error:
        return Deferred(f"{error} ({read} messages were read before)")
    if not total.batches and not total.busy:
        return await _skipped(tell, "there is no news")
    return total.counts


@background_worker(
    restart_delay="30s",
    requires_bot_runner=True,
    requires_chat_llm=False,
    requires=("bot_runner.redis", "bot_runner.kg_manager", "bot_runner.openrouter"),
    opt_in_config_flag="ka_enabled",
    scope="leader",
)
async def limbic_anchoring_task(bot_runner: BotRunner) -> None:
    """Read each channel into the graph soon after it has fallen quiet."""
    config, clock = bot_runner.cfg, SystemClock()
    cache = _cache(bot_runner.redis, config)
    reader = OneCall(bot_runner.openrouter, getattr(config, "kg_extraction_model", None))
    extractor = Extractor(bot_runner.redis, cache, bot_runner.kg_manager, reader, clock=clock)
    await Anchoring(extractor, cache, clock).run()


def _cache(redis: Any, config: Any) -> MessageCache:
    cap = getattr(config, "channel_messages", CAP)
    return MessageCache(redis, namespace_of(config), cap=cap if isinstance(cap, int) else CAP)


async def _tell(redis: Any, namespace: str, milestone: str, data: Any) -> None:
    said = {"milestone": milestone, **data}
    await publish_debug_event("kg_bulk_incremental", said, redis=redis, namespace=namespace)


async def _skipped(tell: Any, reason: str) -> Skipped:
    await tell("skipped", {"reason": reason})
    return Skipped(reason)
