"""What docs/how-to/operate-redis.md tells operators to write does what it says, with the real `redis-cli`."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from tests.docs.pages import ROOT
from tests.support.servers import debian_redis, redis_server
from tests.support.task_stores import (
    DUE,
    FUTURE,
    LONG,
    PATIENT,
    a_job,
    a_session,
    claimed,
    ended,
    every_hour,
    joined,
    now_of,
    refused,
    run_of,
    started,
    tick,
)
from tests.support.waiting import PATIENCE_S

from bgtasks.claims.declared import job_id
from bgtasks.connect import open_redis
from bgtasks.records import JobRow, Refusal, RunStatus
from bgtasks.stores.tasks.redis import RedisTaskStore

pytestmark = pytest.mark.real

PAGE = (ROOT / "docs" / "how-to" / "operate-redis.md").read_text("utf-8")
RECIPES: dict[str, str] = dict(
    re.findall(r"^## (.+)\n(?:(?!## |```).*\n)*```console\n\$ (.+)\n```$", PAGE, re.MULTILINE)
)
"""The command of each section."""

NAMED = UUID(re.findall(r"SADD bgtasks:tasks:now (\S+-\S+)", PAGE)[0])
"""The id of the job that is given as an example."""


def redis_cli() -> Path:
    """The `redis-cli` beside Debian's server: a skip where there is none, a failure where it must be."""
    found = Path(debian_redis()).with_name("redis-cli")
    if not found.exists():
        reason = "no redis-cli beside redis-server: apt-get install redis-tools"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@dataclass
