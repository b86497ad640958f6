"""A process that contends for a lease and writes down its work, and a crowd of them as seen from outside.

    chaos_node.py PLAN

The plan is a `Plan` as JSON. Each step of the worker is one line in a file that all processes append to:
token, instant and pid, written right after `ctx.check()`. SIGUSR1 has the next step frozen between the two,
by SIGSTOP, and SIGUSR2 has it block there until a file appears. After that, and after SIGHUP, it writes to
the fenced servers under the token of that step a thousand times, whatever becomes of its term. What else
there is to say is a line of JSON in a file of the process's own.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.proxy import Proxy, proxy
from tests.support.redis_process import RedisProcess
from tests.support.waiting import PATIENCE_S, until

import bgtasks
from bgtasks.connect import open_redis
from bgtasks.errors import Fenced, NotLeader, ResourceUnavailable
from bgtasks.events import Event, TermGained, TermLost, TermQuarantined
from bgtasks.fencing import FencedGraph, FencedRedis, raise_guards
from bgtasks.graph import KnowledgeGraph
from bgtasks.lease import LeaseTimes
from bgtasks.supervisor import DEFAULT_KEY, TaskSupervisor, WorkerContext

__all__ = [
    "ATTEMPTS",
    "JOURNAL",
    "KEY",
    "SLEEP",
    "STOP",
    "TIMES",
    "Crowd",
    "Line",
    "Pause",
    "Plan",
    "Stage",
    "crowd",
    "stage",
]

SOURCE = Path(bgtasks.__file__).parent.parent
ROOT = Path(__file__).parents[2]
KEY = DEFAULT_KEY
TIMES = LeaseTimes(
    lease=1.5, renew=0.25, attempt=0.18, margin=0.6, stall=0.3, grace=0.1, kill=0.2, tenure=0.1
)
"""Short, and with a margin in which a busy machine still ends a step."""

STEP_S = 0.01
ATTEMPTS = 1_000
"""Writes under a token that is old, to each server."""

JOURNAL = "journal"
PUSH = "return redis.call('RPUSH', KEYS[1], ARGV[1])"
CREATE = "CREATE (:Step {token: $token})"
"""A write of one step to Redis and to the graph: both keep the order in which they admitted tokens."""


@dataclass(frozen=True)
class Plan:
    """What one process is to do.

    Attributes:
        url: The Redis with the lease, as this process reaches it.
        home: The directory with the files.
        fenced: A Redis to which each step is written, fenced.
        graph: A graph to which each step is written, fenced: the URL of its server, and its name.
        own: Each step is written to the Redis with the lease as well, fenced.
        default_times: The durations of the lease are those that users have.
    """

    url: str
    name: str
    home: str
    fresh: bool = False
    fenced: str = ""
    graph: tuple[str, str] | None = None
    own: bool = False
    default_times: bool = False


# -- one process ---------------------------------------------------------------------------------


class Node(logging.Handler):
    """One process: its worker, its faults, and what it says of them."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(logging.WARNING)
        self.plan = plan
        self.home = Path(plan.home)
        self.freezes = self.blocks = self.storms = False
        self.writes: dict[str, Callable[[int], Awaitable[object]]] = {}
        self.attempts: list[asyncio.Task[None]] = []
        self._lines = self._append("lines")
        self._said = self._append(plan.name)

    def _append(self, name: str) -> int:
        return os.open(self.home / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def say(self, what: str, **fields: Any) -> None:
        os.write(self._said, (json.dumps({"what": what, **fields}) + "\n").encode())

    def emit(self, record: logging.LogRecord) -> None:
        self.say("log", level=record.levelname, text=record.getMessage())

    def hear(self, event: Event) -> None:
        if isinstance(event, TermGained | TermLost | TermQuarantined):
            self.say(type(event).__name__, token=event.token)

    async def run(self) -> None:
        """Stand until told to end."""
        plan, told, loop = self.plan, asyncio.Event(), asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, told.set)
        asked = {signal.SIGUSR1: "freezes", signal.SIGUSR2: "blocks", signal.SIGHUP: "storms"}
        for number, what in asked.items():
            loop.add_signal_handler(number, setattr, self, what, True)
        async with AsyncExitStack() as stack:
            lease = await stack.enter_async_context(open_redis(plan.url))
            times = None if plan.default_times else TIMES
            supervisor = TaskSupervisor(lease, plan.name, times=times, fresh=plan.fresh)
            supervisor.bus.subscribe(self.hear)
            guards: list[FencedRedis | FencedGraph] = []
            if plan.fenced:
                other = await stack.enter_async_context(open_redis(plan.fenced))
                guards.append(self._to_redis("redis", other))
            if plan.own:
                guards.append(self._to_redis("own", lease))
            if plan.graph:
                graph = await KnowledgeGraph.connect(*plan.graph)
                stack.push_async_callback(graph.aclose)
                fenced = FencedGraph(graph, KEY)
                self.writes["graph"] = lambda token: fenced.write(token, CREATE, {"token": token})
                guards.append(fenced)
            if guards:
                supervisor.before_work(raise_guards(*guards))
            supervisor.register_task("work", self.work, backoff=0.1)
            await supervisor.start()
            self.say("stands")
            await told.wait()
            self.say("told")
            self.say("ended", unfinished=await supervisor.shutdown())
            for attempts in self.attempts:
                await attempts

    def _to_redis(self, name: str, client: Any) -> FencedRedis:
        fenced = FencedRedis(client, KEY)
        self.writes[name] = lambda token: fenced.eval(token, PUSH, [JOURNAL], [token])
        return fenced

    async def work(self, ctx: WorkerContext) -> None:
        """The worker: step after step, each checked."""
        while not ctx.stopping.is_set():
            token = ctx.check()
            self._fault(token)
            os.write(self._lines, f"{token} {time.monotonic_ns()} {os.getpid()}\n".encode())
            if self.storms:
                self.storms = False
                self.say("goes on", token=token, leads=_may(ctx))
                self.attempts.append(asyncio.create_task(self.storm(ctx, token)))
            answers = Counter[str]()
            for server in self.writes:
                answers[f"{server} {await self._write(server, token)}"] += 1
            if answers:
                self.say("step", token=token, **answers)
            await asyncio.sleep(STEP_S)

    async def storm(self, ctx: WorkerContext, token: int) -> None:
        """Write under this token, again and again, whatever has become of the term."""
        for server in self.writes:
            answers = Counter[str]()
            while answers["refused"] + answers["accepted"] < ATTEMPTS:
                answers["led"] += _may(ctx)
                answers[await self._write(server, token)] += 1
            self.say("storm", server=server, token=token, **answers)

    async def _write(self, server: str, token: int) -> str:
        try:
            await self.writes[server](token)
        except Fenced:
            return "refused"
        except ResourceUnavailable:
            return "failed"
        return "accepted"

    def _fault(self, token: int) -> None:
        """Stop between the check and the effect, if a signal asked for it."""
        if self.freezes:
            self.freezes, self.storms = False, True
            self.say("freezes", token=token)
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
        if self.blocks:
            self.blocks, self.storms = False, True
            self.say("blocks", token=token)
            while not (self.home / "go").exists():
                time.sleep(STEP_S)  # the fault: the event loop stands still


def _may(ctx: WorkerContext) -> bool:
    try:
        ctx.check()
    except NotLeader:
        return False
    return True


# -- a crowd of them, from outside ---------------------------------------------------------------


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
                [sys.executable, str(Path(__file__)), json.dumps(asdict(plan))],
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


if __name__ == "__main__":
    node = Node(Plan(**json.loads(sys.argv[1])))
    logging.getLogger("bgtasks").addHandler(node)
    asyncio.run(node.run())
