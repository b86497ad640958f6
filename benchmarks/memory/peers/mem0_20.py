"""mem0 given more messages at once than its documentation shows, which saves it calls."""

from __future__ import annotations

from benchmarks.memory.peers import mem0

__all__ = ["System"]


class System(mem0.System):
    """So many messages at once."""

    step: int | None = 20
