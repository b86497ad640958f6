"""`bgtasks run`: it works, it ends when it is asked to, and takes its servers along."""

from __future__ import annotations

import re
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.command_line import Running, bgtasks, expect_no_complaint, left_running, wait_until_gone
from tests.support.redis_process import RedisProcess
from tests.support.waiting import PATIENCE_S, wait_until

from bgtasks.embedded.keeper.shared import read_state

pytestmark = pytest.mark.real

ENDS_WITHIN_S = 8.0
"""From the signal to the end of the process, on a busy machine; the embedded server's own end included."""

TICK_SOON = """
from bgtasks import background_task
from bgtasks.tasks import scheduled_prompt_tick

@background_task("0.1s", requires_redis=True)
async def tick_soon(redis):
    return await scheduled_prompt_tick(redis)
"""

STUBBORN = """
import asyncio
from bgtasks import background_task

@background_task("1s")
async def stubborn():
    print("stubborn has begun", flush=True)
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            print("stubborn was cancelled", flush=True)
"""


def add_prompt(home: Path, url: str, when: str) -> tuple[str, datetime]:
    """Let another process add a prompt; its id, and when it is due."""
    ended = bgtasks("prompts", "add", "Is the tent dry?", "--in", when, home=home, BGTASKS_REDIS_URL=url)
    found = re.fullmatch(r"(\w+)  due (\S+ \S+) UTC\n", ended.out)
    assert found, ended
    return found[1], datetime.strptime(found[2], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)


def prompts_on_stream(client: Any) -> list[str]:
    return [fields["prompt"] for _, fields in client.xrange("bgtasks:prompts:due")]


def server_of(data: Path) -> dict[str, int]:
    state = read_state(data)
    assert state is not None
    return {"keeper": state.keeper, "redis-server": state.server}


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_ends_it_and_its_embedded_server_within_seconds(home: Path, how: signal.Signals) -> None:
    data = home / "data"
    with Running("run", "--redis", f"embedded://{data}", home=home) as running:
        running.wait_for("scheduler started")
        pids = server_of(data)
        assert set(pids.values()) <= left_running(running, home).keys()
        running.send(how)
        ended = running.end(ENDS_WITHIN_S)
        assert ended.code == 0
        expect_no_complaint(ended)
        assert "scheduler stopped" in ended.err
        wait_until_gone(running, home)


@pytest.mark.full
def test_a_prompt_that_became_due_meanwhile_is_put_at_the_start(home: Path) -> None:
    url = f"embedded://{home / 'data'}"
    prompt, due = add_prompt(home, url, "1s")
    wait_until("the prompt is due", lambda: datetime.now(UTC) > due + timedelta(seconds=1))
    with Running("run", "--redis", url, home=home, BGTASKS_LOG_LEVEL="DEBUG") as running:
        running.wait_for(r"\[scheduled_prompt_tick\] run done: .*'moved': 1")
        running.send(signal.SIGTERM)
        assert running.end(ENDS_WITHIN_S).code == 0
        wait_until_gone(running, home)
    listed = bgtasks("prompts", "list", "--all", "--json", home=home, BGTASKS_REDIS_URL=url)
    assert f'"id": "{prompt}"' in listed.out
    assert '"status": "done"' in listed.out


def test_a_prompt_that_another_process_adds_is_put_on_the_stream(home: Path) -> None:
    (home / "tick_soon.py").write_text(TICK_SOON)
    with (
        RedisProcess() as server,
        server.client() as client,
        Running("run", "--redis", server.url, "--import", "tick_soon", home=home) as running,
    ):
        running.wait_for("scheduler started")
        prompt, _ = add_prompt(home, server.url, "0.5s")
        wait_until("the prompt is on the stream", lambda: prompts_on_stream(client) == [prompt])
        running.send(signal.SIGTERM)
        ended = running.end(ENDS_WITHIN_S)
        assert ended.code == 0
        expect_no_complaint(ended)


def test_only_and_exclude_choose_what_runs(home: Path) -> None:
    (home / "tick_soon.py").write_text(TICK_SOON)
    with RedisProcess() as server:
        own = {"BGTASKS_REDIS_URL": server.url, "BGTASKS_LOG_LEVEL": "DEBUG"}
        with Running("run", "-i", "tick_soon", "--only", "tick_soon", home=home, **own) as running:
            running.wait_for(r"scheduler started: tasks=1 workers=0 not_wired=7")
            running.wait_for(r"\[tick_soon\] run done")
            running.send(signal.SIGTERM)
            assert running.end(ENDS_WITHIN_S).code == 0
        with Running("run", "-i", "tick_soon", "--exclude", "tick_soon", home=home, **own) as running:
            running.wait_for(r"scheduler started: tasks=2 workers=0 not_wired=6")
            running.send(signal.SIGTERM)
            assert running.end(ENDS_WITHIN_S).code == 0


def test_a_second_signal_ends_at_once_what_takes_too_long(home: Path) -> None:
    (home / "stubborn.py").write_text(STUBBORN)
    url = f"embedded://{home / 'data'}"
    with Running("run", "--redis", url, "-i", "stubborn", home=home, BGTASKS_STOP_TIMEOUT="3600") as running:
        running.wait_for("stubborn has begun")
        running.send(signal.SIGTERM)
        running.wait_for("stubborn was cancelled")
        running.send(signal.SIGTERM)
        ended = running.end(ENDS_WITHIN_S)
        assert ended.code == -signal.SIGTERM
        expect_no_complaint(ended)
        wait_until_gone(running, home)


@pytest.mark.full
def test_a_run_that_would_not_end_is_named_and_does_not_keep_the_process(home: Path) -> None:
    (home / "stubborn.py").write_text(STUBBORN)
    url = f"embedded://{home / 'data'}"
    with Running("run", "--redis", url, "-i", "stubborn", home=home, BGTASKS_STOP_TIMEOUT="1") as running:
        running.wait_for("stubborn has begun")
        running.send(signal.SIGTERM)
        running.wait_for("these runs would not end: unfinished=stubborn")
        ended = running.end(ENDS_WITHIN_S)
        assert "Traceback" not in ended.err
        wait_until_gone(running, home)


def test_kill_9_of_it_leaves_no_server_behind(home: Path) -> None:
    with Running("run", "--redis", f"embedded://{home / 'data'}", home=home) as running:
        running.wait_for("scheduler started")
        running.kill()
        wait_until("no process is left behind", lambda: not left_running(running, home), PATIENCE_S)


def test_two_of_them_share_one_embedded_server(home: Path) -> None:
    data = home / "data"
    with Running("run", "--redis", f"embedded://{data}", home=home) as first:
        first.wait_for("scheduler started")
        pids = server_of(data)
        with Running("run", "--redis", f"embedded://{data}", home=home) as second:
            second.wait_for("scheduler started")
            assert server_of(data) == pids
            first.send(signal.SIGTERM)
            assert first.end(ENDS_WITHIN_S).code == 0
            assert set(pids.values()) <= left_running(first, home).keys()
            second.send(signal.SIGTERM)
            assert second.end(ENDS_WITHIN_S).code == 0
            wait_until_gone(second, home)
