"""The answer that mem0 asks for: memories as sentences, all in one call."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from benchmarks.memory.adapters import NotUnderstood, Offer, Read
from benchmarks.memory.adapters.prompts import said_by, spoken

__all__ = ["Answers"]

_LINE = re.compile(r"^(user|assistant): (.*)$", re.MULTILINE)


class Answers:
    """The sentences of what the new messages say and no memory that is shown says already."""

    def __init__(self, read: Read, offer: Offer) -> None:
        self._read = read
        self._offer = offer

    def answer(self, request: Mapping[str, Any]) -> str | None:
        """JSON, as the prompt describes it; there is no schema."""
        if "You are a Memory Extractor" not in said_by(request, "system"):
            raise NotUnderstood("another system prompt than that of the extraction")
        prompt = said_by(request, "user")
        known = {each["text"] for each in json.loads(_part(prompt, "Existing Memories"))}
        memory: list[dict[str, Any]] = []
        for role, line in _LINE.findall(_part(prompt, "New Messages")):
            author, text = spoken(line)
            for stated in self._read(author, text, None):
                self._offer(stated)
                if stated.sentence not in known:
                    known.add(stated.sentence)
                    given = {"id": str(len(memory)), "text": stated.sentence, "attributed_to": role}
                    memory.append(given)
        return json.dumps({"memory": memory}, ensure_ascii=False)


def _part(prompt: str, heading: str) -> str:
    found = re.search(rf"^## {heading}\n(.*?)\n\n(?:## |# )", prompt, re.DOTALL | re.MULTILINE)
    if found is None:
        raise NotUnderstood(f"a prompt without the heading {heading}")
    return found[1]
