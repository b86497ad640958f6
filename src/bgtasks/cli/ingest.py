"""`bgtasks ingest`: conversations from files into the message cache and the graph."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from bgtasks.cli.display import say
from bgtasks.cli.session import RedisUrl, execute, given, load
from bgtasks.contracts import Absent
from bgtasks.errors import InvalidMessage
from bgtasks.resources import Resources, open_resources
from bgtasks.settings import Settings

if TYPE_CHECKING:
    from bgtasks.memory.intake import Taken

__all__ = ["ingest"]

SHOWN = 20
"""Bad lines that are listed, for each file; the rest are counted."""


def ingest(
    files: list[Path] = typer.Argument(
        metavar="FILE...", help="JSON lines: channel, id, author, ts, text; optionally role, origin."
    ),
    redis: str | None = RedisUrl,
) -> None:
    """Take messages in from files. Safe to repeat: a message that is there already is not added again.

    A line that is no message is reported by its number, and the rest goes in; the exit code is then 1.
    """
    execute(_ingest(load(redis), files))


async def _ingest(settings: Settings, files: list[Path]) -> int:
    sizes = {path: await asyncio.to_thread(_count_lines, path) for path in files}
    bad = 0
    async with open_resources(settings) as held:
        for path, size in sizes.items():
            taken = await _take(path, size, held)
            _report(path, taken)
            bad += taken.bad_count
        if isinstance(held.kg_manager, Absent):
            say(f"graph: not written, since {held.kg_manager.reason}", err=True)
    return 1 if bad else 0


async def _take(path: Path, size: int | None, held: Resources) -> Taken:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from bgtasks.memory.intake import take_in
    from bgtasks.memory.jsonl import read_file

    cache = given(held.bot_runner).message_cache
    graph = None if isinstance(held.kg_manager, Absent) else held.kg_manager
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        line = bar.add_task(path.name, total=size)
        return await take_in(read_file(path), cache, graph, progress=lambda n: bar.advance(line, n))


def _report(path: Path, taken: Taken) -> None:
    if not taken.channels:
        say(f"{path.name}: no messages")
    for channel in taken.channels:
        say(f"{path.name}: {channel}: {taken.added[channel]} added, {taken.known[channel]} known")
    if taken.woven.messages:
        say(f"{path.name}: graph: {taken.woven.messages} messages woven in")
    for each in taken.bad[:SHOWN]:
        say(f"{path.name}: line {each.number}: {each.reason}", err=True)
    if taken.bad_count > SHOWN:
        say(f"{path.name}: and {taken.bad_count - SHOWN} more bad lines", err=True)
    if taken.bad:
        cure = "mend them and run it again: what is in already is not added twice"
        say(f"{path.name}: {taken.bad_count} lines were not taken; {cure}", err=True)


def _count_lines(path: Path) -> int | None:
    """The lines with something on them, as the progress bar counts them; None for a pipe, read only once.

    Raises:
        InvalidMessage: The file cannot be opened.
    """
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            return None
        with path.open("rb") as lines:
            return sum(1 for line in lines if line.strip())
    except OSError as error:
        raise InvalidMessage(f"{path} cannot be read: {error.strerror or error}") from error
