"""A process that adds prompts to the embedded server in a directory, one after the other, until it is killed.

It prints the id of each once the store has acknowledged it.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime, timedelta

from bgtasks import Once
from bgtasks.embedded import EmbeddedServer
from bgtasks.prompts import PromptStore


async def main() -> None:
    async with EmbeddedServer(sys.argv[1]) as server, server.client() as client:
        store = PromptStore(client)
        while True:
            now = datetime.now(UTC)
            prompt = await store.add("to be kept", Once(now + timedelta(hours=1)), now=now)
            sys.stdout.write(prompt.id + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
