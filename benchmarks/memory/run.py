"""One system with a place of its own: a stand-in, a store, and processes that feed it or read it."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.apart import ROOT, interpreter
from benchmarks.claims.crew import READ_LIMIT, Crew, NoFigures
from benchmarks.memory.conversation import Line, write_lines
from benchmarks.memory.peers import SYSTEMS, Contents
from bgtasks.embedded import EmbeddedServer

__all__ = ["Fed", "Run", "about", "python_of"]

PATIENCE = 300.0
"""Seconds that a system may be silent."""


@dataclass(frozen=True, slots=True)
class Fed:
    """How far one process came.

    Attributes:
        done: Messages up to the last one that it had taken in.
        figures: What it says of itself at its end; None: it was killed before that.
    """

    done: int
    figures: dict[str, Any] | None


def python_of(system: str) -> str:
    """The interpreter that a system is installed for; made when it is missing."""
    apart = SYSTEMS[system].apart
    return sys.executable if apart is None else interpreter(apart)


async def about(system: str) -> str:
    """Versions and settings of a system."""
    async with _Worker(system, {"system": system}, None) as worker:
        return str((await worker.next())["about"])


class Run:
    """A system over these messages, from nothing; all of it is gone after the block.

    Args:
        takes: Seconds that the stand-in takes for each answer.
    """

    def __init__(self, system: str, lines: Sequence[Line], takes: float = 0.0) -> None:
        self._system = system
        self._known = SYSTEMS[system]
        self._lines = lines
        self._takes = takes
        self._directory = Path(tempfile.mkdtemp(prefix="bgtasks-bench-"))
        self._stack = AsyncExitStack()
        self._server: EmbeddedServer | None = None
        self._crew: Crew | None = None
        self._asked: dict[str, Any] = {}

    async def __aenter__(self) -> Self:
        self._stack.callback(shutil.rmtree, self._directory, ignore_errors=True)
        try:
            write_lines(self._lines, self._directory / "lines")
            asked = {"adapter": self._known.adapter, "takes": self._takes}
            self._crew = Crew("benchmarks.memory.model", [asked])
            await self._stack.enter_async_context(self._crew)
            [said] = await self._crew.ask(do="url")
            if self._known.graph:
                self._server = await self._stack.enter_async_context(EmbeddedServer(self._directory / "db"))
            self._asked = {
                "system": self._system,
                "model": said["url"],
                "store": None if self._server is None else self._server.url,
                "directory": str(self._directory),
                "lines": str(self._directory / "lines"),
            }
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def feed(
        self,
        begin: int = 0,
        kill_after: float | None = None,
        heard: Callable[[int], None] = lambda done: None,
    ) -> Fed:
        """Have one process take the messages in, those behind `begin`.

        Args:
            begin: So many messages had been taken in before.
            kill_after: Seconds from its being ready to its kill -9.
            heard: Told how many there are by now.
        """
        done = begin
        asked = {**self._asked, "do": "feed", "begin": begin}
        async with _Worker(self._system, asked, self._directory) as worker:
            await worker.next()
            try:
                async with asyncio.timeout(kill_after):
                    while "done" in (said := await worker.next()):
                        done = max(done, said["done"])
                        heard(done)
            except TimeoutError:
                return Fed(await worker.killed(done), None)
        return Fed(done, said)

    async def read(self) -> Contents:
        """What is in the store, read by a process of its own."""
        asked = {**self._asked, "do": "read"}
        async with _Worker(self._system, asked, self._directory) as worker:
            said = await worker.next()
        said["facts"] = [tuple(fact) for fact in said["facts"]]
        for key in ("entities", "raw"):
            said[key] = [tuple(each) for each in said[key]]
        return Contents(**said)

    async def asked(self) -> dict[str, Any]:
        """What the stand-in was asked up to now."""
        assert self._crew is not None
        [said] = await self._crew.ask(do="tally")
        return said

    async def server_bytes(self) -> int:
        """What the graph's server uses; 0 if there is none."""
        if self._server is None:
            return 0
        client = self._server.client()
        try:
            return int((await client.info("memory"))["used_memory"])
        finally:
            await client.aclose()


class _Worker:
    """A process of `benchmarks.memory.feed`; killed after the block."""

    def __init__(self, system: str, asked: dict[str, Any], directory: Path | None) -> None:
        self._command = [python_of(system), "-m", "benchmarks.memory.feed", json.dumps(asked)]
        self._log = None if directory is None else directory / "system.log"
        self._process: Process | None = None

    async def __aenter__(self) -> Self:
        with (self._log or Path("/dev/null")).open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdout=PIPE, stderr=log, cwd=ROOT, limit=READ_LIMIT
            )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def next(self) -> dict[str, Any]:
        """The next thing it says.

        Raises:
            NoFigures: It ended, or was silent for too long.
        """
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), PATIENCE)
        except TimeoutError:
            raise NoFigures(f"said nothing for {PATIENCE:g} s") from None
        if not line:
            said = self._log.read_text("utf-8", "replace").strip() if self._log else ""
            raise NoFigures(f"failed: {(said or 'it said nothing').splitlines()[-1]}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def killed(self, done: int) -> int:
        """Kill it with SIGKILL; what it had taken in, with what it could still say."""
        assert self._process is not None
        assert self._process.stdout is not None
        if self._process.returncode is None:
            self._process.kill()
        async for line in self._process.stdout:
            if line.endswith(b"\n"):
                done = max(done, json.loads(line).get("done", done))
        return done
