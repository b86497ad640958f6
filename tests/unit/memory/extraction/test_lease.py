"""How a plan is read by one who stands elsewhere than it was written for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fakeredis import FakeAsyncRedis
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import ResponseError

from bgtasks.errors import UnsuitableServer
from bgtasks.memory.extraction.lease import BLAMES, Plan, channel_lease
from bgtasks.testing import VirtualClock, virtual_redis, virtual_time

KNOWN = (("Ada", "person"),)
PLANNED = Plan("1-0", ("9-0", "5-0", "3-0"), failures=1, known=KNOWN)


class TestPlan:
    def test_where_it_was_written_for_it_holds_as_it_is(self) -> None:
        assert PLANNED.at("1-0") == PLANNED
        assert Plan().at(None) == Plan()

    def test_after_a_batch_the_rest_holds_and_nothing_has_failed(self) -> None:
        assert PLANNED.at("3-0") == Plan("3-0", ("9-0", "5-0"), past=("1-0",))
        assert PLANNED.at("3-0").at("5-0") == Plan("5-0", ("9-0",), past=("1-0", "3-0"))

    @pytest.mark.parametrize(
        ("blamed", "left"), [(0, 0), (1, 1), (BLAMES - 1, BLAMES - 1), (BLAMES, BLAMES - 1)]
    )
    def test_the_rest_of_a_batch_that_was_blamed_is_a_blame_short_of_being_halved_at_most(
        self, blamed: int, left: int
    ) -> None:
        plan = Plan("1-0", ("9-0", "5-0", "3-0"), blamed=blamed)

        assert plan.at("1-0").blamed == blamed
        assert plan.at("3-0").blamed == left
        assert plan.at("3-0").at("5-0").blamed == left
        assert plan.at("9-0").blamed == 0
        assert plan.at("99-0").blamed == 0

    def test_batches_before_one_that_was_blamed_are_not(self) -> None:
        plan = Plan("3-0", ("9-0",), past=("1-0",), blamed=2)

        assert plan.at("1-0") == Plan("1-0", ("9-0", "3-0"))

    def test_after_several_batches_too(self) -> None:
        assert PLANNED.at("5-0") == Plan("5-0", ("9-0",), past=("1-0", "3-0"))

    def test_after_the_last_nothing_is_planned(self) -> None:
        assert PLANNED.at("9-0") == Plan("9-0", (), past=("1-0", "3-0", "5-0"))

    @pytest.mark.parametrize("position", [None, "2-0", "99-0"])
    def test_elsewhere_nothing_holds(self, position: str | None) -> None:
        assert PLANNED.at(position) == Plan(position)

    def test_a_cursor_that_went_back_finds_the_batches_as_they_were(self) -> None:
        ahead = Plan(None, ("3-0",)).at("3-0")
        ahead = Plan("3-0", ("9-0", "5-0"), past=ahead.past).at("5-0")

        assert ahead.at(None) == Plan(None, ("9-0", "5-0", "3-0"))
        assert ahead.at("3-0") == Plan("3-0", ("9-0", "5-0"), past=(None,))
        assert ahead.at("3-0").at("5-0") == ahead

    def test_batches_of_long_ago_are_forgotten(self) -> None:
        plan = Plan()
        for number in range(1, 100):
            plan = Plan(plan.begins, (f"{number}-0",), past=plan.past).at(f"{number}-0")

        assert plan.past == tuple(f"{number}-0" for number in range(83, 99))

    @given(st.lists(st.integers(1, 30), unique=True, min_size=1).map(sorted), st.data())
    def test_wherever_the_cursor_goes_batches_end_where_they_ended(self, cuts: list[int], data: Any) -> None:
        ends = tuple(f"{each}-0" for each in cuts)
        plan = Plan(None, ends[::-1])

        for position in data.draw(st.lists(st.sampled_from((None, *ends)), max_size=8)):
            plan = plan.at(position)
            if plan.ends:
                here = 0 if position is None else ends.index(position) + 1
                assert plan.ends[::-1] == ends[here:]


class TestWhatWasWritten:
    @pytest.mark.parametrize(
        "held",
        ["", "{", "[]", "7", "{}", '{"begins": null}', '{"begins":null,"ends":7,"failures":0,"known":null}'],
    )
    async def test_by_another_version_is_planned_anew(self, held: str) -> None:
        async with FakeAsyncRedis() as redis, channel_lease(redis, "test", "lab") as lease:
            assert lease is not None
            await redis.set("test:chan:lab:plan", held)

            assert await lease.plan() == Plan()

    async def test_before_the_past_was_noted_is_read(self) -> None:
        async with FakeAsyncRedis() as redis, channel_lease(redis, "test", "lab") as lease:
            assert lease is not None
            old = {"begins": "1-0", "ends": ["3-0"], "failures": 1, "known": [["Ada", "person"]]}
            await redis.set("test:chan:lab:plan", json.dumps(old))

            assert await lease.plan() == Plan("1-0", ("3-0",), 1, KNOWN)

    async def test_is_read_as_it_was(self) -> None:
        async with FakeAsyncRedis() as redis, channel_lease(redis, "test", "lab") as lease:
            assert lease is not None
            plan = Plan("3-0", ("9-0", "5-0"), 1, KNOWN, past=(None, "1-0"), blamed=2)

            assert await lease.write(plan)
            assert await lease.plan() == plan


class TestRenewal:
    @virtual_time
    async def test_a_lease_is_kept_for_as_long_as_the_block_lasts(self, virtual_clock: VirtualClock) -> None:
        with virtual_redis(virtual_clock) as redis:
            async with channel_lease(redis, "test", "lab", ttl=30) as lease:
                for _ in range(10):
                    await virtual_clock.advance(29)
                    async with channel_lease(redis, "test", "lab", ttl=30) as other:
                        assert other is None
                assert lease is not None
                assert await lease.renew()
            async with channel_lease(redis, "test", "lab", ttl=30) as other:
                assert other is not None

    @virtual_time
    async def test_whatever_a_server_refuses_with_the_next_try_may_keep_it(
        self, virtual_clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with virtual_redis(virtual_clock) as redis:
            async with channel_lease(redis, "test", "lab", ttl=30) as lease:
                assert lease is not None
                errors: list[Exception] = [
                    ResponseError("OOM"),
                    UnsuitableServer("no"),
                    ResponseError("BUSY"),
                ]
                renewed = lease.renew

                async def renew() -> bool:
                    if errors:
                        raise errors.pop()
                    return await renewed()

                monkeypatch.setattr(type(lease), "renew", lambda _: renew())
                await virtual_clock.advance(29.9)
                await redis.pexpire("test:chan:lab:lease", 30_000)  # or it would be lost by now
                await virtual_clock.advance(100)

                assert not errors
                assert await redis.pttl("test:chan:lab:lease") > 15_000

    @virtual_time
    async def test_a_lease_that_is_lost_is_not_taken_back(self, virtual_clock: VirtualClock) -> None:
        with virtual_redis(virtual_clock) as redis:
            async with channel_lease(redis, "test", "lab", ttl=30) as lease:
                assert lease is not None
                await redis.set("test:chan:lab:lease", "another's", px=5_000)
                await virtual_clock.advance(60)

                assert await redis.get("test:chan:lab:lease") is None
                assert not await lease.write(Plan("1-0"))
            assert await redis.keys("*") == []

    @virtual_time
    async def test_one_that_ran_out_may_be_taken_once_more_and_is_kept_again(
        self, virtual_clock: VirtualClock
    ) -> None:
        with virtual_redis(virtual_clock) as redis:
            async with channel_lease(redis, "test", "lab", ttl=30) as lease:
                assert lease is not None
                await redis.delete("test:chan:lab:lease")
                await virtual_clock.advance(60)
                assert not await lease.write(Plan("1-0"))

                assert await lease.take()
                await virtual_clock.advance(100)

                assert await lease.write(Plan("1-0"))
                assert await redis.pttl("test:chan:lab:lease") > 15_000

    async def test_one_that_another_has_is_not_taken(self) -> None:
        async with FakeAsyncRedis() as redis, channel_lease(redis, "test", "lab") as lease:
            assert lease is not None
            await redis.set("test:chan:lab:lease", "another's", px=5_000)

            assert not await lease.take()
            assert await redis.get("test:chan:lab:lease") == b"another's"
