"""The stand-in of one run, behind an adapter: `python -m benchmarks.memory.model '{"adapter": ...}'`.

Asked in lines of JSON for its URL, or for what it was asked up to now.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from dataclasses import asdict
from typing import Any

from benchmarks.claims.crew import serve
from benchmarks.memory.adapters import NotUnderstood, Stated, make
from benchmarks.memory.relations import key_of
from bgtasks.testing.model import Fault, Faults, ModelServer, Reply
from bgtasks.testing.model.rules import read

__all__ = ["main"]


class Asked:
    """What a system asked of the stand-in, and what it was offered."""

    def __init__(self, adapter: str) -> None:
        self.offered: set[tuple[str, str, str]] = set()
        self.not_understood: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self._adapter = make(adapter, read, self._offer)

    def _offer(self, stated: Stated) -> None:
        self.offered.add(key_of(stated))

    def answer(self, request: dict[str, Any]) -> Reply | str | None:
        """What the stand-in says; None: by its rules, or vectors."""
        if "messages" not in request:
            return None
        form = request.get("response_format") or {}
        self.kinds[form.get("json_schema", {}).get("name") or form.get("type") or "plain"] += 1
        try:
            return self._adapter.answer(request)
        except (NotUnderstood, ValueError, KeyError, TypeError) as error:
            what = str(error) if isinstance(error, NotUnderstood) else f"a prompt it fails on ({error!r:.60})"
            self.not_understood[what] += 1
            return Reply(text=what, status=400, code="not_understood")


async def _main(adapter: str, takes: float) -> None:
    asked = Asked(adapter)
    faults = Faults(share={Fault("slow", seconds=takes): 1.0}) if takes else None
    async with ModelServer(answer=asked.answer, faults=faults) as server:

        async def answer(do: str) -> dict[str, Any]:
            if do == "url":
                return {"url": server.url}
            of_chats = [call for call in server.calls if call.kind == "chat"]
            return {
                **asdict(server.tally),
                "chat_tokens": sum(call.prompt_tokens for call in of_chats),
                "chats_repeated": sum(call.repeated for call in of_chats),
                "kinds": dict(asked.kinds),
                "not_understood": dict(asked.not_understood),
                "offered": sorted(asked.offered),
            }

        await serve(answer)


def main() -> None:
    """Answer."""
    asyncio.run(_main(**json.loads(sys.argv[1])))


if __name__ == "__main__":
    main()
