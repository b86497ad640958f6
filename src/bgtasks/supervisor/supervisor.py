"""`TaskSupervisor` runs long-lived workers on the elected leader only, and keeps them alive there."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import os
import socket
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Self

from bgtasks.backoff import Backoff
from bgtasks.clock import Clock, SystemClock
from bgtasks.contracts import LeaseStore
from bgtasks.errors import BgTasksError, ConfigurationError, DuplicateTask, InvalidTask
from bgtasks.events import EventBus
from bgtasks.lease import Elector, LeaseTimes
from bgtasks.run import NewRunId, Work, run_ids
from bgtasks.spec import WorkerSpec, as_restart, check_name, place
from bgtasks.supervisor.crew import Prepare, WorkerCrew
from bgtasks.supervisor.post import Intensity, Post
from bgtasks.supervisor.snapshot import SupervisorSnapshot, WorkerSnapshot
from bgtasks.triggers import Interval, parse
from bgtasks.wiring import Wired

__all__ = ["DEFAULT_KEY", "TaskSupervisor", "lease_key"]

DEFAULT_KEY = "sg:leader:supervisor"


class TaskSupervisor:
    """Contends for a lease, and runs its workers while it has it.

    Without a Redis it is the leader at once and for good, in this process alone.

    Args:
        redis: An asyncio client of redis-py. The supervisor makes connections of its own, like its.
        node_id: What this node is called in the lease; by default host and process id. Two may share one.
        group: The leader group; None is the default group.
        key: The lease's key. By default `SG_LEADER_KEY` from the environment, or `sg:leader:supervisor`; a
            group adds `:<group>`.
        times: The durations of the lease.
        stop_timeout: How long `shutdown()` may take.
        fresh: No leader can be at work when this one begins to stand, as on a server that was just started:
            then its first term needs no quarantine.
        store: Where the lease is kept, instead of `redis`.
        clock: Where time comes from.
        bus: Where events go.
        random: Source of jitter.
        new_id: Makes the nonces of terms.

    Raises:
        UnsuitableServer: `redis` is a client of Redis Cluster.
        ConfigurationError: The node id or the key is no text.
    """

    def __init__(
        self,
        redis: Any = None,
        node_id: str = "",
        *,
        group: str | None = None,
        key: str | None = None,
        times: LeaseTimes | None = None,
        stop_timeout: Interval = 10.0,
        fresh: bool = False,
        store: LeaseStore | None = None,
        clock: Clock | None = None,
        bus: EventBus | None = None,
        random: Random | None = None,
        new_id: Callable[[], str] | None = None,
    ) -> None:
        self.bus = bus or EventBus()
        self.node_id = node_id or f"{socket.gethostname()}-{os.getpid()}"
        self._clock = clock or SystemClock()
        self._random = random or Random()
        self._stop_timeout = parse(stop_timeout, "stop_timeout")
        self._times = times or LeaseTimes()
        self._posts: dict[str, Post] = {}
        new_run_id: NewRunId = run_ids() if new_id is None else new_id
        self._crew = WorkerCrew(
            self._posts,
            bus=self.bus,
            clock=self._clock,
            new_run_id=new_run_id,
            times=self._times,
            stop_timeout=self._stop_timeout,
        )
        if store is None:
            store = _store(redis, lease_key(group, key), self._clock)
        self._elector = Elector(
            store,
            _text("node_id", self.node_id),
            self._crew,
            bus=self.bus,
            clock=self._clock,
            random=self._random,
            new_nonce=new_id or _nonce,
            times=self._times,
            fresh=fresh,
        )
        self._crew.resign = self._elector.resign
        self._wanted = False
        self._stopping: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._context = contextvars.Context()

    # -- workers ---------------------------------------------------------------------------------

    def register_task(
        self,
        name: str,
        task_factory: Callable[..., Awaitable[Any]],
        *,
        restart: str = "always",
        backoff: Interval = 1.0,
        max_backoff: Interval = 60.0,
        intensity: tuple[int, Interval] | None = None,
        heartbeat: Interval | None = None,
    ) -> None:
        """Have `task_factory()` awaited on the leader for as long as it leads.

        Args:
            name: Unique within this supervisor.
            task_factory: A coroutine function without arguments; one with a parameter `ctx` is given a
                `WorkerContext`.
            restart: `"always"`, `"on_error"` or `"never"`: when it is started again after it ended.
            backoff: The first pause before that, at most; it doubles from crash to crash, and is halved for
                each minute of health.
            max_backoff: The longest pause.
            intensity: So many crashes within so many seconds are too many: it is given up for the term. By
                default it never is.
            heartbeat: It promises to call `ctx.heartbeat()` at least so often, and is restarted if it does
                not.

        Raises:
            InvalidTask: The name is no name, or a value cannot be meant.
            DuplicateTask: The name is taken by another function.
        """
        check_name(name)
        if not callable(task_factory):
            raise InvalidTask(f'"{name}": task_factory is a coroutine function, not {task_factory!r}')
        takes_context = "ctx" in inspect.signature(task_factory).parameters
        if heartbeat is not None and not takes_context:
            raise InvalidTask(f'"{name}": heartbeat= needs a parameter "ctx" to call ctx.heartbeat() on')
        self._add(
            Post(
                Work(name, task_factory),
                Backoff(parse(backoff, "backoff"), parse(max_backoff, "max_backoff"), random=self._random),
                as_restart(restart),
                _intensity(name, intensity),
                takes_context,
                None if heartbeat is None else parse(heartbeat, "heartbeat"),
            )
        )

    def adopt(self, spec: WorkerSpec, verdict: Wired) -> None:
        """Take a worker that the wiring found fit to run here.

        Raises:
            DuplicateTask: The name is taken.
        """
        self._add(
            Post(
                Work(spec.name, spec.func, kwargs=verdict.kwargs),
                Backoff(spec.restart_delay, max(60.0, spec.restart_delay), random=self._random),
                spec.restart,
                None,
                "ctx" in inspect.signature(spec.func).parameters,
                spec.heartbeat,
            )
        )

    def _add(self, post: Post) -> None:
        present = self._posts.get(post.name)
        if present is not None:
            if present.work.func is post.work.func:
                return
            raise DuplicateTask(post.name, place(present.work.func), place(post.work.func))
        self._posts[post.name] = post
        if self._loop is not None and not self._stopping:
            self._elector.stand(self._context)
            self._crew.admit(post)

    def before_work(self, prepare: Prepare) -> None:
        """Have `await prepare(term)` done in each term before its first worker starts."""
        self._crew.prepares.append(prepare)

    # -- lifecycle -------------------------------------------------------------------------------

    async def start(self) -> None:
        """Stand for the lease, as soon as there is a worker to run. Returns at once, and may be called again.

        Raises:
            BgTasksError: It was started in another event loop, which is still open.
        """
        loop = asyncio.get_running_loop()
        self._let_go_of_a_closed_loop(loop)
        self._wanted = True
        await self._stopped()
        if self._loop is not None or not self._wanted:
            return
        from bgtasks.telemetry import attach_default  # composition: loads structlog, at start only

        attach_default(self.bus)
        self._loop, self._context = loop, contextvars.copy_context()
        self._crew.open(loop, self._context)
        if self._posts:
            self._elector.stand(self._context)

    async def shutdown(self) -> tuple[str, ...]:
        """End the workers, then release the lease; the names of workers that would not end.

        Returns within `stop_timeout`. A lease whose workers have not ended is not released: it expires. The
        shutdown goes on if the caller is cancelled.
        """
        self._wanted = False
        self._let_go_of_a_closed_loop(asyncio.get_running_loop())
        if self._loop is None:
            return ()
        if self._stopping is None:
            self._stopping = asyncio.Task(
                self._stop(), loop=self._loop, name="bgtasks:supervisor:stop", context=self._context.copy()
            )
        await self._stopped()
        return self._elector.stuck

    async def _stop(self) -> None:
        try:
            await self._elector.withdraw(self._stop_timeout)
        finally:
            self._loop = self._stopping = None

    async def _stopped(self) -> None:
        """Wait for the end of a shutdown in progress."""
        stopping = self._stopping
        if stopping is not None:
            await asyncio.wait((stopping,))
            if not stopping.cancelled():  # by a host that cancels whatever it finds
                stopping.result()

    def _let_go_of_a_closed_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is None or self._loop is loop:
            return
        if not self._loop.is_closed():
            raise BgTasksError("this supervisor runs in another event loop: shut it down there first")
        self._loop = self._stopping = None
        self._elector.forget()
        self._crew.forget()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.shutdown()

    # -- leadership ------------------------------------------------------------------------------

    @property
    def is_leader(self) -> bool:
        """Whether this node leads at this moment, computed from its clock."""
        return self._elector.is_leader

    @property
    def token(self) -> int | None:
        """The fencing token of the term in progress; None for a follower."""
        return self._elector.term.token if self._elector.is_leader and self._elector.term else None

    def resign(self, reason: str = "resigned") -> None:
        """Hand leadership over to another node, if there is one; this one stands again after a while."""
        self._elector.resign(reason)

    async def verify_leadership_before_destructive(self, min_remaining: float = 0.0) -> int:
        """The fencing token, if the server confirms at this moment that this node leads.

        Args:
            min_remaining: Seconds for which the lease must be trusted still.

        Raises:
            NotLeader: A `RuntimeError`: this node is not the leader by its own clock; or the lease is gone,
                or owned by another; or the server did not answer in time; or too little of the lease is left.

        Not promised: that it leads when the next line runs. The answer is advice that ages; only a write that
        carries the token can be refused by whoever saw a larger one.
        """
        return await self._elector.verify(min_remaining)

    def snapshot(self) -> SupervisorSnapshot:
        """How this supervisor and each of its workers stand at this moment."""
        now, term = self._clock.monotonic(), self._elector.term
        return SupervisorSnapshot(
            lease=self._elector.store.key,
            node_id=self.node_id,
            state=self._state(),
            token=None if term is None else term.token,
            remaining=0.0 if term is None else term.remaining,
            holder=term.owner if term else (self._elector.holder.owner if self._elector.holder else None),
            workers=tuple(WorkerSnapshot.of(post, now) for post in self._posts.values()),
        )

    def _state(self) -> str:
        elector = self._elector
        if self._loop is None:
            return "stopped"
        if elector.stuck:
            return "stuck"
        if elector.term is not None:
            if elector.ending:
                return "ending"
            return "leading" if elector.term.holds else "quarantined"
        return "following" if elector.stands else "idle"


def _store(redis: Any, key: str, clock: Clock) -> LeaseStore:
    from bgtasks.stores import lease_store  # composition: a client becomes a store

    return lease_store(redis, key, clock)


def lease_key(group: str | None = None, key: str | None = None) -> str:
    """The key of a group's lease: `SG_LEADER_KEY` from the environment if none is given, and the group.

    Raises:
        ConfigurationError: One of them is no line of text.
    """
    base = _text("key", key or os.environ.get("SG_LEADER_KEY") or DEFAULT_KEY)
    return base if group is None else f"{base}:{_text('group', group)}"


def _text(label: str, value: object) -> str:
    if isinstance(value, str) and value and value.isprintable():
        return value
    raise ConfigurationError(f"{label} is a line of text, not {value!r}")


def _nonce() -> str:
    return os.urandom(16).hex()


def _intensity(name: str, value: object) -> Intensity | None:
    if value is None:
        return None
    if isinstance(value, tuple) and len(value) == 2 and type(value[0]) is int and value[0] > 0:
        return Intensity(value[0], parse(value[1], "intensity"))
    raise InvalidTask(f'"{name}": intensity is (crashes, seconds), such as (10, 60), not {value!r}')
