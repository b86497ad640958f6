"""mem0 with its vectors in a local Qdrant, by pairs of messages."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

os.environ["MEM0_TELEMETRY"] = "False"  # before it is imported

from benchmarks.memory.conversation import Line
from benchmarks.memory.peers import DIMENSION, EMBEDDING, KEY, MODEL, Contents, Place

__all__ = ["System"]


class System:
    """One user for each channel; who spoke first in it is the user, all others are the assistant."""

    step: int | None = 2
    resumes = False
    loggers = ("mem0",)
    harmless = ("fastembed not installed", "Failed to load spaCy")

    def __init__(self) -> None:
        self.about = (
            f"mem0ai {version('mem0ai')} without its extras, Memory.add for each {self.step} messages, "
            f"json_object; qdrant-client {version('qdrant-client')} on disk, openai {version('openai')}"
        )
        self._memory: Any = None
        self._users: dict[str, str] = {}

    async def open(self, place: Place) -> None:
        """One memory for all channels."""
        os.environ["MEM0_DIR"] = str(place.directory / "home")
        from mem0 import Memory  # type: ignore[import-not-found]

        for line in place.lines:
            self._users.setdefault(line.channel, line.author)
        config = {
            "vector_store": {
                "provider": "qdrant",
                "config": {
                    "collection_name": "memories",
                    "path": str(place.directory / "qdrant"),
                    "on_disk": True,
                    "embedding_model_dims": DIMENSION,
                },
            },
            "llm": {
                "provider": "openai",
                "config": {"model": MODEL, "api_key": KEY, "openai_base_url": place.model},
            },
            "embedder": {
                "provider": "openai",
                "config": {
                    "model": EMBEDDING,
                    "api_key": KEY,
                    "openai_base_url": place.model,
                    "embedding_dims": DIMENSION,
                },
            },
            "history_db_path": str(place.directory / "history.db"),
        }
        self._memory = Memory.from_config(config)

    async def add(self, lines: Sequence[Line]) -> None:
        """One call, in the form for several speakers; the day can be said in its instructions only."""
        said = [
            {
                "role": "user" if self._users[line.channel] == line.author else "assistant",
                "content": f"{line.author}: {line.text}",
            }
            for line in lines
        ]
        day = f"The observation date is {lines[0].at:%Y-%m-%d}."
        self._memory.add(said, user_id=lines[0].channel, prompt=day)

    async def contents(self) -> Contents:
        """All memories of all users."""
        texts: list[str] = []
        for user in self._users:
            kept = self._memory.get_all(filters={"user_id": user}, top_k=1_000_000)
            texts += [each["memory"] for each in kept["results"]]
        return Contents(texts=texts)

    async def close(self) -> None:
        """Close its databases."""
        self._memory.close()
        self._memory.vector_store.client.close()
