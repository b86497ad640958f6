"""A process that ticks as fast as it can, driven through its stdin.

    tick_process.py URL           a client of the server at URL
    tick_process.py --embedded DIRECTORY    a user of the embedded server there

It says "ready" once it can begin, ticks from the first line on stdin until stdin ends, and then says as
JSON how many prompts it moved. A server that does not answer is asked again.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from datetime import UTC, datetime

from bgtasks.connect import open_redis
from bgtasks.embedded import EmbeddedServer
from bgtasks.errors import ResourceUnavailable
from bgtasks.prompts import PromptStore


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


async def tick_until_told(store: PromptStore) -> tuple[int, int]:
    moved = refused = 0
    told = asyncio.ensure_future(asyncio.to_thread(sys.stdin.readline))
    while not told.done():
        try:
            moved += (await store.tick(datetime.now(UTC))).moved
        except ResourceUnavailable:
            refused += 1
    await told
    return moved, refused


async def main() -> None:
    async with AsyncExitStack() as stack:
        url = sys.argv[-1]
        if "--embedded" in sys.argv:
            server = await stack.enter_async_context(EmbeddedServer(url))
            url = server.url
        client = await stack.enter_async_context(open_redis(url))
        await client.ping()
        say("ready")
        await asyncio.to_thread(sys.stdin.readline)
        moved, refused = await tick_until_told(PromptStore(client))
        say(json.dumps({"moved": moved, "refused": refused}))


if __name__ == "__main__":
    asyncio.run(main())
