"""The contract of `Budget`, on every Redis: no cap is passed, and what is spent is counted once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from tests.support.servers import Backend, free_port

from bgtasks.connect import open_redis
from bgtasks.errors import ConfigurationError, OverBudget, ResourceUnavailable
from bgtasks.llm.answers import Answers, Kept, packed, unpacked
from bgtasks.llm.budget import ALL, Budget, Limits, Reservation, Spent
from bgtasks.llm.budget_limits import dollars, micros
from bgtasks.llm.types import Usage
from bgtasks.settings import Settings
from bgtasks.testing import VirtualClock

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)
TTL = 300.0
HELSINKI = ZoneInfo("Europe/Helsinki")

real = pytest.mark.real


def tokens(number: int, cost: float = 0.0) -> Usage:
    """So many tokens, most of them of the prompt."""
    return Usage(number - number // 4, number // 4, cost)


class Desk:
    """Budgets of several processes on one Redis and one clock."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.clock = VirtualClock(NOON)
        self._ids = count(1)

    def budget(self, client: Any = None, **limits: Any) -> Budget:
        """Another process's."""
        new_id = lambda: f"r{next(self._ids)}"  # noqa: E731
        redis = client or self.backend.client
        return Budget(redis, Limits(**limits), "test", clock=self.clock, ttl=TTL, new_id=new_id)


@pytest.fixture
def desk(backend: Backend) -> Desk:
    return Desk(backend)


async def row(budget: Budget, task: str = ALL, day: date | None = None) -> Spent:
    """What a task spent."""
    [found] = [each for each in await budget.spent(day) if each.task == task]
    return found


async def call(budget: Budget, task: str, number: int, used: int | None = None) -> Reservation:
    """A call that reserves and settles."""
    reservation = await budget.reserve(task, tokens(number))
    await budget.settle(reservation, tokens(number if used is None else used))
    return reservation


@real
class TestACap:
    @pytest.mark.parametrize("limits", [{"day_tokens": 1000}, {"task_tokens": {"extract": 1000}}])
    async def test_is_not_passed_by_twenty_tasks_that_race(self, desk: Desk, limits: dict[str, Any]) -> None:
        budgets = [desk.budget(desk.backend.new(), **limits) for _ in range(20)]
        most = 0

        async def work(budget: Budget, mine: int) -> int:
            nonlocal most
            made = 0
            while True:
                try:
                    reservation = await budget.reserve("extract", tokens(60 + mine))
                except OverBudget:
                    return made
                now = await row(budget)
                most = max(most, now.tokens + now.reserved_tokens)
                await budget.settle(reservation, tokens(40 + mine))
                made += 40 + mine

        used = await asyncio.gather(*(work(budget, mine) for mine, budget in enumerate(budgets)))

        found = await row(budgets[0])
        assert found.tokens == sum(used)
        assert most <= 1000
        assert found.tokens > 1000 - 80  # the smallest call of all found no room any more
        assert found.reserved_tokens == 0

    async def test_counts_what_is_reserved(self, desk: Desk) -> None:
        budget = desk.budget(day_tokens=100)
        first = await budget.reserve("a", tokens(60))
        with pytest.raises(OverBudget):
            await budget.reserve("b", tokens(60))

        await budget.settle(first, tokens(40))

        await budget.reserve("b", tokens(60))

    async def test_may_be_used_up_to_the_last_token(self, desk: Desk) -> None:
        budget = desk.budget(day_tokens=100)
        await call(budget, "a", 60)
        await call(budget, "a", 40)
        with pytest.raises(OverBudget):
            await budget.reserve("a", tokens(1))

    async def test_of_one_task_does_not_stop_another(self, desk: Desk) -> None:
        budget = desk.budget(task_tokens={"a": 100})
        await call(budget, "a", 100)
        with pytest.raises(OverBudget):
            await budget.reserve("a", tokens(1))
        await call(budget, "b", 1000)

    async def test_of_one_task_is_not_used_up_by_what_another_reserves(self, desk: Desk) -> None:
        budget = desk.budget(task_tokens={"a": 100})
        await budget.reserve("b", tokens(1000))
        await budget.reserve("a", tokens(100))

    async def test_of_money_is_kept_to_the_micro_dollar(self, desk: Desk) -> None:
        budget = desk.budget(day_cost=0.3)
        for _ in range(3):
            reservation = await budget.reserve("a", Usage(10, 10, 0.1))
            await budget.settle(reservation, Usage(10, 10, 0.1))
        assert (await row(budget)).cost == 0.3
        with pytest.raises(OverBudget):
            await budget.reserve("a", Usage(1, 1, 0.000001))
        await budget.reserve("a", Usage(1000, 0, 0.0))

    async def test_of_money_of_a_task_stops_that_task(self, desk: Desk) -> None:
        budget = desk.budget(task_cost={"a": 0.01})
        with pytest.raises(OverBudget, match="BGTASKS_LLM_TASK_COST"):
            await budget.reserve("a", Usage(1, 1, 0.02))
        await budget.reserve("b", Usage(1, 1, 0.02))

    async def test_that_is_none_refuses_nothing_and_all_is_counted(self, desk: Desk) -> None:
        budget = desk.budget()
        await call(budget, "a", 10_000_000, used=9_000_000)
        assert await row(budget, "a") == Spent("a", 9_000_000, calls=1)

    async def test_of_nothing_lets_nothing_through(self, desk: Desk) -> None:
        with pytest.raises(OverBudget):
            await desk.budget(day_tokens=0).reserve("a", tokens(1))

    async def test_a_refused_call_reserves_nothing(self, desk: Desk) -> None:
        budget = desk.budget(task_tokens={"a": 1000}, day_tokens=100)
        with pytest.raises(OverBudget):
            await budget.reserve("a", tokens(200))
        assert (await row(budget)).reserved_tokens == 0
        assert await desk.backend.keys() == set()


