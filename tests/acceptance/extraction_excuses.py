"""Awaits on the way of extraction that a tour of it need not meet, by function or by line, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

from tests.support.awaits import HOUSE, Place

__all__ = ["ALWAYS", "OF_TOOLS", "ONE_CALL", "report"]

ALWAYS = {
    "write": "writes without a cursor: no part of extraction",
    "OpenAIChat.chat": "extraction asks for schemas and for turns",
    "OpenAIChat.embed": "vectors are made by another task",
    "Answering.vectors": "likewise",
    "OpenAIChat.aclose": "closing is no part of extraction",
    "Calls.aclose": "likewise",
    "Transport.aclose": "likewise",
    "Answers.put": "for a client without a budget: tests/unit/llm has it",
    "Calls._settle: await self._answers.put(keep)": "likewise",
    "Budget.spent.ask": "looks at the budget",
    "Budget.spent": "likewise",
    "Extractor.blame": "of a model that answers other channels: tests/contracts/test_extraction.py has it",
    "Limiter._take: await turn": "waits for others who ask; one channel asks one question at a time",
    "Limiter.slot: await self._take()": "likewise",
    "Calls._given_back": "after a cancellation, in an asyncio task of its own: tests/unit/llm has it",
    "ask: text = await client.chat(asked, **sent)": "for a host's client that only chats",
    "Answering.reply: reply = await self._calls().make(asked, judge)": "one of two is for no answer at all",
}
"""For every tour."""

ONE_CALL = {
    "Agentic.read": "the other reader",
    "Toolbox.answer": "likewise",
    "Toolbox._do": "likewise",
    "OpenAIChat.turn": "likewise",
    "Answering.reply": "likewise",
}
"""For one with a call for each batch."""

OF_TOOLS = ("memory/extraction/agentic.py", "memory/extraction/toolbox.py")
"""Where awaits have to be met in a tour with tools: the others are for the other tour to meet."""


def report(places: Iterable[Place], met: set[Place], *excused: Mapping[str, str]) -> tuple[str, list[Place]]:
    """What was found and what was hit, in words; and the places that were to be met and were not."""
    excuses = {name: why for each in (ALWAYS, *excused) for name, why in each.items()}
    lines, missed = [], []
    found = list(places)
    for place in found:
        why = excuses.get(place.function) or excuses.get(f"{place.function}: {_line(place)}")
        if place in met:
            lines.append(f"  hit: {place}")
        elif why is not None:
            lines.append(f"  excused: {place}: {why}")
        else:
            lines.append(f"  NOT HIT: {place}")
            missed.append(place)
    hit = sum(place in met for place in found)
    excused_count = len(found) - hit - len(missed)
    head = f"{len(found)} awaits found, {hit} hit, {excused_count} excused, {len(missed)} missed"
    return "\n".join([head, *lines]) + "\n", missed


def _line(place: Place) -> str:
    return _lines(place.module)[place.line - 1].strip()


@cache
def _lines(module: str) -> list[str]:
    return (HOUSE / module).read_text("utf-8").splitlines()
