"""The figures of one system."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.memory.conversation import Line
from benchmarks.memory.relations import Relation, Store
from benchmarks.memory.run import Run

__all__ = ["ENOUGH", "measure"]

ENOUGH = 0.8
"""The share of the relations that must have been offered to a system, else it is not compared."""


async def measure(
    system: str, lines: Sequence[Line], relations: Sequence[Relation], tell: Callable[[str], None]
) -> dict[str, Any]:
    """Run it over all messages, and look at what it asked for and what it keeps."""
    async with Run(system, lines) as run:
        before = await run.server_bytes()
        fed = await run.feed(heard=lambda done: tell(f"{done:,} of {len(lines):,} messages"))
        server = await run.server_bytes() - before
        asked, store = await run.asked(), Store(await run.read())
    assert fed.figures is not None
    wanted = {relation.key for relation in relations}
    offered = wanted & {tuple(key) for key in asked["offered"]}
    each = 1000 / len(lines)
    return {
        "calls": asked["chats"] * each,
        "tokens": asked["chat_tokens"] * each,
        "written": asked["completion_tokens"] * each,
        "embeddings": asked["embeddings"] * each,
        "wall_s": fed.figures["wall_s"],
        "cpu_s": fed.figures["cpu_s"],
        "peak_mb": fed.figures["peak"] / 1e6,
        "at_rest_mb": fed.figures["at_rest"] / 1e6,
        "server_mb": server / 1e6,
        "offered": len(offered) / len(wanted),
        "found": len(store.found(relations)) / len(wanted),
        "stored": store.counts,
        "by_schema": asked["kinds"],
        "against": against(asked, fed.figures["complaints"], len(offered) / len(wanted)),
    }


def against(asked: dict[str, Any], complaints: dict[str, int], offered: float) -> list[str]:
    """Why these figures are not to be compared; nothing: they are."""
    reasons = [
        f"asked for what there is no answer to, {n} times: {what}"
        for what, n in asked["not_understood"].items()
    ]
    failed = sum(count for status, count in asked["by_status"].items() if status != "200")
    if failed and not reasons:
        reasons.append(f"{failed} calls were not answered")
    reasons += [f"complained {count} times: {what}" for what, count in complaints.items()]
    if offered < ENOUGH:
        reasons.append(f"was offered {offered:.0%} of the relations")
    return reasons
