"""Processes that are asked in lines of JSON, and answer each with one."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

from benchmarks.apart import ROOT

__all__ = ["Crew", "NoFigures", "serve"]

READ_LIMIT = 2**24
"""Bytes of one answer."""


class NoFigures(Exception):
    """There are none; the text says why."""


class Crew:
    """So many processes of one module, all killed after the block.

    Args:
        module: What each runs, as `python -m`.
        asked: Its argument for each process, as JSON.
        python: The interpreter.
        patience: Seconds that an answer may take.
    """

    def __init__(
        self, module: str, asked: list[dict[str, Any]], *, python: str = sys.executable, patience: float = 60
    ) -> None:
        self._module = module
        self._asked = asked
        self._python = python
        self._patience = patience
        self._processes: list[Process] = []
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the crew

    async def __aenter__(self) -> Self:
        try:
            for asked in self._asked:
                command = [self._python, "-m", self._module, json.dumps(asked)]
                self._processes.append(
                    await asyncio.create_subprocess_exec(
                        *command, stdin=PIPE, stdout=PIPE, stderr=self._errors, cwd=ROOT, limit=READ_LIMIT
                    )
                )
            await self._answers()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def ask(self, **words: Any) -> list[dict[str, Any]]:
        """Ask all at once; what each answers."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(f"{json.dumps(words)}\n".encode())
        return await self._answers()

    async def _answers(self) -> list[dict[str, Any]]:
        try:
            async with asyncio.timeout(self._patience):
                return [await self._answer(process) for process in self._processes]
        except TimeoutError:
            raise NoFigures(f"gave up after {self._patience:g} s") from None

    async def _answer(self, process: Process) -> dict[str, Any]:
        assert process.stdout is not None
        line = await process.stdout.readline()
        if not line:
            self._errors.seek(0)
            said = self._errors.read().decode(errors="replace").strip()
            raise NoFigures(f"failed: {(said or 'it said nothing').splitlines()[-1]}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def _end(self) -> None:
        for process in self._processes:
            if process.returncode is None:
                process.kill()
            await process.wait()
        self._errors.close()


async def serve(answer: Callable[..., Awaitable[dict[str, Any]]]) -> None:
    """Say that this process is ready, then answer until its stdin ends; it leaves at once then."""
    words = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(words), sys.stdin)
    print("{}", flush=True)
    async for line in words:
        print(json.dumps(await answer(**json.loads(line))), flush=True)
    os._exit(0)
