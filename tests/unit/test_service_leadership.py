"""What a process says of the groups that it stands for, and that it hands one over when it is told."""

from __future__ import annotations

import asyncio
import json

import pytest
from tests.support.waiting import until

from bgtasks import Supervision, TaskSupervisor, WorkerContext
from bgtasks.errors import BgTasksError
from bgtasks.service import Leadership


@pytest.fixture
def supervisor() -> TaskSupervisor:
    async def anchor(ctx: WorkerContext) -> None:
        await ctx.stopping.wait()

    supervisor = TaskSupervisor(None, "atlas")
    supervisor.register_task("anchor", anchor)
    return supervisor


async def test_what_it_says_is_json(supervisor: TaskSupervisor) -> None:
    leadership = Leadership(Supervision({None: supervisor, "night": TaskSupervisor(None, "atlas")}, []))

    async with supervisor:
        await until("it leads", lambda: leadership.state()["default"]["workers"][0]["ready"])
        said = json.loads(json.dumps(leadership.state()))

    assert list(said) == ["default", "night"]
    assert (said["default"]["state"], said["default"]["holder"]) == ("leading", "atlas")
    assert said["default"]["workers"][0]["name"] == "anchor"
    assert said["night"]["state"] == "stopped"


async def test_it_hands_over_what_it_leads(supervisor: TaskSupervisor) -> None:
    leadership = Leadership(Supervision({None: supervisor}, []))
    assert leadership.resign("", {}) == "it does not lead"

    async with supervisor:
        await until("it leads", lambda: supervisor.is_leader)
        token = supervisor.token
        assert leadership.resign("default", {}) == "it hands over"
        async with asyncio.timeout(10):
            await until("it leads no more", lambda: supervisor.token != token)


def test_a_group_that_is_none_is_refused_with_those_that_are(supervisor: TaskSupervisor) -> None:
    with pytest.raises(BgTasksError, match='no leader group is called "day" here: there is default'):
        Leadership(Supervision({None: supervisor}, [])).resign("day", {})