@real
class TestARefusal:
    async def test_names_the_cap_what_is_gone_and_when_the_day_ends(self, desk: Desk) -> None:
        budget = desk.budget(task_tokens={"extract": 20_000}, zone=HELSINKI)
        await call(budget, "extract", 12_000)
        await budget.reserve("extract", tokens(5_000))
        with pytest.raises(OverBudget) as refused:
            await budget.reserve("extract", tokens(4_000))
        assert str(refused.value) == (
            "the budget of extract for 2026-09-01 does not allow another 4,000 tokens: "
            "12,000 tokens spent and 5,000 tokens reserved of 20,000 tokens (BGTASKS_LLM_TASK_TOKENS); "
            "the day ends at 2026-09-02 00:00 EEST, in 9h"
        )

    async def test_for_all_tasks_says_so(self, desk: Desk) -> None:
        budget = desk.budget(day_cost=1.5)
        await budget.settle(await budget.reserve("a", Usage(1, 1, 1.25)), Usage(1, 1, 1.25))
        with pytest.raises(OverBudget, match=r"of all tasks .* another \$0\.50: \$1\.25 spent .* of \$1\.50"):
            await budget.reserve("b", Usage(1, 1, 0.5))

    async def test_of_a_call_that_is_larger_than_the_cap_says_that_no_day_will_do(self, desk: Desk) -> None:
        with pytest.raises(
            OverBudget, match=r"may take 101 tokens, more than .* raise BGTASKS_LLM_DAY_TOKENS"
        ):
            await desk.budget(day_tokens=100).reserve("a", tokens(101))


