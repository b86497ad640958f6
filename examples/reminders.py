"""An assistant that reminds: a program of its own, with the built-in tick and a worker beside it.

To run:            python examples/reminders.py
It should print:   a row for each task, then within some seconds "reminding kasia: is the tent dry?"

It starts an embedded Redis in a scratch directory, so it needs: pip install 'bgtasks[embedded]'
"""

from __future__ import annotations

import asyncio
import tempfile
from datetime import UTC, datetime, timedelta
from typing import Any

from bgtasks import Once, background_worker, build_scheduler
from bgtasks.embedded import EmbeddedServer
from bgtasks.prompts import PromptStore

reminded = asyncio.Event()


@background_worker(restart_delay="1s")
async def remind(redis: Any) -> None:
    """Read the stream of due prompts; a real assistant would hand each to its model."""
    cursor = "0"
    while True:
        answer = await redis.xread({"bgtasks:prompts:due": cursor}, block=1000)
        for entry, fields in answer[0][1] if answer else ():
            cursor = entry
            print(f"reminding {fields['user']}: {fields['text']}")
            reminded.set()


async def main() -> None:
    """Schedule one reminder, and run until it was given."""
    with tempfile.TemporaryDirectory() as scratch:
        async with EmbeddedServer(scratch) as server:
            redis = server.client(decode_responses=True, protocol=2)
            now = datetime.now(UTC)
            in_a_moment = Once(now + timedelta(milliseconds=10))
            await PromptStore(redis).add("is the tent dry?", in_a_moment, now=now, user="kasia")
            await asyncio.sleep(0.05)  # due when the first tick comes, which is at once
            scheduler = build_scheduler(redis=redis, exclude=("scheduled_prompt_cleanup",))
            for row in scheduler.decisions:
                print(f"{row.name}: {row.reason or row.when}")
            async with scheduler:
                await asyncio.wait_for(reminded.wait(), 20)
            await redis.aclose()


if __name__ == "__main__":
    asyncio.run(main())
