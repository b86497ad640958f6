"""What the conversation has become: entities and facts, each with the message it comes from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from rich.console import Console
from rich.markup import escape

from bgtasks.demo.screen import WIDTH, short, spoken
from bgtasks.graph import KnowledgeGraph
from bgtasks.graph.facts import Entity, Fact, strongest
from bgtasks.graph.vectors import similar_messages
from bgtasks.llm import OpenAIChat
from bgtasks.memory.messages import Message, MessageCache
from bgtasks.memory.structure import MENTIONS, SPEAKS_IN

__all__ = ["QUESTION", "facts_of", "print_facts", "print_search"]

QUESTION = "Where is the green tent?"
"""What is searched for at the end."""

_ALL = 1_000
_PEOPLE, _FACTS, _HITS = 2, 5, 3


async def facts_of(graph: KnowledgeGraph, now: datetime) -> list[Fact]:
    """What was stated, the heaviest first; who speaks and mentions whom is shown elsewhere."""
    return await strongest(graph, now=now, limit=_ALL, without=(MENTIONS, SPEAKS_IN))


async def print_facts(
    console: Console, graph: KnowledgeGraph, cache: MessageCache, facts: Sequence[Fact]
) -> None:
    """Say how much there is, and show the strongest facts about the two people most is known of."""
    counts = await graph.stats()
    kinds = ", ".join(f"{kind} {count}" for kind, count in counts.by_kind.items())
    console.print(
        "\n[bold]What the conversation says[/], in FalkorDB, as far as the stand-in can tell:\n"
        "  it goes by rules and is no real model; it sees what is said in plain words"
    )
    console.print(f"  {short(f'{counts.entities} entities: {kinds}', WIDTH - 2)}")
    console.print(f"  {len(facts)} facts between them, and {counts.vectors} vectors of entities and messages")
    for person in _most_told_of(facts):
        about = [fact for fact in facts if person.id in (fact.subject.id, fact.object.id)]
        console.print(f"\n  [bold cyan]{escape(person.name)}[/]: the strongest of {len(about)} facts")
        for fact in about[:_FACTS]:
            said = fact.sentence or f"{fact.subject.name} {fact.predicate} {fact.object.name}"
            console.print(f"    [cyan]{fact.weight:.2f}[/] {escape(short(said, WIDTH - 9))}")
            for message in await _source(cache, fact):
                console.print(f"         {spoken(message, WIDTH - 9, fact.object.name)}", highlight=False)


async def print_search(
    console: Console, graph: KnowledgeGraph, cache: MessageCache, client: OpenAIChat, now: datetime
) -> None:
    """Look for one question, by its words and by its vector, among entities and among messages."""
    (vector,) = await client.embed([QUESTION], task="demo")
    console.print(
        "\n[bold]A search by meaning[/] (but the stand-in's vectors know little but spelling)\n"
        f"  asked for: [italic]“{escape(QUESTION)}”[/]"
    )
    found = await graph.search(QUESTION, vector=vector, k=_HITS, now=now)
    names = ", ".join(f"{each.name} ({each.kind})" for each in found)
    console.print(f"  entities: {escape(names)}")
    console.print("  messages:")
    for near in await similar_messages(graph, vector, _HITS):
        for message in await cache.get(near.channel, [near.id]):
            line = spoken(message, WIDTH - 9)
            console.print(f"    [cyan]{near.similarity:.2f}[/] {line}", highlight=False)


def _most_told_of(facts: Sequence[Fact]) -> list[Entity]:
    """The people whom the most facts are about."""
    told = Counter(fact.subject for fact in facts if fact.subject.kind == "person")
    return sorted(told, key=lambda each: (-told[each], each.id))[:_PEOPLE]


async def _source(cache: MessageCache, fact: Fact) -> list[Message]:
    """The latest message that states the fact, if it is still there."""
    channel, _, identity = fact.sources[-1].partition("/") if fact.sources else ("", "", "")
    return await cache.get(channel, [identity]) if identity else []