@real
class TestASettlement:
    async def test_counts_once_however_often_it_is_sent(self, desk: Desk) -> None:
        budget = desk.budget()
        reservation = await budget.reserve("a", tokens(100))
        for _ in range(3):
            await budget.settle(reservation, Usage(60, 20, 0.000123))
        found = await row(budget, "a")
        assert (found.tokens, found.cost, found.calls, found.reserved_tokens) == (80, 0.000123, 1, 0)

    async def test_may_be_of_more_than_was_reserved(self, desk: Desk) -> None:
        budget = desk.budget(day_tokens=100)
        await call(budget, "a", 50, used=150)
        assert (await row(budget)).tokens == 150
        with pytest.raises(OverBudget):
            await budget.reserve("a", tokens(1))

    async def test_counts_on_the_day_of_its_reservation(self, desk: Desk) -> None:
        budget = desk.budget(zone=HELSINKI)
        desk.clock.step_wall("8h59m59s")  # 23:59:59 in Helsinki
        reservation = await budget.reserve("a", tokens(100))
        desk.clock.step_wall("2s")
        await budget.settle(reservation, tokens(90))
        assert (await row(budget, day=date(2026, 9, 1))).tokens == 90
        assert (await row(budget)).tokens == 0

    async def test_sums_are_those_of_all_that_was_settled(self, desk: Desk) -> None:
        budget = desk.budget()
        for number in range(1, 31):
            reservation = await budget.reserve(f"t{number % 3}", Usage(number, 1, number / 1e6))
            await budget.settle(reservation, Usage(number, 1, number / 1e6))
        spent = await budget.spent()
        assert [each.task for each in spent] == ["t0", "t1", "t2", ALL]
        assert spent[-1].tokens == sum(range(1, 31)) + 30 == sum(each.tokens for each in spent[:-1])
        assert spent[-1].cost == 0.000465
        assert spent[-1].calls == 30

    async def test_stores_the_answer_in_the_same_step(self, desk: Desk) -> None:
        budget, answers = desk.budget(), Answers(desk.backend.client, "test", 60.0)
        reservation = await budget.reserve("a", tokens(10))
        assert await answers.get("k") is None
        await budget.settle(reservation, tokens(10), keep=answers.keep("k", "yes"))
        assert await answers.get("k") == "yes"
        assert 0 < await desk.backend.client.pttl("test:llm:answer:k") <= 60_000

    async def test_goes_on_where_the_server_forgot_its_scripts(self, desk: Desk) -> None:
        budget, answers = desk.budget(), Answers(desk.backend.client, "test")
        reservation = await budget.reserve("a", tokens(10))
        await desk.backend.client.script_flush()
        await budget.settle(reservation, tokens(10), keep=answers.keep("k", "new"))
        assert await answers.get("k") == "new"
        assert (await row(budget)).calls == 1

    async def test_any_name_of_a_task_is_its_own(self, desk: Desk) -> None:
        budget = desk.budget()
        names = ["a b", "a|b", "|", "ä ☕", "1 2 3 4", "line\nline"]
        for name in names:
            await call(budget, name, 10)
            await budget.reserve(name, tokens(5))
        found = {each.task: each for each in await budget.spent()}
        assert {name: (found[name].tokens, found[name].reserved_tokens) for name in names} == dict.fromkeys(
            names, (10, 5)
        )
        assert (found[ALL].tokens, found[ALL].reserved_tokens) == (60, 30)

    async def test_what_is_no_amount_counts_as_nothing(self, desk: Desk) -> None:
        budget = desk.budget()
        reservation = await budget.reserve("a", Usage(10, 10, float("nan")))
        await budget.settle(reservation, Usage(-5, 7, float("inf")))
        assert await row(budget) == Spent(ALL, 7, calls=1)

    async def test_what_cannot_be_counted_counts_as_the_most_that_can(self, desk: Desk) -> None:
        budget = desk.budget(day_tokens=1000)
        reservation = await budget.reserve("a", tokens(10))
        for _ in range(2):
            await budget.settle(reservation, Usage(10**30, 1, 1e300))
        found = await row(budget)
        assert (found.tokens, found.cost, found.calls, found.reserved_tokens) == (10**15, 1e9, 1, 0)
        with pytest.raises(OverBudget):
            await budget.reserve("a", tokens(1))


@real
@pytest.mark.parametrize("server", ["redis8_url", "redis7_url"])
async def test_a_settlement_is_written_down_on_a_server_that_is_short_of_memory(
    server: str, request: pytest.FixtureRequest
) -> None:
    async with open_redis(request.getfixturevalue(server)) as client:
        await client.flushall()
        budget, answers = Budget(client, Limits(), "test"), Answers(client, "test")
        reservation = await budget.reserve("a", tokens(10))
        await client.config_set("maxmemory", 1)
        try:
            await budget.settle(reservation, tokens(9), keep=answers.keep("k", "paid"))
        finally:
            await client.config_set("maxmemory", 0)
        assert await answers.get("k") == "paid"
        assert (await row(budget)).tokens == 9


