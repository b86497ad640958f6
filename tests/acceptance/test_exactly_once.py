"""Each due prompt is on the stream once, whoever ticks, and whoever is killed meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import IO, Any

import pytest
from redis import RedisError
from tests.support.redis_process import RedisProcess
from tests.support.waiting import PATIENCE_S, wait_until

from bgtasks import Cron, Once
from bgtasks.connect import open_redis
from bgtasks.embedded import EmbeddedServer
from bgtasks.embedded.keeper.shared import read_state
from bgtasks.prompts import PromptStore

pytestmark = pytest.mark.real

HERE = Path(__file__).parent
SRC = HERE.parents[1] / "src"
STREAM, SCHEDULE = "bgtasks:prompts:due", "bgtasks:prompts:schedule"
PROMPTS = 5000
DAILY = Cron("30 7 * * *", "Europe/Helsinki")


class Process:
    """One of the scripts beside this file, in a process of its own."""

    def __init__(self, script: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(SRC)},
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> IO[str]:
        assert self._process.stdout is not None
        return self._process.stdout

    def ready(self) -> None:
        assert self.output.readline() == "ready\n"

    def go(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        self._process.kill()

    def gone(self) -> None:
        self._process.wait(PATIENCE_S)

    def finish(self) -> dict[str, int]:
        """End its stdin; what it says at its end."""
        said, _ = self._process.communicate(timeout=PATIENCE_S)
        assert self._process.returncode == 0
        answer: dict[str, int] = json.loads(said)
        return answer

    def close(self) -> None:
        self._process.kill()
        self._process.wait(PATIENCE_S)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


@contextmanager
def processes(count: int, script: str, *arguments: str) -> Iterator[list[Process]]:
    started = [Process(script, *arguments) for _ in range(count)]
    try:
        yield started
    finally:
        for each in started:
            each.close()


async def add_due(url: str, count: int) -> list[str]:
    """Prompts that were due an hour ago, every tenth a daily one; the runs that are to come of them."""
    past = datetime.now(UTC) - timedelta(hours=2)
    then = past + timedelta(hours=1)
    async with open_redis(url) as client:
        store = PromptStore(client)

        async def add(number: int) -> str:
            if number % 10:
                prompt = await store.add(f"number {number}", Once(then), now=past)
            else:
                yesterday = past - timedelta(days=1)
                prompt = await store.add(f"number {number}", DAILY, now=yesterday)
            assert prompt.due is not None
            return f"{prompt.id}:{prompt.due.timestamp() * 1000:.0f}"

        runs: list[str] = []
        for start in range(0, count, 50):
            runs += await asyncio.gather(*(add(number) for number in range(start, min(start + 50, count))))
        return runs


def nothing_is_due(client: Any) -> bool:
    return int(client.zcount(SCHEDULE, "-inf", int(datetime.now(UTC).timestamp() * 1000))) == 0


def runs_of(client: Any) -> list[str]:
    return [fields["run"] for _, fields in client.xrange(STREAM)]


async def eight_tick_and_two_are_killed() -> None:
    with RedisProcess() as server, server.client() as client:
        expected = await add_due(server.url, PROMPTS)
        assert len(set(expected)) == PROMPTS
        with processes(8, "tick_process.py", server.url) as ticking:
            for each in ticking:
                each.ready()
            for each in ticking:
                each.go()
            before = 0
            while before < 700:
                before = client.xlen(STREAM)
            killed, going_on = ticking[:2], ticking[2:]
            for each in killed:
                each.kill()
            after = client.xlen(STREAM)
            assert 500 < before <= after < 4500, f"the kill came between {before} and {after}"
            for each in killed:
                each.gone()
            wait_until("no prompt is due any more", partial(nothing_is_due, client))
            answers = [each.finish() for each in going_on]
        runs = runs_of(client)
        assert len(runs) == PROMPTS
        assert sorted(runs) == sorted(expected)
        assert client.zcard(SCHEDULE) == PROMPTS // 10  # the daily ones, due again
        moved = [answer["moved"] for answer in answers]
        assert sum(moved) <= PROMPTS
        assert len([each for each in moved if each]) >= 2, f"only one of them did anything: {moved}"


@pytest.mark.full
async def test_eight_processes_tick_and_two_are_killed_yet_each_prompt_is_put_once() -> None:
    await eight_tick_and_two_are_killed()


@pytest.mark.full
@pytest.mark.timeout(240)
async def test_the_same_three_times() -> None:
    for _ in range(3):
        await eight_tick_and_two_are_killed()


@pytest.mark.parametrize("early_us", [100, 400, 499])
async def test_a_tick_within_the_millisecond_before_a_due_instant_puts_it_once(early_us: int) -> None:
    when = datetime.now(UTC).replace(microsecond=387_300) + timedelta(hours=1)
    with RedisProcess() as server, server.client() as looking:
        async with open_redis(server.url) as client:
            store = PromptStore(client)
            await store.add("x", Once(when), now=when - timedelta(hours=1))
            for now in (when - timedelta(microseconds=early_us), when, when + timedelta(seconds=1)):
                await store.tick(now)
        assert len(runs_of(looking)) == 1
        assert looking.zcard(SCHEDULE) == 0


async def test_a_daily_prompt_is_put_once_a_day_by_a_tick_just_before_its_time() -> None:
    began = datetime(2026, 9, 1, 12, tzinfo=UTC)
    due = DAILY.next_after(began)
    assert due is not None
    with RedisProcess() as server, server.client() as looking:
        async with open_redis(server.url) as client:
            store = PromptStore(client)
            await store.add("x", DAILY, now=began)
            for now in (due - timedelta(microseconds=400), due, due + timedelta(seconds=60)):
                await store.tick(now)
        assert len(runs_of(looking)) == 1


async def test_a_prompt_whose_adding_was_acknowledged_survives_kill_9(home: Path) -> None:
    data = home / "data"
    with processes(1, "add_process.py", str(data)) as (adding,):
        acknowledged = [adding.output.readline().strip() for _ in range(150)]
        adding.kill()
        adding.gone()
        acknowledged += [line.strip() for line in adding.output if line.endswith("\n")]
    assert len(acknowledged) >= 150
    async with EmbeddedServer(data) as server, server.client() as client:
        kept = {prompt.id for prompt in await PromptStore(client).all(limit=100_000)}
        assert set(acknowledged) <= kept
        assert len(kept) <= len(acknowledged) + 1  # the one that was under way


def embedded_redis(data: Path) -> int:
    state = read_state(data)
    return state.server if state is not None and state.phase == "running" else 0


@pytest.mark.full
@pytest.mark.timeout(240)
async def test_kills_of_the_embedded_redis_and_of_its_first_user_in_turn(home: Path) -> None:
    data, count = home / "data", 10_000
    arguments = ("--embedded", str(data))
    with processes(1, "tick_process.py", *arguments) as (first,):
        first.ready()
        with processes(1, "tick_process.py", *arguments) as (second,):
            second.ready()
            async with EmbeddedServer(data) as server, open_redis(server.url) as client:
                looking: Any = client
                expected = await add_due(server.url, count)
                first.go()
                second.go()

                async def moved() -> int:
                    while True:
                        try:
                            return int(await looking.xlen(STREAM))
                        except RedisError:
                            continue

                while await moved() < 300:
                    continue
                killed = embedded_redis(data)
                os.kill(killed, signal.SIGKILL)
                wait_until("another redis-server runs", lambda: embedded_redis(data) not in (0, killed))
                first.kill()
                first.gone()
                assert await moved() < count, "all was over before the kills"
                again = embedded_redis(data)
                os.kill(again, signal.SIGKILL)
                wait_until("a third redis-server runs", lambda: embedded_redis(data) not in (0, again))

                while await moved() < count:
                    continue
                answer = second.finish()
                entries = await looking.xrange(STREAM)
                runs = [fields[b"run"].decode() for _, fields in entries]
                assert sorted(runs) == sorted(expected)
                assert 0 < answer["moved"] <= count
