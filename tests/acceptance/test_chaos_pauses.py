"""A leader frozen for longer than its lease: the step in progress comes late, and no second one does."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from tests.acceptance.chaos_crowd import SLEEP, STOP, Pause, crowd, stage
from tests.support.redis_process import RedisProcess
from tests.support.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.full, pytest.mark.timeout(240)]

STOPS = 3


async def test_a_leader_stopped_at_any_moment_does_at_most_one_step_too_late(home: Path) -> None:
    async with stage(home, late=STOPS) as on:
        for _ in range(STOPS):
            before = len(on.around.late)
            leader, token = await on.around.leader()
            on.around.tell(leader, signal.SIGSTOP)
            await on.around.works(above=token, besides=leader)
            on.around.tell(leader, signal.SIGCONT)
            await on.around.ended(leader, token)
            assert len(on.around.late) <= before + 1


@pytest.mark.parametrize("how", [STOP, SLEEP], ids=["SIGSTOP", "time.sleep"])
async def test_one_that_stands_still_within_a_step_does_exactly_that_one(home: Path, how: Pause) -> None:
    async with stage(home, late=1) as on:
        leader, _ = await on.around.leader()
        token = await on.around.pause(leader, how)
        await on.around.works(above=token, besides=leader)
        on.around.go(leader, how)
        await on.around.ended(leader, token)
        (late,) = on.around.late
        assert (on.around.who(late), late.token) == (leader, token)
        (said,) = on.around.said(leader, "goes on")  # at its next question it is told that it does not lead
        assert said == {"what": "goes on", "token": token, "leads": False}


async def test_a_leader_that_blocks_its_event_loop_is_told_so_while_it_does(home: Path) -> None:
    async with crowd(home) as around:
        with RedisProcess() as server:
            await around.start(server.url, "a", fresh=True)
            await around.works()
            token = await around.pause("a", SLEEP)
            told = f"token {token}: the lease could not be renewed, since the event loop stands still"
            await until("it is told", lambda: told in [each["text"] for each in around.said("a", "log")])
            around.go("a", SLEEP)
            await around.ended("a", token)
