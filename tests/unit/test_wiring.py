"""The only judge: what a task needs and the flags that gate it, each on and off."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from bgtasks import Absent, Cron, Every, Registry, Skipped, background_task, background_worker, days, minutes
from bgtasks.errors import InvalidSetting
from bgtasks.wiring import CHAT_LLM_FLAG, Decision, Wired, Wiring

HOST = {"redis": "a redis", "kg_manager": "a graph", "openrouter": "a model", "bot_runner": "a bot"}


def judged(
    declare: Callable[..., Any], resources: dict[str, Any] | None = None, config: Any = None
) -> Wired | Skipped:
    """The verdict on the one task that `declare` puts into a registry."""
    registry = Registry()
    declare(registry)
    [spec] = registry
    return Wiring(resources or {}, config).judge(spec)


def periodic(**options: Any) -> Callable[[Registry], None]:
    """A task without parameters, gated by `options`."""

    def declare(registry: Registry) -> None:
        @background_task("4h", registry=registry, **options)
        async def tidy() -> None: ...

    return declare


def wired(verdict: Wired | Skipped) -> Wired:
    assert isinstance(verdict, Wired), verdict
    return verdict


# -- needs ---------------------------------------------------------------------------------------


def test_a_task_without_needs_is_wired_with_nothing() -> None:
    verdict = wired(judged(periodic()))

    assert verdict == Wired({}, Every("4h"), None)


@pytest.mark.parametrize(
    ("flag", "resource", "reason"),
    [
        ("requires_redis", "redis", "needs redis: no Redis client was given"),
        ("requires_kg", "kg_manager", "needs kg_manager: no knowledge graph was given"),
        ("requires_openrouter", "openrouter", "needs openrouter: no LLM client was given"),
        ("requires_bot_runner", "bot_runner", "needs bot_runner: no bot runner was given"),
    ],
)
def test_each_need_is_met_or_says_what_is_missing(flag: str, resource: str, reason: str) -> None:
    declare = periodic(**{flag: True})
    others = {name: value for name, value in HOST.items() if name != resource}

    assert isinstance(judged(declare, HOST), Wired)
    assert judged(declare, others) == Skipped(reason)
    assert judged(declare, {**HOST, resource: None}) == Skipped(reason)
    assert judged(declare, {**HOST, resource: Absent("it was switched off")}) == Skipped(
        f"needs {resource}: it was switched off"
    )


def test_the_need_of_a_config_is_met_or_says_so() -> None:
    declare = periodic(requires_config=True)

    assert isinstance(judged(declare, config={}), Wired)
    assert judged(declare) == Skipped("needs config: no config was given")


def test_a_resource_that_is_false_is_given_all_the_same() -> None:
    assert isinstance(judged(periodic(requires=("cache",)), {"cache": {}}), Wired)
    assert isinstance(judged(periodic(requires_redis=True), {"redis": 0}), Wired)


def test_resources_are_injected_by_the_names_of_the_parameters() -> None:
    def declare(registry: Registry) -> None:
        @background_task(60, requires=("discord",), registry=registry)
        async def greet(bot_runner: object, redis: object, *, discord: object, limit: int = 5) -> None: ...

    verdict = wired(judged(declare, {**HOST, "discord": "a client"}))

    assert verdict.kwargs == {"bot_runner": "a bot", "redis": "a redis", "discord": "a client"}


def test_a_parameter_without_a_default_is_a_need_that_no_flag_has_to_name() -> None:
    def declare(registry: Registry) -> None:
        @background_task(60, registry=registry)
        async def decay(kg_manager: object, config: object) -> None: ...

    assert judged(declare) == Skipped(
        "needs kg_manager: no knowledge graph was given; needs config: no config was given"
    )


def test_a_need_that_is_no_parameter_is_required_and_not_injected() -> None:
    def declare(registry: Registry) -> None:
        @background_task(60, requires_redis=True, registry=registry)
        async def tidy(kg_manager: object) -> None: ...

    assert wired(judged(declare, HOST)).kwargs == {"kg_manager": "a graph"}
    assert judged(declare, {"kg_manager": "a graph"}) == Skipped("needs redis: no Redis client was given")


def test_an_optional_parameter_is_filled_only_when_there_is_something_to_fill_it_with() -> None:
    def declare(registry: Registry) -> None:
        @background_task(60, registry=registry)
        async def tidy(redis: object = None, config: object = None, limit: int = 5) -> None: ...

    config = SimpleNamespace()

    assert wired(judged(declare)).kwargs == {}
    assert wired(judged(declare, {"redis": Absent("no URL")})).kwargs == {}
    assert wired(judged(declare, {"limit": 9}, config)).kwargs == {"config": config}
    assert wired(judged(declare, HOST, config)).kwargs == {"redis": "a redis", "config": config}


def test_every_reason_is_said_at_once_and_each_once() -> None:
    def declare(registry: Registry) -> None:
        @background_task(
            60,
            requires_redis=True,
            requires=("redis", "discord"),
            opt_in_config_flag="tidy",
            registry=registry,
        )
        async def tidy(redis: object) -> None: ...

    assert judged(declare) == Skipped(
        'needs redis: no Redis client was given; needs discord: no resource "discord" was given; '
        "off: tidy must be true, and no config was given"
    )


@pytest.mark.parametrize(
    ("bot", "verdict"),
    [
        (SimpleNamespace(kg_manager="a graph"), None),
        (SimpleNamespace(), "bot_runner has no kg_manager"),
        (SimpleNamespace(kg_manager=None), "bot_runner has no kg_manager"),
        (SimpleNamespace(kg_manager=Absent("no FalkorDB")), "bot_runner has no kg_manager: no FalkorDB"),
        (None, "needs bot_runner.kg_manager: no bot runner was given"),
        (Absent("Discord is down"), "needs bot_runner.kg_manager: Discord is down"),
    ],
)
def test_a_need_may_reach_into_a_resource(bot: Any, verdict: str | None) -> None:
    judgement = judged(periodic(requires=("bot_runner.kg_manager",)), {"bot_runner": bot})

    assert (judgement.reason if isinstance(judgement, Skipped) else None) == verdict


def test_a_deep_need_names_the_step_that_is_missing() -> None:
    declare = periodic(requires=("bot_runner.cfg.wiki.path",))

    bot = SimpleNamespace(cfg=SimpleNamespace(wiki=None))

    assert judged(declare, {"bot_runner": bot}) == Skipped("bot_runner.cfg has no wiki")


# -- the opt-in flag -----------------------------------------------------------------------------

OPT_IN = periodic(opt_in_config_flag="starwiki_enabled")
OFF = Skipped("off: starwiki_enabled is false")


@pytest.mark.parametrize("given", [SimpleNamespace, dict])
@pytest.mark.parametrize("value", [True, 1, "true", "yes", "on", "1", "anything", [0]])
def test_an_opt_in_flag_that_is_true_lets_the_task_run(given: Callable[..., Any], value: object) -> None:
    assert isinstance(judged(OPT_IN, config=given(starwiki_enabled=value)), Wired)


@pytest.mark.parametrize("given", [SimpleNamespace, dict])
@pytest.mark.parametrize(
    "value", [False, 0, None, "", "false", "False", "0", "off", "OFF", " no ", "None", []]
)
def test_an_opt_in_flag_that_is_false_or_says_no_keeps_it_off(
    given: Callable[..., Any], value: object
) -> None:
    assert judged(OPT_IN, config=given(starwiki_enabled=value)) == OFF


def test_without_a_config_every_opt_in_is_off() -> None:
    assert judged(OPT_IN) == Skipped("off: starwiki_enabled must be true, and no config was given")


@pytest.mark.parametrize("given", [SimpleNamespace, dict])
def test_a_flag_that_config_lacks_is_off_with_the_near_miss_and_one_warning(
    given: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    registry = Registry()
    for name in ("one", "other"):
        declare = periodic(opt_in_config_flag="starwiki_enabled", name=name)
        other = Registry()
        declare(other)
        registry.add(*other)
    wiring = Wiring({}, given(starwiki_enable=True, ka_enabled=True))

    verdicts = [wiring.judge(spec) for spec in registry for _ in range(3)]

    reason = "off: config has no starwiki_enabled (it has starwiki_enable)"
    assert set(verdicts) == {Skipped(reason)}
    assert len(verdicts) == 6
    [record] = caplog.records
    assert (record.name, record.levelno) == ("bgtasks", logging.WARNING)
    assert record.getMessage() == f"{reason}; a task opts in with it"


def test_a_flag_that_config_lacks_without_a_near_miss_is_just_off() -> None:
    assert judged(OPT_IN, config=SimpleNamespace(verbose=True)) == Skipped(
        "off: config has no starwiki_enabled"
    )


class StrictSettings:
    strict_names = True
    starwiki_enabled = True


def test_a_strict_config_makes_an_unknown_flag_an_error_with_the_nearest_name() -> None:
    with pytest.raises(InvalidSetting) as refused:
        judged(periodic(opt_in_config_flag="starwiki_enable"), config=StrictSettings())
    assert str(refused.value) == "the settings have no starwiki_enable: did you mean starwiki_enabled?"

    with pytest.raises(
        InvalidSetting, match="the settings have no zzz: add it to the settings or pass a config"
    ):
        judged(periodic(opt_in_config_flag="zzz"), config=StrictSettings())


def test_a_strict_config_that_knows_the_flag_is_an_ordinary_one() -> None:
    assert isinstance(judged(OPT_IN, config=StrictSettings()), Wired)


# -- the chat LLM switch -------------------------------------------------------------------------

CHATS = periodic(requires_chat_llm=True)
SILENCED = Skipped("calls the chat LLM: background_scheduler_chat_llm_enabled is false")


@pytest.mark.parametrize(
    "config", [None, {}, SimpleNamespace(), SimpleNamespace(**{CHAT_LLM_FLAG: True})], ids=repr
)
def test_the_chat_llm_is_allowed_unless_it_is_switched_off(
    config: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert isinstance(judged(CHATS, config=config), Wired)
    assert caplog.records == []


@pytest.mark.parametrize("value", [False, 0, "false", "off"])
@pytest.mark.parametrize("given", [SimpleNamespace, dict])
def test_the_chat_llm_switch_keeps_off_what_calls_it_and_nothing_else(
    given: Callable[..., Any], value: object
) -> None:
    config = given(**{CHAT_LLM_FLAG: value})

    assert judged(CHATS, config=config) == SILENCED
    assert isinstance(judged(periodic(), config=config), Wired)


# -- the interval from config --------------------------------------------------------------------


@pytest.mark.parametrize("value", [20, 20.0, "20"])
@pytest.mark.parametrize("given", [SimpleNamespace, dict])
def test_the_interval_comes_from_config_with_its_unit(given: Callable[..., Any], value: object) -> None:
    declare = periodic(interval_from=minutes("lint_minutes"))

    assert wired(judged(declare, config=given(lint_minutes=value))).trigger == Every("20m")


@pytest.mark.parametrize("config", [None, {}, {"lint_minutes": None}, SimpleNamespace()], ids=repr)
def test_where_config_lacks_it_the_decorators_interval_serves(config: Any) -> None:
    declare = periodic(interval_from=minutes("lint_minutes"))

    assert wired(judged(declare, config=config)).trigger == Every("4h")


@pytest.mark.parametrize(
    "value", [0, -5, "soon", "4h", "", [], float("nan"), float("inf"), 1e9, True], ids=repr
)
def test_an_interval_from_config_that_cannot_be_meant_is_a_reason(value: object) -> None:
    declare = periodic(interval_from=days("lint_days"))

    assert judged(declare, config={"lint_days": value}) == Skipped(
        f"off: lint_days is {value!r}, which is no interval above zero"
    )


# -- scopes and rows -----------------------------------------------------------------------------


def test_the_scope_of_the_cluster_is_wired_with_what_it_does_not_promise_here() -> None:
    assert wired(judged(periodic(scope="cluster"))).note == "cluster scope within this process only"


def test_a_worker_is_wired_to_be_restarted() -> None:
    def listen(scope: str) -> Callable[[Registry], None]:
        def declare(registry: Registry) -> None:
            @background_worker(scope=scope, restart_delay="10s", registry=registry)
            async def listen() -> None: ...

        return declare

    assert wired(judged(listen("node"))) == Wired({}, Every("10s"), None)
    assert wired(judged(listen("leader"))) == Wired({}, Every("10s"), None)


def row(declare: Callable[[Registry], None], resources: dict[str, Any], config: Any = None) -> Decision:
    registry = Registry()
    declare(registry)
    [spec] = registry
    wiring = Wiring(resources, config)
    return wiring.decide(spec, wiring.judge(spec))


def test_the_row_of_a_wired_task_says_when_and_where_it_runs() -> None:
    decision = row(
        periodic(requires_redis=True, scope="cluster", interval_from=minutes("every")), HOST, {"every": 5}
    )

    assert decision == Decision(
        name="tidy",
        reason=None,
        kind="task",
        when="every 5m",
        scope="cluster",
        needs=("redis",),
        note="cluster scope within this process only",
    )
    assert decision.wired


def test_the_row_of_a_skipped_task_says_why_and_when_it_would_run() -> None:
    def declare(registry: Registry) -> None:
        @background_task(Cron("@daily", "Europe/Helsinki"), registry=registry)
        async def sunset(bot_runner: object) -> None: ...

    decision = row(declare, {})

    assert decision.reason == "needs bot_runner: no bot runner was given"
    assert decision.when == "cron @daily (Europe/Helsinki)"
    assert not decision.wired


def test_the_row_of_a_worker_says_how_it_is_restarted() -> None:
    def declare(registry: Registry) -> None:
        @background_worker(restart_delay="10s", registry=registry)
        async def listen() -> None: ...

    decision = row(declare, {})

    assert (decision.kind, decision.when) == ("worker", "always, restarted after 10s")


def test_a_part_whose_property_raises_is_a_reason_and_no_error() -> None:
    class Bot:
        @property
        def kg_manager(self) -> None:
            raise RuntimeError("not connected yet")

    @background_task(60, requires=("bot_runner.kg_manager",), registry=Registry())
    async def task() -> None: ...

    verdict = Wiring({"bot_runner": Bot()}).judge(task.__bgtasks_spec__)  # type: ignore[attr-defined]

    assert verdict == Skipped("bot_runner has no kg_manager: RuntimeError: not connected yet")
