"""Leadership as an operator sees it: `bgtasks run` on two nodes, `bgtasks leader`, and the services."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.command_line import Ended, Running, bgtasks, expect_no_complaint
from tests.support.redis_process import RedisProcess
from tests.support.waiting import wait_until

pytestmark = pytest.mark.real

REPOSITORY = Path(__file__).parents[2]

WORKER = """
import asyncio
from bgtasks import WorkerContext, background_worker

@background_worker(scope="leader")
async def anchor(ctx: WorkerContext):
    print("anchored under", ctx.check(), flush=True)
    await ctx.stopping.wait()
"""


@pytest.fixture
def url() -> Iterator[str]:
    with RedisProcess() as server:
        yield server.url


def node(home: Path, url: str) -> Running:
    (home / "worker.py").write_text(WORKER)
    return Running("run", "-i", "worker", "--redis", url, home=home)


@pytest.mark.full
def test_one_node_leads_and_hands_over_when_it_is_asked_to_or_ends(home: Path, url: str) -> None:
    def leader(*words: str) -> Ended:
        return bgtasks("leader", *words, home=home, BGTASKS_REDIS_URL=url)

    nobody = leader("show")
    assert (nobody.code, nobody.out) == (1, "sg:leader:supervisor: nobody leads\n")
    assert leader("resign").code == 1

    with node(home, url) as first, node(home, url) as second:
        leading, following = _wait_for_one(first, second)
        shown = json.loads(leader("show", "--json").out)
        assert shown["lease"] == "sg:leader:supervisor"
        assert str(shown["leader"]["token"]) in leading.text

        assert "is asked to hand over" in leader("resign").out
        following.wait_for("anchored under")
        leading.wait_for("this node leads no more.*asked to resign")
        assert str(leading.pid) not in leader("show").out

        following.send(signal.SIGTERM)
        assert following.end().code == 0
        leading.wait_for(r"(?s)leads no more.*this node leads:")
        leading.send(signal.SIGTERM)
        ended = leading.end()
    assert ended.code == 0
    expect_no_complaint(ended)
    assert leader("show").code == 1


def _wait_for_one(first: Running, second: Running) -> tuple[Running, Running]:
    """Who leads and who follows."""
    wait_until("one of them leads", lambda: "anchored" in first.text + second.text)
    return (first, second) if "anchored" in first.text else (second, first)


@pytest.mark.parametrize(
    ("service", "runs"),
    [
        ("agents_main", {"scheduled_prompt_tick", "scheduled_prompt_cleanup"}),
        ("inference_main", set[str]()),
        ("consolidation_main", {"kg_decay_task"}),
    ],
)
def test_each_service_runs_what_is_its_own_and_says_why_not_the_rest(
    home: Path, service: str, runs: set[str]
) -> None:
    program = [sys.executable, "-m", f"services.{service}"]
    known = {"scheduled_prompt_tick", "scheduled_prompt_cleanup", "kg_decay_task"}
    with Running(home=home, program=program, PYTHONPATH=str(REPOSITORY)) as running:
        running.wait_for("scheduler started")
        running.send(signal.SIGTERM)
        ended = running.end()

    assert ended.code == 0
    expect_no_complaint(ended)
    not_its_own = {name for name in known if f"{name} does not run here: not among" in ended.err}
    assert not_its_own == known - runs
    assert ended.err.count("needs") >= len(runs)  # there is no Redis


def test_a_service_whose_settings_cannot_be_meant_ends_with_two(home: Path) -> None:
    program = [sys.executable, "-m", "services.agents_main"]
    with Running(home=home, program=program, PYTHONPATH=str(REPOSITORY), BGTASKS_REDIZ="x") as running:
        ended = running.end()

    assert ended.code == 2
    assert "did you mean BGTASKS_REDIS_URL?" in ended.err
