"""A reader that asks a model once for each batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bgtasks.contracts import ChatClient
from bgtasks.llm.ask import ask
from bgtasks.memory.extraction.batch import Batch
from bgtasks.memory.extraction.prompt import VERSION, request
from bgtasks.memory.extraction.reply import Extraction

__all__ = ["MAX_TOKENS", "OneCall"]

MAX_TOKENS = 6_000
"""Tokens of an answer, at most: forty messages rarely come to half of that."""


@dataclass(frozen=True, slots=True)
class OneCall:
    """One structured call, for entities and facts together.

    Args:
        client: Whom to ask.
        model: Another model than the client's own for extraction.
    """

    client: ChatClient
    model: str | None = None

    async def read(self, batch: Batch, known: Sequence[tuple[str, str]]) -> Extraction:
        """All that `batch` states; as `Reader.read`."""
        return await ask(
            self.client,
            request(batch, known),
            Extraction,
            override_model=self.model,
            purpose="extraction",
            prompt_version=VERSION,
            max_tokens=MAX_TOKENS,
        )
