"""A process that contends for a lease and writes down its work.

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
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bgtasks.connect import open_redis
from bgtasks.errors import Fenced, NotLeader, ResourceUnavailable
from bgtasks.events import Event, TermGained, TermLost, TermQuarantined
from bgtasks.fencing import FencedGraph, FencedRedis, raise_guards
from bgtasks.graph import KnowledgeGraph
from bgtasks.lease import LeaseTimes
from bgtasks.supervisor import DEFAULT_KEY, TaskSupervisor, WorkerContext

__all__ = ["ATTEMPTS", "JOURNAL", "KEY", "TIMES", "Plan"]

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


if __name__ == "__main__":
    node = Node(Plan(**json.loads(sys.argv[1])))
    logging.getLogger("bgtasks").addHandler(node)
    asyncio.run(node.run())
