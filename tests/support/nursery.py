"""Processes made by a fork of one that has imported everything: a tenth of a second instead of two.

`tend` is the process that forks; `Nursery` is how a test sees it. They exchange lines of JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import sys
import traceback
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.waiting import PATIENCE_S

import bgtasks

__all__ = ["Child", "Nursery", "tend"]

SOURCE = Path(bgtasks.__file__).parent.parent
ROOT = Path(__file__).parents[2]


class Child:
    """A process of a nursery.

    Attributes:
        pid: Its id.
        stopped: Set once it stood still, by SIGSTOP.
        ended: Its exit code, negative for a signal, once it has ended.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.stopped = asyncio.Event()
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def end(self, within: float = PATIENCE_S) -> int:
        """Its exit code, when it has ended."""
        async with asyncio.timeout(within):
            return await asyncio.shield(self.ended)

    def wake(self) -> None:
        """Have it go on."""
        os.kill(self.pid, signal.SIGCONT)


class Nursery:
    """Makes processes of a module that calls `tend`; all are gone when the block ends."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._children: dict[int, Child] = {}
        self._made: asyncio.Queue[int] = asyncio.Queue()
        self._order = asyncio.Lock()

    async def make(self, order: Mapping[str, Any]) -> Child:
        """A process that does what it is told."""
        assert self._process.stdin is not None
        async with self._order, asyncio.timeout(PATIENCE_S):
            self._process.stdin.write((json.dumps(order) + "\n").encode())
            await self._process.stdin.drain()
            return self._children[await self._made.get()]

    async def __aenter__(self) -> Self:
        path = os.pathsep.join((str(SOURCE), str(ROOT)))
        self._process: Process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            self._module,
            stdin=PIPE,
            stdout=PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path},
        )
        self._hearing = asyncio.create_task(self._hear(), name="hears of processes")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in self._children.values():
            if not child.ended.done():
                os.kill(child.pid, signal.SIGKILL)
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()
        await self._hearing
        for child in self._children.values():
            child.ended.cancel()

    async def _hear(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            said = json.loads(line)
            pid = said["pid"]
            if "made" in said:
                self._children[pid] = Child(pid)
                self._made.put_nowait(pid)
            elif "stopped" in said:
                self._children[pid].stopped.set()
            else:
                self._children[pid].ended.set_result(said["ended"])


def tend(work: Callable[[dict[str, Any]], None]) -> None:
    """Fork for each line that comes, and say how the processes fare; return when no more can come."""
    wakes, waker = os.pipe()
    os.set_blocking(wakes, False)
    os.set_blocking(waker, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker)
    heard, open_ = b"", True
    while open_ or _left():
        ready, _, _ = select.select([wakes, *([0] if open_ else [])], [], [])
        if wakes in ready:
            os.read(wakes, 1000)
            _look()
        if 0 in ready:
            came = os.read(0, 65536)
            open_ = bool(came)
            *lines, heard = (heard + came).split(b"\n")
            for line in lines:
                _fork(work, json.loads(line), wakes, waker)


def _fork(work: Callable[[dict[str, Any]], None], order: dict[str, Any], *pipes: int) -> None:
    pid = os.fork()
    if pid:
        _say(pid=pid, made=True)
        return
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for each in (0, *pipes):
            os.close(each)
        os.dup2(os.open(os.devnull, os.O_RDWR), 1)
        work(order)
        code = 0
    except BaseException:  # noqa: BLE001 - whatever it was, it is said, and the child does not go on as its parent
        traceback.print_exc()
    finally:
        os._exit(code)


def _left() -> bool:
    try:
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None or True
    except ChildProcessError:
        return False


def _look() -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
        except ChildProcessError:
            return
        if not pid:
            return
        if os.WIFSTOPPED(status):
            _say(pid=pid, stopped=True)
        else:
            _say(pid=pid, ended=os.waitstatus_to_exitcode(status))


def _say(**what: Any) -> None:
    os.write(1, (json.dumps(what) + "\n").encode())
