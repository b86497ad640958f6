"""`make bench-memory DATA=folder`, or `python -m benchmarks.memory folder`."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.memory.peers import SYSTEMS
from benchmarks.memory.runner import main


def _run() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("folder", type=Path, help="conversations: *.jsonl with channel, id, author, ts, text")
    parser.add_argument("--systems", default=",".join(SYSTEMS), help=f"of {', '.join(SYSTEMS)}")
    parser.add_argument("--messages", type=int, help="the first so many, else all")
    parser.add_argument("--crash-messages", type=int, default=200, help="so many while it is killed; 0: none")
    parser.add_argument("--fresh", action="store_true", help="forget what was measured before")
    said = parser.parse_args()
    systems = [name.strip() for name in said.systems.split(",")]
    if unknown := [name for name in systems if name not in SYSTEMS]:
        parser.error(f"no system is called {', '.join(unknown)}; there are: {', '.join(SYSTEMS)}")
    if not said.folder.is_dir():
        parser.error(f"{said.folder} is not a folder")
    more = {"messages": said.messages, "crash_messages": said.crash_messages, "fresh": said.fresh}
    try:
        main(said.folder, systems, **more)
    except ValueError as error:
        parser.error(str(error))


_run()