@real
class TestAReservation:
    async def test_that_a_crash_left_is_taken_back_after_its_time(self, desk: Desk) -> None:
        budget = desk.budget(day_tokens=110)
        await budget.reserve("dead", Usage(10, 90))
        desk.clock.step_wall(TTL - 1)
        with pytest.raises(OverBudget):
            await budget.reserve("a", tokens(100))

        desk.clock.step_wall(1)

        await budget.reserve("a", tokens(100))
        assert (await row(budget, "dead")).lost == 1
        assert (await row(budget)).lost == 1
        assert (await row(budget)).reserved_tokens == 100

    async def test_that_is_lost_counts_as_what_its_prompt_was_to_take(self, desk: Desk) -> None:
        budget = desk.budget()
        await budget.reserve("dead", Usage(75, 25, 0.001))
        desk.clock.step_wall(TTL)
        await budget.reserve("a", tokens(1))
        for found in (await row(budget, "dead"), await row(budget)):
            assert (found.tokens, found.cost, found.calls, found.lost) == (75, 0.00075, 0, 1)

    async def test_that_is_lost_in_every_call_comes_to_an_end(self, desk: Desk) -> None:
        budget = desk.budget(day_tokens=10_000)
        for _ in range(2):
            await budget.reserve("crash", Usage(4000, 1000))
            desk.clock.step_wall(TTL)
        for _ in range(2):
            with pytest.raises(OverBudget):
                await budget.reserve("crash", Usage(4000, 1000))
        found = await row(budget)
        assert (found.tokens, found.lost, found.reserved_tokens) == (8000, 2, 0)

    async def test_that_was_taken_back_and_is_given_back_late_counts_as_nothing(self, desk: Desk) -> None:
        budget = desk.budget()
        slow = await budget.reserve("slow", Usage(75, 25, 0.001))
        desk.clock.step_wall(TTL)
        await budget.reserve("a", tokens(10))
        for _ in range(2):
            await budget.release(slow)
        found = await row(budget, "slow")
        assert (found.tokens, found.cost, found.lost) == (0, 0.0, 1)

    async def test_that_was_taken_back_is_settled_all_the_same(self, desk: Desk) -> None:
        budget = desk.budget(day_tokens=100)
        slow = await budget.reserve("slow", tokens(80))
        desk.clock.step_wall(TTL)
        await budget.reserve("a", tokens(10))

        for _ in range(2):
            await budget.settle(slow, Usage(50, 5, 0.002))

        found = await row(budget)
        assert (found.tokens, found.cost, found.reserved_tokens, found.calls) == (55, 0.002, 10, 1)

    async def test_whose_time_is_over_is_not_shown_as_reserved(self, desk: Desk) -> None:
        budget = desk.budget()
        await budget.reserve("a", tokens(100))
        assert (await row(budget, "a")).reserved_tokens == 100
        desk.clock.step_wall(TTL)
        assert (await row(budget)).reserved_tokens == 0

    async def test_is_given_back_once(self, desk: Desk) -> None:
        budget = desk.budget(day_tokens=100)
        first = await budget.reserve("a", tokens(50))
        second = await budget.reserve("a", tokens(50))
        await budget.release(first)
        await budget.release(first)
        assert (await row(budget)).reserved_tokens == second.tokens
        assert (await row(budget)).calls == 0

    async def test_that_is_given_back_after_it_was_settled_changes_nothing(self, desk: Desk) -> None:
        budget = desk.budget()
        await budget.release(await call(budget, "a", 50))
        assert (await row(budget)).tokens == 50

    async def test_sent_twice_is_one(self, desk: Desk) -> None:
        redis = desk.backend.client
        limits = Limits(day_tokens=100)
        budget = Budget(redis, limits, "test", clock=desk.clock, ttl=TTL, new_id=lambda: "same")
        await budget.reserve("a", tokens(60))
        await call(desk.budget(), "b", 40, used=100)
        await budget.reserve("a", tokens(60))  # as after a lost answer, which said yes
        assert (await row(budget)).reserved_tokens == 60

    async def test_that_is_cancelled_holds_nothing_for_good(self, desk: Desk) -> None:
        budget = desk.budget(day_tokens=100)
        for steps in range(12):
            task = asyncio.create_task(budget.reserve("a", Usage(0, 100)))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.exception()
            desk.clock.step_wall(TTL)
        await call(budget, "a", 100)
        assert (await row(budget)).tokens == 100


