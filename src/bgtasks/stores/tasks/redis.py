"""The `TaskStore` in Redis. Keys, under `<namespace>:tasks:`

```
version              STRING  2
job:<id>             HASH    a job
jobs                 ZSET    id                        all jobs, in the order of their ids
jobs-of:<type>       ZSET    id                        those of a type
jobs-for:<bot>       ZSET    id                        those of a bot
jobs-over            ZSET    id -> last_run_at         those added at run time that are not due again
types                ZSET    type                      in the order of their names
keys                 HASH    type, bot and key -> id
due:<type>           ZSET    id -> next_run_at         those that are enabled and due some day
run:<id>             HASH    a run
runs                 ZSET    id -> created_at          all runs
runs-of:<job>        ZSET    id -> created_at          those of a job
going:<job>          ZSET    id -> when it was claimed those of a job in progress
wanted:<job>         ZSET    id -> order               those of a job that nobody has started
offers:<type>        ZSET    id -> order               those of a type that nobody has started
over                 ZSET    id -> finished_at         those that are over
kept                 ZSET    job -> how many of its runs are over
session:<id>         HASH    a session
sessions             ZSET    id -> expires_at
joined               ZSET    id -> order               the first to join first
session-runs:<id>    ZSET    id -> order               its runs in progress; minus since when, if unwanted
command:<id>         HASH    a command, and which sessions have answered
answers:<id>         LIST    session, node, instant, whether done, text; and so on
commands             ZSET    id -> order
commands-until       ZSET    id -> expires_at
now, pause, resume   SET     what operators ask for, until the next beat: see `redis_requests`
migration            STRING  how far jobs have been listed anew: see `redis_migration`
order                STRING  the last number of an order
```

An instant is a whole number of microseconds since 1970, by the server's clock. Beyond the year 2255 one still
is what it was, while jobs that are due within the same four microseconds may be listed in either order.

No call takes longer for more jobs or runs being kept, but these: history that is filtered by type or status
is looked through from the latest on, 500 a script, and so are jobs of one type and one bot, whichever are
fewer; a session that is lost costs as much as it had runs in progress; and forgetting as much as there is to
forget. A beat looks at the commands that have not expired.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import batched
from typing import Any
from uuid import UUID

from redis import exceptions as redis_errors
from redis.asyncio import SSLConnection

from bgtasks.connect import calls, check, reach, refuse_cluster
from bgtasks.errors import ResourceUnavailable, UnsuitableServer
from bgtasks.records import (
    Beat,
    Claimed,
    Command,
    CommandRow,
    Ending,
    Going,
    JobRow,
    Offer,
    Refused,
    RunQuery,
    RunRow,
    SessionRow,
    Tick,
)
from bgtasks.stores.own_client import own_client
from bgtasks.stores.tasks import (
    redis_claims,
    redis_commands,
    redis_history,
    redis_jobs,
    redis_migration,
    redis_sessions,
)
from bgtasks.stores.tasks.redis_rows import (
    OWN_JOB_FIELDS,
    Argument,
    answered,
    at,
    command_row,
    job_row,
    microseconds,
    offered,
    optional,
    run_row,
    session_fields,
    session_row,
    written_command,
    written_ending,
    written_job,
    written_run,
    written_tick,
)

__all__ = ["BATCH", "VERSION", "RedisTaskStore"]

VERSION = 2
"""Of the keys and what is in them."""

BATCH = 500
"""Claims, endings or rows for one script: the server does nothing else while it runs."""

CONNECTIONS = 8
"""At most: the server carries out one script at a time, and a pool of redis-py fails when it is used up."""

COMMANDS = (
    "DEL", "EVALSHA", "EXISTS", "GET", "HDEL", "HEXISTS", "HGET", "HINCRBY", "HMGET", "HSET", "HSETNX",
    "INCR", "LRANGE", "RPUSH", "SCRIPT", "SET", "SPOP", "TIME", "TYPE", "ZADD", "ZCARD", "ZCOUNT",
    "ZINCRBY", "ZRANGE", "ZRANGEBYLEX", "ZRANGEBYSCORE", "ZREM", "ZREVRANGE", "ZREVRANGEBYSCORE", "ZSCORE",
)  # fmt: skip
"""What the server must know."""


class RedisTaskStore:
    """Jobs, runs, sessions and commands in one Redis; as durable as its persistence is.

    Each call is one script, or one for each 500 elements, and bounded by the timeout each. Its connections,
    eight at most, are its own, made like the client's.

    Args:
        client: An asyncio client of redis-py, with or without decoded responses, behind Sentinel or not.
        namespace: What every key begins with.
        timeout: Seconds that a script may take, with the wait for a connection.

    Raises:
        UnsuitableServer: It is a client of Redis Cluster.
    """

    def __init__(self, client: Any, namespace: str = "bgtasks", *, timeout: float = 2.0) -> None:
        refuse_cluster(client)
        self.name = _name(client)
        self._keys = [f"{namespace}:tasks:"]
        self._timeout = timeout
        self._turns = asyncio.Semaphore(CONNECTIONS)
        text = {"decode_responses": True, "encoding": "utf-8", "encoding_errors": "replace"}
        self._client: Any = own_client(client, timeout, **text)
        self._scripts: dict[str, Any] = {}

    async def open(self) -> None:
        """See `TaskStore`."""
        await check(self._client, within=self._timeout, commands=COMMANDS)
        found = await self._run(redis_migration.OPEN, VERSION)
        if not found.isdecimal() or int(found) > VERSION:
            raise UnsuitableServer(
                f"{self.name}: the keys under {self._keys[0]} are of version {found!r}, and this bgtasks "
                f"knows version {VERSION}: upgrade it, or give it another namespace"
            )
        await self._migrate()

    async def aclose(self) -> None:
        """See `TaskStore`."""
        await self._client.aclose()

    # -- sessions --------------------------------------------------------------------------------

    async def join(self, session: SessionRow, ttl: float) -> datetime:
        """See `TaskStore`."""
        fields = session_fields(session)
        return at(await self._run(redis_sessions.JOIN, session.id, _us(ttl), VERSION, *fields))

    async def beat(self, session: str, ttl: float, horizon: float, *, limit: int = 1000) -> Beat:
        """See `TaskStore`."""
        now, alive, due, offers, unwanted, lost, told, going = await self._run(
            redis_sessions.BEAT, session, _us(ttl), _us(horizon), limit
        )
        return Beat(
            at(now),
            bool(alive),
            tuple(map(job_row, due)),
            tuple(map(offered, offers)),
            tuple(unwanted),
            tuple(map(run_row, lost)),
            tuple(map(command_row, told)),
            tuple(sorted(Going(int(token), run_id) for token, run_id in batched(going, 2))),
        )

    async def describe(self, session: SessionRow) -> None:
        """See `TaskStore`."""
        await self._run(redis_sessions.DESCRIBE, session.id, *session_fields(session))

    async def leave(self, session: str) -> None:
        """See `TaskStore`."""
        await self._run(redis_sessions.LEAVE, session)

    async def sessions(self) -> Sequence[SessionRow]:
        """See `TaskStore`."""
        return [session_row(each) for each in await self._run(redis_sessions.SESSIONS)]

    # -- claims ----------------------------------------------------------------------------------

    async def claim(self, session: str, ticks: Sequence[Tick]) -> Sequence[Claimed | Refused]:
        """See `TaskStore`."""
        answers = await self._each(redis_claims.CLAIM, (session,), map(written_tick, ticks))
        return [answered(each) for each in answers]

    async def accept(self, session: str, offers: Sequence[tuple[str, bool]]) -> Sequence[Claimed | Refused]:
        """See `TaskStore`."""
        wanted = ((run_id, str(int(beside))) for run_id, beside in offers)
        return [answered(each) for each in await self._each(redis_claims.ACCEPT, (session,), wanted)]

    async def finish(self, ended: Sequence[Ending]) -> Sequence[bool]:
        """See `TaskStore`."""
        return [each == 1 for each in await self._each(redis_claims.FINISH, (), map(written_ending, ended))]

    # -- jobs ------------------------------------------------------------------------------------

    async def add(self, job: JobRow) -> JobRow:
        """See `TaskStore`."""
        place = (str(job.id), job.job_type, job.bot_id, optional(job.key))
        return job_row(await self._run(redis_jobs.ADD, *place, *_due(job), *written_job(job)))

    async def change(self, job: JobRow) -> JobRow | None:
        """See `TaskStore`."""
        fields = written_job(job, OWN_JOB_FIELDS)
        row = await self._run(redis_jobs.CHANGE, str(job.id), job.version, *_due(job), *fields)
        return None if row is None else job_row(row)

    async def remove(self, job: UUID) -> bool:
        """See `TaskStore`."""
        return bool(await self._run(redis_jobs.REMOVE, str(job)))

    async def job(self, job: UUID) -> JobRow | None:
        """See `TaskStore`."""
        row = await self._run(redis_jobs.JOB, str(job))
        return None if row[0] is None else job_row(row)

    async def jobs(
        self,
        *,
        job_type: str | None = None,
        bot_id: str | None = None,
        after: UUID | None = None,
        limit: int = 100,
    ) -> Sequence[JobRow]:
        """See `TaskStore`."""
        of, is_sifted = (optional(job_type), optional(bot_id)), job_type is not None and bot_id is not None
        found: list[JobRow] = []
        last = "" if after is None else str(after)
        while (most := limit - len(found)) > 0:
            begin, look = f"({last}" if last else "-", BATCH if is_sifted else min(BATCH, most)
            rows, last = await self._run(redis_jobs.PAGE, *of, begin, most, look)
            found += map(job_row, rows)
            if not last:
                break
        return found

    async def types(self) -> Mapping[str, int]:
        """See `TaskStore`."""
        return dict(batched(await self._run(redis_jobs.TYPES), 2))

    async def offer(self, offer: Offer) -> bool:
        """See `TaskStore`."""
        due = microseconds(offer.due)
        arguments = (offer.run_id, str(offer.job_id), due, offer.attempt, offer.attempts)
        return bool(await self._run(redis_jobs.OFFER, *arguments))

    async def withdraw(self, run_id: str, why: str) -> bool:
        """See `TaskStore`."""
        return bool(await self._run(redis_jobs.WITHDRAW, run_id, why))

    # -- commands --------------------------------------------------------------------------------

    async def command(self, command: Command, ttl: float) -> CommandRow:
        """See `TaskStore`."""
        fields = written_command(command)
        return command_row(await self._run(redis_commands.COMMAND, command.id, _us(ttl), *fields))

    async def answer(self, session: str, command: str, done: bool, text: str) -> None:
        """See `TaskStore`."""
        await self._run(redis_commands.ANSWER, session, command, int(done), text)

    async def commands(self, *, id: str | None = None, limit: int = 100) -> Sequence[CommandRow]:
        """See `TaskStore`."""
        if id is not None:
            return [command_row(each) for each in await self._run(redis_commands.ONE, id)][:limit]
        found: list[CommandRow] = []
        begin = "+inf"
        while (most := min(BATCH, limit - len(found))) > 0:
            rows, last = await self._run(redis_commands.PAGE, begin, most)
            found += map(command_row, rows)
            if len(rows) < most:
                break
            begin = f"({last}"
        return found

    # -- history ---------------------------------------------------------------------------------

    async def run(self, run_id: str) -> RunRow | None:
        """See `TaskStore`."""
        row = await self._run(redis_history.RUN, run_id)
        return None if row[0] is None else run_row(row)

    async def runs(self, query: RunQuery) -> Sequence[RunRow]:
        """See `TaskStore`."""
        job = "" if query.job_id is None else str(query.job_id)
        created, before = (
            ("", "") if query.before is None else (microseconds(query.before[0]), query.before[1])
        )
        found: list[RunRow] = []
        while len(found) < query.limit:
            arguments = (job, optional(query.job_type), created, before, query.limit - len(found), BATCH)
            rows, created, before = await self._run(redis_history.RUNS_PAGE, *arguments, *query.statuses)
            found += map(run_row, rows)
            if not created:
                break
        return found

    async def skip(self, run: RunRow) -> None:
        """See `TaskStore`."""
        created = microseconds(run.created_at)
        over = microseconds(run.finished_at) or created
        await self._run(redis_history.SKIP, run.id, str(run.job_id), created, over, *written_run(run))

    async def prune(self, before: datetime, keep: int) -> int:
        """See `TaskStore`."""
        await self._migrate()
        instant, looked, stay = microseconds(before), BATCH, 0
        while looked == BATCH:
            looked, stayed = await self._run(redis_jobs.FORGET, instant, stay, BATCH)
            stay += stayed
        await self._while_full(redis_commands.FORGET, instant, BATCH)
        return await self._while_full(redis_history.PRUNE, instant, keep, BATCH)

    # -- calls -----------------------------------------------------------------------------------

    async def _migrate(self) -> None:
        while await self._run(redis_migration.MIGRATE, BATCH):
            pass

    async def _while_full(self, script: str, *arguments: Argument) -> int:
        """What a script has done in all, which does a batch at most."""
        done, some = 0, BATCH
        while some == BATCH:
            some = await self._run(script, *arguments)
            done += some
        return done

    async def _each(
        self, script: str, first: Iterable[Argument], elements: Iterable[Sequence[str]]
    ) -> list[Any]:
        """One text for a batch: redis-py and the server take several times as long for thousands of them."""
        answers: list[Any] = []
        for some in batched(elements, BATCH):
            answers += await self._run(script, *first, json.dumps(some, ensure_ascii=False))
        return answers

    async def _run(self, script: str, *arguments: Argument) -> Any:
        if (known := self._scripts.get(script)) is None:
            known = self._scripts[script] = self._client.register_script(script)
        # A lone surrogate, which no encoding can carry, becomes "?".
        encoded = [each.encode("utf-8", "replace") if isinstance(each, str) else each for each in arguments]
        try:
            async with calls("redis", self._timeout), self._turns:
                return await reach(lambda: known(keys=self._keys, args=encoded), within=self._timeout)
        except redis_errors.ResponseError as error:
            if "WRONGTYPE" in str(error):
                raise UnsuitableServer(
                    f"{self.name}: a key under {self._keys[0]} was written by somebody else: give another "
                    f"namespace"
                ) from error
            raise ResourceUnavailable("redis", str(error)) from error  # out of memory, too few replicas


def _due(job: JobRow) -> Sequence[Argument]:
    return int(job.enabled), microseconds(job.next_run_at)


def _us(seconds: float) -> int:
    return round(seconds * 1_000_000)


def _name(client: Any) -> str:
    """The address of a client's server, without what is secret."""
    pool = client.connection_pool
    known = pool.connection_kwargs
    if path := known.get("path"):
        return f"unix://{path}"
    if service := getattr(pool, "service_name", None):
        return f"redis+sentinel://{service}"
    scheme = "rediss" if issubclass(pool.connection_class, SSLConnection) else "redis"
    return f"{scheme}://{known.get('host', 'localhost')}:{known.get('port', 6379)}/{known.get('db') or 0}"
