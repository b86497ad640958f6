"""The tables, in Markdown: on the terminal and on the page the same."""

from __future__ import annotations

from typing import Any

from benchmarks.memory.peers import SYSTEMS
from benchmarks.memory.results import Results

__all__ = ["markdown"]

CALLS = 40
"""Calls of a model for a thousand messages at most, for ours."""

FOUND = 0.95
"""Of what the rules see, in our store."""

HEADINGS = (
    "system",
    "LLM calls / 1,000 messages",
    "prompt tokens / 1,000 messages",
    "embedding calls / 1,000 messages",
    "wall s",
    "CPU s",
    "peak MB",
    "graph server MB",
    "offered",
    "in the store",
)

OF_CRASHES = (
    "system",
    "kills",
    "messages with relations after the first: taken in / of these in the store / others in the store",
    "calls made again",
    "relations lost",
    "more than once",
    "more than once, fed again from the beginning",
    "calls for that",
)


def markdown(results: Results) -> str:
    """Where and when, what it cost, what kills left, and what was aimed at."""
    parts = (about(results), table(results), crashes(results), aims(results))
    return "\n\n".join("\n".join(part) for part in parts if part)


def about(results: Results) -> list[str]:
    """Where and when, of what, versions and settings."""
    lines = [
        f"Taken on {results.on}: {results.messages:,} messages of {results.channels} conversations.",
        f"The stand-in's rules see {results.relations:,} different relations in them.",
        "",
    ]
    lines += [f"- **{name}**: {kept['about']}" for name, kept in results.systems.items() if "about" in kept]
    return lines


def table(results: Results) -> list[str]:
    """A line for each system."""
    lines = [f"| {' | '.join(HEADINGS)} |", f"|---|{'---:|' * (len(HEADINGS) - 1)}"]
    for name in _order(results):
        kept = results.systems[name]
        if (figures := kept.get("figures")) is None:
            lines.append(f"| {name} | {kept.get('ended', 'not measured')} |{' |' * (len(HEADINGS) - 2)}")
        elif figures["against"]:
            lines.append(
                f"| {name} | not comparable: {'; '.join(figures['against'])} |{' |' * (len(HEADINGS) - 2)}"
            )
        else:
            lines.append(f"| {name} | {_row(figures)} |")
    return lines


def _row(figures: dict[str, Any]) -> str:
    return " | ".join(
        (
            f"{figures['calls']:,.0f}",
            f"{figures['tokens']:,.0f}",
            f"{figures['embeddings']:,.0f}",
            f"{figures['wall_s']:,.1f}",
            f"{figures['cpu_s']:,.1f}",
            f"{figures['peak_mb']:,.0f}",
            f"{figures['server_mb']:,.1f}" if figures["server_mb"] else "",
            f"{figures['offered']:.1%}",
            f"{figures['found']:.1%}",
        )
    )


def crashes(results: Results) -> list[str]:
    """What kills left, a line for each system."""
    lines = [f"| {' | '.join(OF_CRASHES)} |", f"|---|{'---:|' * (len(OF_CRASHES) - 1)}"]
    for name in _order(results):
        if (left := results.systems[name].get("crash")) is not None:
            first = left["first_kill"]
            seen = "{taken_in} / {of_them_in_store} / {others_in_store}".format(**first) if first else ""
            lines.append(
                f"| {name} | {left['kills']} | {seen} | {left['calls_more']} | {left['lost']} "
                f"| {_extra(left['extra'])} | {_extra(left['extra_again'])} | {left['calls_again']} |"
            )
    return lines


def _extra(extra: dict[str, int]) -> str:
    names = {"facts": "facts", "entities": "entities", "texts": "memories", "raw": "messages as such"}
    return ", ".join(f"{count} {names[what]}" for what, count in extra.items() if count > 0) or "nothing"


def aims(results: Results) -> list[str]:
    """What was aimed at, beside what came out. Printed, not enforced."""
    ours = results.systems.get("ours", {}).get("figures")
    if ours is None:
        return []
    others = [
        kept["figures"]["tokens"]
        for name, kept in results.systems.items()
        if name != "ours" and "figures" in kept and not kept["figures"]["against"]
    ]
    found = [
        (
            "LLM calls of ours for 1,000 messages",
            f"{ours['calls']:,.1f}",
            f"<= {CALLS}",
            ours["calls"] <= CALLS,
        ),
        ("relations in our store", f"{ours['found']:.1%}", f">= {FOUND:.0%}", ours["found"] >= FOUND),
    ]
    if others:
        times = ours["tokens"] / min(others)
        found.append(("prompt tokens: ours / the fewest of the others", f"{times:.2f}", "< 1", times < 1))
    lines = ["| against what was aimed at | came out | aim |", "|---|---:|---:|"]
    for what, value, aim, reached in found:
        lines.append(f"| {what} | {value}{'' if reached else ' **missed**'} | {aim} |")
    return lines


def _order(results: Results) -> list[str]:
    return [name for name in SYSTEMS if name in results.systems]
