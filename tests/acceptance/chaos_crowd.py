"""A crowd of processes around one lease, as seen from outside; each runs `chaos_node.py`."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tests.acceptance import chaos_node
from tests.acceptance.chaos_node import TIMES, Plan
from tests.support.proxy import Proxy, proxy
from tests.support.redis_process import RedisProcess
from tests.support.waiting import PATIENCE_S, until

import bgtasks

__all__ = ["SLEEP", "STOP", "Crowd", "Line", "Pause", "Stage", "crowd", "stage"]

SOURCE = Path(bgtasks.__file__).parent.parent
ROOT = Path(__file__).parents[2]


class Pause(NamedTuple):
    """How a process stands still: which signal asks for it, what it says then, and whether it is stopped."""

    asked: signal.Signals
    says: str
    stops: bool


STOP = Pause(signal.SIGUSR1, "freezes", stops=True)
SLEEP = Pause(signal.SIGUSR2, "blocks", stops=False)


class Line(NamedTuple):
    """One step: its token, its instant by the clock that all processes share, and who did it."""

    token: int
    at: float
    pid: int


class Crowd:
    """Processes around one lease, and what they wrote."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._names: dict[int, str] = {}

    def begin(self, url: str, name: str, **options: Any) -> None:
        """Start one."""
        plan = Plan(url, name, str(self.home), **options)
        with (self.home / f"{name}.err").open("ab") as err:
            process = subprocess.Popen(
                [sys.executable, chaos_node.__file__, json.dumps(asdict(plan))],
                env={**os.environ, "PYTHONPATH": os.pathsep.join((str(SOURCE), str(ROOT)))},
                stderr=err,
            )
        self._processes[name] = process
        self._names[process.pid] = name

    async def start(self, url: str, name: str, **options: Any) -> None:
        """Start one, and return when it stands."""
        before = len(self.said(name, "stands"))
        self.begin(url, name, **options)
        await until(f"{name} stands", lambda: self._alive(name) and len(self.said(name, "stands")) > before)

    def _alive(self, name: str) -> bool:
        assert self._processes[name].poll() is None, self.complaint(name)
        return True

    @property
    def names(self) -> list[str]:
        """Everybody, in the order of their beginning."""
        return list(self._processes)

    def tell(self, name: str, how: signal.Signals) -> float:
        """Send a signal; the moment just before."""
        at = time.monotonic()
        self._processes[name].send_signal(how)
        return at

    async def kill(self, name: str) -> float:
        """End it without a word; the moment just before."""
        at = self.tell(name, signal.SIGKILL)
        await asyncio.to_thread(self._processes[name].wait, PATIENCE_S)
        return at

    async def end(self, name: str) -> None:
        """Ask it to end, and return when it has."""
        self.tell(name, signal.SIGTERM)
        assert await asyncio.to_thread(self._processes[name].wait, PATIENCE_S) == 0

    async def pause(self, name: str, how: Pause) -> int:
        """Have one stand still between the check and the effect of its next step; the token of that."""
        self.tell(name, how.asked)

        def stands_still() -> bool:
            return bool(self.said(name, how.says)) and (not how.stops or self._stopped(name))

        await until(f"{name} {how.says}", stands_still)
        return int(self.said(name, how.says)[-1]["token"])

    def go(self, name: str, how: Pause) -> None:
        """Have it go on after its pause."""
        if how.stops:
            self.tell(name, signal.SIGCONT)
        else:
            (self.home / "go").touch()

    def _stopped(self, name: str) -> bool:
        status = Path(f"/proc/{self._processes[name].pid}/stat").read_text()
        return status.rpartition(")")[2].split()[0] == "T"

    def said(self, name: str, what: str) -> list[dict[str, Any]]:
        """What one said of this kind, in order."""
        return [said for said in map(json.loads, _whole_lines(self.home / name)) if said["what"] == what]

    @property
    def lines(self) -> list[Line]:
        """Every step, in the order in which they were written."""
        fields = (line.split() for line in _whole_lines(self.home / "lines"))
        return [Line(int(token), int(at) / 1e9, int(pid)) for token, at, pid in fields]

    def who(self, line: Line) -> str:
        """Who did this step."""
        return self._names[line.pid]

    @property
    def newest(self) -> int:
        """The largest token under which a step was done."""
        return max((line.token for line in self.lines), default=0)

    async def works(self, since: float = 0.0, *, above: int = 0, besides: str = "") -> Line:
        """Wait for a step since then, under a larger token, of somebody else; the first."""

        def steps() -> list[Line]:
            return [
                line
                for line in self.lines
                if line.at > since and line.token > above and self.who(line) != besides
            ]

        who = f"somebody besides {besides}" if besides else "somebody"
        await until(f"{who} works under a token above {above}", steps)
        return steps()[0]

    async def leader(self) -> tuple[str, int]:
        """Who works at present, and under which token."""
        line = await self.works(time.monotonic())
        return self.who(line), line.token

    async def goes_on(self, since: float | None = None) -> None:
        """Wait until a term has lasted from then on, or from now, for longer than one renewal would."""
        began = time.monotonic() if since is None else since

        def lasts() -> bool:
            steps: dict[int, list[float]] = {}
            for line in self.lines:
                if line.at > began:
                    steps.setdefault(line.token, []).append(line.at)
            return any(at[-1] - at[0] > TIMES.lease for at in steps.values())

        await until("a term lasts for longer than a lease", lasts)

    async def ended(self, name: str, token: int) -> None:
        """Wait until this one has ended the work of this term."""
        await until(
            f"{name} leads no more under {token}",
            lambda: token in [said["token"] for said in self.said(name, "TermLost")],
        )

    @property
    def late(self) -> list[Line]:
        """Steps under an older token, after one under a newer."""
        newest, late = 0, list[Line]()
        for line in self.lines:
            newest = max(newest, line.token)
            if line.token < newest:
                late.append(line)
        return late

    def check(self, late: int | None) -> None:
        """No token is of two processes, nobody complained, and at most so many steps were late."""
        assert len({(line.token, line.pid) for line in self.lines}) == len(
            {each.token for each in self.lines}
        )
        assert {name: said for name in self._processes if (said := self.complaint(name))} == {}
        assert late is None or len(self.late) <= late, self.late

    def complaint(self, name: str) -> str:
        """What Python or asyncio had to say of one."""
        return (self.home / f"{name}.err").read_text()

    def close(self) -> None:
        """End those that still run."""
        for process in self._processes.values():
            if process.poll() is None:
                process.kill()
            process.wait(PATIENCE_S)


