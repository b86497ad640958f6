"""The picture of the graph: one file that stays when the demonstration is over."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bgtasks.graph.draw import draw
from bgtasks.graph.facts import Fact

__all__ = ["ENTITIES", "LEAST", "NAME", "draw_picture", "hanging_together"]

NAME = "bgtasks-demo.svg"
"""The file's name in the directory for temporary files; each demonstration replaces that of the last."""

LEAST = 3
"""Facts that hang together, at least, to be in the picture."""

ENTITIES = 80
"""Entities in the picture, at most."""


def hanging_together(facts: Sequence[Fact]) -> list[Fact]:
    """The facts of all groups that hang together by entities they share, but for the smallest groups."""
    group_of: dict[str, set[str]] = {}
    for fact in facts:
        ends = (fact.subject.id, fact.object.id)
        group = set(ends).union(*(group_of.get(end, ()) for end in ends))
        group_of.update(dict.fromkeys(group, group))
    sizes = Counter(id(group_of[fact.subject.id]) for fact in facts)
    return [fact for fact in facts if sizes[id(group_of[fact.subject.id])] >= LEAST]


def draw_picture(facts: Sequence[Fact], title: str) -> Path:
    """Draw the facts, and return where the picture is. Takes a second of the processor: call it in a thread.

    Raises:
        OSError: It cannot be written.
    """
    shown = draw(facts, title=title, limit=ENTITIES)
    # Written elsewhere first: in a directory that others write to, the name may be a link of theirs.
    handle, written = tempfile.mkstemp(prefix="bgtasks-picture-", suffix=".svg")
    with open(handle, "w", encoding="utf-8") as file:
        file.write(shown)
    os.chmod(written, 0o644)
    try:
        return Path(written).replace(Path(tempfile.gettempdir()) / NAME)
    except PermissionError:  # the name is taken by another user
        return Path(written)