class Operator:
    """Somebody with a shell, a Redis and nodes that beat.

    Attributes:
        path: The folder of a `redis-cli` that knows the server.
        redis: A client, to see and do what no recipe does.
        session: A session that can run `digest` and `remind`.
    """

    path: Path
    redis: Any
    store: RedisTaskStore
    session: str = ""

    async def does(self, recipe: str) -> list[str]:
        """Follow a recipe: the lines that it shows."""
        process = await asyncio.create_subprocess_exec(
            *("sh", "-e", "-c", RECIPES[recipe]),
            env={**os.environ, "PATH": f"{self.path}{os.pathsep}{os.environ['PATH']}"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(PATIENCE_S):
            output, _ = await process.communicate()
        assert process.returncode == 0, output
        return output.decode().splitlines()

    async def due(self) -> list[JobRow]:
        """What the node hears is due when it beats."""
        told = await self.store.beat(self.session, LONG, 0.0)
        assert all(job.next_run_at is not None and job.next_run_at <= told.at for job in told.due)
        assert not await self.redis.exists(*(f"bgtasks:tasks:{each}" for each in ("now", "pause", "resume")))
        return list(told.due)


@pytest.fixture(scope="module")
def socket() -> Iterator[str]:
    """A Redis of this module's own: its unix socket."""
    with redis_server(debian_redis()) as url:
        yield url.removeprefix("unix://")


@pytest.fixture
async def operator(socket: str, tmp_path: Path) -> AsyncIterator[Operator]:
    """An operator of an empty Redis."""
    (tmp_path / "redis-cli").write_text(f'#!/bin/sh\nexec {redis_cli()} -s {socket} "$@"\n')
    (tmp_path / "redis-cli").chmod(0o755)
    client: Any = open_redis(f"unix://{socket}", decode_responses=True)
    store = RedisTaskStore(client, timeout=PATIENT)
    try:
        await client.flushall()
        await store.open()
        one = Operator(tmp_path, client, store)
        one.session = await joined(store, "digest", "remind")
        yield one
    finally:
        await store.aclose()
        await client.aclose()


async def a_digest(operator: Operator, **but: Any) -> JobRow:
    """The job of a task that is declared in code; it is due some day."""
    job = a_job(
        "digest", **{"id": job_id("digest"), "key": "digest", "declared": True, "next_run_at": FUTURE, **but}
    )
    return await operator.store.add(job)


async def a_reminder(operator: Operator, **but: Any) -> JobRow:
    """A job that was added at run time; it is due some day."""
    return await operator.store.add(a_job("remind", next_run_at=FUTURE, **but))


async def a_failed_run(operator: Operator, job: JobRow, why: str) -> str:
    """A run that failed, of a job that is due."""
    run = await started(operator.store, operator.session, job)
    [was_its] = await operator.store.finish([ended(run, RunStatus.FAILED, duration_ms=7, error_message=why)])
    assert was_its
    return run.run_id


def test_each_section_has_one_recipe_in_one_line() -> None:
    assert len(RECIPES) == PAGE.count("\n## ") == PAGE.count("```console\n") == PAGE.count("\n$ ")


class TestToLook:
    async def test_at_a_job(self, operator: Operator) -> None:
        job = await a_digest(operator, reason="because")

        lines = await operator.does("Look at a job")

        fields = dict(zip(lines[::2], lines[1::2], strict=True))
        assert fields["id"] == str(job.id)
        assert fields["reason"] == "because"
        assert fields["next_run_at"] == "4102444800000001"

    async def test_at_the_jobs_of_a_type(self, operator: Operator) -> None:
        await a_digest(operator)
        jobs = [await a_reminder(operator) for _ in range(3)]

        lines = await operator.does("List the jobs of a type")

        ids = sorted(str(job.id) for job in jobs)
        assert lines == [line for id in ids for line in (id, "1", "", "4102444800000001", "0")]

    async def test_at_the_latest_runs_of_a_job(self, operator: Operator) -> None:
        job, runs = await a_digest(operator, next_run_at=DUE), list[str]()
        for each in range(7):
            runs.append(await a_failed_run(operator, await now_of(operator.store, job), f"the {each}th time"))

        lines = await operator.does("Look at the latest runs of a job")

        assert lines[::4] == runs[:-6:-1]
        assert lines[:4] == [runs[6], "failed", "7", "the 6th time"]

    async def test_at_what_did_not_go_well(self, operator: Operator) -> None:
        well, ill = await a_digest(operator, next_run_at=DUE), await operator.store.add(a_job("remind"))
        run = await started(operator.store, operator.session, well)
        await operator.store.finish([ended(run)])
        failed = await a_failed_run(operator, ill, "no paper")

        assert await operator.does("Find what did not go well") == [f"{failed}\tremind\tfailed"]

    async def test_at_what_is_due(self, operator: Operator) -> None:
        odd = await operator.store.add(a_job("it is odd"))
        due = await operator.store.add(a_job("remind", next_run_at=DUE))
        await a_digest(operator)

        lines = await operator.does("List what is due")

        since = "1583020799123457"
        assert lines == [str(odd.id), since, str(due.id), since]

    async def test_at_who_is_alive(self, operator: Operator) -> None:
        await operator.store.join(a_session("digest", node_id="gone"), -5.0)

        assert await operator.does("List the nodes that are alive") == ["node", '["digest", "remind"]']


class TestToRun:
    async def test_a_task_at_the_next_beat(self, operator: Operator) -> None:
        job = await a_digest(operator)
        assert await operator.due() == []

        await operator.does("Run a task at the next beat")

        [row] = await operator.due()
        assert (row.id, row.version) == (job.id, job.version + 1)
        assert row == await now_of(operator.store, job)
        [answer] = await operator.store.claim(operator.session, [tick(row)])
        assert claimed(answer).due == row.next_run_at
        assert (await now_of(operator.store, job)).next_run_at == tick(row).following

    async def test_a_job_by_its_id(self, operator: Operator) -> None:
        job, _other = await a_reminder(operator, id=NAMED), await a_reminder(operator)

        await operator.does("Run a job at the next beat")

        assert [row.id for row in await operator.due()] == [job.id]

    async def test_a_job_that_was_over(self, operator: Operator) -> None:
        job = await operator.store.add(a_job("remind", id=NAMED))
        run = await started(operator.store, operator.session, job, following=None)
        await operator.store.finish([ended(run)])

        await operator.does("Run a job at the next beat")

        assert [row.id for row in await operator.due()] == [job.id]
        await operator.store.prune(FUTURE, 100)
        assert await operator.store.job(job.id) is not None

    async def test_a_plain_interval_while_a_run_of_it_is_in_progress(self, operator: Operator) -> None:
        job = await operator.store.add(every_hour(job_type="remind", id=NAMED))
        run = await started(operator.store, operator.session, job)

        await operator.does("Run a job at the next beat")

        [row] = await operator.due()
        [answer] = await operator.store.claim(operator.session, [tick(row)])
        skipped = refused(answer, Refusal.BUSY).run_id
        assert (await run_of(operator.store, skipped or "")).status is RunStatus.SKIPPED
        assert await operator.store.finish([ended(run)]) == [True]

    async def test_nothing_of_a_backlog_is_dropped(self, operator: Operator) -> None:
        job = await a_digest(operator, next_run_at=DUE)

        await operator.does("Run a task at the next beat")

        assert await operator.due() == [job]

    async def test_a_paused_task_when_it_is_resumed(self, operator: Operator) -> None:
        job = await a_digest(operator, enabled=False)

        await operator.does("Run a task at the next beat")

        assert await operator.due() == []
        await operator.does("Resume it")
        assert [row.id for row in await operator.due()] == [job.id]


class TestToPause:
    async def test_a_task_and_resume_it(self, operator: Operator) -> None:
        job = await a_digest(operator, next_run_at=DUE)

        await operator.does("Pause a task")

        assert await operator.due() == []
        paused = await now_of(operator.store, job)
        assert (paused.enabled, paused.reason, paused.next_run_at) == (False, "by hand", DUE)
        [answer] = await operator.store.claim(operator.session, [tick(job)])
        refused(answer, Refusal.DISABLED)

        await operator.does("Resume it")

        [row] = await operator.due()
        assert (row.id, row.enabled, row.reason, row.next_run_at) == (job.id, True, "", DUE)

    async def test_all_jobs_of_a_type(self, operator: Operator) -> None:
        digest = await a_digest(operator)
        for _ in range(20):
            await a_reminder(operator)

        await operator.does("Pause all jobs of a type")

        assert await operator.due() == []
        jobs = await operator.store.jobs(job_type="remind")
        assert [job.enabled for job in jobs] == [False] * 20
        assert (await now_of(operator.store, digest)).enabled

    async def test_wins_over_resuming(self, operator: Operator) -> None:
        job = await a_digest(operator, enabled=False)
        await operator.does("Resume it")
        await operator.does("Pause a task")

        await operator.due()

        assert not (await now_of(operator.store, job)).enabled

    async def test_twice_is_to_pause_once(self, operator: Operator) -> None:
        job = await a_digest(operator, enabled=False, reason="of old")

        await operator.does("Pause a task")
        await operator.due()

        assert await now_of(operator.store, job) == job


class TestWhatIsWrittenAmiss:
    async def test_is_dropped_if_it_names_no_job(self, operator: Operator) -> None:
        job = await a_reminder(operator)
        await operator.redis.sadd("bgtasks:tasks:now", "no such", "", "remind", "*", "0" * 1000)
        await operator.redis.sadd("bgtasks:tasks:pause", "jobs-of:remind", "\n", str(job.id)[:-1])

        assert await operator.due() == []

        assert list(await operator.store.jobs()) == [job]

    async def test_is_dropped_if_it_is_no_set(self, operator: Operator) -> None:
        job = await a_digest(operator)
        await operator.redis.set("bgtasks:tasks:now", "digest")
        await operator.redis.rpush("bgtasks:tasks:pause", "digest")
        await operator.redis.hset("bgtasks:tasks:resume", "digest", "1")

        assert await operator.due() == []

        assert await now_of(operator.store, job) == job

    async def test_among_what_is_due_is_passed_over(self, operator: Operator) -> None:
        job = await a_digest(operator, next_run_at=DUE)
        await operator.redis.zadd("bgtasks:tasks:due:digest", {"no such": 1})

        assert await operator.due() == [job]

    async def test_takes_a_beat_for_each_five_hundred(self, operator: Operator) -> None:
        job = await a_reminder(operator)
        await operator.redis.sadd("bgtasks:tasks:now", *(f"none {each}" for each in range(1200)), str(job.id))
        left = list[int]()
        for _ in range(3):
            await operator.store.beat(operator.session, LONG, 0.0)
            left.append(await operator.redis.scard("bgtasks:tasks:now"))

        assert left == [701, 201, 0]
        assert [row.id for row in await operator.due()] == [job.id]