@real
class TestTheDay:
    async def test_is_over_at_midnight_of_the_zone(self, desk: Desk) -> None:
        budget = desk.budget(day_tokens=100, zone=HELSINKI)
        await call(budget, "a", 100)
        desk.clock.step_wall("8h59m59s")
        with pytest.raises(OverBudget):
            await budget.reserve("a", tokens(1))
        desk.clock.step_wall("1s")  # 21:00 UTC
        await call(budget, "a", 100)
        assert (await row(budget, day=date(2026, 9, 1))).tokens == 100
        assert (await row(budget, day=date(2026, 9, 2))).tokens == 100

    @pytest.mark.parametrize(
        ("day", "hours"), [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25), (date(2026, 6, 1), 24)]
    )
    async def test_has_the_hours_that_its_clocks_have(self, desk: Desk, day: date, hours: int) -> None:
        budget = desk.budget(day_tokens=100, zone=HELSINKI)
        midnight = datetime(day.year, day.month, day.day, tzinfo=HELSINKI).astimezone(UTC)
        desk.clock.step_wall(midnight - NOON)
        await call(budget, "a", 100)
        desk.clock.step_wall(timedelta(hours=hours, seconds=-1))
        with pytest.raises(OverBudget, match=f"{day + timedelta(days=1)} 00:00"):
            await budget.reserve("a", tokens(1))
        desk.clock.step_wall("1s")
        await call(budget, "a", 100)

    async def test_keeps_its_sums_for_forty_days_and_no_key_for_ever(self, desk: Desk) -> None:
        budget = desk.budget(day_tokens=1000)
        await call(budget, "a", 10)
        await budget.reserve("b", tokens(10))
        desk.clock.step_wall(TTL)
        await budget.reserve("c", tokens(10))
        lasting = {key: await desk.backend.client.ttl(key) for key in sorted(await desk.backend.keys())}
        assert lasting.keys() == {f"test:budget:20260901{part}" for part in ("", ":held", ":ended")}
        assert lasting["test:budget:20260901"] == pytest.approx(40 * 86_400, abs=5)
        assert all(0 < left <= 40 * 86_400 for left in lasting.values())

    async def test_keeps_what_was_lost_no_longer(self, desk: Desk) -> None:
        budget = desk.budget()
        await budget.reserve("a", tokens(10))
        desk.clock.step_wall(TTL)
        await budget.reserve("a", tokens(10))
        assert await desk.backend.client.ttl("test:budget:20260901") == pytest.approx(40 * 86_400, abs=5)


class TestTheDayInAZone:
    @pytest.mark.parametrize(
        ("zone", "now", "ends"),
        [
            ("UTC", "2026-09-01T23:59:59+00:00", "2026-09-02T00:00:00+00:00"),
            ("Europe/Helsinki", "2026-10-24T22:00:00+00:00", "2026-10-26T00:00:00+02:00"),
            ("Africa/Cairo", "2024-04-25T12:00:00+00:00", "2024-04-26T01:00:00+03:00"),  # no midnight
            ("Pacific/Kiritimati", "2026-09-01T11:00:00+00:00", "2026-09-03T00:00:00+14:00"),
        ],
    )
    def test_ends_when_its_clocks_show_the_next_date(self, zone: str, now: str, ends: str) -> None:
        limits = Limits(zone=ZoneInfo(zone))
        at, over = datetime.fromisoformat(now), datetime.fromisoformat(ends)
        assert limits.day_ends(at).isoformat() == ends
        assert limits.day(over) != limits.day(at)
        assert limits.day(over - timedelta(microseconds=1)) == limits.day(at)


