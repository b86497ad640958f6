"""A folder of conversations, as every system is given it. Standard library only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import batched, groupby
from pathlib import Path

__all__ = ["Line", "fingerprint", "read_folder", "read_lines", "steps", "write_lines"]


@dataclass(frozen=True, slots=True)
class Line:
    """One message; its text is in one line, so that a prompt can be taken apart again."""

    channel: str
    id: str
    author: str
    ts: str
    text: str

    @property
    def at(self) -> datetime:
        """When it was written."""
        return datetime.fromisoformat(self.ts)


def read_folder(folder: Path, at_most: int | None = None) -> list[Line]:
    """The messages of all `*.jsonl`, channel after channel, each in the order of its file.

    Raises:
        ValueError: There are none, or a line is not a message; the text names file and line.
    """
    lines: list[Line] = []
    for path in sorted(folder.glob("*.jsonl")):
        for number, row in enumerate(path.read_text("utf-8").splitlines(), 1):
            try:
                said = json.loads(row)
                line = Line(*(" ".join(str(said[key]).split()) for key in Line.__slots__))
                line.at  # noqa: B018 - a wrong time is to be found here
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{path.name}, line {number}, is not a message: {error!r}") from error
            lines.append(line)
    lines.sort(key=lambda line: line.channel)  # stable
    if not lines:
        raise ValueError(f"there are no messages in {folder}: no *.jsonl, or empty ones")
    return lines[:at_most]


def steps(lines: Sequence[Line], size: int | None) -> Iterator[list[Line]]:
    """What is handed to a system at once: so many messages of one channel, or the whole channel."""
    for _, channel in groupby(lines, key=lambda line: line.channel):
        said = list(channel)
        for some in batched(said, size or len(said)):
            yield list(some)


def write_lines(lines: Sequence[Line], path: Path) -> None:
    """Keep them for another process."""
    path.write_text("".join(json.dumps(asdict(line)) + "\n" for line in lines), "utf-8")


def read_lines(path: Path) -> list[Line]:
    """What was kept."""
    return [Line(**json.loads(row)) for row in path.read_text("utf-8").splitlines()]


def fingerprint(lines: Sequence[Line], relations: Iterable[Sequence[str]]) -> str:
    """Tells other messages apart, and those in which other relations are seen; says nothing about them."""
    whole = json.dumps([[asdict(line) for line in lines], sorted(relations)])
    return hashlib.sha256(whole.encode()).hexdigest()[:16]
