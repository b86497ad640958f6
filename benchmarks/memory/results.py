"""What was measured, kept as it comes: a run that is broken off goes on where it was."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Results"]


@dataclass(slots=True)
class Results:
    """The figures of all systems over the same messages.

    Attributes:
        on: The date, the machine and its Python.
        messages: How many there were.
        channels: In how many channels.
        of: Tells these messages, and what is seen in them, apart from others.
        relations: How many different ones the rules see in them.
        systems: By name, what it is (`about`), its `figures`, what a `crash` left, or why there are none
            (`ended`).
    """

    on: str
    messages: int
    channels: int
    of: str
    relations: int
    systems: dict[str, dict[str, Any]] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Keep them."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", "utf-8")

    @classmethod
    def read(cls, path: Path) -> Results:
        """What was kept."""
        return cls(**json.loads(path.read_text("utf-8")))

    def goes_on_from(self, path: Path) -> None:
        """Take over what was kept of the same messages."""
        if path.exists():
            kept = Results.read(path)
            if kept.of == self.of:
                self.on, self.systems = kept.on, kept.systems
