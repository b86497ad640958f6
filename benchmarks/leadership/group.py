"""Several processes of one peer around one lease, and what they say."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from asyncio.subprocess import PIPE, Process
from collections import defaultdict
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from benchmarks.apart import ROOT
from benchmarks.leadership.server import Server

__all__ = ["Group", "NoFigures", "Node", "Note"]

KEY = "bench:leader"
PATIENCE = 30.0
"""Seconds that anything may take."""


class NoFigures(Exception):
    """There are none; the text says why."""


@dataclass(eq=False, slots=True)
class Node:
    """One process."""

    name: str
    process: Process

    def tell(self, word: str) -> None:
        """Have it obey a word."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n".encode())

    def kill(self) -> int:
        """End it with SIGKILL; the nanosecond before that."""
        at = time.monotonic_ns()
        os.kill(self.process.pid, signal.SIGKILL)
        return at


@dataclass(frozen=True, slots=True)
class Note:
    """What a node said, and the nanosecond of it."""

    node: Node
    at: int


class Group:
    """So many processes, ready but not started; all killed after the block.

    Args:
        python: The interpreter that the peer is installed for.
    """

    def __init__(self, server: Server, python: str, peer: str, size: int) -> None:
        self.nodes: list[Node] = []
        self._server = server
        self._python = python
        self._peer = peer
        self._size = size
        self._heard: defaultdict[str, asyncio.Queue[Note]] = defaultdict(asyncio.Queue)
        self._hearing: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        try:
            for number in range(self._size):
                await self._add(f"node-{number}")
            for _ in self.nodes:
                await self.next("ready")
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def lead(self) -> Node:
        """Have all start; the one that leads first."""
        for node in self.nodes:
            node.tell("start")
        return (await self.next("leads")).node

    async def next(self, what: str) -> Note:
        """The next time that a node says this."""
        try:
            return await asyncio.wait_for(self._heard[what].get(), PATIENCE)
        except TimeoutError:
            logs = [path.read_text("utf-8").strip() for path in self._server.directory.glob("node-*.log")]
            said = "".join(f": {log.splitlines()[-1]}" for log in logs if log)
            raise NoFigures(f'no "{what}" within {PATIENCE:g} s{said}') from None

    def none_said(self, what: str) -> bool:
        """Whether nobody has said this that was not asked for yet."""
        return self._heard[what].empty()

    async def _add(self, name: str) -> None:
        asked = {"peer": self._peer, "url": self._server.url, "key": KEY, "name": name}
        command = [self._python, "-m", "benchmarks.leadership.node", json.dumps(asked)]
        with (self._server.directory / f"{name}.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=PIPE, stdout=PIPE, stderr=log, cwd=ROOT
            )
        node = Node(name, process)
        self.nodes.append(node)
        self._hearing.append(asyncio.create_task(self._hear(node)))

    async def _hear(self, node: Node) -> None:
        assert node.process.stdout is not None
        async for line in node.process.stdout:
            what, at = line.decode().split()
            self._heard[what].put_nowait(Note(node, int(at)))

    async def _end(self) -> None:
        for node in self.nodes:
            if node.process.returncode is None:
                node.process.kill()
        for node in self.nodes:
            await node.process.wait()
        await asyncio.gather(*self._hearing)
