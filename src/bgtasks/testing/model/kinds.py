"""What sort of thing a phrase names."""

from __future__ import annotations

from bgtasks.testing.model.words import ANIMALS, EVENTS, KIN, ORGANISATIONS, PLACES, WORKS, word_set

__all__ = ["kind_of"]

_PEOPLE = word_set("""
    kids children parents family friends people students woman man girl boy couple
""")


def kind_of(phrase: str, otherwise: str = "topic") -> str:
    """One of the kinds of our extraction, by the last word; `otherwise` where that says nothing."""
    words = phrase.lower().split(" of ")[0].split()
    head = words[-1] if words else ""
    for kind, listed in (
        ("person", KIN | _PEOPLE),
        ("animal", ANIMALS),
        ("event", EVENTS),
        ("work", WORKS),
        ("organisation", ORGANISATIONS),
        ("place", PLACES),
    ):
        if head in listed:
            return kind
    if head.endswith("ing") and len(head) > 5 and otherwise not in ("place", "organisation"):
        return "activity"
    return otherwise
