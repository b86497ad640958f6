"""`build_supervisor`: which node stands for which group, and why another does not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.waiting import until

from bgtasks import LeaseTimes, Registry, WorkerContext, background_task, background_worker, build_supervisor
from bgtasks.errors import ConfigurationError, InvalidTask, UnknownTask
from bgtasks.testing import virtual_time


def reasons(supervision: Any) -> dict[str, str | None]:
    return {row.name: row.reason for row in supervision.decisions}


def workers(supervision: Any, group: str | None = None) -> list[str]:
    return [each.name for each in supervision.supervisors[group].snapshot().workers]


@pytest.fixture
def two(registry: Registry) -> Registry:
    """Two workers of the default group, one of which needs a bot runner."""

    @background_worker(scope="leader", registry=registry)
    async def anchor(ctx: WorkerContext) -> None: ...

    @background_worker(scope="leader", opt_in_config_flag="ka_enabled", registry=registry)
    async def heartbeat(bot_runner: Any) -> None: ...

    return registry


# -- who stands ----------------------------------------------------------------------------------


def test_a_worker_that_has_what_it_needs_is_under_the_supervisor_of_its_group(registry: Registry) -> None:
    @background_worker(scope="leader", registry=registry)
    async def anchor() -> None: ...

    @background_worker(scope="leader", group="wiki", registry=registry)
    async def lint() -> None: ...

    @background_worker(registry=registry)
    async def on_every_node() -> None: ...

    @background_task("1m", registry=registry)
    async def periodic() -> None: ...

    supervision = build_supervisor(registry=registry)

    assert reasons(supervision) == {"anchor": None, "lint": None}
    assert workers(supervision) == ["anchor"]
    assert workers(supervision, "wiki") == ["lint"]


def test_a_node_that_lacks_what_one_worker_needs_does_not_stand_for_its_group(two: Registry) -> None:
    config = SimpleNamespace(ka_enabled=True)

    supervision = build_supervisor(registry=two, config=config)

    assert workers(supervision) == []
    assert reasons(supervision) == {
        "anchor": 'this node does not stand for its group, since "heartbeat" cannot run here: '
        "needs bot_runner: no bot runner was given",
        "heartbeat": "needs bot_runner: no bot runner was given",
    }


def test_another_group_is_not_held_up_by_that(two: Registry) -> None:
    @background_worker(scope="leader", group="wiki", registry=two)
    async def lint() -> None: ...

    supervision = build_supervisor(registry=two, config=SimpleNamespace(ka_enabled=True))

    assert workers(supervision, "wiki") == ["lint"]


def test_a_worker_that_the_config_switched_off_holds_nobody_up(two: Registry) -> None:
    supervision = build_supervisor(registry=two, config=SimpleNamespace(ka_enabled=False))

    assert workers(supervision) == ["anchor"]
    assert reasons(supervision)["anchor"] is None


def test_a_node_that_is_told_to_leave_out_a_worker_does_not_stand_for_its_group(two: Registry) -> None:
    supervision = build_supervisor(registry=two, only=("anchor",), config=SimpleNamespace(ka_enabled=True))

    assert workers(supervision) == []
    assert reasons(supervision)["heartbeat"] == "not among the tasks selected with only="


def test_the_groups_lease_is_that_of_the_default_group_and_a_name(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SG_LEADER_KEY", "mine:leader")

    @background_worker(scope="leader", group="wiki", registry=registry)
    async def lint() -> None: ...

    leases = [each.lease for each in build_supervisor(registry=registry).snapshot()]

    assert leases == ["mine:leader", "mine:leader:wiki"]


# -- what cannot be meant ------------------------------------------------------------------------


def test_names_and_resources_are_checked_as_for_a_scheduler(two: Registry) -> None:
    with pytest.raises(UnknownTask, match='did you mean "anchor"'):
        build_supervisor(registry=two, only=("anchors",))
    with pytest.raises(ConfigurationError, match="resources= repeats redis"):
        build_supervisor(registry=two, resources={"redis": object()})


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"restart": "on_error"}, "restart and heartbeat are for workers with scope"),
        ({"heartbeat": "5s"}, "restart and heartbeat are for workers with scope"),
        ({"scope": "leader", "restart": "sometimes"}, "restart is one of"),
        ({"scope": "leader", "heartbeat": "5s"}, 'needs a parameter "ctx"'),
    ],
)
def test_a_worker_that_cannot_be_meant_is_refused_where_it_is_declared(
    registry: Registry, arguments: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(InvalidTask, match=complaint):

        @background_worker(registry=registry, **arguments)
        async def listen() -> None: ...


# -- at work -------------------------------------------------------------------------------------


@virtual_time
async def test_without_a_redis_all_groups_are_led_at_once_and_ended_together(registry: Registry) -> None:
    seen: list[str] = []

    @background_worker(scope="leader", registry=registry)
    async def anchor(ctx: WorkerContext, label: str = "anchor") -> None:
        seen.append(f"{label} {ctx.check()}")
        await ctx.stopping.wait()
        seen.append(f"{label} ends")

    @background_worker(scope="leader", group="wiki", registry=registry)
    async def lint(ctx: WorkerContext) -> None:
        seen.append(f"lint {ctx.check()}")
        await ctx.stopping.wait()

    async with build_supervisor(registry=registry, times=LeaseTimes()) as supervision:
        await until("both work", lambda: len(seen) == 2)
        assert [each.state for each in supervision.snapshot()] == ["leading", "leading"]
        assert supervision.default.is_leader

    assert sorted(seen[:2]) == ["anchor 1", "lint 1"]
    assert seen[2:] == ["anchor ends"]
    assert [each.state for each in supervision.snapshot()] == ["stopped", "stopped"]