class TestAPrice:
    LIMITS = Limits(day_cost=1.0, prices={"small": (0.25, 2.0), "odd": (0.1, 0.3)})

    @pytest.mark.parametrize(
        ("model", "used", "micro"),
        [
            ("small", (1_000_000, 1_000_000), 2_250_000),
            ("small", (4, 0), 1),
            ("small", (5, 0), 2),  # rounded up
            ("odd", (1_000_001, 0), 100_001),
            ("odd", (10, 10), 4),  # in floats it would be 5
            ("small", (0, 0), 0),
            ("small", (-5, 3), 6),
        ],
    )
    def test_is_exact(self, model: str, used: tuple[int, int], micro: int) -> None:
        cost = self.LIMITS.cost(model, *used)
        assert cost == dollars(micro)
        assert micros(cost) == micro

    def test_every_micro_dollar_comes_back_as_it_was(self) -> None:
        for amount in (*range(2000), 123_456_789, 999_999_999_999):
            assert micros(dollars(amount)) == amount

    def test_of_floats_that_were_added_is_what_they_mean(self) -> None:
        assert micros(0.1 + 0.2) == 300_000
        assert micros(1e-9) == 1
        assert [micros(each) for each in (-1.0, float("nan"), float("inf"), 0.0)] == [0, 0, 0, 0]

    def test_of_an_unknown_model_is_nothing_and_that_is_said_once(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        limits = Limits(task_cost={"a": 1.0})
        assert [limits.cost("new/model", 1000, 1000) for _ in range(3)] == [0.0] * 3
        [line] = [record for record in caplog.records if record.name == "bgtasks"]
        assert line.levelno == logging.WARNING
        assert "'new/model' has no price" in line.getMessage()

    def test_of_an_unknown_model_is_not_spoken_of_where_no_money_is_capped(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert Limits(day_tokens=5).cost("new/model", 1000, 1000) == 0.0
        assert caplog.records == []


class TestTheSettings:
    def test_become_limits(self) -> None:
        settings = Settings.load(
            llm_day_tokens=1000,
            llm_task_cost={"a": 0.5},
            llm_prices={"m": (1.0, 2.0)},
            llm_zone="Europe/Helsinki",
        )
        limits = Limits.from_settings(settings)
        assert limits == Limits(
            day_tokens=1000, task_cost={"a": 0.5}, prices={"m": (1.0, 2.0)}, zone=HELSINKI
        )

    def test_with_an_unknown_zone_are_refused(self) -> None:
        with pytest.raises(ConfigurationError, match=r"BGTASKS_LLM_ZONE: .*Mars/Base"):
            Limits.from_settings(Settings.model_construct(llm_zone="Mars/Base"))

    @pytest.mark.parametrize(
        ("wrong", "named"),
        [
            ({"task_tokens": {"a": -1}}, "TASK_TOKENS"),
            ({"day_cost": float("nan")}, "DAY_COST"),
            ({"prices": {"m": (0.1, float("inf"))}}, "PRICES"),
        ],
    )
    def test_with_an_amount_that_is_none_are_refused(self, wrong: dict[str, Any], named: str) -> None:
        with pytest.raises(ConfigurationError, match=f"BGTASKS_LLM_{named}"):
            Limits(**wrong)

    async def test_make_a_budget_whose_reservations_outlast_a_call(self, desk: Desk) -> None:
        settings = Settings.load(namespace="other", llm_timeout=600.0, llm_day_tokens=100)
        budget = Budget.from_settings(settings, desk.backend.client, clock=desk.clock)
        await budget.reserve("a", tokens(100))
        desk.clock.step_wall(660.0)
        with pytest.raises(OverBudget):
            await budget.reserve("a", tokens(1))
        assert await desk.backend.keys() == {"other:budget:20260901:held"}


class TestWithoutRedis:
    async def test_nothing_may_be_spent(self) -> None:
        client = open_redis(f"redis://127.0.0.1:{free_port()}", retry=Retry(NoBackoff(), 0))
        budget = Budget(client, Limits(), "test")
        reservation = Reservation("r1", "a", "20260901", 1, 0.0)
        attempts: list[Callable[[], Awaitable[object]]] = [
            lambda: budget.reserve("a", tokens(1)),
            lambda: budget.settle(reservation, tokens(1)),
            lambda: budget.release(reservation),
            budget.spent,
            lambda: Answers(client, "test").get("k"),
        ]
        try:
            for attempt in attempts:
                with pytest.raises(ResourceUnavailable):
                    await attempt()
        finally:
            await client.aclose()


class TestAnAnswer:
    @pytest.mark.parametrize(
        "answer",
        ["", "yes", "t", "z", "ä" * 10, "🦡" * 2000, "\x00", "a\ud800b", "{}" * 5000, "x" * 1_000_000],
        ids=["empty", "short", "t", "z", "unicode", "many", "NUL", "surrogate", "JSON", "a megabyte"],
    )
    def test_is_stored_as_text_that_holds_all_of_it(self, answer: str) -> None:
        stored = packed(answer)
        assert unpacked(stored) == answer
        assert len(stored.encode()) <= len(answer.encode(errors="replace")) + 50

    @pytest.mark.parametrize("stored", ["", "x", "z!", "zabc", "q{}"])
    def test_that_cannot_be_read_is_none(self, stored: str) -> None:
        assert unpacked(stored) is None

    @real
    async def test_comes_back_from_each_server_as_it_was(self, backend: Backend) -> None:
        answers = Answers(backend.client, "test")
        for answer in ("", "ä ☕", "a\ud800b", '{"entities": []}' * 1000):
            await answers.put(answers.keep("k", answer))
            assert await answers.get("k") == answer
        await backend.client.set("test:llm:answer:k", "z!")
        assert await answers.get("k") is None

    def test_is_not_shown(self) -> None:
        assert "secret" not in repr(Kept("k", "secret", 1.0))