def _whole_lines(path: Path) -> list[str]:
    if not path.exists():
        return []
    return [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


@asynccontextmanager
async def crowd(home: Path, late: int | None = 0) -> AsyncIterator[Crowd]:
    """Nobody yet. At its end at most so many steps may have been late, or any number if that is None."""
    made = Crowd(home)
    try:
        yield made
        made.check(late)
    finally:
        made.close()


@dataclass
class Stage:
    """A server, three processes around its lease, and the way of each to it."""

    server: RedisProcess
    around: Crowd
    ways: dict[str, Proxy]
    options: dict[str, Any]

    async def start(self, name: str, *, fresh: bool = False) -> None:
        """Start one, and return when it stands."""
        await self.around.start(self.ways[name].url, name, fresh=fresh, **self.options)


@asynccontextmanager
async def stage(
    home: Path, late: int | None = 0, *, durable: bool = False, **options: Any
) -> AsyncIterator[Stage]:
    """Three processes with these options, of which one works; when the block ends, work has to go on."""
    async with AsyncExitStack() as stack:
        server = stack.enter_context(RedisProcess(durable=durable))
        ways = {name: await stack.enter_async_context(proxy(server.url)) for name in ("a", "b", "c")}
        around = await stack.enter_async_context(crowd(home, late))
        made = Stage(server, around, ways, options)
        await made.start("a", fresh=True)
        await around.works()
        await asyncio.gather(made.start("b"), made.start("c"))
        yield made
        await around.goes_on()
